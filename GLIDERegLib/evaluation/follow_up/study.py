"""A whole study: marks measured where they were made, propagated to the reference scan, and told apart."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from GLIDERegLib.core.ct import is_ct
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Volume
from GLIDERegLib.evaluation.follow_up.identity import Place, follow
from GLIDERegLib.evaluation.follow_up.places import (
    Link,
    by_steps,
    doubt_of,
    expected,
    own_place,
    propagated_place,
)
from GLIDERegLib.evaluation.follow_up.rows import Mark, Nodule, Visit, nodules_of
from GLIDERegLib.evaluation.measuring.measurement import same_nodule
from GLIDERegLib.evaluation.nodules import LARGEST_UNCERTAINTY_MM, Evidence, left_out_mm
from GLIDERegLib.files.points import PointSet

if TYPE_CHECKING:
    from GLIDERegLib.evaluation.follow_up.scans import DatedScan
    from GLIDERegLib.evaluation.measuring import NoduleMeasurement

Measure = Callable[[Volume, np.ndarray], "NoduleMeasurement"]


@dataclass(frozen=True)
class Study:
    """scans, volumes: in order of time. reference: number of the scan that the others were registered to."""

    scans: tuple[DatedScan, ...]
    volumes: tuple[Volume, ...]
    reference: int
    nodules: tuple[Nodule, ...]

    @property
    def days(self) -> list:
        return [scan.day for scan in self.scans]


def steps_to(reference: int, number: int) -> list[tuple[int, int]]:
    """The registrations by which a scan reaches the reference date by date: (fixed, moving) each."""
    towards = 1 if reference > number else -1
    return [(n + towards, n) for n in range(number, reference, towards)]


def make_study(
    scans: Sequence[DatedScan],
    volumes: Sequence[Volume],
    links: dict[tuple[int, int], Link],
    reference: int,
    measure: Measure,
    check: Callable[[], None] = lambda: None,
) -> Study:
    """Follows the nodules of all scans; see `study_steps`. check is called now and then and may raise."""
    steps = study_steps(scans, volumes, links, reference, measure)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
        check()


def study_steps(
    scans: Sequence[DatedScan],
    volumes: Sequence[Volume],
    links: dict[tuple[int, int], Link],
    reference: int,
    measure: Measure,
) -> Generator[float, None, Study]:
    """Follows the nodules of all scans, which are in order of time, step by step: yields the share that is
    done, and returns the study.

    links: by the numbers (fixed, moving) of two scans: that of the reference and each other scan, and those
    of `steps_to` where the identity is to be checked by the way over every date. measure: of a volume and a
    point (3), LPS mm. Raises InputError as `usable_marks`.
    """
    marked = [usable_marks(scan, volume) for scan, volume in zip(scans, volumes, strict=True)]
    total, done = 2 * sum(map(len, marked)) + 1, 0
    places: list[list[Place]] = [[] for _ in scans]
    marks: list[list[Mark]] = [[] for _ in scans]
    known: list[list[Evidence | None]] = [[] for _ in scans]
    for number, points in enumerate(marked):
        for label, point in zip(points.labels, points.points, strict=True):
            found = measure(volumes[number], point)
            yield (done := done + 1) / total
            # A second row for it would be told as a new nodule.
            sizes = [*(mark.measurement for mark in marks[number]), found]
            if first := same_nodule(sizes, len(sizes) - 1):
                marks[number][first[0]] = _marked_again(marks[number][first[0]], label)
                yield (done := done + 1) / total
                continue
            # The centroid is one and the same whoever clicked.
            centre = np.array(point if found.center_mm is None else found.center_mm, float)
            left_out = left_out_mm(found.long_mm)
            place, evidence, apart = _placed(number, centre, left_out, volumes, links, reference)
            places[number].append(place)
            known[number].append(evidence)
            marks[number].append(Mark(label, point, found, "", apart, place.radius))
            yield (done := done + 1) / total
    tracks = follow(places, [scan.name for scan in scans])
    for track in tracks:
        absent_from = "" if reference in track.marks else f"the scan of {scans[reference].name}"
        for number, row in track.marks.items():
            mark = marks[number][row]
            doubt = mark.doubt
            if number != reference:
                of_place = _with_steps(doubt_of(known[number][row], absent_from), mark.by_steps_mm)
                doubt = "; ".join(filter(None, [doubt, of_place]))
            marks[number][row] = replace(mark, doubt=doubt)
    centres = np.array([track.place.point for track in tracks]).reshape(-1, 3)
    visits = [
        Visit(
            scan.day,
            marks[n],
            scan.searched,
            *expected(centres, links.get((reference, n)), volumes[reference], volumes[n]),
        )
        for n, scan in enumerate(scans)
    ]
    return Study(tuple(scans), tuple(volumes), reference, tuple(nodules_of(tracks, visits)))


def _placed(
    number: int,
    point: np.ndarray,
    radius_mm: float,
    volumes: Sequence[Volume],
    links: dict[tuple[int, int], Link],
    reference: int,
) -> tuple[Place, Evidence | None, float | None]:
    """The place of a scan's mark (3), LPS mm, what is known of it, and how far the way over every date
    leads away (None where that was not registered); a place is never more certain than both ways agree.
    """
    if number == reference:
        return own_place(point, volumes[reference]), None, None
    link = links[reference, number]
    place, evidence = propagated_place(point, radius_mm, link, volumes[reference], volumes[number])
    steps = steps_to(reference, number)
    if len(steps) < 2 or not all(step in links for step in steps):
        return place, evidence, None
    apart = float(np.linalg.norm(by_steps(point, [links[step] for step in steps]) - place.point))
    if place.radius is not None:
        place = Place(place.point, max(place.radius, apart))
    return place, evidence, apart


def _marked_again(mark: Mark, label: str) -> Mark:
    """The mark, saying that another one of the same scan lies in its nodule."""
    text = f"marked twice at this date: '{label}' lies in the same nodule and has no row of its own"
    return replace(mark, doubt="; ".join(filter(None, [mark.doubt, text])))


def _with_steps(doubt: str, apart: float | None) -> str:
    text = ""
    if apart is not None and apart > LARGEST_UNCERTAINTY_MM:
        text = f"the way over every date between leads {apart:.1f} mm elsewhere"
    return "; ".join(filter(None, [doubt, text]))


def usable_marks(scan: DatedScan, volume: Volume) -> PointSet:
    """The marks of a scan, of which each can be looked at in its volume.

    Raises InputError as `DatedScan.marks`, for marks outside the volume, and for values that are not HU.
    """
    marks = scan.marks()
    if not len(marks):
        return marks
    if not is_ct(volume):
        raise InputError(
            f"The values of the scan of {scan.name} are not Hounsfield units, by which nodules are measured.",
            "Give the CT scan as it was reconstructed, or no marks of it.",
            code="not-hounsfield",
        )
    inside = volume.grid.contains(marks.points)
    if not inside.all():
        from GLIDERegLib.evaluation.doubts import OUTSIDE_SHARE, outside_doubt

        outside = [name for name, held in zip(marks.names, inside, strict=True) if not held]
        raise InputError(
            f"Marks of {scan.name} lie outside its scan: {', '.join(outside)}",
            outside_doubt(marks.points, volume.grid, scan.name, OUTSIDE_SHARE)
            or "Check that the points are of that scan, and their coordinate system.",
            code="points",
        )
    return marks
