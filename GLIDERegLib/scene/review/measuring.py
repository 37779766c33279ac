"""Nodules measured in the original scans of a pair by `glidereg measure`, beside Slicer. No Qt.

measuring = NoduleMeasuring(sys.executable)
measuring.add([Target(key, scan, point)])
while measuring.active:
    for target, found, mask in measuring.poll():    # from a timer
        ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import slicer
import slicer.util

from GLIDERegLib.core.acquisition import Acquisition
from GLIDERegLib.core.ct import is_ct
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.files.points import PointSet, write_points
from GLIDERegLib.scene.command import SceneTask
from GLIDERegLib.scene.follow_up.measuring import POINTS, SCAN, TABLE, readMeasured
from GLIDERegLib.scene.mrml.geometry import gridFromMatrix, ijkToWorld, isRegularlyPlaced, pointsToLps
from GLIDERegLib.scene.mrml.nrrd import writeNrrd
from GLIDERegLib.scene.registration.pair import Pair, unwarped
from GLIDERegLib.scene.review.measured_segments import Mask

if TYPE_CHECKING:
    from GLIDERegLib.evaluation.measuring import NoduleMeasurement

MASKS = "masks.seg.nrrd"
# Around the points: the cube in which a nodule is looked for, and enough to tell that this is CT.
REACH_MM = 20.0 + 40.0


@dataclass(frozen=True)
class Target:
    """A nodule to be measured. key: (marked in, point, scan). volume: of the original scan, where it lies
    unwarped (see `original`). point: LPS mm, there. step: see `glidereg measure`. acquired: what DICOM says
    of the scan.
    """

    key: tuple[str, str, str]
    volume: Volume
    point: tuple[float, float, float]
    step: int = 0
    acquired: Acquisition = Acquisition()


def original(pair: Pair, scan: str) -> Volume:
    """The voxels of the "fixed" or the "moving" scan where they lie unwarped, shared with the node.

    Raises InputError where a transform bends the scan.
    """
    node = pair.fixed if scan == "fixed" else unwarped(pair)
    if not isRegularlyPlaced(node):
        raise InputError(
            f"The volume '{node.GetName()}' stands under a transform that bends it.",
            "Take it out of that transform, since nodules are measured in the original scan.",
            code="transform",
        )
    grid = gridFromMatrix(ijkToWorld(node), node.GetImageData().GetDimensions())
    placed = Grid(*(tuple(grid[key]) for key in ("size", "spacing", "origin", "direction")))
    volume = Volume(slicer.util.arrayFromVolume(node), placed, f"{scan} scan")
    if not is_ct(volume):
        raise InputError(
            f"The values of the {scan} scan are not Hounsfield units, by which nodules are measured.",
            "Choose the CT scan as it was reconstructed.",
            code="not-hounsfield",
        )
    return volume


class NoduleMeasuring(SceneTask):
    """Measures one scan's nodules at a time. python: an interpreter that has the engine.

    failure: why the nodules were not measured; what waited is then dropped.
    """

    WHAT = "measurement"

    def __init__(self, python: str):
        super().__init__(python)
        self._waiting: list[Target] = []
        self._targets: list[Target] = []

    @property
    def number(self) -> int:
        """Of nodules that are or will be measured."""
        return len(self._waiting) + (len(self._targets) if self.active else 0)

    def step(self, key: tuple[str, str, str]) -> int | None:
        """Of a nodule that is or will be measured."""
        pending = [*(self._targets if self.active else ()), *self._waiting]
        return next((target.step for target in reversed(pending) if target.key == key), None)

    def add(self, targets: Sequence[Target]) -> None:
        """Measures these too; one that waits already is measured once, as asked for last. Raises InputError
        for a scan that cannot be written.
        """
        keys = {target.key for target in targets}
        self._waiting = [*(target for target in self._waiting if target.key not in keys), *targets]
        if not self.active:
            self._next()

    def poll(self) -> list[tuple[Target, NoduleMeasurement, Mask | None]]:
        """What has been measured since: targets, their NoduleMeasurement and masks. Raises InputError as
        `add` does.
        """
        found = self._command.poll(self._read)
        if found is None:
            if self.failure:
                self._waiting = []
            return []
        self._next()
        return found

    def close(self) -> None:
        """Ends what is running and removes what was temporary."""
        self._waiting = []
        self._command.close()

    def _next(self) -> None:
        """Those of the first one's scan and step together, since each start of a process costs a second."""
        if not self._waiting:
            return
        first = self._waiting[0]

        def alike(target: Target) -> bool:
            return target.volume.array is first.volume.array and target.step == first.step

        self._targets = [target for target in self._waiting if alike(target)]
        self._waiting = [target for target in self._waiting if not alike(target)]
        try:
            self._command.start(self._prepare, slicer.app.temporaryPath)
        except BaseException:
            self._waiting = []
            raise

    def _prepare(self, folder: Path) -> list[str]:
        points = np.array([target.point for target in self._targets])
        part = near(self._targets[0].volume, points)
        grid = {key: list(getattr(part.grid, key)) for key in ("size", "spacing", "origin", "direction")}
        writeNrrd(part.array, grid, folder / SCAN)
        labels = [f"P{n}" for n in range(1, len(points) + 1)]
        write_points(PointSet(labels, points), folder / POINTS)
        options = ["--points", str(folder / POINTS), "-o", str(folder / TABLE)]
        options += ["--masks", str(folder / MASKS), "--step", str(self._targets[0].step), "--quiet"]
        return ["measure", str(folder / SCAN), *options]

    def _read(self, folder: Path) -> list[tuple[Target, NoduleMeasurement, Mask | None]]:
        # Here, since it brings SimpleITK, which would make Slicer's start slower.
        from GLIDERegLib.files.segmentations import read_segmentation

        measured = readMeasured(folder, self._targets[0].acquired)
        masks = {}
        if any(found.measured for found in measured):
            outlines, grid = read_segmentation(folder / MASKS), self._targets[0].volume.grid
            start = np.rint(grid.to_index(outlines.grid.origin)).astype(int)
            masks = {segment.label: _cropped(mask, start) for segment, mask in outlines.masks()}
        return [
            (target, found, masks.get(n))
            for n, (target, found) in enumerate(zip(self._targets, measured, strict=True), 1)
        ]


