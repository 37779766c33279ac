"""Scans of other sizes: every length of the method is meant for a person's chest.

An animal of 20 mm registered with cells of 8 mm is lost. Such a scan is registered as though it were as large
as a chest, and the result is brought back to its own size: all that is written in mm then fits by itself.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.core.size import magnification
from GLIDERegLib.registration.field import DisplacementField


def note(grid: Grid) -> str | None:
    """A sentence for a person about an image that is not of a person's size."""
    if magnification(grid) == 1.0:
        return None
    size = " x ".join(f"{length:.3g}" for length in grid.extent)
    return (
        f"The fixed image is {size} mm large: lengths meant for a chest (working resolution, search range) "
        "were scaled to its size; check the unit of its header if that is not what was scanned."
    )


def enlarged(volume: Volume, factor: float) -> Volume:
    """The same voxels, farther apart."""
    if factor == 1:
        return volume
    return Volume(volume.array, enlarged_grid(volume.grid, factor), volume.name)


def enlarged_lengths(volume: Volume | None, factor: float) -> Volume | None:
    """A volume of lengths in mm between the enlarged images; None as it is."""
    if volume is None:
        return None
    return Volume(
        (volume.array * factor).astype(volume.array.dtype), enlarged_grid(volume.grid, factor), volume.name
    )


def enlarged_grid(grid: Grid, factor: float) -> Grid:
    """The same voxels `factor` times as far apart, and the origin as far from zero, LPS mm."""
    spacing, origin = (np.asarray(values) * factor for values in (grid.spacing, grid.origin))
    return Grid.of(grid.size, spacing, origin, grid.direction)


def enlarged_transform(transform: sitk.Transform, factor: float) -> sitk.Transform:
    """The transform between the enlarged images: x goes to factor * T(x / factor)."""
    down, up = (sitk.ScaleTransform(3, (value,) * 3) for value in (1 / factor, factor))
    if transform.IsLinear():
        offset = np.asarray(transform.TransformPoint((0.0, 0.0, 0.0)))
        columns = [np.asarray(transform.TransformPoint(tuple(axis))) - offset for axis in np.eye(3).tolist()]
        affine = sitk.AffineTransform(3)
        affine.SetMatrix(np.stack(columns, axis=1).ravel().tolist())
        affine.SetTranslation((offset * factor).tolist())
        return affine
    # The last of a composite acts first.
    return sitk.CompositeTransform([up, transform, down])


def enlarged_field(field: DisplacementField, factor: float) -> DisplacementField:
    """The field (mm) between the enlarged images, the linear map beyond it included."""
    background = field.background.copy()
    background[:3, 3] *= factor
    vectors = (field.vectors * factor).astype(field.vectors.dtype)
    return DisplacementField(vectors, enlarged_grid(field.grid, factor), background)
