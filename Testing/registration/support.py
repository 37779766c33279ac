"""What tests of the registration share: random features, and slices for encoders."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from GLIDERegLib.registration.cells import PackedFeatures
from GLIDERegLib.registration.mind import box_mean


class NoWaiting(TorchDispatchMode):
    """Refuses what would wait for a graphics card: values read or sent, and sizes that depend on values."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name()
        chosen = name.startswith("aten::index") and any(
            index is not None and index.dtype == torch.bool for index in args[1] if len(args) > 1
        )
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
