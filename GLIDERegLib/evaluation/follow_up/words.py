"""What a reader calls a scan, a time, and the change of a nodule."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from GLIDERegLib.core.counting import counted
from GLIDERegLib.evaluation.follow_up.rows import Nodule
from GLIDERegLib.evaluation.growth import DIAMETER, VOLUME


def interval(days: int) -> str:
    """Days as a reader says them: "183 days, 6.0 months"; a month has 30.44 days."""
    return f"{counted(days, 'day')}, {days / 30.44:.1f} months"


def role(number: int, count: int) -> str:
    """What a reader calls a scan: current, prior, or which of several priors, the nearest first."""
    if number == count - 1:
        return "current"
    return "prior" if count == 2 else f"prior {count - 1 - number}"


def headline(nodule: Nodule, days: Sequence[date]) -> dict[str, Any]:
    """The change between the last two sizes: their dates, and of each quantity a line with its interval."""
    changes = [nodule.change(quantity, whole=False) for quantity in (VOLUME, DIAMETER)]
    if None in changes:
        return {"span": "", "lines": []}
    span = f"{days[changes[0].earlier]} to {days[changes[0].later]}"
    if unsure := all(change.growth.spans_no_change for change in changes):
        span += ": no certain change"
    lines = []
    for change, unit, digits in zip((c.growth for c in changes), ("%", "mm"), (0, 1), strict=True):
        now, low, high = (f"{value:+.{digits}f}" for value in (change.change, change.low, change.high))
        text = f"{change.quantity} {now} {unit} ({low} to {high})"
        if change.spans_no_change and not unsure:
            text += ", no certain change"
        if change.quantity == VOLUME and change.doubling_days is not None:
            text += f", doubles in {change.doubling_days:.0f} days"
        lines.append(text)
    return {"span": span, "lines": lines}
