"""What tests of the registration share: random features, and slices for encoders."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from GLIDERegLib.registration.features.pooled_features import PackedFeatures
from GLIDERegLib.registration.filters import box_mean

WINDOWS = ((-700, 60), (-300, 100), (-50, 40), (30, 20), (150, 50), (400, 100))  # HU: middle, width


class NoWaiting(TorchDispatchMode):
    """Refuses what would wait for a graphics card: values read or sent, and sizes that depend on values."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name()
        by_index = name.startswith(("aten::index.", "aten::index_put"))
        chosen = by_index and any(index is not None and index.dtype == torch.bool for index in args[1])
        if name in ("aten::_local_scalar_dense", "aten::nonzero", "aten::lift_fresh") or chosen:
            raise AssertionError(f"{name} waits for the device")
        return function(*args, **(kwargs or {}))


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


class AnatomyEncoder:
    """Tokens of 16 pixels: soft tissue classes and edges, through a random two-layer network, plus noise.

    It says nothing about SAM2, only what the method does with such features.
    """

    name = "test anatomy"
    channels = 256

    def __init__(self, tokens: int, noise: float, seed: int):
        self.tokens, self.noise, self.seed = tokens, noise, seed
        generator = torch.Generator().manual_seed(123)
        self.hidden = torch.randn(len(WINDOWS) + 4, 64, generator=generator)
        self.output = torch.randn(64, self.channels, generator=generator) / 8

    def identity(self) -> dict:
        return {"name": self.name, "tokens": self.tokens, "noise": self.noise, "seed": self.seed}

    def encode(self, slices, masks, progress=None, cancel=None):
        classes = torch.stack([torch.sigmoid((slices - m) / w) for m, w in WINDOWS], dim=1)
        edges = (classes[:, :4] - F.avg_pool2d(classes[:, :4], 9, 1, 4)).abs()
        cells = F.interpolate(torch.cat([classes, edges], dim=1), size=(2 * self.tokens,) * 2, mode="area")
        cells = F.avg_pool2d(F.avg_pool2d(cells, 3, 1, 1), 2).permute(0, 2, 3, 1)
        cells = (cells - cells.mean((0, 1, 2))) / cells.std((0, 1, 2)).clamp(min=1e-3)
        features = torch.tanh(cells @ self.hidden) @ self.output
        generator = torch.Generator().manual_seed(self.seed + int(slices.shape[0]))
        features = features + self.noise * torch.randn(features.shape, generator=generator)
        return features.permute(0, 3, 1, 2).contiguous()
