"""Step 7, the last word against folding: what the energy's penalty left is smoothed away where it is, and
nowhere else.
"""

from __future__ import annotations

import numpy as np
import torch

from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.registration.backends import backend_for

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
    repaired = backend_for(u.device).repaired(u, grid.spacing[0], LEAST_DETERMINANT, ROUNDS)
    if repaired is u:
        return vectors
    result = np.moveaxis(repaired.numpy(), 0, -1) @ grid.axes.T.astype(np.float32)
    return np.ascontiguousarray(result)
