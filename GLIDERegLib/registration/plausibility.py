"""Whether a result can be right: what a person who looks at both scans would say at once.

Three questions, each by a measure that the registration itself does not optimise: whether fine structures of
the lungs agree better than before, whether they agree as those of one person do, and whether another
orientation of the moving scan would agree better.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
from scipy import fft, ndimage

from GLIDERegLib.core.ct import AIR_HU, in_hounsfield
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.core.size import magnification
from GLIDERegLib.registration.working_grid import to_image

# Vessels show at the first; a mirrored chest differs at the second; at the third 48 turns are tried.
DETAIL_MM, COARSE_MM, COARSEST_MM = 3.0, 8.0, 16.0
# Beyond these, bone and air would outweigh lung and soft tissue.
LOWEST_HU, HIGHEST_HU = -1000.0, 200.0
# Lung: neither the air around the body nor tissue.
LUNG_HU = (-960.0, -500.0)
# Walls and diaphragms, which agree between any two persons, lie outside of what is left of the lungs when
# their holes (vessels) are filled and they are shrunk, both in voxels.
FILLED_VOXELS, SHRUNK_VOXELS = 3, 2
# A choice: a correlation of fewer voxels is chance; 14 ml of lung.
LEAST_LUNG_VOXELS = 500
# Fewest share of the smaller scan that must overlap for an orientation to count.
LEAST_OVERLAP = 0.5
# Of one person after registration fine structures agree by 0.80 to 0.96 in twelve pairs (three breathing
# scans, a lung alone at two times, eight phantoms), of two persons by 0.05 to 0.24 in thirteen.
LOWEST_DETAIL = 0.5
# By how much a measure must have fallen to cast doubt; in right results, breath changes the lungs' density
# and with it lowers the correlation of all by up to 0.02.
FALLEN_DETAIL, FALLEN_CORRELATION = 0.02, 0.03
# A fall of the correlation that two decimals do not show comes of interpolation alone.
SMALLEST_FALL = 0.005
# Another orientation is better where what it leaves unexplained (1 - correlation) is below this share; in
# right orientation of eight pairs the best other one leaves 1.3 to 3.6 times as much.
BETTER_SHARE = 0.95
CLEARLY_BETTER_SHARE = 0.8

FLIPS = tuple(itertools.product((False, True), repeat=3))
_AXES = {"x": "left to right", "y": "front to back", "z": "head to feet"}


def judge(
    fixed: Volume,
    moving: Volume,
    transform: sitk.Transform,
    correlation: tuple[float | None, float | None],
) -> tuple[dict, list[str]]:
    """The measures, ready for JSON, and a sentence for each reason for doubt, the gravest first, or
    a remark.

    transform: fixed to moving points, LPS mm. correlation: normalised, of all the body before and after.
    """
    fixed, moving = in_hounsfield(fixed), in_hounsfield(moving)
    unit = 1 / magnification(fixed.grid)
    before, after = fine_agreement(fixed, moving, transform, DETAIL_MM * unit)
    turned = orientations(fixed, moving, COARSE_MM * unit)
    doubts = []
    best = max(turned, key=lambda axes: turned[axes])
    given, exchanged = exchanged_axes(fixed, moving, COARSEST_MM * unit)
    if exchanged > turned[best] and 1 - exchanged < CLEARLY_BETTER_SHARE * (1 - given):
        doubts.append(
            "The moving scan agrees better with the fixed one when its axes are exchanged (correlation "
            f"{exchanged:.2f} against {given:.2f}), as after a quarter turn: check the orientation in the "
            "files' headers."
        )
    elif best and 1 - turned[best] < BETTER_SHARE * (1 - turned[""]):
        doubts.append(
            f"The moving scan agrees better with the fixed one when it is {_in_words(best)} (correlation "
            f"{turned[best]:.2f} against {turned['']:.2f}): check the orientation in the files' headers."
        )
    if after is not None and after < LOWEST_DETAIL:
        doubts.append(
            "The scans look like two persons, or like one person's that were not brought together: the "
            f"lungs' vessels agree by {after:.2f} only, where those of one person agree by 0.8 and more."
        )
    fell = before is not None and after is not None and after < before - FALLEN_DETAIL
    start, end = correlation
    drop = 0.0 if start is None or end is None else start - end
    lower = drop > SMALLEST_FALL
    figures = f" (correlation {start:.3f} before, {end:.3f} after)" if lower else ""
    if fell or drop > FALLEN_CORRELATION:
        doubts.append(
            f"The scans agree less than before the registration{figures}: do not use the result without "
            "looking at it."
        )
    told = list(doubts)
    if lower and len(doubts) == 0:
        told.append(
            f"The scans' grey values agree a little less than before the registration{figures}; breath alone "
            "changes the lungs' density so much."
        )
    measures = {
        "fine_structures": {"initial": before, "final": after},
        "orientations": {name or "as given": round(value, 4) for name, value in turned.items()},
        "plausible": not doubts,
        "doubts": doubts,
    }
    return measures, told


def fine_agreement(
    fixed: Volume, moving: Volume, transform: sitk.Transform, spacing: float
) -> tuple[float | None, float | None]:
    """Correlation of what is finer than `spacing` (mm) in the lungs that both scans show, before and after;
    None where there is too little lung in common.
    """
    grid = fixed.grid.resized((max(spacing, *fixed.grid.spacing),) * 3)
    identity = sitk.Transform(3, sitk.sitkIdentity)
    here = _fine(_read(fixed, identity, grid))
    before, after = (_lung_correlation(*here, *_fine(_read(moving, t, grid))) for t in (identity, transform))
    return before, after


def _fine(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is finer than the smoothed image, and the inside of the lungs, bool."""
    smooth = ndimage.gaussian_filter(image, 1.0)
    return image - smooth, _inner_lung(smooth)


