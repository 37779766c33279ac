"""The dated scans of a patient, kept in a table node that is saved with the scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import slicer
import slicer.util

from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.files.patients import Patient, patients_of_dates, yet_to_come
from GLIDERegLib.files.points import PointSet
from GLIDERegLib.scene.mrml.geometry import gridFromMatrix, ijkToWorld, isRegularlyPlaced, pointsToLps
from GLIDERegLib.scene.registration.checks import volumeProblem
from GLIDERegLib.scene.registration.identity import identityOf
from GLIDERegLib.scene.registration.request import placedPoints
from GLIDERegLib.scene.review.table import setColumns

HEADERS = ("Date", "Scan", "Nodules", "All marked")
# A number follows: the row's.
SCAN_ROLE, NODULES_ROLE = "GLIDEReg.Scan", "GLIDEReg.Nodules"
YES, NO = "yes", "no"


@dataclass(frozen=True)
class SceneScan:
    """A scan of a date. nodules: those marked in it. searched: whether every nodule of it was marked."""

    volume: slicer.vtkMRMLScalarVolumeNode
    day: date
    nodules: slicer.vtkMRMLMarkupsFiducialNode | None = None
    searched: bool = False

    @property
    def name(self) -> str:
        return self.day.isoformat()

    @property
    def stated(self) -> str:
        """The date that DICOM has, where that is another one than `day`."""
        found = identityOf(self.volume).date
        return found.isoformat() if found is not None and found != self.day else ""

    @property
    def patient(self) -> Patient:
        return identityOf(self.volume).patient

    def marks(self) -> PointSet:
        """The marked nodules, world LPS mm."""
        if self.nodules is None:
            return PointSet([], np.zeros((0, 3)))
        labels, points = placedPoints(self.nodules)
        return PointSet([label or f"P{n}" for n, label in enumerate(labels, 1)], pointsToLps(points))

    def read(self) -> Volume:
        """The voxels, shared with the node, where they are in the world."""
        grid = gridFromMatrix(ijkToWorld(self.volume), self.volume.GetImageData().GetDimensions())
        placed = Grid(*(tuple(grid[key]) for key in ("size", "spacing", "origin", "direction")))
        return Volume(slicer.util.arrayFromVolume(self.volume), placed, f"scan of {self.name}")


def readScans(tableNode: slicer.vtkMRMLTableNode | None) -> list[SceneScan]:
    """The scans of a list in order of time; without those whose volume has left the scene."""
    if tableNode is None or tableNode.GetTable().GetColumnByName(HEADERS[0]) is None:
        return []
    table, scans = tableNode.GetTable(), []
    for row in range(table.GetNumberOfRows()):
        volume = tableNode.GetNodeReference(f"{SCAN_ROLE}{row}")
        if volume is None:
            continue
        day, searched = (table.GetValueByName(row, HEADERS[n]).ToString() for n in (0, 3))
        nodules = tableNode.GetNodeReference(f"{NODULES_ROLE}{row}")
        scans.append(SceneScan(volume, date.fromisoformat(day), nodules, searched == YES))
    return scans


def writeScans(tableNode: slicer.vtkMRMLTableNode, scans: Sequence[SceneScan]) -> None:
    """Replaces a list by these scans, put in order of time."""
    scans = sorted(scans, key=lambda scan: scan.day)
    before = tableNode.GetTable().GetNumberOfRows()
    with slicer.util.NodeModify(tableNode):
        for row in range(max(before, len(scans))):
            scan = scans[row] if row < len(scans) else None
            nodules = scan.nodules if scan else None
            tableNode.SetNodeReferenceID(f"{SCAN_ROLE}{row}", scan.volume.GetID() if scan else None)
            tableNode.SetNodeReferenceID(f"{NODULES_ROLE}{row}", nodules.GetID() if nodules else None)
        cells = (
            [scan.name for scan in scans],
            [scan.volume.GetName() for scan in scans],
            [scan.nodules.GetName() if scan.nodules else "" for scan in scans],
            [YES if scan.searched else NO for scan in scans],
        )
        setColumns(tableNode, list(zip(HEADERS, cells, strict=True)), set())


def withScan(scans: Sequence[SceneScan], new: SceneScan) -> list[SceneScan]:
    """The list with one more scan, or with what is said of one that it has already."""
    return sorted(
        [*(scan for scan in scans if scan.volume is not new.volume), new], key=lambda scan: scan.day
    )


def dayOf(text: str) -> date | None:
    """A day as a reader types it, YYYY-MM-DD; None for anything else."""
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        return None


def scansProblem(scans: Sequence[SceneScan], anyPatient: bool = False) -> str | None:
    """Why these scans cannot be followed, in one sentence; None where they can."""
    if len(scans) < 2:
        return "Add at least two scans with their dates."
    days = [scan.day for scan in scans]
    if twice := sorted({scan.name for scan in scans if days.count(scan.day) > 1}):
        return f"Two scans are of {twice[0]}: keep one, since no growth shows between two scans of one day."
    if wrong := yet_to_come(days):
        return f"The date {wrong} is yet to come: correct it."
    for scan in scans:
        if problem := volumeProblem(scan.volume):
            return problem
        if not isRegularlyPlaced(scan.volume):
            return (
                f"The volume '{scan.volume.GetName()}' stands under a transform that bends it: take it out "
                "of that transform, since nodules are measured in the original scan."
            )
    if not anyPatient and (mismatch := patients_of_dates({scan.name: scan.patient for scan in scans})):
        return mismatch
    return None
