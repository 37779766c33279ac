"""The nodes of a pair's landmarks: a list in each scan, a table of errors by region, a map of errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import slicer
import slicer.util
import vtk

from GLIDERegLib.evaluation.landmarks.between import expected_error
from GLIDERegLib.scene.mrml.sampling import bodyOf, sampling
from GLIDERegLib.scene.quality.maps import LANDMARK_ERROR, fillMap, mapNode, putIntoFolder
from GLIDERegLib.scene.registration.pair import Pair
from GLIDERegLib.scene.views.layout import FIXED, MOVING, ORIENTATIONS, WARPED, viewName

# Of a list: which scan's it is, and the scans it belongs to; of the table likewise.
ATTRIBUTE, ROLES = "GLIDEReg.Landmarks", {"fixed": "GLIDEReg.FixedScan", "moving": "GLIDEReg.MovingScan"}
CONFIRMED, REJECTED, UNDECIDED = "confirmed", "rejected", ""
# Between the regions of a landmark and what was decided, in its description.
SEPARATOR = "; "
# In the map, outside the body and between the stripes of a hatch; on the stripes where no landmark tells; no
# error is larger than the last.
UNKNOWN, HATCH, LARGEST_MM = -1.0, -0.5, 1e4
# Samples, about 4 mm each, from one stripe of the hatch to the next.
STRIPES = 4
# Errors are mm; the last one is the share of the region without a landmark within 12 mm.
COLUMNS = ("Region", "n", "Mean", "95 %", "Largest", "Gaps, %")
# Each list only where its scan lies as it was scanned: elsewhere its points are at no place of what is seen.
_FIXED_VIEWS = ("Red", "Yellow", "Green", "Red+", "Yellow+", "Green+", "Slice4")
_VIEWS = {
    "fixed": [f"vtkMRMLSliceNode{name}" for name in _FIXED_VIEWS]
    + [f"vtkMRMLSliceNode{viewName(column, o)}" for column in (FIXED, WARPED) for o in ORIENTATIONS]
    + ["vtkMRMLViewNode1"],
    "moving": [f"vtkMRMLSliceNode{viewName(MOVING, o)}" for o in ORIENTATIONS],
}
GLYPH_MM, COLOR, REJECTED_COLOR = 3.0, (0.2, 0.8, 1.0), (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Place:
    """A landmark as the transform that is checked meets it. number: in the lists. regions: those it lies in.
    fixed: world RAS mm; moving: a moving point as `Pair` has it; error: mm from there to where the transform
    leads.
    """

    number: int
    label: str
    regions: tuple[str, ...]
    fixed: tuple[float, float, float]
    moving: tuple[float, float, float]
    error: float
    decision: str = UNDECIDED


def regionTable(pair: Pair) -> slicer.vtkMRMLTableNode | None:
    """The pair's errors by region; None before a search."""
    return landmarkNode(pair, "vtkMRMLTableNode", "table")


def landmarkNode(pair: Pair, kind: str, what: str) -> slicer.vtkMRMLNode | None:
    """The node of a kind that an earlier search has left for these two scans."""
    for node in slicer.util.getNodesByClass(kind, pair.fixed.GetScene()):
        scans = [node.GetNodeReference(role) for role in ROLES.values()]
        if node.GetAttribute(ATTRIBUTE) == what and scans == [pair.fixed, pair.moving]:
            return node
    return None


def pointList(pair: Pair, scan: str) -> slicer.vtkMRMLMarkupsFiducialNode | None:
    return landmarkNode(pair, "vtkMRMLMarkupsFiducialNode", scan)


def _new(pair: Pair, kind: str, what: str, name: str) -> slicer.vtkMRMLNode:
    scene = pair.fixed.GetScene()
    node = scene.AddNewNodeByClass(kind, scene.GenerateUniqueName(name))
    node.SetAttribute(ATTRIBUTE, what)
    for role, scan in zip(ROLES.values(), (pair.fixed, pair.moving), strict=True):
        node.SetNodeReferenceID(role, scan.GetID())
    putIntoFolder(node, pair.transform)
    return node


def newPointList(pair: Pair, scan: str) -> slicer.vtkMRMLMarkupsFiducialNode:
    volume = pair.fixed if scan == "fixed" else pair.moving
    node = _new(pair, "vtkMRMLMarkupsFiducialNode", scan, f"Landmarks in {volume.GetName()}")
    node.CreateDefaultDisplayNodes()
    display = node.GetMarkupsDisplayNode()
    with slicer.util.NodeModify(display):
        display.SetColor(REJECTED_COLOR)
        display.SetSelectedColor(COLOR)
        display.SetPointLabelsVisibility(False)
        display.SetPropertiesLabelVisibility(False)
        display.SetUseGlyphScale(False)
        display.SetGlyphSize(GLYPH_MM)
        display.SetSliceProjection(False)
        for view in _VIEWS[scan]:
            display.AddViewNodeID(view)
    return node


def writeTable(pair: Pair, uncovered: dict[str, float], counting: Sequence[Place]) -> None:
    """Errors by region. uncovered: share without a landmark (%), by region, as the search found it."""
    table = regionTable(pair) or _new(pair, "vtkMRMLTableNode", "table", "Errors at landmarks by region")
    columns = [vtk.vtkStringArray()] + [vtk.vtkDoubleArray() for _ in COLUMNS[1:]]
    for column, name in zip(columns, COLUMNS, strict=True):
        column.SetName(name)
    for region, share in uncovered.items():
        errors = np.array([place.error for place in counting if region in place.regions])
        of = (errors.mean(), np.percentile(errors, 95), errors.max()) if len(errors) else (np.nan,) * 3
        columns[0].InsertNextValue(region)
        of = tuple(round(float(value), 2) for value in of)
        for column, value in zip(columns[1:], (len(errors), *of, round(share, 1)), strict=True):
            column.InsertNextValue(value)
    with slicer.util.NodeModify(table):
        table.RemoveAllColumns()
        for column in columns:
            table.AddColumn(column)
        table.SetUseColumnTitleAsColumnHeader(True)
        table.SetLocked(True)
        table.SetDescription(
            "Errors in mm. Gaps: share of the region without a landmark within 12 mm, rejected ones counted. "
            "For checking by eye."
        )


def writeMap(pair: Pair, counting: Sequence[Place]) -> None:
    """The error expected between the landmarks, in the body; hatched where no landmark tells."""
    samples = sampling(pair.fixed)
    values = np.full(samples.shape, UNKNOWN, np.float32)
    body = bodyOf(samples)
    positions = np.array([place.fixed for place in counting]).reshape(-1, 3)
    errors = np.array([place.error for place in counting])
    expected = expected_error(positions, errors, samples.points()[body.ravel()])
    striped = np.indices(samples.shape).sum(axis=0) % STRIPES < STRIPES // 2
    values[body] = np.where(np.isfinite(expected), expected, np.where(striped[body], HATCH, UNKNOWN))
    node = fillMap(mapNode(pair.transform, LANDMARK_ERROR), LANDMARK_ERROR, samples, values, values >= 0)
    display = node.GetScalarVolumeDisplayNode()
    display.SetThreshold((UNKNOWN + HATCH) / 2, LARGEST_MM)
    display.SetApplyThreshold(True)
