"""Runs a registration method as a process, and tells how it went, how long, and with how much memory."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.processes.watched import TIMEOUT, Watched
from GLIDERegLib.studies.cases import Method, Task

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


@dataclass(frozen=True)
class Run:
    """How a method's process went.

    status: "done" (the process ended well; whether a usable result is there, `Method.transform` tells),
    "failed", "missing" (not installed) or "timeout". reason: one sentence where it is not "done", else empty.
    seconds: wall time of the process. peak_bytes: largest memory of the process and all it started.
    cpu_seconds: what they took of the processor, user and system; None where the system does not tell.
    """

    status: str
    reason: str
    seconds: float
    peak_bytes: int
    cpu_seconds: float | None = None


def run_method(method: Method, task: Task, timeout: float | None = None) -> Run:
    """Runs a method on a task; its output goes into log.txt in the task's folder.

    timeout: seconds after which the process and all it started are killed; they are killed too when the
    caller is interrupted. Libraries that heed an environment variable keep to the task's threads.

    Memory is that of `Watched.peak`, the processor's time that of `Watched.cpu`.
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
        watched = Watched(process)
        late = watched.wait(deadline=None if timeout is None else begin + timeout) == TIMEOUT
    seconds = watched.end - begin
    if late:
        return Run("timeout", f"{method.name} was stopped after {timeout:g} s.", seconds, watched.peak)
    if process.returncode != 0:
        return Run("failed", _failure(method.name, process.returncode, log), seconds, watched.peak)
    return Run("done", "", seconds, watched.peak, watched.cpu)


def _failure(name: str, status: int, log: Path) -> str:
    """One sentence with the end of the log."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    last = f": {' | '.join(lines[-2:])[-400:].rstrip('.')}" if lines else " and said nothing"
    return f"{name} {how}{last}."
