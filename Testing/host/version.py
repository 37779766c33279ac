"""Which Slicer the stand-in is, where 5.10 and 5.12 behave differently (see the fixture `slicer510`)."""

from __future__ import annotations

NEWER = (5, 12)
number: tuple[int, int] = NEWER


def isOlder() -> bool:
    """Whether it is to behave as 5.10."""
    return number < NEWER
