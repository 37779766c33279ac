"""The cube of a scan around a click, on a finer grid of whole parts of its voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from GLIDERegLib.core.ct import AIR_HU, AIR_LEVEL_HU, OUTSIDE_FIELD_OF_VIEW_HU
from GLIDERegLib.core.geometry import Grid, Volume, triple

# Parts of voxels at most this long: a boundary of a 4 mm nodule then crosses about a dozen of them.
FINE_MM = 0.6
# An edge of the scan is spread over about so many voxels: what was cut off there shows that near its outline.
EDGE_VOXELS = 2


@dataclass(frozen=True)
class Patch:
    """image: HU, float32 (z, y, x), each voxel of `grid` cut into `factors` (z, y, x) equal parts, values
    between voxel centres linear. scan_grid: the box of the scan's own voxels; grid: the same, axes
    ordered and flipped to lie along L, P and S. seed: the click's fine index (z, y, x). missing: bool, the
    voxels (z, y, x) of `grid` that the scanner did not measure.
    """

    image: np.ndarray
    grid: Grid
    scan_grid: Grid
    factors: tuple[int, int, int]
    seed: tuple[int, int, int]
    missing: np.ndarray

    @property
    def voxel_mm(self) -> np.ndarray:
        """Edges (z, y, x) of the scan's voxels."""
        return np.asarray(self.grid.spacing)[::-1]

    @property
    def fine_mm(self) -> np.ndarray:
        """Edges (z, y, x) of the fine voxels."""
        return self.voxel_mm / self.factors

    def share_in_voxels(self, mask: np.ndarray) -> np.ndarray:
        """Share (z, y, x) of each of the scan's voxels that lies in a mask on the fine grid."""
        (z, y, x), (a, b, c) = self.grid.shape, self.factors
        return mask.reshape(z, a, y, b, x, c).mean(axis=(1, 3, 5))

    def is_cut_off(self, mask: np.ndarray) -> bool:
        """Whether what a fine mask holds ends where the scan was not measured."""
        if not self.missing.any():
            return False
        near = ndimage.binary_dilation(self.share_in_voxels(mask) > 0, iterations=EDGE_VOXELS)
        return bool((near & self.missing).any())

    def to_physical(self, index: np.ndarray) -> np.ndarray:
        """Fine indices (..., 3) in (z, y, x) order to LPS mm (..., 3)."""
        voxels = (np.asarray(index, float) + 0.5) / self.factors - 0.5
        return self.grid.to_physical(voxels[..., ::-1])

    def box(self, low: Sequence[int], high: Sequence[int], margin_mm: float) -> tuple[slice, ...]:
        """The fine voxels within a margin of a box (z, y, x; both ends in it), whole voxels of the scan."""
        factors = np.asarray(self.factors)
        margin = np.ceil(margin_mm / self.voxel_mm).astype(int)
        first = np.maximum(np.asarray(low) // factors - margin, 0) * factors
        last = np.minimum(np.asarray(high) // factors + margin + 1, self.grid.shape) * factors
        return tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))

    def part(self, box: tuple[slice, ...]) -> Patch:
        """The patch of a `box`."""
        first = np.array([part.start for part in box]) // self.factors
        shape = np.array([part.stop for part in box]) // self.factors - first
        axes, flips = turn(self.scan_grid, self.grid)
        grid = _cropped(self.grid, first[::-1], shape[::-1])
        # The same box, counted along the scan's own axes.
        own_first, own_shape = np.empty(3, int), np.empty(3, int)
        for axis, (source, flip) in enumerate(zip(axes, flips, strict=True)):
            end = self.grid.shape[axis] - first[axis] - shape[axis]
            own_first[source] = first[axis] if flip.step > 0 else end
            own_shape[source] = shape[axis]
        scan_grid = _cropped(self.scan_grid, own_first[::-1], own_shape[::-1])
        seed = triple(s - part.start for s, part in zip(self.seed, box, strict=True))
        voxels = tuple(slice(a, a + n) for a, n in zip(first, shape, strict=True))
        return Patch(self.image[box], grid, scan_grid, self.factors, seed, self.missing[voxels])

    def mask_on_scan(self, mask: np.ndarray) -> Volume:
        """The voxels of the scan of which at least half lies in a fine mask, uint8, cropped."""
        voxels = self.share_in_voxels(mask) >= 0.5
        axes, flips = turn(self.scan_grid, self.grid)
        voxels = voxels[flips].transpose(np.argsort(axes))
        around = tuple(
            slice(max(int(found.min()) - 1, 0), int(found.max()) + 2) if len(found) else slice(0, 2)
            for found in np.nonzero(voxels)
        )
        cropped = np.ascontiguousarray(voxels[around]).astype(np.uint8)
        first = np.array([part.start for part in around[::-1]])
        return Volume(cropped, _cropped(self.scan_grid, first, np.array(cropped.shape[::-1])), "nodule")


