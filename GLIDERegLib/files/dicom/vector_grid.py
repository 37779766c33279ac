"""The grid of vectors inside a Deformable Spatial Registration: its tags, and the grid to write a map on."""

from __future__ import annotations

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.valuerep import format_number_as_ds

from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.files.dicom.geometry import TURNED

# mm between vectors: what other systems take (300 mm at 1 mm would be 324 MB), finer only for a field's own
# nodes; the finest of STEPS whose vectors stay below LARGEST bytes, a judgement.
STEPS, FINEST = (2.0, 2.5, 3.0), 1.5
LARGEST = 100e6
VECTOR_BYTES = 12  # three float32


def read_grid(item: pydicom.Dataset, named: str, swapped: bool) -> tuple[np.ndarray, Grid, list[str]]:
    """Vectors (z, y, x, 3) float64 in mm, their grid (LPS mm), and sentences on what was filled in.

    Undefined vectors (NaN) become those of the nearest node that has one. swapped: the bytes are big-endian.
    Raises InputError where the tags do not describe one right-handed orthonormal grid of finite vectors.
    """
    size = tuple(int(value) for value in item.GridDimensions)
    spacing = tuple(float(value) for value in item.GridResolution)
    position = tuple(float(value) for value in item.ImagePositionPatient)
    cosines = np.array([float(value) for value in item.ImageOrientationPatient])
    if (len(size), len(spacing), len(position), len(cosines)) != (3, 3, 3, 6) or min(size) < 1:
        raise _refused(f"{named} describes its grid with a wrong count of numbers")
    if not np.isfinite([*spacing, *position, *cosines]).all() or not min(spacing) > 0:
        raise _refused(f"{named} has a grid with a spacing or place that is not possible")
    row, column = cosines.reshape(2, 3)
    lengths = np.linalg.norm([row, column], axis=1)
    if np.abs(lengths - 1).max() > TURNED or abs(row @ column) > TURNED:
        raise _refused(
            f"{named} has a grid whose directions are not of length 1 and perpendicular (lengths "
            f"{lengths[0]:.3f} and {lengths[1]:.3f}, product {row @ column:.3f})"
        )
    data = item.VectorGridData
    if len(data) != VECTOR_BYTES * int(np.prod(size, dtype=np.int64)):
        raise _refused(
            f"{named} has {counted(len(data), 'byte')} of vectors, not the {VECTOR_BYTES} x "
            f"{size[0]} x {size[1]} x {size[2]} of its grid"
        )
    vectors = np.frombuffer(data, ">f4" if swapped else "<f4").reshape(*size[::-1], 3).astype(np.float64)
    vectors, notes = _defined(vectors, named)
    axes = np.column_stack([row, column, np.cross(row, column)])
    return vectors, Grid.of(size, spacing, position, axes.ravel()), notes


def grid_item(vectors: np.ndarray, grid: Grid) -> pydicom.Dataset:
    """The item of a Deformable Registration Grid Sequence: vectors (z, y, x, 3) in mm on their grid, LPS.

    ImagePositionPatient is the centre of the first vector; x varies fastest. Raises ValueError for a grid
    that the tags cannot describe.
    """
    if np.linalg.det(grid.axes) < 0 or vectors.shape != (*grid.shape, 3):
        raise ValueError("the depth of a grid is the cross product of its row and column")
    item = pydicom.Dataset()
    item.ImagePositionPatient = decimals(grid.origin)
    item.ImageOrientationPatient = decimals(grid.axes[:, :2].T.ravel())
    item.GridDimensions = [int(n) for n in grid.size]
    item.GridResolution = [float(s) for s in grid.spacing]
    item.VectorGridData = np.ascontiguousarray(vectors, "<f4").tobytes()
    return item


def decimals(values) -> list[str]:
    """Numbers as decimal strings, as exact as 16 letters allow."""
    return [format_number_as_ds(float(value)) for value in values]


def field_transform(vectors: np.ndarray, grid: Grid) -> sitk.DisplacementFieldTransform:
    """ITK's transform of displacements (z, y, x, 3) in mm."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(vectors, np.float64), isVector=True)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    return sitk.DisplacementFieldTransform(image)


def sampled(transform: sitk.Transform, grid: Grid) -> np.ndarray:
    """The transform's displacements (z, y, x, 3), mm, at the nodes of a grid."""
    image = sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat64, grid.size, grid.origin, grid.spacing, grid.direction
    )
    return sitk.GetArrayFromImage(image)


def grid_for(scan: Grid, own: Grid | None) -> Grid:
    """The grid to write a map of the scan's points on: along the patient's axes, 2 to 3 mm, over the scan.

    own: the nodes of a displacement field that is all the map. Where they run along the patient's axes they,
    or they and nodes between them, are taken, so that nothing is lost.
    """
    corners = scan.corners()
    if own is not None and np.allclose((upright := own.upright()).axes, np.eye(3), atol=1e-6):
        between = [int(np.ceil(s / STEPS[-1] - 1e-6)) for s in upright.spacing]
        index = upright.to_index(corners)
        low = np.clip(np.floor(index.min(axis=0)), 0, np.asarray(upright.size) - 1).astype(int)
        high = np.clip(np.ceil(index.max(axis=0)), 0, np.asarray(upright.size) - 1).astype(int)
        size = tuple(int(n) for n in (high - low) * between + 1)
        spacing = tuple(np.divide(upright.spacing, between).tolist())
        if min(spacing) >= FINEST and _bytes(size) <= LARGEST:
            return Grid.of(size, spacing, upright.to_physical(low))
    low, high = corners.min(axis=0), corners.max(axis=0)
    for step in STEPS:
        cells = np.maximum(np.ceil((high - low) / step - 1e-6), 1)
        size = tuple(int(n) + 1 for n in cells)
        if _bytes(size) <= LARGEST:
            break
    first = (low + high - cells * step) / 2
    return Grid.of(size, (step,) * 3, first)


def _bytes(size: tuple[int, ...]) -> int:
    return VECTOR_BYTES * int(np.prod(size, dtype=np.int64))


def _defined(vectors: np.ndarray, named: str) -> tuple[np.ndarray, list[str]]:
    undefined = ~np.isfinite(vectors).all(axis=-1)
    if not undefined.any():
        return vectors, []
    if undefined.all():
        raise _refused(f"{named} has no defined vector")
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(undefined, return_distances=False, return_indices=True)
    share = 100 * undefined.mean()
    return vectors[tuple(nearest)], [
        f"{share:.1f} % of the object's vectors are undefined; there the nearest defined vector was taken."
    ]


def _refused(message: str) -> InputError:
    return InputError(f"{message}.", "Export the registration again.", code="dicom-tags")
