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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from GLIDERegLib.core.errors import GlideRegError, InputError
from GLIDERegLib.scene.registration.checks import inputProblem, inputWarnings
from GLIDERegLib.scene.registration.outcome import Results, checkChosen, importInto, wantedOutputs
from GLIDERegLib.scene.registration.request import Correction, Inputs, Outputs, writeRequest
from GLIDERegLib.scene.registration.results import readField
from GLIDERegLib.scene.views.preview import LivePreview
from GLIDERegLib.worker.job import RegistrationJob, State

# A choice: more often, drawing would keep the panel from answering.
PREVIEW_SECONDS = 2.0


class SceneRegistration:
    """Runs one registration at a time; the nodes that go in are never changed."""

    def __init__(self, python: str):
        self._job = RegistrationJob(python)
        self._folder: Path | None = None
        self._preview: LivePreview | None = None
        self._forget()

    def _forget(self) -> None:
        self.stage, self.overall, self.device = "", 0.0, ""
        self.error: GlideRegError | None = None
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

    def warm(self) -> None:
        """Has a worker load what a registration needs, so that the next one starts sooner."""
        self._job.warm()

    def start(
        self,
        inputs: Inputs,
        outputs: Outputs,
        settings: dict[str, Any],
        preview: bool = False,
        temporaryFolder: str | None = None,
        correction: Correction | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        """Writes the inputs to files and starts the worker.

        settings: the preset's "name" and changes, as keywords of `Settings.preset`. correction: mends that
        registration instead of starting a new one. notes: further sentences of `warnings`.
        Raises InputError, with nothing left behind, for inputs that cannot be used and while a run is active.
        """
        if self.active:
            raise InputError(
                "A registration is running already.", "Cancel it or wait for its end.", code="busy"
            )
        problem = inputProblem(
            inputs.fixedVolume,
            inputs.movingVolume,
            inputs.fixedMask,
            inputs.movingMask,
            wantedOutputs(inputs, outputs),
        )
        if problem:
            raise InputError(problem)
        checkChosen(inputs, outputs)
        self._forget()
        self._inputs, self._outputs = inputs, outputs
        self.warnings = inputWarnings(
            inputs.fixedVolume,
            inputs.movingVolume,
            inputs.fixedMask,
            inputs.movingMask,
            inputs.initialTransform,
        )
        self.warnings += [*notes, *(correction.notes if correction else ())]
        self._folder = Path(tempfile.mkdtemp(prefix="glidereg-", dir=temporaryFolder))
        try:
            request = writeRequest(
                self._folder, inputs, settings, PREVIEW_SECONDS if preview else None, correction
            )
            self._job.start(request, self._folder)
        except BaseException:
            self._cleanUp()
            raise
        if preview:
            self._preview = LivePreview(inputs.fixedVolume, inputs.movingVolume)

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

    def cancel(self) -> None:
        """Asks for the end without a result; done within 3 s."""
        self._job.cancel()

    def keep(self) -> None:
        """Asks for the end with the present result."""
        self._job.keep()

    def close(self) -> None:
        """Ends everything at once, a waiting worker too, and removes what was temporary."""
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
                self.error = GlideRegError(event["message"], event["hint"], event["code"])
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
            self.results = importInto(event, self._inputs, self._outputs)
        except InputError as error:
            what = f"The result could not be taken into the scene: {error.message}"
            self.error = InputError(what, error.hint, error.code)

    def _endPreview(self) -> None:
        if self._preview is not None:
            self._preview.finish()
            self._preview = None

    def _cleanUp(self) -> None:
        self._endPreview()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
