"""A mask too small to steer by: the whole bodies give the start, and away from the mask it stays as it is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.registration.field import DisplacementField
from GLIDERegLib.registration.folding import without_folds
from GLIDERegLib.registration.pair_inputs import PairInputs
from GLIDERegLib.registration.result import Outcome

# Of the scan's volume. A lobe is 1 to 3 % of a chest's scan, a newborn's lung 2 %, a nodule 0.01 %.
LEAST_SHARE = 0.005
# The ramp falls by at most 1.5 / FADE_MM a mm, so that 27 mm of motion can be faded without a fold. Measured
# on the own phantom, where it is 13 mm: the least Jacobian determinant is 0.60, 0.74, 0.85 and 0.85 at 10,
# 20, 40 and 80 mm.
FADE_MM = 40.0
NOTE = (
    "The {role} mask covers only {volume:.3g} ml, too little to steer a registration by: the scans were "
    "aligned by the whole bodies, and the motion was refined near the mask alone."
)


@dataclass(frozen=True)
class SmallMask:
    """A mask, bool (z, y, x), too small to steer by, and the grid it lies on: the fixed scan's (number 0) or
    the moving one's (1).
    """

    number: int
    mask: np.ndarray
    grid: Grid

    @property
    def role(self) -> str:
        """fixed or moving, for messages."""
        return ("fixed", "moving")[self.number]


def first_small(pair: PairInputs) -> SmallMask | None:
    """The first of a pair's masks that is too small to steer by; None where none is."""
    for number, (scan, mask) in enumerate(zip(pair.scans, pair.masks, strict=True)):
        if mask is not None and is_small(mask) and mask.shape == scan.grid.shape:
            return SmallMask(number, mask, scan.grid)
    return None


def is_small(mask: np.ndarray | None) -> bool:
    """Whether a mask, bool (z, y, x), leaves too little to align two scans by; an empty one is not small."""
    return mask is not None and bool(0 < np.mean(mask > 0) < LEAST_SHARE)


def note(mask: np.ndarray, grid: Grid, role: str) -> str:
    """A sentence for a person about a mask, bool (z, y, x), that is too small to steer by."""
    volume_ml = np.count_nonzero(mask) * np.prod(grid.spacing) / 1000
    return NOTE.format(role=role, volume=volume_ml)


def near_start(settings: Settings, mask: np.ndarray, grid: Grid) -> Settings:
    """Settings that look no farther than the mask, bool (z, y, x), is large: what lies beyond it resembles
    anything.
    """
    reach = float((np.count_nonzero(mask) * np.prod(grid.spacing)) ** (1 / 3))
    return replace(
        settings,
        search_range=min(settings.search_range, max(reach, settings.cell_size)),
        global_search_range=min(settings.global_search_range, max(reach, settings.global_cell_size)),
    )


def faded(outcome: Outcome, small: SmallMask) -> Outcome:
    """The outcome with the field it found near the mask, and the pre-alignment away from it, of whose
    uncertainty nothing is known.
    """
    field = faded_to_start(
        outcome.displacement, outcome.initial, small.mask, small.grid, through=small.number == 1
    )
    return replace(outcome, displacement=field, uncertainty=None)


def faded_to_start(
    field: DisplacementField, start: sitk.Transform, mask: np.ndarray, grid: Grid, through: bool
) -> DisplacementField:
    """The field near the mask, and `start` from 40 mm away of it on. through: the mask lies on the moving
    image, where the start leads.
    """
    initial = DisplacementField.of_transform(start, field.grid).vectors
    points = field.grid.points()
    index = grid.to_index(points + initial if through else points)
    distance = ndimage.distance_transform_edt(mask == 0, sampling=grid.spacing[::-1])
    nearest = np.clip(index, 0, np.asarray(grid.size) - 1)
    beyond = np.linalg.norm((index - nearest) * np.asarray(grid.spacing), axis=-1)
    at = np.rint(np.moveaxis(nearest, -1, 0)[::-1]).astype(int)
    ramp = np.clip(1 - (distance[tuple(at)] + beyond) / FADE_MM, 0, 1)
    share = (ramp**2 * (3 - 2 * ramp))[..., None].astype(np.float32)
    vectors = initial + share * (field.vectors - initial)
    return DisplacementField(without_folds(vectors, field.grid), field.grid, field.background)
