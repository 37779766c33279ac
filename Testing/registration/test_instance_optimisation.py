import itertools

import numpy as np
import pytest
import torch

from GLIDERegLib.core.settings import CHANNELS, Level
from GLIDERegLib.registration import energy
from GLIDERegLib.registration.backends import backend_for, use_backend
from GLIDERegLib.registration.control_grid import ControlGrid, to_coefficients
from GLIDERegLib.registration.features.pooled_features import PackedFeatures
from GLIDERegLib.registration.filters import box_mean
from GLIDERegLib.registration.instance_optimisation import refine_level
from GLIDERegLib.registration.joint_energy import Energy, Term
from GLIDERegLib.registration.sampling import index_grid, sample


def texture(shape, seed, smoothings=2):
    """Random features (12, Z, Y, X) in [0, 1], smooth enough to interpolate between voxels."""
    values = torch.rand((CHANNELS, *shape), generator=torch.Generator().manual_seed(seed))
    for _ in range(smoothings):
        values = box_mean(values, 1)
    low, high = values.amin(), values.amax()
    return (values - low) / (high - low)


def packed(shape, seed, factor, offset=(0, 0, 0)):
    generator = torch.Generator().manual_seed(100 + seed)
    weight = torch.rand(shape, generator=generator).clamp(min=0.1)
    weight[torch.rand(shape, generator=generator) < 0.02] = 0.0
    return PackedFeatures.pack(texture(shape, seed), weight, factor, offset)


def coefficients_of(grid, scale, seed=5):
    shape = tuple(n + 4 for n in grid.nodes)
    return scale * torch.randn((3, *shape), generator=torch.Generator().manual_seed(seed))


CPU = torch.device("cpu")
SHAPE = (14, 15, 17)  # working voxels, no multiples of the node spacing


