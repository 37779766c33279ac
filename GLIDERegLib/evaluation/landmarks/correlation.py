"""Normalised cross-correlation of a patch with its surroundings in another scan, for many patches at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from GLIDERegLib.core.geometry import Grid

# Choices: patches at a time, which take memory, and threads for their transforms.
BATCH = 8
THREADS = 2
# A patch with less contrast (standard deviation, HU) shows noise alone.
LEAST_CONTRAST_HU = 12.0


@dataclass(frozen=True)
class Picture:
    """A scan made ready to be read at points: float32 (z, y, x), HU, and its grid."""

    array: np.ndarray
    grid: Grid

    def read(self, points: np.ndarray) -> np.ndarray:
        """Trilinear values (...) at points (..., 3), LPS mm; beyond the image its border goes on."""
        index = self.grid.to_index(points)
        values = ndimage.map_coordinates(
            self.array, [index[..., axis] for axis in (2, 1, 0)], order=1, mode="nearest", output=np.float32
        )
        return values


def lattice(half: int, step_mm: float) -> np.ndarray:
    """Offsets (n, n, n, 3) in mm of a cube of n = 2 half + 1 samples, indexed (z, y, x)."""
    axis = np.arange(-half, half + 1) * step_mm
    k, j, i = np.meshgrid(axis, axis, axis, indexing="ij")
    return np.stack([i, j, k], axis=-1)


def search(
    here: Picture,
    there: Picture,
    points: np.ndarray,
    expected: np.ndarray,
    shapes: np.ndarray,
    halves: tuple[int, ...],
    reach: int,
    step_mm: float,
) -> list[np.ndarray]:
    """Correlations (N, r, r, r), r = 2 reach + 1, of patches about each point with its match's area, a patch
    of each half of a width in steps.

    points (N, 3) lie in `here`, expected (N, 3) in `there`, LPS mm; shapes (N, 3, 3): how a small offset
    about the point becomes one about its match. Entry (z, y, x) stands for a shift of (x, y, z) - reach
    steps of `step_mm` before that shape is applied. 0 where either patch shows nothing.
    """
    largest = max(halves)
    near, wide = lattice(largest, step_mm), lattice(largest + reach, step_mm)

    def batch(start: int) -> list[np.ndarray]:
        part = slice(start, start + BATCH)
        patches = np.stack([here.read(point + near) for point in points[part]])
        blocks = np.stack(
            [there.read(at + wide @ shape.T) for at, shape in zip(expected[part], shapes[part], strict=True)]
        )
        return [
            correlations(_middle(patches, largest - half), _middle(blocks, largest - half)) for half in halves
        ]

    if not len(points):
        return [np.zeros((0, *(2 * reach + 1,) * 3), np.float32) for _ in halves]
    with ThreadPoolExecutor(THREADS) as pool:
        parts = list(pool.map(batch, range(0, len(points), BATCH)))
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def _middle(cubes: np.ndarray, cut: int) -> np.ndarray:
    """Cubes (N, n, n, n) without their outermost `cut` layers."""
    inner = slice(cut, cubes.shape[1] - cut)
    return cubes[:, inner, inner, inner]


def correlations(patches: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Correlation of patches (N, p, p, p) with blocks (N, b, b, b) wherever it fits, (N, b - p + 1, ...).

    Zero where the patch or what it lies on has less contrast than noise.
    """
    axes, count = (1, 2, 3), patches[0].size
    patches = patches - patches.mean(axis=axes, keepdims=True)
    blocks = blocks - blocks.mean(axis=axes, keepdims=True)
    contrast = np.sqrt((patches**2).mean(axis=axes))[:, None, None, None]
    shape = blocks.shape[1:]
    size = [fft.next_fast_len(n, real=True) for n in shape]
    product = fft.irfftn(fft.rfftn(blocks, size, axes) * np.conj(fft.rfftn(patches, size, axes)), size, axes)
    valid = (slice(None), *(slice(0, b - p + 1) for b, p in zip(shape, patches.shape[1:], strict=True)))
    mean = _box_sums(blocks, patches.shape[1]) / count
    square = _box_sums(blocks.astype(np.float64) ** 2, patches.shape[1]) / count
    spread = np.sqrt(np.clip(square - mean**2, 0, None))
    seen = (contrast > LEAST_CONTRAST_HU) & (spread > LEAST_CONTRAST_HU)
    scale = np.where(seen, contrast * spread * count, 1.0)
    return np.where(seen, np.clip(product[valid] / scale, -1, 1), 0).astype(np.float32)


def _box_sums(values: np.ndarray, width: int) -> np.ndarray:
    """Sums over all cubes of `width` along the last three axes."""
    for axis in (1, 2, 3):
        sums = np.cumsum(values, axis=axis, dtype=np.float64)
        sums = np.insert(sums, 0, 0, axis=axis)
        n = sums.shape[axis]
        values = np.take(sums, range(width, n), axis=axis) - np.take(sums, range(n - width), axis=axis)
    return values


def peak(volume: np.ndarray) -> tuple[np.ndarray, float]:
    """Where a correlation (r, r, r) is highest, (x, y, z) in steps from its middle, and how high."""
    at = np.unravel_index(int(volume.argmax()), volume.shape)
    refined = np.array(at, float)
    for axis in range(3):
        if 0 < at[axis] < volume.shape[axis] - 1:
            below, above = (volume[tuple(np.add(at, np.eye(3, dtype=int)[axis] * s))] for s in (-1, 1))
            bend = below - 2 * volume[at] + above
            if bend < 0:
                refined[axis] += 0.5 * float(below - above) / float(bend)
    return refined[::-1] - np.array(volume.shape)[::-1] // 2, float(volume[at])


Progress = Callable[[float], None]
