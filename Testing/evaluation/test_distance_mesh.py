"""A segment's surface as a mesh: closed, where the surface is, and as far from another as it truly is."""

from __future__ import annotations

import numpy as np
import pytest

from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.evaluation.distance_mesh import distance_mesh, net

TURN = np.radians(20)
# Anisotropic and turned.
GRID = Grid(
    (36, 40, 30),
    (2.0, 1.5, 2.5),
    (-30.0, 10.0, 5.0),
    (np.cos(TURN), -np.sin(TURN), 0.0, np.sin(TURN), np.cos(TURN), 0.0, 0.0, 0.0, 1.0),
)
VOXEL_MM = 2.5


def ball(radius: float, center=None) -> np.ndarray:
    center = GRID.center if center is None else center
    return np.linalg.norm(GRID.points() - center, axis=-1) < radius


def test_a_ball_is_a_closed_surface_at_its_radius():
    points, faces = net(ball(20.0), GRID)
    radius = np.linalg.norm(points - GRID.center, axis=1)
    assert abs(radius.mean() - 20) < 0.1 * VOXEL_MM and np.abs(radius - 20).max() < VOXEL_MM
    edges = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    _, shared = np.unique(edges, axis=0, return_counts=True)
    assert set(shared) == {2}
    # Euler: a closed surface without handles.
    assert len(points) - len(shared) + len(faces) == 2


def test_all_faces_are_seen_from_one_side():
    points, faces = net(ball(20.0), GRID)
    a, b, c, d = (points[faces[:, n]] for n in range(4))
    outward = np.einsum("nd,nd->n", np.cross(c - a, d - b), (a + b + c + d) / 4 - GRID.center)
    assert np.all(outward > 0) or np.all(outward < 0)


@pytest.mark.parametrize("apart", [0.0, 3.0, 6.0])
def test_distances_between_two_balls_are_the_difference_of_their_radii(apart):
    mesh = distance_mesh(ball(16.0), ball(16.0 + apart), GRID)
    assert abs(mesh.distances.mean() - apart) < 0.1 * VOXEL_MM
    assert len(mesh.distances) == len(mesh.points) and mesh.faces.max() == len(mesh.points) - 1


def test_what_fills_the_scan_has_no_surface():
    mesh = distance_mesh(np.ones(GRID.shape, bool), ball(16.0), GRID)
    assert len(mesh.points) == len(mesh.faces) == len(mesh.distances) == 0
