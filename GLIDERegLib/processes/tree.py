"""A process with all that it starts: to be measured, and ended as a whole. Imports nothing slow."""

from __future__ import annotations

from contextlib import suppress

import psutil


class ProcessTree:
    """A process of ours and its offspring as far as it was seen, also what outlives it.

    pid: of a child that nobody has waited for yet, so that the number is still its own.
    """

    def __init__(self, pid: int):
        self.main = psutil.Process(pid)
        self._seen = {self.main}

    def look(self) -> set[psutil.Process]:
        """All that has been seen of the tree, with what is there now; some of it may have ended."""
        # psutil compares start times: a number that belongs to another process by now is left alone.
        with suppress(psutil.Error):
            self._seen.update(self.main.children(recursive=True))
        return self._seen

    def kill(self) -> None:
        """Kills all of it; does not wait."""
        for process in self.look():
            with suppress(psutil.Error):
                process.kill()
