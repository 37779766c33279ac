"""A process that nobody has to remember to end."""

from __future__ import annotations

import subprocess
import weakref

from GLIDERegLib.processes.start import close_input, end, kill_tree, start_process


class OwnedProcess:
    """A Python started by `start_process`, ended with all it started at the latest when this object is
    forgotten or the program leaves.

    popen: the process, for those who read its streams. Raises OSError where it cannot be started.
    """

    def __init__(self, command: list[str]):
        self.popen: subprocess.Popen[bytes] = start_process(command)
        self._end = weakref.finalize(self, end, self.popen)

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def status(self) -> int | None:
        """How it ended, as `Popen.returncode`; None while it runs. A killed one leaves at the next look."""
        return self.popen.poll()

    def say(self, line: bytes) -> bool:
        """Writes a line to its standard input; False where it does not read any more."""
        if self.popen.stdin is None or self.status is not None:
            return False
        try:
            self.popen.stdin.write(line + b"\n")
            self.popen.stdin.flush()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """Kills it and all it started; does not wait. Also what a process left behind that was seen to end
        just now.
        """
        kill_tree(self.popen)

    def close(self) -> None:
        """Ends it with all it started and waits until it is gone; one that has ended is only let go."""
        if self.popen.returncode is None:
            self._end()
        else:
            # Its number may be another process's by now.
            self._end.detach()
            close_input(self.popen)
