"""The kernels for tensors, plain and Triton's, against the functions of `energy.py` and their gradients by
autograd, and against numba's kernels.

Triton's run where there is a graphics card. Elsewhere its interpreter runs them on the processor: it is
chosen by an environment variable that must stand before they are loaded, so a process of its own does it.
"""

import hashlib
import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from registration.support import random_packed

from GLIDERegLib.core.settings import Level
from GLIDERegLib.registration import energy
from GLIDERegLib.registration.backends import torch_kernels
from GLIDERegLib.registration.features.pooled_features import PackedFeatures
from GLIDERegLib.registration.instance_optimisation import ControlGrid, Energy, Term, refine_level

HAS_TRITON = importlib.util.find_spec("triton") is not None
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
CUDA = torch.cuda.is_available() and not INTERPRETED
NO_TRITON = "needs the package triton, which a PyTorch for CUDA brings along (else: pip install triton)"


@pytest.fixture(params=["plain", "triton"])
def kernels(request, monkeypatch):
    if request.param == "plain":
        return torch_kernels
    if not HAS_TRITON:
        pytest.skip(NO_TRITON)
    if not (CUDA or INTERPRETED):
        pytest.skip("run below, in Triton's interpreter")
    from GLIDERegLib.registration.backends import triton_kernels, triton_penalties

    if INTERPRETED:  # it takes as long for a program of many elements as for one of few
        for module in (triton_kernels, triton_penalties):
            monkeypatch.setattr(module, "BLOCK", 512)
    return triton_kernels


@pytest.fixture
def device(kernels):
    return torch.device("cuda" if CUDA and kernels is not torch_kernels else "cpu")


def random_field(shape, seed=0, scale=1.0):
    return torch.randn((3, *shape), generator=torch.Generator().manual_seed(seed)) * scale


def with_gradient(function, field):
    """A function's value at a field, and its gradient by autograd."""
    leaf = field.clone().requires_grad_(True)
    value = function(leaf)
    (gradient,) = torch.autograd.grad(value, leaf, allow_unused=True)
    return value.detach(), torch.zeros_like(field) if gradient is None else gradient


def assert_same(found, expected):
    """Values to 1e-5, gradients to 1e-5 of their largest: what rounding leaves of 32-bit floats."""
    value, gradient = (part.cpu() for part in found)
    assert float(value) == pytest.approx(float(expected[0]), rel=1e-5, abs=1e-9)
    torch.testing.assert_close(
        gradient, expected[1], rtol=0, atol=1e-5 * float(expected[1].abs().max()) + 1e-12
    )


