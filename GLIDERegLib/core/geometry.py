"""Where voxels are: image grids in physical space (LPS, mm).

Arrays are indexed (z, y, x); points, sizes, spacings and vectors are ordered (x, y, z), as in ITK.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from GLIDERegLib.core.acquisition import Acquisition


def triple(values: Iterable[int]) -> tuple[int, int, int]:
    """Three whole numbers, as sizes, shapes and offsets are."""
    a, b, c = values
    return int(a), int(b), int(c)


# Direction cosines of a grid along L, P and S.
UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Grid:
    """A regular 3-D grid of voxel centres.

    size: voxels along x, y, z. spacing: mm. origin: LPS mm of the first voxel's centre.
    direction: the 9 direction cosines in row order; column j is the direction of index axis j.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = UPRIGHT

    @classmethod
    def of(
        cls,
        size: Iterable[float],
        spacing: Iterable[float],
        origin: Iterable[float],
        direction: Iterable[float] = UPRIGHT,
    ) -> Grid:
        """The grid of any sequences of numbers, arrays included."""
        (i, j, k), (x, y, z), (left, back, up) = size, spacing, origin
        return cls(
            (int(i), int(j), int(k)),
            (float(x), float(y), float(z)),
            (float(left), float(back), float(up)),
            tuple(float(cosine) for cosine in direction),
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Array shape (z, y, x)."""
        return self.size[::-1]

    @cached_property
    def axes(self) -> np.ndarray:
        """3 x 3 direction matrix."""
        return np.asarray(self.direction, float).reshape(3, 3)

    @cached_property
    def matrix(self) -> np.ndarray:
        """4 x 4 matrix from index (i, j, k) to LPS mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.axes * np.asarray(self.spacing)
        matrix[:3, 3] = self.origin
        return matrix

    @cached_property
    def inverse_matrix(self) -> np.ndarray:
        """4 x 4 matrix from LPS mm to index (i, j, k)."""
        return np.linalg.inv(self.matrix)

    def to_physical(self, index: ArrayLike) -> np.ndarray:
        """Index (..., 3) in (i, j, k) order to LPS mm (..., 3)."""
        return apply_affine(self.matrix, index)

    def to_index(self, points: ArrayLike) -> np.ndarray:
        """LPS mm (..., 3) to continuous index (..., 3) in (i, j, k) order."""
        return apply_affine(self.inverse_matrix, points)

    def contains(self, points: ArrayLike) -> np.ndarray:
        """True where LPS points (..., 3) lie inside the image, half a voxel around the outer centres
        included.
        """
        index = self.to_index(points)
        return np.all((index >= -0.5) & (index <= np.asarray(self.size) - 0.5), axis=-1)

    def points(self) -> np.ndarray:
        """LPS mm of all voxel centres, (z, y, x, 3) float64."""
        axes = [np.arange(n, dtype=float) for n in self.shape]
        k, j, i = np.meshgrid(*axes, indexing="ij", sparse=True)
        m = self.matrix
        return np.stack([m[r, 0] * i + m[r, 1] * j + m[r, 2] * k + m[r, 3] for r in range(3)], axis=-1)

    def corners(self) -> np.ndarray:
        """LPS mm of the eight outer corners (voxel faces, not centres), (8, 3)."""
        low, high = np.full(3, -0.5), np.asarray(self.size) - 0.5
        ends = np.stack([low, high])
        index = np.array(
            [[ends[a, 0], ends[b, 1], ends[c, 2]] for a in (0, 1) for b in (0, 1) for c in (0, 1)]
        )
        return self.to_physical(index)

    @property
    def center(self) -> np.ndarray:
        """LPS mm of the middle of the grid."""
        return self.to_physical((np.asarray(self.size) - 1) / 2)

    @property
    def extent(self) -> np.ndarray:
        """Edge lengths of the image in mm along x, y, z of its own axes."""
        return np.asarray(self.size) * np.asarray(self.spacing)

    def matches(self, other: Grid, tolerance: float = 1e-3) -> bool:
        """True where both grids have the same size and no corner is apart by more than `tolerance` voxels."""
        if self.size != other.size:
            return False
        apart = np.abs(self.corners() - other.corners()).max()
        return bool(apart <= tolerance * min(self.spacing))

    def upright(self) -> Grid:
        """The same voxels with the index axes ordered and flipped to lie as near to L, P and S as can be."""
        remaining, order = [0, 1, 2], []
        for physical in (2, 1, 0):
            order.append(max(remaining, key=lambda axis: abs(self.axes[physical, axis])))
            remaining.remove(order[-1])
        order = order[::-1]
        signs = [1.0 if self.axes[physical, axis] >= 0 else -1.0 for physical, axis in enumerate(order)]
        first = np.zeros(3)
        for axis, sign in zip(order, signs, strict=True):
            first[axis] = 0 if sign > 0 else self.size[axis] - 1
        direction = self.axes[:, order] * signs
        x, y, z = order
        return Grid(
            (self.size[x], self.size[y], self.size[z]),
            (self.spacing[x], self.spacing[y], self.spacing[z]),
            tuple(self.to_physical(first).tolist()),
            tuple(direction.ravel().tolist()),
        )

    def resized(
        self, spacing: tuple[float, float, float], low_margin=(0, 0, 0), high_margin=(0, 0, 0)
    ) -> Grid:
        """A grid over the same box with another spacing (mm), extended by whole voxels at either end.

        The box of the result contains this grid's box; sizes that do not divide are rounded up, never
        stretched.
        """
        spacing_mm = np.asarray(spacing, float)
        inner = np.maximum(np.ceil(self.extent / spacing_mm - 1e-6).astype(int), 1)
        size = inner + np.asarray(low_margin, int) + np.asarray(high_margin, int)
        overhang = (inner * spacing_mm - self.extent) / 2
        first = spacing_mm / 2 - overhang - np.asarray(low_margin) * spacing_mm - np.asarray(self.spacing) / 2
        origin = np.asarray(self.origin) + self.axes @ first
        return Grid(tuple(size.tolist()), tuple(spacing_mm.tolist()), tuple(origin.tolist()), self.direction)


@dataclass(frozen=True)
class Volume:
    """A 3-D image: array (z, y, x), where its voxels are, and a name for messages.

    notes: sentences on how it was read that a reader of a result should know. acquisition: what the file says
    of how it was scanned.
    """

    array: np.ndarray
    grid: Grid
    name: str = "image"
    notes: tuple[str, ...] = ()
    acquisition: Acquisition = Acquisition()

    def __post_init__(self):
        if tuple(self.array.shape) != self.grid.shape:
            raise ValueError(
                f"Array of shape {self.array.shape} does not fit a grid of shape {self.grid.shape}"
            )


def apply_affine(matrix: np.ndarray, points: ArrayLike) -> np.ndarray:
    """4 x 4 matrix applied to points (..., 3)."""
    points = np.asarray(points, float)
    return points @ matrix[:3, :3].T + matrix[:3, 3]
