"""The page "4D study": every frame of a sequence registered to one of them, nodules followed through all."""

from __future__ import annotations

from pathlib import Path

import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.panel import choices
from GLIDERegLib.panel.binding import ParameterBinding, showTable
from GLIDERegLib.panel.choices import ChoiceBox
from GLIDERegLib.panel.keys import STUDY, PageKeys
from GLIDERegLib.panel.patients import confirmOnePatient
from GLIDERegLib.panel.registration import BUSY, RegistrationPanel
from GLIDERegLib.panel.remedies import said
from GLIDERegLib.panel.run import RunController
from GLIDERegLib.panel.run_view import RunView
from GLIDERegLib.panel.saving import askFolder
from GLIDERegLib.panel.texts import sequenceRunningText, sequenceSummary
from GLIDERegLib.scene.registration.identity import describeStudy, sequenceMismatch
from GLIDERegLib.scene.sequence.nodes import (
    SequenceResults,
    browserOf,
    frameText,
    sequenceOf,
    shownVolume,
    usualReference,
)
from GLIDERegLib.scene.sequence.tracks import exportTables
from GLIDERegLib.scene.views.sequence_views import showChart, showFrames
from GLIDERegLib.worker.job import State

AUTOMATIC = "0"
AMPLITUDE_WIDTHS = (88, 54, 54, 54, 54)


