"""Registrations of the scene to DICOM and back, by `export-dicom` and `import-dicom` beside Slicer. No Qt.

Volumes that Slicer loaded from DICOM hold their images' UIDs; its database knows where the files are.
"""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path

import slicer
import slicer.util
import vtk

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.scene.command import SceneTask
from GLIDERegLib.scene.mrml.geometry import gridFromMatrix
from GLIDERegLib.scene.registration.identity import identityOf, patientMismatch
from GLIDERegLib.scene.registration.inputs import writeTransform
from GLIDERegLib.scene.registration.pair import Pair
from GLIDERegLib.scene.registration.results import setRegistrationReferences

UIDS, FRAME = "DICOM.instanceUIDs", "0020,0052"
VOLUME = "vtkMRMLScalarVolumeNode"


class SceneExport(SceneTask):
    """Writes one registration object at a time. python: an interpreter that has the engine."""

    WHAT = "DICOM object"

    def start(self, pair: Pair, path: str | PathLike, temporaryFolder: str | None = None) -> None:
        """Starts writing the pair's transform to a DICOM file.

        Raises InputError, with nothing left behind, for scans that no object may join and while one is made.
        """
        files = {role: dicomFile(volume) for role, volume in scans(pair).items()}
        refuse(pair)

        def prepare(folder: Path) -> list[str]:
            writeTransform(pair.transform, pair.moving, folder / "transform.h5")
            images = {role: _image(volume) for role, volume in scans(pair).items()}
            (folder / "report.json").write_text(json.dumps({"images": images}), encoding="utf-8")
            named = [word for role, file in files.items() for word in (f"--{role}-dicom", file)]
            return ["export-dicom", str(folder), *named, "-o", str(self._path)]

        if not self.active:
            self._path = Path(path).absolute()
        self._command.start(prepare, temporaryFolder)

    def poll(self) -> Path | None:
        """The file once it is written; None before, and where `failure` says why it could not be."""
        return self._command.poll(lambda folder: self._path)


class SceneImport(SceneTask):
    """Reads one registration object at a time into the scene."""

    WHAT = "import"

    def start(self, path: str | PathLike, temporaryFolder: str | None = None) -> None:
        """Starts reading a file. Raises InputError while another is read."""

        def prepare(folder: Path) -> list[str]:
            report = ["--report", str(folder / "object.json")]
            return ["import-dicom", str(path), "-o", str(folder / "transform.h5"), *report]

        self._command.start(prepare, temporaryFolder)

    def poll(self) -> tuple[slicer.vtkMRMLTransformNode, str] | None:
        """The transform, put into the scene, and what there is to say of it, once it is read; None before."""
        return self._command.poll(takeRegistration)


def scans(pair: Pair) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
    return {"fixed": pair.fixed, "moving": pair.moving}


def direction(pair: Pair) -> str:
    """From which scan's points to which the transform leads."""
    return f"{pair.fixed.GetName()} \u2192 {pair.moving.GetName()}"


def dicomFile(volume: slicer.vtkMRMLScalarVolumeNode) -> str:
    """A file of the DICOM series that a volume was loaded from. Raises InputError where there is none."""
    uids = (volume.GetAttribute(UIDS) or "").split()
    if not uids:
        raise InputError(
            f"The scan '{volume.GetName()}' does not come from DICOM",
            "Load it from Slicer's DICOM database.",
            code="scene",
        )
    database = getattr(slicer, "dicomDatabase", None)
    file = database.fileForInstance(uids[0]) if database is not None else ""
    if not file or not Path(file).is_file():
        raise InputError(
            f"The files of the scan '{volume.GetName()}' are not in Slicer's DICOM database any more",
            "Import them again.",
            code="scene",
        )
    return str(file)


