import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from GLIDERegLib.core.geometry import Grid, apply_affine
from GLIDERegLib.registration.backends import use_backend
from GLIDERegLib.registration.field import DisplacementField, jacobian_determinant

TILTED = tuple(Rotation.from_euler("xyz", [20, -15, 30], degrees=True).as_matrix().ravel().tolist())
FLIPPED = (-1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 1.0, 0.0)
GRIDS = {
    "upright": Grid((14, 12, 10), (3.0, 3.0, 3.0), (-20.0, 5.0, 40.0)),
    "oblique": Grid((13, 11, 9), (2.5, 3.0, 4.0), (10.0, -30.0, 7.0), TILTED),
    "flipped": Grid((9, 15, 12), (4.0, 2.0, 3.0), (60.0, 20.0, -50.0), FLIPPED),
}


@pytest.fixture(params=GRIDS.values(), ids=GRIDS.keys())
def grid(request):
    return request.param


def waves(points, amplitude=3.0, length=40.0):
    """A smooth displacement (..., 3) in mm."""
    x, y, z = np.moveaxis(points * (2 * np.pi / length), -1, 0)
    return amplitude * np.stack(
        [np.sin(y) * np.cos(z / 2), np.sin(z + 1) * np.cos(x / 2), np.sin(x + 2)], axis=-1
    )


def field_of(function, grid, *background):
    return DisplacementField(function(grid.points()).astype(np.float32), grid, *background)


def linear_part():
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", [4, 3, -6], degrees=True).as_matrix() * 1.05
    matrix[:3, 3] = (7.0, -4.0, 2.0)
    return matrix


def random_points(grid, low, high, count=400):
    """Points at random indices between the fractions `low` and `high` of the grid's size."""
    rng = np.random.default_rng(3)
    return grid.to_physical(rng.uniform(low, high, (count, 3)) * (np.asarray(grid.size) - 1))


def mapped(transform, points):
    return np.array([transform.TransformPoint(p) for p in points.tolist()])


class TestPoints:
    def test_displacement_agrees_with_simpleitk_inside_and_outside_the_grid(self, grid):
        field = field_of(waves, grid)
        points = random_points(grid, -0.5, 1.5)
        assert 0.05 < grid.contains(points).mean() < 0.95
        np.testing.assert_allclose(field.transform_points(points), mapped(field.to_sitk(), points), atol=1e-4)

    def test_displacement_with_a_background_agrees_with_the_composite_transform(self, grid):
        field = field_of(waves, grid, linear_part())
        transform = field.to_sitk()
        assert transform.GetName() == "CompositeTransform"
        points = random_points(grid, -0.5, 1.5)
        np.testing.assert_allclose(field.transform_points(points), mapped(transform, points), atol=1e-4)

    def test_nodes_keep_their_own_vectors(self, grid):
        field = field_of(waves, grid, linear_part())
        np.testing.assert_allclose(field.at(grid.points()), field.vectors, atol=1e-4)

    def test_the_background_continues_the_field_beyond_the_grid(self, grid):
        background = linear_part()
        outside = grid.to_physical(np.asarray(grid.size) + 3.0)
        expected = apply_affine(background, outside) - outside
        np.testing.assert_allclose(field_of(waves, grid, background).at(outside), expected, atol=1e-9)

    def test_what_is_left_beside_the_background_brings_back_the_field(self, grid):
        field = field_of(waves, grid, linear_part())
        points = grid.points()
        through = apply_affine(field.background, points + field.beyond_background())
        np.testing.assert_allclose(through, points + field.vectors, atol=1e-4)

    def test_any_transform_can_be_sampled(self, grid):
        transform = sitk.Euler3DTransform((5.0, 6.0, 7.0), 0.1, -0.2, 0.05, (3.0, -8.0, 1.0))
        field = DisplacementField.of_transform(transform, grid)
        points = random_points(grid, 0.0, 1.0)
        assert field.vectors.dtype == np.float32
        np.testing.assert_allclose(field.transform_points(points), mapped(transform, points), atol=1e-4)


