"""What a process says, read by a thread for each stream, so that it never waits and nobody waits for it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from typing import IO

LONGEST_LINE = 1 << 20  # bytes


class Readers:
    """Reads both streams of a process to their ends; each line goes to a function, on a thread of its own.

    output, log: take a line of standard output and of standard error, as bytes.
    """

    def __init__(
        self, process: subprocess.Popen, output: Callable[[bytes], None], log: Callable[[bytes], None]
    ):
        sources = ((process.stdout, output), (process.stderr, log))
        self._threads = [threading.Thread(target=_read, args=source, daemon=True) for source in sources]
        for thread in self._threads:
            thread.start()

    @property
    def open(self) -> bool:
        """False once both streams have ended and all is taken in."""
        return any(thread.is_alive() for thread in self._threads)

    def join(self, seconds: float) -> None:
        """Waits until all is taken in, for each stream at most so long."""
        for thread in self._threads:
            thread.join(seconds)


def _read(stream: IO[bytes], take: Callable[[bytes], None]) -> None:
    with stream:
        while line := stream.readline(LONGEST_LINE):
            take(line)
