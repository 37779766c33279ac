"""Step 7: the result, a displacement field in mm that knows where it is.

torch is loaded by what needs it: files and points are read and written sooner without.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.geometry import Grid, apply_affine, triple
from GLIDERegLib.registration.backends import backend_for

# A choice, far below a voxel; where the iteration does not contract it ends after so many, its residual told.
INVERSE_TOLERANCE_MM = 1e-3
INVERSE_ITERATIONS = 100
LONGEST_FADE = 40  # nodes
# Slices at a time, for memory's sake.
SLAB = 32


@dataclass
class DisplacementField:
    """A map from fixed to moving points (LPS mm): x + u(x), u trilinear between nodes.

    vectors: u at the nodes, (z, y, x, 3) float32 mm, components x, y, z. grid: the nodes. background: 4 x 4
    matrix of the linear map that continues the field beyond its grid; the identity unless told. residual_mm:
    of an inverse, its largest distance from the exact inverse; None otherwise.
    """

    vectors: np.ndarray
    grid: Grid
    background: np.ndarray = field(default_factory=lambda: np.eye(4))
    residual_mm: float | None = None

    @classmethod
    def of_transform(cls, transform: sitk.Transform, grid: Grid) -> DisplacementField:
        """Any SimpleITK transform sampled on a grid."""
        image = sitk.TransformToDisplacementField(
            transform, sitk.sitkVectorFloat64, grid.size, grid.origin, grid.spacing, grid.direction
        )
        return cls(sitk.GetArrayFromImage(image).astype(np.float32), grid)

    def at(self, points: np.ndarray) -> np.ndarray:
        """Displacement (..., 3) in mm at LPS points (..., 3); beyond the grid that of the background."""
        points = np.asarray(points, float)
        background = apply_affine(self.background, points) - points
        inside = self._interpolate(self.vectors, points)
        # In the outer half voxel it is the part beside the background that stays constant, as in `to_sitk`.
        last = np.asarray(self.grid.size) - 1
        nearest = self.grid.to_physical(np.clip(self.grid.to_index(points), 0, last))
        inside = inside + (points - nearest) @ (self.background[:3, :3] - np.eye(3)).T
        return np.where(self.grid.contains(points)[..., None], inside, background)

    def transform_points(self, points: np.ndarray) -> np.ndarray:
        """Fixed points (..., 3) to moving points, LPS mm."""
        return np.asarray(points, float) + self.at(points)

    def _interpolate(self, vectors: np.ndarray, points: np.ndarray) -> np.ndarray:
        import torch

        from GLIDERegLib.registration.sampling import sample

        index = np.moveaxis(self.grid.to_index(points), -1, 0).astype(np.float32)
        image = torch.from_numpy(np.moveaxis(vectors, -1, 0).astype(np.float32))
        return np.moveaxis(sample(image, torch.from_numpy(index)).numpy(), 0, -1)

    def beyond_background(self) -> np.ndarray:
        """w (z, y, x, 3) such that x + u(x) = background(x + w(x)) at the nodes, mm."""
        points = self.grid.points()
        return apply_affine(np.linalg.inv(self.background), points + self.vectors) - points

    def inverse(self, grid: Grid | None = None) -> DisplacementField:
        """The map from moving to fixed points, by fixed-point iteration v = -w(background^-1(y) + v) (Chen et
        al., 2008).

        grid: where it is wanted, in moving space; by default over all points this field reaches, at its own
        spacing.
        """
        import torch

        linear = np.linalg.inv(self.background)
        grid = grid or self._reached()
        # In index units of this field and in single precision an iteration is quick.
        to_index = self.grid.inverse_matrix
        deformation = (self.beyond_background() @ to_index[:3, :3].T).astype(np.float32)
        start = apply_affine(to_index @ linear, grid.points()).astype(np.float32)
        offset, largest = backend_for(torch.device("cpu")).inverted(
            torch.from_numpy(np.ascontiguousarray(deformation)),
            torch.from_numpy(start),
            torch.tensor(self.grid.spacing, dtype=torch.float32),
            INVERSE_TOLERANCE_MM,
            INVERSE_ITERATIONS,
        )
        vectors = apply_affine(self.grid.matrix, start + offset.numpy()) - grid.points()
        return DisplacementField(vectors.astype(np.float32), grid, linear, largest)

    def faded(self) -> DisplacementField:
        """The field on a larger grid, at whose faces it has gone smoothly to zero, slowly enough not to fold.

        ITK ends a field with a jump to the background, 3D Slicer continues its border value; at zero both
        agree.
        """
        border = [self.vectors.take([0, -1], axis=axis) for axis in range(3)]
        largest = max(float(np.linalg.norm(face, axis=-1).max()) for face in border)
        # The slope of a raised cosine of width 2 a is pi / 4 of a over its width: well below one.
        width = min(int(np.ceil(2 * largest / min(self.grid.spacing))), LONGEST_FADE) + 1
        vectors = np.pad(self.vectors, [(width, width)] * 3 + [(0, 0)], mode="edge")
        for axis in range(3):
            ramp = np.ones(vectors.shape[axis], np.float32)
            rise = 0.5 - 0.5 * np.cos(np.pi * np.arange(width) / width)
            ramp[:width], ramp[-width:] = rise, rise[::-1]
            vectors *= ramp.reshape([-1 if a == axis else 1 for a in range(4)])
        grid = self.grid.resized(self.grid.spacing, (width,) * 3, (width,) * 3)
        return DisplacementField(vectors, grid, self.background)

    def subdivided(self, spacing: float, most: int) -> DisplacementField:
        """The same field on nodes at most `spacing` mm apart, or `most` times as many along an axis; the
        present nodes are among them.
        """
        import torch
        import torch.nn.functional as F

        ratio = [min(most, max(1, int(np.ceil(s / spacing - 1e-6)))) for s in self.grid.spacing]
        size = triple((n - 1) * r + 1 for n, r in zip(self.grid.size, ratio, strict=True))
        grid = Grid.of(size, np.divide(self.grid.spacing, ratio), self.grid.origin, self.grid.direction)
        vectors = torch.from_numpy(np.moveaxis(self.vectors, -1, 0))[None]
        between = F.interpolate(vectors, size[::-1], mode="trilinear", align_corners=True)[0]
        return DisplacementField(np.moveaxis(between.numpy(), 0, -1), grid, self.background, self.residual_mm)

    def _reached(self) -> Grid:
        """A grid of this field's axes and spacing over all points that its nodes go to."""
        index = self.grid.to_index(self.grid.points() + self.vectors).reshape(-1, 3)
        low = np.floor(index.min(axis=0)).astype(int)
        size = np.ceil(index.max(axis=0)).astype(int) - low + 1
        origin = self.grid.to_physical(low)
        return Grid.of(size, self.grid.spacing, origin, self.grid.direction)

    def jacobian_determinant(self) -> np.ndarray:
        """Determinant of d(x + u)/dx at the nodes, (z, y, x); not positive where the field folds."""
        return jacobian_determinant(self.vectors, self.grid)

    def to_sitk(self) -> sitk.Transform:
        """An ITK transform of the same map: the background after a displacement field, or the field alone."""
        if np.allclose(self.background, np.eye(4), atol=1e-12):
            return self._to_field_transform(self.vectors)
        affine = sitk.AffineTransform(3)
        affine.SetMatrix(self.background[:3, :3].ravel().tolist())
        affine.SetTranslation(self.background[:3, 3].tolist())
        return sitk.CompositeTransform([affine, self._to_field_transform(self.beyond_background())])

    def _to_field_transform(self, vectors: np.ndarray) -> sitk.DisplacementFieldTransform:
        image = sitk.GetImageFromArray(np.ascontiguousarray(vectors, dtype=np.float64), isVector=True)
        image.SetSpacing(self.grid.spacing)
        image.SetOrigin(self.grid.origin)
        image.SetDirection(self.grid.direction)
        return sitk.DisplacementFieldTransform(image)


