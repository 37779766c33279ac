"""Contours propagated to the other scan beside Slicer, and lungs found there: new, unreviewed nodes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import slicer

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.scene.command import SceneTask
from GLIDERegLib.scene.quality.contour_nodes import LEAST_RANGE_MM, addScale, addSurface, readSegmentation
from GLIDERegLib.scene.quality.locks import transformLock
from GLIDERegLib.scene.quality.pair_texts import keepText, keptOf
from GLIDERegLib.scene.registration.inputs import writeVolume
from GLIDERegLib.scene.registration.pair import Pair
from GLIDERegLib.scene.registration.segments import segmentNames, writeSegments
from GLIDERegLib.scene.report.folder import ReportInputs, unwarped, writeReportFolder

KIND = "contours"
SCANS = ("fixed", "moving")
DIRECTIONS = ("fixed-to-moving", "moving-to-fixed")


class SceneContours(SceneTask):
    """Propagates segments of one pair at a time. python: an interpreter that has the engine."""

    WHAT = "propagation"

    def start(
        self,
        pair: Pair,
        direction: str,
        segmentation: slicer.vtkMRMLSegmentationNode,
        ids: Sequence[str],
        other: slicer.vtkMRMLSegmentationNode | None = None,
        temporaryFolder: str | None = None,
    ) -> None:
        """Starts with segments (their IDs) of the scan that a direction ("fixed-to-moving",
        "moving-to-fixed") starts from. other: of the other scan, to compare with by name.

        Raises InputError, with nothing left behind, for nodes that cannot be used and while one runs.
        """
        origin, goal = direction.split("-to-")

        def prepare(folder: Path) -> list[str]:
            if not ids:
                raise InputError(
                    f"'{segmentation.GetName()}' has no segment.", "Draw one first.", code="segments"
                )
            writeReportFolder(ReportInputs(pair.fixed, pair.moving, pair.transform), folder)
            writeSegments(pair, origin, segmentation, ids, folder / "source.seg.nrrd")
            words = ["--transform", str(folder / "transform.h5"), "--direction", direction]
            words += [word for scan in SCANS for word in (f"--{scan}", str(folder / f"{scan}.nrrd"))]
            words += ["--report", str(folder / "contours.json"), "-o", str(folder / "propagated.seg.nrrd")]
            if other is not None:
                writeSegments(pair, goal, other, list(segmentNames(other)), folder / "other.seg.nrrd")
                words += ["--compare", str(folder / "other.seg.nrrd"), "--surfaces", str(folder / "surfaces")]
            return ["propagate-labels", str(folder / "source.seg.nrrd"), *words, "--quiet"]

        if not self.active:
            self._of = pair, goal, segmentation.GetName()
        self._command.start(prepare, temporaryFolder)

    def poll(self) -> tuple[slicer.vtkMRMLSegmentationNode, dict] | None:
        """The new segmentation, and what the engine tells of each segment; None before, and without one."""
        return self._command.poll(lambda folder: takePropagated(*self._of, folder))


class SceneLungs(SceneTask):
    """Finds the lungs of both scans of one pair at a time."""

    WHAT = "search for the lungs"

    def start(self, pair: Pair, temporaryFolder: str | None = None) -> None:
        """Starts the search. Raises InputError while one goes on."""

        def prepare(folder: Path) -> list[str]:
            for scan, volume in zip(SCANS, (pair.fixed, unwarped(pair)), strict=True):
                writeVolume(volume, folder / f"{scan}.nrrd")
            files = [str(folder / f"{scan}.nrrd") for scan in SCANS]
            return ["find-lungs", *files, "-o", str(folder), "--quiet"]

        if not self.active:
            self._pair = pair
        self._command.start(prepare, temporaryFolder)

    def poll(self) -> list[slicer.vtkMRMLSegmentationNode] | None:
        """Segmentations of the fixed and the moving scan's lungs; None before, and where none were found."""
        return self._command.poll(lambda folder: [self._take(folder, scan) for scan in SCANS])

    def _take(self, folder: Path, scan: str) -> slicer.vtkMRMLSegmentationNode:
        volume = getattr(self._pair, scan)
        name = f"Lungs of {volume.GetName()}, found automatically, not reviewed"
        return readSegmentation(self._pair, scan, folder / f"{scan}_lungs.seg.nrrd", name)


def takePropagated(
    pair: Pair, goal: str, name: str, folder: Path
) -> tuple[slicer.vtkMRMLSegmentationNode, dict]:
    """Puts what `glidereg propagate-labels` left in a folder into the scene, and keeps its distances."""
    report = json.loads((folder / "contours.json").read_text(encoding="utf-8"))
    scan = getattr(pair, goal).GetName()
    title = f"{name} propagated to {scan}, not reviewed"
    node = readSegmentation(pair, goal, folder / "propagated.seg.nrrd", title)
    # One scale for all of them.
    highest = max(
        [found["p95_mm"] for found in report["compared"].values() if "p95_mm" in found], default=0.0
    )
    surfaces = [
        addSurface(
            pair,
            goal,
            folder / "surfaces" / file,
            f"Distances of {segment} in {scan}",
            max(LEAST_RANGE_MM, float(np.ceil(highest))),
        )
        for segment, file in report["surfaces"].items()
    ]
    if surfaces:
        addScale(surfaces[0])
    distances = {segment: found for segment, found in report["compared"].items() if "dice" in found}
    if distances:
        kept = {"transform": transformLock(pair), "compared": compared(pair) | distances}
        keepText(pair, KIND, f"Contours of {pair.transform.GetName()}", json.dumps(kept, indent=1))
    return node, report


def compared(pair: Pair) -> dict[str, dict[str, float]]:
    """Distances of contours that were propagated by the transform as it is now."""
    kept = keptOf(pair, KIND)
    return kept["compared"] if kept else {}
