"""What is minimised, in plain PyTorch: the parts of step 6's energy and the cost of step 5, which every
backend computes and is tested against.

Displacements are cubic B-splines on a control grid (Rueckert et al., 1999). Node k of an axis lies at s k +
(s - 1) / 2 working voxels, s the node spacing: the middle of a block of s voxels. Coefficients reach two
nodes beyond the nodes on every side.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import torch
import torch.nn.functional as F

from GLIDERegLib.core.geometry import triple
from GLIDERegLib.registration.sampling import index_grid, sample


def spline_taps(shift: float) -> np.ndarray:
    """Weights (5,) float32 of the coefficients k - 2 to k + 2 for the cubic B-spline's value at node k +
    shift, |shift| <= 1/2.
    """
    distance = np.abs(np.arange(-2, 3) - shift)
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


CORNERS = tuple(triple(signs) for signs in itertools.product((1, -1), repeat=3))
NODE_TAPS = np.stack([spline_taps(0.0)] * 3)


def phases(ratio: int) -> list[tuple[tuple[int, int, int], np.ndarray]]:
    """The ratio^3 feature voxels (z, y, x) of a node's block and the spline taps (3, 5) that give the
    displacement there.

    Ordered so that successive phases lie far apart: eight iterations see all voxels of blocks of two.
    """
    found = []
    for phase in itertools.product(range(ratio), repeat=3):
        taps = np.stack([spline_taps((p - (ratio - 1) / 2) / ratio) for p in phase])
        found.append((triple(phase), taps))
    stride = next(n for n in range(len(found) // 2 + 1, 2 * len(found) + 2) if np.gcd(n, len(found)) == 1)
    return [found[(n * stride) % len(found)] for n in range(len(found))]


def spline_samples(coefficients: torch.Tensor, taps: np.ndarray) -> torch.Tensor:
    """Spline values (3, Z, Y, X) of coefficients (3, Z + 4, Y + 4, X + 4); taps (3, 5) for axes z, y, x."""
    values = coefficients
    for axis, weights in zip((1, 2, 3), taps.tolist(), strict=True):
        length = values.shape[axis] - 4
        parts = [w * values.narrow(axis, j, length) for j, w in enumerate(weights) if w != 0.0]
        values = functools.reduce(torch.add, parts)
    return values


def ssd(
    fixed: torch.Tensor,
    fixed_weight: torch.Tensor,
    moving: torch.Tensor,
    moving_weight: torch.Tensor,
    offset: tuple[int, int, int],
    ratio: int,
    start: tuple[int, int, int],
    scale: float,
    u: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted sum of squared feature differences over the sampled voxels and the sum of weights; sampled as
    `Backend.ssd` says.

    fixed, moving: (C, Z, Y, X). Weights (Z, Y, X): the fixed one counts, the moving one says by zero what is
    not usable. u: (3, nodes), working voxels. offset and start: z, y, x in feature voxels.
    """
    nodes = index_grid(triple(u.shape[1:]), u.device)
    shift = torch.tensor(start[::-1], dtype=torch.float32, device=u.device).view(3, 1, 1, 1)
    index = nodes * ratio + shift
    size = torch.tensor(fixed_weight.shape[::-1], device=u.device).view(3, 1, 1, 1)
    here = ((index >= 0) & (index < size)).all(dim=0)
    x, y, z = index.long()[:, here]
    keep = fixed_weight[z, y, x] > 0
    x, y, z = x[keep], y[keep], z[keep]
    at = torch.tensor(offset[::-1], dtype=torch.float32, device=u.device).view(3, 1)
    position = index[:, here][:, keep] + u[:, here][:, keep] * scale - at
    last = torch.tensor(moving_weight.shape[::-1], device=u.device).view(3, 1) - 1
    with torch.no_grad():
        inside = ((position >= 0) & (position <= last)).all(dim=0)
        i, j, k = position.clamp(min=0).minimum((last - 1).clamp(min=0)).long()
        blocks = [min(2, n) for n in moving_weight.shape]
        usable = -F.max_pool3d(-moving_weight[None], blocks, stride=1)[0] > 0
        inside &= usable[k, j, i]
    position, x, y, z = position[:, inside], x[inside], y[inside], z[inside]
    weight = fixed_weight[z, y, x]
    difference = sample(moving, position) - fixed[:, z, y, x]
    return (weight * difference.square().sum(dim=0)).sum(), weight.sum()


