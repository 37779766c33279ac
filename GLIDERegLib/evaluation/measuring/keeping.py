"""Nodules at given points, as a growth-safe registration needs them: their voxels, and a ball around each."""

from __future__ import annotations

import numpy as np

from GLIDERegLib.core.ct import is_ct
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.evaluation.measuring.measure import measure_nodule
from GLIDERegLib.registration.rigid_nodules import Ball

# Around a point whose nodule cannot be told from what it touches.
UNKNOWN_RADIUS_MM = 6.0


def nodules_to_keep(volume: Volume, points: np.ndarray) -> tuple[list[Volume], list[Ball], list[str]]:
    """Masks on the volume's voxels, a ball around each, and sentences on those that could not be segmented.

    points: (N, 3), LPS mm; those outside the volume are left out.
    """
    masks, balls, warnings = [], [], []
    points = np.asarray(points, float).reshape(-1, 3)
    if len(points) and not is_ct(volume):
        return [], [], [f"Nodules of the {volume.name} were not kept rigid: its values are not HU."]
    for number, point in enumerate(points, 1):
        if not volume.grid.contains(point):
            continue
        found = measure_nodule(volume, point)
        mask = found.mask
        if mask is None or not mask.array.any():
            warnings.append(
                f"Nodule {number} of the {volume.name} {found.status}; a ball of {UNKNOWN_RADIUS_MM:g} mm "
                "around its point was kept rigid."
            )
            mask = _ball(volume.grid, point)
        places = mask.grid.to_physical(np.argwhere(mask.array)[:, ::-1])
        center = places.mean(axis=0)
        radius = float(np.linalg.norm(places - center, axis=1).max()) + max(mask.grid.spacing) / 2
        masks.append(mask)
        balls.append(Ball(center, radius))
    return masks, balls, warnings


def _ball(grid: Grid, point: np.ndarray) -> Volume:
    reach = UNKNOWN_RADIUS_MM / np.asarray(grid.spacing)
    index = grid.to_index(point)
    first = np.maximum(np.floor(index - reach), 0).astype(int)
    size = np.minimum(np.ceil(index + reach) + 1, grid.size).astype(int) - first
    box = Grid(tuple(size.tolist()), grid.spacing, tuple(grid.to_physical(first).tolist()), grid.direction)
    near = np.linalg.norm(box.points() - point, axis=-1) <= UNKNOWN_RADIUS_MM
    return Volume(near.astype(np.uint8), box, "nodule")
