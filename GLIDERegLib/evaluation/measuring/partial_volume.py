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
from GLIDERegLib.evaluation.measuring.surroundings import LEVEL_MM, Surroundings, nearby_mean

# Standard deviations of the blur: 98 % of an edge lies within the shell.
SHELL = 2.1
DEEP, LARGE = 1.5, 3.0
LUNG_MM = 3.0
# Contrast enhancement and calcium apart, no nodule is denser than its own peak or this.
DENSEST_HU = 100.0
LEAST_STEP_HU = 60.0
# Between ground glass and solid tissue: what so small a nodule is made of cannot be seen.
UNCLEAR_HU = (-500.0, -35.0)
# Ground glass in fewer slices than that was measured a quarter too small.
LEAST_SLICES = 2.0
# Excess around a solid core that blur does not explain, as a share of the core's: ground glass.
HALO_SHARE = 0.15
# In standard deviations of the blur.
HALO_LAYERS = ((0.5, 1.5), (1.5, 2.5), (2.5, 3.5), (3.5, 4.5))
ROUNDS = 3


@dataclass(frozen=True)
class Content:
    """volume_mm3. mask: the fine voxels of the highest fractions that fill it. noise_mm3: standard deviation
    of the volume from the scan's noise. attached: share of the boundary where a vessel goes on. level_hu: of
    the nodule, of its ground glass where there is some. attenuation: SOLID, PART_SOLID or GROUND_GLASS.
    """

    volume_mm3: float
    mask: np.ndarray
    noise_mm3: float
    attached: float
    level_hu: float
    attenuation: str


@dataclass(frozen=True)
class _Shell:
    """Around one mask: away, the distance from its boundary in standard deviations of the blur (negative
    inside); excess, I - B; free, the voxels of the shell that no vessel
    touches; wall, the voxels of the chest wall.
    """

    mask: np.ndarray
    away: np.ndarray
    excess: np.ndarray
    lung: np.ndarray
    free: np.ndarray
    wall: np.ndarray
    attached: float

    def fraction(self, step) -> np.ndarray:
        """Share of every voxel that a nodule of level B + step takes."""
        inside = np.where(self.away < 0.3, np.clip(self.excess / step, 0, 1), 0)
        return np.where(self.free, self.excess / step, np.where(self.away < -SHELL, 1, inside))

    def filled(self, fraction: np.ndarray, number: float) -> np.ndarray:
        """The voxels of highest fraction, as many as the volume has."""
        near = (self.away <= SHELL) & ~self.wall
        values = np.where(~near, -1.0, np.where(self.away < -SHELL, 2.0, fraction))
        number = int(np.clip(round(number), 1, near.sum()))
        level = -np.partition(-values.ravel(), number - 1)[number - 1]
        return values >= max(level, 1e-3)


def content(patch: Patch, around: Surroundings, region: Region) -> Content | str:
    """The volume of a region, itself perhaps a voxel too large or small, or why it cannot be told."""
    shell = _shell(patch, around, region.core, region.core_dense)
    level, fraction, mask = _one_level(patch, shell, around)
    attenuation = GROUND_GLASS if region.whole is None else SOLID
    if region.whole is not None and _halo_share(patch, around, shell, mask, level) > HALO_SHARE:
        shell = _shell(patch, around, region.whole, region.whole_dense)
        level, fraction, mask = _two_levels(patch, shell)
        attenuation = PART_SOLID
    large = shell.away.min() < -LARGE
    hu = around.lung_hu + level
    if attenuation != PART_SOLID and not large and UNCLEAR_HU[0] < hu < UNCLEAR_HU[1]:
        return "it is too small in these voxels to tell ground glass from a solid part"
    voxel, parts = float(np.prod(patch.fine_mm)), float(np.prod(patch.factors))
    diameter = sphere_diameter(max(float(fraction.sum(dtype=np.float64)) * voxel, voxel))
    if attenuation != SOLID and diameter < LEAST_SLICES * patch.voxel_mm.max():
        return "it is too small for slices this thick"
    # Noise is correlated over about two pixels of a slice each way.
    independent = max(shell.free.sum() / parts, 1.0) / 4
    noise = around.noise_hu / level * 4 * parts * voxel * np.sqrt(independent)
    volume = float(fraction.sum(dtype=np.float64) * voxel)
    return Content(volume, mask, noise, shell.attached, hu, attenuation)


