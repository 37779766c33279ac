"""What to say, and what to refuse, of a pair as a whole, beside the doubts of `registration.plausibility`."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.ct import AIR_HU, in_hounsfield, is_ct, note, scale_of
from GLIDERegLib.core.errors import InputError, one_sentence
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.files.transforms import check_invertible
from GLIDERegLib.registration import scale
from GLIDERegLib.registration.pair_inputs import PairInputs
from GLIDERegLib.transforms.points import map_points

# Voxels along an axis that are looked at, a choice: a body's width to 2 %.
SAMPLES = 64
# Skin and all within: between fat and air.
TISSUE_HU = -500.0
# Of the voxels of tissue, on either side: the table, arms and lines beside the body.
ASIDE_PERCENT = 1.0
# A choice: one person's chest is not as much wider in one scan, in both directions, as in the other.
WIDER = 1.4
# A choice: a newborn's chest is a third as wide as a man's, and nobody registers the two.
OTHER_SIZE = 3.5
SIZE_HINT = "Check spacing and units in the files' headers."
# A choice: of the box around a chest about half is tissue (E, F, G), of that around a lung cut out far less.
DENSER = 2.0
# A body that takes less of its image's width than this is seen whole.
SEEN_WHOLE = 0.97
# A choice, far below the 0.8 and more of right pairs; a phantom beside one of twice its size had 0.00.
LOWEST_CORRELATION = 0.3
# A choice, along an axis.
INITIAL_SAMPLES = 9
# Choices: along an axis; a correlation of fewer voxels is chance.
SAMPLES_OF_OVERLAP, FEWEST_SAMPLES = 24, 200
# A choice: MIND compares patches of three voxels, and a breath moves the lungs by more than one.
FEWEST_VOXELS = 8


def notes(pair: PairInputs) -> list[str]:
    """What a reader of the result should know of the scans: how they were read, their numbers, their size."""
    told = [*pair.fixed.notes, *pair.moving.notes]
    told += filter(None, map(note, pair.scans))
    told += filter(None, map(few_voxels_note, pair.scans))
    return [*told, *filter(None, (same_note(*pair.scans), scale.note(pair.fixed.grid)))]


@dataclass(frozen=True)
class _Body:
    """width_mm: from left to right and from front to back. whole: whether its sides are all seen. filled: the
    share of tissue in the box around it.
    """

    width_mm: np.ndarray
    whole: bool
    filled: float


def refuse_other_size(fixed: Volume, moving: Volume) -> str:
    """Raises InputError for scans of which one shows a body several times as large as the other's; returns
    `size_doubt` of others.
    """
    bodies = _body(fixed), _body(moving)
    if message := _other_size(*bodies, OTHER_SIZE):
        raise InputError(message, SIZE_HINT, code="sizes")
    return _size_doubt(*bodies)


def check_initial(fixed: Volume, moving: Volume, initial: sitk.Transform) -> None:
    """Raises InputError for an initial transform, fixed to moving points (LPS mm), that has no inverse or
    leads from nowhere in the fixed scan into the moving one.
    """
    check_invertible(initial, "The initial transform")
    places = [np.linspace(0, n - 1, INITIAL_SAMPLES) for n in fixed.grid.size]
    points = fixed.grid.to_physical(np.stack(np.meshgrid(*places), axis=-1).reshape(-1, 3))
    if not moving.grid.contains(map_points(initial, points)).any():
        raise InputError(
            "The initial transform leads from nowhere in the fixed scan into the moving one.",
            "Check that it is of these scans, in mm, and maps fixed to moving points.",
            code="initial-transform",
        )


def size_doubt(fixed: Volume, moving: Volume) -> str:
    """A sentence where one scan shows a body WIDER times as large as the other's, or more; else empty."""
    return _size_doubt(_body(fixed), _body(moving))


def _size_doubt(here: _Body | None, there: _Body | None) -> str:
    message = _other_size(here, there, WIDER)
    return one_sentence(message, SIZE_HINT) if message else ""


def _other_size(here: _Body | None, there: _Body | None, wider: float) -> str:
    """What is wrong where one body is `wider` times as large as the other, or more.

    Empty where not, where the smaller one is not seen whole, and where one is no body but a part cut out, as
    a lung alone.
    """
    if here is None or there is None:
        return ""
    ratio = there.width_mm / here.width_mm
    larger = ratio.min() > wider and here.whole
    smaller = ratio.max() < 1 / wider and there.whole
    if not (larger or smaller) or not 1 / DENSER < there.filled / here.filled < DENSER:
        return ""
    widths = [" x ".join(f"{length:.3g}" for length in body.width_mm) for body in (there, here)]
    return (
        f"The moving body is {widths[0]} mm wide (left to right, front to back), the fixed one {widths[1]}."
    )