def cut(volume: Volume, point_mm: np.ndarray, cube_mm: float) -> Patch:
    """The patch of a cube with this edge around a point (LPS mm) that lies in the volume."""
    middle = volume.grid.to_index(point_mm)
    reach = cube_mm / 2 / np.asarray(volume.grid.spacing)
    first = np.maximum(np.ceil(middle - reach), 0).astype(int)
    last = np.minimum(np.floor(middle + reach), np.asarray(volume.grid.size) - 1).astype(int)
    box = tuple(slice(a, b + 1) for a, b in zip(first[::-1], last[::-1], strict=True))
    grid = _cropped(volume.grid, first, last - first + 1)
    upright = grid.upright()
    axes, flips = turn(grid, upright)
    values = volume.array[box].transpose(axes)[flips]
    image = np.maximum(values, AIR_HU).astype(np.float32)
    factors = triple(max(1, np.ceil(s / FINE_MM)) for s in upright.spacing[::-1])
    for axis, factor in enumerate(factors):
        image = finer(image, axis, factor)
    seed = (upright.to_index(point_mm)[::-1] + 0.5) * factors - 0.5
    seed = np.clip(np.rint(seed), 0, np.asarray(image.shape) - 1).astype(int)
    return Patch(image, upright, grid, factors, tuple(seed.tolist()), not_measured(values))


def not_measured(values: np.ndarray) -> np.ndarray:
    """Bool (z, y, x) of HU: voxels that were filled in: values that no tissue has, or one exact value of
    air or of 0 (as resampling fills) throughout 3 x 3 x 3 voxels, where a scanner's noise leaves none.
    """
    usual = (values <= AIR_LEVEL_HU) | (values == 0)
    if not usual.any():
        return usual
    highest = ndimage.maximum_filter(values, 3, mode="nearest")
    even = usual & (highest == ndimage.minimum_filter(values, 3, mode="nearest"))
    filled = ndimage.binary_dilation(even, np.ones((3, 3, 3))) & usual
    return filled | (values < OUTSIDE_FIELD_OF_VIEW_HU)


def _cropped(grid: Grid, first: np.ndarray, size: np.ndarray) -> Grid:
    """The part of a grid that starts at an index (x, y, z)."""
    origin = tuple(grid.to_physical(first).tolist())
    return Grid(triple(size), grid.spacing, origin, grid.direction)


def turn(grid: Grid, upright: Grid) -> tuple[tuple[int, ...], tuple[slice, ...]]:
    """How an array on a grid becomes one on the same grid upright: transposed, then flipped."""
    turn = upright.axes.T @ grid.axes
    source = np.abs(turn).argmax(axis=1)
    flips = tuple(slice(None, None, 1 if turn[n, source[n]] > 0 else -1) for n in (2, 1, 0))
    return tuple(int(2 - source[n]) for n in (2, 1, 0)), flips


def finer(image: np.ndarray, axis: int, factor: int) -> np.ndarray:
    """Linear between the centres of voxels along an axis, each cut into parts; constant beyond."""
    if factor == 1:
        return image
    number = image.shape[axis]
    at = np.clip((np.arange(number * factor) + 0.5) / factor - 0.5, 0, number - 1)
    low = np.minimum(at.astype(int), max(number - 2, 0))
    weight = (at - low).astype(np.float32).reshape([-1 if n == axis else 1 for n in range(3)])
    below = np.take(image, low, axis)
    return below + weight * (np.take(image, np.minimum(low + 1, number - 1), axis) - below)
