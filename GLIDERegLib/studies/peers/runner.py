"""Runs a registration method as a process, and tells how it went, how long, and with how much memory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.studies.cases import Method, Task
from GLIDERegLib.studies.process_tree import ProcessTree

LOG = "log.txt"
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
# Seconds between two looks at the memory of the tree, which cost some 10 ms each.
SHORTEST_INTERVAL, LONGEST_INTERVAL = 0.02, 0.5


@dataclass(frozen=True)
class Run:
    """How a method's process went.

    status: "done" (the process ended well; whether a usable result is there, `Method.transform` tells),
    "failed", "missing" (not installed) or "timeout". reason: one sentence where it is not "done", else empty.
    seconds: wall time of the process. peak_bytes: largest memory of the process and all it started.
    """

    status: str
    reason: str
    seconds: float
    peak_bytes: int


def run_method(method: Method, task: Task, timeout: float | None = None) -> Run:
    """Runs a method on a task; its output goes into log.txt in the task's folder.

    timeout: seconds after which the process and all it started are killed; they are killed too when the
    caller is interrupted. Libraries that heed an environment variable keep to the task's threads.

    Memory: the largest sum of the resident sets of the process tree, looked at every 0.02 to 0.5 s (pages
    that processes share count for each), and where the system tells it, the peak of the largest process.
    """
    if reason := method.missing():
        return Run("missing", reason, 0.0, 0)
    try:
        command = [str(part) for part in method.command(task)]
    except InputError as error:
        return Run("failed", str(error), 0.0, 0)
    if not command:
        return Run("done", "", 0.0, 0)
    task.folder.mkdir(parents=True, exist_ok=True)
    log = task.folder / LOG
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(task.threads))
    with log.open("wb") as output:
        begin = time.perf_counter()
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            return Run("failed", f"{method.name} cannot be started: {error}.", 0.0, 0)
        watched = _Watched(process, ProcessTree(process.pid))
        late = not watched.wait(None if timeout is None else begin + timeout)
    seconds = watched.end - begin
    if late:
        return Run("timeout", f"{method.name} was stopped after {timeout:g} s.", seconds, watched.peak)
    if process.returncode != 0:
        return Run("failed", _failure(method.name, process.returncode, log), seconds, watched.peak)
    return Run("done", "", seconds, watched.peak)


@dataclass
class _Watched:
    """A running process: waits for its end, looks at its memory, and leaves nothing of its tree behind."""

    process: subprocess.Popen
    tree: ProcessTree
    tree_peak: int = 0
    own_peak: int = 0
    end: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event)

    def wait(self, deadline: float | None) -> bool:
        """True once the process has ended by itself; at the deadline or an interrupt its tree is killed."""
        waiter = threading.Thread(target=self._await_end, daemon=True)
        waiter.start()
        interval = SHORTEST_INTERVAL
        try:
            while True:
                self._look()
                left = float("inf") if deadline is None else deadline - time.perf_counter()
                if self.ended.wait(max(min(interval, left), 0)):
                    return True
                if left <= 0:
                    return False
                interval = min(1.2 * interval, LONGEST_INTERVAL)
        finally:
            self.tree.kill()
            waiter.join()

    def _await_end(self) -> None:
        if hasattr(os, "wait4"):
            _, status, usage = os.wait4(self.process.pid, 0)
            self.end = time.perf_counter()
            self.process.returncode = os.waitstatus_to_exitcode(status)
            self.own_peak = _own_peak(usage)
        else:
            self.process.wait()
            self.end = time.perf_counter()
        self.ended.set()

    def _look(self) -> None:
        total = 0
        for process in self.tree.look():
            with suppress(psutil.Error):
                total += process.memory_info().rss
        self.tree_peak = max(self.tree_peak, total)

    @property
    def peak(self) -> int:
        return max(self.tree_peak, self.own_peak)


def _own_peak(usage) -> int:
    """Peak memory in bytes of an ended child, 0 where the number may be this process's own.

    A child starts as a copy of its parent, whose size Linux counts as the child's until it runs its program.
    """
    import resource

    inherited = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_maxrss * unit if usage.ru_maxrss > inherited else 0


def _failure(name: str, status: int, log: Path) -> str:
    """One sentence with the end of the log."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    last = f": {' | '.join(lines[-2:])[-400:].rstrip('.')}" if lines else " and said nothing"
    return f"{name} {how}{last}."
