"""The numbers of a check, each with its unit, what is usual and who says so, as a table of the scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import slicer
import slicer.util
import vtk

from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.evaluation.metrics import similarity, target_registration_error
from GLIDERegLib.files.pairing import match_labels
from GLIDERegLib.scene.mrml.geometry import mapPoints
from GLIDERegLib.scene.mrml.sampling import quietVtk
from GLIDERegLib.scene.quality.maps import TRANSFORM_ROLE, describe, putIntoFolder
from GLIDERegLib.scene.quality.measures import Measures
from GLIDERegLib.scene.quality.structures import dice, structures
from GLIDERegLib.scene.registration.pair import Pair

TG132 = "AAPM TG-132: Brock et al., Med Phys 2017, doi 10.1002/mp.12256"
COLUMNS = ("Quantity", "Region", "Value", "Unit", "Usual value", "Source")
MM, VOLUMES = "mm", "moving / fixed"
# Decimals that a value is told with, by its unit: below them lies no knowledge.
DECIMALS = {MM: 2, VOLUMES: 2}
PERCENTILES = ((5, "5 %"), (50, "median"), (95, "95 %"), (99, "99 %"))
# A property of the field: folds are smoothed away, so it tells nothing of accuracy.
POSITIVE = "positive everywhere; tells nothing of accuracy"
# TG-132's 2 and 5 mm and its Dice are for commissioning a system; lungs reach that Dice unregistered.
READERS = "none for one patient: compare with the voxel, and with two readers"
UNJUDGED = "none: depends on breath and position, tells nothing of accuracy"
RETURNING = ("within the largest voxel edge, about 2 to 3 mm", TG132)


@dataclass(frozen=True)
class Row:
    """One number. usual: what it usually is, or why nothing is usual; source: who says so."""

    quantity: str
    region: str
    value: float
    unit: str
    usual: str
    source: str = ""


def fieldRows(measures: Measures, region: str, inside: np.ndarray) -> list[Row]:
    """Percentiles and similarity over the samples (k, j, i) of a region.

    Raises InputError for a region without samples.
    """
    if not inside.any():
        raise InputError(
            f"'{region}' holds no sample of the fixed scan.",
            "Choose a larger structure or one drawn there.",
            code="structure-empty",
        )
    jacobian = measures.jacobian[inside]
    rows = []
    quantities = [
        ("Displacement", measures.displacement[inside], "mm", UNJUDGED, ""),
        ("Jacobian determinant", jacobian, VOLUMES, POSITIVE, TG132),
    ]
    if measures.consistency is not None:
        quantities.append(("Inverse consistency error", measures.consistency[inside], "mm", *RETURNING))
    for title, values, unit, usual, source in quantities:
        for percent, name in PERCENTILES:
            rows.append(
                Row(f"{title}, {name}", region, float(np.percentile(values, percent)), unit, usual, source)
            )
        rows.append(Row(f"{title}, maximum", region, float(values.max()), unit, usual, source))
    rows.append(
        Row(
            "Jacobian determinant, minimum",
            region,
            float(jacobian.min()),
            VOLUMES,
            POSITIVE,
            TG132,
        )
    )
    alike = {
        when: similarity(measures.fixed, values, inside)
        for when, values in (("before", measures.before), ("after", measures.after))
    }
    for key, title, unit in (
        ("normalised_cross_correlation", "Correlation", "-1 to 1"),
        ("mutual_information", "Mutual information", "nat"),
    ):
        for when in ("before", "after"):
            if alike[when][key] is not None:
                usual = "higher after than before" if when == "after" else ""
                rows.append(Row(f"{title} of intensities, {when}", region, alike[when][key], unit, usual))
    return rows


def insideOf(
    measures: Measures, segmentation: slicer.vtkMRMLSegmentationNode, segment: str = ""
) -> tuple[str, np.ndarray]:
    """The name of a segment, or of a whole segmentation, and which samples (k, j, i) of the fixed scan are
    in it.

    segment: an ID; "" for all segments together.
    """
    drawn = structures(segmentation, _toWorld(segmentation))
    chosen = [structure for name, structure in drawn.items() if segment in ("", name)]
    points = measures.sampling.points()
    inside = np.zeros(len(points), bool)
    for structure in chosen:
        inside |= structure.contains(points)
    name = chosen[0].name if segment and chosen else segmentation.GetName()
    return name, inside.reshape(measures.sampling.shape)


def overlapRows(
    pair: Pair, fixed: slicer.vtkMRMLSegmentationNode, moving: slicer.vtkMRMLSegmentationNode
) -> list[Row]:
    """Dice of every segment whose name both scans' segmentations have, before and after.

    Raises InputError where they share none.
    """
    here = structures(fixed, _toWorld(fixed)).values()
    there = {structure.name: structure for structure in structures(moving, pair.placement(moving)).values()}
    shared = [structure for structure in here if structure.name in there]
    if not shared:
        raise InputError(
            f"'{fixed.GetName()}' and '{moving.GetName()}' share no segment name.",
            "Name the same structure alike.",
            code="file-type",
        )
    still, rows = vtk.vtkTransform(), []
    with quietVtk():
        for one in shared:
            for when, maps in (("before", (still, still)), ("after", (pair.toMoving(), pair.toFixed()))):
                value, spacing = dice(one, there[one.name], *maps)
                usual = f"{READERS} (counted every {spacing:.1f} mm)"
                rows.append(Row(f"Dice overlap, {when}", one.name, value, "0 to 1", usual))
    return rows


def landmarkRows(
    pair: Pair, fixed: slicer.vtkMRMLMarkupsFiducialNode, moving: slicer.vtkMRMLMarkupsFiducialNode
) -> tuple[list[Row], list[str]]:
    """Target registration error, before and after, of the points that belong together (see `match_labels`),
    and a sentence for each kind of point that was left out.

    Raises InputError where it is not clear what belongs together.
    """
    (here, start), (there, goal) = (
        _labelled(node, placement)
        for node, placement in ((fixed, _toWorld(fixed)), (moving, pair.placement(moving)))
    )
    matching = match_labels(here, there)
    start, goal = (points[rows] for points, rows in zip((start, goal), matching.columns(), strict=True))
    region, rows = counted(len(start), "landmark"), []
    for when, found in (("before", start), ("after", mapPoints(pair.toMoving(), start))):
        _, summary = target_registration_error(found, goal)
        rows += [
            Row(f"Landmark error, mean, {when}", region, summary["mean"], "mm", READERS),
            Row(f"Landmark error, maximum, {when}", region, summary["max"], "mm", READERS),
        ]
    return rows, matching.warnings()


def fillTable(table: slicer.vtkMRMLTableNode, rows: Sequence[Row], pair: Pair, measures: Measures) -> None:
    """Replaces what the table node holds by these numbers."""
    columns = [vtk.vtkDoubleArray() if name == "Value" else vtk.vtkStringArray() for name in COLUMNS]
    for column, name in zip(columns, COLUMNS, strict=True):
        column.SetName(name)
    for row in rows:
        cells = (
            row.quantity,
            row.region,
            round(row.value, DECIMALS.get(row.unit, 3)),
            row.unit,
            row.usual,
            row.source,
        )
        for column, cell in zip(columns, cells, strict=True):
            column.InsertNextValue(cell)
    with slicer.util.NodeModify(table):
        table.RemoveAllColumns()
        for column in columns:
            table.AddColumn(column)
        table.SetUseColumnTitleAsColumnHeader(True)
        table.SetLocked(True)
        table.SetNodeReferenceID(TRANSFORM_ROLE, pair.transform.GetID())
        table.SetDescription(
            f"{pair.fixed.GetName()} (fixed) and {pair.moving.GetName()} (moving), sampled every "
            f"{describe(measures.sampling.spacing)} mm. For visual checking; not a diagnostic device."
        )
    putIntoFolder(table, pair.transform)


def _labelled(
    node: slicer.vtkMRMLMarkupsFiducialNode, placement: vtk.vtkAbstractTransform
) -> tuple[list[str], np.ndarray]:
    """Labels and positions (N, 3) of the placed points."""
    placed = [
        n
        for n in range(node.GetNumberOfControlPoints())
        if node.GetNthControlPointPositionStatus(n) == node.PositionDefined
    ]
    points = [placement.TransformPoint(node.GetNthControlPointPosition(n)) for n in placed]
    return [node.GetNthControlPointLabel(n) for n in placed], np.array(points, float).reshape(-1, 3)


def _toWorld(node: slicer.vtkMRMLTransformableNode) -> vtk.vtkGeneralTransform:
    result = vtk.vtkGeneralTransform()
    if parent := node.GetParentTransformNode():
        parent.GetTransformToWorld(result)
    return result
