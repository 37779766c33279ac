"""Records of a registration's review in the scene: sealed, kept, and told when superseded.

The record is the library's (`evaluation.record`); here it gets its numbers from the scene's nodes, and is
locked to them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import numpy as np
import slicer

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.evaluation.record.numbers import Number, general, numbers_of
from GLIDERegLib.evaluation.record.record import (
    Record,
    Request,
    State,
    content,
    parse_record,
    seal_record,
    state_of,
    write_record,
)
from GLIDERegLib.scene.command import SceneTask
from GLIDERegLib.scene.mrml.geometry import mapPoints
from GLIDERegLib.scene.mrml.sampling import bodyOf, quietVtk, sampling
from GLIDERegLib.scene.quality.consistency import backwardOf, consistencyOf
from GLIDERegLib.scene.quality.landmark_nodes import COLUMNS, REJECTED, regionTable
from GLIDERegLib.scene.quality.landmarks import places
from GLIDERegLib.scene.quality.locks import locks
from GLIDERegLib.scene.quality.looked import seen
from GLIDERegLib.scene.quality.numbers import landmarkRows
from GLIDERegLib.scene.quality.pair_texts import addText, textsOf
from GLIDERegLib.scene.quality.transitivity import transitivityOf
from GLIDERegLib.scene.registration.pair import Pair

KIND = "record"
# Of the body, at which two independent transforms are compared.
POINTS = 3000


def numbers(
    pair: Pair,
    marks: tuple[slicer.vtkMRMLMarkupsFiducialNode | None, slicer.vtkMRMLMarkupsFiducialNode | None],
    compared: Mapping[str, dict[str, float]],
    tolerances: Mapping[str, float],
) -> list[Number]:
    """What the scene can tell of the transform as it is now, beside the site's tolerances.

    marks: paired landmarks that a reader placed, fixed and moving. compared: contours, as
    `contours.compare_segmentations`. tolerances: by a number's name; others than these numbers' count not.
    """
    makers = (
        _landmarks,
        _consistency,
        _transitivity,
        lambda pair: _marks(pair, *marks),
        lambda _: _contours(compared),
    )
    reports = [report for make in makers if (report := make(pair)) is not None]
    names = {number.name for number in numbers_of(reports, {})}
    borne = names | {general(name) for name in names}
    return numbers_of(reports, {name: most for name, most in tolerances.items() if name in borne})


def sign(pair: Pair, request: Request, found: list[Number], level: int, text: str, name: str) -> Record:
    """Seals a record of now and keeps it in the scene. Raises InputError where something is missing."""
    record = seal_record(request, seen(pair), found, level, text, name, locks(pair))
    keep(pair, record)
    return record


def keep(pair: Pair, record: Record) -> None:
    """Keeps a sealed record in the scene, as the pair's newest."""
    title = f"Record of {pair.transform.GetName()}, {record.decision.time[:16].replace('T', ' ')}"
    addText(pair, KIND, title, json.dumps(content(record), indent=1))


def withdraw(pair: Pair, record: Record) -> None:
    """Takes a record out of the scene, the pair's newest. Raises InputError where that is another one."""
    found = textsOf(pair, KIND)
    if not found or record.seal not in found[-1].GetText():
        raise InputError("The newest record is another one.", "Look at it first.", code="record-scene")
    pair.fixed.GetScene().RemoveNode(found[-1])


def hasRecord(pair: Pair) -> bool:
    return bool(textsOf(pair, KIND))


def latest(pair: Pair) -> tuple[Record, State] | None:
    """The pair's newest record, and whether it still holds; None without one.

    Raises InputError for one that was altered.
    """
    found = textsOf(pair, KIND)
    if not found:
        return None
    record = parse_record(found[-1].GetText(), f"'{found[-1].GetName()}'")
    return record, state_of(record, locks(pair))