class TestSsd:
    def check(self, kernels, device, fixed, moving, offset, ratio, start, scale, u):
        expected_weight = None

        def reference(leaf):
            nonlocal expected_weight
            value, expected_weight = energy.ssd(
                fixed.values(), fixed.weight(), moving.values(), moving.weight(),
                offset, ratio, start, scale, leaf,
            )  # fmt: skip
            return value

        expected = with_gradient(reference, u)
        value, weight, gradient = kernels.ssd_and_gradient(
            fixed.data.to(device), moving.data.to(device), offset, ratio, start, scale, u.to(device)
        )
        assert float(weight) == pytest.approx(float(expected_weight), rel=1e-5)
        # The reference interpolates features that were divided by 255 first.
        assert float(value) == pytest.approx(float(expected[0]), rel=1e-4)
        largest = float(expected[1].abs().max())
        torch.testing.assert_close(gradient.cpu(), expected[1], rtol=0, atol=1e-3 * largest + 1e-12)
        return float(weight)

    @pytest.mark.parametrize("offset", [(0, 0, 0), (-3, 2, 1), (4, -2, -5)])
    @pytest.mark.parametrize("scale", [1.0, 0.5])
    def test_on_the_feature_grid(self, kernels, device, offset, scale):
        fixed, moving = random_packed((9, 10, 11), 0), random_packed((12, 9, 13), 1)
        u = random_field((9, 10, 11), scale=2.0)
        assert self.check(kernels, device, fixed, moving, offset, 1, (0, 0, 0), scale, u) > 30

    @pytest.mark.parametrize("number", range(8))
    def test_at_every_phase_of_a_coarser_grid(self, kernels, device, number):
        phase, _ = energy.phases(2)[number]
        fixed, moving = random_packed((9, 10, 11), 2), random_packed((9, 10, 11), 3)
        start = tuple(p - 2 for p in phase)
        u = random_field((7, 7, 8), seed=4)
        assert self.check(kernels, device, fixed, moving, (1, 0, -1), 2, start, 0.5, u) > 10

    def test_at_whole_voxels_up_to_the_last(self, kernels, device):
        fixed, moving = random_packed((6, 7, 8), 5, 0.0), random_packed((6, 7, 8), 6, 0.0)
        u = torch.zeros(3, 6, 7, 8)
        value, weight, gradient = kernels.ssd_and_gradient(
            fixed.data.to(device), moving.data.to(device), (0, 0, 0), 1, (0, 0, 0), 1.0, u.to(device)
        )
        expected = fixed.weight() * (fixed.values() - moving.values()).square().sum(dim=0)
        assert float(weight) == pytest.approx(float(fixed.weight().sum()), rel=1e-6)
        assert float(value) == pytest.approx(float(expected.sum()), rel=1e-5)
        assert gradient.isfinite().all()

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_of_images_of_a_single_slice(self, kernels, device, axis):
        shape = [6, 7, 8]
        shape[axis] = 1
        fixed, moving = random_packed(shape, 5, 0.0), random_packed(shape, 6, 0.0)
        u = random_field(shape)
        u[2 - axis] = 0.0
        assert self.check(kernels, device, fixed, moving, (0, 0, 0), 1, (0, 0, 0), 1.0, u) > 5

    @pytest.mark.parametrize("displacement", [50.0, -50.0, 1e30, float("nan")])
    def test_outside_is_zero_with_zero_gradient(self, kernels, device, displacement):
        fixed, moving = random_packed((5, 5, 5), 0), random_packed((5, 5, 5), 1)
        u = torch.full((3, 5, 5, 5), displacement)
        value, weight, gradient = kernels.ssd_and_gradient(
            fixed.data.to(device), moving.data.to(device), (0, 0, 0), 1, (0, 0, 0), 1.0, u.to(device)
        )
        assert float(value) == float(weight) == 0.0
        assert not gradient.any()

    def test_padding_channels_do_not_count(self, kernels, device):
        fixed, moving = random_packed((5, 6, 7), 0), random_packed((5, 6, 7), 1)
        u = random_field((5, 6, 7), scale=0.5).to(device)
        found = []
        for padding in (0, 77):
            moving.data[..., 13:] = padding
            found.append(
                kernels.ssd_and_gradient(
                    fixed.data.to(device), moving.data.to(device), (0, 0, 0), 1, (0, 0, 0), 1.0, u
                )
            )
        assert float(found[0][0]) == float(found[1][0]) > 0
        assert torch.equal(found[0][2], found[1][2])

    def test_plain_chunks_of_slices_change_nothing(self, monkeypatch):
        fixed, moving = random_packed((9, 10, 11), 0), random_packed((12, 9, 13), 1)
        u = random_field((9, 10, 11), scale=2.0)
        arguments = (fixed.data, moving.data, (1, 0, 0), 1, (-1, 0, 0), 1.0, u)
        whole = torch_kernels.ssd_and_gradient(*arguments)
        monkeypatch.setattr(torch_kernels, "_CHUNK", 2 * 10 * 11)
        parts = torch_kernels.ssd_and_gradient(*arguments)
        assert torch.equal(parts[2], whole[2]) and whole[2].any()
        torch.testing.assert_close(parts[:2], whole[:2], rtol=1e-6, atol=0)


