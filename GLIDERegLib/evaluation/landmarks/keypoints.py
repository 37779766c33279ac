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
# Of the derivative and of the window that it is collected in, in voxels (corrField: 1.4 and 3 mm); and of
# smaller structures, of which there are four times as many.
LARGE, SMALL = (1.0, 2.0), (0.5, 1.0)
# What is beyond does not tell more: bone and metal would outshine soft tissue.
LOWEST_HU, HIGHEST_HU = -1000.0, 300.0
BORDER_MM = 8.0
# Of the mean distance of so many points.
APART = 0.5
# Between smaller structures and what was matched, between each other, and from what was tried.
SMALL_APART_MM, TRIED_MM = 4.0, 2.0


def find_keypoints(fixed: Volume, regions: Regions, lungs: int, body: int) -> np.ndarray:
    """Up to `lungs` + `body` keypoints (N, 3), LPS mm, strongest first in each of the two, well spread.

    A place that is closer to a chosen one than half the mean distance of so many points is left out.
    """
    points = _peaks(fixed, *LARGE)
    names = np.array(regions.at(points))
    inside_lungs, in_lungs = regions.lungs(), regions.in_lungs(points)
    chosen = []
    for wanted, count, volume in (
        (in_lungs, lungs, inside_lungs.sum()),
        (~in_lungs & (names != "outside"), body, (regions.labels > 0).sum() - inside_lungs.sum()),
    ):
        apart = APART * (float(volume * np.prod(regions.grid.spacing)) / max(count, 1)) ** (1 / 3)
        chosen.append(_spread(points[wanted], apart)[:count])
    return np.concatenate(chosen)


def find_smaller(
    fixed: Volume, regions: Regions, tried: np.ndarray, matched: np.ndarray, covered_mm: float, count: int
) -> np.ndarray:
    """Up to `count` smaller structures of the lungs (N, 3), LPS mm, away from what was tried (M, 3) and
    matched (K, 3): first those farther than covered_mm from all that was matched, each strongest first.
    """
    points = _peaks(fixed, *SMALL)
    points = points[regions.in_lungs(points)]
    away = cKDTree(matched).query(points)[0]
    free = (away > SMALL_APART_MM) & (cKDTree(tried).query(points)[0] > TRIED_MM)
    points, away = points[free], away[free]
    order = np.argsort(away <= covered_mm, kind="stable")
    return _spread(points[order], SMALL_APART_MM)[:count]


def _peaks(fixed: Volume, derivative: float, window: float) -> np.ndarray:
    """All local maxima of distinctiveness (N, 3), LPS mm, strongest first."""
    spacing = max(SPACING_MM, (float(np.prod(fixed.grid.extent)) / MOST_VOXELS) ** (1 / 3))
    grid = upright(fixed.grid, spacing)
    hu = np.clip(resampled(fixed, grid), LOWEST_HU, HIGHEST_HU)
    strength = _distinctiveness(hu, derivative, window)
    peaks = strength == ndimage.maximum_filter(strength, size=3)
    border = int(np.ceil(BORDER_MM / spacing))
    inner = np.zeros(peaks.shape, bool)
    inner[(slice(border, -border),) * 3] = True
    at = np.argwhere(peaks & inner & (strength > 0))
    order = np.argsort(-strength[tuple(at.T)], kind="stable")
    points = grid.to_physical(at[order][:, ::-1])
    return points[fixed.grid.contains(points)]


def _distinctiveness(hu: np.ndarray, derivative: float, window: float) -> np.ndarray:
    """1 / trace(A^-1) at every voxel, float32; standard deviations in voxels."""
    slopes = [
        ndimage.gaussian_filter1d(ndimage.gaussian_filter(hu, derivative), derivative, axis, 1)
        for axis in range(3)
    ]
    a, b, c, d, e, f = (
        ndimage.gaussian_filter(slopes[i] * slopes[j], window)
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
