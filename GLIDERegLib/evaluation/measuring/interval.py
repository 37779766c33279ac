"""95 % intervals of a measurement, from its noise, repeated segmentation, and voxels.

The logarithm of the volume has the standard deviation

    s² = (noise / V)² + repeats² + (6 delta / d)²,

d the diameter of a sphere of the volume V, whose relative error is six times that of a radius over d; delta =
EDGE * blur, how far the boundary lies off, in parts of the blur of an edge (mm).
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
# Standard deviations, chosen on 55 generated scans (Testing/tools/measure_truth.py, seeds 0 to 57); at a
# vessel and at the pleura that much wider.
EDGE = {SOLID: 0.022, GROUND_GLASS: 0.035, PART_SOLID: 0.07}
AT_VESSEL = 2.0
AT_PLEURA = {SOLID: 2.5, GROUND_GLASS: 5.0, PART_SOLID: 2.5}
# Half of a pixel's rounding at either end of a diameter.
PIXEL_SHARE = 0.25


def volume_interval(
    patch: Patch, found: Content, volume_mm3: float, spread: float, at_vessel: bool, at_pleura: bool
) -> tuple[float, float]:
    """Low and high end in mm3. spread: standard deviation of the logarithm over repeated segmentations."""
    wider = max(AT_VESSEL if at_vessel else 1.0, AT_PLEURA[found.attenuation] if at_pleura else 1.0)
    edge = EDGE[found.attenuation] * wider
    boundary = 6 * edge * float(blur_mm(patch).mean()) / sphere_diameter(volume_mm3)
    deviation = math.sqrt((found.noise_mm3 / volume_mm3) ** 2 + spread**2 + boundary**2)
    return volume_mm3 * math.exp(-QUANTILE * deviation), volume_mm3 * math.exp(QUANTILE * deviation)


def diameter_interval(patch: Patch, mean_mm: float, low: float, high: float) -> tuple[float, float]:
    """Low and high end of the mean diameter in mm; low, high: of the volume, as shares of it."""
    pixel = PIXEL_SHARE * float(np.mean(patch.voxel_mm[1:]))
    down = math.hypot(mean_mm * (1 - low ** (1 / 3)), pixel)
    up = math.hypot(mean_mm * (high ** (1 / 3) - 1), pixel)
    return max(mean_mm - down, 0.0), mean_mm + up
