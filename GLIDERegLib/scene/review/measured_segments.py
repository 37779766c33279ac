"""The outlines of measured nodules: a segmentation for each original scan, a segment for each nodule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from GLIDERegLib.scene.registration.checks import LABELMAP

# Says that a segmentation holds measurements, not structures propagated there or drawn for something else.
MEASUREMENT = "GLIDEReg.Measurement"
FOUND_COLOR, READERS_COLOR = (0.1, 0.85, 0.9), (1.0, 0.45, 0.8)
THICKNESS = 2
# A mask (z, y, x) and the scan's index (i, j, k) of its first voxel.
Mask = tuple[np.ndarray, Sequence[int]]


def segmentationOf(
    volume: slicer.vtkMRMLScalarVolumeNode, name: str = "", create: bool = False
) -> slicer.vtkMRMLSegmentationNode | None:
    """That of a scan's measurements; where there is none, None or a new one of this name."""
    scene = volume.GetScene()
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode", scene):
        if node.GetAttribute(MEASUREMENT) is not None and node.GetNodeReference(role) is volume:
            return node
    if not create:
        return None
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
    node.SetAttribute(MEASUREMENT, "1")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    display = node.GetDisplayNode()
    with slicer.util.NodeModify(display):
        display.SetVisibility2DFill(False)
        display.SetVisibility2DOutline(True)
        display.SetVisibility3D(False)
        display.SetSliceIntersectionThickness(THICKNESS)
    return node


def putMask(
    node: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    mask: Mask | None,
    volume: slicer.vtkMRMLScalarVolumeNode,
) -> None:
    """Makes a segment what a mask is; None: an empty one, for the reader to draw. See `label`."""
    segmentation, segment = node.GetSegmentation(), slicer.vtkSegment()
    place = segmentation.GetSegmentIndex(segmentId)
    after = segmentation.GetNthSegmentID(place + 1) if place >= 0 else ""
    if place >= 0:
        segmentation.RemoveSegment(segmentId)
    empty = np.zeros((0, 0, 0)), (0, 0, 0)
    segment.AddRepresentation(LABELMAP, _image(*(mask or empty), volume))
    segmentation.AddSegment(segment, segmentId, after)


def label(
    node: slicer.vtkMRMLSegmentationNode, segmentId: str, name: str, color: tuple[float, float, float]
) -> None:
    """Names and colours a segment; its shape stays, also where the reader is just drawing it."""
    segment = node.GetSegmentation().GetSegment(segmentId)
    segment.SetName(name)
    segment.SetColor(*color)


def maskOf(node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Mask | None:
    """The mask of a segment, cropped; None where there is no such segment, or nothing in it."""
    segment = node.GetSegmentation().GetSegment(segmentId)
    image = segment.GetRepresentation(LABELMAP) if segment is not None else None
    if image is None or not image.GetNumberOfPoints() or image.GetPointData().GetScalars() is None:
        return None
    values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    inside = values == segment.GetLabelValue()
    if not inside.any():
        return None
    box = tuple(slice(int(found.min()), int(found.max()) + 1) for found in np.nonzero(inside))
    extent = image.GetExtent()
    first = [extent[2 * axis] + box[2 - axis].start for axis in range(3)]
    return inside[box].astype(np.uint8), first


def removeSegment(node: slicer.vtkMRMLSegmentationNode | None, segmentId: str) -> None:
    if node is not None and node.GetSegmentation().GetSegment(segmentId) is not None:
        node.GetSegmentation().RemoveSegment(segmentId)


def showIn(node: slicer.vtkMRMLSegmentationNode | None, views: Sequence[slicer.vtkMRMLSliceNode]) -> None:
    """Shows outlines in these views only, those that show their scan; in none where there is none."""
    if node is None:
        return
    display = node.GetDisplayNode()
    with slicer.util.NodeModify(display):
        display.SetViewNodeIDs([view.GetID() for view in views])
        display.SetVisibility(bool(views))


def _image(
    array: np.ndarray, first: Sequence[int], volume: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkOrientedImageData:
    """A mask on the voxels of a scan, wherever the parents of both put it."""
    image, matrix = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    size = array.shape[::-1]
    image.SetExtent([int(n) for a, s in zip(first, size, strict=True) for n in (a, a + s - 1)])
    image.SetImageToWorldMatrix(matrix)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    if array.size:
        values = numpy_to_vtk(np.ascontiguousarray(array, np.uint8).ravel(), deep=True)
        image.GetPointData().SetScalars(values)
    return image
