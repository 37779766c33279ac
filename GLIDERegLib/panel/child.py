"""Short Python processes beside Slicer, such as the probe and downloads: looked at, never waited for."""

from __future__ import annotations

import os
import shutil
import sys
from collections import deque
from collections.abc import Callable

from GLIDERegLib.processes.lines import Readers
from GLIDERegLib.processes.owned import OwnedProcess
from GLIDERegLib.processes.start import PYTHON_VARIABLE

_LINES = 1000
_DRAIN_SECONDS = 0.5


def pythonExecutable() -> str:
    """The Python that registers: the one GLIDEREG_PYTHON names, else Slicer's, else the running one."""
    return os.environ.get(PYTHON_VARIABLE) or shutil.which("PythonSlicer") or sys.executable


class Child:
    """A process of `pythonExecutable()`, killed at the latest when this object or the program goes.

    lines, log: the last lines of its standard output and standard error so far. Raises OSError where it
    cannot be started.
    """

    def __init__(self, *arguments: str):
        self._process = OwnedProcess([pythonExecutable(), *arguments])
        self.lines: deque[str] = deque(maxlen=_LINES)
        self.log: deque[str] = deque(maxlen=_LINES)
        self._readers = Readers(self._process.popen, _into(self.lines), _into(self.log))

    @property
    def exitStatus(self) -> int | None:
        """None while it runs; afterwards `lines` and `log` are complete."""
        status = self._process.status
        if status is not None:
            self._readers.join(_DRAIN_SECONDS)
        return status

    def close(self) -> None:
        """Ends it with all it started."""
        self._process.close()


def _into(lines: deque[str]) -> Callable[[bytes], None]:
    return lambda line: lines.append(line.decode("utf-8", "replace").rstrip())
