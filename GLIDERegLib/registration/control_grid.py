"""The control points of a displacement field: where they lie, and a given field's coefficients on them.

Cubic B-splines as in Rueckert et al., "Nonrigid registration using free-form deformations", 1999.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from GLIDERegLib.core.geometry import triple
from GLIDERegLib.registration.sampling import index_grid, sample


@dataclass(frozen=True)
class ControlGrid:
    """Nodes of one axis order (z, y, x) over a working grid of `shape` voxels: one node beyond the image on
    every side.
    """

    shape: tuple[int, int, int]
    spacing: int

    @property
    def nodes(self) -> tuple[int, int, int]:
        """How many there are along z, y and x."""
        return triple(-(-n // self.spacing) + 2 for n in self.shape)

    def position(self, reach: int = 0, device: torch.device | str = "cpu") -> torch.Tensor:
        """Working-voxel positions (3, Z, Y, X), components x, y, z, of the nodes and `reach` more on every
        side.
        """
        shape = triple(n + 2 * reach for n in self.nodes)
        return (index_grid(shape, device) - 1 - reach) * self.spacing + (self.spacing - 1) / 2


def to_coefficients(field: torch.Tensor, first: float, step: float, grid: ControlGrid) -> torch.Tensor:
    """Coefficients on `grid` of a field (3, ...) in voxels whose samples lie at first + step * index;
    constant beyond them.
    """
    position = (grid.position(reach=2, device=field.device) - first) / step
    return sample(field, position)
