"""A second, independent registration with the scans exchanged, and how far both ways end apart. No Qt.

What it found is kept in the scene for the transform as it was then; the second transform stays as a node.
"""

from __future__ import annotations

import json
from pathlib import Path

import slicer
import slicer.util

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.scene.command import SceneTask
from GLIDERegLib.scene.quality.locks import transformLock
from GLIDERegLib.scene.quality.maps import TRANSFORM_ROLE, putIntoFolder
from GLIDERegLib.scene.quality.pair_texts import keepText, keptOf
from GLIDERegLib.scene.registration.pair import Pair
from GLIDERegLib.scene.registration.results import setRegistrationReferences
from GLIDERegLib.scene.report.folder import ReportInputs, writeReportFolder

KIND, BACKWARD = "consistency", "GLIDEReg.Backward"
TRANSFORM = "vtkMRMLTransformNode"
# Options of the command that are not called as their setting is.
_OPTIONS = {"name": "preset", "encoder_slice_step": "slice-step"}


class SceneConsistency(SceneTask):
    """Registers one pair the other way round at a time. python: an interpreter that has the engine."""

    WHAT = "second registration"

    @property
    def said(self) -> str:
        """What it last told of itself."""
        return self._command.said

    def start(self, pair: Pair, settings: dict, temporaryFolder: str | None = None) -> None:
        """Writes the nodes and starts. settings: keywords of `Settings.preset`.

        Raises InputError, with nothing left behind, for nodes that cannot be used and while one goes on.
        """

        def prepare(folder: Path) -> list[str]:
            writeReportFolder(ReportInputs(pair.fixed, pair.moving, pair.transform), folder)
            files = {name: folder / f"{name}.nrrd" for name in ("fixed", "moving")}
            files |= {"transform": folder / "transform.h5", "keep-backward": folder / "backward.h5"}
            options = [word for name, path in files.items() for word in (f"--{name}", str(path))]
            return ["consistency", *options, *optionsOf(settings), "-o", str(folder / "consistency.json")]

        if not self.active:
            self._of = pair, transformLock(pair)
        self._command.start(prepare, temporaryFolder)

    def poll(self) -> slicer.vtkMRMLTransformNode | None:
        """The second transform, put into the scene; None before, and without one."""
        return self._command.poll(lambda folder: takeConsistency(*self._of, folder))


def optionsOf(settings: dict) -> list[str]:
    """The command's options for keywords of `Settings.preset`."""
    named = {_OPTIONS.get(name, name.replace("_", "-")): value for name, value in settings.items()}
    return [word for name, value in named.items() for word in (f"--{name}", str(value))]


def takeConsistency(pair: Pair, lock: str, folder: Path) -> slicer.vtkMRMLTransformNode:
    """Puts what `glidereg consistency` has left in a folder into the scene, in place of an earlier one.

    lock: of the transform when it was written. Raises InputError, with nothing new in the scene, where Slicer
    cannot read it.
    """
    report = json.loads((folder / "consistency.json").read_text(encoding="utf-8"))
    earlier, scene = backwardOf(pair), pair.fixed.GetScene()
    name = f"{pair.moving.GetName()} to {pair.fixed.GetName()}, independent"
    node = earlier or scene.AddNewNodeByClass(TRANSFORM, scene.GenerateUniqueName(name))
    name = node.GetName()
    storage = slicer.vtkMRMLTransformStorageNode()
    storage.SetFileName(str(folder / "backward.h5"))
    if not storage.ReadData(node):
        if earlier is None:
            scene.RemoveNode(node)
        raise InputError("Slicer cannot read the second registration.", code="transform")
    # Reading may name it after the file.
    node.SetName(name)
    node.SetAttribute(BACKWARD, "yes")
    node.SetNodeReferenceID(TRANSFORM_ROLE, pair.transform.GetID())
    setRegistrationReferences(node, pair.moving, pair.fixed)
    putIntoFolder(node, pair.transform)
    kept = json.dumps({"transform": lock, "report": report}, indent=1)
    keepText(pair, KIND, f"Inverse consistency of {pair.transform.GetName()}", kept)
    return node


def backwardOf(pair: Pair) -> slicer.vtkMRMLTransformNode | None:
    """The second transform that an earlier comparison has left for a pair."""
    for node in slicer.util.getNodesByClass(TRANSFORM, pair.fixed.GetScene()):
        if node.GetAttribute(BACKWARD) and node.GetNodeReference(TRANSFORM_ROLE) is pair.transform:
            return node
    return None


def consistencyOf(pair: Pair) -> dict | None:
    """What `glidereg consistency` reported of the transform as it is now; None where it did not."""
    kept = keptOf(pair, KIND)
    return kept["report"] if kept else None
