"""Whether a scan is of a person's size, or of an animal or a specimen."""

from __future__ import annotations

import numpy as np

from GLIDERegLib.core.geometry import Grid

# Lengths in mm are meant for a chest.
# A chest's scan is 250 to 500 mm wide; an infant's 120. Smaller ones with voxels no body scanner makes are
# animals or specimens; a nodule's crop from a person keeps the scanner's voxels.
CHEST_MM = 300.0
SMALL_MM, SMALL_VOXEL_MM = 120.0, 0.3
TINY_MM = 45.0
# Larger than any scanner's bore is long: elephants, or lengths in another unit.
LARGE_MM = 3000.0


def magnification(grid: Grid) -> float:
    """By how much an image is to be enlarged to a chest's size; 1 for what is of a person's size."""
    extent = float(np.prod(grid.extent) ** (1 / 3))
    small = extent < TINY_MM or (extent < SMALL_MM and min(grid.spacing) < SMALL_VOXEL_MM)
    return CHEST_MM / extent if small or extent > LARGE_MM else 1.0
