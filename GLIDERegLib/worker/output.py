"""What comes out of a registration's process: events, a log, and why it ended where it does not say so."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import deque
from typing import Any

from GLIDERegLib.processes.lines import Readers
from GLIDERegLib.processes.start import SIGKILL
from GLIDERegLib.worker.messages import (
    DEPENDENCY_HINT,
    INTERNAL_HINT,
    MEMORY_HINT,
    error_event,
    is_out_of_memory,
    parse_event,
)

# What is kept of a log, a choice: a library may write without end.
LOG_LINES, LOG_COLUMNS = 2000, 5000
LAST_WORDS = 20  # lines of the log in which a process says why it died
WINDOWS = os.name == "nt"


class Output:
    """What a process says: events from its standard output, and a log of everything else.

    Of each kind of event only
    the newest is kept until it is taken, and of the log the last lines: however much comes, it fits.
    """

    def __init__(self, process: subprocess.Popen):
        self._lock = threading.Lock()
        self._events: dict[str, dict[str, Any]] = {}
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._readers = Readers(process, self._take_line, self._take_text)

    @property
    def open(self) -> bool:
        """False once both streams have ended and all is taken in."""
        return self._readers.open

    @property
    def log(self) -> list[str]:
        """The last lines of free text, oldest first."""
        with self._lock:
            return list(self._log)

    def forget(self) -> None:
        """Drops what an earlier run said."""
        with self._lock:
            self._events.clear()
            self._log.clear()

    def take(self) -> list[dict[str, Any]]:
        """The events since the last call, of each kind the newest."""
        with self._lock:
            events, self._events = self._events, {}
        return list(events.values())

    def _take_line(self, line: bytes) -> None:
        event = parse_event(line)
        if event is None:
            self._take_text(line)
            return
        if event.get("message"):
            self._take_text(event["message"].encode())
        with self._lock:
            self._events[event["event"]] = event

    def _take_text(self, line: bytes) -> None:
        # A progress bar rewrites its line after a carriage return.
        text = line.decode("utf-8", "replace").rstrip().rsplit("\r", 1)[-1][:LOG_COLUMNS]
        if text:
            with self._lock:
                self._log.append(text)


def why_it_ended(status: int, log: list[str], what: str = "registration") -> dict[str, Any]:
    """The error event for a process that ended without a result or an error of its own.

    status: as `Popen.returncode` gives it. log: its last lines, oldest first. what: it was making.
    """
    # A launcher in between tells the number of a signal as a shell does.
    number = -status if status < 0 else status - 128 if status > 128 and not WINDOWS else 0
    if number == SIGKILL or is_out_of_memory("\n".join(log[-LAST_WORDS:])):
        message = f"The {what} was ended by the system, most likely because memory ran out."
        return error_event("memory", message, MEMORY_HINT)
    if log and log[-1].startswith(("ModuleNotFoundError", "ImportError")):
        message = f"A package that the {what} needs cannot be loaded ({log[-1]})."
        return error_event("dependency", message, DEPENDENCY_HINT)
    how = signal.Signals(number).name if number in set(signal.Signals) else f"exit status {status}"
    return error_event("internal", f"The {what} ended unexpectedly ({how}).", INTERNAL_HINT)