def _lung_correlation(a: np.ndarray, lung_a: np.ndarray, b: np.ndarray, lung_b: np.ndarray) -> float | None:
    lung = lung_a & lung_b
    if np.count_nonzero(lung) < LEAST_LUNG_VOXELS:
        return None
    fine = [image[lung] for image in (a, b)]
    return float(np.corrcoef(*fine)[0, 1]) if min(f.std() for f in fine) > 0 else None


def _inner_lung(smooth: np.ndarray) -> np.ndarray:
    low, high = LUNG_HU
    margin = FILLED_VOXELS + 1
    lung = np.pad((smooth > low) & (smooth < high), margin)
    filled = ndimage.binary_closing(lung, iterations=FILLED_VOXELS)
    inside = (slice(margin, -margin),) * 3
    return ndimage.binary_erosion(filled, iterations=SHRUNK_VOXELS)[inside]


def orientations(fixed: Volume, moving: Volume, spacing: float) -> dict[str, float]:
    """By mirrored axes ("" for none, "xy" for a half turn about z): the highest correlation of all shifts."""
    a, b = (_coarse(volume, spacing) for volume in (fixed, moving))
    return {_axes(flips): value for flips, value in zip(FLIPS, _flipped_correlations(a, b), strict=True)}


def exchanged_axes(fixed: Volume, moving: Volume, spacing: float) -> tuple[float, float]:
    """The highest correlation of all shifts as the scans are given, and that of the best of the orientations
    in which axes of the moving scan are exchanged, as after a quarter turn. spacing: of the coarse voxels
    that are compared, mm.
    """
    a, b = (_coarse(volume, spacing) for volume in (fixed, moving))
    given, *others = itertools.permutations(range(3))
    best = max(max(_flipped_correlations(a, b.transpose(order))) for order in others)
    return _flipped_correlations(a, b.transpose(given), FLIPS[:1])[0], best


def _flipped(array: np.ndarray, flips: tuple[bool, ...]) -> np.ndarray:
    return array[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]


def _axes(flips: tuple[bool, ...]) -> str:
    """Names of the flipped axes of an array (z, y, x)."""
    return "".join(axis for axis, flip in zip("xyz", flips[::-1], strict=True) if flip)


