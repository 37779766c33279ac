"""The page "Follow-up": dated scans of one patient registered one after the other, their nodules followed."""

from __future__ import annotations

from collections.abc import Sequence

import slicer.util
from slicer.i18n import tr as _

from GLIDERegLib.evaluation.follow_up.study import Study
from GLIDERegLib.files.patients import patients_of_dates
from GLIDERegLib.panel import choices
from GLIDERegLib.panel.binding import ParameterBinding
from GLIDERegLib.panel.choices import ChoiceBox
from GLIDERegLib.panel.follow_up_results import NoduleDates
from GLIDERegLib.panel.follow_up_scans import ScanList
from GLIDERegLib.panel.keys import FOLLOW_UP, PageKeys
from GLIDERegLib.panel.registration import BUSY, RegistrationPanel
from GLIDERegLib.panel.remedies import said
from GLIDERegLib.panel.run import RunController
from GLIDERegLib.panel.run_view import RunView
from GLIDERegLib.panel.texts import followUpRunningText
from GLIDERegLib.scene.follow_up.results import cellSpots, sameNodules, writeStudy
from GLIDERegLib.scene.follow_up.scans import SceneScan, scansProblem
from GLIDERegLib.worker.job import State


class FollowUpPage:
    """Keeps widgets, parameter node and run in step. ui: the widgets of GLIDERegFollowUp.ui; logic: the
    module's. registrationPanel: the page Register, whose settings and prerequisites are this page's too.
    """

    def __init__(self, ui, logic, registrationPanel: RegistrationPanel):
        self.ui = ui
        self.logic = logic
        self._register = registrationPanel
        self.node = None
        # Of the study that this session made last.
        self._table = None
        self._binding = ParameterBinding(ui, self._nodeModified)
        self._view = RunView(
            ui.followUpStartButton,
            ui.followUpStopButton,
            ui.followUpProgressBar,
            ui.followUpProgressLabel,
            ui.followUpMessageLabel,
            lambda: logic.followUp,
            followUpRunningText,
            self.enable,
        )
        self._run = RunController(
            self,
            registrationPanel.prerequisites,
            lambda: logic.followUp,
            lambda: logic.busy,
            view=self._view,
        )
        self.scanList = ScanList(ui, lambda text: self._view.say([text] if text else []))
        self.nodules = NoduleDates(ui, self._study, self._made, lambda text: self._view.say([text]))
        self._preset = ChoiceBox(
            ui.followUpPresetCombo,
            choices.choicesOf("name"),
            lambda name: self._binding.set("preset", name),
        )
        self.keys = PageKeys(
            FOLLOW_UP,
            ui.followUpResultsSection,
            {
                "dates": ui.followUpDatesButton,
                "plot": ui.followUpPlotButton,
                "undo": ui.followUpUndoButton,
                "redo": ui.followUpRedoButton,
                "done": ui.followUpDoneButton,
            },
            {
                "next": lambda: self.nodules.step(1),
                "previous": lambda: self.nodules.step(-1),
                "comment": lambda: ui.followUpCommentEdit.setFocus(),
                **self.nodules.readers.keys,
            },
        )
        ui.followUpStartButton.connect("clicked()", self.apply)
        ui.followUpStopButton.connect("clicked()", self.cancel)
        ui.followUpPatientCheck.connect("toggled(bool)", lambda _checked: self.enable())
        self._view.showIdle()

    # The parameter node

    def setParameterNode(self, node) -> None:
        """Shows another parameter node, or none while a scene is closed or comes in."""
        if not self._binding.isTo(node):
            self.node = node
            self._binding.bind(node)
            self.ui.followUpPatientCheck.checked = False
        self._nodeModified()

    def _nodeModified(self) -> None:
        node = self.node
        self.scanList.show(node)
        self.nodules.show(node)
        if node is not None:
            self._preset.show(node.preset)
        self.enable()

    def _study(self) -> tuple[Sequence[SceneScan], int]:
        return self.scanList.scans, self.scanList.reference

    def _made(self) -> tuple[Study | None, list[str]]:
        """The study whose tables are shown, and its warnings; None where another session made them."""
        run, shown = self.logic.followUp, self.node is not None and self.node.followUpTable
        made = run.study if shown is not None and shown is self._table else None
        return made, run.warnings if made else []

    # What can be done now

    def enter(self) -> None:
        """The page is looked at; volumes may have come and gone, and others may register meanwhile."""
        self._register.prerequisites.look()
        if not self._run.running:
            self._nodeModified()

    def problem(self) -> str | None:
        if self.node is None:
            return _("There is no scene.")
        problem = scansProblem(self.scanList.scans, self.ui.followUpPatientCheck.checked)
        problem = problem or self._register.weightsProblem(self.node)
        return problem or (BUSY if self._run.blocked else None)

    def enable(self) -> None:
        """Apply as the scans allow, with the reason where they do not."""
        ui, busy = self.ui, self._run.occupied
        self._run.look()
        problem = self.problem()
        patients = {scan.name: scan.patient for scan in self.scanList.scans}
        ui.followUpPatientCheck.visible = bool(patients_of_dates(patients))
        self.scanList.enable(not busy)
        toolTip = _(
            "Register every scan that is not registered yet, measure every marked nodule in its own scan, "
            "and tell which are the same."
        )
        self._view.enable(problem, busy, toolTip)

    # The run

    def apply(self) -> None:
        """Starts the run, after installing what is missing if the user agrees."""
        self._run.request(self._start)

    def _start(self, node) -> None:
        self.logic.startFollowUp(node, *self._study(), self.ui.followUpPatientCheck.checked)

    def cancel(self) -> None:
        """Ends the run; the registrations that are done stay."""
        self.logic.followUp.cancel()
        self._view.showRun()

    def abandon(self) -> None:
        """Ends the run at once, for its scene is being closed."""
        self.nodules.close()
        self._run.abandon()

    def close(self) -> None:
        """Ends everything, for the panel or Slicer is being closed."""
        self.abandon()
        self.setParameterNode(None)
        self._run.close()

    # What is shown of it

    def showEnd(self) -> None:
        run = self.logic.followUp
        self._nodeModified()
        self._view.showIdle()
        if run.study is not None:
            self._adopt(run.study)
            told = _("Nodules: {number}; scans: {scans}.")
            self._view.tell(told.format(number=len(run.study.nodules), scans=len(run.study.scans)))
            self._view.say(run.warnings)
        elif run.state is State.CANCELLED:
            told = _("Cancelled; registrations that stay: {done} of {total}.")
            self._view.tell(told.format(done=run.done, total=run.total))
        else:
            unknown = _("The run failed; Slicer's error log says why.")
            self._view.say([said(run.error) if run.error else unknown])

    def _adopt(self, study) -> None:
        node = self.node
        before = cellSpots(node.followUpCells)
        tables = writeStudy(study, node.followUpTable, node.followUpCells, node.followUpGrowth)
        self.nodules.readers.takeOver(sameNodules(before, cellSpots(tables.cells)))
        with slicer.util.NodeModify(node.parameterNode):
            node.followUpTable, node.followUpCells = tables.table, tables.cells
            node.followUpGrowth = tables.growth
        self._table = tables.table
        self.nodules.show(node)
