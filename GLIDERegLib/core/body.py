"""The body in a CT, lungs included: what the registration, the reports and Slicer's panel all mean by it."""

from __future__ import annotations

import numpy as np

from GLIDERegLib.core.ct import AIR_HU, MAXIMUM_HU, OUTSIDE_FIELD_OF_VIEW_HU, in_hounsfield, is_ct
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.core.size import magnification

# Edge of the blocks in which the body is looked for, a choice: clothes and a table's mat are thinner, so that
# they enclose no air; smaller blocks take longer and find a body's outline no better.
BLOCK_MM = 4.0
# Lung and air are below, tissue and what is mixed of both above; Hu et al. (IEEE Trans Med Imaging 20:490,
# 2001) find about -550 HU as the best threshold.
LOW_HU = -500.0
# Air around a body is pure, -1000 HU; a lung cut by the image's face is not, even an emphysematous one (its
# voxels are below -950 HU, Gevenois et al., Am J Respir Crit Care Med 154:187, 1996, but not all of them).
AIR_MEDIAN_HU, AIR_UPPER_HU, AIR_UPPER_PERCENT = -975.0, -900.0, 90
# A choice: the step from air to skin counts as well, since patches are compared, and a field is judged where
# it was steered.
MARGIN_MM = 6.0
# With less of the image left than this the air was not told from a body: a choice, far below the third of a
# scan that a thin person fills.
LEAST_SHARE = 0.05
# Of a voxel: by how much a place may lie beyond the middle between two blocks, so that rounding of positions
# does not decide.
ROUNDING = 1e-6

_IN_PLANE = np.array([[[0, 1, 0], [1, 1, 1], [0, 1, 0]]], bool)


class Body:
    """The body of an image, found once, read anywhere. All of the image where air cannot be told from it.

    It does not depend on the order in which the voxels are stored, nor on the size of what was scanned.
    """

    def __init__(self, image: Volume):
        image = in_hounsfield(image)
        blocks = image.grid.resized((BLOCK_MM / magnification(image.grid),) * 3)
        self._grid = blocks.upright()
        # The same blocks in the order of the body's axes, so that the air beside it is told from a lung that
        # the first or last section cuts.
        places = np.rint(blocks.to_index(self._grid.points())).astype(int)
        order = tuple(places[..., axis] for axis in (2, 1, 0))
        ct = is_ct(image)
        values, measured = _block_means(image, blocks, ct)
        self._inside = body_mask(values[order], measured[order] > 0.5, BLOCK_MM, ct)

    def at(self, points: np.ndarray) -> np.ndarray:
        """Which LPS points (..., 3) lie in the body, bool (...); False outside the image."""
        index = np.floor(self._grid.to_index(points) + 0.5 + ROUNDING).astype(int)
        known = np.all((index >= 0) & (index < self._grid.size), axis=-1)
        i, j, k = np.moveaxis(np.clip(index, 0, np.asarray(self._grid.size) - 1), -1, 0)
        return known & self._inside[k, j, i]

    def on(self, grid: Grid) -> np.ndarray:
        """Which voxels of a grid lie in the body, bool (z, y, x)."""
        if (found := self._on_same_axes(grid)) is not None:
            return found
        section = (*grid.size[:2], 1)
        found = np.empty(grid.shape, bool)
        for k in range(grid.size[2]):
            origin = tuple(grid.to_physical(np.array([0, 0, k])).tolist())
            found[k] = self.at(Grid(section, grid.spacing, origin, grid.direction).points()[0])
        return found

    def _on_same_axes(self, grid: Grid) -> np.ndarray | None:
        """`on` a grid whose axes are the body's in some order: a row of blocks for each. None for others."""
        matrix = self._grid.inverse_matrix @ grid.matrix
        scales, size = matrix[:3, :3], np.asarray(grid.size)
        order = np.abs(scales).argmax(axis=1)
        along = scales[[0, 1, 2], order]
        astray = np.abs(scales) @ size - np.abs(along) * size[order]
        if len(set(order.tolist())) < 3 or astray.max() > ROUNDING / 10:
            return None
        rows = [
            np.floor(along[axis] * np.arange(size[order[axis]]) + matrix[axis, 3] + 0.5 + ROUNDING).astype(
                int
            )
            for axis in (2, 1, 0)
        ]
        known = [(row >= 0) & (row < n) for row, n in zip(rows, self._inside.shape, strict=True)]
        clipped = [np.clip(row, 0, n - 1) for row, n in zip(rows, self._inside.shape, strict=True)]
        k, j, i = known
        inside = self._inside[np.ix_(*clipped)] & k[:, None, None] & j[:, None] & i
        # Its axes are the body's (z, y, x); those of the grid are wanted.
        return inside.transpose(np.argsort(2 - order[::-1]))


