"""A registration in the scene as the files that `glidereg register` leaves, for `glidereg report`."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.points import PointSet, write_points
from GLIDERegLib.scene.mrml.geometry import pointsToLps
from GLIDERegLib.scene.registration.identity import identityOf
from GLIDERegLib.scene.registration.inputs import writeTransform, writeVolume
from GLIDERegLib.scene.registration.pair import Pair, makePair, unwarped
from GLIDERegLib.scene.registration.results import NoduleTask
from GLIDERegLib.scene.review.nodules import PropagatedPoint, checkNodules, propagatePoints
from GLIDERegLib.scene.review.table import HEADERS, Row, readRows

REVIEW = "review.csv"
# The names that `glidereg register` gives: what is marked in one scan, and where it is in the other one.
MARKED = {"fixed-to-moving": "fixed_points", "moving-to-fixed": "moving_points"}
PROPAGATED = {"fixed-to-moving": "points_moving.csv", "moving-to-fixed": "points_fixed.csv"}
# Columns of the review that the report shows by itself, or that mean nothing on paper.
TOLD = (
    *("label", "fixed", "moving", "predicted", "displacement", "insideField", "insideMoving", "point"),
    # Neither tells of the nodule: one follows from how an inverse is made, the other is the tissue's.
    *("residual", "expansionPercent"),
)


@dataclass(frozen=True)
class ReportInputs:
    """What a report tells of.

    transform: any whose from-parent direction maps fixed to moving points. nodules: lists as they were
    propagated; the output is where the nodules are now, by label, corrected ones included. review: the review
    table, whose nodules then take the place of the lists; or any table with a column "Label", whose further
    columns are taken over. engineReport: the engine's report, where the transform is its result as it was;
    without it the numbers are measured anew.
    """

    fixedVolume: slicer.vtkMRMLScalarVolumeNode
    movingVolume: slicer.vtkMRMLScalarVolumeNode
    transform: slicer.vtkMRMLTransformNode
    nodules: Sequence[NoduleTask] = ()
    review: slicer.vtkMRMLTableNode | None = None
    engineReport: dict[str, Any] | None = None


def writeReportFolder(inputs: ReportInputs, folder: Path) -> None:
    """Writes the nodes into a folder as `glidereg register` leaves it, for `glidereg report`.

    The moving volume is written where it lies unwarped. Raises InputError for nodes that cannot be used, or a
    disk that is full.
    """
    pair = makePair(inputs.fixedVolume, inputs.movingVolume, inputs.transform)
    moving = unwarped(pair)
    writeVolume(pair.fixed, folder / "fixed.nrrd")
    writeVolume(moving, folder / "moving.nrrd")
    if stored := pair.transform.GetTransformFromParent():
        # Only then VTK says whether a grid is stored the other way round.
        stored.Update()
    writeTransform(pair.transform, moving, folder / "transform.h5")
    paths = {"fixed": "fixed.nrrd", "moving": "moving.nrrd"}
    rows = [] if inputs.review is None else readRows(inputs.review)
    for direction, points in (_reviewed(rows) if rows else _propagated(inputs.nodules, pair)).items():
        if points:
            paths[MARKED[direction]] = f"{MARKED[direction]}.csv"
            _writePoints(direction, points, folder)
    if rows:
        _writeRows(rows, folder / REVIEW)
    elif inputs.review is not None:
        _writeTable(inputs.review, folder / REVIEW)
    names = {
        "fixed": pair.fixed.GetName(),
        "moving": pair.moving.GetName(),
        "transform": pair.transform.GetName(),
    }
    dates = {"fixed": identityOf(pair.fixed).date, "moving": identityOf(pair.moving).date}
    report = {
        **(inputs.engineReport or {}),
        "inputs": paths,
        "names": names,
        "study_dates": {role: day.isoformat() if day else "" for role, day in dates.items()},
    }
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")


def _propagated(tasks: Sequence[NoduleTask], pair: Pair) -> dict[str, list[PropagatedPoint]]:
    """The lists' points by direction, each where its propagated list has it now, or as predicted."""
    found = {}
    for task in tasks:
        checkNodules(task.source, pair.transform, task.direction, task.output)
        present = _positions(task.output)
        points = propagatePoints(
            task.source, pair.toMoving(), task.direction, pair.fixed, pair.moving, pair.movingIndex
        )
        found[task.direction] = [
            replace(point, result=present[point.label][0])
            if len(present.get(point.label, ())) == 1
            else point
            for point in points
        ]
    return found


def _positions(node: slicer.vtkMRMLMarkupsFiducialNode) -> dict[str, list[tuple[float, ...]]]:
    """World RAS positions of a list's placed points by label."""
    found: dict[str, list[tuple[float, ...]]] = {}
    for n in range(node.GetNumberOfControlPoints()):
        if node.GetNthControlPointPositionStatus(n) == node.PositionDefined:
            position = tuple(node.GetNthControlPointPositionWorld(n))
            found.setdefault(node.GetNthControlPointLabel(n), []).append(position)
    return found


def _reviewed(rows: Sequence[Row]) -> dict[str, list[PropagatedPoint]]:
    """The review's nodules by direction, where the reader has them now."""
    found: dict[str, list[PropagatedPoint]] = {}
    for row in rows:
        direction = "moving-to-fixed" if row.markedIn == "moving" else "fixed-to-moving"
        found.setdefault(direction, []).append(row.propagated(row.counterpart))
    return found


def _writePoints(direction: str, points: Sequence[PropagatedPoint], folder: Path) -> None:
    labels = [point.label for point in points]
    sources, results = (
        pointsToLps(np.array([getattr(point, end) for point in points])) for end in ("source", "result")
    )
    columns = {
        "residual_mm": [point.residual for point in points],
        "inside_field": [point.insideField for point in points],
        "inside_moving": [point.insideMoving for point in points],
    }
    write_points(PointSet(labels, sources), folder / f"{MARKED[direction]}.csv")
    write_points(PointSet(labels, results), folder / PROPAGATED[direction], columns)


def _writeRows(rows: Sequence[Row], path: Path) -> None:
    """What the report does not tell by itself of the review's nodules; what is unknown is left empty."""
    names = [name for name in HEADERS if name not in TOLD]
    table = [["Label", *(HEADERS[name] for name in names), "Corrected by (mm)"]]
    for row in rows:
        values = [getattr(row, name) for name in names]
        correction = f"{row.correction:.1f}" if row.isCorrected else ""
        texts = [(f"{value:.3g}" if value else "") if isinstance(value, float) else value for value in values]
        table.append([row.label, *texts, correction])
    _writeCsv(table, path)


def _writeTable(node: slicer.vtkMRMLTableNode, path: Path) -> None:
    table = node.GetTable()
    columns = range(table.GetNumberOfColumns())
    names = [table.GetColumnName(column) for column in columns]
    if "Label" not in names:
        raise InputError(
            f"The table '{node.GetName()}' has no column 'Label'.",
            "Choose another review table.",
            code="columns",
        )
    rows = range(table.GetNumberOfRows())
    _writeCsv([names, *([table.GetValue(row, c).ToString() for c in columns] for row in rows)], path)


def _writeCsv(rows: Sequence[Sequence[str]], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
