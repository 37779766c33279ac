"""95 % intervals of a measurement, from what makes it uncertain.

The logarithm of the volume V of a nodule whose level lies C above the lung has the variance

    s² = (noise / V)² + repeats² + (level error)² + (texture W / (C V))² + (EDGE (6 blur / d)²)²
         + (6 VESSEL_MM attached / d)² + (WALL_MM contact wall_C / (C V))²

W: volume in which the excess was weighed; d: diameter of a sphere of V, whose relative error is six times
that of a radius over d; EDGE: weight of the blur of an edge (mm), which matters by its square; attached:
share of the boundary where a vessel goes on, and contact: area on the chest wall (mm²), where it lies off by
VESSEL_MM and WALL_MM, the latter more where the wall has many times the nodule's own contrast, wall_C / C.
"""

from __future__ import annotations

import math

import numpy as np

from GLIDERegLib.evaluation.growth import sphere_diameter
from GLIDERegLib.evaluation.measuring.measurement import GROUND_GLASS, PART_SOLID, SOLID
from GLIDERegLib.evaluation.measuring.partial_volume import Content
from GLIDERegLib.evaluation.measuring.patch import Patch
from GLIDERegLib.evaluation.measuring.scanner import blur_mm

QUANTILE = 1.96
# Standard deviations, chosen on nodules of Testing/tools/nodule_cubes.py (seeds 0 to 159, 1000 to 1119).
EDGE = {SOLID: 0.065, GROUND_GLASS: 0.1, PART_SOLID: 0.6}
TEXTURE_HU = 1.0
VESSEL_MM, WALL_MM = 0.05, 0.25
# Contrast of a chest wall to the lung beside it.
WALL_HU = 880.0
# Half of a pixel's rounding at either end of a diameter.
PIXEL_SHARE = 0.25


def volume_interval(
    patch: Patch, found: Content, volume_mm3: float, spread: float, contact_mm2: float, contrast: float
) -> tuple[float, float]:
    """Low and high end in mm3. spread: standard deviation of the logarithm over repeated segmentations."""
    diameter = sphere_diameter(volume_mm3)
    parts = (
        found.noise_mm3 / volume_mm3,
        spread,
        found.level_error,
        TEXTURE_HU * found.shell_mm3 / (contrast * volume_mm3),
        EDGE[found.attenuation] * (6 * float(blur_mm(patch).mean()) / diameter) ** 2,
        6 * VESSEL_MM * found.attached / diameter,
        WALL_MM * contact_mm2 * WALL_HU / (contrast * volume_mm3),
    )
    half = QUANTILE * math.hypot(*parts)
    return volume_mm3 * math.exp(-half), volume_mm3 * math.exp(half)


def diameter_interval(patch: Patch, mean_mm: float, low: float, high: float) -> tuple[float, float]:
    """Low and high end of the mean diameter in mm; low, high: of the volume, as shares of it."""
    pixel = PIXEL_SHARE * float(np.mean(patch.voxel_mm[1:]))
    down = math.hypot(mean_mm * (1 - low ** (1 / 3)), pixel)
    up = math.hypot(mean_mm * (high ** (1 / 3) - 1), pixel)
    return max(mean_mm - down, 0.0), mean_mm + up
