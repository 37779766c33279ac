"""Standard output kept for messages: whatever else a library prints there goes to standard error."""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any


class Channel:
    """Takes standard output for itself: JSON objects, one a line. Make it before anything can print."""

    def __init__(self):
        self._lock = threading.Lock()
        # A duplicate is not inherited by other processes, so the reader sees the end when this process ends.
        self._stream = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)
        sys.stdout = sys.stderr

    def send(self, message: dict[str, Any]) -> None:
        """Sends one object; ends this process when nobody is listening any more."""
        rest = memoryview(json.dumps(message).encode() + b"\n")
        with self._lock:
            try:
                while rest:
                    rest = rest[self._stream.write(rest) :]
            except OSError:
                os._exit(1)
