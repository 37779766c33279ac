"""One DICOM series as a volume, and what its tags say of the scan."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from GLIDERegLib.core.acquisition import Acquisition
from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.ct import AIR_HU
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.files.dicom.decoding import FrameReader
from GLIDERegLib.files.dicom.geometry import Stack, regular_stack
from GLIDERegLib.files.dicom.object_kinds import is_secondary_capture
from GLIDERegLib.files.dicom.pixels import (
    check_pixels,
    is_inverted,
    measured,
    padding,
    stored_values,
)
from GLIDERegLib.files.dicom.scan import Slice, day, find_series
from GLIDERegLib.files.dicom.tags import is_file, read_header
from GLIDERegLib.files.dicom.values import DamagedDicom
from GLIDERegLib.files.patients import Patient

# A scan without anything below is not in HU, a choice: lung and the air around a body lie below -500 HU, fat,
# the lightest tissue, about -100 HU.
LOWEST_WITHOUT_AIR_HU = -200
# What series of cone-beam CTs at accelerators say of themselves: the models' names as the vendors give them.
CONE_BEAM = re.compile(r"cbct|cone.?beam|on-?board imager|\bxvi\b|truebeam|halcyon|\bethos\b", re.IGNORECASE)


@dataclass(frozen=True)
class DicomInfo:
    """What a series says of itself; empty, or None, where it does not. Dates are YYYY-MM-DD.

    Names, IDs and birth date are for comparing and for the screen, not for reports. `notes` are sentences on
    how the values were read that a reader of the result should know.
    """

    patient: Patient
    birth_date: str
    study_date: str
    acquisition_date: str
    description: str
    modality: str
    manufacturer: str
    kernel: str
    slice_thickness: float | None
    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    sop_instance_uids: tuple[str, ...]
    files: tuple[Path, ...]
    notes: tuple[str, ...]


def read_dicom(path: Path, what: str) -> tuple[np.ndarray, Grid, tuple[str, ...], Acquisition]:
    """The one series below a folder, or the series of one DICOM file with its neighbours in the folder.

    Returns values (z, y, x) in the unit of the tags (HU for CT), int16, int32 or float32, whichever holds
    them all, their grid (LPS mm), the notes of `DicomInfo`, and how the series was acquired. What the
    scanner did not measure (pixel padding) is air in CT and the lowest value elsewhere. Raises InputError for
    everything that is no single, complete, regular stack of grey slices. `what` names the image in messages.
    """
    slices, grid, notes = read_stack(path, what)
    name = f"The DICOM series of the {what}"
    check_pixels(slices, name)
    _check_rescale(slices, name)
    values = _Values(grid.shape)
    reader = FrameReader(name)
    unmeasured: dict[int, np.ndarray] = {}
    # Frames in the order of their files, so that each file is decoded once.
    order = sorted(range(len(slices)), key=lambda n: (str(slices[n].header.path), slices[n].frame.index))
    for place in order:
        header, frame = slices[place].header, slices[place].frame
        cells = reader.cells(header, frame.index)
        stored = stored_values(cells, header.pixels)
        outside = padding(cells, stored, header.pixels)
        plane = measured(stored, header.pixels, frame, is_inverted(header))
        if outside is not None:
            unmeasured[place] = np.packbits(outside)
            plane = np.where(outside, plane[~outside].min() if not outside.all() else 0, plane)
        values.put(place, plane)
    _fill(values.array, unmeasured, slices[0].header.texts["Modality"] == "CT")
    return values.array, grid, (*notes, *_notes(slices)), _acquisition(slices[0].header.texts)


def read_info(path: Path, what: str = "image") -> DicomInfo:
    """What the tags of the series say that `read_dicom` would read. Raises InputError as it does."""
    slices, _, notes = read_stack(path, what)
    texts = slices[0].header.texts
    return DicomInfo(
        Patient(texts["PatientID"], texts["PatientName"]),
        day(texts["PatientBirthDate"]),
        day(texts["StudyDate"]),
        day(texts["AcquisitionDate"]),
        texts["SeriesDescription"],
        texts["Modality"],
        texts["Manufacturer"],
        texts["ConvolutionKernel"],
        _thickness(texts),
        texts["StudyInstanceUID"],
        texts["SeriesInstanceUID"],
        texts["FrameOfReferenceUID"],
        tuple(dict.fromkeys(item.header.texts["SOPInstanceUID"] for item in slices)),
        tuple(dict.fromkeys(item.header.path for item in slices)),
        (*notes, *_notes(slices)),
    )


def read_grid(path: Path, what: str) -> Grid:
    """The grid of the series that `read_dicom` would read, from its tags. Raises InputError as it does."""
    return read_stack(path, what).grid


def read_identity(path: Path, what: str) -> tuple[Patient, str]:
    """Of a DICOM folder or file: whose scan it is, and the study's date (YYYY-MM-DD); empty where unknown.

    Raises InputError as `find_series` does.
    """
    texts = find_series(path, what).slices[0].header.texts
    return Patient(texts["PatientID"], texts["PatientName"]), day(texts["StudyDate"])


def is_dicom_file(path: Path) -> bool:
    """True for a file with DICOM's mark, and for one without that reads as a DICOM header."""
    try:
        return is_file(path) and read_header(path) is not None
    except DamagedDicom:
        return True
    except OSError:
        return False


