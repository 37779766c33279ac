"""Filters over cubes of voxels, against the definitions."""

import numpy as np
import pytest
import torch

from GLIDERegLib.registration.filters import any_in_blocks, box_mean, grown


def random_image(shape, seed=0):
    return np.random.default_rng(seed).normal(0, 100, shape).astype(np.float32)


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_box_mean_averages_a_cube_with_replicated_faces(radius):
    image = random_image((5, 4, 6))
    padded = np.pad(image.astype(float), radius, mode="edge")
    size = 2 * radius + 1
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size, size))
    result = box_mean(torch.from_numpy(image), radius)
    np.testing.assert_allclose(result.numpy(), windows.mean(axis=(3, 4, 5)), atol=1e-4)


def test_box_mean_leaves_its_argument_alone_and_keeps_a_constant():
    image = torch.full((3, 4, 5, 6), 7.25)
    before = image.clone()
    assert torch.equal(box_mean(image, 1), before)
    assert torch.equal(image, before)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("shape", [(8, 12, 4), (7, 5, 9), (1, 2, 3)])
def test_any_in_blocks_and_growing_are_maxima_over_cubes(size, shape):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(2)) > 0.9
    image = mask.float()[None]
    blocks = torch.nn.functional.max_pool3d(image, size, ceil_mode=True)[0] > 0
    assert torch.equal(any_in_blocks(mask, size), blocks)
    assert torch.equal(grown(mask, size), torch.nn.functional.max_pool3d(image, 2 * size + 1, 1, size)[0] > 0)
