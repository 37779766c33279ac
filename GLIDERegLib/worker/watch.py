"""Ends this process when nobody wants its result any more, even while native code does not return."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from GLIDERegLib.errors import Cancelled

LOOK_SECONDS = 0.1
GRACE_SECONDS = 1.5  # for a cancelled registration to end by itself


def end_with_parent() -> None:
    """Ends this process soon after the one that holds the other end of standard input is gone.

    Does nothing where standard input is no pipe, as when the worker is run by hand.
    """
    with suppress(OSError):
        if stat.S_ISFIFO(os.fstat(0).st_mode):
            _in_background(_wait_for_end_of_input, lambda: os._exit(1))


def end_when_cancelled(file: Path) -> None:
    """Ends this process when the file has been there for a while and nothing else has ended it."""

    def wait() -> None:
        while not file.exists():
            time.sleep(LOOK_SECONDS)
        time.sleep(GRACE_SECONDS)

    _in_background(wait, lambda: os._exit(Cancelled.exit_status))


def _in_background(wait: Callable[[], None], act: Callable[[], None]) -> None:
    threading.Thread(target=lambda: (wait(), act()), daemon=True).start()


def _wait_for_end_of_input() -> None:
    if os.name != "nt":
        while os.read(0, 4096):
            pass
        return
    # While a read of a pipe waits, Windows holds up every other look at it, as numpy's import takes.
    import _winapi
    import msvcrt

    handle = msvcrt.get_osfhandle(0)
    with suppress(OSError):
        while True:
            _winapi.PeekNamedPipe(handle, 0)
            time.sleep(LOOK_SECONDS)