def read_stack(path: Path, what: str) -> Stack:
    """Every slice's header and frame in the order of the grid, and that grid. Raises as `read_dicom` does."""
    return regular_stack(find_series(path, what), what)


def _check_rescale(slices: list[Slice], name: str) -> None:
    """Both rescale tags in every slice, or in none."""
    plain = [item for item in slices if item.header.pixels.lut is None]
    for key, other in (("slope", "intercept"), ("intercept", "slope")):
        lacking = sum(getattr(item.frame, key) is None for item in plain)
        some = any(getattr(item.frame, name_) is not None for item in plain for name_ in (key, other))
        mixed = len(plain) < len(slices)
        if lacking and (some or mixed):
            others = f", but a Rescale{other.title()}" if lacking == len(slices) else ", while others have it"
            raise InputError(
                f"{name} has no Rescale{key.title()} in {lacking} of {counted(len(slices), 'slice')}{others}",
                "Export the series again.",
                code="dicom-tags",
            )
        bad = [i for i in plain if getattr(i.frame, key) is not None and not abs(getattr(i.frame, key)) < 1e9]
        if bad:
            raise InputError(
                f"{name} has no usable Rescale{key.title()} in {len(bad)} of {counted(len(slices), 'slice')}",
                "Export the series again.",
                code="dicom-tags",
            )


def _thickness(texts: dict[str, str]) -> float | None:
    try:
        thickness = float(texts["SliceThickness"])
    except ValueError:
        return None
    return thickness if 0 < thickness < np.inf else None


def _acquisition(texts: dict[str, str]) -> Acquisition:
    agent = texts["ContrastBolusAgent"].strip().casefold()
    return Acquisition(
        texts["ConvolutionKernel"].strip(), _thickness(texts), agent not in ("", "none", "no", "without")
    )


def _notes(slices: list[Slice]) -> list[str]:
    header = slices[0].header
    notes = []
    if is_secondary_capture(header.texts):
        notes.append(
            "The series is a secondary capture, made by a program: its values may not be the scanner's."
        )
    if header.pixels.photometric == "MONOCHROME1":
        done = "were inverted so that bright is high" if is_inverted(header) else "were kept as measured"
        notes.append(f"The slices ask to be shown inverted (MONOCHROME1); their values {done}.")
    if header.texts["Modality"] == "CT" and header.pixels.lut is None and slices[0].frame.slope is None:
        notes.append("The CT says no RescaleSlope and RescaleIntercept; its values may not be HU.")
    says = (header.texts[name] for name in ("ManufacturerModelName", "SeriesDescription", "ImageType"))
    if header.texts["Modality"] == "CT" and any(CONE_BEAM.search(text) for text in says):
        notes.append(
            "The CT says that it is a cone-beam CT: its numbers are not HU, so that densities, sizes and "
            "differences of intensity in it are uncertain, and its field of view may cut the body off."
        )
    kind = header.texts["RescaleType"]
    if header.texts["Modality"] == "CT" and kind not in ("", "HU"):
        notes.append(f"The CT says that its values are {kind} (RescaleType), not HU.")
    if header.pixels.padding is not None and header.texts["Modality"] != "CT":
        notes.append("Pixels outside the scanned field (PixelPaddingValue) were read as the lowest value.")
    return notes


class _Values:
    """The volume as it is filled: int16 as long as the values allow, then int32, then float32."""

    def __init__(self, shape: tuple[int, int, int]):
        self.array = np.zeros(shape, np.int16)

    def put(self, place: int, plane: np.ndarray) -> None:
        held = self.array.dtype
        if held != np.float32 and (wanted := _holding(plane)) != held and wanted != np.int16:
            self.array = self.array.astype(wanted)
        self.array[place] = plane


def _holding(plane: np.ndarray) -> np.dtype:
    if plane.dtype.kind != "f":
        low, high = plane.min(), plane.max()
        for dtype in (np.int16, np.int32):
            if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
                return np.dtype(dtype)
    return np.dtype(np.float32)


def _fill(array: np.ndarray, unmeasured: dict[int, np.ndarray], is_ct: bool) -> None:
    """Puts air, or the lowest value there is, where nothing was measured."""
    if not unmeasured:
        return
    lowest = array.min()
    value = AIR_HU if is_ct and lowest < LOWEST_WITHOUT_AIR_HU else lowest
    for place, packed in unmeasured.items():
        outside = np.unpackbits(packed, count=array[place].size).astype(bool)
        array[place][outside.reshape(array[place].shape)] = value
