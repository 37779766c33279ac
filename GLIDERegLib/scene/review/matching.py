"""The lists of both scans side by side: which nodules are the same, and which are marked in one scan only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import slicer

from GLIDERegLib.core.counting import counted
from GLIDERegLib.evaluation.metrics import centre_point_matching
from GLIDERegLib.evaluation.nodules import match, same_labels
from GLIDERegLib.scene.review.table import Row, setColumns

MATCHED, OUTSIDE = "matched", "outside the other scan"
# Who marked nothing there may have overlooked it: only a search could tell that a nodule is new or gone.
NOT_MARKED = "not marked in the {scan}"
SCANS = {"fixed": "fixed scan", "moving": "moving scan"}
HEADERS = ("Verdict", "In fixed", "In moving", "Distance (mm)")
REFERENCE_DISTANCES_MM = (5, 10)


@dataclass(frozen=True)
class Matching:
    """lines: verdict, label in the fixed scan, label in the moving scan, distance in mm as text.

    centres: share of the propagated nodules within 5 and 10 mm of the nodule of the same label; None where no
    label is in both lists.
    """

    lines: list[tuple[str, str, str, str]]
    centres: dict[float, float] | None
    compared: int

    def count(self, verdict: str) -> int:
        return sum(line[0] == verdict for line in self.lines)


def matchLists(rows: Sequence[Row], distance: float, names: dict[str, str] | None = None) -> Matching:
    """Matches the nodules marked in the fixed scan with those propagated there from the moving scan.

    rows: of the review table, corrected positions counting. distance: the largest of a pair, mm. names: what
    the reader calls the "fixed" and the "moving" scan. Raises InputError for a distance that is not positive.
    """
    marked = [row for row in rows if row.markedIn == "fixed"]
    propagated = [row for row in rows if row.markedIn == "moving"]
    places = [np.array([row.fixed for row in part]).reshape(-1, 3) for part in (marked, propagated)]
    pairs = match(*places, distance)
    onlyFixed, onlyMoving = (notMarked(scan, names) for scan in ("moving", "fixed"))
    lines = [(MATCHED, marked[a].label, propagated[b].label, f"{apart:.1f}") for a, b, apart in pairs]
    paired = [{pair[side] for pair in pairs} for side in (0, 1)]
    for n, row in enumerate(marked):
        if n not in paired[0]:
            lines.append((onlyFixed if row.insideField == "yes" else OUTSIDE, row.label, "", ""))
    for n, row in enumerate(propagated):
        if n not in paired[1]:
            lines.append((onlyMoving if row.insideField == "yes" else OUTSIDE, "", row.label, ""))
    same = same_labels([row.label for row in propagated], [row.label for row in marked])
    centres = None
    if same:
        mine, theirs = (list(part) for part in zip(*same, strict=True))
        centres = centre_point_matching(places[1][mine], places[0][theirs], REFERENCE_DISTANCES_MM)
    return Matching(lines, centres, len(same))


def writeMatching(tableNode: slicer.vtkMRMLTableNode, matching: Matching) -> None:
    """Replaces what the table node holds by the matching, one line a nodule or pair."""
    columns = list(zip(*matching.lines, strict=True)) or [()] * len(HEADERS)
    setColumns(tableNode, list(zip(HEADERS, columns, strict=True)), set())


def notMarked(scan: str, names: dict[str, str] | None = None) -> str:
    """The verdict on a nodule that is marked in the other scan than "fixed" or "moving"."""
    name = (names or SCANS).get(scan, scan)
    return NOT_MARKED.format(scan=SCANS[scan] if name == scan else name)


def describeMatching(matching: Matching) -> str:
    """The matching in a sentence or two for a reader."""
    verdicts = dict.fromkeys([MATCHED, *(line[0] for line in matching.lines)])
    counts = [(verdict, matching.count(verdict)) for verdict in verdicts]
    text = ", ".join(f"{count} {verdict}" for verdict, count in counts if count) or "No nodules"
    if matching.centres is None:
        return f"{text}."
    within = " and ".join(f"{100 * share:.0f} % within {mm} mm" for mm, share in matching.centres.items())
    return (
        f"{text}. Centres of {counted(matching.compared, 'nodule')} with one label in both lists: {within}."
    )
