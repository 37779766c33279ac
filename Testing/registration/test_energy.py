import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage

from GLIDERegLib.registration import energy
from GLIDERegLib.registration.sampling import index_grid


def linear_field(matrix, shift, shape):
    """(3, Z, Y, X) field matrix @ (x, y, z) + shift at voxel indices."""
    matrix, shift = torch.as_tensor(matrix), torch.as_tensor(shift)
    index = index_grid(shape)
    return torch.einsum("ij,jzyx->izyx", matrix.float(), index) + shift.float().view(3, 1, 1, 1)


def random_field(shape, seed=0):
    return torch.randn((3, *shape), generator=torch.Generator().manual_seed(seed))


class TestSpline:
    @pytest.mark.parametrize("shift", np.linspace(-0.5, 0.5, 11))
    def test_weights_sum_to_one_and_reproduce_linear_functions(self, shift):
        taps = energy.spline_taps(shift).astype(float)
        assert taps.sum() == pytest.approx(1.0, abs=1e-6)
        assert taps @ np.arange(-2, 3) == pytest.approx(shift, abs=1e-6)

    def test_weights_at_a_node_are_one_four_and_one_sixth(self):
        np.testing.assert_allclose(energy.spline_taps(0.0), [0, 1 / 6, 4 / 6, 1 / 6, 0], atol=1e-7)

    @pytest.mark.parametrize("ratio", [1, 2, 3, 4])
    def test_phases_name_every_voxel_of_a_block_once(self, ratio):
        found = [phase for phase, _ in energy.phases(ratio)]
        assert sorted(found) == list(itertools.product(range(ratio), repeat=3))

    @pytest.mark.parametrize("ratio", [1, 2, 4])
    def test_phases_lie_at_the_centres_of_their_voxels(self, ratio):
        """In node spacings a block is one long and centred on its node; its voxels split it evenly."""
        for phase, taps in energy.phases(ratio):
            shift = taps.astype(float) @ np.arange(-2, 3)
            np.testing.assert_allclose(shift, (np.array(phase) + 0.5) / ratio - 0.5, atol=1e-6)

    def test_successive_phases_of_blocks_of_two_differ_in_more_than_the_last_axis(self):
        order = [phase for phase, _ in energy.phases(2)]
        assert all(a[:2] != b[:2] or a == b for a, b in itertools.pairwise(order))

    @pytest.mark.parametrize("ratio", [1, 2, 4])
    def test_linear_coefficients_give_the_linear_function_at_every_phase(self, ratio):
        matrix, shift = np.array([[0.5, -2, 1], [3, 0.25, -1], [0, 1, 2.0]]), np.array([5.0, -3, 1])
        shape = (3, 4, 5)
        coefficients = linear_field(matrix, shift, tuple(n + 4 for n in shape))
        for phase, taps in energy.phases(ratio):
            at_phase = np.array(phase[::-1])
            inner = (at_phase - (ratio - 1) / 2) / ratio + 2
            expected = linear_field(matrix, shift + matrix @ inner, shape)
            torch.testing.assert_close(energy.spline_samples(coefficients, taps), expected, atol=1e-4, rtol=0)

    @pytest.mark.parametrize("ratio", [1, 2, 4])
    def test_values_are_those_of_scipys_cubic_spline(self, ratio):
        coefficients = random_field((9, 10, 8))
        z, y, x = np.meshgrid(*[np.arange(n - 4) + 2.0 for n in (9, 10, 8)], indexing="ij")
        for phase, taps in energy.phases(ratio):
            dz, dy, dx = (np.array(phase) - (ratio - 1) / 2) / ratio
            at = np.stack([z + dz, y + dy, x + dx])
            expected = [
                ndimage.map_coordinates(c, at, order=3, prefilter=False)
                for c in coefficients.double().numpy()
            ]
            np.testing.assert_allclose(
                energy.spline_samples(coefficients, taps), np.stack(expected), atol=1e-5
            )


class TestBendingEnergy:
    def test_is_zero_for_an_affine_field(self):
        field = linear_field(
            np.array([[1.0, 2, 3], [-1, 0, 2], [4, 1, -2]]), np.array([1.0, 2, 3]), (6, 7, 8)
        )
        assert float(energy.bending_energy(field)) == 0.0

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_of_a_square_along_one_axis_is_its_second_difference_squared(self, axis):
        shape = (5, 6, 7)
        x = index_grid(shape)[axis]
        field = torch.zeros((3, *shape))
        field[1] = 1.5 * x**2
        lines = np.prod(shape) // shape[2 - axis]
        assert float(energy.bending_energy(field)) == pytest.approx(3.0**2 * (shape[2 - axis] - 2) * lines)

    @pytest.mark.parametrize("axes", [(0, 1), (0, 2), (1, 2)])
    def test_of_a_product_counts_the_mixed_difference_twice(self, axes):
        shape = (5, 6, 7)
        index = index_grid(shape)
        field = torch.zeros((3, *shape))
        field[2] = 0.5 * index[axes[0]] * index[axes[1]]
        sizes = [n - 1 if 2 - a in axes else n for a, n in enumerate(shape)]
        assert float(energy.bending_energy(field)) == pytest.approx(2 * 0.5**2 * np.prod(sizes))


