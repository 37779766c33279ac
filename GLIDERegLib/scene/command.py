"""A command of `glidereg` run beside Slicer on nodes that were written to a folder. No Qt.

command = SceneCommand(sys.executable, "check")
command.start(lambda folder: [...])     # writes the nodes, returns the command's arguments
while not (done := command.poll(readResults)) and not command.failure:
    ...                                 # from a timer
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from GLIDERegLib.core.errors import GlideRegError, InputError
from GLIDERegLib.processes.owned import OwnedProcess
from GLIDERegLib.worker.output import Output, why_it_ended

Result = TypeVar("Result")


class SceneCommand:
    """Runs one command at a time. python: an interpreter that has the engine; what: the command's result, in
    messages. failure: why there is none, as the command told it.
    """

    def __init__(self, python: str, what: str):
        self._python, self._what = python, what
        self._process = self._folder = None
        self.failure: GlideRegError | None = None

    @property
    def active(self) -> bool:
        return self._process is not None

    @property
    def said(self) -> str:
        """The last line that the command wrote; "" before one."""
        log = self._output.log if self.active else []
        return log[-1] if log else ""

    def start(self, prepare: Callable[[Path], list[str]], temporaryFolder: str | None = None) -> None:
        """Starts the command with the arguments that `prepare` returns, which may write into a folder that
        is removed afterwards.

        Raises InputError, with nothing left behind, for nodes that cannot be used and while one runs.
        """
        if self.active:
            raise InputError(f"A {self._what} is being made already.", "Wait for its end.", code="busy")
        self.failure = None
        self._folder = tempfile.mkdtemp(prefix="glidereg-", dir=temporaryFolder)
        try:
            arguments = prepare(Path(self._folder))
            self._process = OwnedProcess([self._python, "-m", "GLIDERegLib", "--json-errors", *arguments])
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise InputError(
                    f"The {self._what} cannot be made ({error}).",
                    f"Check the disk and the Python '{self._python}'.",
                    code="report-failed",
                ) from error
            raise
        self._output = Output(self._process.popen)

    def poll(self, read: Callable[[Path], Result]) -> Result | None:
        """What `read` makes of the folder once the command has succeeded; None before, and where `failure`
        says why it did not.
        """
        if not self.active or self._process.status is None or self._output.open:
            return None
        status, log = self._process.status, self._output.log
        self._process.close()
        self._process = None
        try:
            if status == 0:
                return read(Path(self._folder))
        finally:
            self.close()
        self.failure = self._error(status, log)
        return None

    def _error(self, status: int, log: list[str]) -> GlideRegError:
        """The error that the command's last line tells, or why it ended without one."""
        last = log[-1] if log else ""
        try:
            return GlideRegError(**json.loads(last))
        except (ValueError, TypeError):
            event = why_it_ended(status, log, self._what)
        told = f" {last}" if last and event["code"] == "internal" else ""
        return GlideRegError(event["message"] + told, event["hint"], event["code"])

    def close(self) -> None:
        """Ends what is running and removes what was temporary."""
        if self._process is not None:
            self._process.close()
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


class SceneTask:
    """One kind of command, run for a page. WHAT: its result, in messages. python: an interpreter that has the
    engine.
    """

    WHAT = ""

    def __init__(self, python: str):
        self._command = SceneCommand(python, self.WHAT)

    @property
    def active(self) -> bool:
        return self._command.active

    @property
    def failure(self) -> GlideRegError | None:
        """Why there is no result; None where there is, or may still be, one."""
        return self._command.failure

    def close(self) -> None:
        """Ends what is running and removes what was temporary."""
        self._command.close()
