"""Tables of points as people and programs write them (.csv, .fcsv), read into LPS mm."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.errors import InputError

RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])
# Slicer wrote numbers into .fcsv files up to version 4.10.
SYSTEMS = {"LPS": "LPS", "1": "LPS", "RAS": "RAS", "0": "RAS"}
FCSV_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
# Lines before the header: comments, of which some count, and the mark that a spreadsheet puts first.
PASSED_OVER = re.compile(r"\s*\"?#|\s*$|sep=.$", re.IGNORECASE)
COMMENT = re.compile(
    r"#\s*(coordinate[\s_-]?system|coordinate[\s_-]?space|coordinate[\s_-]?units?|system|space|frame|units?|"
    r"columns)\s*[=:,;\t](.*)",
    re.IGNORECASE,
)
# Words by which a comment says where or how long, in a way that is not understood here.
UNCLEAR = re.compile(
    r"\b(RAS|RAI|LPI|LAS|cm|centimet(?:er|re)s?|inch(?:es)?|voxels?|pixels?|ijk)\b", re.IGNORECASE
)
MM = ("mm", "millimeter", "millimeters", "millimetre", "millimetres")
# What may stand behind the name of a column of coordinates: a unit, a system.
UNIT = re.compile(
    r"(\S+?)(?:\s*[(\[]|_|/|\s+)\s*(?:in\s+)?(mm|cm|dm|m|um|µm|inch|voxels?|vox|pixels?|px)[)\]]?$"
)
SYSTEM = re.compile(r"([xyz])[\s_]*[(\[]?(lps|ras)[)\]]?$")
# Coordinates, and their system where the names say it.
SETS = {"xyz": "", "lps": "LPS", "ras": "RAS"}
# Columns that say for each point what a comment may say for all.
SYSTEM_COLUMNS = ("coordinatesystem", "coordinate system", "coordinate_system", "system", "space", "frame")
UNIT_COLUMNS = ("unit", "units", "coordinateunits", "coordinate units", "coordinate_units")
# Columns of labels, the likeliest first; a single column ahead of the coordinates is one by any name, where
# no two of its cells are alike.
LABELS = (
    "label",
    "labels",
    "name",
    "landmark",
    "landmark name",
    "landmark_name",
    "landmark_id",
    "point",
    "id",
)
# What may stand between cells; a comma first, since the others may be a part of texts.
MARKS = ",;\t "
# mm; coordinates that say one place twice are rounded.
SAME = 0.01
# A .fcsv without its line of columns has these at least, the label among them.
FEWEST_CELLS = FCSV_COLUMNS.split(",").index("label") + 1


def parse_table(text: str, path: Path) -> tuple[list[str], list[np.ndarray]]:
    """Labels and LPS points of a CSV or .fcsv file: comment lines, a header in CSV, one point a line.

    Raises InputError, with the line, for what is no such table, or says where its points are in a way that is
    not understood.
    """
    slicer = path.name.lower().endswith(".fcsv")
    told, header = "", FCSV_COLUMNS.split(",") if slicer else []
    lines = list(io.StringIO(text))
    start, named = 0, not slicer
    while start < len(lines) and PASSED_OVER.match(lines[start]):
        key, value = _comment(lines[start], path)
        if key == "columns":
            header, named = value.split(","), True
        elif key == "system":
            if told not in ("", value):
                raise _unclear(path, "names two coordinate systems")
            told = value
        start += 1
    mark = "," if slicer else _mark(lines[start : start + 1])
    rows = csv.reader(lines[start:], delimiter=mark, skipinitialspace=mark == " ")
    try:
        header = [name.strip().lower() for name in (header if slicer else next(rows, []))]
        sets = _coordinate_sets(header, told, path)
        table = [(start + rows.line_num, row) for row in rows if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(
            f"The points file '{path}' is no valid CSV: {error}.", "Save it as CSV again.", code="points"
        ) from error
    table = [(number, row) for number, row in table if not _is_comment(row, sets, path)]
    usual = told or ("RAS" if slicer else "LPS")
    label = _label_column(header, sets, table)
    decimal_commas = mark != "," and not any("." in cell for _, row in table for cell in _cells(row, sets))
    labels, points = [], []
    for number, row in table:
        where = f"line {number} of the points file '{path}'"
        _refuse_unplaced(row, header, where)
        if not slicer and any(cell.strip() for cell in row[len(header) :]):
            raise InputError(
                f"There are more cells in {where} than names in its header.",
                "Write numbers with a decimal point, and texts with commas in quotes.",
                code="points",
            )
        if not named and len(row) < FEWEST_CELLS:
            raise InputError(
                f"There are only {counted(len(row), 'cell')} in {where}, which does not name its columns.",
                "Save it again from Slicer.",
                code="points",
            )
        says = _system_of_row(row, header, path) or usual
        if told and says != told:
            raise _unclear(path, f"names another coordinate system in line {number} than in its comments")
        places = []
        for columns, system in sets:
            cells = _cells(row, [(columns, system)])
            cells = [cell.replace(",", ".") for cell in cells] if decimal_commas else cells
            places.append(position(cells, system or says, where))
        if not np.allclose(places, places[0], atol=SAME):
            raise _unclear(path, f"has coordinates of two systems that are two places in line {number}")
        points.append(places[0])
        labels.append(row[label] if label is not None and label < len(row) else "")
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
            # Python alone takes 1_0 for a number.
            numbers.append(float("" if isinstance(value, bool) or "_" in str(value) else value))
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


def _comment(line: str, path: Path) -> tuple[str, str]:
    """What a comment says: "system" and LPS or RAS, "columns" and their names, or nothing; raises InputError
    for units that are not mm and for what may mean either but is not understood.
    """
    text = line.strip().strip('"').rstrip(",;\t ")
    slicer = path.name.lower().endswith(".fcsv")
    match = COMMENT.match(text)
    if match is None:
        if not slicer and (word := UNCLEAR.search(text)):
            raise _unclear(path, f"speaks of {word[0]} in a comment")
        return "", ""
    key, value = match[1].lower(), match[2]
    if key == "columns":
        return key, value
    value = re.sub(r"\s*[(\[]?mm[)\]]?$", "", re.split("[,;\t]", value.strip())[0].strip()) or "mm"
    if "unit" in key:
        if value.lower() not in MM:
            raise InputError(f"The points file '{path}' is in {value}.", "Save it in mm.", code="points")
        return "", ""
    if key.startswith("coordinate") or value.rstrip("+").upper() in SYSTEMS or UNCLEAR.search(value):
        return "system", system_of(value.rstrip("+"), path)
    return "", ""


def _is_comment(row: list[str], sets: list[tuple[list[int], str]], path: Path) -> bool:
    """Whether a row is a comment: it begins with # and has no place. Raises InputError where it says what
    should stand ahead of the header.
    """
    if not row[0].lstrip().startswith("#") or any(cell.strip() for cell in _cells(row, sets)[1:2]):
        return False
    if _comment(",".join(row), path) != ("", ""):
        raise _unclear(path, "says how its points are meant in a comment below its header")
    return True


def _cells(row: list[str], sets: list[tuple[list[int], str]]) -> list[str]:
    """The cells of coordinates of a row."""
    return [row[column] if column < len(row) else "" for columns, _ in sets for column in columns]


def _unclear(path: Path, says: str) -> InputError:
    return InputError(
        f"The points file '{path}' {says}.",
        "Write # CoordinateSystem = LPS, or RAS, above its header, and lengths in mm.",
        code="points",
    )


def _mark(first: list[str]) -> str:
    """What stands between the names of a header: the mark that leaves x, y and z, or their like, apart."""
    header = "".join(first).lower()
    for mark in MARKS:
        names = [_plain(name.strip().strip('"'))[0] for name in header.split(mark)]
        if any(all(letter in names for letter in letters) for letters in SETS):
            return mark
    return ","


def _plain(name: str) -> tuple[str, str, str]:
    """The name of a column without what stands behind it, and that: the unit, and the system."""
    unit = match[2] if (match := UNIT.match(name)) else ""
    name = match[1] if match else name
    if match := SYSTEM.match(name):
        return match[1], unit, match[2].upper()
    return name, unit, ""


def _coordinate_sets(header: list[str], told: str, path: Path) -> list[tuple[list[int], str]]:
    """Where coordinates stand, and their system; empty where the names do not say it. Several for a table
    that gives them in both systems.
    """
    plain = [_plain(name) for name in header]
    sets = []
    for letters, own in SETS.items():
        for system in ("", "LPS", "RAS") if letters == "xyz" else ("",):
            found = [[n for n, (name, _, s) in enumerate(plain) if (name, s) == (x, system)] for x in letters]
            if not all(found):
                continue
            if twice := [x for x, columns in zip(letters, found, strict=True) if len(columns) > 1]:
                raise InputError(
                    f"The points file '{path}' has the column(s) {', '.join(twice)} twice.",
                    "Keep one of each.",
                    code="labels",
                )
            sets.append(([columns[0] for columns in found], system or own))
    if not sets:
        missing = ", ".join(name for name in "xyz" if name not in header)
        raise InputError(
            f"The points file '{path}' lacks the column(s) {missing}.",
            "Write label,x,y,z as its first line that is no comment.",
            code="labels",
        )
    units = {plain[n][1] for columns, _ in sets for n in columns} - {"", "mm"}
    if units:
        raise InputError(
            f"The points file '{path}' is in {' and '.join(sorted(units))}.", "Save it in mm.", code="points"
        )
    if told and all(system not in ("", told) for _, system in sets):
        raise _unclear(path, f"says {told} in a comment, and otherwise in the names of its columns")
    return sets


def _label_column(
    header: list[str], sets: list[tuple[list[int], str]], table: list[tuple[int, list[str]]]
) -> int | None:
    for name in LABELS:
        if name in header:
            return header.index(name)
    ahead = min(column for columns, _ in sets for column in columns)
    return 0 if ahead == 1 and len({row[0] for _, row in table}) == len(table) else None


def _system_of_row(row: list[str], header: list[str], path: Path) -> str:
    """The system that a cell of the row names, empty where none does; raises InputError for units that are
    not mm.
    """
    said = {name: cell.strip() for name, cell in zip(header, row, strict=False) if cell.strip()}
    for name in UNIT_COLUMNS:
        if name in said and said[name].lower() not in MM:
            raise InputError(f"The points file '{path}' is in {said[name]}.", "Save it in mm.", code="points")
    for name in SYSTEM_COLUMNS:
        # A frame may be one of a scan in time, a system the scanner.
        if name in said and (name.startswith("coordinate") or UNCLEAR.fullmatch(said[name]) or
                             said[name].upper() in ("LPS", "RAS")):  # fmt: skip
            return system_of(said[name], path)
    return ""


def _refuse_unplaced(row: list[str], header: list[str], where: str) -> None:
    """Slicer keeps points that were never placed: 0 under `defined`, not 2 in column 15 of .fcsv."""
    undefined = "defined" in header and row[header.index("defined") :][:1] == ["0"]
    if undefined or ("associatednodeid" in header and len(row) > 14 and row[14].strip() not in ("", "2")):
        raise InputError(
            f"The point in {where} was never placed.", "Place or delete it in Slicer.", code="points"
        )
