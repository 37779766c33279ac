"""The page "Follow-up": dated scans of one patient registered one after the other, their nodules followed."""

from __future__ import annotations

from collections.abc import Sequence

import slicer.util
from slicer.i18n import tr as _

from GLIDERegLib.files.patients import patients_of_dates
from GLIDERegLib.panel import choices
from GLIDERegLib.panel.binding import ParameterBinding
from GLIDERegLib.panel.choices import ChoiceBox
from GLIDERegLib.panel.follow_up_results import NoduleDates
from GLIDERegLib.panel.follow_up_scans import ScanList
from GLIDERegLib.panel.keys import FOLLOW_UP, PageKeys
from GLIDERegLib.panel.registration import BUSY, RegistrationPanel
from GLIDERegLib.panel.run import RunController
from GLIDERegLib.panel.texts import followUpRunningText
from GLIDERegLib.scene.follow_up.results import writeStudy
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
        self._binding = ParameterBinding(ui, self._nodeModified)
        self._run = RunController(
            self, registrationPanel.prerequisites, lambda: logic.followUp, lambda: logic.busy
        )
        self.scanList = ScanList(ui, lambda text: self.say([text] if text else []))
        self.nodules = NoduleDates(ui, self._study, lambda text: self.say([text]))
        self._preset = ChoiceBox(
            ui.followUpPresetCombo,
            choices.choicesOf("name"),
            lambda name: self._binding.set("preset", name),
        )
        self.keys = PageKeys(
            FOLLOW_UP,
            ui.followUpResultsSection,
            {"dates": ui.followUpDatesButton, "plot": ui.followUpPlotButton},
            {"next": lambda: self.nodules.step(1), "previous": lambda: self.nodules.step(-1)},
        )
        ui.followUpStartButton.connect("clicked()", self.apply)
        ui.followUpStopButton.connect("clicked()", self.cancel)
        ui.followUpPatientCheck.connect("toggled(bool)", lambda _checked: self.enable())
        self.showIdle()

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
        ui.followUpStartButton.enabled = problem is None and not busy
        ui.followUpStartButton.toolTip = problem or _(
            "Register every scan that is not registered yet, measure every marked nodule in its own scan, "
            "and tell which are the same."
        )
        ui.followUpStopButton.enabled = self.logic.followUp.state is not State.CANCELLING
        self.scanList.enable(not busy)
        if not busy:
            self.say([problem] if problem else [])

    def say(self, sentences: list[str]) -> None:
        self.ui.followUpMessageLabel.text = "\n".join(sentences)
        self.ui.followUpMessageLabel.visible = bool(sentences)

    # The run

    def apply(self) -> None:
        """Starts the run, after installing what is missing if the user agrees."""
        self._run.request(self._start)

    def _start(self, node) -> None:
        self.logic.startFollowUp(node, *self._study(), self.ui.followUpPatientCheck.checked)

    def cancel(self) -> None:
        """Ends the run; the registrations that are done stay."""
        self.logic.followUp.cancel()
        self.showRun()

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

    def showLooking(self) -> None:
        self.ui.followUpProgressLabel.text = _("Looking at what is installed...")
        self.enable()

    def showStarted(self) -> None:
        self.say([])
        self.showRun()

    def showIdle(self) -> None:
        ui = self.ui
        ui.followUpProgressBar.visible = ui.followUpStopButton.visible = False
        ui.followUpStartButton.visible = True
        ui.followUpProgressLabel.text = ""
        self.enable()

    def showRun(self) -> None:
        run, ui = self.logic.followUp, self.ui
        ui.followUpStartButton.visible = False
        ui.followUpProgressBar.visible = ui.followUpStopButton.visible = True
        ui.followUpProgressBar.value = round(100 * run.overall)
        cancelling = run.state is State.CANCELLING
        ui.followUpProgressLabel.text = _("Cancelling...") if cancelling else followUpRunningText(run)
        self.enable()

    def showEnd(self) -> None:
        run = self.logic.followUp
        self._nodeModified()
        self.showIdle()
        if run.study is not None:
            self._adopt(run.study)
            self.ui.followUpProgressLabel.text = _("{number} nodules in {scans} scans.").format(
                number=len(run.study.nodules), scans=len(run.study.scans)
            )
            self.say(run.warnings)
        elif run.state is State.CANCELLED:
            self.ui.followUpProgressLabel.text = _("Cancelled; {done} of {total} registrations stay.").format(
                done=run.done, total=run.total
            )
        else:
            unknown = (_("The run failed; Slicer's error log says why."),)
            self.say([" ".join(run.error or unknown).strip()])

    def _adopt(self, study) -> None:
        node = self.node
        tables = writeStudy(study, node.followUpTable, node.followUpCells, node.followUpGrowth)
        with slicer.util.NodeModify(node.parameterNode):
            node.followUpTable, node.followUpCells = tables.table, tables.cells
            node.followUpGrowth = tables.growth
        self.nodules.show(node)
