"""Surface distances of shapes whose distance is known."""

import numpy as np
import pytest

from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.evaluation.surfaces import compare_masks, surface_of

FINE = ((60, 60, 60), (1.0, 1.0, 1.0))
THICK = ((86, 86, 24), (0.7, 0.7, 2.5))
CENTRE = np.array((0.31, 0.17, 0.05))


def a_grid(size, spacing):
    return Grid(size, spacing, tuple((-(np.asarray(size) - 1) / 2 * spacing).tolist()))


def a_sphere(grid, radius, shift=(0, 0, 0)):
    return np.linalg.norm(grid.points() - CENTRE - shift, axis=-1) <= radius


def between_spheres(first, second, shift):
    """Mean over both surfaces, 95th percentile and largest distance of two spheres, by many directions."""
    u = np.random.default_rng(0).normal(size=(50000, 3))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    there = np.abs(np.linalg.norm(first * u - shift, axis=1) - second)
    back = np.abs(np.linalg.norm(second * u + shift, axis=1) - first)
    mean = (there.mean() * first**2 + back.mean() * second**2) / (first**2 + second**2)
    return mean, max(np.percentile(there, 95), np.percentile(back, 95)), max(there.max(), back.max())


@pytest.mark.parametrize("shape", [FINE, THICK], ids=["fine", "thick slices"])
@pytest.mark.parametrize(
    ("first", "second", "shift"), [(20, 17, (0, 0, 0)), (10, 12, (1.3, 0.4, 0.2)), (6, 4, (0, 0, 0)),
                                   (3, 3, (1.3, 0.4, 0.2))]
)  # fmt: skip
def test_spheres_are_apart_as_their_radii_and_centres_say(shape, first, second, shift):
    grid = a_grid(*shape)
    found = compare_masks(a_sphere(grid, first), a_sphere(grid, second, shift), grid)
    mean, p95, largest = between_spheres(first, second, np.array(shift))
    voxel = max(grid.spacing)
    assert abs(found["mean_mm"] - mean) <= 0.1 * voxel
    # A mask tells a surface to half a voxel: some place is off by that much.
    assert abs(found["p95_mm"] - p95) <= 0.5 * voxel
    assert abs(found["hausdorff_mm"] - largest) <= voxel


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_flat_walls_are_apart_by_whole_voxels_on_a_turned_grid(steps):
    axes = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    axes[:, 2] *= np.linalg.det(axes)
    grid = Grid((30, 25, 40), (0.8, 1.1, 2.0), (5.0, -9.0, 30.0), tuple(axes.ravel().tolist()))
    first = np.zeros(grid.shape, bool)
    second = first.copy()
    first[:20], second[: 20 + steps] = True, True
    found = compare_masks(first, second, grid)
    for key in ("mean_mm", "p95_mm", "hausdorff_mm"):
        assert found[key] == pytest.approx(2.0 * steps, abs=1e-4)
    # The sides at which the scan ends are no surface.
    assert surface_of(first, grid).areas.sum() == pytest.approx(30 * 25 * 0.8 * 1.1, rel=1e-4)


def test_a_mask_is_no_distance_from_itself_and_a_single_voxel_has_a_surface():
    grid = a_grid(*FINE)
    mask = a_sphere(grid, 9)
    assert compare_masks(mask, mask, grid) == {"mean_mm": 0, "p95_mm": 0, "hausdorff_mm": 0, "dice": 1}
    dot = np.zeros(grid.shape, bool)
    dot[30, 30, 30] = True
    moved = np.roll(dot, 7, axis=2)
    found = compare_masks(dot, moved, grid)
    assert found["dice"] == 0
    assert 6 <= found["mean_mm"] <= 8


def test_a_hole_and_a_far_island_count():
    grid = a_grid(*FINE)
    whole, other = a_sphere(grid, 15), a_sphere(grid, 15)
    other &= ~a_sphere(grid, 5)
    assert compare_masks(whole, other, grid)["hausdorff_mm"] == pytest.approx(10, abs=1)
    island = whole.copy()
    island[2:5, 30, 30] = True
    assert compare_masks(whole, island, grid)["hausdorff_mm"] > 10
