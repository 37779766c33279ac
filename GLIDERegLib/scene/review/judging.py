"""Nodules to review: propagated through any transform, judged, merged with the reader's decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import slicer
import vtk

from GLIDERegLib.evaluation.agreement import PointMap, image_sampler, local_agreement
from GLIDERegLib.evaluation.nodules import Evidence, advice, left_out_mm, match, volume_ratios
from GLIDERegLib.scene.mrml.geometry import mapPoints
from GLIDERegLib.scene.mrml.sampling import quietVtk
from GLIDERegLib.scene.registration.pair import Pair
from GLIDERegLib.scene.review.nodules import PropagatedPoint, checkNodules, isInside, propagatePoints
from GLIDERegLib.scene.review.table import NOT_REVIEWED, Point, Row

# A prediction that moved less than this is taken for the same.
SAME_PLACE_MM = 1.0
DIRECTIONS = {"moving": "moving-to-fixed", "fixed": "fixed-to-moving"}
# Marks of both scans farther apart than this are no one nodule, where the reader chooses nothing else.
MATCH_MM = 10.0
# The scan in which what was marked in the other one may be absent.
ABSENT_FROM = {"moving": "the fixed scan", "fixed": "the moving scan"}
Lists = dict[str, slicer.vtkMRMLMarkupsFiducialNode]


class Judge:
    """Judges nodules that the transform of a pair propagates between its scans.

    A nodule itself is not compared, only what is around it, and where nobody marked it in the other scan that
    is said, as in a follow-up. lists: of both scans, by which one is marked in the other, too, within
    `distance` mm.
    """

    def __init__(self, pair: Pair, lists: Lists | None = None, distance: float = MATCH_MM):
        self._pair = pair
        self._toMoving = pair.toMoving()
        self._map = partial(mapPoints, self._toMoving)
        placements = ((pair.fixed, pair.fixedIndex), (pair.moving, pair.movingIndex))
        self._samplers = [image_sampler(slicer.util.arrayFromVolume(v), index) for v, index in placements]
        edges = [_voxelEdges(volume, index) for volume, index in placements]
        self._voxel = max(float(np.prod(edge) ** (1 / 3)) for edge in edges)
        self._edge = max(float(edge.max()) for edge in edges)
        self._absent = self._absentMarks(lists or {}, distance)

    def propagate(self, listNode: slicer.vtkMRMLMarkupsFiducialNode, markedIn: str) -> list[PropagatedPoint]:
        """The placed points of a list marked in the "moving" or "fixed" scan, with their predictions.

        Raises InputError for a list that stands under the transform.
        """
        checkNodules(listNode, self._pair.transform, DIRECTIONS[markedIn], None)
        with quietVtk():
            pair = self._pair
            return propagatePoints(
                listNode, self._toMoving, DIRECTIONS[markedIn], pair.fixed, pair.moving, pair.movingIndex
            )

    def row(
        self,
        point: PropagatedPoint,
        markedIn: str,
        identifier: str,
        propagated: Point | None = None,
        diameter: float = 0.0,
    ) -> Row:
        """The row of a propagated point; `propagated`: where the reader says that it really is; diameter: mm,
        0 where unknown.
        """
        landing = point.result if propagated is None else propagated
        fixed, moving = (landing, point.source) if markedIn == "moving" else (point.source, landing)
        with quietVtk():
            found = local_agreement(
                *self._samplers, self._map, fixed, moving, self._voxel, left_out_mm(diameter)
            )
            ratios = volume_ratios(self._map, np.asarray(fixed))
        pair = self._pair
        evidence = Evidence(
            isInside(pair.fixed, fixed) and insideGrids(self._toMoving, fixed),
            isInside(pair.moving, moving, pair.movingIndex),
            point.residual,
            *ratios,
            found.agreement,
            found.shift,
            found.spread,
            self._voxel,
            self._edge,
        )
        absent = landing == point.result and (markedIn, identifier) in self._absent
        recommended, reason = advice(evidence, ABSENT_FROM[markedIn] if absent else "")
        return Row(
            point.label,
            markedIn,
            tuple(fixed),
            tuple(moving),
            tuple(point.result),
            float(np.linalg.norm(np.subtract(moving, fixed))),
            100 * evidence.volume_ratio,
            evidence.residual,
            evidence.agreement,
            evidence.uncertainty or 0.0,
            "yes" if evidence.inside_fixed and evidence.inside_moving else "no",
            recommended,
            reason,
            point=identifier,
            insideMoving="yes" if evidence.inside_moving else "no",
        )

    def moved(self, row: Row, propagated: Point) -> Row:
        """The row with its nodule elsewhere in the other scan; what the reader decided stays."""
        point = row.propagated(row.predicted)
        judged = self.row(point, row.markedIn, row.point, propagated, sizeOf(row))
        return keepDecision(judged, row, row.status)

    def _absentMarks(self, lists: Lists, distance: float) -> set[tuple[str, str]]:
        """Scan and identifier of the marks that have none in the other scan."""
        marks = {scan: placedPoints(node) for scan, node in lists.items()}
        absent = {(scan, name) for scan, names in marks.items() for name in names}
        if len(marks) == len(DIRECTIONS):
            propagated = [point.result for point in self.propagate(lists["moving"], "moving")]
            marked = [point.source for point in self.propagate(lists["fixed"], "fixed")]
            for n, m, _ in match(np.array(propagated), np.array(marked), distance):
                absent -= {("moving", marks["moving"][n]), ("fixed", marks["fixed"][m])}
        return absent


@dataclass(frozen=True)
class Update:
    """A table made anew. rows: without any decision. old: the rows before, by list and point.

    moved: labels of decided nodules whose prediction is now elsewhere; lost: of those whose mark is gone.
    """

    judge: Judge
    rows: list[Row]
    old: dict[tuple[str, str], Row]
    moved: list[str]
    lost: list[str]

    def merged(self, keepMoved: bool) -> list[Row]:
        """The new rows with the decisions, corrected positions, comments and sizes of the old ones.

        keepMoved: False takes status and correction from those that moved; their comments and sizes stay.
        """
        rows = []
        for row in self.rows:
            old = self.old.get(_key(row))
            if old is not None and not keepMoved and _hasMoved(old, row):
                row = keepDecision(row, old, NOT_REVIEWED)
            elif old is not None:
                row = self.judge.moved(row, old.counterpart) if old.isCorrected else row
                row = keepDecision(row, old, old.status)
            rows.append(row)
        return rows


def planUpdate(
    judge: Judge,
    lists: Lists,
    oldRows: Sequence[Row],
    strangers: Sequence[Row] = (),
) -> Update:
    """Propagates and judges the lists ("moving", "fixed") anew; changes nothing in the scene.

    oldRows: of the same lists, before. strangers: of other lists, which the table will no longer hold.
    Raises InputError for a list that cannot be propagated.
    """
    old = {_key(row): row for row in oldRows}
    sizes = {key: sizeOf(row) for key, row in old.items()}
    rows = []
    for markedIn, listNode in lists.items():
        for point, name in zip(judge.propagate(listNode, markedIn), placedPoints(listNode), strict=True):
            rows.append(judge.row(point, markedIn, name, diameter=sizes.get((markedIn, name), 0.0)))
    new = {_key(row): row for row in rows}
    decided = {key: row for key, row in old.items() if row.isDecided}
    moved = [row.label for key, row in decided.items() if key in new and _hasMoved(row, new[key])]
    lost = [row for key, row in decided.items() if key not in new]
    lost += [row for row in strangers if row.isDecided]
    return Update(judge, rows, old, moved, [row.label for row in lost])


def keepDecision(row: Row, old: Row, status: str) -> Row:
    """A row with the reader's words and sizes of another one, and a status."""
    return replace(
        row,
        status=status,
        comment=old.comment,
        fixedDiameter=old.fixedDiameter,
        fixedDiameterFrom=old.fixedDiameterFrom,
        movingDiameter=old.movingDiameter,
        movingDiameterFrom=old.movingDiameterFrom,
        growth=old.growth,
        doublingDays=old.doublingDays,
        noduleType=old.noduleType,
        fixedSolidPart=old.fixedSolidPart,
        movingSolidPart=old.movingSolidPart,
        fixedMeasured=old.fixedMeasured,
        movingMeasured=old.movingMeasured,
        measuredGrowth=old.measuredGrowth,
    )


