"""Two images that are not CT on a scale on which noise is the same everywhere, as it is in HU.

A curve between tissue and signal (an MR's, a photograph's gamma) leaves dark organs a small part of the
values: lungs of 8 of 255 steps, with noise as small. What compares brightness would see nothing there beside
soft tissue's noise. Values are mapped by the integral of 1 / noise(value), which gives every value one noise
(Bartlett, Biometrics 3:39, 1947); noise is measured in the pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from GLIDERegLib.core.ct import (
    AIR_HU,
    AIR_LEVEL_HU,
    MAXIMUM_HU,
    OUTSIDE_FIELD_OF_VIEW_HU,
    TISSUE_LEVEL_HU,
)
from GLIDERegLib.core.geometry import Volume

# Levels at which noise is measured: from air's own spread below its level to bone, 33 apart.
LEVELS = np.linspace(-1100.0, 1000.0, 65)
# A level with fewer of the sampled voxels, or a smaller share of them, tells nothing.
FEWEST, LEAST_SHARE = 100, 1e-3
# Of a level's second differences the part that noise alone makes, not edges: the smaller half.
PART = 0.5
# A level of which more than this part was cut off shows too little noise: half of a Gaussian has 0.6 of it.
MOST_CUT_OFF = 0.3
# Where the darkest have this share of tissue's noise, or more, noise is even: of CT in other numbers 0.83 and
# more, half of air's noise cut off or not; of a phantom's values to the power of 1.6 and 2.2, 0.42 and 0.26.
EVEN = 0.8
# Dark values are spread by no more than this, a choice: rounding to 8 bits leaves the noise of lungs no
# figure.
MOST_SPREAD = 10.0
PLANES, ROWS = 32, 128  # of each image are looked at
# The smaller half of second differences of Gaussian noise has this mean, in its standard deviations.
OF_DEVIATION = 0.397
# Dark noise up to a CT's, HU: of phantoms with noise of 25 HU in other numbers 7 to 18, of MRs 44.
QUIET_HU = 25.0


class Evened(NamedTuple):
    """Two images of one noise; quiet: whether noise of their darkest values was no larger than a CT's."""

    fixed: Volume
    moving: Volume
    quiet: bool


def even_noise(fixed: Volume, moving: Volume) -> Evened:
    """Both images, float32, with dark values spread where their noise is smaller than soft tissue's, by one
    curve; air and tissue keep their levels. Images whose noise is even stay as they are.

    fixed, moving: on a scale where air and tissue lie as in HU (`in_hounsfield`).
    """
    noise = _noise([fixed.array, moving.array])
    if noise is None:
        return Evened(fixed, moving, False)
    quiet = bool(noise[0] <= QUIET_HU * OF_DEVIATION)
    tissue = float(np.interp(TISSUE_LEVEL_HU, _centres(), noise))
    if not tissue > 0:
        return Evened(fixed, moving, quiet)
    # The brighter, the noisier, and no noisier than tissue: edges between lung and tissue look like noise.
    relative = np.clip(np.maximum.accumulate(noise) / tissue, 1 / MOST_SPREAD, 1.0)
    if relative.min() >= EVEN:
        return Evened(fixed, moving, quiet)
    curve = np.concatenate([[0.0], np.cumsum(np.diff(LEVELS) / relative)])
    air, body = np.interp((AIR_LEVEL_HU, TISSUE_LEVEL_HU), LEVELS, curve)
    scale = (TISSUE_LEVEL_HU - AIR_LEVEL_HU) / (body - air)
    # As far as values go, which end with the last level's slope.
    knots = np.append(LEVELS, MAXIMUM_HU)
    curve = AIR_LEVEL_HU + scale * (np.append(curve, curve[-1] + MAXIMUM_HU - LEVELS[-1]) - air)
    return Evened(_mapped(fixed, knots, curve), _mapped(moving, knots, curve), quiet)


def _centres() -> np.ndarray:
    return 0.5 * (LEVELS[1:] + LEVELS[:-1])


def _noise(arrays: Sequence[np.ndarray]) -> np.ndarray | None:
    """Noise at the centre of each level, up to one factor for all; None where no level tells.

    From second differences along rows, whose mean of three voxels does not depend on them. Where one of the
    three is the lowest or the highest value of its image, values may have been cut off, and noise with them.
    """
    means, differences, uncut = [], [], []
    for array in arrays:
        planes, rows = (max(1, n // most) for n, most in zip(array.shape, (PLANES, ROWS), strict=False))
        part = array[::planes, ::rows].astype(np.float32)
        measured = part[part > OUTSIDE_FIELD_OF_VIEW_HU]
        if part.shape[2] < 3 or not measured.size:
            return None
        left, middle, right = part[..., :-2], part[..., 1:-1], part[..., 2:]
        whole = np.minimum(np.minimum(left, middle), right) > measured.min()
        whole &= np.maximum(np.maximum(left, middle), right) < measured.max()
        inside = middle > OUTSIDE_FIELD_OF_VIEW_HU
        means.append(((left + middle + right) / 3)[inside])
        differences.append(np.abs(middle - (left + right) / 2)[inside])
        uncut.append(whole[inside])
    count = len(LEVELS) - 1
    level = np.clip(np.searchsorted(LEVELS, np.concatenate(means)) - 1, 0, count - 1)
    difference, whole = np.concatenate(differences), np.concatenate(uncut)
    numbers, of_whole = np.bincount(level, minlength=count), np.bincount(level, whole, count)
    told = of_whole >= np.maximum((1 - MOST_CUT_OFF) * numbers, max(FEWEST, LEAST_SHARE * whole.sum()))
    known, noise = [], []
    for number in np.flatnonzero(told):
        values = difference[whole & (level == number)]
        known.append(_centres()[number])
        noise.append(float(values[values <= np.quantile(values, PART)].mean()))
    return np.interp(_centres(), known, noise) if known else None


def _mapped(volume: Volume, knots: np.ndarray, curve: np.ndarray) -> Volume:
    array = np.empty(volume.array.shape, np.float32)
    for to, plane in zip(array, volume.array, strict=True):
        to[:] = np.clip(np.interp(plane, knots, curve), AIR_HU, MAXIMUM_HU)
        unmeasured = plane <= OUTSIDE_FIELD_OF_VIEW_HU
        to[unmeasured] = plane[unmeasured]
    return Volume(array, volume.grid, volume.name)
