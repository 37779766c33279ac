"""Where voxels and points are: MRML works in RAS, the worker and its files in LPS; all lengths in mm.

A grid is the dict of the worker's messages: size (x, y, z), spacing (mm), origin (LPS mm of the first voxel's
centre) and direction (9 cosines in row order, LPS; column j is the direction of index axis j).
"""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import vtk_to_numpy

RAS_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Cosine between axes up to which they count as perpendicular: 0.05 mm over a scan of 500 mm.
LARGEST_SKEW = 1e-4
# Points along each axis at which a transform that is not linear is looked at.
LATTICE = 25


def pointsToLps(points: np.ndarray) -> np.ndarray:
    """RAS points or vectors (..., 3) in LPS, as a new float array."""
    return np.asarray(points, float) * (-1.0, -1.0, 1.0)


def pointsToRas(points: np.ndarray) -> np.ndarray:
    """LPS points or vectors (..., 3) in RAS, as a new float array."""
    return pointsToLps(points)


def ijkToWorld(volumeNode: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """4 x 4 matrix from voxel index (i, j, k) to world RAS mm, linear parent transforms included.

    Raises ValueError where a parent transform is not linear: no matrix can tell where the voxels are.
    """
    if not isLinearlyPlaced(volumeNode):
        raise ValueError(f"'{volumeNode.GetName()}' stands under a transform that is not linear")
    ijkToRas = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(ijkToRas)
    matrix = slicer.util.arrayFromVTKMatrix(ijkToRas)
    if parent := volumeNode.GetParentTransformNode():
        toWorld = vtk.vtkMatrix4x4()
        parent.GetMatrixTransformToWorld(toWorld)
        matrix = slicer.util.arrayFromVTKMatrix(toWorld) @ matrix
    return matrix


def isLinearlyPlaced(node: slicer.vtkMRMLTransformableNode) -> bool:
    """True where every parent transform of the node, if it has any, is linear."""
    parent = node.GetParentTransformNode()
    return parent is None or bool(parent.IsTransformToWorldLinear())


def isRegularlyPlaced(volumeNode: slicer.vtkMRMLVolumeNode) -> bool:
    """True where the voxels lie on perpendicular axes in the world, so that spacing, origin and direction
    describe them; False under a shear or a transform that is not linear.
    """
    if not isLinearlyPlaced(volumeNode):
        return False
    axes = ijkToWorld(volumeNode)[:3, :3]
    axes = axes / np.linalg.norm(axes, axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() <= LARGEST_SKEW)


def standsUnder(node: slicer.vtkMRMLTransformableNode, transformNode: slicer.vtkMRMLTransformNode) -> bool:
    """True where the transform is among the parents of the node."""
    parent = node.GetParentTransformNode()
    return parent is not None and (parent is transformNode or standsUnder(parent, transformNode))


def gridFromMatrix(ijkToRas: np.ndarray, dimensions: tuple[int, int, int]) -> dict:
    """The LPS grid, as the worker's messages have it, of `dimensions` (x, y, z) voxels that a 4 x 4 matrix
    places in RAS.
    """
    matrix = RAS_LPS @ np.asarray(ijkToRas, float)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    return {
        "size": [int(n) for n in dimensions],
        "spacing": spacing.tolist(),
        "origin": matrix[:3, 3].tolist(),
        "direction": (matrix[:3, :3] / spacing).ravel().tolist(),
    }


def matrixFromGrid(grid: dict) -> np.ndarray:
    """4 x 4 matrix from voxel index (i, j, k) to RAS mm of an LPS grid of the worker's messages."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(grid["direction"], (3, 3)) * np.asarray(grid["spacing"])
    matrix[:3, 3] = grid["origin"]
    return RAS_LPS @ matrix


def applyMatrix(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """4 x 4 matrix applied to points (..., 3)."""
    return np.asarray(points, float) @ matrix[:3, :3].T + matrix[:3, 3]


def volumeToWorld(volumeNode: slicer.vtkMRMLVolumeNode) -> vtk.vtkAbstractTransform:
    """The map from voxel index (i, j, k) to world RAS mm; a vtkLinearTransform where the parents are."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return placed(matrix, volumeNode)


def placed(indexToLocal: vtk.vtkMatrix4x4, node: slicer.vtkMRMLTransformableNode) -> vtk.vtkAbstractTransform:
    """A node's map from index to its own coordinates (RAS mm), followed by its parent transforms."""
    parent = node.GetParentTransformNode()
    if isLinearlyPlaced(node):
        toWorld = vtk.vtkTransform()
        toWorld.SetMatrix(indexToLocal)
        if parent:
            matrix = vtk.vtkMatrix4x4()
            parent.GetMatrixTransformToWorld(matrix)
            toWorld.PostMultiply()
            toWorld.Concatenate(matrix)
        return toWorld
    toWorld, parents = vtk.vtkGeneralTransform(), vtk.vtkGeneralTransform()
    parent.GetTransformToWorld(parents)
    toWorld.PostMultiply()
    toWorld.Concatenate(indexToLocal)
    toWorld.Concatenate(parents)
    return toWorld


def mapPoints(transform: vtk.vtkAbstractTransform, points: np.ndarray) -> np.ndarray:
    """The transform applied to points (N, 3), as a new array."""
    given, mapped = vtk.vtkPoints(), vtk.vtkPoints()
    for item in (given, mapped):
        item.SetDataTypeToDouble()
    given.SetNumberOfPoints(len(points))
    vtk_to_numpy(given.GetData())[:] = points
    transform.TransformPoints(given, mapped)
    return vtk_to_numpy(mapped.GetData()).copy()


def lattice(low: np.ndarray, high: np.ndarray, count: int = LATTICE) -> np.ndarray:
    """Points (count^3, 3) that fill a box evenly, its faces included."""
    axes = [np.linspace(a, b, count) for a, b in zip(low, high, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def affineFit(points: np.ndarray, mapped: np.ndarray) -> np.ndarray:
    """The 4 x 4 matrix that takes points (N, 3) closest to others."""
    matrix = np.eye(4)
    matrix[:3] = np.linalg.lstsq(np.c_[points, np.ones(len(points))], mapped, rcond=None)[0].T
    return matrix
