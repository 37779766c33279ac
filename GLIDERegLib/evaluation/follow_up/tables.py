"""The study's tables: a row for each nodule and date, and one for each change; CSV, and XLSX where wanted."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from GLIDERegLib.core.errors import DependencyError
from GLIDERegLib.evaluation.follow_up.rows import NOT_MEASURED, Cell, Nodule
from GLIDERegLib.evaluation.growth import UNITS, VOLUME

if TYPE_CHECKING:
    from openpyxl import Workbook

CELLS = (
    "nodule",
    "date",
    "status",
    "label",
    "x_lps_mm",
    "y_lps_mm",
    "z_lps_mm",
    "place",
    "place_uncertainty_mm",
    "volume_mm3",
    "volume_low_mm3",
    "volume_high_mm3",
    "long_mm",
    "short_mm",
    "mean_mm",
    "mean_low_mm",
    "mean_high_mm",
    "by_steps_mm",
    "notes",
)
CHANGES = (
    "nodule",
    "quantity",
    "from",
    "to",
    "days",
    "earlier",
    "later",
    "unit",
    "change",
    "change_low",
    "change_high",
    "change_unit",
    "doubling_days",
    "doubling_low",
    "doubling_high",
    "words",
)
Row = list[Any]


def cell_rows(nodules: Sequence[Nodule], days: Sequence[date]) -> list[Row]:
    """A row for each nodule and date, by `CELLS`; None where nothing is known. Points are LPS mm in that
    date's scan, where the nodule was marked or is expected; the intervals hold 95 %.
    """
    return [
        [nodule.number, day.isoformat(), *_cell(cell)]
        for nodule in nodules
        for day, cell in zip(days, nodule.cells, strict=True)
    ]


def change_rows(nodules: Sequence[Nodule], days: Sequence[date]) -> list[Row]:
    """A row for each nodule, quantity and span of dates, by `CHANGES`: of a volume in per cent, of a mean
    diameter in mm.
    """
    rows = []
    for nodule in nodules:
        for change in nodule.changes:
            found = change.growth
            measured = (nodule.cells[n].measurement for n in (change.earlier, change.later))
            sizes = [one.size(found.quantity).value for one in measured if one is not None]
            rows.append(
                [
                    nodule.number,
                    found.quantity if found.quantity == VOLUME else "mean diameter",
                    days[change.earlier].isoformat(),
                    days[change.later].isoformat(),
                    change.days,
                    *(round(size, 3) for size in sizes),
                    UNITS[found.quantity],
                    *(round(value, 3) for value in (found.change, found.low, found.high)),
                    "%" if found.quantity == VOLUME else "mm",
                    *(
                        None if value is None else round(value, 1)
                        for value in (found.doubling_days, found.doubling_low, found.doubling_high)
                    ),
                    found.words,
                ]
            )
    return rows


def grid_rows(nodules: Sequence[Nodule], days: Sequence[date]) -> tuple[list[str], list[Row]]:
    """Header and rows of the table that a reader looks at: a row a nodule, a cell a date."""
    header = ["nodule", *(day.isoformat() for day in days)]
    return header, [[nodule.number, *(shown(cell) for cell in nodule.cells)] for nodule in nodules]


def shown(cell: Cell) -> str:
    """A cell for a reader: "6.5 mm, 143 mm³", or why there is no size."""
    found = cell.measurement
    if cell.status == NOT_MEASURED:
        return "size not told"
    return cell.status if found is None else f"{found.mean_mm:.1f} mm, {found.volume_mm3:.0f} mm³"


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Row]) -> None:
    """Writes a table as CSV in UTF-8; None is an empty cell."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def new_workbook() -> Workbook:
    """Raises DependencyError where openpyxl is not installed."""
    try:
        from openpyxl import Workbook
    except ImportError as error:
        raise DependencyError(
            "A workbook needs the package openpyxl", "Install it.", code="package-openpyxl"
        ) from error
    return Workbook()


def write_workbook(path: Path, nodules: Sequence[Nodule], days: Sequence[date]) -> None:
    """Writes all three tables as one XLSX. Raises DependencyError where openpyxl is not installed."""
    book = new_workbook()
    book.remove(book.active)
    grid = grid_rows(nodules, days)
    tables = {
        "Nodules": grid,
        "Dates": (CELLS, cell_rows(nodules, days)),
        "Growth": (CHANGES, change_rows(nodules, days)),
    }
    for title, (header, rows) in tables.items():
        sheet = book.create_sheet(title)
        for row, values in enumerate([header, *rows], 1):
            for column, value in enumerate(values, 1):
                cell = sheet.cell(row, column, value)
                if isinstance(value, str):
                    # A label that begins with = is no formula.
                    cell.data_type = "s"
        sheet.freeze_panes = "B2"
    book.save(path)


def _cell(cell: Cell) -> Row:
    found, mark = cell.measurement, cell.mark
    sizes: Row = [None] * 8
    if found is not None:
        sizes = [
            found.volume_mm3,
            found.volume_low_mm3,
            found.volume_high_mm3,
            found.long_mm,
            found.short_mm,
            found.mean_mm,
            found.mean_low_mm,
            found.mean_high_mm,
        ]
    numbers = [*(float(value) for value in cell.point)]
    return [
        cell.status,
        mark.label if mark is not None else None,
        *(round(value, 3) + 0.0 for value in numbers),
        "marked" if mark is not None else "expected",
        None if cell.radius is None else round(cell.radius, 2),
        *(None if value is None else round(float(value), 3) for value in sizes),
        None if mark is None or mark.by_steps_mm is None else round(mark.by_steps_mm, 2),
        "; ".join(cell.notes),
    ]
