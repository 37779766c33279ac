"""What lets a process of registrations stay for the next one, and when it had better go.

To load torch and the kernels takes 2 to 4 s, as long as a small `fast` run itself.
"""

from __future__ import annotations

import ctypes
import gc
import json
import queue
import sys
import time
from contextlib import suppress

from GLIDERegLib.processes.loading import uncollected

# A choice: to load packages takes seconds, to hold them memory.
IDLE_SECONDS = 600.0
LOOK_SECONDS = 2.0
# A loaded process holds 0.4 GB; one that keeps more than this after a run would do so for ever.
MOST_KEPT_BYTES = 1.5e9
# Who waits goes when the rest of the computer has less than this.
LEAST_FREE_BYTES = 1e9


class Requests:
    """Paths of requests, as they come by standard input: each as JSON, on a line of its own."""

    def __init__(self):
        self._paths: queue.Queue[str] = queue.Queue()
        self._rest = b""

    def take(self, content: bytes) -> None:
        """Takes in what was read; also half a line."""
        *lines, self._rest = (self._rest + content).split(b"\n")
        for line in lines:
            self._paths.put(json.loads(line))

    def next(self, idle_seconds: float = IDLE_SECONDS) -> str | None:
        """Waits for a path; None where nobody has asked for long, or memory gets short."""
        end = time.monotonic() + idle_seconds
        while True:
            with suppress(queue.Empty):
                return self._paths.get(timeout=min(LOOK_SECONDS, max(end - time.monotonic(), 0.0)))
            if time.monotonic() >= end or memory_is_short():
                return None


def load() -> None:
    """Loads what every registration needs, and has the kernels compiled that this machine lacks.

    Raises ImportError where a package is missing.
    """
    with uncollected():
        import GLIDERegLib.api  # noqa: F401
        from GLIDERegLib.registration.backends import prepare_kernels

        prepare_kernels()


def may_stay() -> bool:
    """After a run: gives back its memory; False where much remains, or a process that the run started."""
    import psutil

    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            # The C library keeps what was freed.
            ctypes.CDLL("libc.so.6").malloc_trim(0)
    here = psutil.Process()
    return here.memory_info().rss < MOST_KEPT_BYTES and not here.children() and not memory_is_short()


def memory_is_short() -> bool:
    """Whether other programs may need what this process holds."""
    import psutil

    return psutil.virtual_memory().available < LEAST_FREE_BYTES