def refuse(pair: Pair) -> None:
    """Raises InputError for scans of different patients, without a frame of reference, or moved in Slicer."""
    if problem := patientMismatch([pair.fixed, pair.moving]):
        raise InputError(problem)
    for volume in scans(pair).values():
        refuseScan(volume)
    if pair.transform.GetParentTransformNode() is not None:
        raise InputError(
            f"The transform '{pair.transform.GetName()}' stands under another",
            "Take it out of that one.",
            code="transform",
        )


def refuseScan(volume: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Raises InputError for a scan without a frame of reference, or moved in Slicer."""
    if volume.GetParentTransformNode() is not None:
        raise InputError(
            f"The scan '{volume.GetName()}' stands under a transform: it is not where DICOM has it",
            "Take it out of that transform.",
            code="transform",
        )
    if not frameOf(volume):
        raise InputError(
            f"The scan '{volume.GetName()}' has no Frame of Reference UID for an object to refer to.",
            code="scene",
        )


def frameOf(volume: slicer.vtkMRMLScalarVolumeNode) -> str:
    """The Frame of Reference UID of a volume's series; empty where unknown."""
    uids = (volume.GetAttribute(UIDS) or "").split()
    # Absent where Slicer runs without its module DICOM.
    database = getattr(slicer, "dicomDatabase", None)
    return str(database.instanceValue(uids[0], FRAME) or "") if uids and database is not None else ""


def describeExport(pair: Pair) -> str:
    """Whose scans they are and between which frames the object will lead, to be read before it is written.

    Raises InputError as `SceneExport.start` does.
    """
    refuse(pair)
    patient = str(identityOf(pair.fixed).patient) or "unknown"
    lines = [f"Patient: {patient}", f"Direction: {direction(pair)}"]
    for role, volume in scans(pair).items():
        day = identityOf(volume).date
        dated = f" of {day.isoformat()}" if day else ""
        lines.append(f"{role.capitalize()}: {volume.GetName()}{dated}, frame of reference {frameOf(volume)}")
    return "\n".join(lines)


def takeRegistration(folder: Path) -> tuple[slicer.vtkMRMLTransformNode, str]:
    """Puts the transform that `import-dicom` left into the scene, with the scans it is of where loaded."""
    report = json.loads((folder / "object.json").read_text(encoding="utf-8"))
    node = slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLTransformNode", slicer.mrmlScene.GenerateUniqueName(f"{report['label'] or report['kind']}")
    )
    storage = slicer.vtkMRMLTransformStorageNode()
    storage.SetFileName(str(folder / "transform.h5"))
    if not storage.ReadData(node):
        slicer.mrmlScene.RemoveNode(node)
        raise InputError("Slicer cannot read the transform of this registration object.", code="transform")
    found = {role: _volumeOf(report[role]) for role in ("fixed", "moving")}
    notes = list(report["notes"])
    if all(found.values()):
        setRegistrationReferences(node, found["fixed"], found["moving"])
    for role, volume in found.items():
        if volume is None:
            series = report[role]["series"] or f"frame of reference {report[role]['frame']}"
            notes.append(f"The {role} scan is not loaded (series {series}); load it and select it.")
    return node, " ".join(notes)


def _volumeOf(scan: dict) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The loaded volume of a scan: by its images, else the only one of its frame of reference."""
    volumes = slicer.util.getNodesByClass(VOLUME)
    images = set(scan["images"])
    for volume in volumes:
        if images & set((volume.GetAttribute(UIDS) or "").split()):
            return volume
    if images:
        return None
    same = [volume for volume in volumes if scan["frame"] and frameOf(volume) == scan["frame"]]
    return same[0] if len(same) == 1 else None


def _image(volume: slicer.vtkMRMLScalarVolumeNode) -> dict:
    """Where Slicer has a volume, as a report of a registration says it."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    grid = gridFromMatrix(slicer.util.arrayFromVTKMatrix(matrix), volume.GetImageData().GetDimensions())
    names = {"size": "size", "spacing": "spacing_mm", "origin": "origin_mm", "direction": "direction"}
    return {
        written: [float(v) if key != "size" else int(v) for v in grid[key]] for key, written in names.items()
    }
