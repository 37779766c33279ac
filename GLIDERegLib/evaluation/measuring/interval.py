"""95 % intervals of a measurement in one given scan, from what makes it uncertain.

What breath, heartbeat and position change from scan to scan is no part of them: see `evaluation.growth`.

The logarithm of the volume V of a nodule whose level lies C above the lung has the variance

    s² = LEAST² + (noise / V)² + (REPEATS repeats)² + (LEVEL level error)² + (texture W / (C V))²
         + (EDGE (6 blur / d)^n)² + (6 VESSEL_MM attached vessel_C / (C d))²
         + (WALL_MM² + (MISFIT misfit)²) (contact wall_C / (C V))²

W: volume in which the excess was weighed; d: diameter of a sphere of V, whose relative error is six times
that of a radius over d; EDGE: weight of the blur of an edge (mm) and its power n, 4 for solid nodules: a
wrong guess of the blur hardly matters until it reaches the middle; attached: share of the boundary where a
vessel goes on, and contact: area on the chest wall (mm²), where it lies off by VESSEL_MM and WALL_MM, the
both more where vessel and wall have many times the nodule's own contrast, vessel_C / C and wall_C / C;
misfit: how far the wall's surface around lies off the one that was continued under the nodule.
texture: TEXTURE_HU, and around ground glass how the lung differs from one side of it to another.
REPEATS, LEVEL: repeats and the level's error overlap with the blur's, and are wider than what they lead to.

Upwards only, two more parts: what is seen around a solid nodule and was not counted can but make it larger.

    halo² + (6 STRAND_MM attached / d)²

halo: excess beyond the edge that the blur does not explain (a softer kernel, spicules, a faint rim), as a
share of V; the second where so little of the boundary is attached that strands of the nodule itself may go on
there, which were cut off like vessels.

The mean diameter has a third of that, with the pixels, a share of itself (the slice and the axis along which
it is longest are chosen by an outline that is a little off), and the area on the chest wall beside it.
"""

from __future__ import annotations

import math

import numpy as np

from GLIDERegLib.evaluation.growth import sphere_diameter
from GLIDERegLib.evaluation.measuring.measurement import GROUND_GLASS, PART_SOLID, SOLID
from GLIDERegLib.evaluation.measuring.partial_volume import Content
from GLIDERegLib.evaluation.measuring.patch import Patch
from GLIDERegLib.evaluation.measuring.scanner import blur_mm

# Of the normal distribution, two-sided 95 %.
QUANTILE = 1.96
# Standard deviations, chosen on nodules of Testing/tools/nodule_cubes.py (seeds 0 to 159, 1000 to 1119; those
# of solid ones on 7000 to 7199, all made isolated).
EDGE = {SOLID: (0.08, 4), GROUND_GLASS: (0.1, 2), PART_SOLID: (0.35, 2)}
LEVEL = {SOLID: 0.4, GROUND_GLASS: 0.65, PART_SOLID: 0.65}
LEAST, REPEATS = 0.005, 0.65
TEXTURE_HU = 1.0
# Of ground glass chosen on nodule_phantom's scenes, seeds 11200 to 11229: the vessel's contrast was left out.
VESSEL_MM = {SOLID: 0.05, GROUND_GLASS: 0.25, PART_SOLID: 0.25}
# Of the wall's surface under a nodule: its own, times how far the surface around lies off the one continued
# there (chosen on nodules painted at the pleura of a real scan, known_truth/E), and where none was continued.
WALL_MM, MISFIT, ROLLED_MM = 0.2, 1.6, 1.0
# Of spiculated nodules of 6 to 8 mm 4 to 7 % were cut off, where 0.04 to 0.07 of the boundary was attached; a
# vessel's root is wider.
STRAND_MM, MOST_STRANDS = 0.8, 0.1
# Contrast of a chest wall, and of vessels, to the lung beside it.
WALL_HU = 880.0
# Of a pixel, of the mean diameter itself, and of what the wall adds to the volume.
DIAMETER_PIXEL, DIAMETER_SHARE, DIAMETER_WALL = 0.2, 0.02, 0.2


def volume_interval(
    patch: Patch,
    found: Content,
    volume_mm3: float,
    spread: float,
    wall: float,
    contrast: float,
    misfit_mm: float | None = 0.0,
) -> tuple[float, float]:
    """Low and high end in mm3. spread: standard deviation of the logarithm over repeated segmentations.

    wall: see `wall_share`. contrast: of its level to the lung. misfit_mm: of the wall's surface around, see
    `ChestWall.error_mm`.
    """
    diameter = sphere_diameter(volume_mm3)
    edge, power = EDGE[found.attenuation]
    # Of a solid nodule's contrast it is a hundredth, which its level's error holds already.
    uneven = 0.0 if found.attenuation == SOLID else found.lung_error_hu
    half = math.hypot(
        LEAST,
        found.noise_mm3 / volume_mm3,
        REPEATS * spread,
        LEVEL[found.attenuation] * found.level_error,
        math.hypot(TEXTURE_HU, uneven) * found.shell_mm3 / (contrast * volume_mm3),
        edge * (6 * float(blur_mm(patch).mean()) / diameter) ** power,
        6 * VESSEL_MM[found.attenuation] * found.attached / diameter * max(WALL_HU / contrast, 1.0),
        math.hypot(WALL_MM, ROLLED_MM if misfit_mm is None else MISFIT * misfit_mm) * wall,
    )
    up = math.hypot(half, *_not_counted(found, diameter))
    return volume_mm3 * math.exp(-QUANTILE * half), volume_mm3 * math.exp(QUANTILE * up)


def _not_counted(found: Content, diameter: float) -> tuple[float, float]:
    """Shares of a solid nodule's volume that are seen beyond its boundary: halo and strands."""
    if found.attenuation != SOLID:
        return 0.0, 0.0
    strands = 6 * STRAND_MM * found.attached / diameter if found.attached <= MOST_STRANDS else 0.0
    return max(found.halo or 0.0, 0.0), strands


def diameter_interval(
    patch: Patch, mean_mm: float, volume_mm3: float, ends: tuple[float, float], wall: float
) -> tuple[float, float]:
    """Low and high end of the mean diameter in mm. ends: of the volume. wall: see `wall_share`."""
    low, high = (end / volume_mm3 for end in ends)
    own = QUANTILE * math.hypot(
        DIAMETER_PIXEL * float(np.mean(patch.voxel_mm[1:])),
        DIAMETER_SHARE * mean_mm,
        DIAMETER_WALL * wall * mean_mm,
    )
    down = math.hypot(mean_mm * (1 - low ** (1 / 3)), own)
    up = math.hypot(mean_mm * (high ** (1 / 3) - 1), own)
    return max(mean_mm - down, 0.0), mean_mm + up


def wall_share(contact_mm2: float, contrast: float, volume_mm3: float) -> float:
    """Share of a nodule's excess that each mm of the chest wall beneath it has."""
    return contact_mm2 * WALL_HU / (contrast * volume_mm3)
