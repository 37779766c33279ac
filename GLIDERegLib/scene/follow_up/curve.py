"""The growth curve of one nodule as Slicer's plot: its volume over time, with the 95 % interval."""

from __future__ import annotations

from collections.abc import Sequence

import slicer
import slicer.util

from GLIDERegLib.scene.follow_up.results import Spot
from GLIDERegLib.scene.review.table import setColumns

DAYS = "Days since the first scan"
# Column, line style, marker.
LINES = (
    ("Volume (mm3)", "LineStyleSolid", "MarkerStyleCircle"),
    ("95 % low (mm3)", "LineStyleDash", "MarkerStyleNone"),
    ("95 % high (mm3)", "LineStyleDash", "MarkerStyleNone"),
)
COLOR = (0.12, 0.47, 0.71)


def drawCurve(
    chart: slicer.vtkMRMLPlotChartNode | None, number: str, spots: Sequence[Spot]
) -> slicer.vtkMRMLPlotChartNode:
    """Draws a nodule's measured volumes into a chart, a new one where there is none; returns it.

    spots: of all dates. Dates without a size are left out.
    """
    scene = slicer.mrmlScene
    if chart is None:
        chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", scene.GenerateUniqueName("Growth"))
    series = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
    if len(series) != len(LINES) or None in series or series[0].GetTableNode() is None:
        series = _newSeries(chart)
    sized = [spot for spot in spots if spot.volume is not None]
    days = [float((spot.day - spots[0].day).days) for spot in sized]
    columns = [(DAYS, days), *((name, [s.volume[n] for s in sized]) for n, (name, *_) in enumerate(LINES))]
    setColumns(series[0].GetTableNode(), columns, {name for name, _ in columns})
    chart.SetTitle(f"Nodule {number}: {len(sized)} of {len(spots)} dates measured")
    return chart


def _newSeries(chart: slicer.vtkMRMLPlotChartNode) -> list[slicer.vtkMRMLPlotSeriesNode]:
    scene = chart.GetScene()
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName("Growth (plotted)"))
    chart.SetXAxisTitle(DAYS)
    chart.SetYAxisTitle(LINES[0][0])
    chart.RemoveAllPlotSeriesNodeIDs()
    found = []
    for name, line, marker in LINES:
        series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
        with slicer.util.NodeModify(series):
            series.SetAndObserveTableNodeID(table.GetID())
            series.SetPlotType(series.PlotTypeScatter)
            series.SetXColumnName(DAYS)
            series.SetYColumnName(name)
            series.SetLineStyle(getattr(series, line))
            series.SetMarkerStyle(getattr(series, marker))
            series.SetColor(*COLOR)
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
        found.append(series)
    return found
