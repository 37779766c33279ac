"""Every backend against the formulas of `energy.py`, their gradients by autograd, and plain PyTorch.

Triton's kernels run where there is a graphics card. Elsewhere its interpreter runs them on the processor: see
`test_triton_backend.py`.
"""

import hashlib
import importlib.util
import os

import numpy as np
import pytest
import torch
from registration.support import random_packed

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.settings import CHANNELS, Level
from GLIDERegLib.registration import backends, energy
from GLIDERegLib.registration.backends import backend_for, torch_kernels, use_backend
from GLIDERegLib.registration.backends.protocol import LANES, Backend, Part
from GLIDERegLib.registration.backends.torch_backend import TorchBackend
from GLIDERegLib.registration.control_grid import ControlGrid
from GLIDERegLib.registration.coupled_convex import search_window
from GLIDERegLib.registration.features.pooled_features import PackedFeatures
from GLIDERegLib.registration.instance_optimisation import refine_level
from GLIDERegLib.registration.joint_energy import Energy, Term
from GLIDERegLib.registration.sampling import sample

HAS_TRITON = importlib.util.find_spec("triton") is not None
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
CUDA = torch.cuda.is_available() and not INTERPRETED
NO_TRITON = "needs the package triton, which a PyTorch for CUDA brings along (else: pip install triton)"
CPU = torch.device("cpu")
PLAIN = TorchBackend()


@pytest.fixture(params=["numba", "torch", "triton"])
def backend(request, monkeypatch) -> Backend:
    if request.param == "torch":
        return PLAIN
    if request.param == "numba":
        pytest.importorskip("numba")
        from GLIDERegLib.registration.backends.numba_backend import NumbaBackend

        return NumbaBackend()
    if not HAS_TRITON:
        pytest.skip(NO_TRITON)
    if not (CUDA or INTERPRETED):
        pytest.skip("run in Triton's interpreter by test_triton_backend.py")
    from GLIDERegLib.registration.backends import triton_kernels, triton_penalties
    from GLIDERegLib.registration.backends.triton_backend import TritonBackend

    if INTERPRETED:  # it takes as long for a program of many elements as for one of few
        for module in (triton_kernels, triton_penalties):
            monkeypatch.setattr(module, "BLOCK", 512)
    return TritonBackend()


@pytest.fixture
def device(backend) -> torch.device:
    return torch.device("cuda" if CUDA and backend.name == "triton" else "cpu")


def random_field(shape, seed=0, scale=1.0):
    return torch.randn((3, *shape), generator=torch.Generator().manual_seed(seed)) * scale


def random_values(channels, shape, seed=0):
    return torch.rand((channels, *shape), generator=torch.Generator().manual_seed(seed))


def with_gradient(function, field):
    """A function's value at a field, and its gradient by autograd."""
    leaf = field.clone().requires_grad_(True)
    value = function(leaf)
    (gradient,) = torch.autograd.grad(value, leaf, allow_unused=True)
    return value.detach(), torch.zeros_like(field) if gradient is None else gradient


def assert_same(value, gradient, expected, accuracy=1e-5):
    """Values, and gradients in parts of their largest: what rounding leaves of 32-bit floats."""
    assert float(value) == pytest.approx(float(expected[0]), rel=accuracy, abs=1e-9)
    torch.testing.assert_close(
        gradient.cpu(), expected[1], rtol=0, atol=accuracy * float(expected[1].abs().max()) + 1e-12
    )


