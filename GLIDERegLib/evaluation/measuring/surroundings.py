"""What a nodule lies in: the level of the lung, its noise, and the chest wall."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from GLIDERegLib.evaluation.measuring.chest_wall import ChestWall, chest_wall
from GLIDERegLib.evaluation.measuring.patch import Patch
from GLIDERegLib.evaluation.measuring.scanner import blur_mm, scanned
from GLIDERegLib.evaluation.measuring.wall_profile import wall_excess

# Extrapleural fat is denser than that; without any wall deep enough, muscle stands in.
LEAST_WALL_HU, WALL_HU = -250.0, 30.0
LEVEL_MM = 1.5
LUNG_HU = (-1000.0, -600.0)
LEAST_LUNG = 0.05
SMOOTH_MM = 0.5


@dataclass(frozen=True)
class Surroundings:
    """image: the patch's, without what the chest wall adds to it: in and at the wall it goes on as lung.
    smooth: the same, lightly smoothed. lung_hu: level of the parenchyma, noise_hu: standard deviation between
    neighbours there. wall: the chest wall, wall_mm the distance from its surface, negative inside, infinite
    without one.
    """

    image: np.ndarray
    smooth: np.ndarray
    lung_hu: float
    noise_hu: float
    wall: ChestWall

    @property
    def wall_mm(self) -> np.ndarray:
        return self.wall.distance

    def part(self, box: tuple[slice, ...]) -> Surroundings:
        """Those of a part of the patch."""
        return replace(self, image=self.image[box], smooth=self.smooth[box], wall=self.wall.part(box))


def look_around(patch: Patch) -> Surroundings | None:
    """The surroundings of a click; None where there is hardly any lung."""
    image = patch.image
    smooth = ndimage.gaussian_filter(image, SMOOTH_MM / patch.fine_mm, mode="nearest")
    lung = (smooth > LUNG_HU[0]) & (smooth < LUNG_HU[1])
    if lung.mean() < LEAST_LUNG:
        return None
    lung_hu = float(np.median(smooth[lung]))
    a, b, c = patch.factors
    middles = (slice(a // 2, None, a), slice(b // 2, None, b), slice(c // 2, None, c))
    step, inside = np.diff(image[middles], axis=2), lung[middles]
    step = step[inside[..., 1:] & inside[..., :-1]]
    # The median is not moved by the few vessels among the neighbours (0.6745: of a normal distribution).
    noise = float(np.median(np.abs(step)) / 0.6745 / np.sqrt(2)) if step.size else 0.0
    wall = chest_wall(smooth, patch.fine_mm, patch.seed, lung_hu)
    wall_mm, inside = wall.distance, wall.distance <= 0
    if inside.any():
        blur = float(blur_mm(patch).max())
        parts = int(np.prod(patch.factors))
        excess = wall_excess(image, smooth, wall, lung_hu, patch.seed, patch.fine_mm, blur, parts)
        if excess is None:
            inner = (wall_mm < -1.5 * blur) & (smooth > LEAST_WALL_HU)
            wall_hu = nearby_mean(image, inner, LEVEL_MM / patch.fine_mm, WALL_HU)
            excess = (wall_hu - lung_hu) * scanned(patch, inside)
        image = image - excess
        smooth = ndimage.gaussian_filter(image, SMOOTH_MM / patch.fine_mm, mode="nearest")
    return Surroundings(image, smooth, lung_hu, noise, wall)


def nearby_mean(image: np.ndarray, where: np.ndarray, sigma: np.ndarray, otherwise: float) -> np.ndarray:
    """The image's mean over some voxels, weighted by nearness (sigma: voxels), continued to all."""
    weight = ndimage.gaussian_filter(where.astype(np.float32), sigma)
    mean = ndimage.gaussian_filter(np.where(where, image, 0).astype(np.float32), sigma)
    known = where & (weight > 1e-3)
    if not known.any():
        return np.full(image.shape, otherwise, np.float32)
    mean = np.where(known, mean / np.maximum(weight, 1e-3), 0)
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return mean[tuple(nearest)]
