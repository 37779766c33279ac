"""Notes what stays in sight, so that nobody has to tick by hand what was looked at."""

from __future__ import annotations

from collections.abc import Sequence

import qt

from GLIDERegLib.scene.quality.looked import note
from GLIDERegLib.scene.registration.pair import Pair

# Shorter, it was passed by and not looked at.
LOOK_MILLISECONDS = 2000


class Looking:
    """One thing or several in sight at a time, noted where they stay there for two seconds."""

    def __init__(self):
        self._pair: Pair | None = None
        self._whats: Sequence[str] = ()
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(LOOK_MILLISECONDS)
        self._timer.connect("timeout()", self._stayed)

    def see(self, pair: Pair, whats: Sequence[str]) -> None:
        """These are in sight from now on, and nothing else."""
        if (pair, list(whats)) == (self._pair, list(self._whats)):
            return
        self._pair, self._whats = pair, whats
        self._timer.start() if whats else self._timer.stop()

    def stop(self) -> None:
        """Nothing is in sight any more."""
        self._timer.stop()
        self._pair, self._whats = None, ()

    def _stayed(self) -> None:
        nodes = (self._pair.fixed, self._pair.moving, self._pair.transform) if self._pair else ()
        if nodes and all(node.GetScene() is not None for node in nodes):
            note(self._pair, self._whats)
