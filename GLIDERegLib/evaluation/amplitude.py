"""How far places move over the phases of a 4D study, peak to peak."""

from __future__ import annotations

from itertools import combinations

import numpy as np

# Left-right, anterior-posterior, superior-inferior.
AXES = ("LR", "AP", "SI")
PERCENTILE = 95.0


def amplitude(positions: np.ndarray) -> np.ndarray:
    """Peak to peak (N, 4) in mm of places (F, N, 3) over F phases: along each axis of the body, and between
    the two phases that are farthest apart.

    Positions in LPS or RAS; not a number where a place is not known in a phase, which then does not count.
    """
    positions = np.asarray(positions, float)
    with np.errstate(invalid="ignore"):
        along = np.fmax.reduce(positions) - np.fmin.reduce(positions)
        apart = np.where(np.isfinite(along).all(axis=1), 0.0, np.nan)
        for a, b in combinations(positions, 2):
            apart = np.fmax(apart, np.linalg.norm(a - b, axis=1))
    return np.column_stack([along, apart])


def region_amplitude(positions: np.ndarray) -> np.ndarray:
    """The amplitude (4,) that 95 % of the places do not exceed; each of its numbers by itself."""
    return np.percentile(amplitude(positions), PERCENTILE, axis=0)
