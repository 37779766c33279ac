import numpy as np
import pytest
import torch

from GLIDERegLib.core.settings import CHANNELS
from GLIDERegLib.registration.backends.protocol import LANES
from GLIDERegLib.registration.features.pooled_features import (
    PackedFeatures,
    pool,
)

pytestmark = pytest.mark.usefixtures("processor_backend")


def random_values(channels, shape, seed=0):
    return torch.rand((channels, *shape), generator=torch.Generator().manual_seed(seed))


def direct_pool(values, usable, factor):
    shape = tuple(-(-n // factor) for n in usable.shape)
    means, share = np.zeros((len(values), *shape)), np.zeros(shape)
    for cell in np.ndindex(*shape):
        block = tuple(slice(c * factor, (c + 1) * factor) for c in cell)
        inside = usable[block]
        share[cell] = inside.sum() / factor**3
        if inside.any():
            means[(slice(None), *cell)] = values[(slice(None), *block)][:, inside].mean(axis=1)
    return means, share


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(8, 12, 4), (7, 5, 9), (1, 2, 3)])
def test_pooling_is_the_mean_of_the_usable_voxels_of_every_cell(factor, shape):
    values = random_values(3, shape)
    usable = torch.rand(shape, generator=torch.Generator().manual_seed(1)) > 0.4
    means, share = pool(values, usable, factor)
    expected, expected_share = direct_pool(values.numpy(), usable.numpy(), factor)
    np.testing.assert_allclose(share, expected_share, atol=1e-6)
    counted = expected_share > 0
    np.testing.assert_allclose(means.numpy()[:, counted], expected[:, counted], atol=1e-5)


def test_a_ragged_end_makes_a_cell_of_its_own_and_shifts_nothing():
    values = torch.arange(10.0).expand(1, 4, 4, 10)
    means, share = pool(values, torch.ones((4, 4, 10), dtype=torch.bool), 4)
    assert means[0, 0, 0].tolist() == pytest.approx([1.5, 5.5, 8.5])
    assert share[0, 0].tolist() == pytest.approx([1.0, 1.0, 0.5])


@pytest.mark.parametrize("channels", [1, 5, 12])
def test_bytes_keep_values_within_half_a_step_and_weights(channels):
    values, weight = random_values(channels, (4, 5, 6)), random_values(1, (4, 5, 6), seed=1)[0]
    packed = PackedFeatures.pack(values, weight, 2, (4, -2, 0))
    assert packed.data.shape == (4, 5, 6, LANES) and packed.data.dtype == torch.uint8
    assert packed.factor == 2 and packed.offset == (4, -2, 0)
    assert packed.values().shape == (CHANNELS, 4, 5, 6)
    assert float((packed.values()[:channels] - values).abs().max()) <= 0.5 / 255 + 1e-6
    assert not packed.values()[channels:].any()
    assert float((packed.weight() - weight).abs().max()) <= 1 / 255
    assert not packed.data[..., CHANNELS + 1 :].any()


def test_values_beyond_the_range_are_clipped_not_wrapped():
    values = torch.tensor([-0.5, 0.0, 1.0, 1.7]).view(1, 1, 1, 4)
    packed = PackedFeatures.pack(values, torch.ones(1, 1, 4), 1)
    assert packed.values()[0, 0, 0].tolist() == [0.0, 0.0, 1.0, 1.0]


def test_the_smallest_weight_is_not_lost_and_zero_stays_zero():
    weight = torch.tensor([0.0, 1e-6, 0.5, 1.0]).view(1, 1, 4)
    packed = PackedFeatures.pack(torch.zeros(12, 1, 1, 4), weight, 1)
    assert packed.data[0, 0, :, CHANNELS].tolist() == [0, 1, 128, 255]


def test_packing_leaves_its_arguments_alone():
    values, weight = random_values(12, (3, 3, 3)), random_values(1, (3, 3, 3))[0]
    before = values.clone(), weight.clone()
    PackedFeatures.pack(values, weight, 1)
    pool(values, weight > 0.5, 2)
    assert torch.equal(values, before[0]) and torch.equal(weight, before[1])
