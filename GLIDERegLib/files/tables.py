"""Lists that a user writes as CSV: a header, and a row a line."""

from __future__ import annotations

import csv
from pathlib import Path

from GLIDERegLib.core.errors import InputError


def read_table(path: Path, required: tuple[str, ...], known: tuple[str, ...]) -> list[tuple[int, dict]]:
    """The rows of a CSV file with a header: the line's number, and its cells, stripped, by column.

    Raises InputError when the file cannot be read, lacks a required column or a required cell, has an unknown
    column, or holds no row.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            header = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = header
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"The list '{path}' cannot be read as CSV in UTF-8.", "Check the file.", code="file-damaged"
        ) from error
    missing = [name for name in required if name not in header]
    unknown = [name for name in header if name not in known]
    if missing:
        raise InputError(
            f"The list '{path}' lacks the column(s) {', '.join(missing)} in its first line.",
            "Add them.",
            code="file-damaged",
        )
    if unknown or len(set(header)) < len(header):
        wrong = ", ".join(f"'{name}'" for name in unknown) or "columns that occur twice"
        raise InputError(
            f"The list '{path}' has {wrong}.", f"Its columns may be {', '.join(known)}.", code="file-damaged"
        )
    cleaned = []
    for number, row in rows:
        if None in row:
            raise InputError(
                f"Line {number} of '{path}' has more cells than the header.",
                "Put texts with commas in quotes.",
                code="file-damaged",
            )
        row = {name: (cell or "").strip() for name, cell in row.items()}
        if empty := [name for name in required if not row[name]]:
            raise InputError(
                f"Line {number} of '{path}' has nothing under {', '.join(empty)}.",
                "Fill it in.",
                code="file-damaged",
            )
        cleaned.append((number, row))
    if not cleaned:
        raise InputError(
            f"The list '{path}' holds no rows.", "Write one a line under the header.", code="columns"
        )
    return cleaned
