"""Dated scans registered to one of them, one after the other, and their nodules followed. No Qt.

run = FollowUp(SceneRegistration(sys.executable), ScanMeasuring(sys.executable))
run.start(scans, len(scans) - 1, {"name": "default"})
while run.active:
    run.poll()          # from a timer
run.study, run.error, run.warnings
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from typing import Any

import slicer

from GLIDERegLib.core.errors import GlideRegError, InputError
from GLIDERegLib.evaluation.follow_up.study import Study, study_steps, usable_marks
from GLIDERegLib.scene.follow_up.links import linkOf, transformBetween
from GLIDERegLib.scene.follow_up.measuring import ScanMeasuring
from GLIDERegLib.scene.follow_up.scans import SceneScan, scansProblem
from GLIDERegLib.scene.registration.request import Inputs, Outputs
from GLIDERegLib.scene.registration.run import SceneRegistration
from GLIDERegLib.worker.job import State

# Of the whole run, what measuring and matching are taken for.
MEASURING, MATCHING = 0.15, 0.05


class FollowUp:
    """One study at a time. What is registered stays in the scene as a transform that names its two scans, so
    that a cancelled or repeated run goes on from there.

    registration: registers the pairs; what else it may be used for has to wait meanwhile. measuring: measures
    the marked nodules of each scan in a process beside Slicer. done, total: numbers of registrations.
    overall: share of the whole. frame: the date at work. study: None until the end.
    """

    def __init__(self, registration: SceneRegistration, measuring: ScanMeasuring):
        self._registration, self._measuring = registration, measuring
        self.state = State.IDLE
        self._forget()

    def _forget(self) -> None:
        self.study: Study | None = None
        self.error: GlideRegError | None = None
        self.warnings: list[str] = []
        self._steps: Generator[float, None, Study] | None = None
        self._followed = 0.0
        self._waiting: list[int] = []
        self._number: int | None = None
        self.done = self.total = 0
        self._started = self._stopped = time.monotonic()

    @property
    def active(self) -> bool:
        return self.state in (State.RUNNING, State.CANCELLING)

    @property
    def frame(self) -> str:
        """The date that is being registered; empty while nodules are measured."""
        return "" if self._number is None else self._scans[self._number].name

    @property
    def stage(self) -> str:
        return self._registration.stage if self._number is not None else ""

    @property
    def overall(self) -> float:
        share = self._registration.overall if self._registration.active else 0.0
        registered = (self.done + share) / self.total if self.total else 1.0
        measured = 1.0 if self._steps else self._measuring.done / max(1, len(self._scans))
        if registered < 1:
            measured = 0.0
        left = 1 - MEASURING - MATCHING
        return left * registered + MEASURING * measured + MATCHING * self._followed

    @property
    def elapsed(self) -> float:
        """Seconds."""
        return (time.monotonic() if self.active else self._stopped) - self._started

    @property
    def remaining(self) -> float | None:
        """Estimated seconds of the registration at work; None while nothing can be said."""
        return self._registration.remaining if self.state is State.RUNNING else None

    def start(
        self,
        scans: Sequence[SceneScan],
        reference: int,
        settings: dict[str, Any],
        anyPatient: bool = False,
        temporaryFolder: str | None = None,
        keepNodules: bool = True,
    ) -> None:
        """Starts with the first scan that no transform of the scene registers to the reference yet.

        scans: in order of time. reference: number of the one that stays. anyPatient: go on though they are of
        different patients. keepNodules: see `Inputs`. Raises InputError for scans or marks that cannot be
        followed and while a run is active.
        """
        if self.active or self._registration.active:
            raise InputError("A registration is running already; cancel it or wait for its end.")
        if problem := scansProblem(scans, anyPatient):
            raise InputError(problem)
        for scan in scans:
            usable_marks(scan, scan.read())
        self._forget()
        self._scans, self._reference = list(scans), reference
        self._settings, self._temporaryFolder = settings, temporaryFolder
        self._keepNodules = keepNodules
        self._waiting = [n for n in range(len(scans)) if n != reference and self._transform(n) is None]
        self.total = len(self._waiting)
        self.state = State.RUNNING
        try:
            self._next()
        except BaseException:
            self._finish(State.FAILED)
            raise

    def poll(self) -> None:
        """Takes what the worker told; goes on with the next scan, or measures the next nodule."""
        if not self.active:
            return
        if self._steps is not None:
            self._follow()
            return
        if self._measuring.active:
            self._measure()
            return
        self._registration.poll()
        if self._registration.active:
            return
        if self.state is State.CANCELLING:
            self._finish(State.CANCELLED)
            return
        self.warnings += [text for text in self._registration.warnings if text not in self.warnings]
        if self._registration.results is None:
            self.error = self._registration.error or GlideRegError("The registration ended without a result.")
            self._finish(State.FAILED)
            return
        self.done += 1
        try:
            self._next()
        except GlideRegError as error:
            self._fail(error)

    def cancel(self) -> None:
        """Asks for the end; the registrations that are done stay."""
        if self.state is not State.RUNNING:
            return
        self.state = State.CANCELLING
        if self._registration.active:
            self._registration.cancel()

    def close(self) -> None:
        """Ends everything at once."""
        self._registration.close()
        if self.active:
            self._finish(State.CANCELLED)

    def _measure(self) -> None:
        """Follows the process that measures; where it has ended, the matching's turn."""
        if self.state is State.CANCELLING:
            self._finish(State.CANCELLED)
            return
        try:
            self._measuring.poll()
            if self._measuring.active:
                return
            if self._measuring.failure:
                raise self._measuring.failure
            self._match()
        except GlideRegError as error:
            self._fail(error)

    def _transform(self, number: int) -> slicer.vtkMRMLGridTransformNode | None:
        return transformBetween(self._scans[self._reference].volume, self._scans[number].volume)

    def _next(self) -> None:
        """Starts the next registration; where none is left, the nodules' turn."""
        if self._waiting:
            self._number = self._waiting.pop(0)
            inputs = self._inputs(self._scans[self._reference], self._scans[self._number])
            outputs = Outputs(True, False, False, False)
            self._registration.start(inputs, outputs, self._settings, temporaryFolder=self._temporaryFolder)
            return
        self._number = None
        self._check()
        self._measuring.start(self._scans, self._temporaryFolder)
        if not self._measuring.active:
            # Nothing is marked.
            self._match()

    def _inputs(self, fixed: SceneScan, moving: SceneScan) -> Inputs:
        return Inputs(
            fixed.volume, moving.volume, fixed.nodules, moving.nodules, keepNodules=self._keepNodules
        )

    def _match(self) -> None:
        """Begins to tell the nodules apart, from what was measured."""
        self._check()
        reference = self._scans[self._reference].volume
        links = {
            (self._reference, n): linkOf(reference, scan.volume, self._transform(n))
            for n, scan in enumerate(self._scans)
            if n != self._reference
        }
        volumes = [scan.read() for scan in self._scans]
        measured = iter([nodule for scan in self._measuring.found for nodule in scan])
        self._steps = study_steps(
            self._scans, volumes, links, self._reference, lambda volume, point: next(measured)
        )

    def _follow(self) -> None:
        """One step of the study, a fraction of a second."""
        if self.state is State.CANCELLING:
            self._finish(State.CANCELLED)
            return
        try:
            self._check()
            self._followed = next(self._steps)
        except StopIteration as end:
            self.study = end.value
            self._finish(State.DONE)
        except GlideRegError as error:
            self._fail(error)
        except BaseException:
            # A generator that broke off would end without a word next time.
            self._finish(State.FAILED)
            raise

    def _check(self) -> None:
        """Raises InputError where a scan or a registration has left the scene meanwhile."""
        for n, scan in enumerate(self._scans):
            gone = scan.volume.GetScene() is None
            if gone or (n != self._reference and self._transform(n) is None):
                what = "The scan" if gone else "The registration of the scan"
                raise InputError(f"{what} of {scan.name} is no longer in the scene.")

    def _fail(self, error: GlideRegError) -> None:
        self.error = error
        self._finish(State.FAILED)

    def _finish(self, state: State) -> None:
        self.state, self._stopped = state, time.monotonic()
        self._measuring.close()
        if self._steps is not None:
            self._steps.close()
        self._steps, self._number = None, None
