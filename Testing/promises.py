"""How long what is promised in seconds may take where others use the processors too."""

from __future__ import annotations

import os


def within(seconds: float) -> float:
    """The promised seconds on an idle machine; on a loaded one as many times more as processes wait for each
    of its processors (mean of the last minute).
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return seconds * max(1.0, load / (os.cpu_count() or 1))
