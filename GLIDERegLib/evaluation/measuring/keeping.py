"""Nodules at given points, as a growth-safe registration needs them: their voxels, and a ball around each."""

from __future__ import annotations

import numpy as np

from GLIDERegLib.core.ct import is_ct
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.core.points import PointSet
from GLIDERegLib.evaluation.measuring.measure import measure_nodule
from GLIDERegLib.evaluation.nodules import UNKNOWN_RADIUS_MM
from GLIDERegLib.registration.rigid_nodules import Ball

KEPT_RIGID, KEPT_SIZE = "was kept rigid", "do not steer the registration; they keep their size"


def nodules_to_keep(volume: Volume, marks: PointSet) -> tuple[list[Volume], list[Ball], list[str]]:
    """Masks on the volume's voxels, a ball around each, and sentences on those that could not be segmented.

    marks: a point in each; those outside the volume are left out.
    """
    masks, balls = [], []
    untold: dict[str, list[str]] = {}
    if len(marks) and not is_ct(volume):
        return [], [], [f"Nodules of the {volume.name} were not kept rigid: its values are not HU."]
    for name, point in zip(marks.names, marks.points, strict=True):
        if not volume.grid.contains(point):
            continue
        found = measure_nodule(volume, point)
        mask = found.mask
        if mask is None or not mask.array.any():
            untold.setdefault(found.status, []).append(name)
            mask = _ball(volume.grid, point)
        places = mask.grid.to_physical(np.argwhere(mask.array)[:, ::-1])
        center = places.mean(axis=0)
        radius = float(np.linalg.norm(places - center, axis=1).max()) + max(mask.grid.spacing) / 2
        masks.append(mask)
        balls.append(Ball(center, radius))
    return masks, balls, [_told(names, status, volume.name) for status, names in untold.items()]


def on_nodules(warning: str) -> bool:
    """Whether a registration's warning is of the nodules that it kept, which whoever measures them tells."""
    return KEPT_RIGID in warning or KEPT_SIZE in warning


def _told(names: list[str], status: str, scan: str) -> str:
    labels = ", ".join(f"'{name}'" for name in names)
    which = f"Nodule {labels}" if len(names) == 1 else f"Nodules {labels}"
    whose = "its point" if len(names) == 1 else "each point"
    ball = f"a ball of {UNKNOWN_RADIUS_MM:g} mm around {whose} {KEPT_RIGID}"
    return f"{which} of the {scan} {status}; {ball}."


def _ball(grid: Grid, point: np.ndarray) -> Volume:
    reach = UNKNOWN_RADIUS_MM / np.asarray(grid.spacing)
    index = grid.to_index(point)
    first = np.maximum(np.floor(index - reach), 0).astype(int)
    size = np.minimum(np.ceil(index + reach) + 1, grid.size).astype(int) - first
    box = Grid(tuple(size.tolist()), grid.spacing, tuple(grid.to_physical(first).tolist()), grid.direction)
    near = np.linalg.norm(box.points() - point, axis=-1) <= UNKNOWN_RADIUS_MM
    return Volume(near.astype(np.uint8), box, "nodule")