def _shell(patch: Patch, around: Surroundings, mask: np.ndarray, dense: np.ndarray) -> _Shell:
    fine = patch.fine_mm
    scaled = fine / blur_mm(patch)
    outward = ndimage.distance_transform_edt(~mask, scaled)
    away = np.where(mask, -ndimage.distance_transform_edt(mask, scaled), outward)
    is_lung = (np.abs(around.smooth - around.lung_hu) < 120.0) & (around.wall_mm > 2.0)
    lung = nearby_mean(around.image, (away > SHELL + 0.7) & is_lung, LUNG_MM / fine, around.lung_hu)
    excess = around.image - lung
    beyond = dense & (away > SHELL)
    goes_on = ndimage.distance_transform_edt(~beyond, scaled) <= SHELL + 0.5
    boundary = np.abs(away) <= 1.0
    attached = float(goes_on[boundary].mean()) if boundary.any() else 0.0
    return _Shell(mask, away, excess, lung, (np.abs(away) <= SHELL) & ~goes_on, around.wall_mm <= 0, attached)


def _one_level(patch: Patch, shell: _Shell, around: Surroundings) -> tuple[float, np.ndarray, np.ndarray]:
    """N - B of a nodule of one level, the fractions, and the mask that they fill.

    In a large nodule N is what lies inside of the shell, wherever it is. The blur reaches the middle of a
    small one: its shape as a scanner shows it tells what share of N - B is left, and both are made to agree.
    """
    if shell.away.min() < -LARGE:
        deep = shell.away < -DEEP
        inside = nearby_mean(shell.excess, deep, LEVEL_MM / patch.fine_mm, 0.0)
        fraction = shell.fraction(np.maximum(inside, LEAST_STEP_HU))
        return float(inside[deep].mean()), fraction, shell.filled(fraction, fraction.sum())
    mask = shell.mask
    for _ in range(ROUNDS):
        left = scanned(patch, mask)
        middle = mask & (left >= 0.85 * left.max())
        step = float((shell.excess[middle] * left[middle]).sum() / (left[middle] ** 2).sum())
        peak = float(np.percentile(shell.excess[middle], 75))
        step = max(min(step, max(DENSEST_HU - around.lung_hu, peak)), LEAST_STEP_HU)
        fraction = shell.fraction(step)
        mask = shell.filled(fraction, fraction.sum())
    return step, fraction, mask


def _halo_share(patch: Patch, around: Surroundings, shell: _Shell, mask: np.ndarray, step: float) -> float:
    """Excess around a solid core that its own blur does not explain, as a share of the core's own.

    Of medians in layers: ground glass surrounds a core, vessels touch it here and there.
    """
    scaled = patch.fine_mm / blur_mm(patch)
    beyond = ndimage.distance_transform_edt(~mask, scaled)
    dense = (shell.excess > step / 2) & (beyond > 2.0)
    clear = ndimage.distance_transform_edt(~dense, scaled) > 2.5
    left = shell.excess - step * scanned(patch, mask)
    share = 0.0
    for inner, outer in HALO_LAYERS:
        layer = (beyond > inner) & (beyond <= outer)
        seen = layer & clear
        if seen.sum() > 0.2 * layer.sum():
            share += float(np.median(left[seen]) * layer.sum() / (step * mask.sum()))
    return share


def _two_levels(patch: Patch, shell: _Shell) -> tuple[float, np.ndarray, np.ndarray]:
    """N - B of the ground glass around a solid core, the fractions and the mask of both together.

    I - B = a scan(whole) + b scan(core) is fitted to the voxels that nothing else touches; then the core's
    term is taken away, and what is left is a nodule of one level, B + a. Each shape is made as large as its
    excess tells.
    """
    excess = np.clip(shell.excess, -200, None)
    scaled = patch.fine_mm / blur_mm(patch)
    fitted = shell.free | (shell.away < -SHELL)
    whole, core = shell.mask, shell.mask & (excess > 520.0)
    for _ in range(ROUNDS + 1):
        near = ndimage.distance_transform_edt(~core, scaled) <= SHELL if core.any() else core
        shown, shown_core = scanned(patch, whole), scanned(patch, core)
        terms = np.stack([shown[fitted], shown_core[fitted]], axis=1)
        solution = np.linalg.lstsq(terms, excess[fitted], rcond=None)[0]
        step, more = (max(float(n), LEAST_STEP_HU) for n in solution)
        left = excess - more * shown_core
        fraction = np.where(shell.free, left / step, shell.mask)
        whole = shell.filled(fraction, fraction.sum())
        if not core.any():
            break
        above = np.where(near & (shell.away < SHELL), (excess - step * shown) / more, -1.0)
        number = int(np.clip(round(above[above > -1].sum()), 1, near.sum()))
        core = above >= max(-np.partition(-above.ravel(), number - 1)[number - 1], 1e-3)
    return step, fraction, whole
