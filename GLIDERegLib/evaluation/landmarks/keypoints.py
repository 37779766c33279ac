"""Places that can be told from their surroundings in every direction, spread over the regions.

Distinctiveness after Förstner and Gülch (ISPRS Workshop, 1987): 1 / trace(A^-1) of the structure tensor A,
which is low where any one direction can be shifted along unseen, as along a vessel.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from GLIDERegLib.core.geometry import Volume
from GLIDERegLib.evaluation.landmarks.regions import Regions
from GLIDERegLib.evaluation.lungs import resampled, upright

# Choices: a chest of 330 mm at 1.5 mm; vessels of the size that is matched show there.
SPACING_MM = 1.5
MOST_VOXELS = 220**3
# Of the derivative and of the window that it is collected in, in voxels (corrField: 1.4 and 3 mm).
DERIVATIVE_SIGMA, WINDOW_SIGMA = 1.0, 2.0
# What is beyond does not tell more: bone and metal would outshine soft tissue.
LOWEST_HU, HIGHEST_HU = -1000.0, 300.0
BORDER_MM = 8.0
# Of the mean distance of so many points.
APART = 0.5


def find_keypoints(fixed: Volume, regions: Regions, lungs: int, body: int) -> np.ndarray:
    """Up to `lungs` + `body` keypoints (N, 3), LPS mm, strongest first in each of the two, well spread.

    A place that is closer to a chosen one than half the mean distance of so many points is left out.
    """
    spacing = max(SPACING_MM, (float(np.prod(fixed.grid.extent)) / MOST_VOXELS) ** (1 / 3))
    grid = upright(fixed.grid, spacing)
    hu = np.clip(resampled(fixed, grid), LOWEST_HU, HIGHEST_HU)
    strength = _distinctiveness(hu)
    peaks = strength == ndimage.maximum_filter(strength, size=3)
    border = int(np.ceil(BORDER_MM / spacing))
    inner = np.zeros(peaks.shape, bool)
    inner[(slice(border, -border),) * 3] = True
    at = np.argwhere(peaks & inner & (strength > 0))
    order = np.argsort(-strength[tuple(at.T)], kind="stable")
    points = grid.to_physical(at[order][:, ::-1])
    points = points[fixed.grid.contains(points)]
    names = np.array(regions.at(points))
    inside_lungs = regions.lungs()
    in_lungs = regions._read(inside_lungs, points) > 0
    chosen = []
    for wanted, count, volume in (
        (in_lungs, lungs, inside_lungs.sum()),
        (~in_lungs & (names != "outside"), body, (regions.labels > 0).sum() - inside_lungs.sum()),
    ):
        apart = APART * (float(volume * np.prod(regions.grid.spacing)) / max(count, 1)) ** (1 / 3)
        chosen.append(_spread(points[wanted], apart)[:count])
    return np.concatenate(chosen)


def _distinctiveness(hu: np.ndarray) -> np.ndarray:
    """1 / trace(A^-1) at every voxel, float32."""
    slopes = [
        ndimage.gaussian_filter1d(ndimage.gaussian_filter(hu, DERIVATIVE_SIGMA), DERIVATIVE_SIGMA, axis, 1)
        for axis in range(3)
    ]
    a, b, c, d, e, f = (
        ndimage.gaussian_filter(slopes[i] * slopes[j], WINDOW_SIGMA)
        for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
    )
    minors = (b * c - f * f) + (a * c - e * e) + (a * b - d * d)
    determinant = a * (b * c - f * f) - d * (d * c - f * e) + e * (d * f - b * e)
    return np.where(minors > 0, determinant / np.maximum(minors, 1e-6), 0)


def _spread(points: np.ndarray, apart_mm: float) -> np.ndarray:
    """Of points in order of strength, those without a stronger chosen one within `apart_mm`."""
    if not len(points):
        return points
    near = cKDTree(points).query_ball_point(points, apart_mm)
    taken = np.zeros(len(points), bool)
    for n, others in enumerate(near):
        taken[n] = not any(taken[m] for m in others if m < n)
    return points[taken]
