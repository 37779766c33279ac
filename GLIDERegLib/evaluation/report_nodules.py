"""The nodules of a result folder in both scans, and what a reader noted on them."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.points import PointSet, read_points

# Where the points of one scan are found in the other one.
PROPAGATED = {"fixed": "points_moving.csv", "moving": "points_fixed.csv"}
KNOWN = {"true": True, "false": False}
OTHER = {"fixed": "moving", "moving": "fixed"}
REVIEW, LABEL, MARKED_IN = "review.csv", "Label", "Marked in"
HEADER = (
    "label",
    "marked_in",
    *(f"{role}_{axis}_lps_mm" for role in ("fixed", "moving") for axis in "xyz"),
    "displacement_mm",
    "there_and_back_mm",
    "inside_field",
    "inside_moving",
    "distance_to_own_mark_mm",
)


@dataclass(frozen=True)
class Nodule:
    """A point marked in one scan and propagated to the other.

    marked_in: "fixed" or "moving". fixed, moving: LPS mm (3). residual_mm: of the inverse. inside_field:
    whether the registration reaches there. inside_moving: whether it lies in the moving scan. own_mark_mm:
    from the propagated point to where the same label was marked in the other scan. review: what the reader
    noted, by column. None for what is not known.
    """

    label: str
    marked_in: str
    fixed: np.ndarray
    moving: np.ndarray
    residual_mm: float | None = None
    inside_field: bool | None = None
    inside_moving: bool | None = None
    own_mark_mm: float | None = None
    review: dict[str, str] = field(default_factory=dict)

    @property
    def displacement_mm(self) -> float:
        """Its length."""
        return float(np.linalg.norm(self.moving - self.fixed))


def read_nodules(folder: Path, sources: dict[str, Path], corresponding: bool) -> list[Nodule]:
    """The nodules of a folder that `glidereg register` filled, first those marked in the fixed scan.

    sources: files of the marked points by scan ("fixed", "moving"). corresponding: whether one label in both
    files is one nodule. Raises InputError for files that are missing, damaged or do not fit each other.
    """
    marked = {role: read_points(path) for role, path in sources.items()}
    review = _read_review(folder)
    nodules = []
    for role, given in marked.items():
        path = folder / PROPAGATED[role]
        propagated = read_points(path)
        if propagated.labels != given.labels:
            raise InputError(
                f"The points in '{path}' are not those of '{sources[role]}', which has changed since.",
                "Register again.",
                code="changed-since",
            )
        own = _unique(marked[OTHER[role]]) if corresponding and OTHER[role] in marked else {}
        once = _unique(given)
        columns = _rows(path)
        for n, (label, start, end) in enumerate(
            zip(given.labels, given.points, propagated.points, strict=True)
        ):
            mark = own.get(label) if label in once else None
            row = columns[n] if n < len(columns) else {}
            nodules.append(
                Nodule(
                    label,
                    role,
                    start if role == "fixed" else end,
                    end if role == "fixed" else start,
                    _number(row.get("residual_mm")),
                    KNOWN.get(row.get("inside_field") or ""),
                    KNOWN.get(row.get("inside_moving") or ""),
                    None if mark is None else float(np.linalg.norm(end - mark)),
                    _notes(review, label, role, given.labels[:n].count(label)),
                )
            )
    return nodules


def write_table(nodules: Iterable[Nodule], path: str | PathLike) -> None:
    """Writes the nodules as CSV (UTF-8): positions in LPS mm, what tells of their reliability, and the
    review's columns.
    """
    nodules = list(nodules)
    columns = list(dict.fromkeys(name for nodule in nodules for name in nodule.review))
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*HEADER, *columns])
        for nodule in nodules:
            measured = (nodule.displacement_mm, nodule.residual_mm)
            inside = (nodule.inside_field, nodule.inside_moving)
            writer.writerow(
                [
                    nodule.label,
                    nodule.marked_in,
                    *(f"{value:.3f}" for value in (*nodule.fixed, *nodule.moving)),
                    *("" if value is None else f"{value:.3f}" for value in measured),
                    *("" if value is None else str(value).lower() for value in inside),
                    "" if nodule.own_mark_mm is None else f"{nodule.own_mark_mm:.3f}",
                    *(nodule.review.get(name, "") for name in columns),
                ]
            )


def _unique(points: PointSet) -> dict[str, np.ndarray]:
    """Points by label, where a label occurs once."""
    pairs = zip(points.labels, points.points, strict=True)
    return {label: point for label, point in pairs if points.labels.count(label) == 1}


def _read_review(folder: Path) -> list[dict[str, str]]:
    """The rows of the review table; none where there is no table."""
    path = folder / REVIEW
    rows = _rows(path) if path.exists() else []
    if any(LABEL not in row for row in rows):
        raise InputError(
            f"The review table '{path}' has no column '{LABEL}'.", "Save it again.", code="columns"
        )
    return rows


def _notes(review: list[dict[str, str]], label: str, role: str, earlier: int) -> dict[str, str]:
    """What the review says of a nodule beyond its label and scan; earlier: nodules of this label before it.

    Several rows of one label belong to its nodules in their order.
    """
    rows = [row for row in review if row[LABEL] == label and row.get(MARKED_IN) in (None, role)]
    if not rows:
        return {}
    row = rows[min(earlier, len(rows) - 1)]
    return {name: text or "" for name, text in row.items() if name and name not in (LABEL, MARKED_IN)}


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by its header; comment lines and empty lines left out."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise InputError(
            f"The table '{path}' cannot be read.", "Write it again.", code="file-damaged"
        ) from None
    lines = text.splitlines(keepends=True)
    while lines and lines[0].startswith("#"):
        lines.pop(0)
    return [row for row in csv.DictReader(lines) if any(row.values())]


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
