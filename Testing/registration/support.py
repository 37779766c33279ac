"""What tests of the registration share: random features, and slices for encoders."""

from __future__ import annotations

import numpy as np
import torch

from GLIDERegLib.registration.cells import PackedFeatures
from GLIDERegLib.registration.mind import box_mean


def random_packed(shape, seed, unusable=0.1) -> PackedFeatures:
    """Smoothed random features with random weights, some of them zero."""
    generator = torch.Generator().manual_seed(seed)
    values = box_mean(torch.rand((12, *shape), generator=generator), 1)
    weight = torch.rand(shape, generator=generator)
    weight[torch.rand(shape, generator=generator) < unusable] = 0.0
    return PackedFeatures.pack(values, weight, 1)


def slices_in_hu(count, side=96) -> tuple[torch.Tensor, torch.Tensor]:
    """A bright ball in a soft-tissue disc in air, drifting from slice to slice, and where there is no air."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    slices = np.full((count, side, side), -1000.0, np.float32)
    for z in range(count):
        slices[z][x**2 + y**2 < 0.16] = 30.0
        slices[z][(x - 0.02 * z) ** 2 + y**2 < 0.02] = 700.0
    slices += np.random.default_rng(1).normal(0, 15, slices.shape)
    return torch.from_numpy(slices), torch.from_numpy(slices > -500)
