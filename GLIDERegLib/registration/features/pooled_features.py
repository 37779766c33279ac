"""Feature images on the working lattice, pooled to cells of a whole number of working voxels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
import torch.nn.functional as F

from GLIDERegLib.core.settings import CHANNELS
from GLIDERegLib.registration.energy import fused_available

LANES = 16


@dataclass
class CellFeatures:
    """values: (C, Z, Y, X) float32. weight: (Z, Y, X), share of the cell that is usable. factor: working
    voxels per cell.

    offset: this image's first cell in cells (x, y, z) of the fixed lattice.
    """

    values: torch.Tensor
    weight: torch.Tensor
    factor: int
    offset: tuple[int, int, int] = (0, 0, 0)

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(self.values.shape[1:])

    def channels_last(self) -> np.ndarray:
        """(Z, Y, X, C) float32 with zeros up to a multiple of 16 channels."""
        channels = self.values.shape[0]
        packed = np.zeros((*self.shape, -(-channels // LANES) * LANES), np.float32)
        packed[..., :channels] = self.values.permute(1, 2, 3, 0).numpy()
        return packed


@dataclass
class PackedFeatures:
    """Up to twelve channels in [0, 1] as bytes, (Z, Y, X, 16) uint8: channels, then a weight, then padding.

    A byte is a quarter of the memory traffic of a float and its rounding, 0.001 in a channel, is far below
    the noise of a scan. factor: working voxels per feature voxel. offset: first voxel in feature voxels (x,
    y, z) of the fixed lattice.
    """

    data: torch.Tensor
    factor: int
    offset: tuple[int, int, int] = (0, 0, 0)

    @classmethod
    def pack(
        cls, values: torch.Tensor, weight: torch.Tensor, factor: int, offset=(0, 0, 0)
    ) -> PackedFeatures:
        """values: (C, Z, Y, X) in [0, 1], C at most twelve. weight: (Z, Y, X) in [0, 1], zero where not
        usable.
        """
        if values.device.type == "cpu" and fused_available():
            from GLIDERegLib.registration.backends.numba.feature_kernels import pack_bytes

            packed = np.empty((*weight.shape, LANES), np.uint8)
            pack_bytes(values.numpy(), weight.numpy(), packed)
            return cls(torch.from_numpy(packed), factor, offset)
        data = torch.zeros((*weight.shape, LANES), dtype=torch.uint8, device=values.device)
        for channel, image in enumerate(values):
            data[..., channel] = _to_bytes(image)
        # A usable voxel keeps at least the smallest weight.
        data[..., CHANNELS] = torch.where(weight > 0, _to_bytes(weight).clamp_(min=1), 0)
        return cls(data, factor, offset)

    def values(self) -> torch.Tensor:
        """(12, Z, Y, X) float32 in [0, 1]."""
        return self.data[..., :CHANNELS].permute(3, 0, 1, 2).float() / 255

    def usable(self) -> torch.Tensor:
        """(Z, Y, X), bool: where the weight is not zero."""
        return self.data[..., CHANNELS] > 0

    def weight(self) -> torch.Tensor:
        """(Z, Y, X) float32 in [0, 1]."""
        return self.data[..., CHANNELS].float() / 255


def any_in_blocks(mask: torch.Tensor, size: int) -> torch.Tensor:
    """Whether anything of a bool image (Z, Y, X) is true in each block of size^3 voxels, ragged ones too."""
    mask = F.pad(mask, [n for length in mask.shape[::-1] for n in (0, -length % size)])
    for axis in range(3):
        mask = reduce(torch.logical_or, mask.unflatten(axis, (-1, size)).unbind(axis + 1))
    return mask


def grown(mask: torch.Tensor, reach: int) -> torch.Tensor:
    """A bool image (Z, Y, X), true within `reach` voxels along each axis of where it was: grown by a cube."""
    for axis in range(3):
        wider = mask.clone()
        length = mask.shape[axis]
        for shift in range(1, min(reach, length - 1) + 1):
            wider.narrow(axis, shift, length - shift).logical_or_(mask.narrow(axis, 0, length - shift))
            wider.narrow(axis, 0, length - shift).logical_or_(mask.narrow(axis, shift, length - shift))
        mask = wider
    return mask


def _to_bytes(image: torch.Tensor) -> torch.Tensor:
    return (image * 255).round_().clamp_(0, 255).to(torch.uint8)


def pool(values: torch.Tensor, usable: torch.Tensor, factor: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean of values (C, Z, Y, X) over the usable voxels of each cell, and the share of voxels that were
    usable (Z, Y, X).

    The last cells of a size that `factor` does not divide are filled up with unusable voxels: nothing is cut
    or stretched.
    """
    if factor == 1:
        return values, usable.to(torch.float32)
    if values.device.type == "cpu" and fused_available():
        from GLIDERegLib.registration.backends.numba.feature_kernels import block_means

        shape = [-(-n // factor) for n in usable.shape]
        means, share = np.empty((len(values), *shape), np.float32), np.empty(shape, np.float32)
        block_means(values.numpy(), usable.numpy(), factor, means, share)
        return torch.from_numpy(means), torch.from_numpy(share)
    padding = [n for length in values.shape[:0:-1] for n in (0, -length % factor)]
    mask = F.pad(usable.to(torch.float32), padding)[None]
    share = F.avg_pool3d(mask, factor)[0]
    means = [
        F.avg_pool3d(F.pad(channel, padding)[None] * mask, factor)[0] / share.clamp(min=1e-6)
        for channel in values
    ]
    return torch.stack(means), share
