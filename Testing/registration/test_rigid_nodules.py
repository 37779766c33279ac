"""Growth-safe registration: nodules are hidden from the similarity, and the field keeps them as they are."""

from __future__ import annotations

import numpy as np
import pytest

import GLIDERegLib as glidereg
from GLIDERegLib.core.ct import AIR_HU
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.evaluation.nodules import jacobian_determinants
from GLIDERegLib.evaluation.phantom import make_phantom
from GLIDERegLib.evaluation.thorax import Thorax
from GLIDERegLib.registration.field import DisplacementField
from GLIDERegLib.registration.nodule_place import placed
from GLIDERegLib.registration.rigid_nodules import Ball, hidden, kept_rigid


@pytest.fixture
def squeezed():
    """A field that shrinks everything by a fifth and turns with height, on nodes of 3 mm."""
    grid = Grid((40, 40, 40), (3.0,) * 3, (-58.5,) * 3)
    points = grid.points()
    vectors = -0.2 * points
    vectors[..., 0] += 3 * np.sin(points[..., 2] / 30)
    return DisplacementField(vectors.astype(np.float32), grid)


def distances(points):
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def around(center, radius, number=60):
    directions = np.random.default_rng(0).normal(size=(number, 3))
    return center + radius * directions / np.linalg.norm(directions, axis=1, keepdims=True)


@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_lengths_stay_what_they_are_inside_a_nodule(squeezed, role):
    center = np.array([6.0, -9.0, 12.0])
    if role == "fixed":
        kept = kept_rigid(squeezed, [Ball(center, 8.0)], [])
    else:
        kept = kept_rigid(squeezed, [], [Ball(squeezed.transform_points(center[None])[0], 8.0)])
    points = around(center, 7.9)
    assert np.allclose(distances(kept.transform_points(points)), distances(points), atol=0.01)
    # Before, they were a fifth shorter.
    assert np.abs(distances(squeezed.transform_points(points)) - distances(points)).max() > 2


def test_the_nodule_goes_where_the_tissue_around_it_goes(squeezed):
    center = np.array([[6.0, -9.0, 12.0]])
    kept = kept_rigid(squeezed, [Ball(center[0], 8.0)], [])
    assert np.linalg.norm(kept.transform_points(center) - squeezed.transform_points(center)) < 0.2


def test_beyond_the_shell_the_field_is_unchanged_and_nowhere_folded(squeezed):
    center = np.array([6.0, -9.0, 12.0])
    kept = kept_rigid(squeezed, [Ball(center, 8.0)], [])
    far = around(center, 40.0)
    assert np.allclose(kept.at(far), squeezed.at(far), atol=1e-3)
    assert kept.jacobian_determinant().min() > 0.2


def test_two_neighbours_are_both_rigid_each_by_itself(squeezed):
    centers = np.array([[-12.0, 0, 0], [12.0, 0, 0]])
    kept = kept_rigid(squeezed, [Ball(c, 7.0) for c in centers], [])
    for center in centers:
        points = around(center, 6.5)
        assert np.allclose(distances(kept.transform_points(points)), distances(points), atol=0.02)


def test_without_nodules_nothing_changes(squeezed):
    assert kept_rigid(squeezed, [], []) is squeezed


def test_hidden_nodules_count_as_not_measured_and_nothing_else_does():
    grid = Grid((20, 20, 20), (1.0, 1.0, 2.0))
    volume = Volume(np.full((20, 20, 20), -850, np.int16), grid, "scan")
    first = np.array([0, 8, 9])
    mask = Volume(np.ones((2, 3, 4), np.uint8), Grid((4, 3, 2), grid.spacing, tuple(grid.to_physical(first))))
    seen = hidden(volume, [mask])
    away = np.argwhere(seen.array == 2 * AIR_HU)
    # With 1.5 mm about it: one voxel in the slice, none along z.
    assert away.min(axis=0).tolist() == [9, 7, 0] and away.max(axis=0).tolist() == [10, 11, 4]
    assert (volume.array == -850).all() and np.isin(seen.array, (-850, 2 * AIR_HU)).all()


def carried_volume(transform_points, fixed, moving, radius, step=0.5):
    """What of the fixed space a field carries into a ball of the moving one, in mm³."""
    reach = np.arange(-2 * radius - 2, 2 * radius + 2, step)
    points = np.stack(np.meshgrid(reach, reach, reach), axis=-1).reshape(-1, 3) + fixed
    return np.sum(np.linalg.norm(transform_points(points) - moving, axis=1) <= radius) * step**3


def test_nodules_that_doubled_are_warped_to_the_size_they_were_scanned_with():
    pair = make_phantom((40, 40, 44), (4.0, 4.0, 4.0), nodule_growth=1.0)
    result = glidereg.register(
        pair.fixed,
        pair.moving,
        Settings.preset("fast", features="local"),
        fixed_nodules=pair.fixed_nodules,
        moving_nodules=pair.moving_nodules,
    )
    assert any("kept rigid" in warning for warning in result.report["warnings"])
    assert any("they keep their size" in warning for warning in result.report["warnings"])
    to_moving = result.displacement.transform_points
    assert np.allclose(jacobian_determinants(to_moving, pair.fixed_nodules), 1, atol=0.02)
    assert len(pair.fixed_nodules) >= 3
    radii = Thorax(0).nodule_radii / 2 ** (1 / 3)
    for label, fixed in zip(pair.nodule_labels, pair.fixed_nodules, strict=True):
        radius = radii[int(label.split()[1]) - 1]
        volume = carried_volume(to_moving, fixed, to_moving(fixed[None])[0], radius)
        assert volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.05), label


@pytest.mark.parametrize("grown", [0.7, 1.0, 1.4])
def test_a_nodule_is_placed_on_itself_though_the_tissue_around_says_otherwise(grown):
    grid, true = Grid((50, 50, 50), (1.0, 1.0, 1.0)), np.array([2.2, -1.4, 0.7])
    rng, center = np.random.default_rng(1), np.array([24.0, 25.0, 23.5])

    def scan(middle, radius):
        inside = np.clip(radius - np.linalg.norm(grid.points() - middle, axis=-1) + 0.5, 0, 1)
        return Volume((-850 + 880 * inside + rng.normal(0, 20, grid.shape)).astype(np.int16), grid)

    scans = scan(center, 5.0), scan(center + true, 5.0 * grown)
    shift = placed(scans, center[None], np.array([5.5]), np.eye(3), np.zeros(3))
    assert np.linalg.norm(shift - true) < 0.4
    # Nothing there, or only what lies too far away, moves nothing.
    empty = scan(center + 100, 5.0)
    assert not placed((scans[0], empty), center[None], np.array([5.5]), np.eye(3), np.zeros(3)).any()
