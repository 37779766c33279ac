"""Landmarks to and from disk: CSV and 3D Slicer's markups (.mrk.json, .fcsv). In memory always LPS mm."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.errors import InputError, shortened, system_refusals
from GLIDERegLib.core.points import PointSet
from GLIDERegLib.files.kinds import refuse_mistaken
from GLIDERegLib.files.outputs import whole_file
from GLIDERegLib.files.point_tables import FCSV_COLUMNS, parse_table, position, system_of

SUFFIXES = (".csv", ".mrk.json", ".fcsv")
# Of lists, those that a message names: what a person can read.
LISTED = 6
# Slicer's markups whose points are a corner, a centre or an axis, by their type.
SHAPES = {"ROI": "a box (ROI)", "Plane": "a plane"}
SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)


@system_refusals()
def read_points(path: str | PathLike) -> PointSet:
    """Reads points from .csv, .mrk.json or .fcsv and turns them into LPS mm; empty labels become P1, P2, ...

    CSV: a header with x, y, z (or Slicer's l, p, s or r, a, s) and, if wished, label; further columns are
    ignored. Commas, semicolons (with decimal commas, as spreadsheets write them), tabs or spaces between
    them. LPS mm, unless a line `# CoordinateSystem = RAS` before the header, or a column `system`, says
    otherwise. Of Slicer's markups one list, curve, line or angle.
    Raises InputError when the file cannot be read, holds no point, or a point has no valid position.
    """
    path = Path(path)
    if not path.name.lower().endswith(SUFFIXES):
        raise InputError(
            f"The points file '{path}' is of an unknown type.",
            "Give .csv, .mrk.json or .fcsv.",
            code="file-type",
        )
    if path.is_file():
        refuse_mistaken(path, f"The points file '{shortened(str(path), 300)}'")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
        name = shortened(str(path), 300)
        raise InputError(
            f"The points file '{name}' cannot be read: {reason}.", "Copy or export it again.", code="points"
        ) from error
    labels, points = (
        _parse_json(text, path) if path.name.lower().endswith(".json") else parse_table(text, path)
    )
    if not labels:
        raise InputError(f"The points file '{path}' holds no points.", "Mark some first.", code="points")
    unnamed = not any(label.strip() for label in labels)
    labels = [label.strip() or f"P{number}" for number, label in enumerate(labels, 1)]
    return PointSet(labels, np.array(points), unnamed)


def write_points(
    pointset: PointSet, path: str | PathLike, extra_columns: Mapping[str, Iterable[Any]] | None = None
) -> None:
    """Writes points in LPS mm as .csv, .mrk.json or .fcsv by the name of `path`; whole or not at all.

    extra_columns: name to one value per point (residual_mm, ...); Slicer's files keep it in the description.
    Raises InputError for another type of file or when it cannot be written.
    """
    path = Path(path)
    columns = {name: [_text(value) for value in values] for name, values in (extra_columns or {}).items()}
    if any(len(values) != len(pointset) for values in columns.values()):
        raise ValueError("Each extra column needs one value per point")
    writers = {".csv": _csv_text, ".mrk.json": _json_text, ".fcsv": _fcsv_text}
    for suffix, writer in writers.items():
        if path.name.lower().endswith(suffix):
            with whole_file(path) as temporary:
                temporary.write_text(writer(pointset, columns), encoding="utf-8", newline="\n")
            return
    raise InputError(
        f"Cannot write points to '{path}'.", "Name the file .csv, .mrk.json or .fcsv.", code="cannot-write"
    )


def _parse_json(text: str, path: Path) -> tuple[list[str], list[np.ndarray]]:
    """Labels and LPS points of the one list in a Slicer markups file."""
    try:
        lists = [
            markup
            for markup in json.loads(text, object_pairs_hook=_each_once)["markups"]
            if markup.get("controlPoints")
        ]
        if len(lists) > 1:
            told = "; ".join(_told(markup) for markup in lists[:LISTED])
            more = f"; and {len(lists) - LISTED} more" if len(lists) > LISTED else ""
            raise InputError(
                f"The points file '{path}' holds {counted(len(lists), 'list')} ({told}{more}).",
                "Save the one that is meant by itself.",
                code="points",
            )
        labels: list[str] = []
        points: list[np.ndarray] = []
        for markup in lists:
            if (kind := str(markup.get("type", "Fiducial"))) in SHAPES:
                raise InputError(
                    f"The points file '{path}' holds {SHAPES[kind]}, whose points only define its shape.",
                    "Give a list of points.",
                    code="points",
                )
            system = system_of(str(markup.get("coordinateSystem", "LPS")), path)
            if markup.get("coordinateUnits", "mm") not in ("mm", ["mm", "mm", "mm"]):
                raise InputError(
                    f"The points file '{path}' is in {shortened(str(markup['coordinateUnits']))}.",
                    "Save it in mm.",
                    code="points",
                )
            for point in markup["controlPoints"]:
                where = f"point {len(labels) + 1} ('{point.get('label', '')}') of '{path}'"
                status = point.get("positionStatus", "defined")
                if status != "defined":
                    raise InputError(
                        f"The position of {where} is {status}.",
                        "Place or delete it in Slicer.",
                        code="points",
                    )
                points.append(position(point.get("position"), system, where))
                labels.append("" if point.get("label") is None else str(point["label"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"The points file '{path}' is no valid Slicer markups file.",
            "Save it again from Slicer.",
            code="points",
        ) from error
    return labels, points


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; ValueError where it says one thing twice, of which readers take either."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _told(markup: dict[str, Any]) -> str:
    """What a list is, for a message: its kind, its name if it has one, and its points."""
    name = f" '{shortened(str(markup['name']))}'" if markup.get("name") else ""
    kind = shortened(str(markup.get("type", "Fiducial")))
    return f"{kind}{name}: {counted(len(markup['controlPoints']), 'point')}"


def _text(value: Any) -> str:
    """A value as people and spreadsheets read it: true/false, numbers to six decimals, NaN empty."""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (float, np.floating)):
        return _number(float(value)) if np.isfinite(value) else ""
    return str(value)


def _number(value: float) -> str:
    return repr(round(float(value), 6) + 0.0)  # adding 0.0 turns -0.0 into 0.0


def _csv_text(pointset: PointSet, columns: dict[str, list[str]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    stream.write("# CoordinateSystem = LPS\n")
    writer.writerow(["label", "x", "y", "z", *columns])
    for number, (label, point) in enumerate(zip(pointset.labels, pointset.points, strict=True)):
        writer.writerow([label, *map(_number, point), *(values[number] for values in columns.values())])
    return stream.getvalue()


def _fcsv_text(pointset: PointSet, columns: dict[str, list[str]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    stream.write("# Markups fiducial file version = 5.6\n# CoordinateSystem = LPS\n")
    stream.write(f"# columns = {FCSV_COLUMNS}\n")
    for number, (label, point) in enumerate(zip(pointset.labels, pointset.points, strict=True)):
        description = _description(columns, number)
        writer.writerow([number + 1, *map(_number, point), 0, 0, 0, 1, 1, 1, 0, label, description, "", 2, 0])
    return stream.getvalue()


def _json_text(pointset: PointSet, columns: dict[str, list[str]]) -> str:
    control_points = [
        {
            "id": str(number + 1),
            "label": label,
            "description": _description(columns, number),
            "associatedNodeID": "",
            "position": [round(float(value), 6) for value in point],
            "selected": True,
            "locked": False,
            "visibility": True,
            "positionStatus": "defined",
        }
        for number, (label, point) in enumerate(zip(pointset.labels, pointset.points, strict=True))
    ]
    markup = {
        "type": "Fiducial",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": len(pointset),
        "controlPoints": control_points,
    }
    return json.dumps({"@schema": SCHEMA, "markups": [markup]}, indent=2, ensure_ascii=False) + "\n"


def _description(columns: dict[str, list[str]], number: int) -> str:
    """Extra values of one point as one text, without commas: older Slicers split .fcsv lines at each."""
    return "; ".join(f"{name}: {values[number]}" for name, values in columns.items()).replace(",", " ")
