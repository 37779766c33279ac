"""The page "Nodules": propagated nodules judged, walked through and corrected; lists matched; growth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.panel.binding import ParameterBinding, showTable
from GLIDERegLib.panel.keys import NODULES, PageKeys
from GLIDERegLib.panel.nodules_history import NodulesHistory
from GLIDERegLib.panel.nodules_measure import MeasureSection
from GLIDERegLib.panel.nodules_table import NoduleTable
from GLIDERegLib.panel.patients import confirmOnePatient
from GLIDERegLib.panel.plain import plain
from GLIDERegLib.panel.remedies import said
from GLIDERegLib.panel.report import ReportButton
from GLIDERegLib.scene.registration.identity import describePair, patientMismatch, scanNames
from GLIDERegLib.scene.report.folder import ReportInputs
from GLIDERegLib.scene.review.judging import Judge
from GLIDERegLib.scene.review.matching import describeMatching, matchLists, writeMatching
from GLIDERegLib.scene.review.measurements import measuredRows, readMeasurements
from GLIDERegLib.scene.review.nodes import Review, chosenReview, setEditable, takeMoves
from GLIDERegLib.scene.review.sizes import daysBetween, grown, measureRows
from GLIDERegLib.scene.review.table import NOT_REVIEWED, Row, readRows, writeRows
from GLIDERegLib.scene.views.review_views import showNodule

CHANGED = _("The transform or the nodules have changed: press Review nodules to bring the table up to date.")
LOST = _(
    "These nodules are no longer in the lists: {labels}. Remove them from the table, with what you decided "
    "on them?"
)
MOVED = _(
    "These nodules are now predicted at least 1 mm away from where you decided on them: {labels}. Keep your "
    "decisions and corrections? No sets them to not reviewed; comments stay."
)
STALE_MILLISECONDS = 300
# Pixels: verdict, both labels and the distance fit into the panel beside each other.
MATCH_WIDTHS = (96, 56, 66, 110)


class NodulesPage:
    """Keeps table, lists and views in step. ui: the widgets of GLIDERegNodules.ui; logic: the module's."""

    def __init__(self, ui, logic):
        self.ui = ui
        self.logic = logic
        self._node = None
        self._binding = ParameterBinding(ui, self._nodeModified)
        # Of the table node, which holds them too.
        self._rows: list[Row] = []
        self._tableNode: slicer.vtkMRMLTableNode | None = None
        # While points can be dragged.
        self._judge: Judge | None = None
        self._observed: list = []
        self._tags: list[tuple] = []
        self._table = NoduleTable(ui, self._selected, self._changed)
        self._history = NodulesHistory(ui, self._say, self._put)
        self._measure = MeasureSection(
            ui,
            lambda: self._review().pair,
            lambda: self._rows,
            lambda: self._table.row,
            self._measured,
        )
        ui.updateButton.connect("clicked()", self.update)
        ui.matchButton.connect("clicked()", self.match)
        ui.patientCheckBox.connect("toggled(bool)", lambda _checked: self._enable())
        ui.editButton.connect("toggled(bool)", self.edit)
        ui.predictionButton.connect("clicked()", self.backToPrediction)
        self.keys = PageKeys(
            NODULES,
            ui.nodulesReviewSection,
            {
                "next": ui.nextButton,
                "previous": ui.previousButton,
                "accept": ui.acceptButton,
                "reject": ui.rejectButton,
                "unsure": ui.unsureButton,
                "edit": ui.editButton,
                "prediction": ui.predictionButton,
                "undo": ui.undoButton,
                "redo": ui.redoButton,
                "measure": ui.measureButton,
                "larger": ui.largerButton,
                "smaller": ui.smallerButton,
                "outline": ui.measureUndoButton,
                "sideBySide": ui.sideBySideButton,
            },
            {"comment": lambda: ui.commentEdit.setFocus()},
        )
        self._report = ReportButton(ui.reportButton, ui.reportLabel, self._reportInputs)
        self._staleTimer = qt.QTimer()
        self._staleTimer.setSingleShot(True)
        self._staleTimer.setInterval(STALE_MILLISECONDS)
        self._staleTimer.connect("timeout()", self._lookForChanges)
        self._say("")
        self._show()

    # The parameter node

    def setParameterNode(self, node) -> None:
        """Shows another parameter node, or none while a scene is closed or comes in."""
        if self._binding.isTo(node):
            return
        self.ui.editButton.checked = False
        self._history.clear()
        self._node = node
        self._measure.setParameterNode(node)
        self._binding.bind(node)
        self._nodeModified()

    def enter(self) -> None:
        """The page is looked at: the result of a registration is what will be reviewed."""
        node = self._node
        if node is not None and node.checkTransform is None and node.outputTransform is not None:
            node.checkTransform = node.outputTransform
        self._lookForChanges()

    def close(self) -> None:
        """The panel or Slicer is being closed."""
        self._staleTimer.stop()
        self._report.close()
        self._measure.close()
        self.setParameterNode(None)

    def _nodeModified(self) -> None:
        self._observe()
        showTable(self.ui.matchView, self._node and self._node.matchTable, MATCH_WIDTHS)
        table = self._node.reviewTable if self._node is not None else None
        if table is not self._tableNode:
            # Another one, or it was deleted, and what was decided with it.
            self.ui.editButton.checked = False
            self._history.clear()
            self._tableNode = table
            self._rows = [] if table is None else readRows(table)
            self._table.show(self._rows)
        self._enable()

    def _observe(self) -> None:
        """Watches the transform and the propagated lists that are chosen now."""
        node = self._node
        nodes = [] if node is None else [node.checkTransform, node.nodulesInFixed, node.nodulesInMoving]
        if nodes == self._observed:
            return
        for watched, tag in self._tags:
            watched.RemoveObserver(tag)
        markups = slicer.vtkMRMLMarkupsNode
        moved = {slicer.vtkMRMLTransformableNode.TransformModifiedEvent: lambda *_: self._staleTimer.start()}
        dragged = {
            markups.PointStartInteractionEvent: lambda *_: self._history.seal(),
            markups.PointModifiedEvent: self._listModified,
        }
        self._observed, self._tags = nodes, []
        for watched, calls in zip(nodes, (moved, dragged, dragged), strict=False):
            for event, call in calls.items() if watched is not None else ():
                self._tags.append((watched, watched.AddObserver(event, call)))

    def _review(self) -> Review:
        """What is reviewed. Raises InputError, saying what is missing."""
        if self._node is None:
            raise InputError(_("There is no scene."))
        return chosenReview(self._node)

    def _reportInputs(self) -> ReportInputs:
        pair = self._review().pair
        table = self._node.reviewTable
        if table is None:
            raise InputError(_("Press 'Review nodules' first: the report tells what was decided."))
        return ReportInputs(pair.fixed, pair.moving, self._node.checkTransform, review=table)

    def _days(self, review: Review) -> float | None:
        return self._node.daysBetween or daysBetween(review.pair)

    def _names(self) -> dict[str, str] | None:
        """What the reader calls the two scans; None while no pair is chosen."""
        try:
            return scanNames(self._review().pair, self._node.daysBetween)
        except InputError:
            return None

    def _say(self, text: str) -> None:
        self.ui.messageLabel.text = text
        self.ui.messageLabel.visible = bool(text)

    def _enable(self) -> None:
        ui, problem = self.ui, ""
        try:
            pair = self._review().pair
            ui.pairLabel.text = describePair(pair, self._node.daysBetween, ui.patientCheckBox.checked)
        except InputError as error:
            ui.pairLabel.text = problem = said(error)
        ui.updateButton.enabled = not problem
        tip = problem or _("Propagates the nodules, judges each, and fills the table.")
        ui.updateButton.toolTip = plain(tip)
        ui.matchButton.enabled = ui.editButton.enabled = bool(self._rows) and not problem
        self._measure.enable(self._node.daysBetween if self._node is not None else None)

    # The table

    def update(self) -> None:
        """Propagates and judges the nodules anew; no decision is lost without asking."""
        node = self._node
        try:
            with slicer.util.WaitCursor():
                review = self._review()
                plan = review.plan(self._node.reviewTable)
        except InputError as error:
            self._say(said(error))
            return
        reason = patientMismatch((review.pair.fixed, review.pair.moving))
        if not confirmOnePatient(reason, lambda texts: self._say(texts[0])):
            return
        if plan.lost and not _confirmed(LOST, plan.lost):
            return
        keep = not plan.moved or _confirmed(MOVED, plan.moved)
        with slicer.util.WaitCursor():
            # Questions and the cursor let events through, and the scene may have been closed.
            if self._node is not node:
                return
            self.ui.editButton.checked = False
            days = self._days(review)
            self._rows = self._withMeasured(measureRows(plan.merged(keep), review.pair, days), days)
            # What was decided before was decided on other places.
            self._history.clear()
            self._writeNodes(review)
        self._say("")
        self._show()

    def _writeNodes(self, review: Review) -> None:
        node, propagated = self._node, {}
        if "moving" in review.lists:
            propagated["moving"] = node.nodulesInFixed = review.propagatedList("moving", node.nodulesInFixed)
        if "fixed" in review.lists:
            propagated["fixed"] = node.nodulesInMoving = review.propagatedList("fixed", node.nodulesInMoving)
        table = node.reviewTable
        if table is None:
            table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", _("Nodule review"))
        review.apply(self._rows, table, propagated)
        node.reviewTable = table

    def _lookForChanges(self) -> None:
        if self._node is not None and self._node.reviewTable is not None:
            self._say("" if self._isUpToDate() else CHANGED)

    def _isUpToDate(self) -> bool:
        try:
            return not self._review().isStale(self._node.reviewTable)
        except InputError:
            return False

    def _show(self) -> None:
        self._table.show(self._rows, self._names())
        self._enable()

    # One nodule

    def _selected(self, row: Row) -> None:
        try:
            showNodule(row.fixed, row.moving, self._review().pair)
        except InputError as error:
            self._say(said(error))
            return
        self._measure.show()
        self._enable()

    def _changed(self, row: Row) -> None:
        """The reader has decided, written or measured something."""
        before, row = self._rows[self._table.current], grown(row, self._daysKnown())
        self._rows[self._table.current] = row
        self._store()
        self._history.record(self._node.reviewTable, before, row)

    def _daysKnown(self) -> float | None:
        try:
            return self._days(self._review())
        except InputError:
            # The scans are gone; what the reader says still counts.
            return self._node.daysBetween or None

    def _measured(self) -> None:
        """Nodules were measured in the original scans, or the reader corrected an outline."""
        self._rows = self._withMeasured(self._rows, self._daysKnown())
        self._store()

    def _withMeasured(self, rows: list[Row], days: float | None) -> list[Row]:
        return measuredRows(rows, readMeasurements(self._node.measureTable), days)

    def _store(self) -> None:
        writeRows(self._node.reviewTable, self._rows)
        self._show()

    def edit(self, editable: bool) -> None:
        """Unlocks the propagated nodules, so that they can be dragged, or locks them again."""
        if self._node is None:
            return
        if editable and not self._isUpToDate():
            self.ui.editButton.checked = False
            self._say(CHANGED)
            return
        self._judge = self._review().judge() if editable else None
        for listNode in (self._node.nodulesInFixed, self._node.nodulesInMoving):
            if listNode is not None:
                setEditable(listNode, editable)

    def _listModified(self, listNode, event) -> None:
        """A point was dragged, or changed in another module, while the list is open for it."""
        if self._judge is None or listNode.GetLocked():
            return
        scan = "moving" if listNode is self._node.nodulesInFixed else "fixed"
        rows = takeMoves(self._judge, self._rows, listNode, scan)
        if rows == self._rows:
            return
        before, self._rows = self._rows, rows
        self._store()
        for old, row in zip(before, rows, strict=True):
            self._history.record(self._node.reviewTable, old, row)

    def backToPrediction(self) -> None:
        """Puts the selected nodule back to where the transform propagates it, not reviewed."""
        try:
            review, row = self._review(), self._table.row
        except InputError as error:
            self._say(said(error))
            return
        back = replace(review.judge().moved(row, row.predicted), status=NOT_REVIEWED)
        self._rows[self._table.current] = back
        self._writeMoved(review)
        self._history.record(self._node.reviewTable, row, back)

    def _writeMoved(self, review: Review) -> None:
        """Writes rows of which one has another place."""
        self._writeNodes(review)
        self.edit(self.ui.editButton.checked)
        self._show()

    # Undo

    def _put(self, row: Row, values: dict) -> None:
        """Writes fields of a nodule as they were at another time, and shows it. Raises InputError where its
        place must change and the scans are gone.
        """
        keys = [(one.markedIn, one.point) for one in self._rows]
        number = keys.index((row.markedIn, row.point))
        changed = replace(self._rows[number], **values)
        if changed.counterpart == self._rows[number].counterpart:
            self._rows[number] = changed
            self._store()
        else:
            review = self._review()
            self._rows[number] = changed
            self._writeMoved(review)
        self._table.select(number)

    # Match nodule lists

    def match(self) -> None:
        """Pairs the nodules of both lists; the moving scan's where they were propagated or corrected."""
        node = self._node
        review = self._review()
        names = scanNames(review.pair, node.daysBetween)
        matching = matchLists(self._rows, node.matchDistance, names)
        table = node.matchTable or slicer.mrmlScene.AddNewNodeByClass(
            "vtkMRMLTableNode", _("Nodule matching")
        )
        # Shown with its columns, which have no widths before they are there.
        writeMatching(table, matching)
        node.matchTable = table
        self.ui.matchLabel.text = describeMatching(matching)


def _confirmed(question: str, labels: Sequence[str]) -> bool:
    return slicer.util.confirmYesNoDisplay(plain(question.format(labels=", ".join(labels))))
