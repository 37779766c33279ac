"""Where the slices of a series lie, from position and orientation alone: one regular stack, or a refusal.

Sorted along the normal, the cross product of row and column direction, so that grids are right-handed
whatever files, instance numbers or frames say. SliceThickness and SpacingBetweenSlices are never asked.
"""

from __future__ import annotations

from collections import Counter
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.files.dicom.object_kinds import is_secondary_capture
from GLIDERegLib.files.dicom.repeats import one_image_a_place
from GLIDERegLib.files.dicom.scan import Series, Slice

# Share of the spacing by which a slice may be off its place: rounding passes, a missing slice does not.
UNEVEN = 0.1
# Cosines written with two decimals have lengths off by 0.7 %. Of one stack they may differ by 5e-3 (0.3
# degrees) where that moves no voxel by half a pixel, and from 1e-3 on (0.06 degrees) it is told.
ROUNDED, TURNED, TOLD = 0.01, 5e-3, 1e-3
SMALLEST, LARGEST, FARTHEST = 1e-4, 1e3, 1e6  # mm


class Stack(NamedTuple):
    """Slices from the first to the last along their normal, their grid (LPS mm), and sentences on how they
    were chosen.
    """

    slices: list[Slice]
    grid: Grid
    notes: tuple[str, ...]


def regular_stack(series: Series, what: str) -> Stack:
    """The one stack that a series holds.

    Raises InputError where tags are missing, and for stacks that are mixed, repeated, uneven or tilted.
    """
    name = f"The DICOM series of the {what}"
    slices = _without_pictures(series.slices)
    _check_frames(slices, name)
    _check_tags(slices, name)
    slices = _one_patient_and_frame(slices, name)
    slices = _one_shape(slices, series, name)
    row, column, normal = _axes(slices, name)
    slices, notes = one_image_a_place(slices, normal, series.chosen, name)
    if len(slices) < 2:
        raise InputError(f"{name} has only one slice", "Give a 3-D volume.", code="dicom-one-slice")
    slices = sorted(slices, key=lambda item: float(np.dot(item.frame.place.position, normal)))
    positions = np.array([item.frame.place.position for item in slices], float)
    between_rows, between_columns = slices[0].frame.place.spacing
    spacing = _even_spacing(positions, normal, name)
    _check_tilt(positions, normal, min(between_rows, between_columns), name)
    rows, columns = slices[0].header.pixels.rows, slices[0].header.pixels.columns
    grid = Grid.of(
        (columns, rows, len(slices)),
        (between_columns, between_rows, spacing),
        positions[0],
        np.column_stack([row, column, normal]).ravel(),
    )
    notes += _drift(slices, grid, name)
    for item in series.beside:
        if _continues(item, slices[0], grid):
            raise InputError(
                f"{name} is continued by the file '{item.header.path.name}', which says it is of another "
                "series",
                "Export the series again, or take that file away.",
                code="dicom-mixed",
            )
    return Stack(slices, grid, notes)


def _continues(item: Slice, first: Slice, grid: Grid) -> bool:
    """Whether an image of another series lies where the stack's next, or a missing, slice would."""
    tags = item.frame.position, item.frame.cosines, item.frame.spacing
    if item.header.localizer or any(value is None or not np.isfinite(value).all() for value in tags):
        return False
    i, j, k = grid.to_index(np.array(item.frame.position))
    near = max(abs(i), abs(j), abs(k - round(k))) < UNEVEN and -2 < k < grid.size[2] + 1
    return near and _same_shape(first, item)


def _without_pictures(slices: tuple[Slice, ...]) -> list[Slice]:
    """Without localizers and colour pictures that lie in the series beside its images."""
    rest = [item for item in slices if not item.header.localizer] or list(slices)
    placed = [s for s in rest if s.header.pixels.samples == 1 or s.frame.position is not None]
    return placed or rest


def _check_frames(slices: list[Slice], name: str) -> None:
    for header in {item.header.path: item.header for item in slices}.values():
        if header.pixels.frames != len(header.frames):
            raise InputError(
                f"{name} has {counted(header.pixels.frames, 'frame')} in '{header.path.name}' and positions "
                f"of {len(header.frames) if len(header.frames) > 1 else 'none'} of them",
                "Export the series again or convert it to NIfTI.",
                code="dicom-tags",
            )