def near(volume: Volume, points: np.ndarray) -> Volume:
    """The part of a scan around points (LPS mm) that measuring looks at; all of it where that part alone does
    not look like CT.
    """
    index = volume.grid.to_index(points)
    reach = REACH_MM / np.asarray(volume.grid.spacing)
    size = np.asarray(volume.grid.size)
    first = np.clip(np.floor(index.min(axis=0) - reach).astype(int), 0, size - 1)
    last = np.clip(np.ceil(index.max(axis=0) + reach).astype(int), 0, size - 1)
    box = tuple(slice(a, b + 1) for a, b in zip(first[::-1], last[::-1], strict=True))
    origin = tuple(volume.grid.to_physical(first).tolist())
    grid = Grid(tuple((last - first + 1).tolist()), volume.grid.spacing, origin, volume.grid.direction)
    part = Volume(volume.array[box], grid, volume.name)
    return part if is_ct(part) else volume


def pointIn(scan: str, row) -> tuple[float, float, float]:
    """Where a row's nodule is in a scan, LPS mm."""
    return tuple(pointsToLps(np.array(getattr(row, scan))).tolist())


def _cropped(mask: np.ndarray, start: np.ndarray) -> Mask:
    box = tuple(slice(int(found.min()), int(found.max()) + 1) for found in np.nonzero(mask))
    first = [int(start[axis]) + box[2 - axis].start for axis in range(3)]
    return mask[box].astype(np.uint8), first
