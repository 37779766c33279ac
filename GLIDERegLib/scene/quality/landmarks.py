"""Landmarks found beside Slicer by `glidereg check`, and what the reader decides of them. No Qt.

The landmarks belong to two scans and know no transform; the errors of whatever transform is checked are
computed from them here, so that they are never out of date.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import slicer
import slicer.util

from GLIDERegLib.core.counting import counted
from GLIDERegLib.evaluation.landmarks.names import NEAR_PLEURA
from GLIDERegLib.files.points import read_points
from GLIDERegLib.scene.command import SceneTask
from GLIDERegLib.scene.mrml.geometry import mapPoints, pointsToRas
from GLIDERegLib.scene.mrml.sampling import quietVtk
from GLIDERegLib.scene.quality.landmark_nodes import (
    COLUMNS,
    CONFIRMED,
    REJECTED,
    ROLES,
    SEPARATOR,
    UNDECIDED,
    Place,
    newPointList,
    pointList,
    regionTable,
    writeMap,
    writeTable,
)
from GLIDERegLib.scene.registration.pair import Pair
from GLIDERegLib.scene.report.folder import ReportInputs, writeReportFolder

# As many places as a reader looks at.
WORST = 10


class SceneLandmarks(SceneTask):
    """Finds the landmarks of one pair at a time. python: an interpreter that has the engine."""

    WHAT = "search for landmarks"

    def __init__(self, python: str):
        super().__init__(python)
        self._pair: Pair | None = None

    @property
    def said(self) -> str:
        """What the search last told of itself."""
        return self._command.said

    def start(self, pair: Pair, temporaryFolder: str | None = None) -> None:
        """Writes the nodes and starts the search. Raises InputError, with nothing left behind, for nodes that
        cannot be used and while one goes on.
        """

        def prepare(folder: Path) -> list[str]:
            writeReportFolder(ReportInputs(pair.fixed, pair.moving, pair.transform), folder)
            files = {name: folder / f"{name}.nrrd" for name in ("fixed", "moving")}
            files["transform"] = folder / "transform.h5"
            options = [word for name, path in files.items() for word in (f"--{name}", str(path))]
            return ["check", *options, "-o", str(folder / "check")]

        self._command.start(prepare, temporaryFolder)
        self._pair = pair

    def poll(self) -> list[Place] | None:
        """The landmarks, put into the scene, once they are found; None before, and where there are none."""
        return self._command.poll(lambda folder: takeLandmarks(self._pair, folder / "check"))


def takeLandmarks(pair: Pair, folder: Path) -> list[Place]:
    """Puts what `glidereg check` has left in a folder into the scene, in place of the pair's earlier ones."""
    regions = _regions(folder / "fixed_landmarks.csv")
    for scan in ROLES:
        points = read_points(folder / f"{scan}_landmarks.csv")
        node = pointList(pair, scan) or newPointList(pair, scan)
        # Where the moving scan stands under the transform itself, its points stand there too.
        frame = pair.frame(pair.moving) if scan == "moving" else None
        with slicer.util.NodeModify(node):
            node.SetLocked(False)
            node.SetFixedNumberOfControlPoints(False)
            node.RemoveAllControlPoints()
            node.SetAndObserveTransformNodeID(frame.GetID() if frame else None)
            for label, point, names in zip(points.labels, pointsToRas(points.points), regions, strict=True):
                n = node.AddControlPoint(point.tolist(), label)
                node.SetNthControlPointDescription(n, SEPARATOR.join(names))
            node.SetLocked(True)
    report = json.loads((folder / "check.json").read_text(encoding="utf-8"))
    writeTable(pair, {region["name"]: 100 * region["uncovered"] for region in report["regions"]}, [])
    return refresh(pair)


def places(pair: Pair) -> list[Place]:
    """The pair's landmarks with the errors of its transform, in the order of their lists; none before a
    search.
    """
    fixedList, movingList = (pointList(pair, scan) for scan in ROLES)
    if fixedList is None or movingList is None:
        return []
    count = min(node.GetNumberOfControlPoints() for node in (fixedList, movingList))
    fixed = np.array([tuple(fixedList.GetNthControlPointPositionWorld(n)) for n in range(count)]).reshape(
        -1, 3
    )
    own = np.array([tuple(movingList.GetNthControlPointPosition(n)) for n in range(count)]).reshape(-1, 3)
    moving = mapPoints(pair.placement(movingList), own)
    with quietVtk():
        errors = np.linalg.norm(mapPoints(pair.toMoving(), fixed) - moving, axis=1)
    found = []
    for n in range(count):
        names = fixedList.GetNthControlPointDescription(n).split(SEPARATOR)
        decision = names.pop() if names[-1] in (CONFIRMED, REJECTED) else UNDECIDED
        where = tuple(fixed[n].tolist()), tuple(moving[n].tolist())
        label = fixedList.GetNthControlPointLabel(n)
        found.append(Place(n, label, tuple(names), *where, float(errors[n]), decision))
    return found


def worst(found: Sequence[Place], count: int = WORST) -> list[Place]:
    """Those with the largest errors, rejected ones included, largest first."""
    return sorted(found, key=lambda place: -place.error)[:count]


def decide(pair: Pair, place: Place, decision: str) -> list[Place]:
    """Writes what the reader thinks of a landmark; a rejected one counts no more. Returns all, refreshed."""
    text = SEPARATOR.join([*place.regions, *filter(None, [decision])])
    for scan in ROLES:
        node = pointList(pair, scan)
        # The reader may have deleted points or a list meanwhile.
        if node is not None and place.number < node.GetNumberOfControlPoints():
            node.SetNthControlPointDescription(place.number, text)
            node.SetNthControlPointSelected(place.number, decision != REJECTED)
    return refresh(pair)


def refresh(pair: Pair) -> list[Place]:
    """Brings the pair's table and map of errors to its present transform and decisions; returns the
    landmarks.
    """
    found = places(pair)
    counting = [place for place in found if place.decision != REJECTED]
    if (table := regionTable(pair)) is not None:
        last = len(COLUMNS) - 1
        rows = range(table.GetNumberOfRows())
        writeTable(pair, {table.GetCellText(n, 0): float(table.GetCellText(n, last)) for n in rows}, counting)
    if found:
        writeMap(pair, counting)
    return found


def summary(found: Sequence[Place]) -> str:
    """One line: how many count, their errors, how many were rejected; "" before a search."""
    errors = np.array([place.error for place in found if place.decision != REJECTED])
    if not len(errors):
        return "No landmark counts." if found else ""
    text = (
        f"{counted(len(errors), 'landmark')}: error {errors.mean():.2f} mm on average, 95 % below "
        f"{np.percentile(errors, 95):.2f} mm, largest {errors.max():.1f} mm."
    )
    rejected = len(found) - len(errors)
    return f"{text} {rejected} rejected." if rejected else text


def _regions(path: Path) -> list[list[str]]:
    """The regions of each landmark of a file that `glidereg check` has left."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    return [[row["region"], *[NEAR_PLEURA] * (row["near_pleura"] == "true")] for row in rows]
