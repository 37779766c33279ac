"""Step 5: the start of the refinement, by coupled convex optimisation on global and local features, composed.

The two searches are independent: the local one knows the global result only as a moving image that was
already warped by it. Both estimate where content went, so searching twice from the same position and
composing would move everything twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from GLIDERegLib.core.ct import AIR_HU
from GLIDERegLib.registration.coupled_convex import register_cells
from GLIDERegLib.registration.energy import matching_cost
from GLIDERegLib.registration.features.pooled_features import CellFeatures
from GLIDERegLib.registration.sampling import index_grid, sample, sample_axes
from GLIDERegLib.registration.working_grid import Prepared

LEAST_OVERLAP = 0.2
SLAB = 8


def cell_factor(cell_mm: float, spacing: float) -> int:
    """Working voxels per cell."""
    return max(2, round(cell_mm / spacing))


def search(
    fixed: CellFeatures,
    moving: CellFeatures,
    range_mm: float,
    spacing: float,
    step: Callable[[float], None],
    cost_weight: float = 1.0,
    stretch: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Displacements (3, Z, Y, X) in voxels at the fixed and at the moving cells, inverse to each other; the
    search ball's radius is `range_mm`, and `stretch` times that along z.

    cost_weight multiplies the feature differences against the coupling.
    """
    if cost_weight != 1.0:
        fixed, moving = (replace(f, values=f.values * cost_weight**0.5) for f in (fixed, moving))
    reach = range_mm / (fixed.factor * spacing)
    forward, backward = register_cells(fixed, moving, (reach, reach, stretch * reach), step)
    return forward * fixed.factor, backward * fixed.factor


def mismatch(fixed: CellFeatures, moving: CellFeatures) -> float:
    """Mean squared feature difference of the cells as they lie; infinite where hardly any fixed cell meets a
    moving one.
    """
    shift = np.asarray(fixed.offset) - np.asarray(moving.offset)
    rest = np.zeros((1, 3), int)
    usable = moving.weight > 0.5
    here = matching_cost(fixed.values, moving.values, fixed.weight, usable, shift, rest)[0]
    # Features that differ everywhere cost something wherever two cells meet; the real ones may agree exactly.
    zeros, ones = torch.zeros_like(fixed.values[:1]), torch.ones_like(moving.values[:1])
    met = matching_cost(zeros, ones, fixed.weight, usable, shift, rest)[0] > 0
    if met.sum() < LEAST_OVERLAP * (fixed.weight > 0).sum():
        return float("inf")
    return float(here[met].sum() / fixed.weight[met].sum())


def at_cells(field: torch.Tensor, factor: int, position: torch.Tensor) -> torch.Tensor:
    """A field (3, cells) in voxels, read at voxel positions (3, ...); constant beyond the outer cells."""
    return sample(field, (position - (factor - 1) / 2) / factor)


def compose(outer: torch.Tensor, outer_factor: int, inner: torch.Tensor, factor: int) -> torch.Tensor:
    """The cells' field u with x + u(x) = y + outer(y), y = x + inner(x), at the cells of `inner`; all in
    voxels.
    """
    centers = index_grid(inner.shape[1:], inner.device) * factor + (factor - 1) / 2
    return inner + at_cells(outer, outer_factor, centers + inner)


def warp(moving: Prepared, fixed: Prepared, field: torch.Tensor, factor: int, margin: int) -> Prepared:
    """The moving image seen through a cells' field (voxels), on the fixed grid and `margin` voxels around."""
    device = field.device
    channels = [moving.array, moving.valid, moving.weight] if moving.masked else [moving.array, moving.valid]
    image = torch.from_numpy(np.stack(channels)).to(device)
    shape = tuple(n + 2 * margin for n in fixed.array.shape)
    offset = np.subtract(moving.offset, fixed.offset)
    offset = torch.as_tensor(offset, dtype=torch.float32, device=device).view(3, 1, 1, 1)
    size = torch.tensor(moving.array.shape[::-1], device=device).view(3, 1, 1, 1)
    at = [torch.arange(n, dtype=torch.float32, device=device) - margin for n in shape]
    z, y, x = ((position - (factor - 1) / 2) / factor for position in at)
    values = np.empty(shape, np.float32)
    usable = np.empty(shape, bool)
    wanted = np.empty(shape, bool) if moving.masked else usable
    for first in range(0, shape[0], SLAB):
        # Slab by slab: positions of a whole volume would need more memory than the volume.
        slab = slice(first, min(first + SLAB, shape[0]))
        position = index_grid((slab.stop - first, *shape[1:]), device) - margin
        position[2] += first
        position += sample_axes(field, (z[slab], y, x)) - offset
        inside = ((position >= -0.5) & (position <= size - 0.5)).all(dim=0)
        value, valid, *mask = sample(image, position)
        values[slab] = torch.where(inside, value, AIR_HU).cpu().numpy()
        usable[slab] = (inside & (valid > 0.5)).cpu().numpy()
        for weight in mask:
            wanted[slab] = usable[slab] & (weight > 0.5).cpu().numpy()
    grid = fixed.grid.resized(fixed.grid.spacing, (margin,) * 3, (margin,) * 3)
    offset = tuple(o - margin for o in fixed.offset)
    return replace(moving, array=values, valid=usable, weight=wanted, grid=grid, offset=offset, masked=True)