def jacobian_determinant(vectors: np.ndarray, grid: Grid) -> np.ndarray:
    """Determinant of d(x + u)/dx for displacements u (z, y, x, 3) in mm on a grid; (z, y, x) float32.

    Central differences inside, one-sided ones at the faces, in physical space: whatever the grid's direction
    and spacing, an affine u gives its exact determinant.
    """
    if vectors.shape != (*grid.shape, 3):
        raise ValueError(f"A field of shape {vectors.shape} does not fit a grid of shape {grid.shape}.")
    determinant = np.empty(grid.shape, np.float32)
    to_physical_axes = np.linalg.inv(grid.axes)
    # Slabs with one slice of overlap keep nine derivatives of a large field out of memory.
    for first in range(0, grid.shape[0], SLAB):
        last = min(first + SLAB, grid.shape[0])
        low, high = max(first - 1, 0), min(last + 1, grid.shape[0])
        slab = np.asarray(vectors[low:high], float)
        along_index = np.stack([_derivative(slab, 2 - a, grid.spacing[a]) for a in range(3)], axis=-1)
        # Chain rule: derivatives along the index axes, times the inverse direction, are those along x, y, z.
        jacobian = (along_index @ to_physical_axes)[first - low : last - low] + np.eye(3)
        a, b, c = jacobian[..., 0], jacobian[..., 1], jacobian[..., 2]
        determinant[first:last] = np.sum(a * np.cross(b, c), axis=-1)
    return determinant


def _derivative(values: np.ndarray, axis: int, spacing: float) -> np.ndarray:
    """Central differences, one-sided at the faces; zero along an axis with a single voxel."""
    return np.gradient(values, spacing, axis=axis) if values.shape[axis] > 1 else np.zeros_like(values)