class TestSsd:
    def check(self, backend, device, fixed, moving, offset, ratio, start, scale, u):
        expected_weight = None

        def reference(leaf):
            nonlocal expected_weight
            value, expected_weight = energy.ssd(
                fixed.values(), fixed.weight(), moving.values(), moving.weight(),
                offset, ratio, start, scale, leaf,
            )  # fmt: skip
            return value

        expected = with_gradient(reference, u)
        found = backend.ssd(
            fixed.data.to(device), moving.data.to(device), offset, ratio, start, scale, u.to(device)
        )
        assert float(found.weight) == pytest.approx(float(expected_weight), rel=1e-5)
        # The reference interpolates features that were divided by 255 first.
        assert float(found.value) == pytest.approx(float(expected[0]), rel=1e-4)
        largest = float(expected[1].abs().max())
        torch.testing.assert_close(found.gradient.cpu(), expected[1], rtol=0, atol=1e-3 * largest + 1e-12)
        if found.used is not None:
            assert not found.gradient[:, ~torch.from_numpy(found.used)].any()
        return float(found.weight)

    @pytest.mark.parametrize("offset", [(0, 0, 0), (-3, 2, 1), (4, -2, -5)])
    @pytest.mark.parametrize("scale", [1.0, 0.5])
    def test_on_the_feature_grid(self, backend, device, offset, scale):
        fixed, moving = random_packed((9, 10, 11), 0), random_packed((12, 9, 13), 1)
        u = random_field((9, 10, 11), scale=2.0)
        assert self.check(backend, device, fixed, moving, offset, 1, (0, 0, 0), scale, u) > 30

    @pytest.mark.parametrize("number", range(8))
    def test_at_every_phase_of_a_coarser_grid(self, backend, device, number):
        phase, _ = energy.phases(2)[number]
        fixed, moving = random_packed((9, 10, 11), 2), random_packed((9, 10, 11), 3)
        start = tuple(p - 2 for p in phase)
        u = random_field((7, 7, 8), seed=4)
        assert self.check(backend, device, fixed, moving, (1, 0, -1), 2, start, 0.5, u) > 10

    @pytest.mark.parametrize("unusable", [0.0, 0.2])
    def test_at_the_voxels_themselves_up_to_the_last(self, backend, device, unusable):
        fixed, moving = random_packed((6, 7, 8), 5, 0.0), random_packed((6, 7, 8), 6, unusable)
        u = torch.zeros(3, 6, 7, 8)
        found = backend.ssd(
            fixed.data.to(device), moving.data.to(device), (0, 0, 0), 1, (0, 0, 0), 1.0, u.to(device)
        )
        images = fixed.values(), fixed.weight(), moving.values(), moving.weight()
        value, weight = energy.ssd(*images, (0, 0, 0), 1, (0, 0, 0), 1.0, u)
        assert float(found.value) == pytest.approx(float(value), rel=1e-5)
        assert float(found.weight) == pytest.approx(float(weight), rel=1e-6) and float(weight) > 0
        # The gradient jumps there: that of either side will do.
        assert found.gradient.isfinite().all()

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_of_images_of_a_single_slice(self, backend, device, axis):
        shape = [6, 7, 8]
        shape[axis] = 1
        fixed, moving = random_packed(shape, 5, 0.0), random_packed(shape, 6, 0.0)
        u = random_field(shape)
        u[2 - axis] = 0.0
        assert self.check(backend, device, fixed, moving, (0, 0, 0), 1, (0, 0, 0), 1.0, u) > 5

    @pytest.mark.parametrize("displacement", [50.0, -50.0, 1e30, float("nan")])
    def test_outside_is_zero_with_zero_gradient(self, backend, device, displacement):
        fixed, moving = random_packed((5, 5, 5), 0), random_packed((5, 5, 5), 1)
        u = torch.full((3, 5, 5, 5), displacement)
        found = backend.ssd(
            fixed.data.to(device), moving.data.to(device), (0, 0, 0), 1, (0, 0, 0), 1.0, u.to(device)
        )
        assert float(found.value) == float(found.weight) == 0.0
        assert not found.gradient.any()

    def test_padding_channels_do_not_count(self, backend, device):
        fixed, moving = random_packed((5, 6, 7), 0), random_packed((5, 6, 7), 1)
        u = random_field((5, 6, 7), scale=0.5).to(device)
        found = []
        for padding in (0, 77):
            moving.data[..., 13:] = padding
            found.append(
                backend.ssd(fixed.data.to(device), moving.data.to(device), (0, 0, 0), 1, (0, 0, 0), 1.0, u)
            )
        assert float(found[0].value) == float(found[1].value) > 0
        assert torch.equal(found[0].gradient, found[1].gradient)

    @pytest.mark.parametrize("shares", [(0.0, 3.0, 1.0), (0.5, 20.0, 0.9)])
    def test_further_channels_count_by_their_share_where_all_know_them(self, backend, device, shares):
        fixed, moving = random_packed((5, 6, 7), 0, 0.0), random_packed((6, 6, 7), 1, 0.0)
        u = random_field((5, 6, 7), scale=0.5)
        for features, unknown in ((fixed, np.s_[:2]), (moving, np.s_[:, :2])):
            features.data[..., 13:15] = features.data[..., :2] // 2
            features.data[..., 15] = 255
            features.data[unknown][..., 15] = 0
        here = (1, 0, 0), 1, (0, 0, 0), 1.0

        images = fixed, moving
        every = [image.weight() for image in images]
        known = [image.weight() * image.known() for image in images]
        values = [image.values() for image in images]
        further = [image.further() for image in images]

        def of(values, weights, leaf):
            return energy.ssd(values[0], weights[0], values[1], weights[1], *here, leaf)[0]

        def reference(leaf):
            more = shares[1] * of(further, known, leaf) + (shares[0] - shares[2]) * of(values, known, leaf)
            return shares[2] * of(values, every, leaf) + more

        expected = with_gradient(reference, u)
        found = backend.ssd(fixed.data.to(device), moving.data.to(device), *here, u.to(device), shares)
        assert_same(found.value, found.gradient, expected, 1e-3)
        assert float(of(further, known, u)) > 0

    def test_plain_chunks_of_slices_change_nothing(self, monkeypatch):
        fixed, moving = random_packed((9, 10, 11), 0), random_packed((12, 9, 13), 1)
        u = random_field((9, 10, 11), scale=2.0)
        arguments = (fixed.data, moving.data, (1, 0, 0), 1, (-1, 0, 0), 1.0, u)
        at_once = PLAIN.ssd(*arguments)
        monkeypatch.setattr(torch_kernels, "_CHUNK", 2 * 10 * 11)
        parts = PLAIN.ssd(*arguments)
        assert torch.equal(parts.gradient, at_once.gradient) and at_once.gradient.any()
        torch.testing.assert_close(parts[:2], at_once[:2], rtol=1e-6, atol=0)


