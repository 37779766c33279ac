"""Sizes of nodules in both scans: what the reader typed, lines across them, or segments of their name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
import slicer
import slicer.util
from vtk.util.numpy_support import vtk_to_numpy

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.evaluation.growth import DIAMETER, VOLUME, Size, growth, sphere_diameter, sphere_volume
from GLIDERegLib.scene.registration.checks import LABELMAP, studyDate
from GLIDERegLib.scene.registration.pair import Pair
from GLIDERegLib.scene.review.measured_segments import MEASUREMENT
from GLIDERegLib.scene.review.nodules import SOURCE_ROLE
from GLIDERegLib.scene.review.table import Row

# Beyond half its length, the middle of a line may lie this far from the nodule it measures.
LINE_MARGIN_MM = 3.0
# Where a diameter comes from that was measured from an outline: as found, or the reader's.
OUTLINES = ("measured", "corrected")
PROPAGATED_SEGMENT = "A segment that a transform has bent is no measurement; segment it in the original scan"


def measureRows(
    rows: Sequence[Row],
    pair: Pair,
    days: float | None,
) -> list[Row]:
    """The rows with their diameters in both scans, where known, and the growth between them.

    A typed diameter counts first, then a markups line across the nodule, then a segment that has the nodule's
    name in a segmentation of that scan (the sphere of its volume). A line belongs to the scan whose views it
    was drawn in, where Slicer noted it, else to the one in which the nodule is nearer to its middle.
    days: from the moving to the fixed scan, negative where the moving one is later, None where unknown.
    """
    volumes = {"fixed": pair.fixed, "moving": pair.moving}
    lines = slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode", pair.fixed.GetScene())
    segments = {scan: _segmentDiameters(volume) for scan, volume in volumes.items()}
    refused = {name for volume in volumes.values() for name in _propagatedSegments(volume)}
    measured = []
    for row in rows:
        found = _lineLengths(row, lines, volumes)
        changes = {}
        for scan in volumes:
            if getattr(row, f"{scan}DiameterFrom") == "typed":
                continue
            if scan in found:
                size, source = found[scan], "line"
            elif row.label.casefold() in segments[scan]:
                size, source = segments[scan][row.label.casefold()], "segment"
            else:
                size, source = 0.0, ""
            changes |= {f"{scan}Diameter": size, f"{scan}DiameterFrom": source}
        row = grown(replace(row, **changes), days)
        if not row.growth and row.label.casefold() in refused:
            row = replace(row, growth=PROPAGATED_SEGMENT)
        measured.append(row)
    return measured


def grown(row: Row, days: float | None) -> Row:
    """The row with its growth from the earlier to the later scan; empty unless both sizes are known.

    A segment gives a volume, a typed size or a line a diameter; the two are not compared.
    """
    if not (row.fixedDiameter > 0 and row.movingDiameter > 0):
        return replace(row, growth="" if row.growth != PROPAGATED_SEGMENT else row.growth, doublingDays="")
    if row.fixedDiameterFrom in OUTLINES and row.movingDiameterFrom in OUTLINES:
        # `measuredGrowth` tells it, with the measurement's own error.
        return replace(row, growth="", doublingDays="")
    sizes = [
        _size(row.movingDiameter, row.movingDiameterFrom),
        _size(row.fixedDiameter, row.fixedDiameterFrom),
    ]
    if days is not None and days < 0:
        sizes.reverse()
    try:
        change = growth(*sizes, abs(days) if days else None)
    except InputError as error:
        return replace(row, growth=str(error), doublingDays="")
    time = "" if change.doubling_days is None else f"{change.doubling_days:.0f}"
    return replace(row, growth=change.words, doublingDays=time)


def _size(diameter: float, source: str) -> Size:
    if source == "segment":
        return Size(VOLUME, sphere_volume(diameter))
    return Size(DIAMETER, diameter)


def daysBetween(pair: Pair) -> float | None:
    """Days from the moving to the fixed scan by their DICOM study dates; None where one is not known."""
    try:
        fixed, moving = (
            datetime.strptime(studyDate(volume)[:8], "%Y%m%d") for volume in (pair.fixed, pair.moving)
        )
    except ValueError:
        return None
    return float((fixed - moving).days)


def _lineLengths(row: Row, lines: Sequence, volumes: dict) -> dict[str, float]:
    """Length in mm of the nearest line across the nodule in each scan."""
    best: dict[str, tuple[float, float]] = {}
    for line in lines:
        if line.GetNumberOfDefinedControlPoints() != 2:
            continue
        ends = slicer.util.arrayFromMarkupsControlPoints(line, world=True)
        length = float(np.linalg.norm(ends[0] - ends[1]))
        distance = {
            scan: float(np.linalg.norm(ends.mean(axis=0) - getattr(row, scan)))
            for scan in ("fixed", "moving")
        }
        drawnOn = line.GetNthControlPointAssociatedNodeID(0)
        noted = [scan for scan, volume in volumes.items() if volume.GetID() == drawnOn]
        scan = noted[0] if noted else min(distance, key=distance.get)
        near = distance[scan] <= length / 2 + LINE_MARGIN_MM
        if near and distance[scan] < best.get(scan, (np.inf, 0))[0]:
            best[scan] = distance[scan], length
    return {scan: length for scan, (_, length) in best.items()}


def _isPropagated(node: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether a segmentation's shape comes through a deformation, which hides growth or makes it up."""
    parent = node.GetParentTransformNode()
    bent = parent is not None and not parent.IsTransformToWorldLinear()
    return bent or node.GetNodeReference(SOURCE_ROLE) is not None


def _segmentations(volume: slicer.vtkMRMLVolumeNode) -> list[slicer.vtkMRMLSegmentationNode]:
    """Those that were drawn on the volume; what was measured there is known already."""
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode", volume.GetScene())
    own = [node for node in nodes if node.GetAttribute(MEASUREMENT) is None]
    return [node for node in own if node.GetNodeReference(role) is volume]


def _propagatedSegments(volume: slicer.vtkMRMLVolumeNode) -> set[str]:
    """Names, in lower case, of the segments on the volume that count for nothing."""
    propagated = [node.GetSegmentation() for node in _segmentations(volume) if _isPropagated(node)]
    return {s.GetSegment(name).GetName().casefold() for s in propagated for name in s.GetSegmentIDs()}


def _segmentDiameters(volume: slicer.vtkMRMLVolumeNode) -> dict[str, float]:
    """Diameter in mm of each segment drawn on the volume, taken for a sphere, by its name in lower case."""
    found = {}
    for node in _segmentations(volume):
        if _isPropagated(node):
            continue
        segmentation = slicer.vtkSegmentation()
        segmentation.DeepCopy(node.GetSegmentation())
        segmentation.CreateRepresentation(LABELMAP)
        for name in segmentation.GetSegmentIDs():
            segment = segmentation.GetSegment(name)
            image = segment.GetRepresentation(LABELMAP)
            if image is None or not image.GetNumberOfPoints():
                continue
            values = vtk_to_numpy(image.GetPointData().GetScalars())
            count = np.count_nonzero(values == segment.GetLabelValue())
            if count:
                diameter = sphere_diameter(count * float(np.prod(image.GetSpacing())))
                found[segment.GetName().casefold()] = diameter
    return found
