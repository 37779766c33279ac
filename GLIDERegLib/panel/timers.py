"""Timers of the pages."""

from __future__ import annotations

from collections.abc import Callable

import qt

# A choice: soon enough for who waits, and nothing for a processor.
LOOK_MILLISECONDS = 200


def lookTimer(look: Callable[[], None]) -> qt.QTimer:
    """A timer, not started yet, that looks again and again whether what runs beside Slicer has ended."""
    timer = qt.QTimer()
    timer.setInterval(LOOK_MILLISECONDS)
    timer.connect("timeout()", look)
    return timer