class TestSplines:
    @pytest.mark.parametrize("ratio", [1, 2, 4])
    def test_samples_and_their_transpose(self, backend, device, ratio):
        coefficients, back = random_field((8, 9, 11)), random_field((4, 5, 7), seed=1)
        for _, taps in energy.phases(ratio)[:8]:
            expected, gradient = with_gradient(
                lambda leaf, taps=taps: (energy.spline_samples(leaf, taps) * back).sum(), coefficients
            )
            values = backend.spline_samples(coefficients.to(device), taps).cpu()
            torch.testing.assert_close(values, energy.spline_samples(coefficients, taps), rtol=0, atol=1e-5)
            out = torch.ones_like(coefficients, device=device)
            backend.add_transposed(Part(expected, expected, back.to(device)), taps, 0.25, out)
            torch.testing.assert_close(out.cpu(), 1 + 0.25 * gradient, rtol=0, atol=1e-5)


class TestBendingEnergy:
    @pytest.mark.parametrize("shape", [(7, 8, 9), (7, 7, 7), (5, 6, 5), (12, 7, 10)])
    def test_and_its_gradient(self, backend, device, shape):
        field = random_field(shape, scale=3.0)
        value, gradient = backend.bending_energy(field.to(device), 0.5)
        assert_same(value, gradient, with_gradient(lambda leaf: 0.5 * energy.bending_energy(leaf), field))

    def test_of_an_affine_field_is_zero(self, backend, device):
        z, y, x = torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in (7, 8, 9)], indexing="ij")
        field = torch.stack([2 * x - y + 3, z + 0.5 * x, y - z]).to(device)
        value, gradient = backend.bending_energy(field, 1.0)
        assert abs(float(value)) < 1e-3 and float(gradient.abs().max()) < 1e-4


