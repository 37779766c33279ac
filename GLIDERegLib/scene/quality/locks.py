"""Hashes of two scans and a transform as they lie in the scene, for a record of their review.

They stay the same when a scene is saved and loaded, which a file's bytes do not, and when a node is renamed
or shown otherwise.
"""

from __future__ import annotations

import hashlib

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from GLIDERegLib.evaluation.record.locking import IN_SCENE
from GLIDERegLib.scene.mrml.geometry import lattice, mapPoints, volumeToWorld
from GLIDERegLib.scene.mrml.sampling import quietVtk
from GLIDERegLib.scene.registration.pair import Pair

# Positions count in steps of 0.1 µm, from an odd place: no position that a scanner writes lies where rounding
# could go either way, and files round to less.
STEP_MM, ODD = 1e-4, 1 / np.pi
# Points along each axis of the fixed scan, where a transform is no grid and no matrix.
LATTICE = 21
# The last hash of each node, with what tells that it is as it was.
_known: dict[str, tuple[tuple, str]] = {}


def locks(pair: Pair) -> dict[str, str]:
    """SHA-256 of the "fixed" and the "moving" scan (voxels and where they lie) and of the "transform"."""
    return {
        "fixed": _once(
            pair.fixed, lambda: _scan(pair.fixed, _corners(volumeToWorld(pair.fixed), pair.fixed))
        ),
        "moving": _once(pair.moving, lambda: _scan(pair.moving, _movingCorners(pair))),
        "transform": transformLock(pair),
    }


def transformLock(pair: Pair) -> str:
    """SHA-256 of the map from fixed to moving points; the way between a grid's nodes does not count."""
    return _once(pair.transform, lambda: _transform(pair), pair.fixed)


def _once(node: slicer.vtkMRMLTransformableNode, compute, *alsoOf) -> str:
    """The hash, computed anew only where the node, its data or its parents have changed."""
    times = [node.GetMTime()]
    for one in (node, *alsoOf):
        if one.IsA("vtkMRMLVolumeNode"):
            times += [one.GetImageData().GetMTime(), one.GetMTime()]
        if one.IsA("vtkMRMLTransformNode"):
            times.append(one.GetTransformToWorldMTime())
        if parent := one.GetParentTransformNode():
            times.append(parent.GetTransformToWorldMTime())
    # VTK counts the times of all objects together.
    if _known.get(node.GetID(), ((), ""))[0] != (key := tuple(times)):
        _known[node.GetID()] = key, f"{IN_SCENE}{compute()}"
    return _known[node.GetID()][1]


def _scan(volume: slicer.vtkMRMLScalarVolumeNode, corners: np.ndarray) -> str:
    array = slicer.util.arrayFromVolume(volume)
    return _hash(f"scan {array.shape} {array.dtype.name}", _steps(corners), array)


def _transform(pair: Pair) -> str:
    stored = pair.transform.GetTransformFromParent()
    isGrid = stored is not None and stored.IsA("vtkOrientedGridTransform")
    if isGrid and pair.transform.GetParentTransformNode() is None:
        stored.Update()  # only then does it know whether it is an inverse
        if not stored.GetInverseFlag():
            return _grid(stored)
    with quietVtk():
        return _hash("map", _steps(_corners(_through(pair), pair.fixed, LATTICE)))


def _grid(stored: slicer.vtkOrientedGridTransform) -> str:
    image, direction = stored.GetDisplacementGrid(), vtk.vtkMatrix4x4()
    direction.DeepCopy(stored.GetGridDirectionMatrix())
    where = np.concatenate(
        [image.GetOrigin(), image.GetSpacing(), slicer.util.arrayFromVTKMatrix(direction).ravel()]
    )
    vectors = vtk_to_numpy(image.GetPointData().GetScalars()).astype(np.float32)
    vectors = vectors * np.float32(stored.GetDisplacementScale()) + np.float32(stored.GetDisplacementShift())
    # -0 and 0 are one displacement.
    return _hash(f"grid {image.GetDimensions()}", _steps(where), vectors + np.float32(0))


def _through(pair: Pair) -> vtk.vtkGeneralTransform:
    result = vtk.vtkGeneralTransform()
    result.PostMultiply()
    result.Concatenate(volumeToWorld(pair.fixed))
    result.Concatenate(pair.toMoving())
    return result


def _movingCorners(pair: Pair) -> np.ndarray:
    """Where the moving scan lies unwarped, also below the transform itself."""
    toRas = vtk.vtkMatrix4x4()
    pair.moving.GetIJKToRASMatrix(toRas)
    placement = vtk.vtkGeneralTransform()
    placement.PostMultiply()
    placement.Concatenate(toRas)
    placement.Concatenate(pair.placement(pair.moving))
    return _corners(placement, pair.moving)


def _corners(fromIndex, volume: slicer.vtkMRMLScalarVolumeNode, count: int = 3) -> np.ndarray:
    """Points of the volume's box through a map from its voxel index."""
    last = np.asarray(volume.GetImageData().GetDimensions()) - 1.0
    return mapPoints(fromIndex, lattice(np.zeros(3), last, count))


def _steps(values: np.ndarray) -> np.ndarray:
    return np.floor(np.asarray(values, float) / STEP_MM + ODD).astype(np.int64)


def _hash(kind: str, *arrays: np.ndarray) -> str:
    digest = hashlib.sha256(kind.encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return digest.hexdigest()
