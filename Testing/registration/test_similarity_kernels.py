"""Every fused kernel against the plain PyTorch function of the same name, gradients against autograd."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

numba = pytest.importorskip("numba")

from registration.support import random_packed  # noqa: E402

from GLIDERegLib.core.geometry import Grid  # noqa: E402
from GLIDERegLib.registration import coupled_convex, energy  # noqa: E402
from GLIDERegLib.registration.backends.numba import (  # noqa: E402
    compiling,
    convex_kernels,
    folding_kernels,
    similarity_kernels,
    spline_kernels,
)
from GLIDERegLib.registration.features.mind import MindSlabs, mind_ssc  # noqa: E402
from GLIDERegLib.registration.features.pooled_features import CellFeatures, PackedFeatures, pool  # noqa: E402
from GLIDERegLib.registration.field import DisplacementField  # noqa: E402


def random_field(shape, seed=0, scale=1.0):
    return (np.random.default_rng(seed).normal(size=(3, *shape)) * scale).astype(np.float32)


def fused_ssd(fixed, moving, offset, ratio, start, scale, u):
    gradient = np.full_like(u, np.nan)
    value, weights = similarity_kernels.ssd_and_gradient(
        fixed.data.numpy(),
        moving.data.numpy(),
        np.array(offset),
        ratio,
        np.array(start),
        np.float32(scale),
        u,
        gradient,
    )
    assert not gradient[:, weights == 0].any()
    return value, weights.sum(), gradient


def transposed(gradient, taps, scale=1.0, used=None):
    c, z, y, x = gradient.shape
    out = np.zeros((c, z + 4, y + 4, x + 4), np.float32)
    used = np.ones(z, bool) if used is None else used
    spline_kernels.add_transposed(gradient, taps, np.float32(scale), used, out)
    return out


def plain_ssd(fixed, moving, offset, ratio, start, scale, u):
    leaf = torch.from_numpy(u.copy()).requires_grad_(True)
    value, weight = energy.ssd(
        fixed.values(), fixed.weight(), moving.values(), moving.weight(), offset, ratio, start, scale, leaf
    )
    (gradient,) = torch.autograd.grad(value, leaf, allow_unused=True)
    gradient = torch.zeros_like(leaf) if gradient is None else gradient
    return float(value.detach()), float(weight), gradient.numpy()


def assert_same_ssd(*arguments):
    value, weight, gradient = fused_ssd(*arguments)
    expected_value, expected_weight, expected_gradient = plain_ssd(*arguments)
    assert weight == pytest.approx(expected_weight, rel=1e-5)
    assert value == pytest.approx(expected_value, rel=1e-4)
    largest = np.abs(expected_gradient).max()
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-3 * largest + 1e-12)
    return weight


@pytest.mark.parametrize("offset", [(0, 0, 0), (-3, 2, 1), (4, -2, -5)])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_ssd_and_its_gradient_on_the_feature_grid(offset, scale):
    fixed, moving = random_packed((9, 10, 11), 0), random_packed((12, 9, 13), 1)
    u = random_field((9, 10, 11), scale=2.0)
    assert assert_same_ssd(fixed, moving, offset, 1, (0, 0, 0), scale, u) > 30


@pytest.mark.parametrize(("phase", "taps"), energy.phases(2))
def test_ssd_and_its_gradient_at_every_phase_of_a_coarser_grid(phase, taps):
    fixed, moving = random_packed((9, 10, 11), 2), random_packed((9, 10, 11), 3)
    start = tuple(p - 2 for p in phase)
    u = random_field((7, 7, 8), seed=4)
    assert assert_same_ssd(fixed, moving, (1, 0, -1), 2, start, 0.5, u) > 10


def test_ssd_at_whole_voxels_where_neighbours_have_no_share():
    fixed, moving = random_packed((6, 7, 8), 5, 0.0), random_packed((6, 7, 8), 6, 0.2)
    value, weight, gradient = fused_ssd(
        fixed, moving, (0, 0, 0), 1, (0, 0, 0), 1.0, random_field((6, 7, 8), scale=0)
    )
    expected = plain_ssd(fixed, moving, (0, 0, 0), 1, (0, 0, 0), 1.0, random_field((6, 7, 8), scale=0))
    assert weight == pytest.approx(expected[1], rel=1e-6) and weight > 0
    assert value == pytest.approx(expected[0], rel=1e-5)
    assert np.isfinite(gradient).all()


def test_ssd_of_images_of_a_single_slice():
    fixed, moving = random_packed((1, 7, 8), 5, 0.0), random_packed((1, 7, 8), 6, 0.0)
    u = random_field((1, 7, 8))
    u[2] = 0.0
    assert assert_same_ssd(fixed, moving, (0, 0, 0), 1, (0, 0, 0), 1.0, u) > 5


def test_ssd_without_a_sample_inside_is_zero_with_zero_gradient():
    fixed, moving = random_packed((5, 5, 5), 0), random_packed((5, 5, 5), 1)
    value, weight, gradient = fused_ssd(
        fixed, moving, (0, 0, 0), 1, (0, 0, 0), 1.0, random_field((5, 5, 5)) + 50
    )
    assert value == weight == 0.0
    assert not gradient.any()


def test_padding_channels_do_not_count():
    fixed, moving = random_packed((5, 6, 7), 0), random_packed((5, 6, 7), 1)
    u = random_field((5, 6, 7), scale=0.5)
    before = fused_ssd(fixed, moving, (0, 0, 0), 1, (0, 0, 0), 1.0, u)
    moving.data[..., 13:] = 77
    after = fused_ssd(fixed, moving, (0, 0, 0), 1, (0, 0, 0), 1.0, u)
    assert before[0] == after[0] and np.array_equal(before[2], after[2])


@pytest.mark.parametrize("ratio", [1, 2, 4])
def test_spline_samples_and_their_transpose(ratio):
    coefficients = random_field((8, 9, 11))
    back = random_field((4, 5, 7), seed=1)
    for _, taps in energy.phases(ratio)[:8]:
        leaf = torch.from_numpy(coefficients).requires_grad_(True)
        expected = energy.spline_samples(leaf, taps)
        values = spline_kernels.spline_samples(coefficients, taps)
        np.testing.assert_allclose(values, expected.detach(), atol=1e-5)
        (gradient,) = torch.autograd.grad(expected, leaf, torch.from_numpy(back))
        spread = transposed(back, taps)
        np.testing.assert_allclose(spread, gradient, atol=1e-5)
        left = np.vdot(values.astype(float), back)
        assert left == pytest.approx(np.vdot(coefficients.astype(float), spread), rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("shape", [(7, 8, 9), (7, 7, 7), (12, 7, 10)])
def test_bending_energy_and_its_gradient(shape):
    field = random_field(shape, scale=3.0)
    leaf = torch.from_numpy(field).requires_grad_(True)
    expected = energy.bending_energy(leaf)
    (expected_gradient,) = torch.autograd.grad(expected, leaf)
    value, gradient = spline_kernels.BendingEnergy(shape).value_and_gradient(field)
    assert value == pytest.approx(float(expected.detach()), rel=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-3)


def test_bending_energy_of_an_affine_field_is_zero():
    z, y, x = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in (7, 8, 9)], indexing="ij")
    field = np.stack([2 * x - y + 3, z + 0.5 * x, y - z]).astype(np.float32)
    value, gradient = spline_kernels.BendingEnergy((7, 8, 9)).value_and_gradient(field)
    assert abs(value) < 1e-3 and np.abs(gradient).max() < 1e-4


@pytest.mark.parametrize("corner", energy.CORNERS)
def test_folding_penalty_and_its_gradient(corner):
    u = random_field((11, 6, 7), scale=0.6)
    leaf = torch.from_numpy(u).requires_grad_(True)
    expected = energy.folding_penalty(leaf, 2.0, corner, 0.3)
    (expected_gradient,) = torch.autograd.grad(expected, leaf)
    value, gradient, used = folding_kernels.folding_penalty(u, 2.0, corner, 0.3)
    assert used.all()
    assert value == pytest.approx(float(expected.detach()), rel=1e-5) and value > 0
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-5)


def random_cells(shape, seed, channels=12, offset=(0, 0, 0)):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.rand(shape, generator=generator)
    weight[weight < 0.2] = 0.0
    return CellFeatures(torch.rand((channels, *shape), generator=generator), weight, 4, offset)


@pytest.mark.parametrize("channels", [3, 12, 16, 20])
def test_match_cost_with_its_smoothing(channels, monkeypatch):
    fixed = random_cells((6, 7, 8), 0, channels, offset=(1, 0, 0))
    moving = random_cells((7, 6, 9), 1, channels, offset=(-1, 2, 1))
    labels = coupled_convex.search_window((3.0, 2.0, 2.5))
    fused = coupled_convex.match_cost(fixed, moving, labels)
    monkeypatch.setattr(coupled_convex, "fused_available", lambda: False)
    plain = coupled_convex.match_cost(fixed, moving, labels)
    torch.testing.assert_close(fused, plain, atol=1e-4, rtol=1e-4)


def test_coupled_argmin_takes_the_first_of_the_least():
    generator = torch.Generator().manual_seed(0)
    labels = torch.from_numpy(coupled_convex.search_window((3, 3, 3))).float()
    cost = torch.rand((500, len(labels)), generator=generator)
    cost[:50] = 1.0
    center = torch.randn((500, 3), generator=generator)
    center[:50] = 0.5
    expected = (cost + 0.1 * ((labels - center[:, None]) ** 2).sum(dim=2)).argmin(dim=1)
    chosen = convex_kernels.coupled_argmin(cost.numpy(), labels.numpy(), center.numpy(), np.float32(0.1))
    assert np.array_equal(chosen[50:], expected[50:])
    assert len(set(chosen[:50])) == 1
    assert np.linalg.norm(labels.numpy()[chosen[0]] - 0.5) == pytest.approx(0.75**0.5)


def test_slices_without_a_gradient_are_left_out_of_the_transpose_and_the_rest_is_added():
    taps = energy.phases(2)[3][1]
    gradient = random_field((9, 5, 6))
    used = np.array([False, True, False, False, False, False, False, False, True])
    gradient[:, ~used] = 0
    expected = transposed(gradient, taps, 0.25)
    out = np.ones_like(expected)
    spline_kernels.add_transposed(gradient, taps, np.float32(0.25), used, out)
    np.testing.assert_allclose(out, 1 + expected, rtol=1e-5)
    gradient[:, ~used] = np.nan
    assert np.array_equal(transposed(gradient, taps, 0.25, used), expected)


@pytest.mark.parametrize("folded", [0, 3, 4, 10, 13])
def test_only_slices_by_a_fold_are_said_to_have_a_gradient(folded):
    u = np.zeros((3, 14, 6, 7), np.float32)
    u[0, folded, 3, 3] = 9.0
    found = np.zeros(14, bool)
    for corner in energy.CORNERS:
        _, gradient, used = folding_kernels.folding_penalty(u, 2.0, corner, 0.3)
        assert not gradient[:, ~used].any()
        # A slab of four slices and one on either side.
        assert not used[np.abs(np.arange(14) - folded) > 5].any()
        found |= used
    assert found[folded]


def everything():
    """The bytes of what every parallel kernel gives."""
    fixed, moving = random_packed((23, 10, 11), 0), random_packed((21, 12, 13), 1)
    u = random_field((23, 10, 11), scale=2.0)
    value, weight, gradient = fused_ssd(fixed, moving, (0, 1, 0), 1, (0, 0, 0), 1.0, u)
    taps = energy.phases(2)[3][1]
    bending, bending_gradient = spline_kernels.BendingEnergy((23, 10, 11)).value_and_gradient(u)
    folding, folding_gradient, _ = folding_kernels.folding_penalty(u, 2.0, (1, -1, 1), 0.3)
    block = torch.rand((23, 10, 11), generator=torch.Generator().manual_seed(0))
    mind, variance = mind_ssc(100 * block), MindSlabs(100 * block).variance
    features = PackedFeatures.pack(*pool(mind, block > 0.3, 2), 2)
    inverse = DisplacementField(np.moveaxis(u, 0, -1) / 9, Grid((11, 10, 23), (2.0, 3.0, 4.0))).inverse()
    cells = random_cells((9, 8, 7), 0), random_cells((9, 8, 7), 1)
    coarse, _ = coupled_convex.register_cells(*cells, (2, 2, 2))
    arrays = (gradient, spline_kernels.spline_samples(u, taps), transposed(u, taps),
              bending_gradient, folding_gradient, coarse.numpy(), mind.numpy(), variance.numpy(),
              features.data.numpy(), inverse.vectors)  # fmt: skip
    return value, weight, bending, folding, *(a.tobytes() for a in arrays)


def test_results_are_bit_identical_for_any_number_of_threads():
    before = compiling.threads()
    try:
        compiling.set_threads(1)
        one = everything()
        for several in (2, 5):
            compiling.set_threads(several)
            assert everything() == one
    finally:
        compiling.set_threads(before)


def test_the_first_run_on_a_machine_gives_the_bits_of_later_ones(tmp_path):
    """numba runs what it has just compiled otherwise optimised than what it has saved."""
    source = (
        "import hashlib, sys; sys.path.insert(0, sys.argv[1])\n"
        "from registration import test_similarity_kernels as here\n"
        "print(hashlib.sha256(repr(here.everything()).encode()).hexdigest())\n"
        "print(sum(here.similarity_kernels._ssd_slices.dispatcher.stats.cache_misses.values()))"
    )
    said = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", source, str(Path(__file__).parents[1])],
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        said.append(done.stdout.split())
    assert [int(misses) for _, misses in said] == [1, 0]
    assert said[0][0] == said[1][0]
