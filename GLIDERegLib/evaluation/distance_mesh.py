"""A segment's surface as a mesh that holds its distance to another segment's surface.

The mesh is a surface net: a point in each cell of eight voxels that the surface passes, at the mean of where
it crosses the cell's edges, and a face for each edge crossed (Gibson, 1998, MICCAI, LNCS 1496:888).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.evaluation.surfaces import crossings, distances_to, levelled, surface_of


@dataclass(frozen=True)
class Mesh:
    """points (N, 3), LPS mm; faces (M, 4): indices of points, in turn; distances (N), mm."""

    points: np.ndarray
    faces: np.ndarray
    distances: np.ndarray


def distance_mesh(mask: np.ndarray, other: np.ndarray, grid: Grid) -> Mesh:
    """The surface of a mask (z, y, x), bool, with its distances to the surface of another on the same grid.

    Neither is empty. Without points where one has no surface, since it fills the scan.
    """
    points, faces = net(mask, grid)
    goal = surface_of(other, grid)
    if not len(points) or not len(goal.points):
        return Mesh(np.zeros((0, 3)), np.zeros((0, 4), np.int64), np.zeros(0))
    return Mesh(points, faces, distances_to(goal, points))


def net(mask: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3), LPS mm, and faces (M, 4) of a mask's surface net."""
    smooth, level, start = levelled(mask)
    cells = np.array(smooth.shape) - 1
    owners, places, faces = [], [], []
    for axis in range(3):
        a, b, share = crossings(smooth, level, axis)
        place = a + share[:, None] * (b - a)
        one, other = (axis + 1) % 3, (axis + 2) % 3
        around, inside = [], []
        for back, aside in ((0, 0), (1, 0), (1, 1), (0, 1)):
            cell = a.copy()
            cell[:, one] -= back
            cell[:, other] -= aside
            known = np.all((cell >= 0) & (cell < cells), axis=1)
            within = tuple(np.where(known[:, None], cell, 0).T)
            number = np.asarray(np.ravel_multi_index(within, tuple(cells)))
            owners.append(number[known])
            places.append(place[known])
            around.append(number)
            inside.append(known)
        face = np.stack(around, axis=1)
        # Seen from outside, the corners run the same way round everywhere.
        outward = smooth[tuple(a.T)] > level
        face = np.where(outward[:, None], face, face[:, ::-1])
        faces.append(face[np.all(inside, axis=0)])
    used, point = np.unique(np.concatenate(owners), return_inverse=True)
    crossed = np.concatenate(places)
    counts = np.bincount(point, minlength=len(used))
    index = np.stack([np.bincount(point, crossed[:, n], len(used)) for n in range(3)], axis=1)
    index = index / counts[:, None] + start
    return grid.to_physical(index[:, ::-1]), np.searchsorted(used, np.concatenate(faces))
