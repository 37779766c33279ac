"""The one way a place is written for a person: the patient's sides, in mm."""

from __future__ import annotations

from collections.abc import Sequence

# Letters of the patient's sides along x, y and z of LPS, for negative and for positive values.
SIDES = (("R", "L"), ("A", "P"), ("I", "S"))


def patient_position(point: Sequence[float]) -> str:
    """A point (LPS mm) by the patient's sides: "R 31.4, A 41.5, S 29.3 mm"."""
    sides = (
        f"{letters[int(round(value, 1) >= 0)]} {abs(value):.1f}"
        for value, letters in zip(point, SIDES, strict=True)
    )
    return f"{', '.join(sides)} mm"
