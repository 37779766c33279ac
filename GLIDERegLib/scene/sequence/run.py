"""A 4D study registered frame by frame to one of its frames. No Qt.

run = SequenceRegistration(SceneRegistration(sys.executable))
run.start(SequenceInputs(sequenceNode, reference=0, nodules=noduleList), {"name": "default"})
while run.active:
    run.poll()          # from a timer
run.results, run.failures, run.error, run.warnings
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

import slicer
import vtk

from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.errors import Cancelled, GlideRegError, InputError
from GLIDERegLib.scene.mrml.geometry import isLinearlyPlaced
from GLIDERegLib.scene.mrml.hidden import HiddenNodes
from GLIDERegLib.scene.registration.checks import maskProblem, volumeProblem
from GLIDERegLib.scene.registration.results import removedOnFailure
from GLIDERegLib.scene.registration.run import Inputs, Outputs, SceneRegistration
from GLIDERegLib.scene.review.nodules import propagatePoints
from GLIDERegLib.scene.sequence.nodes import (
    Frame,
    SequenceResults,
    browserOf,
    frameText,
    frameVolume,
    identityField,
    makeResults,
    shownVolume,
)
from GLIDERegLib.worker.job import State

_FIGURES = re.compile(r" \([^()]*\d[^()]*\)")


@dataclass(frozen=True)
class SequenceInputs:
    """What is registered. volumes: a sequence of scalar volumes. reference: number of its frame that the
    others are registered to, from 0. nodules: points in the reference frame, to be followed. mask: where
    similarity counts in the reference frame. warpedVolumes: whether every frame is wanted on the reference.
    """

    volumes: slicer.vtkMRMLSequenceNode | None
    reference: int = 0
    nodules: slicer.vtkMRMLMarkupsFiducialNode | None = None
    mask: slicer.vtkMRMLNode | None = None
    warpedVolumes: bool = False


class SequenceRegistration:
    """Registers one sequence at a time, one frame after the other; the nodes that go in are never changed.

    registration: registers the frames; what else it may be used for has to wait meanwhile, and the other way
    round. done, total: numbers of frames. overall: share of the whole. frame: the index value of the frame at
    work, with its unit. failures: why a frame has no result, by its index value. results: None until the end
    and where no frame has a result; a run that is cancelled keeps those of the frames that were done.
    """

    def __init__(self, registration: SceneRegistration):
        self._registration = registration
        self._nodes, self._ofFrame = HiddenNodes(), HiddenNodes()
        self._forget()
        self.state = State.IDLE

    def _forget(self) -> None:
        self.results: SequenceResults | None = None
        self.failures: dict[str, GlideRegError] = {}
        self.error: GlideRegError | None = None
        # Each with the frames it was told of, in words.
        self._told: dict[str, list[str]] = {}
        self._frames: dict[int, Frame] = {}
        self._waiting: list[int] = []
        self._number: int | None = None
        self.done = self.total = 0
        # Of the frames that have been registered.
        self._seconds: list[float] = []
        self._started = self._stopped = time.monotonic()

    @property
    def active(self) -> bool:
        return self.state in (State.RUNNING, State.CANCELLING)

    @property
    def warnings(self) -> list[str]:
        """What was told of all frames once, else after the frames that it is of; where only figures in
        brackets differ, once without them.
        """
        return [
            text if len(frames) > 1 and len(frames) == self.done else f"{', '.join(frames)}: {text}"
            for text, frames in self._toldAlike()
        ]

    def _toldAlike(self) -> list[tuple[str, list[str]]]:
        """Sentences, each with its frames."""
        alike: dict[str, dict[str, list[str]]] = {}
        for text, frames in self._told.items():
            alike.setdefault(_FIGURES.sub("", text), {})[text] = frames
        return [
            (next(iter(texts)) if len(texts) == 1 else plain, sum(texts.values(), []))
            for plain, texts in alike.items()
        ]

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
        return (self.done + share) / self.total if self.total else 0.0

    @property
    def elapsed(self) -> float:
        """Seconds the run has taken so far, or took."""
        return (time.monotonic() if self.active else self._stopped) - self._started

    @property
    def remaining(self) -> float | None:
        """Estimated seconds to go; None while nothing can be said."""
        if self.state is not State.RUNNING:
            return None
        here, spent = self._registration.remaining, self._registration.elapsed
        if self._seconds:
            each = sum(self._seconds) / len(self._seconds)
            here = max(each - spent, 0.0) if here is None else here
        elif here is None:
            return None
        else:
            each = spent + here
        return here + each * len(self._waiting)

    def start(
        self, inputs: SequenceInputs, settings: dict[str, Any], temporaryFolder: str | None = None
    ) -> None:
        """Starts with the first frame. settings: as for one pair.

        Raises InputError, with nothing left behind, for inputs that cannot be used and while a run is active.
        """
        if self.active or self._registration.active:
            raise InputError(
                "A registration is running already.", "Cancel it or wait for its end.", code="busy"
            )
        if problem := sequenceProblem(inputs):
            raise InputError(problem)
        self._forget()
        self._inputs, self._settings, self._temporaryFolder = inputs, settings, temporaryFolder
        try:
            reference = frameVolume(inputs.volumes, inputs.reference)
            self._reference = self._nodes.add(reference, reference.GetName(), slicer.mrmlScene)
            self._follow(inputs.reference, identityField(self._reference), self._reference, self._reference)
        except BaseException:
            self._nodes.remove()
            raise
        self._waiting = [n for n in range(inputs.volumes.GetNumberOfDataNodes()) if n != inputs.reference]
        self.total = len(self._waiting)
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
            self._keepFinished()
            return
        if self._inputs.volumes.GetScene() is None or browserOf(self._inputs.volumes) is None:
            self.error = InputError("The sequence, or its browser, is no longer in the scene.")
            self._finish(State.FAILED)
            return
        self._takeFrame()
        self._startNext()

    def cancel(self) -> None:
        """Asks for the end after the frames that are done; there within 3 s."""
        if self.state is State.RUNNING:
            self.state = State.CANCELLING
            self._registration.cancel()

    def close(self) -> None:
        """Ends everything at once and removes what was temporary."""
        self._registration.close()
        if self.active:
            self._finish(State.CANCELLED)

    def _keepFinished(self) -> None:
        """Ends a cancelled run with the frames that are done, if any; the others are told as cancelled."""
        there = self._inputs.volumes.GetScene() is not None and browserOf(self._inputs.volumes) is not None
        if there and self._seconds:
            for number in (self._number, *self._waiting):
                self.failures[self._inputs.volumes.GetNthIndexValue(number)] = Cancelled("Stopped by user.")
        self._finish(State.CANCELLED, keep=there and bool(self._seconds))

    def _startNext(self) -> None:
        """Starts the next frame that can be; ends where there is none left."""
        while self._waiting:
            self._number = self._waiting.pop(0)
            try:
                self._start(self._number)
                return
            except InputError as error:
                self._fail(error)
        self._number = None
        self._finish(State.DONE if self._seconds else State.FAILED)

    def _start(self, number: int) -> None:
        moving, self._warped = frameVolume(self._inputs.volumes, number), None
        self._moving = moving
        name = moving.GetName()
        self._ofFrame.add(moving, name, slicer.mrmlScene)
        self._field = self._ofFrame.add(slicer.vtkMRMLGridTransformNode(), name, slicer.mrmlScene)
        if self._inputs.warpedVolumes:
            self._warped = self._ofFrame.add(slicer.vtkMRMLScalarVolumeNode(), name, slicer.mrmlScene)
        self._registration.start(
            Inputs(self._reference, moving, fixedMask=self._inputs.mask),
            Outputs(self._field, self._warped or False, False, False),
            self._settings,
            temporaryFolder=self._temporaryFolder,
        )

    def _takeFrame(self) -> None:
        """Keeps the result of the frame that has ended, or why it has none."""
        registration = self._registration
        for text in registration.warnings:
            self._told.setdefault(text, []).append(self.frame)
        if registration.results is None:
            self._fail(registration.error or Cancelled("It was cancelled."))
            return
        self._follow(self._number, self._field.GetTransformFromParent(), self._moving, self._warped)
        self._seconds.append(registration.elapsed)
        self._endFrame()

    def _fail(self, reason: GlideRegError) -> None:
        self.failures[self._inputs.volumes.GetNthIndexValue(self._number)] = reason
        self._endFrame()

    def _endFrame(self) -> None:
        self.done += 1
        self._ofFrame.remove()

    def _follow(
        self,
        number: int,
        field: vtk.vtkAbstractTransform,
        moving: slicer.vtkMRMLScalarVolumeNode,
        warped: slicer.vtkMRMLScalarVolumeNode | None,
    ) -> None:
        nodules, image = self._inputs.nodules, None
        points = (
            propagatePoints(nodules, field, "fixed-to-moving", self._reference, moving) if nodules else []
        )
        if self._inputs.warpedVolumes:
            image = slicer.vtkMRMLScalarVolumeNode()
            image.CopyOrientation(warped)
            image.SetAndObserveImageData(warped.GetImageData())
        self._frames[number] = Frame(field, image, points)

    def _finish(self, state: State, keep: bool = False) -> None:
        self.state, self._stopped = state, time.monotonic()
        # Before there are results, which may then have the names of these.
        self._ofFrame.remove()
        self._nodes.remove()
        inputs, frames, self._frames = self._inputs, self._frames, {}
        if state is State.DONE or keep:
            with removedOnFailure(slicer.mrmlScene):
                self.results = makeResults(inputs.volumes, inputs.reference, inputs.nodules, frames)
        elif state is State.FAILED and self.error is None:
            self.error = next(iter(self.failures.values()), InputError("There is no other frame."))


def sequenceProblem(inputs: SequenceInputs) -> str | None:
    """Why a sequence cannot be registered, in one sentence; None where it can."""
    volumes = inputs.volumes
    if volumes is None:
        return "Choose a sequence of scans, or the browser that plays it."
    name, count = volumes.GetName(), volumes.GetNumberOfDataNodes()
    if count < 2:
        return f"The sequence '{name}' has {counted(count, 'frame')}: choose one with at least two."
    frames = [volumes.GetNthDataNode(n) for n in range(count)]
    if not all(isinstance(frame, slicer.vtkMRMLScalarVolumeNode) for frame in frames):
        return f"The sequence '{name}' holds more than volumes: choose a sequence of scans."
    if not 0 <= inputs.reference < count:
        return f"The sequence '{name}' has no frame number {inputs.reference + 1}: choose another."
    if problem := volumeProblem(frames[inputs.reference]):
        return problem
    if inputs.mask is not None and (problem := maskProblem(inputs.mask)):
        return problem
    if browserOf(volumes) is None:
        return f"The sequence '{name}' has no browser: open it in the Sequences module first."
    if (shown := shownVolume(volumes)) and not isLinearlyPlaced(shown):
        return f"The volume '{shown.GetName()}' stands under a transform that is not linear: take it out."
    return None
