"""From MRML nodes to the worker's input files, in world coordinates; the user's nodes are only read.

The worker knows no parent transforms, so each volume is written where it stands in the world. A linear parent
that keeps the axes perpendicular only changes the header. Under any other parent the volume is resampled.
"""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from GLIDERegLib.core.ct import AIR_LEVEL_HU
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.scene.mrml.geometry import (
    affineFit,
    gridFromMatrix,
    ijkToWorld,
    isRegularlyPlaced,
    lattice,
    mapPoints,
    matrixFromGrid,
    placed,
    standsUnder,
    volumeToWorld,
)
from GLIDERegLib.scene.mrml.nrrd import writeNrrd
from GLIDERegLib.scene.mrml.transforms import sampledTransform
from GLIDERegLib.scene.registration.checks import LABELMAP, looksLikeCt, visibleSegments, volumeProblem

# A transform that stretches a volume further than this is taken for a mistake, not for memory to fill.
LARGEST_GROWTH = 8


def writtenGrid(volumeNode: slicer.vtkMRMLVolumeNode) -> dict:
    """The LPS grid (see `scene.geometry`) on which `writeVolume` and `writeMask` write.

    It is the volume's own grid in the world where that has perpendicular axes. Else it lies along the
    volume's mean axes, has its mean spacing in the world and covers all of it.
    Raises InputError where a parent transform stretches the volume out of all proportion.
    """
    dimensions = volumeNode.GetImageData().GetDimensions()
    if isRegularlyPlaced(volumeNode):
        return gridFromMatrix(ijkToWorld(volumeNode), dimensions)
    index = lattice(np.full(3, -0.5), np.asarray(dimensions) - 0.5)
    world = mapPoints(volumeToWorld(volumeNode), index)
    axes = affineFit(index, world)[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    u, _, vt = np.linalg.svd(axes / spacing)
    along = world @ (u @ vt)
    size = np.ceil(np.ptp(along, axis=0) / spacing - 1e-6)
    if not np.prod(size) <= LARGEST_GROWTH * np.prod(dimensions, dtype=float):
        raise InputError(
            f"The transform above the volume '{volumeNode.GetName()}' stretches it out of all proportion.",
            "Check that transform, or take the volume out of it.",
            code="transform",
        )
    first = (along.min(axis=0) + along.max(axis=0) - (size - 1) * spacing) / 2
    matrix = np.eye(4)
    matrix[:3, :3] = (u @ vt) * spacing
    matrix[:3, 3] = (u @ vt) @ first
    return gridFromMatrix(matrix, size)


def writeVolume(volumeNode: slicer.vtkMRMLScalarVolumeNode, path: str | PathLike) -> None:
    """Writes the volume as an uncompressed NRRD file on `writtenGrid`, in its own scalar type.

    Voxels that a resampled volume does not reach are air (-1000 HU, in CT) or its minimum.
    Raises InputError for a volume that cannot be registered or a file that cannot be written.
    """
    if problem := volumeProblem(volumeNode):
        raise InputError(problem)
    array = slicer.util.arrayFromVolume(volumeNode)
    grid = writtenGrid(volumeNode)
    if not isRegularlyPlaced(volumeNode):
        fill = AIR_LEVEL_HU if looksLikeCt(volumeNode) else float(array.min())
        array = resliced(_wholeImage(volumeNode), volumeToWorld(volumeNode), grid, fill, linear=True)
    writeNrrd(array, grid, path)


def writeMask(
    maskNode: slicer.vtkMRMLSegmentationNode | slicer.vtkMRMLLabelMapVolumeNode,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    path: str | PathLike,
) -> int:
    """Writes the mask as uint8 NRRD (0 and 1) on the grid of the written volume, by nearest neighbour.

    The mask is the union of a segmentation's visible segments, or what is not zero in a label map, wherever
    it stands in the world. Returns the number of voxels within.
    Raises InputError where that is none, or for a file that cannot be written.
    """
    grid = writtenGrid(volumeNode)
    mask = np.zeros(grid["size"][::-1], bool)
    for image, toWorld, labels in _maskLayers(maskNode):
        layer = resliced(image, toWorld, grid, 0, linear=False)
        mask |= layer != 0 if labels is None else np.isin(layer, labels)
    count = int(np.count_nonzero(mask))
    if count == 0:
        raise InputError(
            f"The mask '{maskNode.GetName()}' holds no voxel of the volume '{volumeNode.GetName()}'.",
            "Show the segments to use, draw them on this volume, or leave the mask out.",
            code="mask",
        )
    writeNrrd(mask.view(np.uint8), grid, path)
    return count


def writeInitialTransform(
    transformNode: slicer.vtkMRMLTransformNode,
    movingVolumeNode: slicer.vtkMRMLScalarVolumeNode,
    path: str | PathLike,
) -> bool:
    """Writes the map from fixed to moving points (ITK file, LPS mm) that puts the moving volume where it
    would appear under the node; .h5 holds every kind, .tfm and .txt suit linear ones.

    A volume under a node T stands at T(p), so the file holds the inverse: T and its parents from the world.
    A linear T is exact. Any other becomes a linear part and a displacement grid over the moving volume,
    within 0.02 mm where memory allows it.
    Returns False, and writes nothing, where the moving volume stands under the node already: its written
    voxels have that position. Raises InputError for a file that cannot be written.
    """
    if standsUnder(movingVolumeNode, transformNode):
        return False
    _write(_resampled(transformNode, movingVolumeNode), path)
    return True


def writeTransform(
    transformNode: slicer.vtkMRMLTransformNode,
    movingVolumeNode: slicer.vtkMRMLScalarVolumeNode,
    path: str | PathLike,
) -> None:
    """Writes the map from fixed to moving world points that a node stands for, as `writeInitialTransform`,
    but a displacement grid stored from parent, such as a registration's result, on its own nodes.

    Raises InputError for a file that cannot be written.
    """
    stored = transformNode.GetTransformFromParent()
    isGrid = stored is not None and stored.IsA("vtkOrientedGridTransform")
    if isGrid:
        stored.Update()  # only then does it know whether it is an inverse
        isGrid = not stored.GetInverseFlag()
    if isGrid and transformNode.GetParentTransformNode() is None:
        written = slicer.vtkMRMLTransformNode()
        written.SetAndObserveTransformFromParent(stored)
    else:
        written = _resampled(transformNode, movingVolumeNode)
    _write(written, path)


def _resampled(
    transformNode: slicer.vtkMRMLTransformNode, movingVolumeNode: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLTransformNode:
    """The node's map from the world as one that ITK reads: linear, or linear and a displacement grid."""
    written = slicer.vtkMRMLTransformNode()
    if transformNode.IsTransformToWorldLinear():
        matrix = vtk.vtkMatrix4x4()
        transformNode.GetMatrixTransformFromWorld(matrix)
        written.SetMatrixTransformFromParent(matrix)
        return written
    fromWorld = vtk.vtkGeneralTransform()
    transformNode.GetTransformFromWorld(fromWorld)
    index = lattice(np.zeros(3), np.asarray(movingVolumeNode.GetImageData().GetDimensions()) - 1.0)
    world = mapPoints(volumeToWorld(movingVolumeNode), index)
    written.SetAndObserveTransformFromParent(sampledTransform(fromWorld, world))
    return written


def _write(transformNode: slicer.vtkMRMLTransformNode, path: str | PathLike) -> None:
    storage = slicer.vtkMRMLTransformStorageNode()
    storage.SetFileName(str(path))
    if not storage.WriteData(transformNode):
        raise InputError(
            f"Cannot write the temporary file '{path}'.", "Free space on that disk.", code="disk-full"
        )


def _maskLayers(
    maskNode: slicer.vtkMRMLTransformableNode,
) -> Iterator[tuple[vtk.vtkImageData, vtk.vtkAbstractTransform, list[int] | None]]:
    """Label images, the map of their index to the world, and the labels that count (None: all but zero)."""
    if not isinstance(maskNode, slicer.vtkMRMLSegmentationNode):
        if problem := volumeProblem(maskNode):
            raise InputError(problem)
        yield _wholeImage(maskNode), volumeToWorld(maskNode), None
        return
    segmentation = maskNode.GetSegmentation()
    if not segmentation.ContainsRepresentation(LABELMAP):
        # Made in a copy: the user's segmentation stays as it is.
        segmentation = slicer.vtkSegmentation()
        segmentation.DeepCopy(maskNode.GetSegmentation())
        segmentation.CreateRepresentation(LABELMAP)
    layers: dict[slicer.vtkOrientedImageData, list[int]] = {}
    for name in visibleSegments(maskNode):
        segment = segmentation.GetSegment(name)
        layers.setdefault(segment.GetRepresentation(LABELMAP), []).append(segment.GetLabelValue())
    for image, labels in layers.items():
        if image is not None and image.GetNumberOfPoints():
            matrix = vtk.vtkMatrix4x4()
            image.GetImageToWorldMatrix(matrix)
            yield plainImage(image, image.GetExtent()), placed(matrix, maskNode), labels


def _wholeImage(volumeNode: slicer.vtkMRMLVolumeNode) -> vtk.vtkImageData:
    # MRML counts voxels from zero whatever the extent says.
    image = volumeNode.GetImageData()
    return plainImage(image, [bound for n in image.GetDimensions() for bound in (0, n - 1)])


def plainImage(image: vtk.vtkImageData, extent: list[int]) -> vtk.vtkImageData:
    """The same voxels, not copied, in an image whose coordinates are its voxel index."""
    plain = vtk.vtkImageData()
    plain.SetExtent(extent)
    plain.GetPointData().SetScalars(image.GetPointData().GetScalars())
    return plain


def resliced(
    image: vtk.vtkImageData, toWorld: vtk.vtkAbstractTransform, grid: dict, fill: float, linear: bool
) -> np.ndarray:
    """The image, placed in the world, on a grid: array (z, y, x) of the image's type."""
    if isinstance(toWorld, vtk.vtkLinearTransform):
        # vtkImageReslice is several times faster where it sees that the whole chain is linear.
        chain, fromWorld = vtk.vtkTransform(), toWorld.GetInverse()
    else:
        # The transform itself, perhaps an inverse found by iteration, would take minutes over all voxels.
        low, high = np.reshape(image.GetExtent(), (3, 2)).T + np.array([[-0.5], [0.5]])
        chain = vtk.vtkGeneralTransform()
        fromWorld = sampledTransform(toWorld.GetInverse(), lattice(low, high))
    chain.PostMultiply()
    chain.Concatenate(slicer.util.vtkMatrixFromArray(matrixFromGrid(grid)))
    chain.Concatenate(fromWorld)
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(image)
    reslice.SetResliceTransform(chain)
    reslice.SetInterpolationModeToLinear() if linear else reslice.SetInterpolationModeToNearestNeighbor()
    reslice.SetBackgroundLevel(fill)
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputExtent([bound for n in grid["size"] for bound in (0, n - 1)])
    reslice.Update()
    return vtk_to_numpy(reslice.GetOutput().GetPointData().GetScalars()).reshape(grid["size"][::-1])
