"""Nodules from one scan to the other, each with what tells whether to believe it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import slicer
import slicer.util
import vtk

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.evaluation.agreement import PointMap
from GLIDERegLib.scene.mrml.geometry import standsUnder, volumeToWorld

DIRECTIONS = ("moving-to-fixed", "fixed-to-moving")
# Names of the values of each point, for `slicer.util.arrayFromMarkupsControlPointData(node, name)`.
RESIDUAL, INSIDE_FIELD, INSIDE_MOVING = "inverse residual", "inside field", "inside moving scan"
# Its name in scenes of 0.1.0.
FORMER_RESIDUAL = "round-trip residual"
SOURCE_ROLE, DIRECTION_ATTRIBUTE = "GLIDEReg.Source", "GLIDEReg.Direction"
COLOR = (1.0, 0.75, 0.0)


@dataclass(frozen=True)
class PropagatedPoint:
    """A nodule in both scans.

    source, result: world RAS mm. residual: mm between the source and where the result leads back to.
    insideField: whether it lies in the fixed volume, beyond which nothing was registered. insideMoving:
    whether it lies in the moving volume, beyond which there was nothing to compare with.
    """

    label: str
    description: str
    source: tuple[float, float, float]
    result: tuple[float, float, float]
    residual: float
    insideField: bool
    insideMoving: bool = True


def checkNodules(
    sourceNode: slicer.vtkMRMLMarkupsFiducialNode,
    transformNode: slicer.vtkMRMLTransformNode | None,
    direction: str,
    outputNode: slicer.vtkMRMLMarkupsFiducialNode,
) -> None:
    """Raises InputError where points cannot be propagated: for an unknown direction, one list as source and
    output, or points that stand under the very transform, which has moved them already.
    """
    if direction not in DIRECTIONS:
        raise InputError(
            f"The direction '{direction}' is unknown.",
            f"Use {DIRECTIONS[0]} or {DIRECTIONS[1]}.",
            code="setting",
        )
    if sourceNode is outputNode:
        raise InputError(
            f"The list '{sourceNode.GetName()}' would be overwritten.",
            "Choose another output.",
            code="overwrites-input",
        )
    if transformNode and standsUnder(sourceNode, transformNode):
        raise InputError(
            f"The list '{sourceNode.GetName()}' stands under the transform '{transformNode.GetName()}', "
            "which moves it already.",
            "Take it out of that transform.",
            code="transform",
        )


def propagatePoints(
    sourceNode: slicer.vtkMRMLMarkupsFiducialNode,
    fixedToMoving: vtk.vtkAbstractTransform,
    direction: str,
    fixedVolumeNode: slicer.vtkMRMLVolumeNode,
    movingVolumeNode: slicer.vtkMRMLVolumeNode,
    movingIndex: PointMap | None = None,
) -> list[PropagatedPoint]:
    """The source's placed points in the other scan, by world RAS coordinates; changes no node.

    fixedToMoving: maps world points. direction: "fixed-to-moving" takes it, "moving-to-fixed" its inverse.
    movingIndex: voxel index of moving points, where the moving volume is seen warped (see `Pair`).
    The residual comes from going back the other way: in folds, where no inverse exists, it is large.
    """
    maps = [fixedToMoving, fixedToMoving.GetInverse()]
    there, back = maps if direction == "fixed-to-moving" else maps[::-1]
    points = []
    for n in range(sourceNode.GetNumberOfControlPoints()):
        if sourceNode.GetNthControlPointPositionStatus(n) != sourceNode.PositionDefined:
            continue
        source = sourceNode.GetNthControlPointPositionWorld(n)
        result = there.TransformPoint(source)
        fixed, moving = (source, result) if direction == "fixed-to-moving" else (result, source)
        points.append(
            PropagatedPoint(
                sourceNode.GetNthControlPointLabel(n),
                sourceNode.GetNthControlPointDescription(n),
                tuple(source),
                tuple(result),
                float(np.linalg.norm(np.subtract(back.TransformPoint(result), source))),
                isInside(fixedVolumeNode, fixed),
                isInside(movingVolumeNode, moving, movingIndex),
            )
        )
    return points


def fillNodules(
    outputNode: slicer.vtkMRMLMarkupsFiducialNode,
    points: Sequence[PropagatedPoint],
    sourceNode: slicer.vtkMRMLMarkupsFiducialNode,
    direction: str,
) -> None:
    """Replaces the points of a list: same labels, locked, under no transform, each point's reliability in
    words in its description and in numbers (RESIDUAL in mm; INSIDE_FIELD and INSIDE_MOVING, 0 or 1) among
    its measurements.

    The list names its source by a node reference. An empty one also gets an appearance of its own.
    """
    wasEmpty = outputNode.GetNumberOfControlPoints() == 0
    with slicer.util.NodeModify(outputNode):
        outputNode.SetLocked(False)
        outputNode.SetFixedNumberOfControlPoints(False)
        outputNode.SetAndObserveTransformNodeID(None)
        outputNode.RemoveAllControlPoints()
        for point in points:
            n = outputNode.AddControlPoint(point.result, point.label)
            outputNode.SetNthControlPointDescription(n, describe(point))
            # The colour of unselected points is the one that sets propagated points apart.
            outputNode.SetNthControlPointSelected(n, False)
        _removePointData(outputNode, FORMER_RESIDUAL)
        _setPointData(outputNode, RESIDUAL, "mm", [point.residual for point in points])
        _setPointData(outputNode, INSIDE_FIELD, "", [point.insideField for point in points])
        _setPointData(outputNode, INSIDE_MOVING, "", [point.insideMoving for point in points])
        outputNode.SetNodeReferenceID(SOURCE_ROLE, sourceNode.GetID())
        outputNode.SetAttribute(DIRECTION_ATTRIBUTE, direction)
        outputNode.SetLocked(True)
    if wasEmpty:
        _setAppearance(outputNode)


def describe(point: PropagatedPoint) -> str:
    """What a reader must know of a propagated point, after the description its source had."""
    where = "inside the registered field" if point.insideField else "OUTSIDE the registered field"
    where += "" if point.insideMoving else "; OUTSIDE the moving scan"
    reliability = f"inverse residual {point.residual:.3f} mm; {where}"
    return f"{point.description}; {reliability}" if point.description else reliability


def isInside(
    volumeNode: slicer.vtkMRMLVolumeNode, point: Sequence[float], toIndex: PointMap | None = None
) -> bool:
    """Whether a point lies in the volume, voxel faces included: a world RAS point, wherever the parents put
    the volume, or one that `toIndex` takes to its voxel index.
    """
    if toIndex is not None:
        index = toIndex(np.asarray([point]))[0]
    else:
        index = np.asarray(volumeToWorld(volumeNode).GetInverse().TransformPoint(point))
    size = np.asarray(volumeNode.GetImageData().GetDimensions())
    return bool(np.all((index >= -0.5) & (index <= size - 0.5)))


def _setPointData(
    node: slicer.vtkMRMLMarkupsFiducialNode, name: str, units: str, values: Sequence[float]
) -> None:
    """One number for each point, which Slicer saves with the list."""
    _removePointData(node, name)
    array = vtk.vtkDoubleArray()
    array.SetName(name)
    for value in values:
        array.InsertNextValue(value)
    measurement = slicer.vtkMRMLStaticMeasurement()
    measurement.SetName(name)
    measurement.SetUnits(units)
    measurement.SetControlPointValues(array)
    node.AddMeasurement(measurement)


def _removePointData(node: slicer.vtkMRMLMarkupsFiducialNode, name: str) -> None:
    for n in reversed(range(node.GetNumberOfMeasurements())):
        if node.GetNthMeasurement(n).GetName() == name:
            node.RemoveNthMeasurement(n)


def _setAppearance(node: slicer.vtkMRMLMarkupsFiducialNode) -> None:
    node.CreateDefaultDisplayNodes()
    display = node.GetMarkupsDisplayNode()
    with slicer.util.NodeModify(display):
        display.SetColor(COLOR)
        display.SetSelectedColor(COLOR)
        display.SetGlyphType(display.Diamond2D)
        display.SetSliceProjection(False)
