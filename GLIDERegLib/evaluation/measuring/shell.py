"""The shell around a nodule's boundary in which parts of voxels are weighed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Standard deviations of the blur: 98 % of an edge lies within the shell.
SHELL = 2.1


@dataclass(frozen=True)
class Shell:
    """Around one mask: away, the distance from its boundary in standard deviations of the blur (negative
    inside); excess, I - B; free, the voxels of the shell that no vessel
    touches; wall, the voxels of the chest wall; lung_error_hu, the standard deviation of B.
    """

    mask: np.ndarray
    away: np.ndarray
    excess: np.ndarray
    lung: np.ndarray
    free: np.ndarray
    wall: np.ndarray
    attached: float
    lung_error_hu: float

    def fraction(self, step) -> np.ndarray:
        """Share of every voxel that a nodule of level B + step takes; all or none where a vessel goes on."""
        return np.where(self.free, self.excess / step, self.mask)

    def filled(self, fraction: np.ndarray, number: float) -> np.ndarray:
        """The voxels of highest fraction, as many as the volume has."""
        near = (self.away <= SHELL) & ~self.wall
        values = np.where(~near, -1.0, np.where(self.away < -SHELL, 2.0, fraction))
        number = int(np.clip(round(number), 1, near.sum()))
        level = -np.partition(-values.ravel(), number - 1)[number - 1]
        return values >= max(level, 1e-3)