def terms(*factors):
    """A term per feature factor; the moving images are larger, each with an offset of its own."""
    found = []
    for number, factor in enumerate(factors):
        shape = tuple(-(-n // factor) for n in SHAPE)
        offset = [(-2, -1, -3), (1, 0, -1)][number]
        moving = packed(tuple(n + 4 for n in shape), 10 + number, factor, offset)
        found.append(Term(packed(shape, number, factor), moving, weight=1.5 + number))
    return found


def energy_on(found, node_spacing, bending=2.0, folding=20.0):
    return Energy(found, ControlGrid(SHAPE, node_spacing), bending, folding, 1.5, backend_for(CPU))


class TestEnergy:
    @pytest.mark.parametrize("factors", [(1,), (2,), (1, 2), (2, 2)])
    def test_numba_and_plain_pytorch_agree_in_value_and_gradient(self, factors):
        pytest.importorskip("numba")
        found, energies = terms(*factors), []
        for name in ("numba", "torch"):
            with use_backend(name):
                energies.append(energy_on(found, 2))
        coefficients = coefficients_of(energies[0].grid, 1.2)
        for iteration in (0, 3, 6):
            value, gradient = energies[0](coefficients, iteration)
            expected, expected_gradient = energies[1](coefficients, iteration)
            assert value == pytest.approx(float(expected), rel=1e-4)
            scale = float(expected_gradient.abs().max())
            torch.testing.assert_close(gradient, expected_gradient, atol=1e-4 * scale, rtol=1e-3)

    @pytest.mark.parametrize("factors", [(1,), (1, 2)])
    def test_gradient_agrees_with_finite_differences(self, processor_backend, factors):
        value_of = energy_on(terms(*factors), 2)
        coefficients = coefficients_of(value_of.grid, 0.6)
        _, gradient = value_of(coefficients, 1)
        # Along the gradient the energy changes most; trilinear kinks and bytes forbid a tiny step.
        direction = gradient / gradient.norm()
        step = 0.05
        ahead, behind = (value_of(coefficients + s * direction, 1)[0] for s in (step, -step))
        assert float(ahead - behind) / (2 * step) == pytest.approx(float(gradient.norm()), rel=0.03)

    def test_replaced_terms_are_what_counts_from_then_on(self, processor_backend):
        first = terms(1)
        second = [Term(packed(SHAPE, 7, 1), packed(SHAPE, 8, 1), 1.0)]
        changed, fresh = energy_on(first, 2), energy_on(second, 2)
        coefficients = coefficients_of(fresh.grid, 0.5)
        before = float(changed(coefficients, 0)[0])
        changed.replace_terms(second)
        assert float(changed(coefficients, 0)[0]) == pytest.approx(float(fresh(coefficients, 0)[0]))
        assert float(changed(coefficients, 0)[0]) != pytest.approx(before, rel=1e-3)

    def test_identical_features_at_rest_cost_nothing(self, processor_backend):
        features = packed(SHAPE, 0, 1)
        rest = energy_on([Term(features, features, 1.0)], 2)
        value, gradient = rest(torch.zeros(coefficients_of(rest.grid, 0).shape), 0)
        assert float(value) == pytest.approx(0, abs=1e-9)

    def test_offsets_say_where_the_moving_features_lie(self, processor_backend):
        """The moving image is a cut-out of the fixed one: in its place it matches without displacement."""
        whole = packed((12, 13, 14), 0, 1)
        cut = PackedFeatures(whole.data[2:, 1:11, 3:].contiguous(), 1, (3, 1, 2))
        grid = ControlGrid((12, 13, 14), 2)
        rest = torch.zeros(3, *(n + 4 for n in grid.nodes))
        misplaced = PackedFeatures(cut.data, 1)
        in_place, cut_in_place, wrong = (
            float(Energy([Term(whole, moving, 1.0)], grid, 0, 0, 1.0, backend_for(CPU))(rest, 0)[0])
            for moving in (whole, cut, misplaced)
        )
        assert (in_place, cut_in_place) == pytest.approx((0, 0), abs=1e-9)
        assert wrong > 0.01

    def test_bending_is_measured_in_mm_whatever_the_resolution(self, processor_backend):
        """u_x = a x^2 (mm) has a squared second derivative of 4 a^2 at every node, in 1/mm^2."""
        a, voxel = 0.01, 1.5
        for spacing in (2, 4):
            grid = ControlGrid((24, 24, 24), spacing)
            x = (grid.position(reach=2)[0] * voxel).double()
            coefficients = torch.zeros(3, *(n + 4 for n in grid.nodes))
            coefficients[0] = (a * x.square() / voxel).float()
            value, _ = Energy([], grid, 1.0, 0.0, voxel, backend_for(CPU))(coefficients, 0)
            inner = np.prod([n + 4 for n in grid.nodes]) * (grid.nodes[2] + 2) / (grid.nodes[2] + 4)
            assert float(value) == pytest.approx(4 * a**2 * inner / np.prod(grid.nodes), rel=1e-2)


class TestControlGrid:
    @pytest.mark.parametrize("shape", [(7, 8, 9), (1, 5, 12), (13, 2, 3)])
    @pytest.mark.parametrize("spacing", [1, 2, 3, 4])
    def test_has_a_node_beyond_every_voxel_on_every_side(self, shape, spacing):
        grid = ControlGrid(shape, spacing)
        position = grid.position()
        assert tuple(position.shape[1:]) == grid.nodes
        for component, length in enumerate(shape[::-1]):
            assert float(position[component].min()) <= 0 - spacing / 2
            assert float(position[component].max()) >= length - 1 + spacing / 2

    @pytest.mark.parametrize("spacing", [2, 3, 4])
    def test_nodes_stand_in_the_middle_of_blocks_of_voxels(self, spacing):
        grid = ControlGrid((8, 9, 10), spacing)
        middle = np.arange(spacing).mean()
        assert grid.position()[:, 1, 1, 1].tolist() == [middle] * 3
        assert grid.position()[:, 0, 0, 0].tolist() == [middle - spacing] * 3
        torch.testing.assert_close(grid.position(reach=2)[:, 2:-2, 2:-2, 2:-2], grid.position())

    @pytest.mark.parametrize("ratio", [1, 2])
    def test_phases_of_all_nodes_visit_every_voxel_of_an_odd_size_once(self, ratio):
        """What `Energy` sums over: node * ratio + phase - ratio."""
        shape = (7, 5, 9)
        grid = ControlGrid(shape, ratio)
        visits = np.zeros(shape, int)
        for phase, _ in energy.phases(ratio):
            axes = [np.arange(n) * ratio + p - ratio for n, p in zip(grid.nodes, phase, strict=True)]
            axes = [a[(a >= 0) & (a < n)] for a, n in zip(axes, shape, strict=True)]
            visits[np.ix_(*axes)] += 1
        assert (visits == 1).all()


class TestToCoefficients:
    @pytest.mark.parametrize(
        "first, step, spacing", [(3.5, 8, 4), (1.5, 4, 2), (-2.5, 4, 2), (0.5, 2, 2), (0.0, 1, 3)]
    )
    def test_reproduces_linear_fields_at_every_voxel(self, first, step, spacing):
        shape = (16, 17, 19)
        matrix = torch.tensor([[0.02, -0.1, 0.03], [0.05, 0.01, -0.02], [0.0, 0.04, 0.07]])
        shift = torch.tensor([1.0, -2.0, 3.0]).view(3, 1, 1, 1)
        # Samples over far more than the image, so that no coefficient lies beyond them.
        count = 60 // step + 6
        low = first - step * (24 // step)
        position = index_grid((count + 24 // step,) * 3) * step + low
        field = torch.einsum("ij,jzyx->izyx", matrix, position) + shift
        grid = ControlGrid(shape, spacing)
        coefficients = to_coefficients(field, low, step, grid)
        for phase, taps in energy.phases(spacing):
            values = energy.spline_samples(coefficients, taps)
            at = (index_grid(grid.nodes) - 1) * spacing + torch.tensor(phase[::-1]).view(3, 1, 1, 1)
            torch.testing.assert_close(
                values, torch.einsum("ij,jzyx->izyx", matrix, at) + shift, atol=1e-3, rtol=0
            )

    def test_is_constant_beyond_the_samples(self):
        field = torch.zeros(3, 2, 2, 2)
        field[0, ..., 1] = 4.0
        coefficients = to_coefficients(field, 3.5, 8, ControlGrid((16, 16, 16), 2))
        assert float(coefficients[0, ..., 0].abs().max()) == 0
        assert float(coefficients[0, ..., -1].min()) == 4


class TestRefineLevel:
    SHAPE = (24, 22, 26)

    def truth(self, index):
        """A smooth displacement (3, ...) of up to 0.7 voxels."""
        x, y, z = index * (2 * np.pi / 48)
        return torch.stack(
            [0.7 * torch.sin(y + z / 2), 0.6 * torch.cos(z) * torch.cos(x / 2), 0.5 * torch.sin(x + 1)]
        )

    def pair(self):
        """A fixed and a moving image of one texture, fixed(x) = moving(x + u(x))."""
        moving = texture(self.SHAPE, 3, smoothings=3)
        index = index_grid(self.SHAPE)
        fixed = sample(moving, index + self.truth(index))
        weight = torch.ones(self.SHAPE)
        return Term(PackedFeatures.pack(fixed, weight, 1), PackedFeatures.pack(moving, weight, 1), 1.0)

    def test_finds_a_known_smooth_displacement_below_a_voxel(self, processor_backend):
        grid = ControlGrid(self.SHAPE, 2)
        objective = Energy([self.pair()], grid, 0.02, 20.0, 1.0, backend_for(CPU))
        start = torch.zeros(3, *(n + 4 for n in grid.nodes))
        level = Level(2, 1, 60)
        coefficients, history = refine_level(objective, start, level)
        assert len(history) == 60
        assert np.mean(history[-8:]) < 0.1 * np.mean(history[:1])
        nodes = energy.spline_samples(coefficients, energy.NODE_TAPS)[:, 2:-2, 2:-2, 2:-2]
        error = (nodes - self.truth(grid.position())[:, 2:-2, 2:-2, 2:-2]).norm(dim=0)
        assert self.truth(grid.position()).norm(dim=0).mean() > 0.6
        assert float(error.mean()) < 0.05 and float(error.max()) < 0.25
        assert not start.any(), "the given coefficients stay as they were"

    def test_tells_progress_and_calls_ahead_of_every_iteration(self):
        seen, fractions = [], []

        def objective(coefficients, iteration):
            return float(coefficients.square().sum()), 2 * coefficients

        start = torch.ones(3, 5, 5, 5)
        refine_level(
            objective, start, Level(2, 1, 5), fractions.append,
            lambda iteration, now: seen.append((iteration, float(now.mean()))),
        )  # fmt: skip
        assert [iteration for iteration, _ in seen] == list(range(5))
        assert fractions == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
        means = [mean for _, mean in seen]
        assert means[0] == 1.0 and all(b < a for a, b in itertools.pairwise(means))

    def test_the_learning_rate_falls_from_its_full_value_to_its_final_share(self):
        """Under a constant gradient an Adam step is as long as its learning rate."""
        places = []
        level = Level(2, 1, 20, learning_rate=0.25, final_rate=0.1, damping=0.0)
        refine_level(
            lambda coefficients, iteration: (0.0, torch.ones_like(coefficients)),
            torch.zeros(3, 5, 5, 5),
            level,
            ahead=lambda iteration, now: places.append(float(now[0, 0, 0, 0])),
        )
        steps = -np.diff(places)
        assert steps[0] == pytest.approx(0.5, rel=1e-3)
        assert steps[-1] < 0.1 * 0.5 * 1.5
        assert (np.diff(steps) < 1e-6).all()
