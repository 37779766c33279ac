"""Single tags of a DICOM data set as Python's values; what is missing or no number is never guessed."""

from __future__ import annotations

from typing import Any


class DamagedDicom(Exception):
    """A file that bears DICOM's mark and whose header cannot be read."""


def value_of(data: Any, name: str) -> Any:
    """The value of a tag; None where it is absent, empty or cannot be understood."""
    try:
        value = data.get(name)
        return None if value is None or value == "" else value
    except Exception:  # whatever a damaged value leads pydicom to
        return None


def text_of(data: Any, name: str) -> str:
    """What a tag says in at most 400 printable letters; empty without it."""
    value = value_of(data, name)
    if value is None:
        return ""
    many = not isinstance(value, str) and hasattr(value, "__iter__") and name != "PatientName"
    text = "\\".join(str(item) for item in value) if many else str(value)
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return text.encode("utf-8", "replace").decode().strip()[:400]


def numbers_of(data: Any, name: str, count: int) -> tuple[float, ...] | None:
    """So many numbers; None where there are others than that, or none."""
    value = value_of(data, name)
    try:
        values = [value] if count == 1 and not hasattr(value, "__iter__") else list(value)
        return tuple(float(item) for item in values) if len(values) == count else None
    except (TypeError, ValueError, OverflowError):
        return None


def number_of(data: Any, name: str) -> float | None:
    """The number of a tag; None without it, or where it holds several."""
    return (numbers_of(data, name, 1) or (None,))[0]


def whole_of(data: Any, name: str, otherwise: int) -> int:
    """The whole number of a tag; `otherwise` without it."""
    value = number_of(data, name)
    return int(value) if value is not None and abs(value) < 2**40 else otherwise


def first_item(data: Any, sequence: str) -> Any:
    """The first item of a sequence; None without one."""
    items = value_of(data, sequence)
    return items[0] if items else None
