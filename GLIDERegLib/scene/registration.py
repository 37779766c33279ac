"""One registration of the scene's nodes: inputs written, the worker driven, results imported. No Qt.

run = SceneRegistration(sys.executable)
run.start(Inputs(fixedNode, movingNode), Outputs(), {"name": "default"})
while run.active:
    run.poll()          # from a timer: takes what the worker told, shows previews, imports the result
run.results, run.error, run.warnings
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import slicer

from GLIDERegLib.errors import InputError
from GLIDERegLib.scene.checks import inputProblem, inputWarnings
from GLIDERegLib.scene.inputs import writeInitialTransform, writeMask, writeVolume
from GLIDERegLib.scene.nodules import PropagatedPoint
from GLIDERegLib.scene.preview import LivePreview
from GLIDERegLib.scene.results import (
    NoduleTask,
    checkOutputs,
    createOutput,
    importResult,
    readField,
    removedOnFailure,
)
from GLIDERegLib.worker.job import RegistrationJob, State
from GLIDERegLib.worker.messages import Request

PREVIEW_SECONDS = 2.0
TRANSFORM, VOLUME, NODULES = (
    "vtkMRMLGridTransformNode",
    "vtkMRMLScalarVolumeNode",
    "vtkMRMLMarkupsFiducialNode",
)


@dataclass(frozen=True)
class Inputs:
    """The nodes of one registration. Masks are segmentations or label maps; nodules are point lists, each in
    the scan its name says.
    """

    fixedVolume: slicer.vtkMRMLScalarVolumeNode
    movingVolume: slicer.vtkMRMLScalarVolumeNode
    fixedNodules: slicer.vtkMRMLMarkupsFiducialNode | None = None
    movingNodules: slicer.vtkMRMLMarkupsFiducialNode | None = None
    fixedMask: slicer.vtkMRMLNode | None = None
    movingMask: slicer.vtkMRMLNode | None = None
    initialTransform: slicer.vtkMRMLTransformNode | None = None


@dataclass(frozen=True)
class Outputs:
    """What is wanted, each a node to fill, True for a new node, or False.

    nodulesInFixed: the moving scan's nodules carried to the fixed scan; nodulesInMoving: the other way.
    """

    transform: slicer.vtkMRMLGridTransformNode | bool = True
    volume: slicer.vtkMRMLScalarVolumeNode | bool = True
    nodulesInFixed: slicer.vtkMRMLMarkupsFiducialNode | bool = True
    nodulesInMoving: slicer.vtkMRMLMarkupsFiducialNode | bool = True


@dataclass(frozen=True)
class Results:
    """The filled nodes, None where left out; the carried points by direction; the engine's report."""

    transform: slicer.vtkMRMLGridTransformNode | None
    volume: slicer.vtkMRMLScalarVolumeNode | None
    nodulesInFixed: slicer.vtkMRMLMarkupsFiducialNode | None
    nodulesInMoving: slicer.vtkMRMLMarkupsFiducialNode | None
    points: dict[str, list[PropagatedPoint]]
    report: dict[str, Any]


