"""A study in the scene: what a reader looks at, the same with all figures, and the changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import slicer

from GLIDERegLib.evaluation.follow_up.study import Study
from GLIDERegLib.evaluation.follow_up.tables import (
    CELLS,
    CHANGES,
    cell_rows,
    change_rows,
    grid_rows,
)
from GLIDERegLib.evaluation.follow_up.words import headline
from GLIDERegLib.scene.mrml.geometry import pointsToRas
from GLIDERegLib.scene.review.table import setColumns

LAST, REMARKS = "Between the last two sizes (95 %)", "Remarks"
# Places of one nodule in one scan, before and after another registration, lie this near.
SAME_NODULE_MM = 3.0
TABLES = ("nodules.csv", "growth.csv")


@dataclass(frozen=True)
class StudyTables:
    """table: a row a nodule, a cell a date. cells: a row for each nodule and date, as `tables.CELLS`. growth:
    a row for each change.
    """

    table: slicer.vtkMRMLTableNode
    cells: slicer.vtkMRMLTableNode
    growth: slicer.vtkMRMLTableNode


@dataclass(frozen=True)
class Spot:
    """A nodule at a date as the table of cells has it. point: world RAS mm, None where it is outside."""

    day: date
    status: str
    point: tuple[float, float, float]
    notes: str
    volume: tuple[float, float, float] | None = None


def writeStudy(
    study: Study,
    table: slicer.vtkMRMLTableNode | None,
    cells: slicer.vtkMRMLTableNode | None,
    growth: slicer.vtkMRMLTableNode | None,
) -> StudyTables:
    """Puts a study into these nodes, new ones where there is none."""
    scene, days = slicer.mrmlScene, study.days
    nodes = StudyTables(
        *(
            node or scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(name))
            for node, name in (
                (table, "Follow-up"),
                (cells, "Follow-up places"),
                (growth, "Follow-up growth"),
            )
        )
    )
    header, rows = grid_rows(study.nodules, days)
    lines = [headline(nodule, days) for nodule in study.nodules]
    rows = [
        [*row, "; ".join([line["span"], *line["lines"]]).strip("; "), _remarks(nodule, days)]
        for row, nodule, line in zip(rows, study.nodules, lines, strict=True)
    ]
    _fill(nodes.table, ["Nodule", *header[1:], LAST, REMARKS], rows)
    _fill(nodes.cells, CELLS, cell_rows(study.nodules, days))
    _fill(nodes.growth, CHANGES, change_rows(study.nodules, days))
    return nodes


def rowsOf(node: slicer.vtkMRMLTableNode | None) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table node, as text."""
    if node is None:
        return [], []
    table = node.GetTable()
    columns = range(table.GetNumberOfColumns())
    rows = [[table.GetValue(n, c).ToString() for c in columns] for n in range(table.GetNumberOfRows())]
    return [table.GetColumnName(column) for column in columns], rows


def spotsOf(cells: slicer.vtkMRMLTableNode | None, number: str) -> list[Spot]:
    """Where a nodule is at each date, in order of time, by its number."""
    header, rows = rowsOf(cells)
    found = []
    for row in (dict(zip(header, values, strict=True)) for values in rows):
        if row.get("nodule") != number:
            continue
        point = pointsToRas([float(row[f"{axis}_lps_mm"]) for axis in "xyz"])
        sizes = [row[f"volume_{name}mm3"] for name in ("", "low_", "high_")]
        volume = tuple(map(float, sizes)) if all(sizes) else None
        day = date.fromisoformat(row["date"])
        found.append(Spot(day, row["status"], tuple(point.tolist()), row["notes"], volume))
    return found


def cellSpots(cells: slicer.vtkMRMLTableNode | None) -> dict[str, list[Spot]]:
    """Where all nodules are at each date, by their numbers."""
    return {number: spotsOf(cells, number) for number in dict.fromkeys(row[0] for row in rowsOf(cells)[1])}


def sameNodules(before: dict[str, list[Spot]], after: dict[str, list[Spot]]) -> dict[str, str]:
    """The numbers of a study's nodules, by those that an earlier one gave them: of those within
    SAME_NODULE_MM in one date's scan the nearest.
    """
    numbers = {}
    for number, spots in before.items():
        apart = {other: _apart(spots, found) for other, found in after.items()}
        nearest = min(apart, key=apart.get, default="")
        if nearest and apart[nearest] <= SAME_NODULE_MM:
            numbers[number] = nearest
    return numbers


def _apart(one: Sequence[Spot], other: Sequence[Spot]) -> float:
    """mm between two nodules in the date's scan where they are nearest."""
    places = {spot.day: spot.point for spot in other}
    distances = [math.dist(spot.point, places[spot.day]) for spot in one if spot.day in places]
    return min(distances, default=math.inf)


def _remarks(nodule, days: list[date]) -> str:
    texts = [f"{day}: {note}" for day, cell in zip(days, nodule.cells, strict=True) for note in cell.notes]
    return "; ".join(texts)


def _fill(node: slicer.vtkMRMLTableNode, header, rows) -> None:
    # Text throughout: an empty cell must stay empty, and a column of numbers has none.
    texts = [["" if value is None else str(value) for value in row] for row in rows]
    columns = list(zip(*texts, strict=True)) or [()] * len(header)
    setColumns(node, list(zip(header, columns, strict=True)), set())
