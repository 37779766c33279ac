"""Step 6, control points without a sample near them: what a field does there, that no image tells."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from GLIDERegLib.registration import energy
from GLIDERegLib.registration.control_grid import ControlGrid
from GLIDERegLib.registration.filters import any_in_blocks, grown
from GLIDERegLib.registration.joint_energy import Term
from GLIDERegLib.registration.sampling import sample


def fill_unmeasured(
    coefficients: torch.Tensor, terms: list[Term], grid: ControlGrid, iterations: int = 10
) -> torch.Tensor:
    """Coefficients whose unmeasured nodes continue the measured ones with the least slope, by conjugate
    gradients from a coarse-to-fine start.

    At nodes without samples (the image's rim, where descriptors see beyond the scan, and what has no
    counterpart in the moving image) only the bending energy acts: Adam creeps there, and bending would
    continue every slope without end.
    """
    measured = F.pad(_measured(coefficients, terms, grid), [2] * 6)
    if measured.all() or not measured.any():
        return coefficients
    free = (~measured).to(coefficients.dtype)

    def slope(field: torch.Tensor) -> torch.Tensor:
        """Half the gradient of the sum of squared first differences, at the free nodes."""
        gradient = torch.zeros_like(field)
        for axis in (1, 2, 3):
            difference = field.diff(dim=axis)
            gradient.narrow(axis, 1, difference.shape[axis]).add_(difference)
            gradient.narrow(axis, 0, difference.shape[axis]).sub_(difference)
        return gradient.mul_(free)

    solution = _spread(coefficients, measured)
    residual = -slope(solution)
    direction, norm = residual.clone(), residual.square().sum()
    for _ in range(iterations):
        curvature = slope(direction)
        step = norm / (direction * curvature).sum().clamp(min=1e-30)
        solution += step * direction
        residual -= step * curvature
        previous, norm = norm, residual.square().sum()
        direction = residual + norm / previous.clamp(min=1e-30) * direction
    return solution


def _spread(field: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """A field (3, Z, Y, X) whose unknown nodes continue the known ones: means over ever larger blocks."""
    if known.all():
        return field
    if min(known.shape) < 2:
        mean = (field * known).sum(dim=(1, 2, 3), keepdim=True) / known.sum()
        return torch.where(known, field, mean)
    share = F.avg_pool3d(known.to(field.dtype)[None], 2, ceil_mode=True)
    mean = F.avg_pool3d(field * known, 2, ceil_mode=True) / share.clamp(min=1e-6)
    coarse = _spread(mean, share[0] > 0)
    z, y, x = known.shape
    continued = F.interpolate(coarse[None], scale_factor=2, mode="trilinear")[0, :, :z, :y, :x]
    return torch.where(known, field, continued)


def _measured(coefficients: torch.Tensor, terms: list[Term], grid: ControlGrid) -> torch.Tensor:
    """Nodes (Z, Y, X), bool, in whose block some fixed sample has a usable moving one."""
    device = coefficients.device
    displaced = grid.position(device=device) + energy.spline_samples(coefficients, energy.NODE_TAPS)
    measured = torch.zeros(grid.nodes, dtype=torch.bool, device=device)
    for term in terms:
        factor = term.fixed.factor
        ratio = grid.spacing // factor
        blocks = any_in_blocks(term.fixed.usable(), ratio)
        inner = tuple(slice(1, n + 1) for n in blocks.shape)
        usable = grown(term.moving.usable(), ratio // 2).float()[None].to(device)
        offset = torch.tensor(term.moving.offset, device=device) - torch.tensor(
            term.fixed.offset, device=device
        )
        position = (displaced - (factor - 1) / 2) / factor - offset.view(3, 1, 1, 1)
        last = torch.tensor(usable.shape[:0:-1], device=device).view(3, 1, 1, 1) - 1
        # A block reaches half its width beyond its node.
        reach = ratio / 2
        inside = ((position >= -reach) & (position <= last + reach)).all(dim=0)
        counterpart = inside & (sample(usable, position)[0] > 0)
        measured[inner] |= blocks.to(device) & counterpart[inner]
    return measured