class SceneRegistration:
    """Runs one registration at a time; the nodes that go in are never changed."""

    def __init__(self, python: str):
        self._job = RegistrationJob(python)
        self._folder: Path | None = None
        self._preview: LivePreview | None = None
        self._forget()

    def _forget(self) -> None:
        self.stage, self.overall, self.device = "", 0.0, ""
        self.error: tuple[str, str] | None = None
        self.results: Results | None = None
        self.warnings: list[str] = []

    @property
    def active(self) -> bool:
        return self._job.active

    @property
    def state(self) -> State:
        return self._job.state

    @property
    def elapsed(self) -> float:
        """Seconds."""
        return self._job.elapsed

    @property
    def remaining(self) -> float | None:
        """Estimated seconds; None while nothing can be said."""
        return self._job.remaining

    @property
    def log(self) -> list[str]:
        return self._job.log

    def start(
        self,
        inputs: Inputs,
        outputs: Outputs,
        settings: dict[str, Any],
        preview: bool = False,
        temporaryFolder: str | None = None,
    ) -> None:
        """Writes the inputs to files and starts the worker.

        settings: the preset's "name" and changes, as keywords of `Settings.preset`.
        Raises InputError, with nothing left behind, for inputs that cannot be used and while a run is active.
        """
        if self.active:
            raise InputError("A registration is running already; cancel it or wait for its end.")
        tasks = _noduleTasks(inputs, outputs)
        carried = [output for _, _, output in tasks]
        wanted = [output for output in (outputs.transform, outputs.volume, *carried) if output]
        problem = inputProblem(
            inputs.fixedVolume, inputs.movingVolume, inputs.fixedMask, inputs.movingMask, wanted
        )
        if problem:
            raise InputError(problem)
        _checkDistinct(inputs, wanted)
        checkOutputs(
            inputs.fixedVolume,
            inputs.movingVolume,
            *(None if isinstance(node, bool) else node for node in (outputs.transform, outputs.volume)),
            [
                NoduleTask(source, direction, output)
                for source, direction, output in tasks
                if output is not True
            ],
        )
        self._forget()
        self._inputs, self._outputs = inputs, outputs
        self.warnings = inputWarnings(
            inputs.fixedVolume,
            inputs.movingVolume,
            inputs.fixedMask,
            inputs.movingMask,
            inputs.initialTransform,
        )
        self._folder = Path(tempfile.mkdtemp(prefix="glidereg-", dir=temporaryFolder))
        try:
            request = self._write(settings, PREVIEW_SECONDS if preview else None)
            self._job.start(request, self._folder)
        except BaseException:
            self._cleanUp()
            raise
        if preview:
            self._preview = LivePreview(inputs.fixedVolume, inputs.movingVolume)

    def _write(self, settings: dict[str, Any], previewSeconds: float | None) -> Request:
        inputs, folder = self._inputs, self._folder
        paths = {"fixed": str(folder / "fixed.nrrd"), "moving": str(folder / "moving.nrrd")}
        writeVolume(inputs.fixedVolume, paths["fixed"])
        writeVolume(inputs.movingVolume, paths["moving"])
        for role, mask, volume in (
            ("fixed_mask", inputs.fixedMask, inputs.fixedVolume),
            ("moving_mask", inputs.movingMask, inputs.movingVolume),
        ):
            if mask is not None:
                paths[role] = str(folder / f"{role}.nrrd")
                writeMask(mask, volume, paths[role])
        if inputs.initialTransform is not None:
            path = str(folder / "initial.h5")
            if writeInitialTransform(inputs.initialTransform, inputs.movingVolume, path):
                paths["initial_transform"] = path
        output = folder / "output"
        output.mkdir()
        return Request(
            **paths,
            output=str(output),
            cancel_file=str(folder / "cancel"),
            keep_file=str(folder / "keep"),
            settings=settings,
            preview_seconds=previewSeconds,
        )

    def poll(self) -> None:
        """Takes what the worker told since the last call; imports the result when it has come."""
        if not self.active:
            return
        try:
            for event in self._job.poll():
                self._take(event)
        finally:
            if not self.active:
                self._cleanUp()

    def wait(self, pause: Callable[[], None]) -> None:
        """Polls until the end, with `pause` in between."""
        while self.active:
            self.poll()
            pause()

    def cancel(self) -> None:
        """Asks for the end without a result; done within 3 s."""
        self._job.cancel()

    def keep(self) -> None:
        """Asks for the end with the present result."""
        self._job.keep()

    def close(self) -> None:
        """Ends everything at once and removes what was temporary."""
        self._job.close()
        self._cleanUp()

    def _take(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "device":
                self.device = event["name"]
            case "progress":
                self.stage, self.overall = event["stage"], event["overall"]
            case "preview" if self._preview is not None:
                self._showPreview(event["field"])
            case "error":
                self.error = (event["message"], event["hint"])
            case "result":
                self._import(event)

    def _showPreview(self, entry: dict[str, Any]) -> None:
        try:
            self._preview.show(*readField(entry))
        except InputError:
            # Replaced by a newer one meanwhile.
            return

    def _import(self, event: dict[str, Any]) -> None:
        self._endPreview()
        self.warnings += event["report"].get("warnings", [])
        try:
            self.results = _importInto(event, self._inputs, self._outputs)
        except InputError as error:
            self.error = (f"The result could not be taken into the scene: {error}", "")

    def _endPreview(self) -> None:
        if self._preview is not None:
            self._preview.finish()
            self._preview = None

    def _cleanUp(self) -> None:
        self._endPreview()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _checkDistinct(inputs: Inputs, outputs: list) -> None:
    """Raises InputError where an output is an input too, or stands for two outputs."""
    given = [getattr(inputs, item.name) for item in fields(inputs)]
    chosen = [output for output in outputs if output is not True]
    for number, node in enumerate(chosen):
        if node in given:
            raise InputError(
                f"'{node.GetName()}' is an input and would be overwritten: choose another output."
            )
        if node in chosen[:number]:
            raise InputError(
                f"'{node.GetName()}' is chosen for two outputs: choose another one for one of them."
            )


def _noduleTasks(inputs: Inputs, outputs: Outputs) -> list[tuple]:
    """Source list, direction and output (a node, or True for a new one) of what is to be carried."""
    return [
        (source, direction, output)
        for source, direction, output in (
            (inputs.movingNodules, "moving-to-fixed", outputs.nodulesInFixed),
            (inputs.fixedNodules, "fixed-to-moving", outputs.nodulesInMoving),
        )
        if source is not None and output
    ]


def _importInto(event: dict[str, Any], inputs: Inputs, outputs: Outputs) -> Results:
    """Fills the outputs, new ones where they are wanted or where the chosen one is gone; all or nothing."""
    fixed, moving = inputs.fixedVolume, inputs.movingVolume
    scene = slicer.mrmlScene
    for node in (fixed, moving):
        if not scene.IsNodePresent(node):
            raise InputError("A volume that was registered is no longer in the scene.")

    def filled(output, className: str, name: str, beside):
        if output is not True and output and scene.IsNodePresent(output):
            return output
        return createOutput(className, name, beside) if output else None

    pair = f"{moving.GetName()} to {fixed.GetName()}"
    with removedOnFailure(scene):
        transform = filled(outputs.transform, TRANSFORM, f"Transform {pair}", moving)
        volume = filled(outputs.volume, VOLUME, f"{moving.GetName()} warped to {fixed.GetName()}", fixed)
        tasks = {
            direction: NoduleTask(
                source,
                direction,
                filled(output, NODULES, f"{source.GetName()} in {scan.GetName()}", scan),
            )
            for (source, direction, output), scan in (
                (task, fixed if task[1] == "moving-to-fixed" else moving)
                for task in _noduleTasks(inputs, outputs)
                if scene.IsNodePresent(task[0])
            )
        }
        carried = importResult(event, fixed, moving, transform, volume, list(tasks.values()))
    lists = {direction: task.output for direction, task in tasks.items()}
    return Results(
        transform,
        volume,
        lists.get("moving-to-fixed"),
        lists.get("fixed-to-moving"),
        dict(zip(tasks, carried, strict=True)),
        event["report"],
    )
