"""Arrays of the worker as VTK objects: images, and displacement fields as transforms."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

from GLIDERegLib.scene.mrml.geometry import RAS_LPS, matrixFromGrid

# As the library's own inverse has it (`registration.field`).
INVERSE_TOLERANCE_MM = 1e-3
LPS_SIGNS = RAS_LPS.diagonal()[:3].astype(np.float32)


def _newImage(shape: tuple[int, ...], dtype: np.dtype | type) -> tuple[vtk.vtkImageData, np.ndarray]:
    """An image of unit spacing, and its own memory as an array of the shape: (z, y, x) or (z, y, x, 3)."""
    image = vtk.vtkImageData()
    image.SetDimensions(shape[2::-1])
    image.AllocateScalars(get_vtk_array_type(dtype), shape[3] if len(shape) > 3 else 1)
    return image, vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape)


def imageOf(voxels: np.ndarray) -> vtk.vtkImageData:
    """A copy of an array (z, y, x) as an image of unit spacing."""
    image, values = _newImage(voxels.shape, voxels.dtype)
    np.copyto(values, voxels)
    return image


def gridTransform(vectors: np.ndarray, grid: dict) -> slicer.vtkOrientedGridTransform:
    """The map x + u(x) of world RAS points, mm: u (z, y, x, 3) in LPS mm on an LPS grid, cubic between nodes.

    Beyond its outermost nodes u continues with the value at the border.
    """
    matrix = matrixFromGrid(grid)
    image, values = _newImage(vectors.shape, np.float32)
    np.multiply(vectors, LPS_SIGNS, out=values)
    image.SetOrigin(matrix[:3, 3])
    image.SetSpacing(grid["spacing"])
    direction = np.eye(4)
    direction[:3, :3] = matrix[:3, :3] / grid["spacing"]
    transform = slicer.vtkOrientedGridTransform()
    transform.SetDisplacementGridData(image)
    transform.SetGridDirectionMatrix(slicer.util.vtkMatrixFromArray(direction))
    # Slicer reads grid transforms from files with cubic interpolation: saving must not change the map.
    transform.SetInterpolationModeToCubic()
    transform.SetInverseTolerance(INVERSE_TOLERANCE_MM)
    return transform
