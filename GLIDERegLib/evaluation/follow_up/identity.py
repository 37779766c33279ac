"""Which marks of all dates are one nodule: one-to-one assignments between places in the reference scan.

Places are uncertain by the registration and by the reader's hand. Both are taken for Gaussian, with the
variances sa^2 and sb^2 along each axis; the squared distance of two places of one nodule over sa^2 + sb^2
then follows the chi-squared distribution with 3 degrees of freedom. Only pairs within its 99.9 % quantile are
thought of, and of all assignments that with the smallest sum is taken, a nodule or a mark that stays alone
costing half that quantile each: the gated assignment of multi-target tracking. Dates are
taken in order of time; a nodule's place is the mean of its places so far, each weighted by its certainty, so
that one that is missing at a date is found again at the next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

# Quantiles of the chi-squared distribution with 3 degrees of freedom.
CHI2_95, CHI2_99, CHI2_999 = 7.815, 11.345, 16.266
# A mark anywhere in a nodule of 6 mm, the smallest that Fleischner 2017 follows, is this near to its centre.
MARK_MM = 3.0
# Another assignment less likely than 1 in 20 is no longer a doubt: 2 ln 20.
CLEAR = 2 * math.log(20)


@dataclass(frozen=True)
class Place:
    """Where a mark lies in the reference scan.

    point: LPS mm (3). radius: mm, holds the true place in 95 of 100 cases, the reader's hand left out; None
    where the registration does not reach, so that nothing can be matched.
    """

    point: np.ndarray
    radius: float | None

    @property
    def variance(self) -> float:
        """Along one axis, mm2, of the registration and the reader's hand together; infinite out of reach."""
        if self.radius is None:
            return math.inf
        return (self.radius**2 + MARK_MM**2) / CHI2_95


@dataclass
class Track:
    """One nodule: `marks`, the row of its mark in each date's list, by the number of the date; `place`, the
    mean of all. doubts: sentences on why it may be another one, by the number of the date.
    """

    marks: dict[int, int]
    place: Place
    doubts: dict[int, list[str]] = field(default_factory=dict)
    _weight: float = 0.0

    @property
    def variance(self) -> float:
        """Of its place along one axis, mm2; infinite without a mark that tells."""
        return 1 / self._weight if self._weight else math.inf

    def add(self, date: int, row: int, place: Place) -> None:
        """Takes a mark for this nodule's, and moves its place."""
        self.marks[date] = row
        if place.radius is None:
            return
        weight = self._weight + 1 / place.variance
        share = 1 / place.variance / weight
        point = self.place.point + share * (place.point - self.place.point)
        # What the mean of several marks leaves of the reader's hand is part of it.
        radius = math.sqrt(CHI2_95 / weight)
        self._weight, self.place = weight, Place(point, radius)


def follow(dates: Sequence[Sequence[Place]], names: Sequence[str] = ()) -> list[Track]:
    """The nodules of all dates, in the order in which they were first marked.

    dates: the places of each date's marks, in order of time. names: of the dates, for the doubts, which count
    nodules from 1. A mark that cannot be placed is a nodule of its own.
    """
    names = names or [f"date {number}" for number in range(1, len(dates) + 1)]
    tracks: list[Track] = []
    for date, places in enumerate(dates):
        costs = _costs(tracks, places)
        pairs = dict(assign(costs))
        for track in pairs:
            _note_rivals(tracks, places, costs, pairs, track, date)
        for track, row in pairs.items():
            tracks[track].add(date, row, places[row])
        for row in sorted(set(range(len(places))) - set(pairs.values())):
            tracks.append(Track({}, places[row]))
            tracks[-1].add(date, row, places[row])
    _note_other_ways(tracks, dates, names)
    return tracks


def assign(costs: np.ndarray) -> list[tuple[int, int]]:
    """The one-to-one pairs (row, column) of the smallest sum of costs (N, M), a pair's partners apart costing
    CHI2_999; pairs that cost as much are none.
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(np.minimum(costs, CHI2_999))
    return [
        (int(row), int(column))
        for row, column in zip(rows, columns, strict=True)
        if costs[row, column] < CHI2_999
    ]


def _costs(tracks: Sequence[Track], places: Sequence[Place]) -> np.ndarray:
    """Squared distances over their variances (N, M); infinite where one of the two cannot be placed."""
    costs = np.full((len(tracks), len(places)), np.inf)
    for n, track in enumerate(tracks):
        for m, place in enumerate(places):
            if track.place.radius is not None and place.radius is not None:
                away = float(np.sum((track.place.point - place.point) ** 2))
                costs[n, m] = away / (track.variance + place.variance)
    return costs


def _note_rivals(
    tracks: Sequence[Track],
    places: Sequence[Place],
    costs: np.ndarray,
    pairs: dict[int, int],
    track: int,
    date: int,
) -> None:
    """Notes which other nodule might own the mark that a nodule was given, or which other mark might be the
    nodule's, about as likely; and a mark so far off that it may be of one that nobody marked before.
    """
    row, doubts = pairs[track], []
    if costs[track, row] > CHI2_99:
        away = math.sqrt(costs[track, row] * (tracks[track].variance + places[row].variance))
        doubts.append(f"lies {away:.1f} mm from where it was expected, as fewer than 1 in 100 do")
    for other in set(range(len(tracks))) - {track}:
        theirs = pairs.get(other)
        present = costs[track, row] + (CHI2_999 if theirs is None else costs[other, theirs])
        exchanged = costs[other, row] + (CHI2_999 if theirs is None else min(costs[track, theirs], CHI2_999))
        if costs[other, row] < CHI2_999 and exchanged - present < CLEAR:
            away = float(np.linalg.norm(tracks[other].place.point - tracks[track].place.point))
            doubts.append(f"might as well be nodule {other + 1}, {away:.1f} mm away")
    for other in set(range(costs.shape[1])) - set(pairs.values()):
        if costs[track, other] - costs[track, row] < CLEAR and costs[track, other] < CHI2_999:
            doubts.append("another mark of this date, which became a nodule of its own, fits about as well")
    if doubts:
        tracks[track].doubts.setdefault(date, []).extend(doubts)


def _note_other_ways(tracks: Sequence[Track], dates: Sequence[Sequence[Place]], names: Sequence[str]) -> None:
    """Holds every two dates, matched by themselves, against the nodules: a to b and b to c must be a to c."""
    owner = {(date, row): n for n, track in enumerate(tracks) for date, row in track.marks.items()}
    for earlier in range(len(dates)):
        alone = [Track({}, place) for place in dates[earlier]]
        for row, track in enumerate(alone):
            track.add(earlier, row, dates[earlier][row])
        for later in range(earlier + 1, len(dates)):
            for a, b in assign(_costs(alone, dates[later])):
                one, other = owner[earlier, a], owner[later, b]
                if one != other:
                    away = float(np.linalg.norm(dates[earlier][a].point - dates[later][b].point))
                    text = f"matched with {names[earlier]} alone it is nodule {one + 1}, {away:.1f} mm away"
                    tracks[other].doubts.setdefault(later, []).append(text)
