"""The operating system's side of a job: a process with all its offspring, and what comes out of it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from GLIDERegLib.worker.messages import (
    DEPENDENCY_HINT,
    INTERNAL_HINT,
    MEMORY_HINT,
    error_event,
    is_out_of_memory,
    parse_event,
)

ROOT = Path(__file__).resolve().parents[2]
WINDOWS = os.name == "nt"
# Names a Python of the user's own, which must not meet the libraries that Slicer's launcher points to.
PYTHON_VARIABLE = "GLIDEREG_PYTHON"
OF_SLICER = ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
LONGEST_LINE = 1 << 20  # bytes of one event
LOG_LINES, LOG_COLUMNS = 2000, 1000
LAST_WORDS = 20  # lines of the log in which a process says why it died
SIGKILL = 9  # Windows has no name for it


def start_process(command: list[str]) -> subprocess.Popen:
    """Starts a Python that can import this library, in a process group of its own, with pipes.

    Its standard input stays open as long as this process lives: its end tells the child that it is alone.
    Raises OSError.
    """
    inherited = dict(os.environ)
    if PYTHON_VARIABLE in inherited:
        inherited = {name: value for name, value in inherited.items() if name not in OF_SLICER}
    paths = [str(ROOT), *filter(None, [inherited.get("PYTHONPATH")])]
    environment = {
        **inherited,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUTF8": "1",
        # Threads that spin while they wait would take the processor from the views.
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONIOENCODING": "utf-8",
    }
    flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP if WINDOWS else 0
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, start_new_session=not WINDOWS, creationflags=flags, **pipes
    )


def kill_tree(process: subprocess.Popen) -> None:
    """Kills the process and all it started, whether or not it still runs itself; does not wait."""
    if WINDOWS:
        taskkill = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
        with suppress(OSError):
            subprocess.run(taskkill, capture_output=True, creationflags=subprocess.CREATE_NO_WINDOW)
        process.kill()
    else:
        # Of a group without members the first is said on Linux, the second on macOS.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, SIGKILL)


def end(process: subprocess.Popen) -> None:
    """Kills the process with all it started, and waits until it is gone."""
    kill_tree(process)
    close_input(process)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)


def close_input(process: subprocess.Popen) -> None:
    """Closes this end of its standard input, whatever the other end has not read."""
    with suppress(OSError):
        process.stdin.close()


class Output:
    """What a process says: events from its standard output, and a log of everything else.

    Two threads read, so that the process never waits and the caller never blocks. Of each kind of event only
    the newest is kept until it is taken, and of the log the last lines: however much comes, it fits.
    """

    def __init__(self, process: subprocess.Popen):
        self._lock = threading.Lock()
        self._events: dict[str, dict[str, Any]] = {}
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        sources = ((process.stdout, self._take_line), (process.stderr, self._take_text))
        self._threads = [threading.Thread(target=_read, args=source, daemon=True) for source in sources]
        for thread in self._threads:
            thread.start()

    @property
    def open(self) -> bool:
        """False once both streams have ended and all is taken in."""
        return any(thread.is_alive() for thread in self._threads)

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


def _read(stream: IO[bytes], take: Callable[[bytes], None]) -> None:
    with stream:
        while line := stream.readline(LONGEST_LINE):
            take(line)


def why_it_ended(status: int, log: list[str]) -> dict[str, Any]:
    """The error event for a process that ended without a result or an error of its own.

    status: as `Popen.returncode` gives it. log: its last lines, oldest first.
    """
    # A launcher in between tells the number of a signal as a shell does.
    number = -status if status < 0 else status - 128 if status > 128 and not WINDOWS else 0
    if number == SIGKILL or is_out_of_memory("\n".join(log[-LAST_WORDS:])):
        message = "The registration was ended by the system, most likely because memory ran out."
        return error_event("memory", message, MEMORY_HINT)
    if log and log[-1].startswith(("ModuleNotFoundError", "ImportError")):
        message = f"A package that the registration needs cannot be loaded ({log[-1]})."
        return error_event("dependency", message, DEPENDENCY_HINT)
    how = signal.Signals(number).name if number in set(signal.Signals) else f"exit status {status}"
    return error_event("internal", f"The registration ended unexpectedly ({how}).", INTERNAL_HINT)
