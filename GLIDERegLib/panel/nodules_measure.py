"""The section "Measure" of the page "Nodules": sizes in both original scans, their outlines, corrections."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from GLIDERegLib.core.errors import GlideRegError, InputError
from GLIDERegLib.panel.child import pythonExecutable
from GLIDERegLib.panel.choices import ChoiceBox
from GLIDERegLib.panel.nodules_views import PairViews
from GLIDERegLib.panel.remedies import said
from GLIDERegLib.panel.timers import lookTimer
from GLIDERegLib.scene.registration.identity import scanNames
from GLIDERegLib.scene.registration.pair import Pair
from GLIDERegLib.scene.review.measured_review import MeasuredReview, openSegmentEditor
from GLIDERegLib.scene.review.measurements import (
    EDITED,
    SCANS,
    measurementOf,
    readMeasurements,
    writeMeasurements,
)
from GLIDERegLib.scene.review.measuring import NoduleMeasuring
from GLIDERegLib.scene.review.table import Row

EDITED_MILLISECONDS = 500  # a choice: a stroke of the Segment Editor tells several changes
DRAWN = _("This outline is the reader's own: change it in the Segment Editor.")


class MeasureSection:
    """ui: the widgets of GLIDERegNodules.ui.

    pair: called for what is reviewed; raises InputError. rows: called for the rows of the table, and row for
    the selected one. measured: called after each change of what is measured.
    """

    def __init__(
        self,
        ui,
        pair: Callable[[], Pair],
        rows: Callable[[], Sequence[Row]],
        row: Callable[[], Row | None],
        measured: Callable[[], None],
    ):
        self.ui = ui
        self._pair, self._rows, self._row, self._onMeasured = pair, rows, row, measured
        self._node = None
        self._review: MeasuredReview | None = None
        self._tags: list[tuple] = []
        self._measuring = NoduleMeasuring(pythonExecutable())
        self._timer = lookTimer(self._poll)
        self._editTimer = qt.QTimer()
        self._editTimer.setSingleShot(True)
        self._editTimer.setInterval(EDITED_MILLISECONDS)
        self._editTimer.connect("timeout()", self._takeEdits)
        self._scan = ChoiceBox(ui.measureScanCombo, [(scan, scan, "") for scan in SCANS], lambda _scan: None)
        for button, act in (
            (ui.measureButton, self.measureSelected),
            (ui.largerButton, lambda: self.resize(1)),
            (ui.smallerButton, lambda: self.resize(-1)),
            (ui.measureUndoButton, self.undo),
        ):
            button.connect("clicked()", act)
        self._views = PairViews(ui.sideBySideButton, pair, row, self.show)
        ui.measureAllButton.connect("clicked()", self.measureAll)
        ui.measureEditButton.connect("clicked()", self.edit)
        self._say("")

    def setParameterNode(self, node) -> None:
        # None first: views that are given back ask for nothing of the node before.
        self._node = None
        self._stop()
        self._views.close()
        self._node = node

    def close(self) -> None:
        self.setParameterNode(None)

    def enable(self, days: float | None) -> None:
        """What can be measured now; days: between the scans, as the reader typed them."""
        ui, rows, row = self.ui, self._rows(), self._row()
        try:
            pair, problem = self._pair(), ""
            names = scanNames(pair, days)
            self._scan.fill([(scan, names[scan], "") for scan in SCANS], self._scan.value)
        except InputError as error:
            problem = said(error)
        ui.measureAllButton.enabled = bool(rows) and not problem
        ui.sideBySideButton.enabled = not problem or self._views.shown
        for button in (ui.measureButton, ui.largerButton, ui.smallerButton, ui.measureEditButton):
            button.enabled = row is not None and not problem
        ui.measureUndoButton.enabled = self._review is not None and self._review.canUndo

    def measureSelected(self) -> None:
        """Measures the selected nodule in both scans, also where the reader had corrected it."""
        if self._row() is not None:
            self._start([self._row()], again=True)

    def measureAll(self) -> None:
        """Measures all nodules in both scans; what the reader has corrected stays."""
        self._start(self._rows(), again=False)

    def resize(self, by: int) -> None:
        """Makes the outline of the selected nodule in the chosen scan larger or smaller, and measures it."""
        row, scan = self._row(), self._scan.value
        if row is None or (review := self._open()) is None:
            return
        one = review.of((row.markedIn, row.point, scan))
        if one is not None and one.source == EDITED:
            self._say(DRAWN)
            return
        pending = self._measuring.step((row.markedIn, row.point, scan))
        step = pending if pending is not None else one.step if one is not None else None
        self._add(lambda: [review.target(row, scan, 0 if step is None else step + by)])

    def undo(self) -> None:
        """Takes back what was measured or corrected last."""
        if self._review is not None and self._review.canUndo:
            self._review.undo()
            self._store()

    def edit(self) -> None:
        """Opens Slicer's Segment Editor on the outline of the selected nodule in the chosen scan."""
        row, scan = self._row(), self._scan.value
        if row is None or (review := self._open()) is None:
            return
        segmentation, segment = review.segmentFor(row, scan)
        self._store()
        self._observe()
        openSegmentEditor(segmentation, segment, getattr(review.pair, scan))

    def show(self) -> None:
        """Shows the selected nodule side by side where that is wanted, and the outlines in their scans."""
        self._views.moveToSelected()
        if (review := self._open()) is not None:
            review.show()

    def _start(self, rows: Sequence[Row], again: bool) -> None:
        review = self._open()
        if review is None:
            return

        def kept(row: Row, scan: str) -> bool:
            one = review.of((row.markedIn, row.point, scan))
            return not again and one is not None and one.corrected

        self._views.show()
        self._add(lambda: [review.target(row, s) for row in rows for s in SCANS if not kept(row, s)])

    def _add(self, targets: Callable[[], Sequence]) -> None:
        try:
            with slicer.util.WaitCursor():
                self._measuring.add(targets())
        except InputError as error:
            self._say(said(error))
            return
        self._tell()
        self._timer.start()

    def _open(self) -> MeasuredReview | None:
        """What is measured of the pair that is reviewed now."""
        if self._node is None:
            return None
        try:
            pair = self._pair()
        except InputError as error:
            self._say(said(error))
            return None
        if self._review is None or self._review.pair != pair:
            self._stop()
            found = readMeasurements(self._node.measureTable)
            self._review = MeasuredReview(pair, found, self._node.daysBetween)
            self._observe()
        return self._review

    def _observe(self) -> None:
        """Watches the outlines, which the reader may edit in Slicer."""
        for segmentation, tag in self._tags:
            segmentation.RemoveObserver(tag)
        review = self._review
        self._tags = review.observe(lambda *_: self._editTimer.start()) if review is not None else []

    def _poll(self) -> None:
        review = self._review
        if self._node is None or review is None:
            return
        labels = {(row.markedIn, row.point): row.label for row in self._rows()}
        try:
            found = self._measuring.poll()
        except InputError as error:
            self._say(said(error))
            found = []
        for target, measured, mask in found:
            # The nodule may have left the table meanwhile.
            if target.key[:2] in labels:
                label = labels[target.key[:2]]
                review.put(measurementOf(target.key, label, measured, step=target.step), mask)
        if found:
            self._store()
        if not self._measuring.active:
            self._timer.stop()
        self._tell()

    def _takeEdits(self) -> None:
        review = self._review
        if self._node is None or review is None:
            return
        if self._measuring.active:
            self._editTimer.start()
            return
        try:
            edited = review.takeEdits()
        except GlideRegError as error:
            self._say(said(error))
            return
        if edited:
            self._store()

    def _store(self) -> None:
        node, review = self._node, self._review
        if node.measureTable is None:
            name = slicer.mrmlScene.GenerateUniqueName(_("Nodule measurements"))
            node.measureTable = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
        writeMeasurements(node.measureTable, review.measurements)
        self._observe()
        review.show()
        self._onMeasured()

    def _stop(self) -> None:
        self._timer.stop()
        self._editTimer.stop()
        self._measuring.close()
        self._review = None
        self._observe()
        self._say("")

    def _tell(self) -> None:
        if self._measuring.failure:
            self._say(said(self._measuring.failure))
        elif self._measuring.active:
            self._say(_("Measuring: {number} left.").format(number=self._measuring.number))
        else:
            self._say("")

    def _say(self, text: str) -> None:
        self.ui.measureLabel.text = text
        self.ui.measureLabel.visible = bool(text)
