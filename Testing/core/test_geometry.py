import numpy as np
import pytest
import SimpleITK as sitk

from GLIDERegLib.core.geometry import Grid, Volume, apply_affine


def random_grid(seed, flipped):
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    axes[:, 0] *= np.sign(np.linalg.det(axes)) * (-1 if flipped else 1)
    return Grid(
        tuple(int(n) for n in rng.integers(3, 9, 3)),
        tuple(rng.uniform(0.4, 5.0, 3).tolist()),
        tuple(rng.uniform(-300, 300, 3).tolist()),
        tuple(axes.ravel().tolist()),
    )


def as_sitk(grid):
    image = sitk.Image(grid.size, sitk.sitkUInt8)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    return image


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_index_and_physical_points_agree_with_simpleitk(seed, flipped):
    grid = random_grid(seed, flipped)
    image = as_sitk(grid)
    index = np.random.default_rng(seed).uniform(-3, 12, (20, 3))
    expected = np.array([image.TransformContinuousIndexToPhysicalPoint(i) for i in index.tolist()])
    np.testing.assert_allclose(grid.to_physical(index), expected, atol=1e-9)
    back = np.array([image.TransformPhysicalPointToContinuousIndex(p) for p in expected.tolist()])
    np.testing.assert_allclose(grid.to_index(expected), back, atol=1e-9)
    np.testing.assert_allclose(back, index, atol=1e-9)


def test_arrays_are_zyx_and_points_xyz():
    grid = random_grid(11, False)
    image = as_sitk(grid)
    points = grid.points()
    assert points.shape == (*grid.shape, 3) == (*grid.size[::-1], 3)
    for k, j, i in np.ndindex(*grid.shape):
        expected = image.TransformIndexToPhysicalPoint((i, j, k))
        np.testing.assert_allclose(points[k, j, i], expected, atol=1e-9)


def test_corners_are_the_outer_faces_and_enclose_half_a_voxel_around_the_centres():
    grid = Grid((4, 5, 6), (2.0, 3.0, 4.0), (10.0, 20.0, 30.0))
    corners = grid.corners()
    np.testing.assert_allclose(corners.min(axis=0), [9.0, 18.5, 28.0])
    np.testing.assert_allclose(corners.max(axis=0), [17.0, 33.5, 52.0])
    np.testing.assert_allclose(corners.mean(axis=0), grid.center)
    np.testing.assert_allclose(grid.extent, [8, 15, 24])


@pytest.mark.parametrize("flipped", [False, True])
def test_contains_reaches_half_a_voxel_beyond_the_outer_centres(flipped):
    grid = random_grid(5, flipped)
    last = np.asarray(grid.size) - 1.0
    for axis in range(3):
        for sign, edge in ((-1, np.zeros(3)), (1, last)):
            index = np.where(np.arange(3) == axis, edge, last / 2)
            beyond = np.zeros(3)
            beyond[axis] = sign
            assert grid.contains(grid.to_physical(index + 0.49 * beyond))
            assert not grid.contains(grid.to_physical(index + 0.51 * beyond))
    assert grid.contains(grid.points()).all()


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.5, 2.5, 2.5), (0.7, 1.3, 40.0)])
@pytest.mark.parametrize("seed", range(3))
def test_resized_covers_the_box_with_less_than_a_voxel_to_spare_and_keeps_its_centre(seed, spacing):
    grid = random_grid(seed, seed == 1)
    resized = grid.resized(spacing)
    assert resized.spacing == spacing and resized.direction == grid.direction
    inside = resized.to_index(grid.corners())
    assert (inside >= -0.5 - 1e-5).all()
    assert (inside <= np.asarray(resized.size) - 0.5 + 1e-5).all()
    spare = resized.extent - grid.extent
    assert (spare > -1e-5 * np.asarray(spacing)).all() and (spare < spacing).all()
    np.testing.assert_allclose(resized.center, grid.center, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_resized_to_the_same_spacing_is_the_same_grid_exactly(seed):
    grid = random_grid(seed, seed % 2 == 0)
    assert grid.resized(grid.spacing) == grid


def test_resized_to_a_divisor_splits_every_voxel_into_whole_ones():
    grid = Grid((5, 4, 3), (2.0, 3.0, 4.0), (1.0, -2.0, 7.0), random_grid(0, True).direction)
    fine = grid.resized((1.0, 1.0, 1.0))
    assert fine.size == (10, 12, 12)
    np.testing.assert_allclose(fine.corners(), grid.corners(), atol=1e-9)


def test_margins_are_whole_voxels_on_the_same_lattice():
    grid = random_grid(3, True)
    plain = grid.resized((1.5, 1.5, 1.5))
    wider = grid.resized((1.5, 1.5, 1.5), low_margin=(2, 0, 5), high_margin=(1, 3, 0))
    assert wider.size == tuple(n + m for n, m in zip(plain.size, (3, 3, 5), strict=True))
    np.testing.assert_allclose(wider.to_index(plain.to_physical(np.zeros(3))), [2, 0, 5], atol=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_upright_has_the_same_voxels_with_axes_near_left_posterior_superior(seed):
    grid = random_grid(seed, seed % 2 == 1)
    upright = grid.upright()
    ours = upright.points().reshape(-1, 3)
    theirs = grid.points().reshape(-1, 3)
    assert sorted(map(tuple, ours.round(6))) == sorted(map(tuple, theirs.round(6)))
    assert (np.diag(upright.axes) > 0).all()
    # No other order of the axes has the slice axis nearer to the body's long axis.
    assert upright.axes[2, 2] == pytest.approx(np.abs(grid.axes[2]).max())


def test_upright_of_a_permuted_and_flipped_grid_is_the_plain_one():
    plain = Grid((4, 5, 6), (1.0, 2.0, 3.0), (-7.0, 8.0, 9.0))
    # The same voxels with index axes (z, -x, y).
    first = plain.to_physical(np.array([3, 0, 0]))
    turned = Grid((6, 4, 5), (3.0, 1.0, 2.0), tuple(first), (0, -1, 0, 0, 0, 1, 1, 0, 0))
    assert turned.upright().matches(plain)
    assert plain.upright() == plain


def test_matches_tells_shifts_sizes_and_orientations_apart():
    grid = random_grid(2, False)
    shift = np.asarray(grid.origin) + 0.01 * min(grid.spacing)
    moved = Grid(grid.size, grid.spacing, tuple(shift), grid.direction)
    assert grid.matches(grid)
    assert not grid.matches(moved)
    assert grid.matches(moved, tolerance=0.1)
    assert not grid.matches(
        Grid((*grid.size[:2], grid.size[2] + 1), grid.spacing, grid.origin, grid.direction)
    )
    assert not grid.matches(Grid(grid.size, grid.spacing, grid.origin))


def test_a_volume_refuses_an_array_of_another_shape():
    with pytest.raises(ValueError, match="does not fit"):
        Volume(np.zeros((4, 5, 6)), Grid((4, 5, 6)))
    assert Volume(np.zeros((6, 5, 4)), Grid((4, 5, 6))).name == "image"


def test_apply_affine_is_the_matrix_product_for_any_number_of_axes():
    rng = np.random.default_rng(0)
    matrix = np.vstack([rng.normal(size=(3, 4)), [0, 0, 0, 1]])
    points = rng.normal(size=(2, 5, 3))
    expected = np.einsum("ij,abj->abi", matrix, np.concatenate([points, np.ones((2, 5, 1))], axis=-1))
    np.testing.assert_allclose(apply_affine(matrix, points), expected[..., :3], atol=1e-12)
