"""The energy's value and gradient in plain PyTorch: each equals a function of `energy.py` and its gradient by
autograd, and is tested so.

Features are (Z, Y, X, 16) uint8 as in `PackedFeatures`, fields (3, Z, Y, X) float32 with components x, y, z.
Values are tensors without axes, so that nothing here waits for the device.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch

from GLIDERegLib.core.settings import CHANNELS
from GLIDERegLib.registration.backends.protocol import LANES, PLAIN_SHARES, Shares
from GLIDERegLib.registration.energy import spline_samples

__all__ = [
    "bending_energy",
    "folding_penalty",
    "spline_samples",
    "spline_samples_transposed",
    "ssd_and_gradient",
]
# The byte that tells by zero where further channels are not known.
KNOWN = LANES - 1
# Nodes at a time, about half a kilobyte each.
_CHUNK = 1 << 20


def spline_samples_transposed(gradient: torch.Tensor, taps: np.ndarray) -> torch.Tensor:
    """Transpose of `spline_samples`: (3, Z, Y, X) to (3, Z + 4, Y + 4, X + 4); taps (3, 5) for z, y, x."""
    for axis, weights in zip((1, 2, 3), taps.tolist(), strict=True):
        length = gradient.shape[axis]
        spread = gradient.new_zeros([n + 4 * (a == axis) for a, n in enumerate(gradient.shape)])
        for j, weight in enumerate(weights):
            if weight != 0.0:
                spread.narrow(axis, j, length).add_(gradient, alpha=weight)
        gradient = spread
    return gradient


def ssd_and_gradient(
    fixed: torch.Tensor,
    moving: torch.Tensor,
    offset: tuple[int, int, int],
    ratio: int,
    start: tuple[int, int, int],
    scale: float,
    u: torch.Tensor,
    shares: Shares = PLAIN_SHARES,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weighted sum of squared feature differences, the sum of weights, and the first's gradient by u.

    Node (k, j, i) is sampled at fixed feature voxel ratio * (k, j, i) + start (z, y, x); the moving features
    are read at that index plus u * scale (feature voxels) minus offset (z, y, x).
    shares: of `Backend.ssd`.
    """
    # Of voxels without and with further channels.
    lanes = torch.zeros((2, LANES), device=u.device)
    lanes[0, :CHANNELS], lanes[1, :CHANNELS] = shares[2], shares[0]
    lanes[1, CHANNELS + 1 : KNOWN] = shares[1]
    value, weight = u.new_zeros(()), u.new_zeros(())
    gradient = torch.empty_like(u)
    slices = max(1, _CHUNK // (u.shape[2] * u.shape[3]))
    for first in range(0, u.shape[1], slices):
        slab = slice(first, first + slices)
        place = (start[0] + ratio * first, *start[1:])
        some, weights = _slab(
            fixed, moving, offset, ratio, place, scale, u[:, slab], gradient[:, slab], lanes
        )
        value, weight = value + some, weight + weights
    return value, weight, gradient


def _slab(
    fixed, moving, offset, ratio, start, scale, u, gradient, lanes
) -> tuple[torch.Tensor, torch.Tensor]:
    device = u.device
    index = [
        torch.arange(n, device=device).mul_(ratio).add_(s).view([-1 if a == axis else 1 for a in range(3)])
        for axis, (n, s) in enumerate(zip(u.shape[1:], start, strict=True))
    ]
    use = torch.ones((), dtype=torch.bool, device=device)
    for at, size in zip(index, fixed.shape, strict=False):
        use = use & (at >= 0) & (at < size)
    z, y, x = (at.clamp(0, size - 1) for at, size in zip(index, fixed.shape, strict=False))
    here = fixed[z, y, x]
    use = use & (here[..., CHANNELS] > 0)
    known = here[..., KNOWN] > 0

    position = [at - o + u[2 - axis] * scale for axis, (at, o) in enumerate(zip(index, offset, strict=True))]
    for p, size in zip(position, moving.shape, strict=False):
        use = use & (p >= 0) & (p <= size - 1)
    position = [torch.where(use, p, 0.0) for p in position]
    low = [p.long().clamp_(max=max(size - 2, 0)) for p, size in zip(position, moving.shape, strict=False)]
    tz, ty, tx = ((p - n)[..., None] for p, n in zip(position, low, strict=True))
    rows = moving.view(-1, LANES)
    steps = [moving.shape[1] * moving.shape[2], moving.shape[2], 1]
    base = sum(n * step for n, step in zip(low, steps, strict=True))
    # Where an axis has a single voxel, its two corners are one.
    steps = [step * (size > 1) for step, size in zip(steps, moving.shape, strict=False)]

    def corner(dz: int, dy: int, dx: int) -> torch.Tensor:
        nonlocal use, known
        row = rows[base + (dz * steps[0] + dy * steps[1] + dx * steps[2])]
        use = use & (row[..., CHANNELS] > 0)
        known = known & (row[..., KNOWN] > 0)
        return row.float()

    def along_x(dz: int, dy: int) -> tuple[torch.Tensor, torch.Tensor]:
        low, high = corner(dz, dy, 0), corner(dz, dy, 1)
        return torch.lerp(low, high, tx), high - low

    def along_y(dz: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        (low, low_x), (high, high_x) = along_x(dz, 0), along_x(dz, 1)
        return torch.lerp(low, high, ty), torch.lerp(low_x, high_x, ty), high - low

    (low_value, low_x, low_y), (high_value, high_x, high_y) = along_y(0), along_y(1)
    difference = torch.lerp(low_value, high_value, tz) - here
    pull = difference * lanes[known.long()]
    weight = torch.where(use, here[..., CHANNELS] / 255, 0.0)
    share = weight * (2 * scale / 255**2)
    slopes = torch.lerp(low_x, high_x, tz), torch.lerp(low_y, high_y, tz), high_value - low_value
    for component, slope in enumerate(slopes):
        torch.mul((pull * slope).sum(dim=-1), share, out=gradient[component])
    return (weight * (pull * difference).sum(dim=-1)).sum() / 255**2, weight.sum()


def bending_energy(field: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`energy.bending_energy` of a field (3, Z, Y, X) and its gradient."""
    value, gradient = field.new_zeros(()), torch.zeros_like(field)
    for axis in (1, 2, 3):
        second = field.diff(n=2, dim=axis)
        value = value + second.square().sum()
        for place, weight in enumerate((2.0, -4.0, 2.0)):
            gradient.narrow(axis, place, second.shape[axis]).add_(second, alpha=weight)
    for a, b in ((1, 2), (1, 3), (2, 3)):
        mixed = field.diff(dim=a).diff(dim=b)
        value = value + 2 * mixed.square().sum()
        for i, j in itertools.product((0, 1), repeat=2):
            part = gradient.narrow(a, i, mixed.shape[a]).narrow(b, j, mixed.shape[b])
            part.add_(mixed, alpha=4.0 if i == j else -4.0)
    return value, gradient


def folding_penalty(
    u: torch.Tensor, spacing: float, corner: tuple[int, int, int], threshold: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """`energy.folding_penalty` of a field (3, Z, Y, X) and its gradient."""
    gradient = torch.zeros_like(u)
    # For +1 a cell's own node is the first along an axis, for -1 the last.
    own = [slice(0, -1) if sign > 0 else slice(1, None) for sign in corner]
    next_to = [slice(1, None) if sign > 0 else slice(0, -1) for sign in corner]
    windows = [(slice(None), *(next_to[a] if a == axis else own[a] for a in range(3))) for axis in (2, 1, 0)]
    here = (slice(None), *own)
    weights = [corner[axis] / spacing for axis in (2, 1, 0)]
    columns = [(u[window] - u[here]) * w for window, w in zip(windows, weights, strict=True)]
    for component, column in enumerate(columns):
        column[component] += 1
    a, b, c = columns
    # Cofactors: the derivatives of the determinant by a, b and c.
    cofactors = [torch.linalg.cross(*pair, dim=0) for pair in ((b, c), (c, a), (a, b))]
    lack = (threshold - (a * cofactors[0]).sum(dim=0)).clamp(min=0)
    for window, weight, cofactor in zip(windows, weights, cofactors, strict=True):
        pull = cofactor * (lack * (-2 * weight))
        gradient[window] += pull
        gradient[here] -= pull
    return lack.square().sum(), gradient
