"""What the commands share: progress on standard error, tables, errors as one line, a stop on Ctrl-C."""

from __future__ import annotations

import argparse
import io
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from GLIDERegLib.core.errors import Cancelled, one_line

if TYPE_CHECKING:
    from GLIDERegLib.registration.progress import CancelToken, Progress, ProgressCallback

T = TypeVar("T")
# What a figure is, before the registration, after it; None where it does not apply.
Row = tuple[str, "float | None", "float | None"]
WORKER_THREAD = "glidereg-work"
# How long a cancelled step may take to end by itself; the process is gone within two seconds.
GRACE_SECONDS = 1.2
# How long after a signal further ones are not heeded.
CLEANING_SECONDS = 5.0
SIGNALS = (signal.SIGINT, signal.SIGTERM)
SECONDS_BETWEEN_LINES = 10.0
WORTH_A_LINE = 0.5


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and whose options cannot be abbreviated."""

    def __init__(self, **keywords):
        super().__init__(**{"allow_abbrev": False, **keywords})

    def error(self, message: str):
        self.exit(2, f"glidereg: error: {one_line(message)}; see `{self.prog} --help`\n")


def own_streams() -> None:
    """Gives Python's standard error a descriptor of its own, so that native libraries can be silenced without
    it, and has both streams replace letters that the console cannot write.
    """
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
        sys.stderr = open(  # noqa: SIM115 - for the life of the process
            os.dup(sys.stderr.fileno()), "w", buffering=1, encoding=sys.stderr.encoding, errors="replace"
        )
    for stream in (sys.stdout, sys.stderr):
        with suppress(ValueError):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")


class Stop:
    """A handler of signals that raises KeyboardInterrupt, once: a second Ctrl-C of somebody impatient would
    only disturb the cleaning up after the first.
    """

    def __init__(self):
        self._last = -math.inf

    def __call__(self, *_) -> None:
        now, before = time.monotonic(), self._last
        self._last = now
        if now - before > CLEANING_SECONDS:
            raise KeyboardInterrupt


def heed_signals() -> None:
    """Has Ctrl-C and SIGTERM end this process in order, from here on."""
    stop = Stop()
    for number in SIGNALS:
        signal.signal(number, stop)


def ignore_signals() -> None:
    """For the end of a process: what is done is done, and a signal that comes now comes too late."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def interruptible(work: Callable[[CancelToken], T]) -> T:
    """Runs `work` with a cancel token and returns its result; Ctrl-C and SIGTERM raise Cancelled soon.

    The work has a thread of its own, because Python reacts to a signal only between steps of the main thread:
    a long call into native code there would delay it. In a process with `heed_signals`, signals are ignored
    once the work has ended, so that its results and the exit status agree.
    """
    from GLIDERegLib.registration.progress import CancelToken

    token = CancelToken()
    outcome: Future[T] = Future()

    def target() -> None:
        try:
            outcome.set_result(work(token))
        except BaseException as error:
            outcome.set_exception(error)

    thread = threading.Thread(target=target, name=WORKER_THREAD, daemon=True)
    earlier = {number: signal.signal(number, lambda *_: token.cancel()) for number in SIGNALS}
    try:
        thread.start()
        while thread.is_alive() and not token.cancelled:
            thread.join(0.1)
        if token.cancelled:
            thread.join(GRACE_SECONDS)
            # Work that was all but done when the signal came has its result.
            if not outcome.done() or outcome.exception() is not None:
                raise Cancelled("Cancelled; nothing was written.")
        return outcome.result()
    finally:
        for number, handler in earlier.items():
            signal.signal(number, signal.SIG_IGN if isinstance(handler, Stop) else handler)


@contextmanager
def progress_reporter(quiet: bool) -> Iterator[ProgressCallback]:
    """Yields a progress callback: a bar on a terminal, plain lines in a log file, nothing when quiet."""
    if quiet:
        yield lambda progress: None
        return
    reporter = _Bar() if sys.stderr.isatty() else _Lines()
    try:
        yield reporter
        reporter.end()
    finally:
        reporter.close()


class _Bar:
    """One bar for each stage."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._tqdm = tqdm
        self._bar: tqdm | None = None
        self._stage = ""

    def __call__(self, progress: Progress) -> None:
        if self._bar is None or progress.stage != self._stage:
            self.close()
            self._stage = progress.stage
            shape = "{desc:<20} {percentage:3.0f} % |{bar:30}| {elapsed}"
            self._bar = self._tqdm(total=1.0, desc=progress.stage, bar_format=shape)
        if progress.message:
            self._tqdm.write(progress.message, file=sys.stderr)
        self._bar.n = progress.fraction
        self._bar.refresh()

    def end(self) -> None:
        """The last bar is full."""

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


class _Lines:
    """A line for each message, at the end of each stage that took a while, and every ten seconds; of a run
    too short for any, one at its end.
    """

    def __init__(self) -> None:
        self._start = self._last = self._stage_start = time.monotonic()
        self._stage, self._ended = "", False
        self._told = False

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.stage != self._stage or (self._ended and progress.fraction < 1):
            self._stage, self._stage_start, self._ended = progress.stage, now, False
        ends = progress.fraction >= 1 and not self._ended and now - self._stage_start >= WORTH_A_LINE
        self._ended = progress.fraction >= 1
        if ends or progress.message or now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            self._tell(progress.stage, progress.fraction, progress.message)

    def _tell(self, stage: str, fraction: float, message: str = "") -> None:
        self._told = True
        line = f"[{time.monotonic() - self._start:6.1f} s] {stage} {100 * fraction:.0f} %"
        print(f"{line}: {message}" if message else line, file=sys.stderr, flush=True)

    def end(self) -> None:
        """An empty log would look like a run that never began."""
        if self._stage and not self._told:
            self._tell(self._stage, 1.0)

    def close(self) -> None:
        """Lines need no closing."""


def describe_memory_error(error: Exception) -> str | None:
    """One sentence when the error says that memory ran out, on whatever device; None otherwise."""
    texts = ("out of memory", "can't allocate memory", "Failed to allocate memory", "bad_alloc")
    if isinstance(error, MemoryError) or any(text in str(error) for text in texts):
        return "There is not enough memory for these images and settings."
    return None


def comparison(rows: list[Row]) -> str:
    """A table of figures before and after a registration."""
    cells = [(name, *("" if value is None else f"{value:.3f}" for value in values)) for name, *values in rows]
    return "\n".join(f"{name:<50}{a:>9}{b:>9}" for name, a, b in [("", "before", "after"), *cells])


def print_warnings(warnings: list[str]) -> None:
    for text in warnings:
        print("Warning:", one_line(text))
