"""Nodules followed through the frames of a sequence: as points, as a table, and as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import slicer

from GLIDERegLib.evaluation.follow_up.tables import write_csv
from GLIDERegLib.files.outputs import OutputFolder
from GLIDERegLib.scene.follow_up.results import rowsOf
from GLIDERegLib.scene.review.nodules import PropagatedPoint, describe
from GLIDERegLib.scene.review.table import setColumns

# More lines than this nobody can tell apart; the nodules that move most are drawn.
MOST_LINES = 12
COLORS = ("1f77b4", "ff7f0e", "2ca02c", "d62728", "9467bd", "8c564b", "e377c2", "7f7f7f", "bcbd22", "17becf")
DISPLACEMENT = "Displacement (mm)"
Tracks = dict[int, Sequence[PropagatedPoint]]


def trackNode(points: Sequence[PropagatedPoint]) -> slicer.vtkMRMLMarkupsFiducialNode:
    """The nodules where they are in one frame, locked; not in the scene."""
    node = slicer.vtkMRMLMarkupsFiducialNode()
    node.SetName("Nodules")
    for point in points:
        n = node.AddControlPoint(point.result, point.label)
        node.SetNthControlPointDescription(n, describe(point))
        node.SetNthControlPointSelected(n, False)
    node.SetLocked(True)
    return node


def makeTable(name: str, volumes: slicer.vtkMRMLSequenceNode, tracks: Tracks) -> slicer.vtkMRMLTableNode:
    """A new table with a row for each nodule in each frame: position (world RAS mm), displacement from the
    reference (mm), and what tells of its reliability.

    tracks: the nodules by the number of the frame.
    """
    rows = [(frame, point) for frame, points in tracks.items() for point in points]
    columns = [
        (indexTitle(volumes), [volumes.GetNthIndexValue(frame) for frame, _ in rows]),
        ("Label", [point.label for _, point in rows]),
        *((f"{axis} (mm)", [point.result[n] for _, point in rows]) for n, axis in enumerate("RAS")),
        (DISPLACEMENT, [_displacement(point) for _, point in rows]),
        ("Inverse residual (mm)", [point.residual for _, point in rows]),
        ("Inside the field", ["yes" if point.insideField else "no" for _, point in rows]),
        ("Inside the frame", ["yes" if point.insideMoving else "no" for _, point in rows]),
    ]
    numeric = {header for header, _ in columns if header.endswith("(mm)")}
    if _isNumeric(volumes):
        columns[0] = (columns[0][0], [float(value) for value in columns[0][1]])
        numeric.add(columns[0][0])
    table = _add(volumes, "vtkMRMLTableNode", name)
    setColumns(table, columns, numeric)
    return table


def exportTables(folder: Path, tables: Mapping[str, slicer.vtkMRMLTableNode]) -> None:
    """Writes tables as CSV files of these names; InputError, with nothing written, where that cannot be."""
    with OutputFolder(folder) as out:
        for name, table in tables.items():
            write_csv(out / name, *rowsOf(table))


def makeChart(name: str, volumes: slicer.vtkMRMLSequenceNode, tracks: Tracks) -> slicer.vtkMRMLPlotChartNode:
    """A new chart of the nodules' displacement (mm) from the reference over the frames, and the table it
    draws from. Frames count from 1 where their index values are no numbers.

    tracks: the nodules by the number of the frame, the same ones in each.
    """
    title = indexTitle(volumes) if _isNumeric(volumes) else "Frame"
    places = [float(volumes.GetNthIndexValue(n)) if _isNumeric(volumes) else float(n + 1) for n in tracks]
    lengths = np.array([[_displacement(point) for point in points] for points in tracks.values()])
    labels = _distinct([point.label for point in next(iter(tracks.values()))], {title})
    table = _add(volumes, "vtkMRMLTableNode", f"{name} (plotted)")
    columns = [(title, places), *((label, lengths[:, n].tolist()) for n, label in enumerate(labels))]
    setColumns(table, columns, {header for header, _ in columns})
    chart = _add(volumes, "vtkMRMLPlotChartNode", name)
    chart.SetTitle(name)
    chart.SetXAxisTitle(title)
    chart.SetYAxisTitle(DISPLACEMENT)
    most = np.argsort(-lengths.max(axis=0), kind="stable")[:MOST_LINES] if labels else ()
    for line, n in enumerate(sorted(most)):
        series = _add(volumes, "vtkMRMLPlotSeriesNode", labels[n])
        series.SetName(labels[n])
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetPlotType(series.PlotTypeScatter)
        series.SetXColumnName(title)
        series.SetYColumnName(labels[n])
        series.SetMarkerStyle(series.MarkerStyleCircle)
        color = COLORS[line % len(COLORS)]
        series.SetColor(*(int(color[c : c + 2], 16) / 255 for c in (0, 2, 4)))
        series.SetLineStyle(series.LineStyleSolid if line < len(COLORS) else series.LineStyleDash)
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return chart


def indexTitle(volumes: slicer.vtkMRMLSequenceNode) -> str:
    """What a sequence counts, such as "phase (%)"."""
    unit = volumes.GetIndexUnit()
    return f"{volumes.GetIndexName() or 'Frame'} ({unit})" if unit else volumes.GetIndexName() or "Frame"


def _isNumeric(volumes: slicer.vtkMRMLSequenceNode) -> bool:
    return volumes.GetIndexType() == volumes.NumericIndex


def _displacement(point: PropagatedPoint) -> float:
    return float(np.linalg.norm(np.subtract(point.result, point.source)))


def _distinct(labels: Sequence[str], taken: set[str]) -> list[str]:
    """The labels, with a number where one would name two columns."""
    found: list[str] = []
    for label in labels:
        name, number = label, 1
        while name in taken or name in found or not name:
            number += 1
            name = f"{label} ({number})"
        found.append(name)
    return found


def _add(volumes: slicer.vtkMRMLSequenceNode, className: str, name: str) -> slicer.vtkMRMLNode:
    scene = volumes.GetScene()
    return scene.AddNewNodeByClass(className, scene.GenerateUniqueName(name))