def bending_energy(field: torch.Tensor) -> torch.Tensor:
    """Sum of the squared second differences of a field (3, Z, Y, X), mixed ones twice; zero for every affine
    field.
    """
    twice = [field.diff(n=2, dim=axis).square().sum() for axis in (1, 2, 3)]
    mixed = [field.diff(dim=a).diff(dim=b).square().sum() for a, b in ((1, 2), (1, 3), (2, 3))]
    return functools.reduce(torch.add, twice) + 2 * functools.reduce(torch.add, mixed)


def folding_penalty(
    u: torch.Tensor, spacing: float, corner: tuple[int, int, int], threshold: float
) -> torch.Tensor:
    """Sum over nodes of max(0, threshold - J)^2, J the Jacobian determinant of x + u at one corner of a
    node's cell.

    u: (3, Z, Y, X) voxels, components x, y, z; spacing: voxels between nodes; corner: +1 or -1 for z, y, x,
    the neighbours whose differences make J. A trilinear field folds first at the corners of its cells, so the
    eight corners are what counts.
    """
    lack = threshold - corner_determinant(u, spacing, corner)
    return lack.clamp(min=0).square().sum()


def corner_determinant(u: torch.Tensor, spacing: float, corner: tuple[int, int, int]) -> torch.Tensor:
    """The determinants of `folding_penalty` where all three neighbours exist: (Z - 1, Y - 1, X - 1)."""
    columns = []
    for axis in (3, 2, 1):
        difference = u.diff(dim=axis) / spacing
        for other, sign in zip((1, 2, 3), corner, strict=True):
            if other != axis:
                difference = difference.narrow(other, 0 if sign > 0 else 1, u.shape[other] - 1)
        columns.append(difference)
    (a0, a1, a2), (b0, b1, b2), (c0, c1, c2) = columns
    a0, b1, c2 = a0 + 1, b1 + 1, c2 + 1
    return a0 * (b1 * c2 - b2 * c1) + a1 * (b2 * c0 - b0 * c2) + a2 * (b0 * c1 - b1 * c0)


def folded_nodes(u: torch.Tensor, spacing: float, least: float) -> torch.Tensor:
    """Nodes, bool (Z, Y, X), of a field (3, Z, Y, X) at which one of the eight corner determinants is below
    `least`; spacing: between nodes, in the unit of u.
    """
    folded = torch.zeros(u.shape[1:], dtype=torch.bool, device=u.device)
    for corner in CORNERS:
        low = corner_determinant(u, spacing, corner) < least
        window = tuple(slice(0, -1) if sign > 0 else slice(1, None) for sign in corner)
        folded[window] |= low
    return folded


def matching_cost(
    fixed: torch.Tensor,
    moving: torch.Tensor,
    fixed_weight: torch.Tensor,
    usable: torch.Tensor,
    shift: np.ndarray,
    labels: np.ndarray,
) -> torch.Tensor:
    """Squared feature difference of every fixed voxel to the moving voxel at each displacement, times the
    fixed weight: (L, Z, Y, X) float32.

    A displacement that leaves the usable moving voxels costs what the voxel's other ones cost on average: no
    opinion. fixed (C, Z, Y, X) and its weight (Z, Y, X), moving (C, Z', Y', X') and bool `usable`
    (Z', Y', X'). labels (L, 3) int: displacements x, y, z in voxels. shift (3,) int, x, y, z: the place of
    the fixed image's first voxel in the moving one. One label at a time bounds the memory.
    """
    z, y, x = fixed.shape[1:]
    low = np.minimum(shift + labels.min(axis=0), 0)
    size = np.asarray(moving.shape[:0:-1])
    high = np.maximum(shift + labels.max(axis=0) + np.asarray([x, y, z]) - size, 0)
    padding = [int(n) for axis in range(3) for n in (-low[axis], high[axis])]
    values = F.pad(moving, padding)
    inside = F.pad(usable.to(values.dtype), padding)
    cost = torch.empty((len(labels), z, y, x), dtype=torch.float32, device=values.device)
    valid = torch.empty((len(labels), z, y, x), dtype=torch.bool, device=values.device)
    total = torch.zeros((z, y, x), device=values.device)
    for number, label in enumerate(labels):
        i, j, k = (shift + label - low).tolist()
        window = (slice(k, k + z), slice(j, j + y), slice(i, i + x))
        cost[number] = (fixed - values[(slice(None), *window)]).square().sum(dim=0)
        valid[number] = inside[window] > 0
        total += torch.where(valid[number], cost[number], 0.0)
    mean = total / valid.sum(dim=0).clamp(min=1)
    return torch.where(valid, cost, mean, out=cost).mul_(fixed_weight)
