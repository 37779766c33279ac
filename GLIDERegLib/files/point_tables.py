"""Tables of points as people and programs write them (.csv, .fcsv), read into LPS mm."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from GLIDERegLib.core.errors import InputError

RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])
# Slicer wrote numbers into .fcsv files up to version 4.10.
SYSTEMS = {"LPS": "LPS", "1": "LPS", "RAS": "RAS", "0": "RAS"}
FCSV_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
# Lines before the header: comments, of which some count, and the mark that a spreadsheet puts first.
PASSED_OVER = re.compile(r"\s*#|\s*$|sep=.$", re.IGNORECASE)
COMMENT = re.compile(r"\s*#\s*(coordinate\s?system|coordinate\s?units?|units?|columns)\s*[=:](.*)", re.I)
IN_MM = re.compile(r"\s*(\(mm\)|\[mm\]|_mm)$")
# What may stand between cells; a comma first, since the others may be a part of texts.
MARKS = ",;\t "


def parse_table(text: str, path: Path) -> tuple[list[str], list[np.ndarray]]:
    """Labels and LPS points of a CSV or .fcsv file: comment lines, a header in CSV, one point a line.

    Raises InputError, with the line, for what is no such table.
    """
    slicer = path.name.lower().endswith(".fcsv")
    system, header = ("RAS", FCSV_COLUMNS.split(",")) if slicer else ("LPS", [])
    lines = list(io.StringIO(text))
    start = 0
    while start < len(lines) and PASSED_OVER.match(lines[start]):
        if match := COMMENT.match(lines[start]):
            key, value = match[1].lower(), match[2].split(",")[0].strip()
            if key == "columns":
                header = match[2].split(",")
            elif "unit" in key and value.lower() != "mm":
                raise InputError(f"The points file '{path}' is in {value}.", "Save it in mm.", code="points")
            elif "system" in key:
                system = system_of(value, path)
        start += 1
    mark = "," if slicer else _mark(lines[start : start + 1])
    rows = csv.reader(lines[start:], delimiter=mark, skipinitialspace=mark == " ")
    try:
        header = [IN_MM.sub("", name.strip().lower()) for name in (header if slicer else next(rows, []))]
        columns, system = _coordinate_columns(header, system, path)
        table = [(start + rows.line_num, row) for row in rows if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(
            f"The points file '{path}' is no valid CSV: {error}.", "Save it as CSV again.", code="points"
        ) from error
    cells = [[row[column] if column < len(row) else "" for column in columns] for _, row in table]
    if mark != "," and not any("." in cell for row in cells for cell in row):
        cells = [[cell.replace(",", ".") for cell in row] for row in cells]
    labels, points = [], []
    for (number, row), values in zip(table, cells, strict=True):
        where = f"line {number} of the points file '{path}'"
        _refuse_unplaced(row, header, where)
        if not slicer and any(cell.strip() for cell in row[len(header) :]):
            raise InputError(
                f"There are more cells in {where} than names in its header.",
                "Write numbers with a decimal point, and texts with commas in quotes.",
                code="points",
            )
        points.append(position(values, system, where))
        label = header.index("label") if "label" in header else len(row)
        labels.append(row[label] if label < len(row) else "")
    return labels, points


def system_of(text: str, path: Path) -> str:
    """LPS or RAS; raises InputError for another coordinate system."""
    try:
        return SYSTEMS[text.strip().upper()]
    except KeyError:
        raise InputError(
            f"The points file '{path}' is in the unknown coordinate system '{text.strip()}'.",
            "Use LPS or RAS.",
            code="points",
        ) from None


def position(values: Any, system: str, where: str) -> np.ndarray:
    """Three numbers in the given system as LPS mm; raises InputError for anything else."""
    numbers = []
    for value in values if isinstance(values, list) else []:
        try:
            numbers.append(float("" if isinstance(value, bool) else value))
        except (TypeError, ValueError):
            empty = value in ("", None)
            raise InputError(
                f"A coordinate is missing in {where}." if empty else f"'{value}' in {where} is not a number.",
                "Write coordinates like -12.5.",
                code="points",
            ) from None
    if len(numbers) != 3 or not np.all(np.isfinite(numbers)):
        raise InputError(
            f"The position in {where} is not three finite numbers.", "Mend or delete it.", code="not-finite"
        )
    return np.array(numbers) * (RAS_TO_LPS if system == "RAS" else 1.0)


def _mark(first: list[str]) -> str:
    """What stands between the names of a header: the mark that leaves x, y and z, or their like, apart."""
    header = "".join(first).lower()
    for mark in MARKS:
        if _coordinates([IN_MM.sub("", name.strip().strip('"')) for name in header.split(mark)]):
            return mark
    return ","


def _coordinates(header: list[str]) -> str:
    """The names of the columns of coordinates that the header has; empty without."""
    return next((names for names in ("xyz", "lps", "ras") if all(name in header for name in names)), "")


def _coordinate_columns(header: list[str], system: str, path: Path) -> tuple[list[int], str]:
    """Where the coordinates stand, and their system: the columns of Slicer's tables name it themselves."""
    names = _coordinates(header)
    if not names:
        missing = ", ".join(name for name in "xyz" if name not in header)
        raise InputError(
            f"The points file '{path}' lacks the column(s) {missing}.",
            "Write label,x,y,z as its first line that is no comment.",
            code="labels",
        )
    twice = [name for name in names if header.count(name) > 1]
    if twice:
        raise InputError(
            f"The points file '{path}' has the column(s) {', '.join(twice)} twice.",
            "Keep one of each.",
            code="labels",
        )
    return [header.index(name) for name in names], system if names == "xyz" else names.upper()


def _refuse_unplaced(row: list[str], header: list[str], where: str) -> None:
    """Slicer keeps points that were never placed: 0 under `defined`, not 2 in column 15 of .fcsv."""
    undefined = "defined" in header and row[header.index("defined") :][:1] == ["0"]
    if undefined or ("associatednodeid" in header and len(row) > 14 and row[14].strip() not in ("", "2")):
        raise InputError(
            f"The point in {where} was never placed.", "Place or delete it in Slicer.", code="points"
        )
