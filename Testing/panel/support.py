"""What tests of the panel share: recorded scans in a scene, a Python that only pretends to register, and what
a run must not change or leave.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MODULE = ROOT / "GLIDEReg" / "GLIDEReg.py"
# The Python that has the engine; tests put another one into this variable.
ENGINE = os.environ.get("GLIDEREG_PYTHON")
# One thread: many on a busy computer wait for each other.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
FINDINGS = {
    "python": "3.12.0",
    "missing": [],
    "missing_global": [],
    "missing_optional": [],
    "versions": {},
    "devices": [
        {"name": "cuda:0", "label": "A graphics card (10.0 of 24.0 GB free)"},
        {"name": "cpu", "label": "CPU (2 threads, 8 GB)"},
    ],
    "default": "cuda:0",
    "checkpoints": [
        {"name": name, "size_bytes": size, "present": present, "license": "Apache-2.0"}
        for name, size, present in (
            ("sam2.1_hiera_tiny", 156_000_000, False),
            ("sam2.1_hiera_small", 184_000_000, True),
        )
    ],
}
# What every opened panel asks is answered by the shell: Python would take ten times as long to start. No
# worker waits, as where it cannot be loaded.
SHELL = """#!/bin/sh
case "$*" in
  "-m GLIDERegLib.worker --stay") exit 75 ;;
  "-m GLIDERegLib.worker.probe")
    while [ -e "{folder}/hold" ]; do sleep 0.02; done
    [ "$(cat "{folder}/probe.json")" != null ] || {{ echo "This Python is broken." >&2; exit 1; }}
    exec cat "{folder}/probe.json" ;;
