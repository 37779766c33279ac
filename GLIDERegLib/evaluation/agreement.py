"""How well the surroundings of a point agree between two scans, and whether a place nearby agrees better.

It needs no truth: the images themselves tell, where they show enough structure, how far a mapping may be off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# Points (N, 3) to values (N,) of an image, or to points (N, 3); mm.
Sampler = Callable[[np.ndarray], np.ndarray]
PointMap = Callable[[np.ndarray], np.ndarray]

# Half the neighbourhood and the farthest place looked at, in steps of at least 1 mm.
HALF_STEPS, SEARCH_STEPS, FINEST_STEP_MM = 5, 5, 1.0
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
) -> LocalAgreement:
    """Compares the surroundings of a fixed point (3,) with those of the moving point (3,) it corresponds to.

    mapping: fixed to moving points; shifted so that `point` comes to `landing`, it takes the surroundings
    along. voxel_mm: mean edge of the coarser scan's voxels.

    The neighbourhood is a cube of 11 x 11 x 11 samples, 10 mm wide (samples 1 mm apart, or half a voxel where
    that is more). Its normalised correlation c(s) with the moving scan is taken at every shift s up to half
    its width along each axis. Grey values that are linear in each other, with Gaussian noise of unknown
    strength, have the profile likelihood (1 - c(s)^2)^(-n / 2) of n independent observations; the mean and
    the standard deviation of s under that likelihood are `shift` and `spread`.
    """
    step = max(FINEST_STEP_MM, voxel_mm / 2)
    near, wide = _cube(HALF_STEPS, step), _cube(HALF_STEPS + SEARCH_STEPS, step)
    away = np.asarray(landing) - mapping(np.asarray(point, float)[None])[0]
    patch = fixed(point + near).reshape((2 * HALF_STEPS + 1,) * 3)
    block = moving(mapping(point + wide) + away).reshape((2 * (HALF_STEPS + SEARCH_STEPS) + 1,) * 3)
    correlation = _correlations(patch, block)
    observations = patch.size * (step / max(voxel_mm * VOXELS_PER_OBSERVATION, step)) ** 3
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


def _correlations(patch: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Normalised correlation of a patch with a larger block at every place where it fits, 0 where flat."""
    from scipy.ndimage import uniform_filter
    from scipy.signal import fftconvolve

    patch = patch - patch.mean()
    block = block - block.mean()
    product = fftconvolve(block, patch[::-1, ::-1, ::-1], mode="valid") / patch.size
    half = patch.shape[0] // 2
    inner = (slice(half, -half),) * 3
    mean, square = uniform_filter(block, patch.shape)[inner], uniform_filter(block**2, patch.shape)[inner]
    # Rounding of sums would pass for contrast in flat surroundings.
    floor = 1e-9 * max(float(np.abs(block).max()), 1.0) ** 2
    variance = np.clip(square - mean**2, 0, None)
    scale = np.sqrt(variance * patch.var())
    seen = (variance > floor) & (patch.var() > floor)
    return np.clip(np.divide(product, scale, out=np.zeros_like(product), where=seen), -1, 1)