class TestFoldingPenalty:
    @pytest.mark.parametrize("corner", energy.CORNERS)
    @pytest.mark.parametrize("shape", [(11, 6, 7), (2, 3, 9)])
    def test_and_its_gradient(self, backend, device, corner, shape):
        u = random_field(shape, scale=0.9)
        found = backend.folding_penalty(u.to(device), 2.0, corner, 0.3)
        expected = with_gradient(lambda leaf: energy.folding_penalty(leaf, 2.0, corner, 0.3), u)
        assert float(expected[0]) > 0 and float(found.weight) == 1.0
        assert_same(found.value, found.gradient, expected)

    def test_a_field_without_folds_costs_nothing(self, backend, device):
        u = random_field((5, 6, 7), scale=0.05).to(device)
        found = backend.folding_penalty(u, 2.0, (1, -1, 1), 0.3)
        assert float(found.value) == 0.0 and not found.gradient.any()


class TestFeatures:
    @pytest.mark.parametrize(("radius", "dilation"), [(1, 2), (2, 1)])
    def test_patch_distances_are_means_of_squared_differences(self, backend, device, radius, dilation):
        """Against the sums over patches written out, in slabs at both faces and between them."""
        padded = 100 * random_values(1, (9 + 2 * dilation, 7 + 2 * dilation, 8 + 2 * dilation))[0]
        pairs = np.array([[[0, 1, 1], [1, 1, 0]], [[2, 1, 1], [1, 2, 1]], [[1, 1, 2], [1, 0, 1]]]) * dilation
        shape = (9, 7, 8)
        squares = torch.stack(
            [
                (
                    padded[a[0] :, a[1] :, a[2] :][: shape[0], : shape[1], : shape[2]]
                    - padded[b[0] :, b[1] :, b[2] :][: shape[0], : shape[1], : shape[2]]
                ).square()
                for a, b in pairs
            ]
        )
        around = torch.nn.functional.pad(squares, [radius] * 6, mode="replicate")
        means = torch.nn.functional.avg_pool3d(around, 2 * radius + 1, stride=1)
        expected = means - means.amin(dim=0)
        for slices in (slice(0, 4), slice(4, 8), slice(8, 9)):
            found = backend.patch_distances(padded.to(device), pairs, radius, slices)
            torch.testing.assert_close(found.cpu(), expected[:, slices], rtol=1e-4, atol=0.02)

    @pytest.mark.parametrize("factor", [2, 3, 4])
    def test_pooling_and_packing_are_those_of_plain_pytorch(self, backend, device, factor):
        values, usable = random_values(5, (7, 9, 10)), random_values(1, (7, 9, 10), 1)[0] > 0.4
        means, share = backend.pool(values.to(device), usable.to(device), factor)
        expected, expected_share = PLAIN.pool(values, usable, factor)
        torch.testing.assert_close(share.cpu(), expected_share)
        torch.testing.assert_close(means.cpu(), expected, atol=1e-5, rtol=0)
        packed = backend.pack(expected.to(device), expected_share.to(device)).cpu()
        assert packed.shape == (*expected_share.shape, LANES) and packed.dtype == torch.uint8
        assert torch.equal(packed, PLAIN.pack(expected, expected_share))
        assert packed[..., :5].any() and not packed[..., 5:CHANNELS].any()