class TestSSD:
    """Feature images of twelve linear functions, so that the values between voxels are known exactly."""

    shape = (6, 7, 8)

    def features(self, offset=(0, 0, 0), shape=None):
        """A linear image of the fixed lattice whose first voxel lies at `offset` (z, y, x)."""
        shape = shape or self.shape
        slopes = np.random.default_rng(0).normal(size=(12, 3))
        z, y, x = np.meshgrid(*[np.arange(n) + o for n, o in zip(shape, offset, strict=True)], indexing="ij")
        values = np.tensordot(slopes, np.stack([x, y, z]), axes=1)
        return torch.from_numpy(values).float(), slopes

    def ssd(
        self, u, offset=(0, 0, 0), ratio=1, start=(0, 0, 0), scale=1.0, fixed_weight=None, moving_weight=None
    ):
        fixed, self.slopes = self.features()
        moving, _ = self.features(offset)
        ones = torch.ones(self.shape)
        fixed_weight = ones if fixed_weight is None else fixed_weight
        moving_weight = ones if moving_weight is None else moving_weight
        return energy.ssd(fixed, fixed_weight, moving, moving_weight, offset, ratio, start, scale, u)

    def test_is_zero_without_displacement_and_counts_every_voxel(self):
        value, weight = self.ssd(torch.zeros((3, *self.shape)))
        assert float(value) == pytest.approx(0.0, abs=1e-8) and float(weight) == np.prod(self.shape)

    def test_of_a_shift_is_the_squared_slope_along_it_for_every_sample_that_stays_inside(self):
        u = torch.zeros((3, *self.shape))
        u[0] = 0.75
        value, weight = self.ssd(u)
        z, y, x = self.shape
        inside = z * y * (x - 1)
        assert float(weight) == inside
        assert float(value) == pytest.approx(inside * ((0.75 * self.slopes[:, 0]) ** 2).sum(), rel=1e-4)

    def test_a_displacement_in_working_voxels_is_scaled_to_feature_voxels(self):
        u = torch.zeros((3, *self.shape))
        u[1] = 1.5
        half, _ = self.ssd(u, scale=0.5)
        u[1] = 0.75
        assert float(half) == pytest.approx(float(self.ssd(u)[0]), rel=1e-6)

    @pytest.mark.parametrize("offset", [(1, -2, 0), (-1, 0, 2)])
    def test_offset_grids_hold_the_same_image(self, offset):
        value, weight = self.ssd(torch.zeros((3, *self.shape)), offset=offset)
        overlap = [n - abs(o) for n, o in zip(self.shape, offset, strict=True)]
        assert float(value) == pytest.approx(0.0, abs=1e-7) and float(weight) == np.prod(overlap)

    def test_all_phases_of_a_coarser_grid_see_every_voxel_once(self):
        ratio, nodes = 2, (5, 6, 6)
        marks = torch.rand(self.shape, generator=torch.Generator().manual_seed(0)) + 0.5
        seen = 0.0
        for phase, _ in energy.phases(ratio):
            start = tuple(p - ratio for p in phase)
            seen += float(self.ssd(torch.zeros((3, *nodes)), ratio=ratio, start=start, fixed_weight=marks)[1])
        assert seen == pytest.approx(float(marks.sum()), rel=1e-6)

    def test_fixed_weights_count_and_unusable_moving_voxels_drop_all_that_touch_them(self):
        fixed_weight = torch.zeros(self.shape)
        fixed_weight[2, 3, 4] = 0.5
        fixed_weight[2, 3, 1] = 0.25
        u = torch.full((3, *self.shape), 0.5)
        value, weight = self.ssd(u, fixed_weight=fixed_weight)
        difference = float(((0.5 * self.slopes.sum(axis=1)) ** 2).sum())
        assert float(weight) == pytest.approx(0.75)
        assert float(value) == pytest.approx(0.75 * difference, rel=1e-4)
        moving_weight = torch.ones(self.shape)
        moving_weight[3, 4, 5] = 0.0
        assert float(self.ssd(u, fixed_weight=fixed_weight, moving_weight=moving_weight)[1]) == pytest.approx(
            0.25
        )


class TestFolding:
    matrix = np.array([[0.3, 0.2, -0.1], [0.1, -0.2, 0.25], [-0.3, 0.1, 0.15]])

    @pytest.mark.parametrize("corner", energy.CORNERS)
    def test_every_corner_of_a_linear_map_has_its_determinant(self, corner):
        u = linear_field(self.matrix * 4, np.zeros(3), (4, 5, 6))
        determinant = energy.corner_determinant(u, 4.0, corner)
        assert determinant.shape == (3, 4, 5)
        expected = np.linalg.det(np.eye(3) + self.matrix)
        np.testing.assert_allclose(determinant, expected, rtol=1e-5)
        penalty = energy.folding_penalty(u, 4.0, corner, expected + 0.5)
        assert float(penalty) == pytest.approx(0.25 * 3 * 4 * 5, rel=1e-4)
        assert float(energy.folding_penalty(u, 4.0, corner, expected - 0.5)) == 0.0

    def test_a_single_node_that_folds_its_cell_is_seen_from_both_sides(self):
        u = torch.zeros((3, 5, 5, 5))
        u[0, 2, 2, 2] = 3.0
        for corner in energy.CORNERS:
            penalty = float(energy.folding_penalty(u, 2.0, corner, 0.1))
            # Towards one neighbour the cell shrinks to 1 - 1.5; J = -0.5 at the node or beside it.
            assert penalty == pytest.approx(0.6**2, rel=1e-5)
