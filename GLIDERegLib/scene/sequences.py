"""A 4D study registered frame by frame to one of its frames. No Qt.

run = SequenceRegistration(sys.executable)
run.start(SequenceInputs(sequenceNode, reference=0, nodules=noduleList), {"name": "default"})
while run.active:
    run.poll()          # from a timer
run.results, run.failures, run.error, run.warnings
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import slicer

from GLIDERegLib.errors import InputError
from GLIDERegLib.scene.checks import maskProblem, volumeProblem
from GLIDERegLib.scene.geometry import isLinearlyPlaced
from GLIDERegLib.scene.nodules import propagatePoints
from GLIDERegLib.scene.registration import Inputs, Outputs, SceneRegistration
from GLIDERegLib.scene.results import removedOnFailure
from GLIDERegLib.scene.sequence_nodes import (
    Frame,
    SequenceResults,
    browserOf,
    frameText,
    frameVolume,
    hiddenNode,
    identityField,
    makeResults,
    shownVolume,
)
from GLIDERegLib.worker.job import State


@dataclass(frozen=True)
class SequenceInputs:
    """What is registered. volumes: a sequence of scalar volumes. reference: number of its frame that the
    others are registered to, from 0. nodules: points in the reference frame, to be followed. mask: where
    similarity counts in the reference frame. warpedVolumes: whether every frame is wanted on the reference.
    """

    volumes: slicer.vtkMRMLSequenceNode
    reference: int = 0
    nodules: slicer.vtkMRMLMarkupsFiducialNode | None = None
    mask: slicer.vtkMRMLNode | None = None
    warpedVolumes: bool = False


class SequenceRegistration:
    """Registers one sequence at a time, one frame after the other; the nodes that go in are never changed.

    overall: share of the whole. frame: the index value of the frame at work, with its unit. failures: why a
    frame has no result, by its index value. results: None until the end, and where no frame has a result.
    """

    def __init__(self, python: str):
        self._registration = SceneRegistration(python)
        self._nodes: list[slicer.vtkMRMLNode] = []
        self._forget()
        self.state = State.IDLE

    def _forget(self) -> None:
        self.results: SequenceResults | None = None
        self.failures: dict[str, str] = {}
        self.error: tuple[str, str] | None = None
        self.warnings: list[str] = []
        self._frames: dict[int, Frame] = {}
        self._waiting: list[int] = []
        self._number: int | None = None
        self._done = self._total = 0

    @property
    def active(self) -> bool:
        return self.state in (State.RUNNING, State.CANCELLING)

    @property
    def frame(self) -> str:
        return "" if self._number is None else frameText(self._inputs.volumes, self._number)

    @property
    def stage(self) -> str:
        return self._registration.stage

    @property
    def device(self) -> str:
        return self._registration.device

    @property
    def log(self) -> list[str]:
        """Of the frame at work."""
        return self._registration.log

    @property
    def overall(self) -> float:
        share = self._registration.overall if self._registration.active else 0.0
        return (self._done + share) / self._total if self._total else 0.0

    def start(
        self, inputs: SequenceInputs, settings: dict[str, Any], temporaryFolder: str | None = None
    ) -> None:
        """Starts with the first frame. settings: as for one pair.

        Raises InputError, with nothing left behind, for inputs that cannot be used and while a run is active.
        """
        if self.active:
            raise InputError("A sequence is being registered already; cancel it or wait for its end.")
        _check(inputs)
        self._forget()
        self._inputs, self._settings, self._temporaryFolder = inputs, settings, temporaryFolder
        try:
            self._reference = self._keep(frameVolume(inputs.volumes, inputs.reference))
            self._follow(inputs.reference, identityField(self._reference), self._reference)
        except BaseException:
            self._remove(*self._nodes)
            raise
        self._waiting = [n for n in range(inputs.volumes.GetNumberOfDataNodes()) if n != inputs.reference]
        self._total = len(self._waiting)
        self.state = State.RUNNING
        self._startNext()

    def poll(self) -> None:
        """Takes what the worker told; goes on with the next frame, or to the end."""
        if not self.active:
            return
        self._registration.poll()
        if self._registration.active:
            return
        if self.state is State.CANCELLING:
            self._finish(State.CANCELLED)
            return
        if self._inputs.volumes.GetScene() is None:
            self.error = ("The sequence is no longer in the scene.", "")
            self._finish(State.FAILED)
            return
        self._takeFrame()
        self._startNext()

    def cancel(self) -> None:
        """Asks for the end without a result; done within 3 s."""
        if self.state is State.RUNNING:
            self.state = State.CANCELLING
            self._registration.cancel()

    def close(self) -> None:
        """Ends everything at once and removes what was temporary."""
        self._registration.close()
        if self.active:
            self._finish(State.CANCELLED)

    def _startNext(self) -> None:
        """Starts the next frame that can be; ends where there is none left."""
        while self._waiting:
            self._number = self._waiting.pop(0)
            try:
                self._start(self._number)
                return
            except InputError as error:
                self._fail(str(error))
        self._number = None
        self._finish(State.DONE if self._done > len(self.failures) else State.FAILED)

    def _start(self, number: int) -> None:
        self._moving = self._keep(frameVolume(self._inputs.volumes, number))
        self._field = self._keep(hiddenNode("vtkMRMLGridTransformNode"))
        self._warped = self._inputs.warpedVolumes and self._keep(hiddenNode("vtkMRMLScalarVolumeNode"))
        self._registration.start(
            Inputs(self._reference, self._moving, fixedMask=self._inputs.mask),
            Outputs(self._field, self._warped, False, False),
            self._settings,
            temporaryFolder=self._temporaryFolder,
        )

    def _takeFrame(self) -> None:
        """Keeps the result of the frame that has ended, or why it has none."""
        registration = self._registration
        self.warnings += [text for text in registration.warnings if text not in self.warnings]
        if registration.results is None:
            self._fail(" ".join(registration.error or ("It was cancelled.",)).strip())
            return
        self._follow(self._number, self._field.GetTransformFromParent(), self._warped)
        self._done += 1
        self._remove(self._moving, self._field, self._warped)

    def _fail(self, reason: str) -> None:
        self.failures[self._inputs.volumes.GetNthIndexValue(self._number)] = reason
        self._done += 1
        self._remove(*(node for node in self._nodes if node is not self._reference))

    def _follow(self, number: int, field, warped: slicer.vtkMRMLScalarVolumeNode | bool) -> None:
        nodules, image = self._inputs.nodules, None
        points = propagatePoints(nodules, field, "fixed-to-moving", self._reference) if nodules else []
        if self._inputs.warpedVolumes:
            image = slicer.vtkMRMLScalarVolumeNode()
            image.CopyOrientation(warped)
            image.SetAndObserveImageData(warped.GetImageData())
        self._frames[number] = Frame(field, image, points)

    def _finish(self, state: State) -> None:
        self.state = state
        try:
            if state is State.DONE:
                inputs = self._inputs
                with removedOnFailure(slicer.mrmlScene):
                    self.results = makeResults(inputs.volumes, inputs.reference, inputs.nodules, self._frames)
            elif state is State.FAILED and self.error is None:
                self.error = (next(iter(self.failures.values()), "There is no other frame."), "")
        finally:
            self._remove(*self._nodes)
            self._frames = {}

    def _keep(self, node: slicer.vtkMRMLNode) -> slicer.vtkMRMLNode:
        """Adds a node to the scene for a while."""
        self._nodes.append(node)
        return slicer.mrmlScene.AddNode(node)

    def _remove(self, *nodes) -> None:
        for node in [node for node in nodes if node]:
            self._nodes.remove(node)
            if scene := node.GetScene():
                scene.RemoveNode(node)


def _check(inputs: SequenceInputs) -> None:
    """Raises InputError where a sequence cannot be registered."""
    volumes = inputs.volumes
    name, count = volumes.GetName(), volumes.GetNumberOfDataNodes()
    if count < 2:
        raise InputError(f"The sequence '{name}' has {count} frames: choose one with at least two.")
    frames = [volumes.GetNthDataNode(n) for n in range(count)]
    if not all(isinstance(frame, slicer.vtkMRMLScalarVolumeNode) for frame in frames):
        raise InputError(f"The sequence '{name}' holds more than volumes: choose a sequence of scans.")
    if not 0 <= inputs.reference < count:
        raise InputError(f"The sequence '{name}' has no frame number {inputs.reference + 1}: choose another.")
    if problem := volumeProblem(frames[inputs.reference]):
        raise InputError(problem)
    if inputs.mask is not None and (problem := maskProblem(inputs.mask)):
        raise InputError(problem)
    if browserOf(volumes) is None:
        raise InputError(f"The sequence '{name}' has no browser: open it in the Sequences module first.")
    if (shown := shownVolume(volumes)) and not isLinearlyPlaced(shown):
        raise InputError(
            f"The volume '{shown.GetName()}' stands under a transform that is not linear: take it out of it."
        )