def _check_tags(slices: list[Slice], name: str) -> None:
    """Position, orientation and pixel spacing of every slice are there and finite."""
    if all(is_secondary_capture(item.header.texts) and item.frame.position is None for item in slices):
        raise InputError(
            f"{name} is a secondary capture (a picture that a program made) without a place in the patient",
            "Give the image series.",
            code="dicom-no-scan",
        )

    def fails(key: str, says: str, wrong: list[bool], aside: str = "") -> None:
        if count := sum(wrong):
            raise InputError(
                f"{name} has {says} {key} in {count} of {counted(len(slices), 'slice')}{aside}",
                "Export the series again or convert it to NIfTI.",
                code="dicom-tags",
            )

    for key, name_, most in (
        ("ImagePositionPatient", "position", FARTHEST),
        ("ImageOrientationPatient", "cosines", 2.0),
        ("PixelSpacing", "spacing", LARGEST),
    ):
        values = attrgetter(f"frame.{name_}")
        detector = key == "PixelSpacing" and any(item.header.imager_spacing for item in slices)
        aside = " (ImagerPixelSpacing is measured at the detector and is no substitute)" if detector else ""
        fails(key, "no", [values(item) is None for item in slices], aside)
        fails(key, "no usable", [not np.abs(values(item)).max() <= most for item in slices])
    fails("PixelSpacing", "no usable", [not min(item.frame.place.spacing) >= SMALLEST for item in slices])


def _one_patient_and_frame(slices: list[Slice], name: str) -> list[Slice]:
    for key, says in (
        ("PatientID", "patients"),
        ("StudyInstanceUID", "studies"),
        ("FrameOfReferenceUID", "frames of reference"),
        ("Modality", "modalities"),
    ):
        values = {item.header.texts[key] for item in slices} - {""}
        if len(values) > 1:
            raise InputError(
                f"{name} mixes slices of {len(values)} {says}",
                "Keep only the slices of one scan in the folder.",
                code="dicom-mixed",
            )
    return slices


def _one_shape(slices: list[Slice], series: Series, name: str) -> list[Slice]:
    """The slices of one size, pixel spacing and orientation: all, or those of the file that was asked for."""
    stacks: list[list[Slice]] = []
    for item in slices:
        for stack in stacks:
            if _same_shape(stack[0], item):
                stack.append(item)
                break
        else:
            stacks.append([item])
    if len(stacks) == 1:
        return slices
    stacks.sort(key=len, reverse=True)
    if series.chosen:
        chosen = [stack for stack in stacks if any(s.header.path == series.chosen for s in stack)]
        if len(chosen) == 1:
            return chosen[0]
    scouts = [stack for stack in stacks[1:] if _is_scout(stack, stacks[0])]
    if len(scouts) == len(stacks) - 1:
        return stacks[0]
    described = "; ".join(_describe(stack) for stack in stacks[:6])
    more = f"; and {len(stacks) - 6} more" if len(stacks) > 6 else ""
    raise InputError(
        f"{name} mixes slices of several sizes, spacings or orientations ({described}{more})",
        "Keep only the slices of one stack in the folder, or give a file of the wanted one.",
        code="dicom-stacks",
    )


def _same_shape(first: Slice, item: Slice) -> bool:
    a, b = first.header.pixels, item.header.pixels
    here, there = first.frame.place, item.frame.place
    return (
        (a.rows, a.columns) == (b.rows, b.columns)
        and np.allclose(here.spacing, there.spacing, rtol=1e-3)
        and bool(np.abs(np.subtract(here.cosines, there.cosines)).max() <= TURNED)
    )


def _is_scout(stack: list[Slice], main: list[Slice]) -> bool:
    """At most three planes, steep on a stack five times as large: no slice of it by any mistake."""
    a, b = (np.reshape(s[0].frame.place.cosines, (2, 3)) for s in (stack, main))
    steep = abs(np.dot(np.cross(*a), np.cross(*b))) < 0.7
    return len(stack) <= 3 and len(main) >= 5 * len(stack) and bool(steep)


def _describe(stack: list[Slice]) -> str:
    pixels, place = stack[0].header.pixels, stack[0].frame.place
    normal = np.abs(np.cross(place.cosines[:3], place.cosines[3:]))
    plane = ("sagittal", "coronal", "axial")[int(normal.argmax())]
    spacing = " x ".join(f"{value:g}" for value in place.spacing[::-1])
    return (
        f"{len(stack)} {plane} of {pixels.columns} x {pixels.rows} pixels of {spacing} mm as "
        f"'{stack[0].header.path.name}'"
    )


def _spread(slices: list[Slice]) -> tuple[np.ndarray, float]:
    """Cosines (N, 6) of all slices, and by how much one differs at most from the first slice's."""
    cosines = np.array([item.frame.place.cosines for item in slices], float)
    return cosines, float(np.abs(cosines - cosines[0]).max())


