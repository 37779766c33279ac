"""The page "QA": the review of a registration after TG-132, from its request to a sealed record."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.evaluation.record.numbers import Number
from GLIDERegLib.evaluation.record.record import LEVELS, NO_LOGIN, Record, Request, State
from GLIDERegLib.panel.binding import ParameterBinding
from GLIDERegLib.panel.child import pythonExecutable
from GLIDERegLib.panel.choices import ChoiceBox
from GLIDERegLib.panel.hashing import Hashing
from GLIDERegLib.panel.keys import QA, PageKeys
from GLIDERegLib.panel.qa_contours import ContoursSection
from GLIDERegLib.panel.qa_history import QaHistory
from GLIDERegLib.panel.qa_tables import WARNING_COLOR, QaTables, keepTolerances, siteTolerances
from GLIDERegLib.panel.remedies import said
from GLIDERegLib.panel.saving import askFolder
from GLIDERegLib.panel.timers import lookTimer
from GLIDERegLib.scene.quality.contours import compared
from GLIDERegLib.scene.quality.landmark_nodes import regionTable
from GLIDERegLib.scene.quality.looked import seen, worstSeen
from GLIDERegLib.scene.quality.records import SceneRecord, hasRecord, latest, numbers, sign
from GLIDERegLib.scene.registration.dicom_objects import direction
from GLIDERegLib.scene.registration.pair import Pair, makePair, pairProblem

LEVEL_CHOICES = [("", _("Choose a level"), "")] + [
    (str(n), f"{n}: {_(text)}", "") for n, text in enumerate(LEVELS)
]


class QaPage:
    """Keeps widgets and parameter node in step. ui: the widgets of GLIDERegQA.ui.

    The registration is the one of the page Check. What was looked at and the records lie in the scene.
    """

    def __init__(self, ui):
        self.ui = ui
        self._node = None
        self._binding = ParameterBinding(ui, self._nodeModified)
        self._shown: Pair | None = None
        self._numbers: list[Number] = []
        self._latest: tuple[Record, State] | None = None
        self._filling = False
        self._tables = QaTables(ui, self._tolerancesTyped)
        self._contours = ContoursSection(ui, self._pair, self._showNumbers)
        self._level = ChoiceBox(
            ui.qaLevelCombo, LEVEL_CHOICES, lambda value: self._binding.set("qaLevel", value)
        )
        ui.qaRegionCombo.connect("editTextChanged(QString)", self._regionTyped)
        ui.qaSignButton.connect("clicked()", self.sign)
        ui.qaSaveButton.connect("clicked()", self.save)
        self._history = QaHistory(ui, self._say, self._putTolerances, self._showState)
        buttons = {
            "propagate": ui.qaPropagateButton,
            "lungs": ui.qaLungsButton,
            "sign": ui.qaSignButton,
            "save": ui.qaSaveButton,
            "undo": ui.qaUndoButton,
            "redo": ui.qaRedoButton,
        }
        self.keys = PageKeys(QA, ui.qaPairSection, buttons)
        ui.qaNoteLabel.text = _(NO_LOGIN)
        self._hashing = Hashing()
        self._saving = SceneRecord(pythonExecutable())
        self._timer = lookTimer(self._poll)
        self._say("")
        self._refresh()

    # The parameter node

    def setParameterNode(self, node) -> None:
        """Shows another parameter node, or none while a scene is closed or comes in."""
        if self._binding.isTo(node):
            return
        self._node = node
        self._history.show(node)
        self._binding.bind(node)
        if node is not None:
            self._nodeModified()
        else:
            self._refresh()

    def enter(self) -> None:
        """The page is looked at: scans and transform may have changed, and more may have been looked at."""
        self._refresh()

    def abandon(self) -> None:
        """Ends what is being written, for the scene is being closed."""
        self._timer.stop()
        self._hashing.close()
        self._saving.close()
        self._contours.close()

    def close(self) -> None:
        self.abandon()
        self.setParameterNode(None)

    def _nodeModified(self) -> None:
        self._history.follow()
        self._level.show(self._node.qaLevel)
        if self._pair() != self._shown:
            self._refresh()
        self._contours.show(self._node)
        self._showRegion()

    def _pair(self) -> Pair | None:
        node = self._node
        if node is None or pairProblem(node.checkFixed, node.checkMoving, node.checkTransform):
            return None
        return makePair(node.checkFixed, node.checkMoving, node.checkTransform, node.checkBack)

    # What is shown

    def _refresh(self) -> None:
        """Everything as the scene has it now."""
        pair = self._shown = self._pair()
        ui = self.ui
        ui.qaPairLabel.text = (
            direction(pair) if pair else _("Choose the transform and its two scans on the page Check first.")
        )
        self._contours.show(self._node)
        self._tables.showLooked(seen(pair) if pair else [])
        visited, worst = worstSeen(pair) if pair else (0, 0)
        ui.qaLookedLabel.text = (
            _("Worst landmarks looked at: {visited} of {worst}.").format(visited=visited, worst=worst)
            if worst
            else _("No landmarks: find them on the page Check.")
        )
        self._showNumbers()
        self._fillRegions(pair)
        self._showState()

    def _showNumbers(self) -> None:
        pair, node = self._shown, self._node
        self._numbers = []
        if pair is not None:
            marks = (node.checkFixedLandmarks, node.checkMovingLandmarks)
            self._numbers = numbers(pair, marks, compared(pair), siteTolerances())
        self._tables.showNumbers(self._numbers)
        self.ui.qaNumbersLabel.text = (
            _("Exceeding the tolerance: {number}.").format(
                number=sum(n.within is False for n in self._numbers)
            )
            if self._numbers
            else _("Nothing is known of its accuracy yet.")
        )

    def _tolerancesTyped(self, before: dict[str, float], after: dict[str, float]) -> None:
        self._history.tolerances(before, after)
        self._showNumbers()

    def _putTolerances(self, tolerances: dict[str, float]) -> None:
        keepTolerances(tolerances)
        self._showNumbers()

    def _showState(self) -> None:
        """Whether the newest record still holds, as soon as the scans are compared with it."""
        pair, self._latest = self._shown, None
        if pair is None or not hasRecord(pair):
            self._hashing.close()
            self._tellState()
            return
        self._hashing.whenKnown(pair, self._tellState)
        if self._hashing.active:
            self.ui.qaStateLabel.text = _("Comparing the scans with the record...")
            self.ui.qaStateLabel.setStyleSheet("")
            self.ui.qaSignButton.enabled = self.ui.qaSaveButton.enabled = False

    def _tellState(self) -> None:
        ui, pair = self.ui, self._shown
        self._latest, text, wrong = None, _("No record yet."), False
        if pair is not None:
            try:
                self._latest = latest(pair)
            except InputError as error:
                text, wrong = said(error), True
        if self._latest is not None:
            record, state = self._latest
            text = _("Record of {time} by {name}: level {level}, {words}. {state}").format(
                time=record.decision.time[:16].replace("T", " "),
                name=record.decision.name,
                level=record.decision.level,
                words=LEVELS[record.decision.level],
                state=state,
            )
            wrong = state.superseded
        ui.qaStateLabel.text = text
        ui.qaStateLabel.setStyleSheet(f"color: {WARNING_COLOR}; font-weight: bold" if wrong else "")
        ui.qaSignButton.enabled = pair is not None
        ui.qaSaveButton.enabled = self._latest is not None and not self._saving.active

    def _fillRegions(self, pair: Pair | None) -> None:
        """Offers the regions that landmarks tell of."""
        table = regionTable(pair) if pair else None
        names = [table.GetCellText(row, 0) for row in range(table.GetNumberOfRows())] if table else []
        self._filling = True
        self.ui.qaRegionCombo.clear()
        self.ui.qaRegionCombo.addItems(names)
        self._filling = False
        self._showRegion()

    def _showRegion(self) -> None:
        region = self._node.qaRegion if self._node else ""
        if self.ui.qaRegionCombo.currentText != region:
            self._filling = True
            self.ui.qaRegionCombo.setEditText(region)
            self._filling = False

    def _regionTyped(self, text: str) -> None:
        if not self._filling:
            self._binding.set("qaRegion", text)

    def _say(self, text: str) -> None:
        self.ui.qaMessageLabel.text = text
        self.ui.qaMessageLabel.visible = bool(text)

    # The decision

    def sign(self) -> None:
        """Seals the record of now."""
        self._refresh()
        pair, node = self._shown, self._node
        if pair is None:
            return
        if self._level.value not in map(str, range(len(LEVELS))):
            self._say(_("Choose a level."))
            return
        if not seen(pair) and not slicer.util.confirmOkCancelDisplay(
            _("Nothing of this registration was looked at on the page Check. The record will say so.")
        ):
            return
        request = Request(node.qaPurpose, node.qaRegion, node.qaAccuracy)
        level, name = int(self._level.value), self.ui.qaNameEdit.text
        decision = (request, self._numbers, level, node.qaRemarks, name)
        self._say(_("Reading the scans for the record..."))
        self._hashing.whenKnown(pair, lambda: self._seal(pair, decision))

    def _seal(self, pair: Pair, decision: tuple) -> None:
        try:
            record = sign(pair, *decision)
        except InputError as error:
            self._say(said(error))
        else:
            self._history.signed(pair, record)
            self._say(record.reached)
        self._showState()

    def save(self) -> None:
        """Writes the newest record into a folder that the user chooses."""
        folder = askFolder(_("Save the record"))
        # The scene may have been closed while the dialog was open.
        self._showState()
        if not folder or self._latest is None:
            return
        try:
            self._saving.start(*self._latest, folder, slicer.app.temporaryPath)
        except InputError as error:
            self._say(said(error))
            return
        self._say(_("Writing..."))
        self.ui.qaSaveButton.enabled = False
        self._timer.start()

    def _poll(self) -> None:
        try:
            page = self._saving.poll()
            failure = self._saving.failure
        except InputError as error:
            page, failure = None, error
        if self._saving.active:
            return
        self._timer.stop()
        self._showState()
        self._say(_("Record: {path}").format(path=page) if page else said(failure))
        if page:
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(page)))
