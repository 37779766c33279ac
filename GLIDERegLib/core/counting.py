"""Counts as a sentence says them: 1 slice, 2 slices."""

from __future__ import annotations


def counted(number: int, one: str, several: str = "") -> str:
    """The number and what there are so many of; several: its plural, where it is more than one "s" away."""
    return f"{number} {one if number == 1 else several or f'{one}s'}"
