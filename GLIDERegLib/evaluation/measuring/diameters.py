"""Longest diameter in an axial plane and the widest across it, between voxels."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

# Of slices whose longest diameters differ less than this, the one with the larger mean is taken.
ALIKE = 0.95


def axial_diameters(inside: np.ndarray, fine_mm: np.ndarray) -> tuple[float, float]:
    """Long and short diameter in mm of a mask (z, y, x) in the slice where it is largest.

    The boundary runs where the lightly smoothed mask crosses one half, linear between voxel centres.
    """
    rows = np.flatnonzero(inside.any(axis=(1, 2)))
    # Only the larger slices can hold the longest diameter.
    areas = inside[rows].sum(axis=(1, 2))
    outlines = [_outline(inside[k], fine_mm[1:]) for k in rows[areas >= 0.5 * areas.max()]]
    found = [_diameters(outline) for outline in outlines if len(outline) > 2]
    longest = max(long for long, _ in found)
    return max((pair for pair in found if pair[0] >= ALIKE * longest), key=sum)


def _outline(mask: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Points (N, 2) in mm where a mask's edge crosses the lines between neighbouring pixels."""
    soft = ndimage.gaussian_filter(np.pad(mask, 2).astype(np.float32), 0.7) - 0.5
    points = []
    for axis in (0, 1):
        a, b = (soft[:-1], soft[1:]) if axis == 0 else (soft[:, :-1], soft[:, 1:])
        where = np.argwhere((a > 0) != (b > 0)).astype(float)
        low, high = a[(a > 0) != (b > 0)], b[(a > 0) != (b > 0)]
        where[:, axis] += low / (low - high)
        points.append(where * spacing)
    return np.concatenate(points)


def _diameters(outline: np.ndarray) -> tuple[float, float]:
    # Here, since a registration loads this module and measures nothing.
    from scipy.spatial.distance import cdist

    apart = cdist(outline, outline)
    a, b = np.unravel_index(np.argmax(apart), apart.shape)
    along = (outline[b] - outline[a]) / apart[a, b]
    across = outline @ np.array([-along[1], along[0]])
    return float(apart[a, b]), float(np.ptp(across))
