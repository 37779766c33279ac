"""The nodules on their page: the list to walk through, and what is known and decided of the selected one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import qt
from slicer.i18n import tr as _

from GLIDERegLib.panel.choices import ChoiceBox
from GLIDERegLib.panel.plain import plain
from GLIDERegLib.scene.review.table import ACCEPTED, REJECTED, UNSURE, Row, describeRow, uncertaintyText

COLUMNS = (_("Nodule"), _("Position"), _("Status"), _("Diam. (mm)"))
WIDTHS = (66, 94, 88)
# As Lung-RADS and the Fleischner Society call them.
NODULE_TYPES = (_("solid"), _("part-solid"), _("ground glass"), _("calcified"), _("perifissural"))
# Readable on light and dark backgrounds.
REVIEW_COLOR = "#c17a00"


class NoduleTable:
    """Shows rows, of which one is selected. ui: the widgets of GLIDERegNodules.ui.

    selected(row) is called when another row is selected, changed(row) with the selected row as the reader
    has changed it: a status, the comment or a diameter.
    """

    def __init__(self, ui, selected: Callable[[Row], None], changed: Callable[[Row], None]):
        self.ui = ui
        self._onSelected, self._onChanged = selected, changed
        self._rows: list[Row] = []
        self._names: dict[str, str] | None = None
        self._showing = False
        ui.reviewView.setColumnCount(len(COLUMNS))
        ui.reviewView.setHorizontalHeaderLabels(COLUMNS)
        for column, width in enumerate(WIDTHS):
            ui.reviewView.setColumnWidth(column, width)
        ui.reviewView.connect("itemSelectionChanged()", self._selectionChanged)
        ui.commentEdit.connect("textChanged(QString)", lambda text: self._change(comment=text))
        for scan, box in (("fixed", ui.fixedDiameterBox), ("moving", ui.movingDiameterBox)):
            box.connect("valueChanged(double)", lambda size, scan=scan: self._typeDiameter(scan, size))
        for scan, box in (("fixed", ui.fixedSolidBox), ("moving", ui.movingSolidBox)):
            box.connect("valueChanged(double)", lambda size, scan=scan: self._typeSolidPart(scan, size))
        self._type = ChoiceBox(
            ui.noduleTypeCombo,
            [("", _("not told"), ""), *((name, name, "") for name in NODULE_TYPES)],
            lambda name: self._change(noduleType=name),
        )
        for button, act in (
            (ui.previousButton, lambda: self.step(-1)),
            (ui.nextButton, lambda: self.step(1)),
            (ui.acceptButton, lambda: self._change(status=ACCEPTED)),
            (ui.rejectButton, lambda: self._change(status=REJECTED)),
            (ui.unsureButton, lambda: self._change(status=UNSURE)),
        ):
            button.connect("clicked()", act)

    @property
    def current(self) -> int:
        """The selected row's number, -1 where none is."""
        number = self.ui.reviewView.currentRow()
        return number if number < len(self._rows) else -1

    @property
    def row(self) -> Row | None:
        """The selected row."""
        return self._rows[self.current] if self.current >= 0 else None

    def show(self, rows: Sequence[Row], names: dict[str, str] | None = None) -> None:
        """Shows other rows, or the same ones changed; the selection stays at its place.

        names: what the reader calls the "fixed" and the "moving" scan.
        """
        view, self._names = self.ui.reviewView, names
        self._rows = list(rows)
        self._showing = True
        view.setRowCount(len(rows))
        for n, row in enumerate(rows):
            place = f"{uncertaintyText(row)}, review" if row.advice else uncertaintyText(row)
            texts = (row.label, place, row.status, diameterText(row))
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(plain(row.reason))
                if column == 1 and row.advice:
                    item.setForeground(qt.QBrush(qt.QColor(REVIEW_COLOR)))
                view.setItem(n, column, item)
        self._showing = False
        self._showRow()

    def select(self, number: int) -> None:
        """Selects a row, and so brings the views to its nodule."""
        self.ui.reviewView.selectRow(number)

    def step(self, by: int) -> None:
        """Selects the next (1) or the previous (-1) row, as far as there is one."""
        if self._rows:
            self.select(min(max(self.current + by, 0), len(self._rows) - 1))

    def _selectionChanged(self) -> None:
        if self._showing:
            return
        self._showRow()
        if self.row is not None:
            self._onSelected(self.row)

    def _showRow(self) -> None:
        row, ui = self.row, self.ui
        self._showing = True
        ui.detailLabel.text = (
            describeRow(row, self._names) if row else _("Select a nodule to see it in all views.")
        )
        ui.growthLabel.text = growthText(row) or _("Measure the nodule in both scans, or type its diameters.")
        self._type.show(row.noduleType if row else "")
        ui.fixedSolidBox.value = row.fixedSolidPart if row else 0.0
        ui.movingSolidBox.value = row.movingSolidPart if row else 0.0
        ui.fixedDiameterBox.value = row.fixedDiameter if row else 0.0
        ui.movingDiameterBox.value = row.movingDiameter if row else 0.0
        comment = row.comment if row else ""
        # Writing the same text would move the cursor while the reader types.
        if ui.commentEdit.text != comment:
            ui.commentEdit.text = comment
        self._showing = False
        for button in (ui.previousButton, ui.nextButton):
            button.enabled = bool(self._rows)
        for widget in (
            ui.acceptButton,
            ui.rejectButton,
            ui.unsureButton,
            ui.commentEdit,
            ui.fixedDiameterBox,
            ui.movingDiameterBox,
            ui.noduleTypeCombo,
            ui.fixedSolidBox,
            ui.movingSolidBox,
        ):
            widget.enabled = row is not None
        ui.predictionButton.enabled = row is not None and row.isCorrected

    def _change(self, **changes) -> None:
        if self.row is not None and not self._showing:
            self._onChanged(replace(self.row, **changes))

    def _typeDiameter(self, scan: str, size: float) -> None:
        self._change(**{f"{scan}Diameter": size, f"{scan}DiameterFrom": "typed" if size else ""})

    def _typeSolidPart(self, scan: str, size: float) -> None:
        self._change(**{f"{scan}SolidPart": size})


def diameterText(row: Row) -> str:
    """The diameters from the moving to the fixed scan, mm; a star where the reader gave or corrected one."""
    if not (row.fixedDiameter or row.movingDiameter):
        return ""
    sizes = [f"{size:.1f}" if size else "?" for size in (row.movingDiameter, row.fixedDiameter)]
    readers = {"typed", "line", "corrected"} & {row.fixedDiameterFrom, row.movingDiameterFrom}
    return f"{sizes[0]} → {sizes[1]}{' *' if readers else ''}"


def growthText(row: Row | None) -> str:
    """Growth as measured, then as typed or drawn, a line for each sentence."""
    if row is None:
        return ""
    typed = f"As typed or drawn: {row.growth}" if row.growth and row.measuredGrowth else row.growth
    return "\n".join(line for text in (row.measuredGrowth, typed) if text for line in text.split("; "))
