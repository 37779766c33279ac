import numpy as np
import pytest
import torch

from GLIDERegLib.core.ct import AIR_HU
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.registration.features.pooled_features import PooledFeatures, cell_factor
from GLIDERegLib.registration.initial_displacement import (
    compose,
    measured_part,
    mismatch,
    read_field,
    replace,
    search,
    warp,
)
from GLIDERegLib.registration.sampling import index_grid
from GLIDERegLib.registration.working_grid import Prepared


def prepared(array, offset=(0, 0, 0), valid=None):
    grid = Grid(array.shape[::-1], (2.0, 2.0, 2.0), tuple(2.0 * o for o in offset))
    valid = np.ones(array.shape, bool) if valid is None else valid
    return Prepared(array.astype(np.float32), valid, valid, grid, offset)


def image(shape, seed=0):
    return np.random.default_rng(seed).uniform(-900, 100, shape).astype(np.float32)


def constant_field(shift, cells):
    return torch.tensor(shift, dtype=torch.float32).view(3, 1, 1, 1).expand(3, *cells).contiguous()


def cells(values, offset=(0, 0, 0), weight=None):
    weight = torch.ones(values.shape[1:]) if weight is None else weight
    return PooledFeatures(values, weight, 4, offset)


def inner(position):
    """A smooth displacement (3, ...) in voxels at voxel positions (3, ...)."""
    x, y, z = position / 12
    return torch.stack([2 * torch.sin(y), 1.5 * torch.cos(z), torch.sin(x + z)])


def outer(position):
    x, y, z = position / 14
    return torch.stack([torch.cos(x + y), 2 * torch.sin(z), 1.5 * torch.cos(y)])


def centers(shape, factor):
    return index_grid(shape) * factor + (factor - 1) / 2


class TestFields:
    @pytest.mark.parametrize("cell_mm, spacing, factor", [(8, 2, 4), (8, 1.5, 5), (8, 10, 2), (12, 1, 12)])
    def test_a_cell_is_a_whole_number_of_voxels_and_at_least_two(self, cell_mm, spacing, factor):
        assert cell_factor(cell_mm, spacing) == factor

    def test_a_linear_cell_field_is_read_exactly_between_cell_centres(self):
        shape, factor = (5, 6, 7), 4
        field = 0.3 * centers(shape, factor) + 1
        position = torch.rand((3, 50), generator=torch.Generator().manual_seed(0)) * 15 + 2
        torch.testing.assert_close(read_field(field, factor, position), 0.3 * position + 1, atol=1e-4, rtol=0)

    def test_a_cell_field_is_constant_beyond_its_outer_cells(self):
        field = centers((5, 6, 7), 4)
        far = torch.tensor([[-30.0, 200.0], [-30.0, 200.0], [-30.0, 200.0]])
        torch.testing.assert_close(
            read_field(field, 4, far),
            torch.tensor([[1.5, 25.5], [1.5, 21.5], [1.5, 17.5]]),
        )

    def test_a_composition_is_one_field_after_the_other(self):
        """Against two analytic fields evaluated directly; cells of 2 and 3 voxels leave small errors."""
        fine, coarse = 2, 3
        first = inner(centers((20, 22, 24), fine))
        second = outer(centers((18, 20, 22), coarse))
        composed = compose(second, coarse, first, fine)
        x = centers((20, 22, 24), fine)
        inside = (slice(None), *[slice(3, -3)] * 3)
        expected = inner(x) + outer(x + inner(x))
        wrong_order = outer(x) + inner(x + outer(x))
        sum_only = inner(x) + outer(x)
        assert float((composed - expected)[inside].norm(dim=0).max()) < 0.03
        assert float((wrong_order - expected)[inside].norm(dim=0).max()) > 0.3
        assert float((sum_only - expected)[inside].norm(dim=0).max()) > 0.2

    def test_composing_with_nothing_changes_nothing(self):
        first = inner(centers((8, 9, 10), 2))
        torch.testing.assert_close(compose(torch.zeros(3, 4, 4, 4), 5, first, 2), first)


class TestWarp:
    def test_of_a_whole_translation_shifts_the_image(self):
        array = image((12, 13, 14))
        moving = prepared(array)
        warped = warp(moving, moving, constant_field((3, -2, 1), (3, 4, 4)), 4, margin=0)
        np.testing.assert_allclose(warped.array[:-1, 2:, :-3], array[1:, :-2, 3:], atol=0.01)
        assert warped.valid[:-1, 2:, :-3].all()

    def test_has_air_and_nothing_usable_where_the_moving_image_ends(self):
        moving = prepared(image((12, 13, 14)))
        warped = warp(moving, moving, constant_field((3, 0, 0), (3, 4, 4)), 4, margin=0)
        assert (warped.array[..., -3:] == AIR_HU).all()
        assert not warped.valid[..., -3:].any() and warped.valid[..., :-3].all()

    def test_minds_where_the_moving_image_starts(self):
        array = image((20, 21, 22))
        fixed, moving = prepared(array[4:16, 3:15, 2:14]), prepared(array, offset=(-2, -3, -4))
        warped = warp(moving, fixed, constant_field((0, 0, 0), (3, 3, 3)), 4, margin=0)
        np.testing.assert_allclose(warped.array, fixed.array, atol=0.01)

    def test_reaches_a_margin_beyond_the_fixed_image(self):
        array = image((20, 21, 22))
        fixed, moving = prepared(array[4:16, 4:16, 4:16]), prepared(array, offset=(-4, -4, -4))
        warped = warp(moving, fixed, constant_field((0, 0, 0), (3, 3, 3)), 4, margin=4)
        assert warped.offset == (-4, -4, -4)
        np.testing.assert_allclose(warped.array, array[:20, :20, :20], atol=0.01)
        np.testing.assert_allclose(warped.grid.to_physical([4, 4, 4]), fixed.grid.origin)

    def test_carries_what_was_not_measured(self):
        array = image((12, 12, 12))
        valid = np.ones(array.shape, bool)
        valid[:, :, 8:] = False
        moving = prepared(array, valid=valid)
        warped = warp(moving, moving, constant_field((2, 0, 0), (3, 3, 3)), 4, margin=0)
        assert warped.valid[..., :6].all() and not warped.valid[..., 6:].any()
        assert np.array_equal(warped.weight, warped.valid)


