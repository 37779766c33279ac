"""How a scanner shows a shape: kernel, voxels, and the lines drawn between their centres."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from GLIDERegLib.evaluation.measuring.patch import Patch, finer

# Standard deviations (z, y, x) in mm: 0.5 in the slice is a usual kernel, 10 % modulation near 7 per cm.
KERNEL_MM = np.array([0.3, 0.5, 0.5])


def blur_mm(patch: Patch) -> np.ndarray:
    """Standard deviations (z, y, x) of the blur of an edge: kernel, voxel (h² / 12) and lines (h² / 6)."""
    return np.sqrt(KERNEL_MM**2 + patch.voxel_mm**2 / 4)


def scanned(patch: Patch, shape: np.ndarray) -> np.ndarray:
    """A shape's share of every fine voxel (0 to 1) as the scan shows it, float32."""
    blurred = ndimage.gaussian_filter(shape.astype(np.float32), KERNEL_MM / patch.fine_mm)
    image = patch.share_in_voxels(blurred)
    for axis, factor in enumerate(patch.factors):
        image = finer(image, axis, factor)
    return image