class TestInverse:
    GRID = Grid((24, 22, 20), (3.0, 3.0, 3.0), (-30.0, 10.0, 20.0), TILTED)

    def fading(self, points):
        """Smooth, and zero at the faces of GRID: how a field goes on beyond them does not matter."""
        position = self.GRID.to_index(points) / (np.asarray(self.GRID.size) - 1)
        bump = np.prod(np.sin(np.pi * np.clip(position, 0, 1)) ** 2, axis=-1)
        return bump[..., None] * np.array([9.0, -6.0, 4.0])

    def test_there_and_back_is_where_one_was(self):
        field = field_of(self.fading, self.GRID)
        inverse = field.inverse(self.GRID)
        back = inverse.transform_points(self.GRID.points())
        assert np.abs(inverse.vectors).max() > 5
        assert np.linalg.norm(field.transform_points(back) - self.GRID.points(), axis=-1).max() < 0.01
        assert 0 <= inverse.residual_mm < 0.01

    def test_agrees_with_simpleitk(self):
        field = field_of(self.fading, self.GRID)
        image = sitk.TransformToDisplacementField(
            field.to_sitk(), sitk.sitkVectorFloat64, self.GRID.size, self.GRID.origin, self.GRID.spacing,
            self.GRID.direction,
        )  # fmt: skip
        peer = sitk.InvertDisplacementField(image, 200, 1e-5, 1e-6, enforceBoundaryCondition=False)
        ours = field.inverse(self.GRID).vectors
        np.testing.assert_allclose(ours, sitk.GetArrayFromImage(peer), atol=0.02)

    def test_with_a_background_undoes_both_parts(self):
        background = linear_part()
        field = DisplacementField(
            (
                apply_affine(background, self.GRID.points() + self.fading(self.GRID.points()))
                - self.GRID.points()
            ).astype(np.float32),
            self.GRID,
            background,
        )
        inverse = field.inverse()
        np.testing.assert_allclose(inverse.background @ background, np.eye(4), atol=1e-12)
        assert inverse.residual_mm < 0.01
        nodes = inverse.grid.points()
        back = inverse.transform_points(nodes)
        inside = self.GRID.contains(back)
        assert inside.mean() > 0.3
        assert np.linalg.norm(field.transform_points(back) - nodes, axis=-1)[inside].max() < 0.01

    def test_between_the_nodes_is_off_by_no_more_than_interpolation(self):
        field = field_of(self.fading, self.GRID)
        points = random_points(self.GRID, 0.0, 1.0)
        error = np.linalg.norm(
            field.inverse(self.GRID).transform_points(field.transform_points(points)) - points, axis=-1
        )
        assert error.max() < 0.1 * max(self.GRID.spacing) and error.mean() < 0.05

    def test_covers_by_default_all_points_that_the_field_reaches(self):
        field = field_of(lambda points: np.broadcast_to([30.0, -20.0, 8.0], points.shape), self.GRID)
        inverse = field.inverse()
        assert inverse.grid.contains(field.transform_points(self.GRID.points())).all()
        np.testing.assert_allclose(
            inverse.vectors, np.broadcast_to([-30.0, 20.0, -8.0], inverse.vectors.shape), atol=1e-3
        )

    @pytest.mark.parametrize("slices", [1, 2, 20])
    def test_numba_and_plain_pytorch_agree_to_the_tolerance(self, slices):
        pytest.importorskip("numba")
        grid = Grid((24, 22, slices), (3.0, 3.0, 5.0), (-30.0, 10.0, 20.0), TILTED)
        field = field_of(waves, grid, linear_part())
        with use_backend("numba"):
            fused = field.inverse()
        with use_backend("torch"):
            plain = field.inverse()
        # A residual shrinks to the distance from the exact inverse over one minus the field's steepest slope.
        np.testing.assert_allclose(fused.vectors, plain.vectors, atol=0.005)
        assert max(fused.residual_mm, plain.residual_mm) <= 1.01e-3

    def test_says_how_far_off_the_inverse_of_a_folded_field_is(self):
        folded = field_of(lambda points: waves(points, amplitude=25.0, length=40.0), self.GRID)
        assert folded.jacobian_determinant().min() < 0
        inverse = folded.inverse(self.GRID)
        assert inverse.residual_mm > 0.5


