"""The growth curve of one nodule as Slicer's plot: its volume over time, with the 95 % interval as bars."""

from __future__ import annotations

from collections.abc import Sequence

import slicer
import slicer.util

from GLIDERegLib.core.counting import counted
from GLIDERegLib.scene.follow_up.results import Spot
from GLIDERegLib.scene.review.table import setColumns

DAYS, VOLUME = "Days since the first scan", "Volume (mm3)"
# Series, line style, marker. A plot of Slicer has no error bars: the second series draws them as a line.
SERIES = (
    ("Volume", "LineStyleSolid", "MarkerStyleCircle"),
    ("95 % interval", "LineStyleSolid", "MarkerStyleNone"),
)
COLOR = (0.12, 0.47, 0.71)
# Half of a bar's cap, as a share of the time shown, and at least so many days.
CAP, LEAST_CAP_DAYS = 0.015, 2.0


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
    if len(series) != len(SERIES) or any(one is None or one.GetTableNode() is None for one in series):
        series = _newSeries(chart)
    sized = [spot for spot in spots if spot.volume is not None]
    days = [float((spot.day - spots[0].day).days) for spot in sized]
    points = [(day, spot.volume[0]) for day, spot in zip(days, sized, strict=True)]
    cap = max(CAP * float((spots[-1].day - spots[0].day).days), LEAST_CAP_DAYS)
    bars = [point for day, spot in zip(days, sized, strict=True) for point in _bar(day, spot.volume, cap)]
    for one, line in zip(series, (points, bars), strict=True):
        columns = [(DAYS, [x for x, _ in line]), (VOLUME, [y for _, y in line])]
        setColumns(one.GetTableNode(), columns, {DAYS, VOLUME})
    chart.SetTitle(
        f"Nodule {number}: {len(sized)} of {counted(len(spots), 'date')} measured, bars: 95 % interval"
    )
    return chart


def _bar(day: float, volume: tuple[float, float, float], cap: float) -> list[tuple[float, float]]:
    """From the value down and up again with a cap at either end, so that bars in a row make one line."""
    value, *ends = volume
    path = [(day, value)]
    for end in ends:
        path += [(day, end), (day - cap, end), (day + cap, end), (day, end)]
    return [*path, (day, value)]


def _newSeries(chart: slicer.vtkMRMLPlotChartNode) -> list[slicer.vtkMRMLPlotSeriesNode]:
    scene = chart.GetScene()
    chart.SetXAxisTitle(DAYS)
    chart.SetYAxisTitle(VOLUME)
    chart.RemoveAllPlotSeriesNodeIDs()
    found = []
    for name, line, marker in SERIES:
        table = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(f"{name} (plotted)"))
        series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
        with slicer.util.NodeModify(series):
            series.SetAndObserveTableNodeID(table.GetID())
            series.SetPlotType(series.PlotTypeScatter)
            series.SetXColumnName(DAYS)
            series.SetYColumnName(VOLUME)
            series.SetLineStyle(getattr(series, line))
            series.SetMarkerStyle(getattr(series, marker))
            series.SetColor(*COLOR)
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
        found.append(series)
    return found
