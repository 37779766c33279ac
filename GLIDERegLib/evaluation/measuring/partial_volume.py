"""Volume with parts of voxels: the excess attenuation near the boundary over that of the nodule beside it.

For blur of any width the sum of (I - B) / (N - B) over all voxels around an object of level N in a background
B is its volume, where a threshold loses part of a small, round one. It is taken in a shell around the
boundary; deeper voxels count whole, so that what is inside does not matter. What the chest wall adds
was taken away before; where a vessel goes on, the segmented boundary cuts it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from GLIDERegLib.evaluation.growth import sphere_diameter
from GLIDERegLib.evaluation.measuring.measurement import GROUND_GLASS, PART_SOLID, SOLID
from GLIDERegLib.evaluation.measuring.patch import Patch
from GLIDERegLib.evaluation.measuring.scanner import blur_mm, scanned
from GLIDERegLib.evaluation.measuring.segment import Region
from GLIDERegLib.evaluation.measuring.shell import SHELL, Shell
from GLIDERegLib.evaluation.measuring.surroundings import LEVEL_MM, Surroundings, nearby_mean
from GLIDERegLib.evaluation.measuring.two_levels import LEAST_STEP_HU, ROUNDS, two_levels

# In standard deviations of the blur, inwards from the boundary: where its level is read in a nodule that
# reaches so deep; choices.
DEEP, LARGE = 1.5, 3.0
# Over which the level of the lung around is averaged.
LUNG_MM = 3.0
# Of the lung beyond the shell whose level is taken, in standard deviations of the blur.
RING = 6.0
# Solid nodules without calcium: mean and standard deviation of their level, and how many of these it may be
# off before what is seen is believed instead.
USUAL_HU, USUAL_SPREAD_HU, BELIEVED = 35.0, 35.0, 3.0
# How well the blur is known (share of it), and what a sharp kernel adds to any level (share of the step).
BLUR_KNOWN, LEVEL_KNOWN = 0.25, 0.01
# A vessel goes on where this share of a nodule's contrast is seen beside it, and at least so much: it may be
# thinner than the blur.
VESSEL_SHARE, VESSEL_HU, VESSEL_NOISES = 0.25, 150.0, 4.0
# Between ground glass and solid tissue: what so small a nodule is made of cannot be seen.
UNCLEAR_HU = (-500.0, -35.0)
# Ground glass in fewer slices than that was measured a quarter too small.
LEAST_SLICES = 2.0
# Excess around a solid core that blur does not explain, as a share of the core's: ground glass.
HALO_SHARE = 0.15
# Part-solid nodules of 4 to 6 mm were read as solid or ground glass, a third of their size, below these radii
# (in standard deviations of the blur), and as solid up to the next one with a halo almost as large as
# HALO_SHARE (nodule_cubes.py, seeds 2000 to 2019 as part-solid ones, and 5300).
LEAST_RADIUS, SURE_RADIUS, UNSURE_HALO = {SOLID: 3.5, GROUND_GLASS: 2.6}, 4.5, 0.12
UNCLEAR = "it is too small in these voxels to tell ground glass from a solid part"
# In standard deviations of the blur.
HALO_LAYERS = ((0.5, 1.5), (1.5, 2.5), (2.5, 3.5), (3.5, 4.5))


@dataclass(frozen=True)
class Content:
    """volume_mm3. mask: the fine voxels of the highest fractions that fill it. noise_mm3: standard deviation
    of the volume from the scan's noise. shell_mm3: volume in which the excess was weighed. lung_error_hu:
    standard deviation of the lung's level B there. level_error:
    relative standard deviation of N - B. attached: share of the boundary where a vessel goes on. level_hu: of
    the nodule, of its ground glass where there is some. attenuation: SOLID, PART_SOLID or GROUND_GLASS. halo:
    see `_halo_share`, None where the nodule has no solid core.
    """

    volume_mm3: float
    mask: np.ndarray
    noise_mm3: float
    shell_mm3: float
    lung_error_hu: float
    level_error: float
    attached: float
    level_hu: float
    attenuation: str
    halo: float | None = None


def content(
    patch: Patch, around: Surroundings, region: Region, part_solid: bool | None = None
) -> Content | str:
    """The volume of a region, itself perhaps a voxel too large or small, or why it cannot be told.

    part_solid: whether a solid core lies in ground glass, where that is decided already.
    """
    shell = _shell(patch, around, region.core, region.core_dense)
    attenuation = GROUND_GLASS if region.whole is None else SOLID
    level, error, fraction, mask = _one_level(patch, shell, around, attenuation == SOLID)
    halo = None if region.whole is None else _halo_share(patch, around, shell, mask, level)
    if part_solid is None:
        part_solid = halo is not None and halo > HALO_SHARE
    # Around a core that the blur reaches the middle of, a halo may be its own blur.
    if (part_solid and shell.away.min() >= -LARGE) or (error is None and not part_solid):
        return UNCLEAR
    if part_solid and region.whole is not None and region.whole_dense is not None:
        # Ground glass fainter than usual ends beyond where it was looked for: again from what was found.
        mask = region.whole
        for _ in range(2):
            shell = _shell(patch, around, mask, region.whole_dense)
            level, fraction, mask = two_levels(patch, shell)
        attenuation = PART_SOLID
    hu = around.lung_hu + level
    voxel, parts = float(np.prod(patch.fine_mm)), float(np.prod(patch.factors))
    diameter = sphere_diameter(max(float(fraction.sum(dtype=np.float64)) * voxel, voxel))
    if attenuation != SOLID and diameter < LEAST_SLICES * patch.voxel_mm.max():
        return "it is too small for slices this thick"
    if attenuation != PART_SOLID and _unclear(attenuation, diameter / 2 / blur_mm(patch).mean(), hu, halo):
        return UNCLEAR
    # Noise is correlated over about two pixels of a slice each way.
    independent = max(shell.free.sum() / parts, 1.0) / 4
    noise = around.noise_hu / level * 4 * parts * voxel * np.sqrt(independent)
    volume = float(fraction.sum(dtype=np.float64) * voxel)
    weighed = float(shell.free.sum()) * voxel
    return Content(
        volume, mask, noise, weighed, shell.lung_error_hu, error or LEVEL_KNOWN, shell.attached, hu,
        attenuation, halo,
    )  # fmt: skip


def _shell(patch: Patch, around: Surroundings, mask: np.ndarray, dense: np.ndarray) -> Shell:
    fine = patch.fine_mm
    scaled = fine / blur_mm(patch)
    outward = ndimage.distance_transform_edt(~mask, scaled)
    away = np.where(mask, -ndimage.distance_transform_edt(mask, scaled), outward)
    is_lung = (np.abs(around.smooth - around.lung_hu) < 120.0) & (around.wall_mm > 2.0)
    lung = nearby_mean(around.image, (away > SHELL + 0.7) & is_lung, LUNG_MM / fine, around.lung_hu)
    excess = around.image - lung
    level = float(np.percentile(around.smooth[mask], 75)) - around.lung_hu
    least = max(VESSEL_SHARE * level, VESSEL_HU, VESSEL_NOISES * around.noise_hu)
    faint = (around.smooth - around.lung_hu > least) & (around.wall_mm > 0)
    labels, _ = ndimage.label(faint | mask)
    with_it = np.isin(labels, np.unique(labels[mask]))
    beyond = (dense | with_it) & (away > SHELL)
    goes_on = ndimage.distance_transform_edt(~beyond, scaled) <= SHELL + 0.5
    boundary = np.abs(away) <= 1.0
    attached = float(goes_on[boundary].mean()) if boundary.any() else 0.0
    free = (np.abs(away) <= SHELL) & ~goes_on
    error = _lung_error(around.image, mask, (away > SHELL + 0.7) & (away < SHELL + RING) & is_lung)
    return Shell(mask, away, excess, lung, free, around.wall_mm <= 0, attached, error)


def _lung_error(image: np.ndarray, mask: np.ndarray, ring: np.ndarray) -> float:
    """Standard deviation (HU) of the mean of a ring of lung around a nodule, from how its eighths differ:
    neither texture nor what vessels add is independent from voxel to voxel.
    """
    center = np.argwhere(mask).mean(axis=0) if mask.any() else np.asarray(mask.shape) / 2
    places = np.nonzero(ring)
    eighth = sum((place > middle) << n for n, (place, middle) in enumerate(zip(places, center, strict=True)))
    count = np.bincount(eighth, minlength=8)
    means = np.bincount(eighth, image[places], minlength=8)[count > 0] / count[count > 0]
    return float(means.std(ddof=1) / np.sqrt(len(means))) if len(means) > 1 else 0.0


def _unclear(attenuation: str, radius: float, hu: float, halo: float | None) -> bool:
    """Whether what is taken for a solid nodule, or for ground glass, may be the middle of a part-solid one
    three times as large. radius: in standard deviations of the blur. hu: its level.
    """
    if radius < LEAST_RADIUS[attenuation]:
        return True
    if attenuation == GROUND_GLASS:
        return hu > UNCLEAR_HU[0]
    return radius < SURE_RADIUS and halo is not None and halo > UNSURE_HALO


def _one_level(
    patch: Patch, shell: Shell, around: Surroundings, solid: bool
) -> tuple[float, float | None, np.ndarray, np.ndarray]:
    """N - B of a nodule of one level, its relative error (None where it is neither solid nor ground glass),
    the fractions, and the mask that they fill.

    In a large nodule N is what lies inside of the shell, wherever it is. The blur reaches the middle of a
    small one: its shape as a scanner shows it tells what share of N - B is left, and both are made to agree.
    """
    if shell.away.min() < -LARGE:
        deep = shell.away < -DEEP
        inside = nearby_mean(shell.excess, deep, LEVEL_MM / patch.fine_mm, 0.0)
        seen = float(inside[deep].mean())
        step, error = _level(shell, around, seen, solid)
        fraction = shell.fraction(np.maximum(inside * (step / seen), LEAST_STEP_HU))
        return step, error, fraction, shell.filled(fraction, fraction.sum())
    mask = shell.mask
    for _ in range(ROUNDS):
        left = scanned(patch, mask)
        middle = mask & (left >= 0.85 * left.max())
        seen = float((shell.excess[middle] * left[middle]).sum() / (left[middle] ** 2).sum())
        step, error = _level(shell, around, max(seen, LEAST_STEP_HU), solid)
        fraction = shell.fraction(step)
        mask = shell.filled(fraction, fraction.sum())
    unclear = UNCLEAR_HU[0] < around.lung_hu + seen < UNCLEAR_HU[1]
    return step, None if unclear else error, fraction, mask


def _level(shell: Shell, around: Surroundings, seen: float, solid: bool) -> tuple[float, float]:
    """N - B and its relative standard deviation, from what is seen and what solid nodules usually have.

    In the middle of a ball of q standard deviations of the blur erf(q / √2) - √(2 / π) q exp(-q² / 2) of its
    contrast is left: what is not known of the blur is not known of that.
    """
    depth = float(-shell.away.min())
    blurred = BLUR_KNOWN * np.sqrt(2 / np.pi) * depth**3 * np.exp(-(depth**2) / 2)
    error = float(np.hypot(max(blurred, 0.2) if depth < 1.7 else blurred, LEVEL_KNOWN))
    usual, own = USUAL_HU - around.lung_hu, error * seen
    if not solid or abs(seen - usual) > BELIEVED * np.hypot(USUAL_SPREAD_HU, own):
        return seen, error
    trust = USUAL_SPREAD_HU**2 / (USUAL_SPREAD_HU**2 + own**2)
    return usual + trust * (seen - usual), float(np.sqrt(trust) * own / seen)


def _halo_share(patch: Patch, around: Surroundings, shell: Shell, mask: np.ndarray, step: float) -> float:
    """Excess around a solid core that its own blur does not explain, as a share of the core's own.

    Of medians in layers: ground glass surrounds a core, vessels touch it here and there. What lies in the
    chest wall, or in its blur, tells nothing.
    """
    scaled = patch.fine_mm / blur_mm(patch)
    beyond = ndimage.distance_transform_edt(~mask, scaled)
    free = around.wall_mm > blur_mm(patch).max()
    dense = (shell.excess > step / 2) & (beyond > 2.0)
    clear = ndimage.distance_transform_edt(~dense, scaled) > 2.5
    left = shell.excess - step * scanned(patch, mask)
    share = 0.0
    for inner, outer in HALO_LAYERS:
        layer = (beyond > inner) & (beyond <= outer) & free
        seen = layer & clear
        if seen.sum() > 0.2 * layer.sum():
            share += float(np.median(left[seen]) * layer.sum() / (step * mask.sum()))
    return share
