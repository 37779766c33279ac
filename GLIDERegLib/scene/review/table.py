"""The review table: one row for each propagated nodule, in a table node that is saved with the scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import slicer
import slicer.util
import vtk

from GLIDERegLib.files.coordinates import patient_position
from GLIDERegLib.scene.review.nodules import PropagatedPoint

NOT_REVIEWED, ACCEPTED, REJECTED, UNSURE, CORRECTED = (
    "not reviewed",
    "accepted",
    "rejected",
    "unsure",
    "corrected",
)
# Differences below it come from writing numbers down.
TINY_MM = 0.01
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Row:
    """A nodule in both scans, what tells whether to believe it, and what the reader decided.

    markedIn: "moving" or "fixed", the scan where the reader marked it; its place in the other scan was
    propagated there, to `predicted`, unless the reader corrected it. Points are world RAS mm.
    expansionPercent: volume in the moving scan over that in the fixed one of the tissue around, which is no
    growth of the nodule. uncertainty: radius in mm that holds the true place in 95 of 100, 0 where unknown.
    advice: "review recommended" or empty; reason: why. Diameters are mm, 0 where unknown, and come from
    "typed", "line", "segment", "measured" or "corrected" (measured, by the reader's outline). insideField:
    "no" where the field does not reach the nodule, or the nodule not the moving scan; insideMoving: "no" in
    the latter case, empty where unknown. doublingDays: text, empty where unknown. point: the mark's
    identifier in its own list. noduleType and the solid parts (mm, 0 where unknown) are the reader's.
    fixedMeasured, movingMeasured, measuredGrowth: in words, see `measurements`.
    """

    label: str
    markedIn: str
    fixed: Point
    moving: Point
    predicted: Point
    displacement: float
    expansionPercent: float
    residual: float
    agreement: float
    uncertainty: float
    insideField: str
    advice: str
    reason: str
    status: str = NOT_REVIEWED
    comment: str = ""
    fixedDiameter: float = 0.0
    fixedDiameterFrom: str = ""
    movingDiameter: float = 0.0
    movingDiameterFrom: str = ""
    growth: str = ""
    doublingDays: str = ""
    point: str = ""
    insideMoving: str = ""
    noduleType: str = ""
    fixedSolidPart: float = 0.0
    movingSolidPart: float = 0.0
    fixedMeasured: str = ""
    movingMeasured: str = ""
    measuredGrowth: str = ""

    @property
    def counterpart(self) -> Point:
        """Where the nodule is in the scan in which it was not marked."""
        return self.fixed if self.markedIn == "moving" else self.moving

    @property
    def correction(self) -> float:
        """mm between the prediction and where the nodule is now."""
        return float(np.linalg.norm(np.subtract(self.counterpart, self.predicted)))

    @property
    def isCorrected(self) -> bool:
        return self.correction > TINY_MM

    @property
    def isDecided(self) -> bool:
        """True where the reader has put work into the row that must not be lost."""
        typed = "typed" in (self.fixedDiameterFrom, self.movingDiameterFrom)
        typed = typed or bool(self.noduleType or self.fixedSolidPart or self.movingSolidPart)
        return self.status != NOT_REVIEWED or bool(self.comment) or typed or self.isCorrected

    def propagated(self, result: Point, description: str = "") -> PropagatedPoint:
        """The nodule as a point propagated to `result`; description: of its mark."""
        source = self.moving if self.markedIn == "moving" else self.fixed
        beyond = self.insideMoving == "no"
        inField = self.insideField == "yes" or beyond
        return PropagatedPoint(self.label, description, source, result, self.residual, inField, not beyond)


# What the columns are called; a point takes three. The first must never be empty: Slicer's table files would
# lose it, and shift the rest of the line.
HEADERS = {
    "markedIn": "Marked in",
    "label": "Label",
    "fixed": "Fixed",
    "moving": "Moving",
    "predicted": "Predicted",
    "displacement": "Displacement (mm)",
    "expansionPercent": "Expansion of the tissue around, moving/fixed (%)",
    "residual": "Inverse residual (mm)",
    "agreement": "Local agreement (0 to 1)",
    "uncertainty": "Position uncertainty (± mm, 95 %)",
    "insideField": "Inside field and scans",
    "insideMoving": "Inside the moving scan",
    "advice": "Advice",
    "reason": "Reason",
    "status": "Status",
    "comment": "Comment",
    "fixedDiameter": "Diameter fixed (mm)",
    "fixedDiameterFrom": "Diameter fixed from",
    "movingDiameter": "Diameter moving (mm)",
    "movingDiameterFrom": "Diameter moving from",
    "growth": "Growth",
    "doublingDays": "Volume doubling time (days)",
    "point": "Point",
    "noduleType": "Nodule type",
    "fixedSolidPart": "Solid part fixed (mm)",
    "movingSolidPart": "Solid part moving (mm)",
    "fixedMeasured": "Measured in fixed",
    "movingMeasured": "Measured in moving",
    "measuredGrowth": "Growth as measured",
}
POINTS = ("fixed", "moving", "predicted")
# Columns that older tables lack; the next review fills them.
LATER = (
    *("expansionPercent", "uncertainty", "advice", "insideMoving"),
    *("noduleType", "fixedSolidPart", "movingSolidPart", "fixedMeasured", "movingMeasured"),
    "measuredGrowth",
)
# What tables of 0.1.0 call a column.
FORMER = {"Inverse residual (mm)": "Round-trip residual (mm)"}
NUMBERS = {field.name for field in fields(Row) if field.type == "float"}


def readRows(tableNode: slicer.vtkMRMLTableNode) -> list[Row]:
    """The rows of a review table; none where the node holds no such table."""
    table = tableNode.GetTable()
    columns = {name: [_column(table, one) for one in _columns(name)] for name in HEADERS}
    missing = {name for name, group in columns.items() if any(column is None for column in group)}
    if missing - set(LATER):
        return []

    def value(name: str, row: int):
        if name in missing:
            return 0.0 if name in NUMBERS else ""
        cells = [column.GetVariantValue(row) for column in columns[name]]
        if name in POINTS:
            return tuple(cell.ToDouble() for cell in cells)
        return cells[0].ToDouble() if name in NUMBERS else cells[0].ToString()

    return [Row(**{name: value(name, row) for name in HEADERS}) for row in range(table.GetNumberOfRows())]


def writeRows(tableNode: slicer.vtkMRMLTableNode, rows: Sequence[Row]) -> None:
    """Replaces what the table node holds."""
    columns: list[tuple[str, list]] = []
    for name in HEADERS:
        values = [getattr(row, name) for row in rows]
        parts = [[value[axis] for value in values] for axis in range(3)] if name in POINTS else [values]
        columns += zip(_columns(name), parts, strict=True)
    numeric = {header for name in (*POINTS, *NUMBERS) for header in _columns(name)}
    setColumns(tableNode, columns, numeric)


def setColumns(
    tableNode: slicer.vtkMRMLTableNode, columns: Sequence[tuple[str, Sequence]], numeric: set[str]
) -> None:
    """Replaces a table node's columns (header, values): numbers for headers in `numeric`, else text."""
    table = vtk.vtkTable()
    for header, values in columns:
        array = vtk.vtkDoubleArray() if header in numeric else vtk.vtkStringArray()
        array.SetName(header)
        for value in values:
            array.InsertNextValue(value if header in numeric else plainText(value))
        table.AddColumn(array)
    with slicer.util.NodeModify(tableNode):
        tableNode.SetUseColumnTitleAsColumnHeader(True)
        tableNode.SetLocked(True)
        tableNode.SetAndObserveTable(table)


def describeRow(row: Row, names: dict[str, str] | None = None) -> str:
    """The row for a reader, in a few lines; names: what a reader calls the "fixed" and the "moving" scan."""
    names = names or {"fixed": "fixed", "moving": "moving"}
    lines = [f"{row.label}, marked in the {names[row.markedIn]} scan."]
    for scan in ("fixed", "moving"):
        lines.append(f"{names[scan].capitalize()} scan: {written(getattr(row, scan))}")
    lines.append(
        f"Displacement {row.displacement:.1f} mm; position uncertainty {uncertaintyText(row)}; "
        f"local agreement {row.agreement:.2f} of 1."
    )
    if row.advice:
        lines.append(f"{row.advice.capitalize()}: {row.reason}.")
    if row.insideMoving == "no":
        lines.append(f"Outside the {names['moving']} scan: nothing could be compared there.")
    for scan in ("moving", "fixed"):
        if text := getattr(row, f"{scan}Measured"):
            lines.append(f"{names[scan].capitalize()} scan, size: {text}.")
    if row.isCorrected:
        lines.append(f"Corrected by {row.correction:.1f} mm; predicted: {written(row.predicted)}")
    return "\n".join(lines)


def uncertaintyText(row: Row) -> str:
    """How well the place is known, such as "± 1.8 mm"."""
    return f"± {row.uncertainty:.1f} mm" if row.uncertainty else "unknown"


def plainText(text: str) -> str:
    """Text that survives in Slicer's table files, which keep neither tabs, line ends nor quotation marks."""
    return " ".join(text.split()).replace('"', "'")


def written(point: Point) -> str:
    """A point (RAS mm) as every page and report writes it."""
    return patient_position((-point[0], -point[1], point[2]))


def _column(table: vtk.vtkTable, header: str) -> vtk.vtkAbstractArray | None:
    return table.GetColumnByName(header) or table.GetColumnByName(FORMER.get(header, header))


def _columns(name: str) -> list[str]:
    return [f"{HEADERS[name]} {axis} (mm)" for axis in "RAS"] if name in POINTS else [HEADERS[name]]
