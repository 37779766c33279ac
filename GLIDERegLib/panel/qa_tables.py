"""The tables of the page "QA": what was looked at, and numbers beside tolerances that the reader may type."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import qt
from slicer.i18n import tr as _

from GLIDERegLib.evaluation.record.numbers import Number
from GLIDERegLib.evaluation.record.record import Look
from GLIDERegLib.panel.plain import plain

SETTING = "GLIDEReg/SiteTolerances"
LOOKED = (_("What"), _("First seen, UTC"))
NUMBERS = (_("Number"), _("Value"), _("Tolerance"), "")
TOLERANCE = 2
# Readable on light and dark backgrounds.
WARNING_COLOR = "#d03030"


def siteTolerances() -> dict[str, float]:
    """The site's own, by a number's name; kept with Slicer's settings, not with a scene."""
    try:
        kept = json.loads(str(qt.QSettings().value(SETTING) or "{}"))
        return {str(name): float(most) for name, most in kept.items()}
    except (ValueError, AttributeError, TypeError):
        # Written by somebody else.
        return {}


def keepTolerances(tolerances: dict[str, float]) -> None:
    """Keeps the site's tolerances, by a number's name."""
    qt.QSettings().setValue(SETTING, json.dumps(tolerances))


class QaTables:
    """ui: the widgets of GLIDERegQA.ui. changed: called when a tolerance was typed or taken away, with the
    site's tolerances as they were and as they are.
    """

    def __init__(self, ui, changed: Callable[[dict[str, float], dict[str, float]], None]):
        self.ui = ui
        self._onChanged = changed
        self._numbers: Sequence[Number] = ()
        self._filling = False
        for view, heads, widths in (
            (ui.qaLookedView, LOOKED, (205,)),
            (ui.qaNumbersView, NUMBERS, (122, 62, 58, 70)),
        ):
            view.setColumnCount(len(heads))
            view.setHorizontalHeaderLabels(heads)
            for column, width in enumerate(widths):
                view.setColumnWidth(column, width)
        ui.qaNumbersView.connect("itemChanged(QTableWidgetItem*)", self._typed)

    def showLooked(self, looked: Sequence[Look]) -> None:
        self._fill(self.ui.qaLookedView, [(look.what, look.when[:16].replace("T", " ")) for look in looked])

    def showNumbers(self, numbers: Sequence[Number]) -> None:
        self._numbers = numbers
        words = {None: "", True: _("within"), False: _("exceeded")}
        rows = [
            (
                number.name,
                _("not known") if number.value is None else f"{number.value:.2f} {number.unit}".strip(),
                "" if number.tolerance is None else f"{number.tolerance:g}",
                words[number.within],
            )
            for number in numbers
        ]
        self._fill(self.ui.qaNumbersView, rows, editable=TOLERANCE)
        for row, number in enumerate(numbers):
            if number.within is False:
                item = self.ui.qaNumbersView.item(row, len(NUMBERS) - 1)
                item.setForeground(qt.QBrush(qt.QColor(WARNING_COLOR)))

    def _fill(self, view, rows: Sequence[Sequence[str]], editable: int = -1) -> None:
        self._filling = True
        view.setRowCount(len(rows))
        for row, texts in enumerate(rows):
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(plain(text))
                if column != editable:
                    item.setFlags(qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled)
                view.setItem(row, column, item)
        # Names with their region take three lines.
        view.resizeRowsToContents()
        self._filling = False

    def _typed(self, item: qt.QTableWidgetItem) -> None:
        if self._filling or item.column() != TOLERANCE:
            return
        name, text = self._numbers[item.row()].name, item.text().strip().replace(",", ".")
        before = siteTolerances()
        kept = {other: most for other, most in before.items() if other != name}
        try:
            kept |= {name: float(text)} if text and float(text) >= 0 else {}
        except ValueError:
            # No number: as if it were empty.
            pass
        keepTolerances(kept)
        self._onChanged(before, kept)
