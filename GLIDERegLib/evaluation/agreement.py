"""How well the surroundings of a point agree between two scans, and whether a place nearby agrees better.

It needs no truth: the images themselves tell, where they show enough structure, how far a mapping may be off.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# Points (N, 3) to values (N,) of an image, or to points (N, 3); mm.
Sampler = Callable[[np.ndarray], np.ndarray]
PointMap = Callable[[np.ndarray], np.ndarray]

# Half the neighbourhood and the farthest place looked at, in steps of at least 1 mm.
HALF_STEPS, SEARCH_STEPS, FINEST_STEP_MM = 5, 5, 1.0
# How far around a nodule the lung is compared, beyond a rim that its edge and its growth may reach: it is not
# itself compared, since it grows and vanishes, and one of even density tells no place.
SURROUNDINGS_MM, RIM_MM = 4.0, 1.0
# Noise and blur of neighbouring voxels go together; this many along each axis count as one observation.
VOXELS_PER_OBSERVATION = 2


@dataclass(frozen=True)
class LocalAgreement:
    """agreement: 0 to 1, normalised correlation of the surroundings where the mapping puts them, anything
    opposite counting as 0. shift: mm to where they agree better, 0 where they agree best already. spread: mm,
    how uncertain that place is; large where the surroundings show little.
    """

    agreement: float
    shift: float
    spread: float


def image_sampler(array: np.ndarray, to_index: PointMap) -> Sampler:
    """Trilinear values of an image (z, y, x) at points that `to_index` maps to its index (i, j, k).

    Beyond the image the values at its border go on.
    """
    from scipy.ndimage import map_coordinates

    def sample(points: np.ndarray) -> np.ndarray:
        index = to_index(points)[:, ::-1].T
        return map_coordinates(array, index, output=np.float64, order=1, mode="nearest")

    return sample


def local_agreement(
    fixed: Sampler,
    moving: Sampler,
    mapping: PointMap,
    point: np.ndarray,
    landing: np.ndarray,
    voxel_mm: float,
    radius_mm: float = 0.0,
) -> LocalAgreement:
    """Compares the surroundings of a fixed point (3,) with those of the moving point (3,) it corresponds to.

    mapping: fixed to moving points; shifted so that `point` comes to `landing`, it takes the surroundings
    along. voxel_mm: mean edge of the coarser scan's voxels. radius_mm: of a nodule there.

    The neighbourhood is a cube of 11 x 11 x 11 samples, 10 mm wide (samples 1 mm apart, or half a voxel where
    that is more; wider around a nodule, whose own samples are left out).
    Its normalised correlation c(s) with the moving scan is taken at every shift s up to 5
    samples along each axis. Grey values that are linear in each other, with Gaussian noise of unknown
    strength, have the profile likelihood (1 - c(s)^2)^(-n / 2) of n independent observations; the mean and
    the standard deviation of s under that likelihood are `shift` and `spread`.
    """
    step = max(FINEST_STEP_MM, voxel_mm / 2)
    half = HALF_STEPS
    if radius_mm:
        half = max(half, math.ceil((radius_mm + SURROUNDINGS_MM) / step))
    near, wide = _cube(half, step), _cube(half + SEARCH_STEPS, step)
    away = np.asarray(landing) - mapping(np.asarray(point, float)[None])[0]
    patch = fixed(point + near).reshape((2 * half + 1,) * 3)
    block = moving(mapping(point + wide) + away).reshape((2 * (half + SEARCH_STEPS) + 1,) * 3)
    clear = radius_mm + RIM_MM if radius_mm else -1.0
    shown = (np.linalg.norm(near, axis=1) > clear).reshape(patch.shape)
    free = (np.linalg.norm(wide, axis=1) > clear).reshape(block.shape)
    correlation = _correlations(patch, shown, block, free)
    observations = shown.sum() * (step / max(voxel_mm * VOXELS_PER_OBSERVATION, step)) ** 3
    logarithm = -observations / 2 * np.log1p(-(np.clip(correlation, 0, 0.9999) ** 2))
    weight = np.exp(logarithm - logarithm.max()).ravel()
    weight /= weight.sum()
    shifts = _cube(SEARCH_STEPS, step)
    mean = weight @ shifts
    spread = np.sqrt(weight @ ((shifts - mean) ** 2).sum(axis=1))
    here = correlation[(SEARCH_STEPS,) * 3]
    return LocalAgreement(float(max(here, 0.0)), float(np.linalg.norm(mean)), float(spread))


def _cube(half: int, step: float) -> np.ndarray:
    """Offsets (N, 3) in mm of a cube's samples around its middle."""
    axis = np.arange(-half, half + 1) * step
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)


def _correlations(patch: np.ndarray, shown: np.ndarray, block: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Normalised correlation of a patch with a larger block at every place where it fits, 0 where flat.

    shown, free: bool, the samples of patch and block that count (masked as in Padfield, IEEE TIP
    21:2706, 2012).
    """
    from scipy.signal import fftconvolve

    def over(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return fftconvolve(values, weights[::-1, ::-1, ::-1], mode="valid")

    patch = (patch - patch[shown].mean()) * shown
    block = (block - block[free].mean()) * free
    weight, allowed = shown.astype(float), free.astype(float)
    number = np.maximum(over(allowed, weight), 1.0)
    one, other = over(allowed, patch) / number, over(block, weight) / number
    covariance = over(block, patch) / number - one * other
    ours = over(allowed, patch**2) / number - one**2
    theirs = over(block**2, weight) / number - other**2
    # Rounding of sums would pass for contrast in flat surroundings.
    floor = 1e-9 * max(float(np.abs(block).max()), 1.0) ** 2
    seen = (ours > floor) & (theirs > floor)
    scale = np.sqrt(np.maximum(ours * theirs, 0))
    return np.clip(np.divide(covariance, scale, out=np.zeros_like(covariance), where=seen), -1, 1)