@pytest.mark.parametrize("ratio", [1, 2, 4])
def test_spline_samples_and_their_transpose(kernels, device, ratio):
    coefficients, back = random_field((8, 9, 11)), random_field((4, 5, 7), seed=1)
    for _, taps in energy.phases(ratio)[:8]:
        expected = energy.spline_samples(coefficients, taps)
        values = kernels.spline_samples(coefficients.to(device), taps).cpu()
        torch.testing.assert_close(values, expected, rtol=0, atol=1e-5)
        _, gradient = with_gradient(
            lambda leaf, taps=taps: (energy.spline_samples(leaf, taps) * back).sum(), coefficients
        )
        transposed = kernels.spline_samples_transposed(back.to(device), taps).cpu()
        torch.testing.assert_close(transposed, gradient, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(7, 8, 9), (5, 6, 5), (12, 7, 10)])
def test_bending_energy(kernels, device, shape):
    field = random_field(shape, scale=3.0)
    found = kernels.bending_energy(field.to(device))
    assert_same(found, with_gradient(energy.bending_energy, field))


def test_bending_energy_of_an_affine_field_is_zero(kernels, device):
    z, y, x = torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in (7, 8, 9)], indexing="ij")
    value, gradient = kernels.bending_energy(torch.stack([2 * x - y + 3, z + 0.5 * x, y - z]).to(device))
    assert float(value) == 0.0 and not gradient.any()


@pytest.mark.parametrize("corner", energy.CORNERS)
def test_folding_penalty(kernels, device, corner):
    u = random_field((11, 6, 7), scale=0.6)
    found = kernels.folding_penalty(u.to(device), 2.0, corner, 0.3)
    expected = with_gradient(lambda leaf: energy.folding_penalty(leaf, 2.0, corner, 0.3), u)
    assert float(expected[0]) > 0
    assert_same(found, expected)


def test_a_field_without_folds_costs_nothing(kernels, device):
    value, gradient = kernels.folding_penalty(
        random_field((5, 6, 7), scale=0.05).to(device), 2.0, (1, -1, 1), 0.3
    )
    assert float(value) == 0.0 and not gradient.any()


SHAPE = (14, 15, 17)  # working voxels, no multiples of the node spacing


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


def refined(kernels, device, monkeypatch, iterations=2):
    """A level with two terms by these kernels, as the pipeline runs it without numba."""
    monkeypatch.setattr(energy, "tensor_kernels_on", lambda device: kernels)
    grid = ControlGrid(SHAPE, 2)
    objective = Energy(two_terms(device), grid, 2.0, 20.0, 1.5, fused=False)
    begin = random_field(tuple(n + 4 for n in grid.nodes), seed=9, scale=0.5).to(device)
    return refine_level(objective, begin, Level(2, 1, iterations))


@pytest.mark.skipif(not energy.fused_available(), reason="needs numba")
def test_a_level_of_the_refinement_takes_the_steps_of_numbas_kernels(kernels, device, monkeypatch):
    coefficients, history = refined(kernels, device, monkeypatch)
    grid = ControlGrid(SHAPE, 2)
    begin = random_field(tuple(n + 4 for n in grid.nodes), seed=9, scale=0.5)
    objective = Energy(two_terms("cpu"), grid, 2.0, 20.0, 1.5, fused=True)
    expected, expected_history = refine_level(objective, begin, Level(2, 1, 2))
    assert history == pytest.approx(expected_history, rel=1e-3)
    assert all(type(value) is float for value in history)
    # Adam divides by small second moments: rounding grows, but stays far below the way gone.
    way = float((expected - begin).abs().mean())
    assert way > 0.1
    assert float((coefficients.cpu() - expected).abs().mean()) < 1e-3 * way