def agreement_doubt(fixed: Volume, moving: Volume, transform: sitk.Transform, after: float | None) -> str:
    """A sentence where two CTs have next to nothing in common after the registration; empty otherwise.

    transform: fixed to moving points, LPS mm. after: the correlation in the body, where what the moving scan
    does not reach counts as air; None where nothing overlaps.
    """
    if not (is_ct(fixed) and is_ct(moving)) or (after is not None and after >= LOWEST_CORRELATION):
        return ""
    after = _overlap_correlation(fixed, moving, transform)
    if after is not None and after >= LOWEST_CORRELATION:
        return ""
    if after is not None and after <= -LOWEST_CORRELATION:
        return (
            f"The scans agree with the grey values of one inverted (correlation {after:.2f}): check the "
            "values of both files."
        )
    said = "show nothing in common" if after is None else f"hardly agree (correlation {after:.2f})"
    return f"The scans {said} after the registration: do not use the result."


def _overlap_correlation(fixed: Volume, moving: Volume, transform: sitk.Transform) -> float | None:
    """The correlation of a sample of the voxels that both scans show; None where there are next to none."""
    steps = np.maximum(1, np.asarray(fixed.grid.size) // SAMPLES_OF_OVERLAP)
    index = (
        np.indices(fixed.array[:: steps[2], :: steps[1], :: steps[0]].shape).reshape(3, -1).T * steps[::-1]
    )
    there = moving.grid.to_index(map_points(transform, fixed.grid.to_physical(index[:, ::-1])))
    shown = np.all((there >= 0) & (there <= np.asarray(moving.grid.size) - 1), axis=1)
    if np.count_nonzero(shown) < FEWEST_SAMPLES:
        return None
    here, reached = index[shown], np.rint(there[shown]).astype(int)[:, ::-1]
    values = [v.array[tuple(at.T)].clip(AIR_HU) for v, at in ((fixed, here), (moving, reached))]
    return float(np.corrcoef(*values)[0, 1]) if min(v.std() for v in values) > 0 else None


def few_voxels_note(volume: Volume) -> str:
    """A sentence on a scan with too few voxels along an axis to tell motion along it; empty otherwise."""
    fewest, apart = min(zip(volume.grid.size, volume.grid.spacing, strict=True))
    if fewest >= FEWEST_VOXELS:
        return ""
    return (
        f"The {volume.name} has only {counted(fewest, 'voxel')} along an axis, {apart:.3g} mm apart: motion "
        "along it cannot be told."
    )


def same_note(fixed: Volume, moving: Volume) -> str:
    """A sentence where both scans are one; empty otherwise."""
    if fixed.grid != moving.grid or not np.array_equal(fixed.array, moving.array):
        return ""
    return "The fixed and the moving scan are one and the same: was one file given twice?"


def _body(volume: Volume) -> _Body | None:
    """The body that a scan shows; None where no body is told from air."""
    steps = np.maximum(1, np.asarray(volume.grid.size) // SAMPLES)
    array = volume.array[:: steps[2], :: steps[1], :: steps[0]]
    grid = Grid.of(array.shape[::-1], steps * volume.grid.spacing, volume.grid.origin, volume.grid.direction)
    sample = Volume(array, grid)
    if not is_ct(sample) and scale_of(sample).slope is None:
        return None
    tissue = np.argwhere(in_hounsfield(sample).array > TISSUE_HU)
    if not len(tissue):
        return None
    places = grid.to_physical(tissue[:, ::-1])[:, :2]
    low, high = np.percentile(places, (ASIDE_PERCENT, 100 - ASIDE_PERCENT), axis=0)
    centres = np.array(list(itertools.product(*((0, n - 1) for n in grid.size))))
    image = np.ptp(grid.to_physical(centres)[:, :2], axis=0)
    whole = bool((np.ptp(places, axis=0) < SEEN_WHOLE * image).all())
    return _Body(high - low, whole, float(len(tissue) / np.prod(np.ptp(tissue, axis=0) + 1)))