class TestMismatch:
    VALUES = torch.rand((12, 8, 9, 10), generator=torch.Generator().manual_seed(0))

    def test_is_zero_for_the_same_features_in_the_same_place(self):
        cut = cells(self.VALUES[:, 1:7, 2:, :8].contiguous(), offset=(0, 2, 1))
        assert mismatch(cells(self.VALUES), cut) == pytest.approx(0, abs=1e-6)

    def test_counts_cells_that_agree_exactly(self):
        other = self.VALUES.clone()
        other[:, :4] += 0.1
        assert mismatch(cells(self.VALUES), cells(other)) == pytest.approx(12 * 0.01 / 2, rel=1e-3)

    def test_is_lower_when_aligned(self):
        aligned = cells(self.VALUES + 0.05)
        shifted = cells(self.VALUES.roll(1, dims=3))
        assert mismatch(cells(self.VALUES), aligned) < 0.2 * mismatch(cells(self.VALUES), shifted)

    def test_is_the_mean_squared_difference(self):
        other = torch.rand(self.VALUES.shape, generator=torch.Generator().manual_seed(1))
        expected = float((self.VALUES - other).square().sum(dim=0).mean())
        assert mismatch(cells(self.VALUES), cells(other)) == pytest.approx(expected, rel=1e-4)

    def test_is_infinite_without_overlap(self):
        assert mismatch(cells(self.VALUES), cells(self.VALUES, offset=(10, 0, 0))) == float("inf")
        unusable = cells(self.VALUES, weight=torch.zeros(self.VALUES.shape[1:]))
        assert mismatch(cells(self.VALUES), unusable) == float("inf")

    def test_is_infinite_where_hardly_any_cells_meet(self):
        assert mismatch(cells(self.VALUES), cells(self.VALUES + 0.1, offset=(9, 0, 0))) == float("inf")
        assert mismatch(cells(self.VALUES), cells(self.VALUES + 0.1, offset=(5, 0, 0))) < float("inf")


def test_the_search_reaches_further_along_the_axis_of_the_body():
    """Content 64 mm away along z, with a range of 48 mm: within reach only when that is stretched."""
    shift, values = 8, torch.from_numpy(np.random.default_rng(3).normal(size=(12, 44, 12, 12)))
    values = values.float()
    fixed, moving = cells(values[:, :28].contiguous()), cells(values.roll(shift, 1)[:, shift:].contiguous())
    moving.offset = (0, 0, shift)

    def found(stretch: float) -> torch.Tensor:
        field, _ = search(fixed, moving, 48.0, 2.0, lambda fraction: None, stretch=stretch)
        return field[2, 4:-4, 3:-3, 3:-3] * 2.0

    torch.testing.assert_close(found(1.5), torch.full_like(found(1.5), 64.0), atol=0.1, rtol=0)
    assert float(found(1.0).abs().max()) <= 48.1


def test_a_warp_knows_where_both_grids_start_and_keeps_a_mask():
    """Both directions look through fields onto grids that start elsewhere."""
    scene = image((30, 32, 34))
    mask = np.random.default_rng(1).uniform(size=(22, 24, 26)) > 0.3
    fixed = prepared(scene[4:24, 4:26, 4:28], offset=(4, 4, 4))
    moving = prepared(scene[:22, :24, :26], offset=(0, 0, 0))
    moving = replace(moving, weight=mask, masked=True)
    seen = warp(moving, fixed, constant_field((1, -2, 3), (5, 6, 6)), 4, 0)
    assert seen.offset == (4, 4, 4) and seen.array.shape == fixed.array.shape
    # Fixed voxel (x, y, z) is at + 4 in the moving image, and is read 1, -2, 3 further.
    inside = (slice(0, 14), slice(0, 20), slice(0, 20))
    there = (slice(7, 21), slice(2, 22), slice(5, 25))
    assert np.allclose(seen.array[inside], moving.array[there], atol=0.01)
    assert np.array_equal(seen.weight[inside], mask[there]) and seen.valid[inside].all()


def test_the_measured_part_is_the_same_image_less_whole_cells_of_nothing():
    array, valid = image((22, 24, 26)), np.zeros((22, 24, 26), bool)
    valid[5:13, 4:20, 9:22] = True
    whole = prepared(array, offset=(-4, -8, 12), valid=valid)
    part = measured_part(whole, 4)
    assert part.offset == (-4 + 8, -8 + 4, 12 + 4) and part.array.shape == (12, 16, 16)
    assert np.array_equal(part.array, array[4:16, 4:20, 8:24])
    assert np.array_equal(part.valid, valid[4:16, 4:20, 8:24])
    np.testing.assert_allclose(part.grid.to_physical([0, 0, 0]), whole.grid.to_physical([8, 4, 4]))
    # A box that ends in the last, ragged cell keeps what there is of it; nothing at all keeps a cell.
    valid[:] = True
    assert measured_part(whole, 4).array.shape == array.shape
    valid[:] = False
    assert measured_part(whole, 4).array.shape == (4, 4, 4)
