import numpy as np
import pytest
import torch

from GLIDERegLib.registration.backends import torch_backend, use_backend
from GLIDERegLib.registration.coupled_convex import (
    best_displacement,
    make_consistent,
    match_cost,
    register_pooled,
    search_window,
)
from GLIDERegLib.registration.energy import matching_cost
from GLIDERegLib.registration.features.pooled_features import PooledFeatures
from GLIDERegLib.registration.filters import box_mean
from GLIDERegLib.registration.sampling import index_grid, sample, sample_field

CELL_MM = 8.0


def texture(shape, seed=0):
    """Features (12, Z, Y, X) that are alike only where they are the same."""
    noise = torch.randn((12, *shape), generator=torch.Generator().manual_seed(seed))
    return 2 * box_mean(noise, 1)


def cells(values, weight=None, offset=(0, 0, 0)):
    weight = torch.ones(values.shape[1:]) if weight is None else weight
    return PooledFeatures(values, weight, 4, offset)


def cropped(values, low, high):
    """Part of a feature image, indices x y z, as an image of its own on the same lattice."""
    part = values[:, low[2] : high[2], low[1] : high[1], low[0] : high[0]].contiguous()
    return cells(part, offset=tuple(low))


def raw_cost(fixed, moving, labels):
    return matching_cost(
        fixed.values, moving.values, fixed.weight, moving.weight > 0.5, np.zeros(3, int), labels
    )


def error(field, shift):
    return (field - torch.tensor(shift, dtype=torch.float32).view(3, 1, 1, 1)).norm(dim=0)


def shifted_pair(shift, size=(18, 20, 22), margin=6):
    """Crops of one texture: moving at x + shift (x y z) is fixed at x, content beyond the faces included."""
    shape = tuple(n + 2 * margin for n in size)
    values = texture(shape)
    moving = torch.roll(values, tuple(reversed(shift)), (1, 2, 3))
    low, high = (margin,) * 3, tuple(margin + n for n in reversed(size))
    return cropped(values, low, high), cropped(moving, low, high)