def sizeOf(row: Row) -> float:
    """Diameter in mm in the scan in which the nodule was marked, 0 where unknown."""
    return row.movingDiameter if row.markedIn == "moving" else row.fixedDiameter


def placedPoints(listNode: slicer.vtkMRMLMarkupsFiducialNode) -> list[str]:
    """The identifiers of the points of a list that have a position, in its order."""
    return [
        listNode.GetNthControlPointID(n)
        for n in range(listNode.GetNumberOfControlPoints())
        if listNode.GetNthControlPointPositionStatus(n) == listNode.PositionDefined
    ]


def insideGrids(transform: vtk.vtkAbstractTransform, point: Sequence[float]) -> bool:
    """False where a displacement grid in the transform does not reach the point, so that it only guesses."""
    # An inverse knows its parts only then.
    transform.Update()
    if isinstance(transform, vtk.vtkGeneralTransform):
        for n in range(transform.GetNumberOfConcatenatedTransforms()):
            part = transform.GetConcatenatedTransform(n)
            if not insideGrids(part, point):
                return False
            point = part.TransformPoint(point)
        return True
    if not isinstance(transform, vtk.vtkGridTransform):
        return True
    if transform.GetInverseFlag():
        point = transform.TransformPoint(point)
    image = transform.GetDisplacementGrid()
    offset = np.subtract(point, image.GetOrigin())
    if isinstance(transform, slicer.vtkOrientedGridTransform) and transform.GetGridDirectionMatrix():
        axes = slicer.util.arrayFromVTKMatrix(transform.GetGridDirectionMatrix())[:3, :3]
        offset = np.linalg.solve(axes, offset)
    index = offset / image.GetSpacing()
    return bool(np.all((index >= -0.5) & (index <= np.asarray(image.GetDimensions()) - 0.5)))


def _key(row: Row) -> tuple[str, str]:
    return row.markedIn, row.point


def _hasMoved(old: Row, new: Row) -> bool:
    return bool(np.linalg.norm(np.subtract(old.predicted, new.predicted)) >= SAME_PLACE_MM)


def _voxelEdges(volume: slicer.vtkMRMLVolumeNode, toIndex: PointMap) -> np.ndarray:
    """Edges (3,) in mm of the voxels in the middle of the volume, wherever its parents put it."""
    bounds = np.zeros(6)
    volume.GetRASBounds(bounds)
    ends = bounds.reshape(3, 2).mean(axis=1) + np.concatenate([np.eye(3), -np.eye(3)])
    index = toIndex(ends)
    return np.linalg.norm(np.linalg.inv((index[:3] - index[3:]).T / 2), axis=0)