def _axes(slices: list[Slice], name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row and column directions and their normal, made orthonormal: the first slice's, or the mean of
    slices that drift.
    """
    cosines, spread = _spread(slices)
    axes = (cosines[0] if spread <= TOLD else cosines.mean(axis=0)).reshape(2, 3)
    lengths = np.linalg.norm(axes, axis=1)
    if not (np.abs(lengths - 1) <= ROUNDED).all() or not abs(axes[0] @ axes[1]) <= ROUNDED:
        raise InputError(
            f"{name} has an ImageOrientationPatient whose directions are not of length 1 and perpendicular "
            f"(lengths {lengths[0]:.3f} and {lengths[1]:.3f}, product {axes[0] @ axes[1]:.3f})",
            "Export the series again or convert it to NIfTI.",
            code="dicom-tags",
        )
    u, _, vt = np.linalg.svd(axes, full_matrices=False)
    row, column = u @ vt
    return row, column, np.cross(row, column)


def _drift(slices: list[Slice], grid: Grid, name: str) -> tuple[str, ...]:
    """A sentence where the slices' orientations drift: how far, and by how much that moves a voxel at most.

    Raises InputError where it is more than half a pixel.
    """
    cosines, spread = _spread(slices)
    if spread <= TOLD:
        return ()
    pixels, (between_rows, between_columns) = slices[0].header.pixels, slices[0].frame.place.spacing
    corners = [(i, j) for i in (0, pixels.columns - 1) for j in (0, pixels.rows - 1)]
    far = 0.0
    for k, (item, axes) in enumerate(zip(slices, cosines.reshape(-1, 2, 3), strict=True)):
        for i, j in corners:
            shown = item.frame.place.position + i * between_columns * axes[0] + j * between_rows * axes[1]
            far = max(far, float(np.linalg.norm(shown - grid.to_physical(np.array([i, j, k])))))
    apart = np.linalg.norm((cosines - cosines[0]).reshape(-1, 2, 3), axis=2).max()
    turned = f"orientations that differ by up to {np.degrees(apart):.2f} degrees"
    if far > 0.5 * min(between_rows, between_columns):
        raise InputError(
            f"{name} has {turned}, which moves its corners by up to {far:.1f} mm",
            "Export the series again; its slices are no stack.",
            code="dicom-shifted",
        )
    return (f"The slices have {turned}: their mean was taken, which moves voxels by {far:.2f} mm at most.",)


def _even_spacing(positions: np.ndarray, normal: np.ndarray, name: str) -> float:
    places = positions @ normal
    gaps = np.diff(places)
    spacing = (places[-1] - places[0]) / len(gaps)
    if np.abs(places - places[0] - spacing * np.arange(len(places))).max() <= UNEVEN * spacing:
        return float(spacing)
    usual = float(np.median(gaps))
    worst = int(np.abs(gaps - usual).argmax())
    missing = Counter(int(round(gap / usual)) - 1 for gap in gaps if gap > 1.5 * usual)
    count = sum(number * times for number, times in missing.items())
    about = f" (missing slices: about {count})" if count else ""
    raise InputError(
        f"{name} misses slices or is unevenly spaced: between {places[worst]:.2f} and "
        f"{places[worst + 1]:.2f} mm along its normal the gap is {gaps[worst]:.2f} mm, "
        f"elsewhere {usual:.2f} mm{about}",
        "Export the complete series.",
        code="dicom-gap",
    )


def _check_tilt(positions: np.ndarray, normal: np.ndarray, pixel: float, name: str) -> None:
    drift = positions - positions[0]
    along = drift @ normal
    drift = drift - np.outer(along, normal)
    away = np.linalg.norm(drift, axis=1)
    if away.max() <= 0.5 * pixel:
        return
    tilt = np.degrees(np.arctan2(away[-1], along[-1]))
    straight = np.linalg.norm(drift - np.outer(along / along[-1], drift[-1]), axis=1).max() <= 0.5 * pixel
    if not straight:
        raise InputError(
            f"{name} has slices shifted sideways by up to {away.max():.1f} mm, no two by the same step",
            "Export the series again; its positions are no stack.",
            code="dicom-shifted",
        )
    raise InputError(
        f"{name} was taken with a tilted gantry ({tilt:.1f} degrees), so its grid is sheared",
        "Correct the tilt first, for instance by resampling the series to a regular grid.",
        code="dicom-tilt",
    )
