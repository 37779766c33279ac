"""The energy of step 6 in plain PyTorch: what every kernel is tested against.

Displacements are cubic B-splines on a control grid (Rueckert et al., 1999). Node k of an axis lies at s k +
(s - 1) / 2 working voxels, s the node spacing: the middle of a block of s voxels. Coefficients reach two
nodes beyond the nodes on every side.
"""

from __future__ import annotations

import importlib.util
import itertools
import logging
from functools import lru_cache
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F

from GLIDERegLib.registration.sampling import index_grid, sample


def fused_available() -> bool:
    """Whether the fused kernels for the processor can be used: they need numba."""
    return importlib.util.find_spec("numba") is not None


@lru_cache
def tensor_kernels_on(device: torch.device) -> ModuleType:
    """The module of kernels for tensors on a device: `triton_kernels` where CUDA, Triton and a C compiler
    are, else `torch_kernels`.
    """
    from GLIDERegLib.registration.backends import torch_kernels

    if device.type == "cuda" and importlib.util.find_spec("triton") is not None:
        try:
            from GLIDERegLib.registration.backends import triton_kernels

            triton_kernels.try_on(device)
            return triton_kernels
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:  # compilers and drivers fail in many ways; the remedy is the same
            logging.getLogger(__name__).info("Triton cannot be used: %s", error)
    return torch_kernels


def kernels_on(device: torch.device) -> str:
    """What the refinement computes with on a device, in a word: numba, triton or torch."""
    if device.type == "cpu" and fused_available():
        return "numba"
    return {"triton_kernels": "triton", "torch_kernels": "torch"}[
        tensor_kernels_on(device).__name__.rpartition(".")[2]
    ]


def spline_taps(shift: float) -> np.ndarray:
    """Weights (5,) float32 of the coefficients k - 2 to k + 2 for the cubic B-spline's value at node k +
    shift, |shift| <= 1/2.
    """
    distance = np.abs(np.arange(-2, 3) - shift)
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


CORNERS = tuple(itertools.product((1, -1), repeat=3))
NODE_TAPS = np.stack([spline_taps(0.0)] * 3)


def phases(ratio: int) -> list[tuple[tuple[int, int, int], np.ndarray]]:
    """The ratio^3 feature voxels (z, y, x) of a node's block and the spline taps (3, 5) that give the
    displacement there.

    Ordered so that successive phases lie far apart: eight iterations see all voxels of blocks of two.
    """
    found = []
    for phase in itertools.product(range(ratio), repeat=3):
        taps = np.stack([spline_taps((p - (ratio - 1) / 2) / ratio) for p in phase])
        found.append((phase, taps))
    stride = next(n for n in range(len(found) // 2 + 1, 2 * len(found) + 2) if np.gcd(n, len(found)) == 1)
    return [found[(n * stride) % len(found)] for n in range(len(found))]


def spline_samples(coefficients: torch.Tensor, taps: np.ndarray) -> torch.Tensor:
    """Spline values (3, Z, Y, X) of coefficients (3, Z + 4, Y + 4, X + 4); taps (3, 5) for axes z, y, x."""
    values = coefficients
    for axis, weights in zip((1, 2, 3), taps.tolist(), strict=True):
        length = values.shape[axis] - 4
        values = sum(w * values.narrow(axis, j, length) for j, w in enumerate(weights) if w != 0.0)
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
    """Weighted sum of squared feature differences over the sampled voxels and the sum of weights; arguments
    as in the fused kernel.

    fixed, moving: (C, Z, Y, X). Weights (Z, Y, X): the fixed one counts, the moving one says by zero what is
    not usable. u: (3, nodes), working voxels. offset and start: z, y, x in feature voxels.
    """
    nodes = index_grid(u.shape[1:], u.device)
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
    energy = sum(field.diff(n=2, dim=axis).square().sum() for axis in (1, 2, 3))
    mixed = sum(field.diff(dim=a).diff(dim=b).square().sum() for a, b in ((1, 2), (1, 3), (2, 3)))
    return energy + 2 * mixed


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