esac
exec "{python}" -S "{fake}" "{folder}" "$@"
"""
# From LPS to RAS and back.
FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def addScans(recording: Path) -> SimpleNamespace:
    """The pair of a recording: oblique, anisotropic volumes under different linear transforms, and a list of
    nodules in each, of which the moving one stands under a third transform.

    fixedVolume, movingVolume, fixedNodules, movingNodules, and `all` the user's nodes.
    """
    pair = np.load(recording / "pair.npz")
    today = addLinear("Bed today", 25, 2, (40, -60, 90))
    lastYear = addLinear("Bed last year", -50, 0, (-30, 20, 10), 1.25)
    carriedOver = addLinear("Propagated over", 70, 1, (5, 15, -25))
    scans = SimpleNamespace(
        fixedVolume=_addVolume("Follow-up", pair["fixed"], FLIP @ pair["fixed_matrix"], today),
        movingVolume=_addVolume("Baseline", pair["moving"], FLIP @ pair["moving_matrix"], lastYear),
        fixedNodules=_addNodules("New nodules", pair["fixed_nodules"], pair["labels"], None),
        movingNodules=_addNodules("Known nodules", pair["moving_nodules"], pair["labels"], carriedOver),
    )
    scans.all = [*vars(scans).values(), today, lastYear, carriedOver]
    return scans


def addLinear(name: str, degrees: float, axis: int, shift, scale: float = 1.0):
    """A linear transform node: turns about an axis, scales, shifts (RAS mm)."""
    import slicer

    matrix, angle = np.eye(4), np.radians(degrees)
    one, other = (axis + 1) % 3, (axis + 2) % 3
    matrix[one, one] = matrix[other, other] = np.cos(angle)
    matrix[other, one] = np.sin(angle)
    matrix[one, other] = -matrix[other, one]
    matrix[:3, :3] *= scale
    matrix[:3, 3] = shift
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


def _addVolume(name: str, array: np.ndarray, ijkToWorld: np.ndarray, parent):
    import slicer

    toLocal = np.linalg.inv(slicer.util.arrayFromTransformMatrix(parent))
    volume = slicer.util.addVolumeFromArray(array, ijkToRAS=toLocal @ ijkToWorld, name=name)
    volume.SetAndObserveTransformNodeID(parent.GetID())
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevel(1400, -500)
    return volume


def _addNodules(name: str, lps: np.ndarray, labels, parent):
    import slicer

    toLocal = np.linalg.inv(slicer.util.arrayFromTransformMatrix(parent)) if parent else np.eye(4)
    nodules = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    nodules.CreateDefaultDisplayNodes()
    for point, label in zip(lps, labels, strict=True):
        nodules.AddControlPoint((toLocal @ FLIP @ [*point, 1])[:3].tolist(), str(label))
    nodules.SetAndObserveTransformNodeID(parent.GetID() if parent else None)
    return nodules


def contents(nodes) -> dict[str, list]:
    """All that a user could see change in nodes, by ID: what they say of themselves, and voxels."""
    import slicer

    found = {}
    for node in nodes:
        found[node.GetID()] = said = [_description(node)]
        if node.IsA("vtkMRMLDisplayableNode"):
            said += [_description(node.GetNthDisplayNode(n)) for n in range(node.GetNumberOfDisplayNodes())]
        if node.IsA("vtkMRMLVolumeNode"):
            array = slicer.util.arrayFromVolume(node)
            said += [hashlib.sha256(array.tobytes()).hexdigest(), array.dtype.str, array.shape]
        if node.IsA("vtkMRMLMarkupsNode"):
            points = range(node.GetNumberOfControlPoints())
            said += [tuple(node.GetNthControlPointPosition(n)) for n in points]
            said += [(node.GetNthControlPointLabel(n), node.GetNthControlPointSelected(n)) for n in points]
        if node.IsA("vtkMRMLLinearTransformNode"):
            said.append(slicer.util.arrayFromTransformMatrix(node).tolist())
    return found


def _description(node) -> str:
    """What a node prints, without addresses, times, observers and the inverse that VTK makes when asked."""
    text, _, _ = str(node).partition("ReadAsTransformToParent")
    passing = ("0x", "Time", "Count", "Event", "Tag:", "Priority:", "Generation:")
    return "\n".join(line for line in text.splitlines() if not any(sign in line for sign in passing))


def worldPoints(nodules) -> np.ndarray:
    """Points (N, 3) of a list in the world, LPS mm."""
    import slicer

    return slicer.util.arrayFromMarkupsControlPoints(nodules, world=True) @ FLIP[:3, :3]


class FakePython:
    """The Python that registers, in the module's eyes; tells `steps` of fake_worker.py."""

    def __init__(self, folder: Path, recording: Path | None):
        self.folder, self.recording = folder, recording
        self.plan([["result"]])
        self.path = folder / "python"
        self.path.write_text(SHELL.format(python=sys.executable, fake=HERE / "fake_worker.py", folder=folder))
        self.path.chmod(0o755)

    def plan(self, steps: list, findings: dict | None = FINDINGS) -> None:
        """findings: what the probe answers, None where it breaks."""
        plan = {"recording": str(self.recording), "steps": steps}
        # Whole at any moment, for a process that was started ahead may be reading.
        for name, content in (("plan.json", plan), ("probe.json", findings)):
            (self.folder / "new").write_text(json.dumps(content), encoding="utf-8")
            (self.folder / "new").replace(self.folder / name)

    @property
    def request(self) -> dict:
        """What the last registration was asked for."""
        return json.loads((self.folder / "request.json").read_text(encoding="utf-8"))


def runningChildren() -> set[int]:
    """Process ids of the children of this process that run."""
    children = set()
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = file.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # gone meanwhile
            continue
        if int(parent) == os.getpid() and state != "Z":
            children.add(int(file.parent.name))
    return children


def addStudy(frames, values):
    """A sequence "Breathing" of these volumes by their index values, % of "phase", played by a browser; the
    volumes themselves leave the scene.
    """
    import slicer

    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Breathing")
    sequence.SetIndexName("phase")
    sequence.SetIndexUnit("%")
    if not all(value.isdigit() for value in values):
        sequence.SetIndexType(sequence.TextIndex)
    for value, frame in zip(values, frames, strict=True):
        sequence.SetDataNodeAtValue(frame, value)
        slicer.mrmlScene.RemoveNode(frame)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Breathing browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    return sequence