class TestMatching:
    @pytest.mark.parametrize("channels", [3, 12, 16, 20])
    def test_cost_volume_is_the_smoothed_formula(self, backend, device, channels):
        fixed, moving = random_values(channels, (6, 7, 8)), random_values(channels, (7, 6, 9), 1)
        weight, usable = random_values(1, (6, 7, 8), 2)[0], random_values(1, (7, 6, 9), 3)[0] > 0.2
        weight[weight < 0.2] = 0.0
        labels, shift = search_window((3.0, 2.0, 2.5)), np.array([2, -2, -1])
        out = torch.full((6, 7, 8, len(labels)), float("nan"), device=device)
        images = (tensor.to(device) for tensor in (fixed, moving, weight, usable))
        backend.matching_cost(*images, shift, labels, out)
        raw = energy.matching_cost(fixed, moving, weight, usable, shift, labels)
        around = torch.nn.functional.pad
        for _ in range(2):
            raw = torch.nn.functional.avg_pool3d(around(raw, [1] * 6, mode="replicate"), 3, stride=1)
        torch.testing.assert_close(out.cpu(), raw.permute(1, 2, 3, 0), atol=1e-4, rtol=1e-4)

    def test_argmin_is_that_of_cost_and_coupling(self, backend, device):
        labels = torch.from_numpy(search_window((3, 3, 3))).float()
        cost, center = random_values(1, (500, len(labels)))[0], random_field((500,), 1).T.contiguous()
        expected = (cost + 0.1 * ((labels - center[:, None]) ** 2).sum(dim=2)).argmin(dim=1)
        chosen = backend.coupled_argmin(*(t.to(device) for t in (cost, labels, center)), 0.1)
        assert torch.equal(chosen.cpu(), expected)


class TestResult:
    """What backends give that work on the processor."""

    def test_inversion_solves_its_equation_everywhere(self, backend):
        deformation = 0.1 * random_field((9, 8, 7)).permute(1, 2, 3, 0).contiguous()
        start = 6 * random_values(3, (500,)).T.contiguous()
        spacing = torch.tensor([2.0, 3.0, 4.0])
        offset, largest = backend.inverted(deformation, start, spacing, 1e-3, 200)
        error = sample(deformation.movedim(-1, 0), (start + offset).T) + offset.T
        assert float((error * spacing.view(3, 1)).norm(dim=0).max()) <= 1.01e-3
        assert 0 < largest <= 1e-3 and float(offset.abs().max()) > 0.1

    def test_repair_leaves_no_fold_and_all_else_alone(self, backend):
        u = random_field((16, 15, 17), scale=0.05)
        u[:, 5:8, 6:9, 4:7] += random_field((3, 3, 3), seed=1, scale=3.0)
        repaired = backend.repaired(u, 2.0, 0.05, 100)
        assert energy.folded_nodes(u, 2.0, 0.05).any()
        assert not energy.folded_nodes(repaired, 2.0, 0.05 - 1e-4).any()
        assert torch.equal(repaired[:, -4:], u[:, -4:])
        assert backend.repaired(repaired, 2.0, 0.05 - 1e-4, 100) is repaired


SHAPE = (14, 15, 17)  # working voxels, no multiples of the node spacing
GRID = ControlGrid(SHAPE, 2)


