"""Segments of the scene to DICOM, by `export-contours` beside Slicer, on the slices their scan came from."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import slicer

from GLIDERegLib.scene.command import SceneTask
from GLIDERegLib.scene.registration.dicom_objects import dicomFile, frameOf, refuseScan
from GLIDERegLib.scene.registration.identity import identityOf
from GLIDERegLib.scene.registration.pair import Pair
from GLIDERegLib.scene.registration.segments import segmentNames, writeSegments

# What `export-contours` calls them: the object, and its file's name.
KINDS = {"seg": ("DICOM Segmentation", "segmentation"), "rtstruct": ("RT Structure Set", "structures")}


class SceneContourExport(SceneTask):
    """Writes one object at a time. python: an interpreter that has the engine."""

    WHAT = "DICOM object"

    def start(
        self,
        kind: str,
        pair: Pair,
        scan: str,
        segmentation: slicer.vtkMRMLSegmentationNode,
        ids: Sequence[str],
        goal: str | PathLike,
        temporaryFolder: str | None = None,
    ) -> None:
        """Starts writing segments of the "fixed" or the "moving" scan into a folder, beside what is there.

        kind: of KINDS. Raises InputError, with nothing left behind, for a scan that no object can refer to
        and while one is made.
        """
        volume = getattr(pair, scan)
        file = dicomFile(volume)
        refuseScan(volume)

        def prepare(folder: Path) -> list[str]:
            writeSegments(pair, scan, segmentation, ids, folder / "source.seg.nrrd")
            words = ["export-contours", str(folder / "source.seg.nrrd"), "--dicom", file, "--type", kind]
            return [*words, "-o", str(self._path)]

        if not self.active:
            self._path = _free(Path(goal).absolute(), KINDS[kind][1])
        self._command.start(prepare, temporaryFolder)

    def poll(self) -> Path | None:
        """The file once it is written; None before, and where `failure` says why it could not be."""
        return self._command.poll(lambda folder: self._path)


def describeContours(
    kind: str, volume: slicer.vtkMRMLScalarVolumeNode, segmentation, ids: Sequence[str]
) -> str:
    """Whose scan it is, its frame, and what will be written, to be read before it is.

    Raises InputError as `SceneContourExport.start` does.
    """
    dicomFile(volume)
    refuseScan(volume)
    identity, names = identityOf(volume), segmentNames(segmentation)
    day = f" of {identity.date.isoformat()}" if identity.date else ""
    return "\n".join(
        (
            f"Patient: {str(identity.patient) or 'unknown'}",
            f"Scan: {volume.GetName()}{day}, frame of reference {frameOf(volume)}",
            f"Object: {KINDS[kind][0]}, not approved",
            f"Segments: {', '.join(names[name] for name in ids)}",
        )
    )


def _free(folder: Path, name: str) -> Path:
    """A file of the folder that is not there yet."""
    number, path = 1, folder / f"{name}.dcm"
    while path.exists():
        number += 1
        path = folder / f"{name}-{number}.dcm"
    return path
