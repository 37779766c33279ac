"""Step 5: coupled convex optimisation over a window of discrete displacements, with inverse consistency.

Heinrich et al., "Non-parametric discrete registration with convex optimisation", WBIR 2014; Siebert et al.,
"ConvexAdam", 2024. All lengths are in cells: the voxels of a feature image pooled to some millimetres.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from GLIDERegLib.registration.backends import backend_for
from GLIDERegLib.registration.features.pooled_features import PooledFeatures
from GLIDERegLib.registration.filters import box_mean
from GLIDERegLib.registration.sampling import sample_field

# Both as in the published code of ConvexAdam (coupled_convex, inverse_consistency).
COUPLING = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
CONSISTENCY_ITERATIONS = 15


def search_window(reach: tuple[float, float, float]) -> np.ndarray:
    """Displacements (L, 3), x y z, inside the ellipsoid with half axes `reach` (cells); the middle one is
    zero.
    """
    ranges = [np.arange(-int(np.floor(r)), int(np.floor(r)) + 1) for r in reach]
    z, y, x = np.meshgrid(*ranges[::-1], indexing="ij")
    labels = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    inside = ((labels / np.maximum(np.asarray(reach), 0.5)) ** 2).sum(axis=1) <= 1.0 + 1e-6
    return np.ascontiguousarray(labels[inside])


def register_pooled(
    fixed: PooledFeatures,
    moving: PooledFeatures,
    reach: tuple[float, float, float],
    step: Callable[[float], None] = lambda fraction: None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Displacements in cells, inverse to each other: u (3, Z, Y, X) of the fixed cells, such that moving at x
    + u(x) looks like fixed at x, and the same of the moving cells.
    """
    labels = search_window(reach)
    # One piece of memory for both costs: the first touch of fresh memory takes longer than the work in it.
    cells = max(fixed.weight.numel(), moving.weight.numel())
    buffer = torch.empty(cells * len(labels), device=fixed.weight.device)
    forward = best_displacement(fixed, moving, labels, buffer)
    step(0.5)
    backward = best_displacement(moving, fixed, labels, buffer)
    del buffer
    step(0.9)
    offset = torch.as_tensor(moving.offset, dtype=torch.float32, device=forward.device)
    offset = offset - torch.as_tensor(fixed.offset, dtype=torch.float32, device=forward.device)
    return make_consistent(forward, backward, offset.view(3, 1, 1, 1))


def best_displacement(
    fixed: PooledFeatures, moving: PooledFeatures, labels: np.ndarray, buffer: torch.Tensor | None = None
) -> torch.Tensor:
    """One direction by itself: displacement (3, Z, Y, X) of the fixed cells, in cells."""
    return coupled_convex(match_cost(fixed, moving, labels, buffer), labels, fixed.shape)


def make_consistent(
    forward: torch.Tensor, backward: torch.Tensor, offset: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both fields after fixed-point steps that make them inverse: u = (u - v o (id + u)) / 2, and the
    reverse.

    offset (3, 1, 1, 1): the first cell of the backward field's grid, in cells of the forward field's grid.
    """
    for _ in range(CONSISTENCY_ITERATIONS):
        new_forward = 0.5 * (forward - sample_field(backward, forward, -offset))
        backward = 0.5 * (backward - sample_field(forward, backward, offset))
        forward = new_forward
    return forward, backward


def match_cost(
    fixed: PooledFeatures, moving: PooledFeatures, labels: np.ndarray, buffer: torch.Tensor | None = None
) -> torch.Tensor:
    """Squared feature difference of every fixed cell to the moving cell at each label, smoothed: (Z, Y, X, L)
    float32.

    A label that leaves the moving image's valid part costs what the cell's other labels cost on average: no
    opinion. Costs count by the share of the fixed cell that is to be matched. buffer: float32 memory for the
    result, at least its size.
    """
    shape = (*fixed.shape, len(labels))
    size = math.prod(shape)
    buffer = torch.empty(size, device=fixed.values.device) if buffer is None else buffer
    smooth = buffer[:size].view(shape)
    shift = np.asarray(fixed.offset) - np.asarray(moving.offset)
    backend_for(smooth.device).matching_cost(
        fixed.values, moving.values, fixed.weight, moving.weight > 0.5, shift, labels, smooth
    )
    return smooth


def coupled_convex(cost: torch.Tensor, labels: np.ndarray, shape: tuple[int, int, int]) -> torch.Tensor:
    """Alternates argmin_l cost(l) + c |l - d|^2 and d = smooth(argmin) with growing c: (3, Z, Y, X) in cells.

    Cells whose labels all cost the same (far from anything to match) have next to no confidence in the
    smoothing; the others fill them. cost: the cost volume (Z, Y, X, L) of a shape (Z, Y, X); labels (L, 3).
    """
    backend = backend_for(cost.device)
    table = torch.as_tensor(labels, dtype=torch.float32, device=cost.device)
    flat = cost.view(-1, len(labels))
    most, least = flat.amax(dim=1), flat.amin(dim=1)
    confidence = (most - least > 1e-5 * most).to(torch.float32).reshape(1, *shape).clamp_(min=1e-3)

    def smooth(chosen: torch.Tensor, times: int) -> torch.Tensor:
        field = torch.cat([table[chosen].T.reshape(3, *shape) * confidence, confidence])
        for _ in range(times):
            field = box_mean(field, 1)
        return field[:3] / field[3:]

    # The tiny coupling only decides between equals: cells without an opinion start at zero, not at the first
    # label.
    chosen = backend.coupled_argmin(flat, table, flat.new_zeros((len(flat), 3)), 1e-6)
    for coupling in COUPLING:
        center = smooth(chosen, 2).reshape(3, -1).T.contiguous()
        chosen = backend.coupled_argmin(flat, table, center, coupling)
    return smooth(chosen, 1)
