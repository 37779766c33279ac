"""A registration in a process of its own, driven from a program that must stay responsive.

    job = RegistrationJob(python)
    job.start(request, folder)
    while job.active:               # from a timer, every 100 ms
        for event in job.poll():    # what happened since the last time, on this thread
            ...
    # job.state is DONE, FAILED or CANCELLED; the last event was the result or an error

Nothing here blocks but `close`. A process whose run ended well may stay, loaded, for the next one; `warm`
starts one ahead. Nothing here survives: the process is killed with all it started when a cancelled run does
not end by itself, when the job is closed or forgotten, and when the program leaves; an idle one leaves by
itself after a while.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from os import PathLike
from pathlib import Path
from typing import Any

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.processes.owned import OwnedProcess
from GLIDERegLib.worker.messages import STAY, Request, error_event
from GLIDERegLib.worker.output import Output, why_it_ended

GRACE_SECONDS = 2.0  # for the process to end by itself after a cancellation or its last event
DRAIN_SECONDS = 0.5  # for what it said last to arrive after its end
# A remaining time is told once this share of the run, and this time, have passed.
LEAST_SHARE, LEAST_SECONDS = 0.03, 2.0


class State(Enum):
    """Where a job is; it can be started in the first and the last three."""

    IDLE = "idle"
    STARTING = "starting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


ACTIVE = (State.STARTING, State.RUNNING, State.CANCELLING)


class Child:
    """The process and what it says."""

    def __init__(self, command: list[str]):
        self.process = OwnedProcess(command)
        self.output = Output(self.process.popen)


class RegistrationJob:
    """Starts, watches and ends the process of one registration at a time; not thread-safe.

    python: the interpreter to run. arguments: what it is given before the request's path. clock: seconds.
    """

    def __init__(
        self,
        python: str | PathLike,
        arguments: Sequence[str] = ("-m", "GLIDERegLib.worker"),
        clock: Callable[[], float] = time.monotonic,
    ):
        self._command = [str(python), *arguments]
        self._clock = clock
        self._state = State.IDLE
        self._child: Child | None = None
        self._last_log: list[str] = []
        self._started = self._stopped = 0.0

    @property
    def state(self) -> State:
        """Changes in `start`, `cancel`, `poll` and `close` only."""
        return self._state

    @property
    def active(self) -> bool:
        """True from `start` until the process is gone and `poll` or `close` has noticed."""
        return self._state in ACTIVE

    @property
    def pid(self) -> int | None:
        """Process id of the active run; None without one."""
        return self._child.process.pid if self._child and self.active else None

    @property
    def log(self) -> list[str]:
        """The last lines of free text the process wrote, oldest first."""
        return self._child.output.log if self._child else self._last_log

    @property
    def elapsed(self) -> float:
        """Seconds the run has taken so far, or took."""
        return (self._clock() if self.active else self._stopped) - self._started

    @property
    def remaining(self) -> float | None:
        """Estimated seconds to go; None while nothing can be said."""
        if self._state is not State.RUNNING or self._first_progress is None:
            return None
        spent = self._last_progress - self._first_progress
        if self._share < LEAST_SHARE or spent < LEAST_SECONDS:
            return None
        expected = spent * (1 - self._share) / self._share
        return max(expected - (self._clock() - self._last_progress), 0.0)

    def start(self, request: Request, folder: str | PathLike) -> None:
        """Writes the request into the folder and starts the process.

        Raises InputError while a run is active, or when the request or the process cannot be made.
        """
        if self.active:
            raise InputError(
                "A registration is running already.", "Cancel it or wait for its end.", code="busy"
            )
        path = Path(folder) / "request.json"
        try:
            for file in (request.cancel_file, request.keep_file):
                Path(file).unlink(missing_ok=True)  # of an earlier run
            request.write(path)
            self._handed_over = self._hand_over(path)
            if not self._handed_over:
                self._launch(str(path), STAY)
        except OSError as error:
            raise InputError("; ".join(self._why_not_started(error, folder))) from error
        self._request, self._path = request, path
        self._last_event: dict[str, Any] | None = None
        self._ready = False
        self._deadline: float | None = None
        self._ended_at: float | None = None
        self._first_progress: float | None = None
        self._last_progress = self._share = 0.0
        self._started = self._clock()
        self._state = State.STARTING

    def warm(self) -> None:
        """Has a process load what a registration needs, so that the next one starts sooner; returns at once.

        It takes the place of one that waits, which may lack packages that were installed since. Does nothing
        while a run is active, and where none can be started: the next run tells why.
        """
        if not self.active:
            with suppress(OSError):
                self._launch(STAY)

    def _launch(self, *arguments: str) -> None:
        """Starts a process in place of an earlier one; raises OSError."""
        child = Child([*self._command, *arguments])
        self._drop()
        self._child = child

    def _drop(self) -> None:
        """Ends the process, idle or not, with all it started."""
        if self._child is not None:
            self._child.process.close()
            self._last_log = self._child.output.log
        self._child = None

    def _hand_over(self, path: Path) -> bool:
        """Gives the request to the process that waits for one; False where there is none."""
        if self._child is None or self._child.process.status is not None:
            return False
        self._child.output.forget()
        return self._child.process.say(json.dumps(str(path)).encode())

    def poll(self) -> list[dict[str, Any]]:
        """What the process told since the last call, of each kind the newest; call it every 100 ms.

        A run's last event is a result or an error, told once when the process is gone. Without either from
        the process itself, it is an error that says how the process ended.
        """
        if self._child is None or not self.active:
            return []
        child = self._child
        # Looked at before the events: what comes after the end is known to be all.
        gone = self._is_gone(child)
        events = [event for event in child.output.take() if self._note(event)]
        if (gone and not self._started_anew()) or self._ready:
            events.append(self._finish(child))
        return events

    def _started_anew(self) -> bool:
        """Starts another process where the one that was given the request ended without a word."""
        silent = self._state is State.STARTING and self._last_event is None
        if not (self._handed_over and silent):
            return False
        self._handed_over, self._ended_at = False, None
        try:
            self._launch(str(self._path), STAY)
            return True
        except OSError as error:
            what, remedy = self._why_not_started(error, self._path.parent)
            self._last_event = error_event("internal", f"{what}.", remedy[0].upper() + remedy[1:])
            return False

    def _why_not_started(self, error: OSError, folder: str | PathLike) -> tuple[str, str]:
        """What is wrong, and what to do."""
        return (
            f"The registration cannot be started ({error})",
            f"check the folder '{folder}' and the Python interpreter '{self._command[0]}'.",
        )

    def cancel(self) -> None:
        """Asks the process to stop; within 3 s and some polls it is gone, with no result."""
        if self._state in (State.STARTING, State.RUNNING):
            self._state = State.CANCELLING
            self._deadline = self._clock() + GRACE_SECONDS
            if not _touch(self._request.cancel_file) and self._child is not None:
                self._child.process.kill()

    def keep(self) -> None:
        """Asks the process to end early with the present result."""
        if self._state in (State.STARTING, State.RUNNING):
            _touch(self._request.keep_file)

    def close(self) -> None:
        """Kills what runs or waits at once and waits for its end; the job can be started again."""
        self._drop()
        if self.active:
            self._stopped = self._clock()
            self._state = State.CANCELLED

    def _is_gone(self, child: Child) -> bool:
        now = self._clock()
        if child.process.status is None:
            if self._deadline is not None and now >= self._deadline:
                child.process.kill()
            return False
        if self._ended_at is None:
            self._ended_at = now
            child.process.kill()  # what it started and left behind
        # A process that escaped may hold the pipes open for ever.
        return not child.output.open or now - self._ended_at >= DRAIN_SECONDS

    def _note(self, event: dict[str, Any]) -> bool:
        """Takes in what an event says; True where the caller is to see it now."""
        if event["event"] == "ready":
            self._ready = self._last_event is not None and self._last_event["event"] == "result"
            return False
        if event["event"] in ("result", "error"):
            if self._last_event is None:
                self._last_event = event
                self._deadline = self._deadline or self._clock() + GRACE_SECONDS
            return False
        if self._state is State.CANCELLING:
            return False
        self._state = State.RUNNING
        if event["event"] == "progress":
            self._last_progress = self._clock()
            self._share = event["overall"]
            if self._first_progress is None:
                self._first_progress = self._last_progress
        return True

    def _finish(self, child: Child) -> dict[str, Any]:
        """The run's last event; the state it leaves."""
        self._stopped = self._clock()
        # Without a last event it was seen to be gone, so that it has a status.
        event = self._last_event or why_it_ended(child.process.status or 0, child.output.log)
        if not self._ready or self._state is State.CANCELLING:
            # Whatever was done to it, the next run starts afresh.
            self._drop()
        if self._state is State.CANCELLING or (event["event"], event.get("kind")) == ("error", "cancelled"):
            self._state = State.CANCELLED
            return error_event("cancelled", "The registration was cancelled.", "")
        self._state = State.DONE if event["event"] == "result" else State.FAILED
        return event


def _touch(file: str) -> bool:
    try:
        Path(file).touch()
    except OSError:
        return False
    return True