class TestJacobian:
    def test_of_an_affine_map_is_its_determinant_everywhere(self, grid):
        matrix = linear_part()
        matrix[0, 1] += 0.3
        field = field_of(lambda points: apply_affine(matrix, points) - points, grid)
        expected = np.linalg.det(matrix[:3, :3])
        np.testing.assert_allclose(field.jacobian_determinant(), expected, atol=1e-4)

    def test_agrees_with_simpleitk(self, grid):
        """ITK's filter ignores the direction: it gets vectors along the axes, on an upright grid."""
        field = field_of(waves, grid)
        image = sitk.GetImageFromArray((field.vectors @ grid.axes).astype(np.float64), isVector=True)
        image.SetSpacing(grid.spacing)
        peer = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(image))
        inner = (slice(1, -1),) * 3
        assert peer[inner].std() > 0.01
        np.testing.assert_allclose(field.jacobian_determinant()[inner], peer[inner], atol=1e-4)

    def test_is_negative_where_a_field_folds_and_only_there(self):
        grid = Grid((41, 8, 9), (1.0, 2.0, 1.5), (-20.0, 0.0, 0.0))

        def fold(points):
            """du/dx = -1.6 for |x| < 5, zero elsewhere."""
            return np.stack(
                [-1.6 * np.clip(points[..., 0], -5, 5), *np.zeros((2, *points.shape[:-1]))], axis=-1
            )

        determinant = field_of(fold, grid).jacobian_determinant()
        x = grid.points()[..., 0]
        np.testing.assert_allclose(determinant[np.abs(x) < 4.5], -0.6, atol=1e-5)
        np.testing.assert_allclose(determinant[np.abs(x) > 5.5], 1.0, atol=1e-5)
        assert np.array_equal(determinant <= 0, np.abs(x) < 4.5)

    def test_slabs_leave_no_seams(self):
        grid = Grid((5, 6, 70), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), TILTED)
        whole = jacobian_determinant(waves(grid.points()), grid)
        for first in (20, 30, 50):
            part = Grid(
                (5, 6, 20), grid.spacing, tuple(grid.to_physical([0, 0, first]).tolist()), grid.direction
            )
            expected = jacobian_determinant(waves(part.points()), part)[1:-1]
            np.testing.assert_allclose(whole[first + 1 : first + 19], expected, atol=1e-5)

    def test_refuses_a_field_of_another_size(self):
        with pytest.raises(ValueError, match="does not fit"):
            jacobian_determinant(np.zeros((4, 4, 4, 3)), GRIDS["upright"])


class TestFaded:
    def test_keeps_the_field_on_its_own_grid(self, grid):
        field = field_of(waves, grid)
        faded = field.faded()
        np.testing.assert_allclose(faded.at(grid.points()), field.vectors, atol=1e-4)
        np.testing.assert_allclose(faded.grid.axes, grid.axes)

    def test_is_zero_at_its_faces(self, grid):
        vectors = field_of(waves, grid).faded().vectors
        for axis in range(3):
            assert np.abs(vectors.take([0, -1], axis=axis)).max() == 0

    @pytest.mark.parametrize("direction", [(1, 0, 0), (-1, 0, 0), (0, 1, -1), (1, 1, 1), (-1, -1, -1)])
    @pytest.mark.parametrize("length", [4.0, 25.0])
    def test_a_shift_does_not_fold_on_its_way_to_zero(self, direction, length):
        grid = Grid((6, 5, 4), (2.0, 2.0, 2.0))
        vector = np.array(direction) / np.linalg.norm(direction) * length
        faded = field_of(lambda points: np.broadcast_to(vector, points.shape), grid).faded()
        assert faded.jacobian_determinant().min() > 0.1

    def test_a_smooth_field_does_not_fold(self, grid):
        assert field_of(waves, grid).jacobian_determinant().min() > 0.2
        assert field_of(waves, grid).faded().jacobian_determinant().min() > 0.1


def test_a_subdivided_field_is_the_same_field_on_more_nodes():
    rng = np.random.default_rng(5)
    grid = Grid((6, 5, 4), (3.0, 4.0, 9.0), (1.0, -2.0, 3.0), (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    field = DisplacementField(rng.normal(size=(*grid.shape, 3)).astype(np.float32), grid)
    fine = field.subdivided(2.0, most=4)
    assert fine.grid.size == (11, 9, 13) and np.allclose(fine.grid.spacing, (1.5, 2.0, 2.25))
    points = grid.to_physical(rng.uniform(0, np.array(grid.size) - 1, (200, 3)))
    assert np.allclose(fine.at(points), field.at(points), atol=1e-4)
    assert np.allclose(fine.vectors[::4, ::2, ::2], field.vectors, atol=1e-6)
