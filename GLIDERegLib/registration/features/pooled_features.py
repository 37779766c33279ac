"""Feature images on the working grid, pooled to cells of so many voxels: as floats, and as bytes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from GLIDERegLib.core.geometry import triple
from GLIDERegLib.core.settings import CHANNELS
from GLIDERegLib.registration.backends import backend_for

# The first of two further channels, and the byte that tells where they are known.
FURTHER, KNOWN = CHANNELS + 1, CHANNELS + 3
# A cell or feature voxel counts where at least half of its voxels do.
LEAST_SHARE = 0.5


@dataclass
class PooledFeatures:
    """values: (C, Z, Y, X) float32. weight: (Z, Y, X), share of the cell that is usable. factor: working
    voxels per cell.

    offset: this image's first cell in cells (x, y, z) of the fixed working grid.
    """

    values: torch.Tensor
    weight: torch.Tensor
    factor: int
    offset: tuple[int, int, int] = (0, 0, 0)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Cells (Z, Y, X)."""
        return triple(self.values.shape[1:])


@dataclass
class PackedFeatures:
    """Up to twelve channels in [0, 1] as bytes, (Z, Y, X, 16) uint8: channels, then a weight, then up to
    two further channels, which count where a `Term` says so, and by zero where these are not known.

    A byte is a quarter of the memory traffic of a float and its rounding, 0.001 in a channel, is far below
    the noise of a scan. factor: working voxels per feature voxel. offset: first voxel in feature voxels (x,
    y, z) of the fixed working grid.
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
        return cls(backend_for(values.device).pack(values, weight), factor, offset)

    def values(self) -> torch.Tensor:
        """(12, Z, Y, X) float32 in [0, 1]."""
        return self.data[..., :CHANNELS].permute(3, 0, 1, 2).float() / 255

    def further(self) -> torch.Tensor:
        """(2, Z, Y, X) float32 in [0, 1], the further channels."""
        return self.data[..., FURTHER:KNOWN].permute(3, 0, 1, 2).float() / 255

    def known(self) -> torch.Tensor:
        """(Z, Y, X), bool: where the further channels are known."""
        return self.data[..., KNOWN] > 0

    def usable(self) -> torch.Tensor:
        """(Z, Y, X), bool: where the weight is not zero."""
        return self.data[..., CHANNELS] > 0

    def weight(self) -> torch.Tensor:
        """(Z, Y, X) float32 in [0, 1]."""
        return self.data[..., CHANNELS].float() / 255


def cell_factor(cell_mm: float, spacing: float) -> int:
    """Working voxels per cell; spacing: of a working voxel, mm."""
    return max(2, round(cell_mm / spacing))


def pool(values: torch.Tensor, usable: torch.Tensor, factor: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean of values (C, Z, Y, X) over the usable voxels of each cell, and the share of voxels that were
    usable (Z, Y, X).

    The last cells of a size that `factor` does not divide are filled up with unusable voxels: nothing is cut
    or stretched.
    """
    if factor == 1:
        return values, usable.to(torch.float32)
    return backend_for(values.device).pool(values, usable, factor)
