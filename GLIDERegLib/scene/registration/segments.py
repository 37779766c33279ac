"""Segments of a scan to a file on the scan's own grid, for the engine; the segmentation is only read."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

import numpy as np
import slicer
import vtk

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.scene.mrml.geometry import placed
from GLIDERegLib.scene.mrml.nrrd import writeNrrd
from GLIDERegLib.scene.registration.checks import LABELMAP
from GLIDERegLib.scene.registration.inputs import plainImage, resliced, writtenGrid
from GLIDERegLib.scene.registration.pair import Pair
from GLIDERegLib.scene.report.folder import unwarped


def segmentNames(segmentation: slicer.vtkMRMLSegmentationNode | None) -> dict[str, str]:
    """The segments' names by their IDs, in their order."""
    if segmentation is None:
        return {}
    source = segmentation.GetSegmentation()
    ids = [source.GetNthSegmentID(n) for n in range(source.GetNumberOfSegments())]
    return {name: source.GetSegment(name).GetName() for name in ids}


def scanOf(pair: Pair, segmentation: slicer.vtkMRMLSegmentationNode | None) -> str:
    """Which scan's geometry a segmentation was drawn in: "fixed" or "moving"; "" where it does not say."""
    if segmentation is None:
        return ""
    role = segmentation.GetReferenceImageGeometryReferenceRole()
    # To ask for one that is not there would make an empty one in the user's node.
    known = map(segmentation.GetNthNodeReferenceRole, range(segmentation.GetNumberOfNodeReferenceRoles()))
    drawn = segmentation.GetNodeReference(role) if role in known else None
    return "fixed" if drawn is pair.fixed else "moving" if drawn is pair.moving else ""


def writeSegments(
    pair: Pair,
    scan: str,
    segmentation: slicer.vtkMRMLSegmentationNode,
    ids: Sequence[str],
    path: str | PathLike,
) -> None:
    """Writes segments of the "fixed" or the "moving" scan as a .seg.nrrd on that scan's grid, where it lies
    unwarped, with names and colours; what overlaps lies in layers of its own.

    Raises InputError where a segment has no voxel in the scan, or for a file that cannot be written.
    """
    volume = pair.fixed if scan == "fixed" else unwarped(pair)
    grid = writtenGrid(volume)
    source = slicer.vtkSegmentation()
    source.DeepCopy(segmentation.GetSegmentation())
    if not source.ContainsRepresentation(LABELMAP):
        source.CreateRepresentation(LABELMAP)
    layers: dict[vtk.vtkImageData, list[str]] = {}
    for name in ids:
        if (image := source.GetSegment(name).GetRepresentation(LABELMAP)) is not None:
            layers.setdefault(image, []).append(name)
    written, keys = [], {"Segmentation_MasterRepresentation": "Binary labelmap"}
    for image, names in layers.items():
        labels = np.zeros(grid["size"][::-1], np.int64)
        if image.GetNumberOfPoints():
            toIndex = vtk.vtkMatrix4x4()
            image.GetImageToWorldMatrix(toIndex)
            place = _placement(pair, scan, segmentation, toIndex)
            labels = resliced(plainImage(image, image.GetExtent()), place, grid, 0, linear=False)
        plane = np.zeros(labels.shape, np.uint16)
        for name in names:
            segment = source.GetSegment(name)
            inside = labels == segment.GetLabelValue()
            if not inside.any():
                raise InputError(
                    f"The segment '{segment.GetName()}' holds no voxel of the scan '{volume.GetName()}'",
                    "Choose the direction from the scan it was drawn in, or leave it out.",
                    code="segments",
                )
            number = len(keys) // 5
            plane[inside] = number + 1
            color = " ".join(f"{part:.6g}" for part in segment.GetColor())
            about = (name, segment.GetName(), number + 1, len(written), color)
            titles = ("ID", "Name", "LabelValue", "Layer", "Color")
            keys |= {f"Segment{number}_{key}": str(value) for key, value in zip(titles, about, strict=True)}
        written.append(plane)
    writeNrrd(written[0] if len(written) == 1 else np.stack(written, axis=-1), grid, path, keys)


def _placement(
    pair: Pair, scan: str, node: slicer.vtkMRMLSegmentationNode, toIndex: vtk.vtkMatrix4x4
) -> vtk.vtkAbstractTransform:
    """From voxels to where they lie in the scan as it was scanned."""
    frame = pair.frame(node) if scan == "moving" else None
    if frame is None:
        return placed(toIndex, node)
    parent = node.GetParentTransformNode()
    if not parent.IsTransformToNodeLinear(frame):
        raise InputError(
            f"Between the segmentation '{node.GetName()}' and the transform '{frame.GetName()}' stands one "
            "that is not linear: take the segmentation out of these transforms.",
            code="transform",
        )
    between = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(parent, frame, between)
    result = vtk.vtkTransform()
    result.SetMatrix(toIndex)
    result.PostMultiply()
    result.Concatenate(between)
    return result
