"""A row for each nodule for ever, a cell for each date, and the changes between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from GLIDERegLib.evaluation.follow_up.identity import MARK_MM, Track
from GLIDERegLib.evaluation.growth import DIAMETER, VOLUME, Growth, growth
from GLIDERegLib.evaluation.measuring import GROUND_GLASS, PART_SOLID, SOLID

if TYPE_CHECKING:
    from GLIDERegLib.evaluation.measuring import NoduleMeasurement

# What is known of a nodule at a date. Only who searched a scan can say that a nodule is not in it.
MEASURED, NOT_MEASURED = "measured", "marked, size could not be told"
NOT_SEEN, NOT_MARKED, OUTSIDE = "not seen (searched)", "not marked", "outside"
QUANTITIES = (VOLUME, DIAMETER)
DENSER = (GROUND_GLASS, PART_SOLID, SOLID)
WHOLE = (
    "part-solid: these sizes are of the whole nodule; a solid part that grows within it shows in none of them"
)


@dataclass(frozen=True)
class Mark:
    """A nodule as it was marked in one scan. point: LPS mm (3) there. doubt: on its place, empty where none.

    by_steps_mm: how far apart the direct way to the reference scan and that by every date between lead
    (A→C against A→B→C); None where only the direct one was registered. radius: mm, holds its place in the
    reference scan in 95 of 100 cases; None where the registration does not reach.
    """

    label: str
    point: np.ndarray
    measurement: NoduleMeasurement
    doubt: str = ""
    by_steps_mm: float | None = None
    radius: float | None = None


@dataclass(frozen=True)
class Visit:
    """One date's scan. marks: its marked nodules. searched: whether the reader looked for every nodule in it.

    expected, inside: for each nodule of the study where it should be, LPS mm (N, 3), and whether (N) that is
    within this scan, the reference scan and the registration.
    """

    day: date
    marks: Sequence[Mark]
    searched: bool
    expected: np.ndarray
    inside: np.ndarray


@dataclass(frozen=True)
class Cell:
    """A nodule at a date. point: LPS mm (3) in that date's scan, the mark's or the expected one.

    radius: mm, holds the expected place in 95 of 100 cases; None for a mark. notes: for a reader.
    """

    status: str
    point: np.ndarray
    mark: Mark | None = None
    radius: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def measurement(self) -> NoduleMeasurement | None:
        return self.mark.measurement if self.mark is not None and self.mark.measurement.measured else None


@dataclass(frozen=True)
class Change:
    """Of one quantity from one date to a later one; earlier, later: the numbers of the dates."""

    earlier: int
    later: int
    days: int
    growth: Growth


@dataclass(frozen=True)
class Nodule:
    """number: from 1 in the order of the first mark, so that a later date changes none. cells: one a date."""

    number: int
    place: np.ndarray
    cells: tuple[Cell, ...]
    changes: tuple[Change, ...]

    def change(self, quantity: str, whole: bool) -> Change | None:
        """The last change between neighbouring sizes, or that from the first size to the last."""
        found = [change for change in self.changes if change.growth.quantity == quantity]
        if whole:
            return max(found, key=lambda change: change.days, default=None)
        return max(found, key=lambda change: (change.later, -change.days), default=None)


def nodules_of(tracks: Sequence[Track], visits: Sequence[Visit]) -> list[Nodule]:
    """The rows of the study. visits: in order of time, one for each date that the tracks count."""
    days = [visit.day for visit in visits]
    found = []
    for n, track in enumerate(tracks):
        cells = tuple(_cell(n, tracks, date, visits) for date in range(len(visits)))
        found.append(Nodule(n + 1, track.place.point, cells, changes_of(cells, days)))
    return found


def changes_of(cells: Sequence[Cell], days: Sequence[date]) -> tuple[Change, ...]:
    """Growth between neighbouring sizes, and from the first to the last, each quantity by itself."""
    found = {n: cell.measurement for n, cell in enumerate(cells) if cell.measurement is not None}
    sized = list(found)
    spans = list(pairwise(sized))
    if len(sized) > 2:
        spans.append((sized[0], sized[-1]))
    changes = []
    for earlier, later in spans:
        between = (days[later] - days[earlier]).days
        for quantity in QUANTITIES:
            grown = growth(found[earlier].size(quantity), found[later].size(quantity), between)
            changes.append(Change(earlier, later, between, grown))
    return tuple(changes)


def _cell(n: int, tracks: Sequence[Track], date: int, visits: Sequence[Visit]) -> Cell:
    track, visit = tracks[n], visits[date]
    if date in track.marks:
        mark = visit.marks[track.marks[date]]
        notes = [text for text in (mark.doubt, *track.doubts.get(date, ())) if text]
        if not mark.measurement.measured:
            notes.append(f"size {mark.measurement.status}")
        if date == min(track.marks) and date > 0:
            other = _around(n, tracks, visits, date - 1, date)
            notes += [f"may have parted from nodule {other}, in whose extent it lay before"] if other else []
        notes += _other_class(track, date, visits)
        if mark.measurement.measured and mark.measurement.attenuation == PART_SOLID:
            notes.append(WHOLE)
        status = MEASURED if mark.measurement.measured else NOT_MEASURED
        return Cell(status, mark.point, mark, None, tuple(notes))
    point, radius = visit.expected[n], track.place.radius
    if radius is None or not visit.inside[n]:
        return Cell(OUTSIDE, point, None, radius)
    merged: tuple[str, ...] = ()
    if date > max(track.marks) and (other := _around(n, tracks, visits, date, max(track.marks))):
        merged = (f"may have merged with nodule {other}, in whose extent it lies",)
    return Cell(NOT_SEEN if visit.searched else NOT_MARKED, point, None, radius, merged)


def _other_class(track: Track, date: int, visits: Sequence[Visit]) -> list[str]:
    """What to look for where a nodule was measured as of another attenuation class at the date before."""
    found = [
        (visits[n].day, mark.measurement.attenuation)
        for n, row in sorted(track.marks.items())
        if n <= date and (mark := visits[n].marks[row]).measurement.measured and mark.measurement.attenuation
    ]
    if len(found) < 2 or found[-1][0] != visits[date].day or found[-1][1] == found[-2][1]:
        return []
    (day, earlier), (_, now) = found[-2:]
    if DENSER.index(now) > DENSER.index(earlier):
        look = "a new or larger solid part, which counts whatever the size"
    else:
        look = "which of the two holds, since sizes of different classes are less comparable"
    return [f"measured as {now}, on {day} as {earlier}: look for {look}"]


def _around(n: int, tracks: Sequence[Track], visits: Sequence[Visit], there: int, apart: int) -> int | None:
    """The number of a nodule in whose extent at the date `there` nodule n lies, both having been marked apart
    at the date `apart`; None where there is none.
    """
    visit = visits[there]
    for other, track in enumerate(tracks):
        if other == n or not visit.inside[n] or not {there, apart} <= track.marks.keys():
            continue
        mark = visit.marks[track.marks[there]]
        length = mark.measurement.long_mm
        reach = MARK_MM if length is None else length / 2
        if np.linalg.norm(visit.expected[n] - mark.point) <= reach:
            return other + 1
    return None
