"""What a reader calls a scan, a time, and the change of a nodule."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from GLIDERegLib.core.counting import counted
from GLIDERegLib.evaluation.follow_up.rows import NOT_MARKED, NOT_MEASURED, NOT_SEEN, OUTSIDE, Nodule
from GLIDERegLib.evaluation.growth import DIAMETER, VOLUME, VOLUME_CHANGE_PERCENT, rules_met, signed


def interval(days: int) -> str:
    """Days as a reader says them: "183 days, 6.0 months"; a month has 30.44 days."""
    return f"{counted(days, 'day')}, {days / 30.44:.1f} months"


def role(number: int, count: int) -> str:
    """What a reader calls a scan: current, prior, or which of several priors, the nearest first."""
    if number == count - 1:
        return "current"
    return "prior" if count == 2 else f"prior {count - 1 - number}"


def headline(nodule: Nodule, days: Sequence[date], whole: bool = False) -> dict[str, Any]:
    """The change between the last two sizes: their dates, and of each quantity a line with its interval; and
    a line each where the nodule is new or gone. whole: that from the first size to the last instead, without
    these lines.
    """
    seen = [] if whole else _came_and_went(nodule, days)
    found = [nodule.change(quantity, whole) for quantity in (VOLUME, DIAMETER)]
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


def growth_by(nodule: Nodule, whole: bool = False) -> list[str]:
    """The guidelines by whose rule the nodule has grown between the last two sizes, or from the first to the
    last; a change that may be the error of measuring is none.
    """
    found = []
    for quantity in (VOLUME, DIAMETER):
        change = nodule.change(quantity, whole)
        if change is not None and not change.growth.spans_no_change:
            found += rules_met(change.growth, change.days)
    return found


def at_a_glance(nodules: Sequence[Nodule]) -> list[tuple[str, list[int]]]:
    """What a reader looks for first, and the numbers of the nodules that it holds for, but what holds for
    none.
    """
    last = [nodule.cells[-1] for nodule in nodules]
    grown = [bool(growth_by(nodule)) for nodule in nodules]
    before = [_marked(nodule)[0] for nodule in nodules]
    kinds = (
        (
            "New since a date at which everything was marked",
            [
                any(cell.status == NOT_SEEN for cell in n.cells[:m])
                for n, m in zip(nodules, before, strict=True)
            ],
        ),
        ("Growth by a rule since the size before", grown),
        (
            "Growth by a rule since the first size only",
            [bool(growth_by(n, True)) and not g for n, g in zip(nodules, grown, strict=True)],
        ),
        ("No longer seen, where everything was marked", [cell.status == NOT_SEEN for cell in last]),
        (
            "Not marked in the current scan, where it is not said that everything was",
            [cell.status == NOT_MARKED for cell in last],
        ),
        ("Beyond the current scan or the registration", [cell.status == OUTSIDE for cell in last]),
        ("No size in the current scan", [cell.status == NOT_MEASURED for cell in last]),
    )
    return [
        (text, numbers)
        for text, holds in kinds
        if (numbers := [n.number for n, held in zip(nodules, holds, strict=True) if held])
    ]


def _marked(nodule: Nodule) -> list[int]:
    """The numbers of the dates at which it was marked."""
    return [n for n, cell in enumerate(nodule.cells) if cell.mark is not None]


def _came_and_went(nodule: Nodule, days: Sequence[date]) -> list[str]:
    """Since when a nodule is seen, and since when no longer, as far as readers searched."""
    marked = _marked(nodule)
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