def _flipped_correlations(
    a: np.ndarray, b: np.ndarray, orientations: Sequence[tuple[bool, ...]] = FLIPS
) -> list[float]:
    """The highest normalised correlation of two images over all shifts with enough overlap, by FFT (Padfield,
    2012), for the second one in each of its mirrored orientations.
    """
    shape = [fft.next_fast_len(m + n - 1, True) for m, n in zip(a.shape, b.shape, strict=True)]
    # Of values near 1, single precision is enough.
    scale = float(np.sqrt(a.var() + b.var())) or 1.0
    least = 1e-6 * a.size * max(float(a.var()), float(b.var()), 1e-6) / scale**2
    a, b = (((image - image.mean()) / scale).astype(np.float32) for image in (a, b))
    fa, fa2, f1a = (fft.rfftn(image, shape) for image in (a, a * a, np.ones_like(a)))
    f1b = np.conj(fft.rfftn(np.ones_like(b), shape))
    count = fft.irfftn(f1a * f1b, shape)
    # Few of all shifts overlap enough.
    shifts = np.nonzero(count > LEAST_OVERLAP * min(a.size, b.size))
    count = count[shifts]
    sum_a, square_a = (fft.irfftn(of_a * f1b, shape)[shifts] for of_a in (fa, fa2))
    variance_a = square_a - sum_a**2 / count
    sums_b = [fft.irfftn(f1a * np.conj(fft.rfftn(image, shape)), shape) for image in (b, b * b)]
    found = []
    for flips in orientations:
        turned = _turned(shifts, flips, a.shape, b.shape, shape)
        sum_b, square_b = (of_b[turned] for of_b in sums_b)
        variance_b = square_b - sum_b**2 / count
        fb = np.conj(fft.rfftn(_flipped(b, flips), shape))
        covariance = fft.irfftn(fa * fb, shape)[shifts] - sum_a * sum_b / count
        usable = (variance_a > least) & (variance_b > least)
        values = covariance[usable] / np.sqrt(variance_a[usable] * variance_b[usable])
        found.append(float(values.max(initial=0.0)))
    return found


def _turned(
    shifts, flips: tuple[bool, ...], fixed: Sequence[int], moving: Sequence[int], shape: Sequence[int]
):
    """Where that part of the second image, flipped, lies on the first which lies there at circular shifts s
    unflipped: m - n - s along each flipped axis; m, n: the images' sizes, shape: of all shifts.
    """
    return tuple(
        (m - n - s) % size if flip else s
        for s, flip, m, n, size in zip(shifts, flips, fixed, moving, shape, strict=True)
    )


def _coarse(volume: Volume, spacing: float) -> np.ndarray:
    """The image on a grid along the LPS axes over all of it."""
    factors = [
        max(1, min(int(spacing / s), n)) for s, n in zip(volume.grid.spacing, volume.grid.size, strict=True)
    ]
    image = sitk.BinShrink(to_image(np.asarray(volume.array, np.float32), volume.grid), factors)
    small = Grid(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    corners = volume.grid.corners()
    size = np.maximum(np.ceil(np.ptp(corners, axis=0) / spacing).astype(int), 1)
    origin = volume.grid.center - (size - 1) / 2 * spacing
    grid = Grid(tuple(size.tolist()), (spacing,) * 3, tuple(origin.tolist()))
    shrunk = Volume(sitk.GetArrayFromImage(image), small, volume.name)
    return _read(shrunk, sitk.Transform(3, sitk.sitkIdentity), grid).astype(np.float64)


def _read(volume: Volume, transform: sitk.Transform, grid: Grid) -> np.ndarray:
    image = to_image(np.asarray(volume.array, np.float32), volume.grid)
    fill = max(AIR_HU, float(volume.array.min()))
    image = sitk.Resample(
        image, grid.size, transform, sitk.sitkLinear, grid.origin, grid.spacing, grid.direction, fill
    )
    return np.clip(sitk.GetArrayFromImage(image), LOWEST_HU, HIGHEST_HU)


def _in_words(mirrored: str) -> str:
    if len(mirrored) == 2:
        (axis,) = set("xyz") - set(mirrored)
        return f"turned by half a turn about the {_AXES[axis]} axis"
    return "mirrored " + " and ".join(_AXES[axis] for axis in mirrored)
