"""Ends this process when nobody wants its result any more, even while native code does not return."""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from GLIDERegLib.core.errors import Cancelled

# How often a file that asks to stop is looked for: at once, to a person.
LOOK_SECONDS = 0.1
GRACE_SECONDS = 1.5  # for a cancelled registration to end by itself


def end_with_parent(take: Callable[[bytes], None] = lambda content: None) -> None:
    """Ends this process soon after the one that holds the other end of standard input is gone; what that one
    writes meanwhile goes to `take`, on another thread.

    Does nothing where standard input is no pipe, as when the worker is run by hand.
    """
    with suppress(OSError):
        if stat.S_ISFIFO(os.fstat(0).st_mode):
            _in_background(lambda: _read_input(take), lambda: os._exit(1))


def end_when_cancelled(file: Path) -> Callable[[], None]:
    """Ends this process when the file has been there for a while and nothing else has ended it; returns a
    function that calls it off.
    """
    off = threading.Event()

    def wait() -> None:
        while not file.exists():
            if off.wait(LOOK_SECONDS):
                return
        off.wait(GRACE_SECONDS)

    def act() -> None:
        if not off.is_set():
            os._exit(Cancelled.exit_status)

    _in_background(wait, act)
    return off.set


def _in_background(wait: Callable[[], None], act: Callable[[], None]) -> None:
    def run() -> None:
        wait()
        act()

    threading.Thread(target=run, daemon=True).start()


def _read_input(take: Callable[[bytes], None]) -> None:
    # Not os.name, which tells a type checker nothing of the modules below.
    if sys.platform != "win32":
        while content := os.read(0, 4096):
            take(content)
        return
    # While a read of a pipe waits, Windows holds up every other look at it, as numpy's import takes.
    import _winapi
    import msvcrt

    handle = msvcrt.get_osfhandle(0)
    with suppress(OSError):
        while True:
            waiting, _ = _winapi.PeekNamedPipe(handle, 0)
            if waiting:
                take(os.read(0, waiting))
            else:
                time.sleep(LOOK_SECONDS)
