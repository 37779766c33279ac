"""The nodules of a study on the page "Follow-up": the table, the views of all dates, the curve, the files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple
from pathlib import Path

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.evaluation.follow_up.rows import NOT_MEASURED
from GLIDERegLib.evaluation.follow_up.study import Study
from GLIDERegLib.panel.follow_up_readers import Readers
from GLIDERegLib.panel.plain import plain
from GLIDERegLib.panel.remedies import said
from GLIDERegLib.panel.saving import askFolder
from GLIDERegLib.scene.follow_up.curve import drawCurve
from GLIDERegLib.scene.follow_up.decisions import Decision, shownTo
from GLIDERegLib.scene.follow_up.export import exportStudy
from GLIDERegLib.scene.follow_up.results import LAST, Spot, rowsOf, spotsOf
from GLIDERegLib.scene.follow_up.scans import SceneScan
from GLIDERegLib.scene.follow_up.views import DatesReading
from GLIDERegLib.scene.views.layout import hasLayouts
from GLIDERegLib.scene.views.sequence_views import showChart

# Pixels: three dates fit into the panel beside each other.
NUMBER_WIDTH, CELL_WIDTH = 54, 81
SELECT = _("Select a nodule to see it in all scans.")


class NoduleDates:
    """Shows the study that a parameter node holds. ui: the widgets of GLIDERegFollowUp.ui.

    scans: called for the scans in order of time and the number of the reference. study: called for the study
    whose tables are shown, None where it was made in another session, and its warnings. said: is called with
    what became of saving.
    """

    def __init__(
        self,
        ui,
        scans: Callable[[], tuple[Sequence[SceneScan], int]],
        study: Callable[[], tuple[Study | None, Sequence[str]]],
        said: Callable[[str], None],
    ):
        self.ui, self._scans, self._study, self._said = ui, scans, study, said
        self._node = None
        self._rows: list[list[str]] = []
        self._header: list[str] = []
        self.readers = Readers(ui, lambda: self.number, lambda: self.show(self._node), self.select, said)
        self._reading: DatesReading | None = None
        self._showing = False
        ui.followUpView.connect("itemSelectionChanged()", self._selected)
        ui.followUpDatesButton.connect("toggled(bool)", self.showDates)
        ui.followUpPlotButton.connect("clicked()", self.plot)
        ui.followUpExportButton.connect("clicked()", self.export)
        ui.followUpDetailLabel.text = SELECT

    def show(self, node) -> None:
        """Shows the study of a parameter node, or none."""
        self._node = node
        header, rows = rowsOf(node.followUpTable if node is not None else None)
        self.readers.show(node)
        if header:
            names, cells = self.readers.columns()
            header, rows = header + names, [row + cells(row[0]) for row in rows]
        if (header, rows) != (self._header, self._rows):
            self._fill(header, rows)
        if node is None:
            self.showDates(False)
        self._enable()

    @property
    def number(self) -> str:
        """Of the selected nodule; empty where none is."""
        row = self.ui.followUpView.currentRow()
        return self._rows[row][0] if 0 <= row < len(self._rows) else ""

    def step(self, by: int) -> None:
        """Selects the next (1) or the previous (-1) nodule, as far as there is one."""
        if self._rows:
            row = self.ui.followUpView.currentRow() + by
            self.ui.followUpView.selectRow(min(max(row, 0), len(self._rows) - 1))

    def select(self, number: str) -> None:
        """Selects a nodule by its number, where the study has it."""
        numbers = [row[0] for row in self._rows]
        if number in numbers:
            self.ui.followUpView.selectRow(numbers.index(number))

    def showDates(self, shown: bool) -> None:
        """Shows every scan in a view of its own, or the user's own layout again."""
        if shown == (self._reading is not None):
            return
        if self._reading is not None:
            self._reading.close()
            self._reading = None
        if shown:
            scans, reference = self._scans()
            if not scans or not hasLayouts(slicer.mrmlScene):
                self.ui.followUpDatesButton.checked = False
                return
            self._reading = DatesReading(scans, reference)
            # The views get their sizes when Qt lays them out.
            slicer.app.processEvents()
        self.ui.followUpDatesButton.checked = self._reading is not None
        if self._reading is not None and self.number:
            self._moveTo(self._spots())

    def plot(self) -> None:
        """Shows the growth curve of the selected nodule, in a layout that has room for it."""
        if self._node is not None and self.number:
            self._node.followUpChart = drawCurve(self._node.followUpChart, self.number, self._spots())
            self.showDates(False)
            showChart(self._node.followUpChart)

    def export(self) -> None:
        """Asks for a folder and writes the report and the tables there."""
        folder = askFolder(_("Save report and tables"))
        node = self._node
        # The scene may have been closed while the dialog was open.
        if not folder or node is None or node.followUpCells is None or node.followUpGrowth is None:
            return
        decisions = [astuple(one) for one in self._visibleDecisions()]
        study, warnings = self._study()
        try:
            with slicer.util.WaitCursor():
                names, left = exportStudy(
                    Path(folder), node.followUpCells, node.followUpGrowth, decisions, study, warnings
                )
        except InputError as error:
            self._said(said(error))
            return
        self._said("\n".join([_("Written: {names}.").format(names=", ".join(names)), *left]))

    def _visibleDecisions(self) -> list[Decision]:
        """What this reader may see."""
        shown = shownTo(self.readers.decisions, self.readers.name)
        return [one for found in shown.values() for one in found.values()]

    def close(self) -> None:
        """Gives the views back."""
        self.showDates(False)

    def _fill(self, header: list[str], rows: list[list[str]]) -> None:
        view, number = self.ui.followUpView, self.number
        self._header, self._rows, self._showing = header, rows, True
        view.clearSelection()
        view.setColumnCount(len(header))
        view.setHorizontalHeaderLabels(header)
        for column in range(len(header)):
            view.setColumnWidth(column, NUMBER_WIDTH if column == 0 else CELL_WIDTH)
        view.setRowCount(len(rows))
        for n, row in enumerate(rows):
            for column, text in enumerate(row):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(plain(text))
                view.setItem(n, column, item)
        selected = next((n for n, row in enumerate(rows) if row[0] == number), -1)
        if selected >= 0:
            view.selectRow(selected)
        else:
            self.ui.followUpDetailLabel.text = SELECT
        self._showing = False
        self.readers.show(self._node)

    def _spots(self) -> list[Spot]:
        return spotsOf(self._node.followUpCells, self.number) if self._node is not None else []

    def _selected(self) -> None:
        if self._showing or not self.number:
            return
        spots = self._spots()
        lines = [_("Nodule {number}").format(number=self.number)]
        for spot in spots:
            # Why it has no size stands in its notes.
            status = _("marked") if spot.status == NOT_MEASURED and spot.notes else spot.status
            lines.append(f"{spot.day}: {'; '.join(filter(None, (status, spot.notes)))}")
        # The column of growth is beyond the panel's edge.
        row = dict(zip(self._header, self._rows[self.ui.followUpView.currentRow()], strict=True))
        lines += filter(None, [row.get(LAST)])
        self.ui.followUpDetailLabel.text = "\n".join(lines)
        self.showDates(True)
        self._moveTo(spots)
        self.readers.show(self._node)
        self._enable()

    def _moveTo(self, spots: Sequence[Spot]) -> None:
        if self._reading is None:
            return
        points = {spot.day: spot.point for spot in spots}
        self._reading.moveTo([points.get(scan.day) for scan in self._scans()[0]])

    def _enable(self) -> None:
        ui, node = self.ui, self._node
        ui.followUpDatesButton.enabled = bool(self._scans()[0]) or self._reading is not None
        ui.followUpPlotButton.enabled = any(spot.volume for spot in self._spots()) if self.number else False
        ui.followUpExportButton.enabled = node is not None and None not in (
            node.followUpCells,
            node.followUpGrowth,
        )
