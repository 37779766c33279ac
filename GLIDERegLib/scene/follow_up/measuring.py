"""Nodules of scans in the scene measured by `glidereg measure`, beside Slicer, one scan after another. No Qt.

measuring = ScanMeasuring(sys.executable)
measuring.start(scans)
while measuring.active:
    measuring.poll()    # from a timer
measuring.found, measuring.failure
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from GLIDERegLib.core.acquisition import Acquisition
from GLIDERegLib.files.points import write_points
from GLIDERegLib.scene.command import SceneTask
from GLIDERegLib.scene.follow_up.scans import SceneScan
from GLIDERegLib.scene.registration.acquisition import acquisitionOf
from GLIDERegLib.scene.registration.inputs import writeVolume

if TYPE_CHECKING:
    from GLIDERegLib.evaluation.measuring import NoduleMeasurement

SCAN, POINTS, TABLE = "scan.nrrd", "points.csv", "measured.csv"
NUMBERS = (
    "volume_mm3",
    "volume_low_mm3",
    "volume_high_mm3",
    "long_mm",
    "short_mm",
    "mean_low_mm",
    "mean_high_mm",
    "mean_hu",
)
TRUE = "true"


class ScanMeasuring(SceneTask):
    """Measures one list of scans at a time. python: an interpreter that has the engine.

    found: for each scan the measurements of its marks, in their order. done: number of scans measured.
    """

    WHAT = "measurement"

    def __init__(self, python: str):
        super().__init__(python)
        self._waiting: list[int] = []
        self.found: list[list[NoduleMeasurement]] = []
        self.done = 0

    def start(self, scans: Sequence[SceneScan], temporaryFolder: str | None = None) -> None:
        """Starts with the first scan that has marks. Raises InputError for scans that cannot be written and
        while others are measured.
        """
        self._scans, self._temporaryFolder, self.done = list(scans), temporaryFolder, 0
        self.found = [[] for _ in scans]
        self._waiting = [n for n, scan in enumerate(scans) if len(scan.marks())]
        self._next()

    def poll(self) -> None:
        """Takes what has been measured, and goes on with the next scan. Raises InputError as `start` does."""
        measured = self._command.poll(self._read)
        if measured is None:
            return
        self.found[self._number] = measured
        self.done += 1
        self._next()

    def close(self) -> None:
        """Ends what is running and removes what was temporary."""
        self._waiting = []
        self._command.close()

    def _read(self, folder: Path) -> list[NoduleMeasurement]:
        return readMeasured(folder, acquisitionOf(self._scans[self._number].volume))

    def _next(self) -> None:
        if self._waiting:
            self._number = self._waiting.pop(0)
            self._command.start(self._prepare, self._temporaryFolder)

    def _prepare(self, folder: Path) -> list[str]:
        scan = self._scans[self._number]
        writeVolume(scan.volume, str(folder / SCAN))
        write_points(scan.marks(), folder / POINTS)
        options = ["--points", str(folder / POINTS), "-o", str(folder / TABLE), "--quiet"]
        return ["measure", str(folder / SCAN), *options]


def readMeasured(folder: Path, acquired: Acquisition) -> list[NoduleMeasurement]:
    """The measurements of a table that `glidereg measure` wrote, without masks and centres.

    acquired: what DICOM says of the scan, which the file that was measured cannot hold.
    """
    from GLIDERegLib.evaluation.measuring import MEASURED, NoduleMeasurement

    lines = (folder / TABLE).read_text(encoding="utf-8").splitlines(keepends=True)
    found = []
    for row in csv.DictReader(line for line in lines if not line.startswith("#")):
        point = tuple(float(row[axis]) for axis in "xyz")
        sizes = {}
        if row["status"] == MEASURED:
            sizes = {name: float(row[name]) if row[name] else None for name in NUMBERS}
        scanned = None
        if sizes:
            pixel, apart = float(row["pixel_mm"]), float(row["slice_mm"])
            voxel, noise = (pixel, pixel, apart), float(row["noise_hu"])
            scanned = replace(acquired, voxel_mm=voxel, noise_hu=noise)
            touches = {name: row[name] == TRUE for name in ("touches_vessel", "touches_pleura")}
            sizes |= {"attenuation": row["attenuation"], **touches}
        found.append(NoduleMeasurement(point, row["status"], **sizes, scanned=scanned))
    return found
