"""What a chest wall adds to the image beside a nodule that lies on it, as it is seen around that nodule.

The wall is no step from lung to muscle: fat, ribs, kernel and voxels shape what a scan shows at each distance
from its surface. Beside the nodule that is seen without it, so that it need not be modelled; and a surface
that was fitted a little too high or too low makes no difference, since the profile lies as far off.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from GLIDERegLib.evaluation.measuring.chest_wall import ChestWall

# Distances from the surface (mm, negative in the wall) between which the profile is read, and its steps.
DEEPEST_MM, HIGHEST_MM, STEP_MM = -4.0, 3.5, 0.25
# The last of it is lung.
LUNG_FROM_MM = 2.5
# What is denser than the lung by this, farther from the surface than it and its blur reach, stands on the
# wall; the profile is not read where it and its blur are near.
STANDS_HU, STANDS_MM, STANDS_BLURS = 100.0, 2.0, 2.0
# Nearer places count more: standard deviation, of the distance from the click.
NEARNESS_MM = 8.0
# Of the scan's own voxels, in each step.
LEAST_VOXELS = 6.0


def wall_excess(
    image: np.ndarray,
    smooth: np.ndarray,
    wall: ChestWall,
    lung_hu: float,
    seed: tuple[int, ...],
    fine_mm: np.ndarray,
    blur_mm: float,
    parts: int,
) -> np.ndarray | None:
    """HU (z, y, x) by which the wall raises the image over the lung beside it; None where too little of it is
    seen. parts: fine voxels of each of the scan's.
    """
    if wall.fitted is None:
        return None
    wall_mm = wall.distance
    height = max(STANDS_MM, STANDS_BLURS * blur_mm)
    stands = (smooth > lung_hu + STANDS_HU) & (wall_mm > height)
    clear = wall.fitted & (wall_mm > DEEPEST_MM) & (wall_mm < HIGHEST_MM)
    if stands.any():
        clear &= ndimage.distance_transform_edt(~stands, fine_mm) > height + STANDS_BLURS * blur_mm
    places = np.nonzero(clear)
    apart = sum(((p - s) * h) ** 2 for p, s, h in zip(places, seed, fine_mm, strict=True))
    near = np.exp(-apart / (2 * NEARNESS_MM**2))
    number = round((HIGHEST_MM - DEEPEST_MM) / STEP_MM)
    step = np.clip(((wall_mm[clear] - DEEPEST_MM) / STEP_MM).astype(int), 0, number - 1)
    weight, squares = (np.bincount(step, values, minlength=number) for values in (near, near**2))
    if (weight**2 <= LEAST_VOXELS * parts * squares).any():
        return None
    profile = np.bincount(step, near * image[clear], minlength=number) / weight
    distances = DEEPEST_MM + (np.arange(number) + 0.5) * STEP_MM
    lung = profile[distances > LUNG_FROM_MM].mean()
    excess = np.interp(wall_mm, distances, profile - lung, right=0.0)
    # Deeper in nothing is measured.
    return np.where(wall_mm > DEEPEST_MM, excess, image - lung_hu).astype(np.float32)
