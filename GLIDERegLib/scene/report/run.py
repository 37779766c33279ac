"""The report of a registration in the scene, made beside Slicer by `glidereg report`. No Qt.

report = SceneReport(sys.executable)
report.start(ReportInputs(fixedNode, movingNode, transformNode, [noduleTask]), "/data/report.html")
while (page := report.poll()) is None and not report.failure:
    ...                 # from a timer
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from os import PathLike
from pathlib import Path

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.processes.start import end, start_process
from GLIDERegLib.scene.report.folder import ReportInputs, writeReportFolder
from GLIDERegLib.worker.output import Output

ERROR_PREFIX = "glidereg: error: "


class SceneReport:
    """Makes one report at a time. python: an interpreter that has the engine. failure: why there is none."""

    def __init__(self, python: str):
        self._python = python
        self._process = self._folder = None
        self.failure = ""

    @property
    def active(self) -> bool:
        return self._process is not None

    def start(self, inputs: ReportInputs, page: str | PathLike, temporaryFolder: str | None = None) -> None:
        """Writes the nodes to files and starts the process that makes the page (.html) of them.

        Raises InputError, with nothing left behind, for nodes that cannot be used and while one is made.
        """
        if self.active:
            raise InputError("A report is being made already; wait for its end.")
        self.failure = ""
        self._page = Path(page).absolute()
        self._folder = tempfile.mkdtemp(prefix="glidereg-", dir=temporaryFolder)
        try:
            writeReportFolder(inputs, Path(self._folder))
            command = [self._python, "-m", "GLIDERegLib", "report", self._folder, "-o", str(self._page)]
            self._process = start_process([*command, "--quiet"])
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise InputError(
                    f"The report cannot be made ({error}); check the disk and the Python '{self._python}'."
                ) from error
            raise
        self._output = Output(self._process)
        # Also called when the program leaves.
        self._end = weakref.finalize(self, end, self._process)

    def poll(self) -> Path | None:
        """The page once it is made; None before, and where `failure` says why it could not be."""
        if not self.active or self._process.poll() is None or self._output.open:
            return None
        status, log = self._process.returncode, self._output.log
        # It has ended by itself: its number may be another process's by now.
        self._end.detach()
        self._process.stdin.close()
        self._process = None
        self.close()
        if status == 0:
            return self._page
        last = log[-1] if log else f"exit status {status}"
        known = last.startswith(ERROR_PREFIX)
        self.failure = last.removeprefix(ERROR_PREFIX) if known else f"The report failed unexpectedly: {last}"
        return None

    def close(self) -> None:
        """Ends what is running and removes what was temporary."""
        if self._process is not None:
            self._end()
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
