"""One review in the scene: the pair, the reader's lists, the propagated lists and the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import slicer
import slicer.util

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.scene.registration.pair import Pair, makePair, registeredVolumes
from GLIDERegLib.scene.registration.results import createOutput
from GLIDERegLib.scene.review.judging import DIRECTIONS, MATCH_MM, Judge, Lists, Update, planUpdate
from GLIDERegLib.scene.review.nodules import SOURCE_ROLE, PropagatedPoint, fillNodules
from GLIDERegLib.scene.review.table import CORRECTED, TINY_MM, Row, readRows, writeRows

# The table names the lists whose points its rows are.
LIST_ROLES = {"moving": "GLIDEReg.MovingNodules", "fixed": "GLIDEReg.FixedNodules"}


@dataclass(frozen=True)
class Review:
    """lists: what the reader marked in the "moving" and the "fixed" scan, one or both. distance: mm within
    which marks of both are one nodule.
    """

    pair: Pair
    lists: Lists
    distance: float = MATCH_MM

    def judge(self) -> Judge:
        return Judge(self.pair, self.lists, self.distance)

    def plan(self, tableNode: slicer.vtkMRMLTableNode | None) -> Update:
        """What a table made anew would hold; changes nothing. Raises InputError where it cannot be made."""
        rows = readRows(tableNode) if tableNode else []
        # Points of another list are other nodules, even if they have the same identifiers.
        own = [row for row in rows if self._isOf(tableNode, row.markedIn)]
        strangers = [row for row in rows if row not in own]
        return planUpdate(self.judge(), self.lists, own, strangers)

    def isStale(self, tableNode: slicer.vtkMRMLTableNode) -> bool:
        """True where the transform or the reader's lists have changed since the table was made."""
        predicted = [row.predicted for row in readRows(tableNode)]
        judge = self.judge()
        found = [point.result for scan, node in self.lists.items() for point in judge.propagate(node, scan)]
        return len(found) != len(predicted) or not np.allclose(found, predicted, rtol=0, atol=TINY_MM)

    def propagatedList(self, markedIn: str, present: slicer.vtkMRMLMarkupsFiducialNode | None):
        """The list for a reader's points propagated: `present` if it is that already, or new."""
        source = self.lists[markedIn]
        if present is not None and present.GetNodeReference(SOURCE_ROLE) is source:
            return present
        scan = self.pair.fixed if markedIn == "moving" else self.pair.moving
        return createOutput("vtkMRMLMarkupsFiducialNode", f"{source.GetName()} in {scan.GetName()}", scan)

    def apply(self, rows: Sequence[Row], tableNode: slicer.vtkMRMLTableNode, propagated: Lists) -> None:
        """Writes rows into the table and, locked, into the propagated lists."""
        writeRows(tableNode, rows)
        for markedIn, role in LIST_ROLES.items():
            source = self.lists.get(markedIn)
            tableNode.SetNodeReferenceID(role, source.GetID() if source else None)
            if source:
                points = [_point(row, source) for row in rows if row.markedIn == markedIn]
                fillNodules(propagated[markedIn], points, source, DIRECTIONS[markedIn])

    def _isOf(self, tableNode: slicer.vtkMRMLTableNode, markedIn: str) -> bool:
        source = self.lists.get(markedIn)
        return source is not None and tableNode.GetNodeReference(LIST_ROLES[markedIn]) is source


def chosenReview(parameters) -> Review:
    """What the parameter node chooses: the pair of its transform, where that names its scans, and the lists.

    Raises InputError, saying what is missing.
    """
    node = parameters
    volumes = (None, None) if node.checkTransform is None else registeredVolumes(node.checkTransform)
    chosen = ((node.checkFixed, node.fixedVolume), (node.checkMoving, node.movingVolume))
    fixed, moving = (own or a or b for own, (a, b) in zip(volumes, chosen, strict=True))
    pair = makePair(fixed, moving, node.checkTransform)
    lists = {"moving": node.movingNodules, "fixed": node.fixedNodules}
    lists = {scan: listNode for scan, listNode in lists.items() if listNode is not None}
    if not lists:
        raise InputError("Choose the nodules marked in the moving or in the fixed scan.")
    return Review(pair, lists, node.matchDistance)


def takeMoves(
    judge: Judge, rows: Sequence[Row], listNode: slicer.vtkMRMLMarkupsFiducialNode, markedIn: str
) -> list[Row]:
    """The rows after the reader moved points of a propagated list: those are judged anew and "corrected"."""
    positions = slicer.util.arrayFromMarkupsControlPoints(listNode, world=True)
    places = [n for n, row in enumerate(rows) if row.markedIn == markedIn]
    rows = list(rows)
    # Where points were added or removed, nobody knows which is which: the next update puts that right.
    if len(places) == len(positions):
        for n, position in zip(places, positions.tolist(), strict=True):
            if np.linalg.norm(np.subtract(rows[n].counterpart, position)) > TINY_MM:
                rows[n] = replace(judge.moved(rows[n], tuple(position)), status=CORRECTED)
    return rows


def setEditable(listNode: slicer.vtkMRMLMarkupsFiducialNode, editable: bool) -> None:
    """Lets the points of a propagated list be dragged, but not added or removed; or locks them."""
    with slicer.util.NodeModify(listNode):
        listNode.SetFixedNumberOfControlPoints(True)
        listNode.SetLocked(not editable)


def _point(row: Row, source: slicer.vtkMRMLMarkupsFiducialNode) -> PropagatedPoint:
    description = source.GetNthControlPointDescription(source.GetNthControlPointIndexByID(row.point))
    return row.propagated(row.counterpart, description)