class TestWindow:
    def test_labels_are_the_whole_vectors_inside_the_ellipsoid(self):
        reach = (3.0, 2.5, 1.0)
        labels = search_window(reach)
        everything = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        expected = everything[((everything / reach) ** 2).sum(axis=1) <= 1.0]
        assert sorted(map(tuple, labels)) == sorted(map(tuple, expected))
        assert (3, 0, 0) in set(map(tuple, labels)) and (3, 1, 0) not in set(map(tuple, labels))

    def test_the_middle_label_is_zero_and_the_others_come_in_pairs(self):
        labels = search_window((4, 3, 2))
        assert not labels[len(labels) // 2].any()
        assert np.array_equal(labels, -labels[::-1])

    def test_a_reach_below_a_cell_leaves_that_axis_alone(self):
        assert np.array_equal(search_window((0.4, 0.9, 1.0)), [[0, 0, -1], [0, 0, 0], [0, 0, 1]])


def registered(fixed, moving, reach, consistent=True):
    if consistent:
        return register_pooled(fixed, moving, reach)[0]
    return best_displacement(fixed, moving, search_window(reach))


def test_labels_smoothed_in_parts_are_those_smoothed_at_once(monkeypatch):
    fixed, moving = shifted_pair((1, -2, 0), size=(7, 8, 9), margin=3)
    moving.weight[2:4, :, 3:] = 0.0
    labels = search_window((2, 2, 2))
    raw = raw_cost(fixed, moving, labels)
    monkeypatch.setattr(torch_backend, "_LABELS", 7)
    expected = box_mean(box_mean(raw, 1), 1).permute(1, 2, 3, 0)
    with use_backend("torch"):
        assert torch.equal(match_cost(fixed, moving, labels), expected)


def test_both_directions_share_their_memory_and_nothing_else(processor_backend):
    fixed, moving = shifted_pair((1, -2, 0), size=(7, 8, 9), margin=3)
    moving = cropped(moving.values, (0, 0, 0), (9, 8, 5))
    labels = search_window((2, 2, 2))
    room = torch.full((fixed.weight.numel() * len(labels),), float("nan"))
    for one, other in ((fixed, moving), (moving, fixed)):
        alone = match_cost(one, other, labels)
        assert torch.equal(match_cost(one, other, labels, room), alone)


class TestKnownShift:
    @pytest.mark.parametrize("consistent", [False, True])
    @pytest.mark.parametrize("shift", [(2, -3, 1), (0, 0, 0), (-1, 0, 4)])
    def test_is_found_exactly_in_the_interior(self, shift, consistent):
        fixed, moving = shifted_pair(shift)
        field = registered(fixed, moving, (5, 5, 5), consistent)
        inner = error(field, shift)[6:-6, 6:-6, 6:-6]
        assert float(inner.max()) < 1e-5

    def test_of_more_than_forty_millimetres_is_reached_when_the_search_range_says_so(self):
        shift = (0, 1, 6)
        assert np.linalg.norm(shift) * CELL_MM > 48
        fixed, moving = shifted_pair(shift, size=(26, 16, 16), margin=8)
        reached = registered(fixed, moving, (2.0, 2.0, 7.0))
        assert float(error(reached, shift)[9:-9, 5:-5, 5:-5].max()) < 1e-5
        too_near = registered(fixed, moving, (2.0, 2.0, 4.0))
        assert float(too_near[2].abs().max()) <= 4.0

    @pytest.mark.parametrize("offset", [(2, 3, 1), (-3, -1, -2)])
    def test_does_not_depend_on_where_the_moving_grid_starts(self, offset):
        shift = (1, -2, 2)
        values = texture((34, 36, 34))
        moved = torch.roll(values, tuple(reversed(shift)), (1, 2, 3))
        fixed = cropped(values, (8, 8, 8), (26, 28, 26))
        wide = cropped(moved, (2, 2, 2), (32, 34, 32))
        other = cropped(moved, tuple(5 + n for n in offset), (30, 31, 29))
        fields = [registered(fixed, moving, (3, 3, 3)) for moving in (wide, other)]
        assert float(error(fields[0], shift)[2:-2, 2:-2, 2:-2].max()) < 1e-4
        torch.testing.assert_close(
            fields[0][:, 4:-4, 4:-4, 4:-4], fields[1][:, 4:-4, 4:-4, 4:-4], atol=1e-4, rtol=0
        )

    def test_reaches_to_the_border_of_a_mask(self):
        shift = (2, -3, 1)
        fixed, moving = shifted_pair(shift)
        mask = torch.zeros(fixed.shape)
        mask[6:12, 6:14, 7:15] = 1.0
        fixed.weight = mask
        moving.weight = torch.roll(mask, tuple(reversed(shift)), (0, 1, 2))
        for consistent in (False, True):
            field = registered(fixed, moving, (5, 5, 5), consistent)
            assert float(error(field, shift)[mask > 0].max()) < 1e-4

    def test_far_from_anything_to_match_the_field_is_zero_not_the_first_label(self):
        fixed, moving = shifted_pair((0, 0, 0), size=(12, 12, 30), margin=3)
        fixed.weight[:, :, 3:] = 0.0
        field = registered(fixed, moving, (3, 3, 3), consistent=False)
        assert float(field[:, :, :, -4:].abs().max()) < 1e-5


def smooth_wave(shape, amplitude):
    index = index_grid(shape)
    x, y, z = (2 * np.pi * index[a] / shape[2 - a] for a in range(3))
    return amplitude * torch.stack([torch.sin(z), torch.sin(x), torch.sin(y)])


class TestConsistency:
    def test_two_fields_near_inverse_become_inverse(self):
        shape, offset = (16, 16, 16), torch.tensor([2.0, -1.0, 3.0]).view(3, 1, 1, 1)
        forward = smooth_wave(shape, 1.0) + 0.2
        backward = -sample_field(forward, torch.zeros((3, *shape)), offset) + 0.3
        consistent, consistent_backward = make_consistent(forward, backward, offset)

        def residual(a, b):
            return (a + sample_field(b, a, -offset)).norm(dim=0)[5:-5, 5:-5, 5:-5].mean()

        assert float(residual(consistent, consistent_backward)) < 0.1 * float(residual(forward, backward))

    def test_forward_and_backward_compose_to_the_identity_for_a_smooth_deformation(self):
        shape = (20, 20, 20)
        values = texture(shape)
        truth = smooth_wave(shape, 1.5)
        # moving(y) = values(y), fixed(x) = values(x + u(x)): then moving at x + u(x) looks like fixed at x.
        fixed, moving = cells(sample(values, index_grid(shape) + truth)), cells(values)
        forward, backward = register_pooled(fixed, moving, (3, 3, 3))
        inner = (slice(None), slice(4, -4), slice(4, -4), slice(4, -4))
        # Labels are whole cells: a quarter of a cell on average, and a little for the smoothing.
        assert float((forward - truth)[inner].abs().mean()) < 0.35
        composed = forward + sample_field(backward, forward, torch.zeros(3, 1, 1, 1))
        assert float(composed[inner].norm(dim=0).mean()) < 0.1
        alone = [registered(a, b, (3, 3, 3), consistent=False) for a, b in ((fixed, moving), (moving, fixed))]
        apart = alone[0] + sample_field(alone[1], alone[0], torch.zeros(3, 1, 1, 1))
        assert float(composed[inner].norm(dim=0).mean()) < 0.5 * float(apart[inner].norm(dim=0).mean())


@pytest.mark.parametrize("offset", [(0, 0, 0), (2, -1, 3)])
def test_the_field_of_the_moving_cells_is_that_of_the_pair_the_other_way_round(offset):
    values = texture((20, 21, 22))
    fixed = cropped(values, (5, 5, 5), (12, 13, 14))
    moving = cropped(torch.roll(values, (1, 0, -1), (1, 2, 3)), tuple(5 + n for n in offset), (11, 12, 10))
    there, back = register_pooled(fixed, moving, (2, 2, 2))
    back_again, there_again = register_pooled(moving, fixed, (2, 2, 2))
    assert torch.equal(there, there_again) and torch.equal(back, back_again)
    assert there.shape[1:] == fixed.shape and back.shape[1:] == moving.shape


def test_labels_that_leave_the_usable_part_cost_what_the_others_cost_on_average():
    fixed, moving = shifted_pair((0, 0, 0), size=(3, 3, 3), margin=1)
    fixed.weight[:] = 0.0
    fixed.weight[1, 1, 1] = 0.5
    moving.weight[:, :, 2] = 0.4
    labels = search_window((1, 1, 1))
    cost = raw_cost(fixed, moving, labels)[:, 1, 1, 1]
    here = fixed.values[:, 1, 1, 1]
    leaves = (labels == (1, 0, 0)).all(axis=1)
    expected = [
        float((here - moving.values[:, 1 + z, 1 + y, 1 + x]).square().sum()) / 2 for x, y, z in labels
    ]
    expected = np.where(leaves, np.mean(np.array(expected)[~leaves]), expected)
    np.testing.assert_allclose(cost, expected, rtol=1e-5)


def test_numba_and_plain_pytorch_give_the_same_field():
    pytest.importorskip("numba")
    shape = (14, 15, 16)
    values = texture(shape)
    fixed = cells(sample(values, index_grid(shape) + smooth_wave(shape, 1.2)))
    fixed.weight[:, :3] = 0.0
    moving = cells(values)
    with use_backend("numba"):
        fused = registered(fixed, moving, (3, 2, 2.5))
    with use_backend("torch"):
        plain = registered(fixed, moving, (3, 2, 2.5))
    # Rounding may tip single cells from one label to its equal; all others agree.
    apart = (fused - plain).norm(dim=0)
    assert float((apart > 1e-4).float().mean()) < 0.01


def test_progress_grows_to_the_end_of_both_directions():
    fixed, moving = shifted_pair((0, 0, 0), size=(5, 5, 5), margin=1)
    seen = []
    register_pooled(fixed, moving, (1, 1, 1), seen.append)
    assert seen == sorted(seen) and len(seen) == 2 and 0 < seen[0] < seen[1] <= 1