def test_a_level_of_the_refinement_repeats_to_the_bit(kernels, device, monkeypatch):
    said = [refined(kernels, device, monkeypatch, 1) for _ in range(2)]
    first, second = (
        hashlib.sha256(coefficients.cpu().numpy().tobytes()).hexdigest() + str(history)
        for coefficients, history in said
    )
    assert first == second


@pytest.mark.skipif(not CUDA, reason="needs a graphics card with CUDA")
def test_the_energy_never_waits_for_the_card(kernels, monkeypatch):
    monkeypatch.setattr(energy, "tensor_kernels_on", lambda device: kernels)
    grid = ControlGrid(SHAPE, 2)
    objective = Energy(two_terms("cuda"), grid, 2.0, 20.0, 1.5, fused=False)
    coefficients = random_field(tuple(n + 4 for n in grid.nodes)).cuda()
    objective(coefficients, 0)  # builds what is built once
    torch.cuda.set_sync_debug_mode("error")
    try:
        for iteration in range(8):
            objective(coefficients, iteration)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_refinement_reads_no_value_before_a_level_ends(monkeypatch):
    """Reading one waits for a graphics card; Adam's epsilon alone is read, once."""
    reads = []
    plain = torch.Tensor.__float__
    monkeypatch.setattr(torch.Tensor, "__float__", lambda tensor: reads.append(len(steps)) or plain(tensor))
    for name in ("item", "tolist", "__bool__", "nonzero"):
        monkeypatch.setattr(torch.Tensor, name, lambda *_, name=name: pytest.fail(f"{name} waits"))
    monkeypatch.setattr(energy, "tensor_kernels_on", lambda device: torch_kernels)
    grid = ControlGrid(SHAPE, 2)
    objective = Energy(two_terms("cpu"), grid, 2.0, 20.0, 1.5, fused=False)
    steps = []
    begin = random_field(tuple(n + 4 for n in grid.nodes), seed=9, scale=0.5)
    refine_level(objective, begin, Level(2, 1, 5), steps.append)
    assert reads == [0] + [5] * 5


@pytest.mark.skipif(not HAS_TRITON, reason=NO_TRITON)
@pytest.mark.skipif(INTERPRETED, reason="this is the interpreter")
def test_tritons_kernels_pass_these_tests_in_its_interpreter():
    chosen = "triton and not tritons and not waits"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", "-k", chosen, __file__],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout and "skipped" not in done.stdout.splitlines()[-1], done.stdout


COMPILE = """
import re
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from GLIDERegLib.registration.backends import triton_kernels
from GLIDERegLib.registration.backends import triton_penalties
U = "*fp32"
POINTERS = {"fixed": "*u8", "moving": "*u8", **dict.fromkeys(
    ("u", "gradient", "values", "weights", "field", "source", "out"), U)}
REALS = ("scale", "inverse", "threshold", "w0", "w1", "w2", "w3", "w4")
for kernel in (
    triton_kernels._correlate, triton_kernels._ssd, triton_penalties._bending, triton_penalties._folding
):
    types = {n: POINTERS.get(n, "fp32" if n in REALS else "i32") for n in kernel.arg_names}
    types["BLOCK"] = "constexpr"
    source = ASTSource(kernel, signature=types, constexprs={"BLOCK": triton_penalties.BLOCK})
    built = triton.compile(source, target=GPUTarget("cuda", int(sys.argv[1]), 32))
    assert not re.search(r"\\b(atom|red)\\.", built.asm["ptx"])
    print(len(built.asm["cubin"]))
"""


@pytest.mark.skipif(not HAS_TRITON, reason=NO_TRITON)
@pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.parametrize("capability", [75, 90])
def test_tritons_kernels_compile_without_atomics(capability, tmp_path):
    """To machine code, for cards of compute capability 7.5 (Turing) and 9.0 (Hopper): no card is needed."""
    pytest.importorskip("triton.backends.nvidia")
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, str(capability)],
        env={**os.environ, "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert all(int(size) > 1000 for size in done.stdout.split()) and len(done.stdout.split()) == 4