def body_mask(
    array: np.ndarray, valid: np.ndarray, spacing: float, ct: bool, dilate_mm: float = MARGIN_MM
) -> np.ndarray:
    """The body with its lungs, dilated a little: everything but the air around it, bool (z, y, x). All of
    `valid` where that cannot be told.

    array: HU (z, y, x), `spacing` mm along each axis, sections across the body first. valid: bool, where the
    scanner measured. ct: whether the values are HU at all.
    """
    from scipy import ndimage

    if not ct:
        return valid
    step = max(1, round(BLOCK_MM / spacing))
    filled = np.pad(array, [(0, -n % step) for n in array.shape], mode="edge")
    z, y, x = (n // step for n in filled.shape)
    coarse = filled.reshape(z, step, y, step, x, step).mean(axis=(1, 3, 5), dtype=np.float64)
    coarse = coarse.astype(np.float32)
    centers = [
        np.minimum(np.arange(step // 2, m, step), n - 1)
        for m, n in zip(filled.shape, array.shape, strict=True)
    ]
    seen = valid[np.ix_(*centers)]
    # What was not measured must not connect a lung that the scan's face cuts with the air around the body.
    low = seen & ndimage.binary_dilation(ndimage.binary_erosion(coarse < LOW_HU, border_value=1))
    labels, _ = ndimage.label(low)
    outside = np.zeros(coarse.shape, bool)
    beyond = np.pad(~seen, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    lateral = ndimage.binary_dilation(beyond, _IN_PLANE)[:, 1:-1, 1:-1]
    for label in np.unique(labels[lateral & low]):
        component = labels == label
        values = coarse[component]
        pure = np.median(values) < AIR_MEDIAN_HU and np.percentile(values, AIR_UPPER_PERCENT) < AIR_UPPER_HU
        if label and pure:
            outside |= component
    inside = ndimage.binary_dilation(seen & ~outside, iterations=max(1, round(dilate_mm / (step * spacing))))
    kept = _repeat_to(inside, step, array.shape) & valid
    return kept if kept.mean() > LEAST_SHARE else valid


def _repeat_to(coarse: np.ndarray, step: int, shape: tuple[int, ...]) -> np.ndarray:
    for axis, length in enumerate(shape):
        coarse = coarse.repeat(step, axis=axis)
        coarse = np.take(coarse, np.minimum(np.arange(length), coarse.shape[axis] - 1), axis=axis)
    return coarse


def _block_means(image: Volume, blocks: Grid, ct: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean value, and share that the scanner measured, of each block (z, y, x), float32.

    blocks: a grid over the image's box, along its axes (`Grid.resized`).
    """
    across, down, along = (_shares(image.grid, blocks, axis) for axis in range(3))
    values, measured = np.zeros((2, *blocks.shape), np.float32)
    for section, weights in zip(image.array, along.T, strict=True):
        touched = np.flatnonzero(weights)
        clipped = np.clip(section, AIR_HU, MAXIMUM_HU) if ct else section
        known = section > OUTSIDE_FIELD_OF_VIEW_HU if ct else np.ones(section.shape, bool)
        for total, plane in ((values, clipped), (measured, known)):
            total[touched] += weights[touched, None, None] * (down @ plane.astype(np.float32) @ across.T)
    return values, measured


def _shares(image: Grid, blocks: Grid, axis: int) -> np.ndarray:
    """Share of each voxel in each block along an axis, (blocks, voxels) float32, rows of sum 1."""
    edges = (np.arange(image.size[axis] + 1) - image.size[axis] / 2) * image.spacing[axis]
    ends = (np.arange(blocks.size[axis] + 1) - blocks.size[axis] / 2) * blocks.spacing[axis]
    low = np.maximum(edges[None, :-1], ends[:-1, None])
    overlap = np.maximum(np.minimum(edges[None, 1:], ends[1:, None]) - low, 0)
    return (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)