def two_terms(device):
    found = []
    for factor, offset in ((1, (-2, -1, -3)), (2, (1, 0, -1))):
        shape = tuple(-(-n // factor) for n in SHAPE)
        fixed, moving = random_packed(shape, factor), random_packed(tuple(n + 4 for n in shape), 5 + factor)
        images = (
            PackedFeatures(f.data.to(device), factor, o) for f, o in ((fixed, (0, 0, 0)), (moving, offset))
        )
        found.append(Term(*images, weight=0.5 + factor))
    return found


def refined(backend, device, iterations=2):
    """A level with two terms."""
    objective = Energy(two_terms(device), GRID, 2.0, 20.0, 1.5, backend)
    begin = random_field(tuple(n + 4 for n in GRID.nodes), seed=9, scale=0.5).to(device)
    return refine_level(objective, begin, Level(2, 1, iterations)), begin.cpu()


class TestLevel:
    def test_takes_the_steps_of_plain_pytorch(self, backend, device):
        (coefficients, history), begin = refined(backend, device)
        (expected, expected_history), _ = refined(PLAIN, CPU)
        assert history == pytest.approx(expected_history, rel=1e-3)
        assert all(type(value) is float for value in history)
        # Adam divides by small second moments: rounding grows, but stays far below the way gone.
        way = float((expected - begin).abs().mean())
        assert way > 0.1
        assert float((coefficients.cpu() - expected).abs().mean()) < 1e-3 * way

    def test_repeats_to_the_bit(self, backend, device):
        said = [refined(backend, device, 1)[0] for _ in range(2)]
        first, second = (
            hashlib.sha256(coefficients.cpu().numpy().tobytes()).hexdigest() + str(history)
            for coefficients, history in said
        )
        assert first == second

    @pytest.mark.skipif(not CUDA, reason="needs a graphics card with CUDA")
    @pytest.mark.parametrize("kernels", ["torch", "triton"])
    def test_the_energy_never_waits_for_the_card(self, kernels):
        card = torch.device("cuda")
        with use_backend(kernels):
            objective = Energy(two_terms("cuda"), GRID, 2.0, 20.0, 1.5, backend_for(card))
        coefficients = random_field(tuple(n + 4 for n in GRID.nodes)).cuda()
        objective(coefficients, 0)  # builds what is built once
        torch.cuda.set_sync_debug_mode("error")
        try:
            for iteration in range(8):
                objective(coefficients, iteration)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    def test_reads_no_value_before_it_ends(self, monkeypatch):
        """Reading one waits for a graphics card; Adam's epsilon alone is read, once."""
        reads = []
        plain = torch.Tensor.__float__
        monkeypatch.setattr(
            torch.Tensor, "__float__", lambda tensor: reads.append(len(steps)) or plain(tensor)
        )
        for name in ("item", "tolist", "__bool__", "nonzero"):
            monkeypatch.setattr(torch.Tensor, name, lambda *_, name=name: pytest.fail(f"{name} waits"))
        objective = Energy(two_terms("cpu"), GRID, 2.0, 20.0, 1.5, PLAIN)
        steps = []
        begin = random_field(tuple(n + 4 for n in GRID.nodes), seed=9, scale=0.5)
        refine_level(objective, begin, Level(2, 1, 5), steps.append)
        assert reads == [0] + [5] * 5


class TestChoice:
    def test_a_named_backend_is_taken_where_it_can_run_for_as_long_as_told(self):
        usual = backend_for(CPU).name
        with use_backend("torch"):
            assert backend_for(CPU).name == "torch"
            with use_backend("triton"):
                assert backend_for(CPU).name == "torch"
        assert backend_for(CPU).name == usual

    @pytest.mark.parametrize("found", [True, False])
    def test_numba_is_taken_where_it_is_installed(self, found, monkeypatch):
        if found:
            pytest.importorskip("numba")
        spec = importlib.util.find_spec
        monkeypatch.setattr(
            backends.importlib.util,
            "find_spec",
            lambda name: spec(name) if found or name != "numba" else None,
        )
        backends._backend.cache_clear()
        monkeypatch.delenv(backends.VARIABLE, raising=False)
        assert backend_for(CPU).name == ("numba" if found else "torch")
        assert (backends.prepare_kernels() is not None) == found
        backends._backend.cache_clear()

    def test_the_environment_names_one(self, monkeypatch):
        monkeypatch.setenv(backends.VARIABLE, "torch")
        assert backend_for(CPU).name == "torch" and backends.prepare_kernels() is None
        monkeypatch.setenv(backends.VARIABLE, "fortran")
        with pytest.raises(InputError, match="fortran"):
            backend_for(CPU)
