"""Hashes of two scans and a transform as they lie in the scene, for a record of their review.

They stay the same when a scene is saved and loaded, which a file's bytes do not, and when a node is renamed
or shown otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator

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
# A choice: some milliseconds.
PIECE_BYTES = 1 << 23
# The last hash of each node, with what tells that it is as it was.
_known: dict[str, tuple[tuple, str]] = {}


def locks(pair: Pair) -> dict[str, str]:
    """SHA-256 of the "fixed" and the "moving" scan (voxels and where they lie) and of the "transform"."""
    for _ in locking(pair):
        pass
    return {
        "fixed": _known[pair.fixed.GetID()][1],
        "moving": _known[pair.moving.GetID()][1],
        "transform": transformLock(pair),
    }


def locking(pair: Pair) -> Iterator[None]:
    """Computes what `locks` returns piece by piece, so that Slicer can go on meanwhile; no step where nothing
    has changed since the last time.

    On a processor without instructions for SHA-256 two scans of 512 x 512 x 300 voxels take 0.6 s.
    """
    for volume, corners in (
        (pair.fixed, lambda: _corners(volumeToWorld(pair.fixed), pair.fixed)),
        (pair.moving, lambda: _movingCorners(pair)),
    ):
        while not _isKnown(volume, key := _times(volume)):
            digest = yield from _scan(volume, corners())
            # A scan that was changed meanwhile is read again.
            if key == _times(volume):
                _known[volume.GetID()] = key, f"{IN_SCENE}{digest}"


def transformLock(pair: Pair) -> str:
    """SHA-256 of the map from fixed to moving points; the way between a grid's nodes does not count."""
    node, key = pair.transform, _times(pair.transform, pair.fixed)
    if not _isKnown(node, key):
        _known[node.GetID()] = key, f"{IN_SCENE}{_transform(pair)}"
    return _known[node.GetID()][1]


def _isKnown(node: slicer.vtkMRMLTransformableNode, key: tuple) -> bool:
    return _known.get(node.GetID(), ((), ""))[0] == key


def _times(*nodes: slicer.vtkMRMLTransformableNode) -> tuple:
    """Tells whether the first node, or the data or the parents of any, have changed: VTK counts the times of
    all objects together.
    """
    times = [nodes[0].GetMTime()]
    for one in nodes:
        if one.IsA("vtkMRMLVolumeNode"):
            times += [one.GetImageData().GetMTime(), one.GetMTime()]
        if one.IsA("vtkMRMLTransformNode"):
            times.append(one.GetTransformToWorldMTime())
        if parent := one.GetParentTransformNode():
            times.append(parent.GetTransformToWorldMTime())
    return tuple(times)


def _scan(volume: slicer.vtkMRMLScalarVolumeNode, corners: np.ndarray) -> Generator[None, None, str]:
    array = slicer.util.arrayFromVolume(volume)
    digest = hashlib.sha256(f"scan {array.shape} {array.dtype.name}".encode())
    digest.update(_bytes(_steps(corners)))
    for start in range(0, array.nbytes, PIECE_BYTES):
        # Asked for anew: between two pieces the scene may have given its memory away.
        digest.update(_bytes(slicer.util.arrayFromVolume(volume))[start : start + PIECE_BYTES])
        yield
    return digest.hexdigest()


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
        digest.update(_bytes(array))
    return digest.hexdigest()


def _bytes(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
