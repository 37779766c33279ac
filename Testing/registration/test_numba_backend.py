"""What only numba's kernels promise: parts left out where nothing is to be done, and the same bits whatever
the number of threads and on the first run of a machine. `test_backends.py` tests what they compute.
"""

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
from GLIDERegLib.registration.backends import use_backend  # noqa: E402
from GLIDERegLib.registration.backends.numba import (  # noqa: E402
    compiling,
    folding_kernels,
    spline_kernels,
)
from GLIDERegLib.registration.backends.numba_backend import NumbaBackend, channels_last  # noqa: E402
from GLIDERegLib.registration.features.mind import MindSlabs, mind_ssc  # noqa: E402
from GLIDERegLib.registration.features.pooled_features import PackedFeatures, PooledFeatures, pool  # noqa: E402
from GLIDERegLib.registration.field import DisplacementField  # noqa: E402

NUMBA = NumbaBackend()


def random_field(shape, seed=0, scale=1.0):
    return (np.random.default_rng(seed).normal(size=(3, *shape)) * scale).astype(np.float32)


def transposed(gradient, taps, scale=1.0, used=None):
    c, z, y, x = gradient.shape
    out = np.zeros((c, z + 4, y + 4, x + 4), np.float32)
    used = np.ones(z, bool) if used is None else used
    spline_kernels.add_transposed(gradient, taps, np.float32(scale), used, out)
    return out


def random_cells(shape, seed, channels=12, offset=(0, 0, 0)):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.rand(shape, generator=generator)
    weight[weight < 0.2] = 0.0
    return PooledFeatures(torch.rand((channels, *shape), generator=generator), weight, 4, offset)


def test_argmin_takes_one_and_the_same_of_equal_labels():
    labels = torch.from_numpy(coupled_convex.search_window((3, 3, 3))).float()
    cost, center = torch.ones((50, len(labels))), torch.full((50, 3), 0.5)
    chosen = NUMBA.coupled_argmin(cost, labels, center, 0.1)
    assert len(set(chosen.tolist())) == 1
    assert float((labels[chosen[0]] - 0.5).norm()) == pytest.approx(0.75**0.5)


@pytest.mark.parametrize(("channels", "lanes"), [(1, 16), (12, 16), (16, 16), (17, 32)])
def test_channels_last_pads_with_zeros_to_whole_registers(channels, lanes):
    values = torch.rand((channels, 2, 3, 4), generator=torch.Generator().manual_seed(0))
    packed = channels_last(values)
    assert packed.shape == (2, 3, 4, lanes) and packed.dtype == np.float32 and packed.flags.c_contiguous
    np.testing.assert_array_equal(packed[..., :channels], values.permute(1, 2, 3, 0))
    assert not packed[..., channels:].any()


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


def test_an_unfolded_field_uses_no_slice():
    value, gradient, used = folding_kernels.folding_penalty(
        np.zeros((3, 5, 6, 7), np.float32), 2.0, (1, -1, 1), 0.3
    )
    assert value == 0 and not gradient.any() and not used.any()


def everything():
    """The bytes of what every parallel kernel gives."""
    with use_backend("numba"):
        return _everything()


def _everything():
    fixed, moving = random_packed((23, 10, 11), 0), random_packed((21, 12, 13), 1)
    u = random_field((23, 10, 11), scale=2.0)
    data = NUMBA.ssd(fixed.data, moving.data, (0, 1, 0), 1, (0, 0, 0), 1.0, torch.from_numpy(u))
    taps = energy.phases(2)[3][1]
    bending, bending_gradient = NUMBA.bending_energy(torch.from_numpy(u), 1.0)
    folding = NUMBA.folding_penalty(torch.from_numpy(u), 2.0, (1, -1, 1), 0.3)
    block = torch.rand((23, 10, 11), generator=torch.Generator().manual_seed(0))
    mind, variance = mind_ssc(100 * block), MindSlabs(100 * block).variance()
    features = PackedFeatures.pack(*pool(mind, block > 0.3, 2), 2)
    inverse = DisplacementField(np.moveaxis(u, 0, -1) / 9, Grid((11, 10, 23), (2.0, 3.0, 4.0))).inverse()
    cells = random_cells((9, 8, 7), 0), random_cells((9, 8, 7), 1)
    coarse, _ = coupled_convex.register_pooled(*cells, (2, 2, 2))
    read = NUMBA.sample(cells[0].values, 3 * torch.from_numpy(u))
    arrays = (data.gradient, spline_kernels.spline_samples(u, taps), transposed(u, taps), bending_gradient,
              folding.gradient, coarse, mind, variance, features.data, inverse.vectors, read)  # fmt: skip
    return data.value, data.weight, bending, folding.value, *(np.asarray(a).tobytes() for a in arrays)


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
        "from registration import test_numba_backend as here\n"
        "from GLIDERegLib.registration.backends.numba import similarity_kernels\n"
        "print(hashlib.sha256(repr(here.everything()).encode()).hexdigest())\n"
        "print(sum(similarity_kernels._ssd_slices.dispatcher.stats.cache_misses.values()))"
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