class SequencePage:
    """Keeps widgets, parameter node and run in step. ui: the widgets of GLIDERegSequence.ui; logic: the
    module's. registrationPanel: the page Register, whose settings and prerequisites are this page's too.
    """

    def __init__(self, ui, logic, registrationPanel: RegistrationPanel):
        self.ui = ui
        self.logic = logic
        self._register = registrationPanel
        self.node = None
        self._binding = ParameterBinding(ui, self._nodeModified)
        # What steps through the frames.
        self._browser: slicer.vtkMRMLSequenceBrowserNode | None = None
        self._browserTag = None
        self._view = RunView(
            ui.startButton,
            ui.stopButton,
            ui.studyProgressBar,
            ui.studyProgressLabel,
            ui.studyMessageLabel,
            lambda: logic.sequenceRegistration,
            sequenceRunningText,
            self.enable,
        )
        self._run = RunController(
            self,
            registrationPanel.prerequisites,
            lambda: logic.sequenceRegistration,
            lambda: logic.busy,
            view=self._view,
        )
        self._reference = ChoiceBox(
            ui.referenceCombo, [], lambda n: self._binding.set("sequenceReference", int(n))
        )
        self._preset = ChoiceBox(
            ui.qualityCombo, choices.choicesOf("name"), lambda name: self._binding.set("preset", name)
        )
        ui.studyPatientCheck.connect("toggled(bool)", lambda _checked: self._showIdentity())
        ui.startButton.connect("clicked()", self.apply)
        ui.stopButton.connect("clicked()", self.cancel)
        ui.frameSlider.connect("valueChanged(int)", self._step)
        ui.overlayButton.connect("clicked()", self.showOverlay)
        ui.plotButton.connect("clicked()", lambda: showChart(self.node.sequenceChart))
        ui.studySaveButton.connect("clicked()", self.saveTables)
        self.keys = PageKeys(
            STUDY,
            ui.studyResultsSection,
            {"overlay": ui.overlayButton, "plot": ui.plotButton},
            {"next": lambda: self._walk(1), "previous": lambda: self._walk(-1)},
        )
        self._view.showIdle()

    # The parameter node

    def setParameterNode(self, node) -> None:
        """Shows another parameter node, or none while a scene is closed or comes in."""
        if not self._binding.isTo(node):
            self.node = node
            self._binding.bind(node)
        self._nodeModified()

    def _nodeModified(self) -> None:
        node = self.node
        self._watch(node and self._volumes() and browserOf(self._volumes()))
        if node is not None:
            self._fillReferences()
            self._preset.show(node.preset)
        showTable(self.ui.tracksView, node and node.sequenceTable)
        showTable(self.ui.amplitudeView, node and node.sequenceAmplitude, AMPLITUDE_WIDTHS)
        self._showIdentity()
        self.enable()

    def _showIdentity(self) -> None:
        """Of what date the study is, and whose."""
        volumes, label = self._volumes(), self.ui.studyIdentityLabel
        shown = shownVolume(volumes) if volumes is not None and browserOf(volumes) is not None else None
        label.text = describeStudy(shown, self.ui.studyPatientCheck.checked)
        label.visible = bool(label.text)

    def _volumes(self) -> slicer.vtkMRMLSequenceNode | None:
        return sequenceOf(self.node.sequence) if self.node is not None else None

    def _fillReferences(self) -> None:
        volumes, offered = self._volumes(), [(AUTOMATIC, _("Automatic"), "")]
        if volumes is not None and (count := volumes.GetNumberOfDataNodes()):
            usual = _("Automatic: {frame}").format(frame=frameText(volumes, usualReference(volumes)))
            toolTip = _("End-exhale, where one frame's name says that it is that; else the first frame.")
            offered = [(AUTOMATIC, usual, toolTip)]
            offered += [(str(n + 1), frameText(volumes, n), "") for n in range(count)]
        self._reference.fill(offered, str(self.node.sequenceReference))

    # What can be done now

    def enter(self) -> None:
        """The page is looked at; the sequence may have got frames, and others may register meanwhile."""
        self._register.prerequisites.look()
        if not self._run.running:
            self._nodeModified()

    def problem(self) -> str | None:
        node = self.node
        if node is None:
            return _("There is no scene.")
        problem = self.logic.sequenceProblem(node) or self._register.weightsProblem(node)
        return problem or (BUSY if self._run.blocked else None)

    def enable(self) -> None:
        """Apply as the inputs allow, with the reason where they do not."""
        ui, node, busy = self.ui, self.node, self._run.occupied
        self._run.look()
        problem = self.problem()
        ui.frameSlider.enabled = self._browser is not None
        ui.overlayButton.enabled = node is not None and self._shownOver() is not None
        ui.plotButton.enabled = node is not None and node.sequenceChart is not None
        ui.studySaveButton.enabled = bool(self._tables())
        self._view.enable(problem, busy, _("Register every frame of the study to the reference frame."))

    # The run

    def apply(self) -> None:
        """Starts the registration, after installing what is missing if the user agrees."""
        node = self.node
        if self._run.occupied or self.problem():
            return
        # The question lets events through.
        if confirmOnePatient(sequenceMismatch(self._volumes()), self._view.say) and node is self.node:
            self._run.request(self.logic.startSequence)

    def cancel(self) -> None:
        """Ends the run; frames that are done are kept."""
        self.logic.sequenceRegistration.cancel()
        self._view.showRun()

    def abandon(self) -> None:
        """Ends the run at once, for its scene is being closed."""
        self._run.abandon()

    def close(self) -> None:
        """Ends everything, for the panel or Slicer is being closed."""
        self.abandon()
        self.setParameterNode(None)
        self._run.close()

    # What is shown of it

    def showEnd(self) -> None:
        registration = self.logic.sequenceRegistration
        self._view.showIdle()
        if registration.results is not None:
            self._adopt(registration.results)
            self.showOverlay()
            self._view.tell(sequenceSummary(registration))
            self._view.say(registration.warnings)
        elif registration.state is State.CANCELLED:
            self._view.tell(_("Cancelled; nothing was changed."))
        else:
            unknown = _("The results could not be put into the scene; Slicer's error log says why.")
            self._view.say([said(registration.error) if registration.error else unknown])

    def _adopt(self, results: SequenceResults) -> None:
        node = self.node
        with slicer.util.NodeModify(node.parameterNode):
            node.sequenceFixed, node.sequenceWarped = results.reference, results.warped
            node.sequenceTable, node.sequenceChart = results.table, results.chart
            node.sequenceAmplitude = results.amplitude

    def _tables(self) -> dict[str, slicer.vtkMRMLTableNode]:
        """The tables that are shown, by the names of their files."""
        if self.node is None:
            return {}
        named = {"amplitude.csv": self.node.sequenceAmplitude, "displacement.csv": self.node.sequenceTable}
        return {name: table for name, table in named.items() if table is not None}

    def saveTables(self) -> None:
        """Asks for a folder and writes the tables there."""
        folder = askFolder(_("Save the tables"))
        # The scene may have been closed while the dialog was open.
        if not folder or not (tables := self._tables()):
            return
        try:
            exportTables(Path(folder), tables)
        except InputError as error:
            self._view.say([said(error)])
            return
        self._view.tell(_("Written: {names}.").format(names=", ".join(tables)))

    # The results in the views

    def _shownOver(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """What is to be seen over the reference: the present frame, warped where that was wanted."""
        node = self.node
        if node.sequenceFixed is None or self._browser is None:
            return None
        warped = node.sequenceWarped and self._browser.GetProxyNode(node.sequenceWarped)
        return warped or shownVolume(self._volumes())

    def showOverlay(self) -> None:
        """Shows the reference frame and, over it, the present one."""
        if (over := self._shownOver()) is not None:
            showFrames(self.node.sequenceFixed, over)

    def _watch(self, browser: slicer.vtkMRMLSequenceBrowserNode | None) -> None:
        """Follows a browser as it steps, and no other any more."""
        if browser is not self._browser:
            if self._browser is not None:
                self._browser.RemoveObserver(self._browserTag)
            self._browser = browser
            if browser is not None:
                self._browserTag = browser.AddObserver(vtk.vtkCommand.ModifiedEvent, self._showFrame)
        self._showFrame()

    def _showFrame(self, caller=None, event=None) -> None:
        ui, volumes = self.ui, self._volumes()
        if self._browser is None or volumes is None or (count := volumes.GetNumberOfDataNodes()) == 0:
            ui.frameLabel.text = ""
            return
        number = min(max(self._browser.GetSelectedItemNumber(), 0), count - 1)
        ui.frameSlider.maximum = count - 1
        ui.frameSlider.value = number
        ui.frameLabel.text = frameText(volumes, number)

    def _walk(self, by: int) -> None:
        """The next (1) or the previous (-1) frame, as far as there is one."""
        if self._browser is not None:
            self.ui.frameSlider.value += by

    def _step(self, number: int) -> None:
        if self._browser is not None and self._browser.GetSelectedItemNumber() != number:
            self._browser.SetSelectedItemNumber(number)
