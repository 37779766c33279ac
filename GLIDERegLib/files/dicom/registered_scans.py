"""Two DICOM series as the scans of a registration: references to them, and whether they were registered."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import map_coordinates

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.files.dicom.read import DicomInfo, read_info, read_stack
from GLIDERegLib.files.dicom.scan import Slice
from GLIDERegLib.files.dicom.tags import Header
from GLIDERegLib.files.itk import itk_calls
from GLIDERegLib.files.patients import different_patients
from GLIDERegLib.files.volumes import read_volume
from GLIDERegLib.transforms.points import map_points

# Share of a spacing: NIfTI keeps six digits.
ROUNDED = 1e-3
# Places at which a warped image is compared with its scan, the share of the scan's range of values that they
# may be apart (a judgement: rounding is far below, the noise of another scan about there), and how many must.
COMPARED, ALIKE, ALIKE_SHARE = 4000, 0.01, 0.95


@dataclass(frozen=True)
class Reference:
    """An image object as others refer to it; frames: the numbers, from 1, of those that are meant, none where
    all are.
    """

    file: Path
    sop_class: str
    sop_instance: str
    frames: tuple[int, ...]


@dataclass(frozen=True)
class ScanSeries:
    """A scan on disk as objects in its study refer to it: to its files, and to each slice of the grid."""

    info: DicomInfo
    grid: Grid
    references: tuple[Reference, ...]
    slices: tuple[Reference, ...]


def read_scan(path: str | os.PathLike, what: str) -> ScanSeries:
    """The series of a DICOM folder or file, with all that a reference to it needs.

    Raises InputError as reading the scan does, and where it has no Frame of Reference UID or lacks a UID.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"The {what} '{path}' does not exist.", "Check the path.", code="file-missing")
    slices, grid, _ = read_stack(path, what)
    info = read_info(path, what)
    references = _references(slices)
    lacking = [
        name
        for name, value in (
            ("FrameOfReferenceUID", info.frame_of_reference_uid),
            ("StudyInstanceUID", info.study_uid),
            ("SeriesInstanceUID", info.series_uid),
            ("SOPInstanceUID", all(one.sop_class and one.sop_instance for one in references)),
        )
        if not value
    ]
    if lacking:
        raise InputError(
            f"The DICOM series of the {what} has no {' and no '.join(lacking)}, so that no registration can "
            "refer to it",
            "Export the series again.",
            code="dicom-no-frame",
        )
    return ScanSeries(info, grid, references, tuple(_reference(item.header, [item]) for item in slices))


def _references(slices: list[Slice]) -> tuple[Reference, ...]:
    """One for each file, with the frames that are part of the scan where others are not."""
    files = defaultdict(list)
    for item in slices:
        files[item.header.path].append(item)
    return tuple(_reference(items[0].header, items) for items in files.values())


def _reference(header: Header, items: list[Slice]) -> Reference:
    numbers = () if len(items) == header.pixels.frames else sorted(item.frame.index + 1 for item in items)
    texts = header.texts
    return Reference(header.path, texts["SOPClassUID"], texts["SOPInstanceUID"], tuple(numbers))


def check_pair(fixed: ScanSeries, moving: ScanSeries) -> None:
    """Raises InputError for scans of different patients, and for one scan given twice."""
    if reason := different_patients(fixed.info.patient, moving.info.patient):
        raise InputError(reason.rstrip("."), "Give two scans of one patient.", code="different-patients")
    if set(fixed.info.sop_instance_uids) & set(moving.info.sop_instance_uids):
        raise InputError(
            "The fixed and the moving scan are the same DICOM series",
            "Give the two scans that were registered.",
            code="dicom-other-scan",
        )


def check_registered(folder: Path, fixed: Grid, moving: Grid) -> None:
    """Raises InputError unless the report's sizes and spacings and the warped image's place are these grids'.

    What the folder does not hold is not compared.
    """
    for role, reported in _reported(folder).items():
        grid = {"fixed": fixed, "moving": moving}[role]
        size, spacing = reported["size"], reported["spacing_mm"]
        place = [tuple(reported[key]) for key in ("origin_mm", "direction") if reported.get(key)]
        if len(place) == 2:
            there = Grid(tuple(size), tuple(spacing), *place)
            if not there.upright().matches(grid.upright(), tolerance=0.1):
                raise _other(
                    folder, role, f"another place: {_times(size)} voxels of {_times(spacing)} mm", grid
                )
        # Converted from DICOM, a scan's axes may be in another order.
        axes, here = (
            sorted(zip(size, spacing, strict=True)),
            sorted(zip(grid.size, grid.spacing, strict=True)),
        )
        if not np.allclose(axes, here, rtol=ROUNDED):
            raise _other(folder, role, f"{_times(size)} voxels of {_times(spacing)} mm", grid)
    warped = folder / "warped.nii.gz"
    if warped.is_file():
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(warped))
        with itk_calls(f"'{warped}' cannot be read; it is damaged."):
            reader.ReadImageInformation()
        there = Grid(reader.GetSize(), reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection())
        if not there.upright().matches(fixed.upright(), tolerance=0.1):
            raise _other(
                folder,
                "fixed",
                f"another place: {_times(there.size)} voxels of {_times(there.spacing)} mm",
                fixed,
            )


def check_warped(folder: Path, transform: sitk.Transform, moving: Volume) -> None:
    """Raises InputError unless the folder's warped image is the moving scan through the transform.

    That tells scans apart that lie on one grid, and one given for the other. Nothing is compared where the
    folder holds no warped image.
    """
    path = folder / "warped.nii.gz"
    if not path.is_file():
        return
    warped = read_volume(path, "warped")
    random = np.random.default_rng(0)
    index = random.integers(0, warped.grid.size, (COMPARED, 3))
    there = moving.grid.to_index(map_points(transform, warped.grid.to_physical(index)))
    inside = ((there >= 0) & (there <= np.asarray(moving.grid.size) - 1)).all(axis=1)
    values = warped.array[tuple(index[inside, ::-1].T)]
    expected = map_coordinates(moving.array, there[inside, ::-1].T, np.float32, order=1)
    width = float(np.subtract(*np.percentile(moving.array, (99, 1))))
    if inside.any() and np.mean(np.abs(values - expected) <= ALIKE * width) < ALIKE_SHARE:
        raise InputError(
            f"The moving DICOM series is not the scan that was warped in '{folder}': its values differ",
            "Give the two series that were registered, in their order, or the transform's file alone where "
            "the scans were processed before.",
            code="dicom-other-scan",
        )


def _reported(folder: Path) -> dict[str, dict[str, list]]:
    report = folder / "report.json"
    try:
        images = json.loads(report.read_text(encoding="utf-8"))["images"] if report.is_file() else {}
        return {role: image for role, image in images.items() if image["size"] and image["spacing_mm"]}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"'{report}' is no report of a registration", "Register the scans again.", code="report"
        ) from error


def _other(folder: Path, role: str, was: str, grid: Grid) -> InputError:
    return InputError(
        f"The {role} DICOM series is not the {role} scan that was registered in '{folder}': that one has "
        f"{was}, this one {_times(grid.size)} voxels of {_times(grid.spacing)} mm",
        "Give the two series that were registered, in their order.",
        code="dicom-other-scan",
    )


def _times(values) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