class SceneRecord(SceneTask):
    """Writes a record's JSON and page into a folder, the page beside Slicer. python: one with the engine."""

    WHAT = "page of the record"

    def start(
        self, record: Record, state: State, goal: str | PathLike, temporaryFolder: str | None = None
    ) -> None:
        """Starts writing. Raises InputError while one is written, or where the folder is none."""
        if not Path(goal).is_dir():
            raise InputError(f"'{goal}' is no folder.", "Choose another.", code="folder")
        self._goal, self._name = Path(goal), f"record-{record.decision.time[:19].replace(':', '-')}"

        def prepare(folder: Path) -> list[str]:
            write_record(record, folder / "record.json")
            changed = [word for what in state.changed for word in ("--changed", what)]
            return [
                "record",
                "page",
                str(folder / "record.json"),
                *changed,
                "-o",
                str(folder / "record.html"),
            ]

        self._command.start(prepare, temporaryFolder)

    def poll(self) -> Path | None:
        """The page once it is written, with the JSON beside it; None before, and where it failed.

        Raises InputError where the folder cannot be written.
        """
        return self._command.poll(self._take)

    def _take(self, folder: Path) -> Path:
        try:
            for ending in ("json", "html"):
                (self._goal / f"{self._name}.{ending}").write_bytes(
                    (folder / f"record.{ending}").read_bytes()
                )
        except OSError as error:
            raise InputError(
                f"The record cannot be written into '{self._goal}' ({error.strerror}).", code="cannot-write"
            ) from error
        return self._goal / f"{self._name}.html"


def _landmarks(pair: Pair) -> dict | None:
    """As `glidereg check` reports it, of the landmarks that the reader has not rejected."""
    table = regionTable(pair)
    counting = [place for place in places(pair) if place.decision != REJECTED]
    if table is None or not counting:
        return None

    def figures(errors: np.ndarray) -> dict | None:
        if not len(errors):
            return None
        return {
            "mean": float(errors.mean()),
            "p95": float(np.percentile(errors, 95)),
            "max": float(errors.max()),
        }

    regions = []
    for row in range(table.GetNumberOfRows()):
        name = table.GetCellText(row, 0)
        there = np.array([place.error for place in counting if name in place.regions])
        uncovered = float(table.GetCellText(row, len(COLUMNS) - 1)) / 100
        regions.append({"name": name, "error_mm": figures(there), "uncovered": uncovered})
    return {
        "error_mm": {"final": figures(np.array([place.error for place in counting]))},
        "regions": regions,
    }


def _consistency(pair: Pair) -> dict | None:
    """Of an independent transform back, where there is one: a computed inverse would tell nothing."""
    if pair.back in (None, backwardOf(pair)) and (known := consistencyOf(pair)):
        return known
    if pair.back is None:
        return None
    samples = sampling(pair.fixed)
    inside = samples.points()[bodyOf(samples).ravel()]
    points = inside[np.random.default_rng(0).choice(len(inside), min(POINTS, len(inside)), replace=False)]
    with quietVtk():
        lengths = np.linalg.norm(
            mapPoints(pair.returning(), mapPoints(pair.toMoving(), points)) - points, axis=1
        )
    return {
        "kind": "inverse consistency",
        "residual_mm": {"p95": float(np.percentile(lengths, 95))},
    }


def _transitivity(pair: Pair) -> dict | None:
    known = transitivityOf(pair)
    return known[1] if known else None


def _marks(pair: Pair, fixed, moving) -> dict | None:
    if fixed is None or moving is None:
        return None
    try:
        values = {row.quantity: row.value for row in landmarkRows(pair, fixed, moving)[0]}
    except InputError:
        # The page Check says what is wrong with them.
        return None
    final = {
        "mean": values["Landmark error, mean, after"],
        "max": values["Landmark error, maximum, after"],
    }
    return {"target_registration_error": {"final": final}}


def _contours(compared: Mapping[str, dict[str, float]]) -> dict | None:
    return {"compared": dict(compared)} if compared else None
