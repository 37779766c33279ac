"""What each reader decided on each nodule of a study, and when; blind until all readers are done.

A table node keeps it with the scene: a row for each reader and nodule, and one without a nodule for each
reader who is done. Blindness is between readers who play by the rules: the table can be opened in Slicer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import slicer

from GLIDERegLib.scene.follow_up.results import rowsOf
from GLIDERegLib.scene.review.table import setColumns

HEADERS = ("Reader", "Nodule", "Decision", "Comment", "When")
GROWN, UNCHANGED, SHRUNK, NO_NODULE, UNSURE = "grown", "unchanged", "shrunk", "no nodule", "unsure"
DONE = "done"
BLIND = "hidden until both readers are done"


@dataclass(frozen=True)
class Decision:
    """reader: a name. nodule: its number in the study; "" for a reader's DONE. when: local time, ISO 8601."""

    reader: str
    nodule: str
    decision: str
    comment: str = ""
    when: str = ""


def readDecisions(tableNode: slicer.vtkMRMLTableNode | None) -> list[Decision]:
    """In the order in which they were first made; none where it is no such table."""
    header, rows = rowsOf(tableNode)
    return [Decision(*row) for row in rows] if tuple(header) == HEADERS else []


def writeDecisions(tableNode: slicer.vtkMRMLTableNode, decisions: Sequence[Decision]) -> None:
    columns = [[getattr(one, name) for one in decisions] for name in Decision.__dataclass_fields__]
    setColumns(tableNode, list(zip(HEADERS, columns, strict=True)), set())


def now() -> str:
    """Local time as it is kept."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def renumbered(decisions: Sequence[Decision], numbers: dict[str, str]) -> list[Decision]:
    """The decisions where a new study numbers the same nodules otherwise; numbers: old to new. Those of a
    nodule that it does not have are kept under a name that no nodule has.
    """
    return [
        replace(one, nodule=numbers.get(one.nodule, f"formerly {one.nodule}")) if one.nodule else one
        for one in decisions
    ]


def decided(decisions: Sequence[Decision], new: Decision) -> list[Decision]:
    """The decisions with one more, or one changed, as of now; whoever changes one is no longer done."""
    new = replace(new, when=now())
    kept = [
        one
        for one in decisions
        if (one.reader, one.nodule) not in ((new.reader, new.nodule), (new.reader, ""))
    ]
    return [*kept, new]


def readers(decisions: Sequence[Decision]) -> list[str]:
    """Their names, the first to decide first."""
    return list(dict.fromkeys(one.reader for one in decisions))


def isDone(decisions: Sequence[Decision], reader: str) -> bool:
    return any(one.reader == reader and not one.nodule for one in decisions)


def isOpen(decisions: Sequence[Decision]) -> bool:
    """Whether at least two readers have decided and are done: then all may be seen, and nothing changed."""
    names = readers(decisions)
    return len(names) > 1 and all(isDone(decisions, name) for name in names)


def shownTo(decisions: Sequence[Decision], reader: str) -> dict[str, dict[str, Decision]]:
    """By reader and nodule what a reader may see: the own decisions, and others' once all are done."""
    names = readers(decisions)
    seen = names if isOpen(decisions) and reader in names else [reader]
    return {
        name: {one.nodule: one for one in decisions if one.reader == name and one.nodule}
        if name in seen
        else {}
        for name in names
    }
