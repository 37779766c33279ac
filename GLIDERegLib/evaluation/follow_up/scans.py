"""The dated scans of one patient, listed in a CSV.

    scan,date,points,searched
    2022/ct.nii.gz,2022-03-10,2022/nodules.csv,yes
    2023/dicom,,2023/nodules.mrk.json,no

scan: an image file or a DICOM folder. date: YYYY-MM-DD, may be empty for DICOM, whose study date counts
then. points: the nodules marked in that scan, may be empty. searched: yes where every nodule of the scan was
marked, so that what has no mark was not seen; without it, it was only not marked. Paths are relative to the
CSV.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.patients import Patient, yet_to_come
from GLIDERegLib.files.points import PointSet, read_points
from GLIDERegLib.files.tables import read_table
from GLIDERegLib.files.volumes import scan_identity

COLUMNS, REQUIRED = ("scan", "date", "points", "searched"), ("scan",)
YES, NO = ("yes", "true", "1"), ("no", "false", "0", "")


@dataclass(frozen=True)
class DatedScan:
    """One line of the list. stated: the date that DICOM has, where that is another one than `day`."""

    path: Path
    day: date
    points: Path | None
    searched: bool
    patient: Patient = Patient()
    stated: str = ""

    @property
    def name(self) -> str:
        """By which folders and tables call the scan: its date, which tells nobody's name."""
        return self.day.isoformat()

    def marks(self) -> PointSet:
        """The marked nodules; raises InputError as `read_points` does."""
        return PointSet([], np.zeros((0, 3))) if self.points is None else read_points(self.points)


def read_scans(path: Path) -> list[DatedScan]:
    """The scans of a list, in order of their dates.

    Raises InputError, naming the line, for a file that is missing, a date that cannot be read or is not
    known, some that are yet to come beside others, two scans of one date, one scan of two dates, and fewer
    than two scans.
    """
    path = Path(path)
    scans: dict[date, DatedScan] = {}
    for number, row in read_table(path, REQUIRED, COLUMNS):
        scan = _scan(row, path.parent, f"line {number} of '{path}'")
        if scan.day in scans:
            raise InputError(
                f"Two scans of '{path}' are of {scan.day}",
                "Keep one of them: no growth shows between two scans of one day.",
                code="scan-dates",
            )
        if scan.path.resolve() in (other.path.resolve() for other in scans.values()):
            raise InputError(
                f"Line {number} of '{path}' names a scan that an earlier line gives another date",
                "Name each date's own scan.",
                code="scan-dates",
            )
        scans[scan.day] = scan
    if len(scans) < 2:
        raise InputError(f"The list '{path}' holds one scan", "Give at least two.", code="one-scan")
    if wrong := yet_to_come(scans):
        raise InputError(f"The date {wrong} in '{path}' is yet to come", "Correct it.", code="scan-dates")
    return [scans[day] for day in sorted(scans)]


def number_of(scans: Sequence[DatedScan], wanted: str | None) -> int:
    """The number of the scan of a date as text, the newest where None. Raises InputError for another date."""
    if wanted is None:
        return len(scans) - 1
    names = [scan.name for scan in scans]
    if wanted not in names:
        raise InputError(f"No scan is of {wanted}", f"Choose one of {', '.join(names)}.", code="scan-dates")
    return names.index(wanted)


def _scan(row: dict[str, str], folder: Path, where: str) -> DatedScan:
    scan = folder / row["scan"]
    points = folder / row["points"] if row.get("points") else None
    for file, what in ((scan, "scan"), (points, "points")):
        if file is not None and not file.exists():
            raise InputError(
                f"The {what} '{file}' in {where} does not exist", "Check the path.", code="file-missing"
            )
    searched = row.get("searched", "").lower()
    if searched not in YES + NO:
        raise InputError(f"'{searched}' under searched in {where} is neither yes nor no.", code="setting")
    patient, stated = scan_identity(scan, "scan")
    given = row.get("date", "") or stated
    try:
        day = date.fromisoformat(given)
    except ValueError:
        fault = f"'{given}' under date in {where} is no date" if given else f"The scan in {where} has no date"
        raise InputError(fault, "Write it as 2024-03-10.", code="scan-dates") from None
    return DatedScan(scan, day, points, searched in YES, patient, stated if stated != given else "")
