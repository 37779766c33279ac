"""Whether two scans that are not in HU have one scale, so that their brightness can be compared: found from
the pair, as it lies under the field so far.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from GLIDERegLib.registration.sampling import sample
from GLIDERegLib.registration.working_grid import Prepared

# Scans have one scale where a curve explains no more than a twentieth of the one's variance beyond what a
# line does (of one phantom as MR beside itself in HU: 0.37; of pairs of one scale, MRs among them, 0.02).
LEAST_AGREEMENT = 0.95
# Single voxels of scans that are not quiet are compared where a line takes the one's values to the other's.
# Chosen on one phantom as 0-based CT and in two windows (0.985 and more, landmarks better with intensities)
# and on two as MR (0.95 and 0.96, the one worse by a quarter); the real pair as 0-based CT has 0.989.
LEAST_LINEAR = 0.975
# Values of the one scan, and how many voxels tell what the other shows of each.
MOST_LEVELS, VOXELS_A_LEVEL = 32, 10


class Agreement(NamedTuple):
    """Of two scans' values. scale: 1 less the share of the one's variance that any curve of the other's
    values explains and a line does not: about 1 where both have one scale, however noisy they are and however
    far from their place; less where a curve lies between them. linear: Pearson's coefficient. Both 0 where
    next to nothing overlaps.
    """

    scale: float
    linear: float


def scale_agreement(
    fixed: Prepared, moving: Prepared, position: torch.Tensor, displacement: torch.Tensor
) -> Agreement:
    """How the scans' values agree at x and x + u in the fixed body.

    The line by Pearson's r squared, the curve by the correlation ratio (Roche et al., MICCAI 1998, LNCS
    1496:1115), whose difference is Blakeman's criterion of linearity (Biometrika 4:332, 1905); of both
    directions the worse. position, displacement: x and u (3, ...), working voxels of the fixed image.
    """
    shift = np.subtract(moving.offset, fixed.offset)
    offset = torch.as_tensor(shift, dtype=position.dtype, device=position.device)
    there = position + displacement - offset.view(3, *[1] * (position.dim() - 1))
    values, counts = [], torch.ones(position.shape[1:], dtype=torch.bool, device=position.device)
    for image, inside, at in ((fixed, fixed.weight, position), (moving, moving.valid, there)):
        last = torch.tensor(image.array.shape[::-1], device=at.device).view(3, *[1] * (at.dim() - 1)) - 1
        channels = torch.from_numpy(np.stack([image.array, inside.astype(np.float32)])).to(at.device)
        value, share = sample(channels, at)
        values.append(value)
        counts &= ((at >= 0) & (at <= last)).all(dim=0) & (share > 0.99)
    if counts.sum() < 2 * VOXELS_A_LEVEL:
        return Agreement(0.0, 0.0)
    first, second = (value[counts].double().cpu().numpy() for value in values)
    if not min(first.std(), second.std()) > 0:
        return Agreement(0.0, 0.0)
    linear = float(np.corrcoef(first, second)[0, 1])
    by_curve = min(_left_by_curve(first, second), _left_by_curve(second, first))
    return Agreement(float(linear**2 + by_curve), linear)


def _left_by_curve(given: np.ndarray, told: np.ndarray) -> float:
    """The share of the variance of `told` that its means by levels of `given` leave, as for many voxels."""
    count = min(MOST_LEVELS, len(given) // VOXELS_A_LEVEL)
    level = np.searchsorted(np.quantile(given, np.linspace(0, 1, count + 1)[1:-1]), given, side="right")
    numbers = np.bincount(level, minlength=count)
    sums, squares = (np.bincount(level, weights, count) for weights in (told, told**2))
    used = np.count_nonzero(numbers)
    within = float((squares - sums**2 / np.maximum(numbers, 1)).sum()) / (len(told) - used)
    return within / max(float(told.var(ddof=1)), 1e-12)
