"""The hashes of a registration's scans, computed between Slicer's events: a large scan takes a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import qt

from GLIDERegLib.scene.quality.locks import locking
from GLIDERegLib.scene.registration.pair import Pair

# A choice: what is computed at a time; below a tenth of a second nobody waits.
STEP_SECONDS = 0.05


class Hashing:
    """Makes `locks` of one pair at a time known."""

    def __init__(self):
        self._work: Iterator[None] | None = None
        self._then: Callable[[], None] = lambda: None
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._step)

    @property
    def active(self) -> bool:
        return self._work is not None

    def whenKnown(self, pair: Pair, then: Callable[[], None]) -> None:
        """Calls `then` as soon as the hashes of a pair are known, at once where that takes no time; what was
        asked for before is dropped.
        """
        self._work, self._then = locking(pair), then
        self._step()

    def close(self) -> None:
        """Drops what is being computed."""
        self._work = None
        self._timer.stop()

    def _step(self) -> None:
        end = time.monotonic() + STEP_SECONDS
        for _ in self._work:
            if time.monotonic() > end:
                self._timer.start()
                return
        self.close()
        self._then()
