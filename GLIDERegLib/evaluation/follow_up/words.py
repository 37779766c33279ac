"""What a reader calls a scan, a time, and the change of a nodule."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from GLIDERegLib.core.counting import counted
from GLIDERegLib.evaluation.follow_up.rows import NOT_MARKED, NOT_SEEN, Nodule
from GLIDERegLib.evaluation.growth import DIAMETER, VOLUME, VOLUME_CHANGE_PERCENT, signed


def interval(days: int) -> str:
    """Days as a reader says them: "183 days, 6.0 months"; a month has 30.44 days."""
    return f"{counted(days, 'day')}, {days / 30.44:.1f} months"


def role(number: int, count: int) -> str:
    """What a reader calls a scan: current, prior, or which of several priors, the nearest first."""
    if number == count - 1:
        return "current"
    return "prior" if count == 2 else f"prior {count - 1 - number}"


def headline(nodule: Nodule, days: Sequence[date]) -> dict[str, Any]:
    """The change between the last two sizes: their dates, and of each quantity a line with its interval; and
    a line each where the nodule is new or gone.
    """
    seen = _came_and_went(nodule, days)
    found = [nodule.change(quantity, whole=False) for quantity in (VOLUME, DIAMETER)]
    changes = [change for change in found if change is not None]
    if len(changes) < len(found):
        return {"span": "", "lines": seen}
    span = f"{days[changes[0].earlier]} to {days[changes[0].later]}"
    if unsure := all(change.growth.spans_no_change for change in changes):
        span += ": no certain change"
    lines = []
    for change, unit, digits in zip((c.growth for c in changes), ("%", "mm"), (0, 1), strict=True):
        now, low, high = (signed(value, digits) for value in (change.change, change.low, change.high))
        text = f"{change.quantity} {now} {unit} ({low} to {high})"
        if change.spans_no_change and not unsure:
            text += ", no certain change"
        if change.quantity == VOLUME and not change.spans_no_change:
            if change.doubling_days is not None:
                text += f", doubles in {change.doubling_days:.0f} days"
            elif abs(round(change.change)) < VOLUME_CHANGE_PERCENT:
                text += f", less than the {VOLUME_CHANGE_PERCENT:.0f} % that counts"
        lines.append(text)
    return {"span": span, "lines": lines + seen}


def _came_and_went(nodule: Nodule, days: Sequence[date]) -> list[str]:
    """Since when a nodule is seen, and since when no longer, as far as readers searched."""
    marked = [n for n, cell in enumerate(nodule.cells) if cell.mark is not None]
    lines = []
    before, after = marked[0] - 1, marked[-1] + 1
    searched = [n for n in range(marked[0]) if nodule.cells[n].status == NOT_SEEN]
    if searched:
        lines.append(f"new on {days[marked[0]]}: not seen on {days[searched[-1]]} (searched)")
    elif before >= 0 and nodule.cells[before].status == NOT_MARKED:
        lines.append(f"first marked on {days[marked[0]]}; whether it is new is not known")
    if after < len(days) and nodule.cells[-1].status == NOT_SEEN:
        lines.append(f"last seen on {days[marked[-1]]}: not seen on {days[-1]} (searched)")
    return lines
