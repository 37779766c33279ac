"""A process that is measured while it runs, and ended as a whole when there is a reason to."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from GLIDERegLib.processes.tree import ProcessTree

# Seconds between two looks: short at first, for what is over soon; one look costs some 10 ms.
SHORTEST_LOOK, LONGEST_LOOK = 0.01, 0.2
TIMEOUT = "timeout"


class Watched:
    """Watches a process that was just started in a session of its own, with all that it starts.

    peak: bytes, the largest resident memory seen of the process and its offspring together (what those do
    not share, for one just forked shares everything), and where the system tells it, the peak of the process
    itself. end: `time.perf_counter()` at its end. cpu: seconds of the processor that it and all of its
    offspring that it waited for took, user and system; None where the system does not tell.
    """

    def __init__(self, process: subprocess.Popen):
        self._process = process
        self._tree = ProcessTree(process.pid)
        self._tree_peak = self._own_peak = 0
        self._ended = threading.Event()
        self.end = 0.0
        self.cpu: float | None = None

    @property
    def peak(self) -> int:
        return max(self._tree_peak, self._own_peak)

    def wait(
        self, why: Callable[[int], str | None] = lambda peak: None, deadline: float | None = None
    ) -> str | None:
        """Waits for the end; returns None where the process ended by itself, else why it was ended.

        why: given the peak so far in bytes, returns the reason to end it now, or None; asked at every look.
        deadline: `time.perf_counter()` at which it is ended, for TIMEOUT. Nothing of the tree is left behind,
        whatever ends the waiting.
        """
        waiter = threading.Thread(target=self._await_end, daemon=True)
        waiter.start()
        interval = SHORTEST_LOOK
        try:
            while True:
                self._look()
                if reason := why(self._tree_peak):
                    return reason
                left = float("inf") if deadline is None else deadline - time.perf_counter()
                if self._ended.wait(max(min(interval, left), 0)):
                    return None
                if left <= 0:
                    return TIMEOUT
                interval = min(1.2 * interval, LONGEST_LOOK)
        finally:
            self._tree.kill()
            waiter.join()

    def _await_end(self) -> None:
        if hasattr(os, "wait4"):
            _, status, usage = os.wait4(self._process.pid, 0)
            self.end = time.perf_counter()
            self._process.returncode = os.waitstatus_to_exitcode(status)
            self._own_peak = _peak_of_child(usage)
            self.cpu = usage.ru_utime + usage.ru_stime
        else:
            self._process.wait()
            self.end = time.perf_counter()
        self._ended.set()

    def _look(self) -> None:
        total = 0
        for process in self._tree.look():
            with suppress(psutil.Error):
                own = process == self._tree.main
                total += process.memory_info().rss if own else process.memory_full_info().uss
        self._tree_peak = max(self._tree_peak, total)


def _peak_of_child(usage) -> int:
    """Peak memory in bytes of an ended child, 0 where the number may be this process's own.

    A child starts as a copy of its parent, whose size Linux counts as the child's until it runs its program.
    """
    import resource

    inherited = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_maxrss * unit if usage.ru_maxrss > inherited else 0
