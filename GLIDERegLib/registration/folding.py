"""The last word against folding: what the energy's penalty left is smoothed away where it is, and nowhere
else.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.registration import energy
from GLIDERegLib.registration.features.mind import box_mean
from GLIDERegLib.registration.features.pooled_features import grown

# A determinant of a twentieth is far below what tissue does, and far above rounding.
LEAST_DETERMINANT = 0.05
ROUNDS = 100


def without_folds(vectors: np.ndarray, grid: Grid) -> np.ndarray:
    """Vectors (z, y, x, 3) mm on an isotropic grid whose cells are all unfolded at their eight corners, if
    that can be had.

    Round by round, nodes at folded corners and their neighbours are mixed with their 3^3 means, the more the
    longer it takes.
    """
    along_axes = vectors @ grid.axes.astype(np.float32)
    u = torch.from_numpy(np.ascontiguousarray(np.moveaxis(along_axes, -1, 0)))
    repaired = _repaired(u, grid.spacing[0])
    if repaired is u:
        return vectors
    result = np.moveaxis(repaired.numpy(), 0, -1) @ grid.axes.T.astype(np.float32)
    return np.ascontiguousarray(result)


def _repaired(u: torch.Tensor, spacing: float) -> torch.Tensor:
    """The field (3, Z, Y, X) repaired, or itself where nothing folds."""
    if energy.fused_available():
        from GLIDERegLib.registration.backends.numba import folding_kernels

        return _repaired_near_folds(u, spacing, folding_kernels)
    folded = folded_nodes(u, spacing)
    for _ in range(ROUNDS):
        if not folded.any():
            break
        share = F.max_pool3d(folded.float()[None], 5, stride=1, padding=2)
        share = box_mean(share, 1)
        u = u + share * (box_mean(u, 1) - u)
        folded = folded_nodes(u, spacing)
    return u


def _repaired_near_folds(u: torch.Tensor, spacing: float, kernels) -> torch.Tensor:
    """The same, worked out only where something folds, which takes a fraction of the time."""
    folded = torch.zeros(u.shape[1:], dtype=torch.bool)
    everywhere = np.ones(folded.shape, bool)
    kernels.find_folds(u.numpy(), spacing, LEAST_DETERMINANT, everywhere, folded.numpy())
    if not folded.any():
        return u
    u, mixed = u.clone(), torch.empty_like(u)
    for _ in range(ROUNDS):
        near = grown(folded, 2)
        changed = grown(near, 1)
        kernels.mix(u.numpy(), near.numpy(), changed.numpy(), mixed.numpy())
        np.copyto(u.numpy(), mixed.numpy(), where=changed.numpy())
        # A corner reaches one node beyond its own.
        around = grown(changed, 1).numpy()
        kernels.find_folds(u.numpy(), spacing, LEAST_DETERMINANT, around, folded.numpy())
        if not folded.any():
            break
    return u


def folded_nodes(u: torch.Tensor, spacing: float) -> torch.Tensor:
    """Nodes (Z, Y, X) of a field (3, Z, Y, X) at which one of the eight corner determinants is below
    LEAST_DETERMINANT.
    """
    folded = torch.zeros(u.shape[1:], dtype=torch.bool, device=u.device)
    for corner in energy.CORNERS:
        low = energy.corner_determinant(u, spacing, corner) < LEAST_DETERMINANT
        window = tuple(slice(0, -1) if sign > 0 else slice(1, None) for sign in corner)
        folded[window] |= low
    return folded
