"""How far two ways end apart, by region, as the sections of the page "Check" show it."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

COLUMNS = (_("Region"), _("Mean"), _("95 %"), _("Largest"))
WIDTHS = (150, 48, 48, 60)
FIGURES = ("mean", "p95", "max")


class ResidualTable:
    """view: a QTableWidget for the figures; label: for what is said of them, hidden while that is nothing."""

    def __init__(self, view, label):
        self._view, self._label = view, label
        view.setColumnCount(len(COLUMNS))
        view.setHorizontalHeaderLabels(COLUMNS)
        for column, width in enumerate(WIDTHS):
            view.setColumnWidth(column, width)

    def fill(self, report: dict[str, Any] | None) -> None:
        """Shows what `glidereg consistency` has reported (mm); nothing where there is no report."""
        view = self._view
        view.visible = report is not None
        if report is None:
            self.tell("")
            return
        rows = {_("everywhere"): report["residual_mm"], **report["regions_mm"]}
        view.setRowCount(len(rows))
        for row, (region, figures) in enumerate(rows.items()):
            for column, text in enumerate([region, *(f"{figures[name]:.2f}" for name in FIGURES)]):
                view.setItem(row, column, qt.QTableWidgetItem(text))
        whole = report["residual_mm"]
        text = _("Both ways end {mean:.2f} mm apart on average (mm in the table), at {n} points.")
        lines = [text.format(mean=whole["mean"], n=whole["n"])]
        if report["left_out"]:
            share = 100 * report["left_out"]
            lines.append(_("{share:.0f} % of the points lie beyond a field.").format(share=share))
        self.tell(" ".join(lines))

    def tell(self, text: str) -> None:
        self._label.text = text
        self._label.visible = bool(text)
