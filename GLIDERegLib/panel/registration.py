"""The registration panel: parameter node on one side, widgets on the other, and the run in between."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

from GLIDERegLib.panel import choices
from GLIDERegLib.panel.binding import ParameterBinding
from GLIDERegLib.panel.choices import ChoiceBox
from GLIDERegLib.panel.correction import CorrectionSection
from GLIDERegLib.panel.patients import confirmOnePatient
from GLIDERegLib.panel.plain import plain
from GLIDERegLib.panel.prerequisites import Prerequisites, needsWeights
from GLIDERegLib.panel.remedies import said
from GLIDERegLib.panel.run import RunController
from GLIDERegLib.panel.task import TaskSection
from GLIDERegLib.panel.texts import runningText, summary
from GLIDERegLib.panel.weights import describeCheckpoint
from GLIDERegLib.panel.weights_control import WeightsControl
from GLIDERegLib.scene.parameters import notesOf
from GLIDERegLib.scene.registration.checks import defaultVolumes, inputProblem, inputWarnings
from GLIDERegLib.scene.registration.identity import Scans, describePair, patientMismatch
from GLIDERegLib.scene.registration.outcome import Results
from GLIDERegLib.worker.job import State

BUSY = _("A registration is running already; cancel it or wait for its end.")


class RegistrationPanel:
    """Keeps widgets, parameter node and run in step. ui: the widgets of GLIDEReg.ui; logic: its logic."""

    def __init__(self, ui, logic):
        self.ui = ui
        self.logic = logic
        self.node = None
        self._binding = ParameterBinding(ui, self._nodeModified)
        self.prerequisites = Prerequisites(self._found, lambda failure: self.say([failure]))
        self._run = RunController(
            self,
            self.prerequisites,
            lambda: logic.registration,
            lambda: logic.busy,
            alsoTick=self._pollWeights,
        )
        self._ending = ""
        self._shownLog = 0
        self._boxes = {
            name: ChoiceBox(box, offered, lambda value, name=name: self._binding.set(name, value))
            for name, box, offered in (
                ("preset", ui.presetCombo, choices.choicesOf("name")),
                ("device", ui.deviceCombo, [choices.AUTOMATIC]),
                ("align", ui.alignCombo, choices.choicesOf("align")),
                ("features", ui.featuresCombo, choices.choicesOf("features")),
                ("encoder", ui.encoderCombo, []),
                ("reduction", ui.reductionCombo, choices.choicesOf("reduction")),
                ("sliceSize", ui.sliceSizeCombo, choices.choicesOf("encoder_input_size")),
            )
        }
        for setting, widget in (
            ("name", ui.presetCombo),
            ("device", ui.deviceCombo),
            ("align", ui.alignCombo),
            ("features", ui.featuresCombo),
            ("encoder", ui.encoderCombo),
            ("checkpoint", ui.checkpointEdit),
            ("reduction", ui.reductionCombo),
            ("encoder_input_size", ui.sliceSizeCombo),
            ("encoder_slice_step", ui.sliceStepSpin),
            ("spacing", ui.spacingSpin),
            ("search_range", ui.searchRangeSpin),
            ("threads", ui.threadsSpin),
            ("seed", ui.seedSpin),
        ):
            widget.toolTip = choices.toolTip(setting)
        self._task = TaskSection(ui, lambda: self.node)
        self._weights = WeightsControl(ui.weightsButton, self._weightsChanged)
        ui.checkpointEdit.connect("currentPathChanged(QString)", self._checkpointTyped)
        # All that is told of an emptied text.
        ui.checkpointEdit.connect("validInputChanged(bool)", self._checkpointTyped)
        ui.patientCheck.connect("toggled(bool)", lambda _checked: self._showPair())
        ui.applyButton.connect("clicked()", self.apply)
        ui.cancelButton.connect("clicked()", self.cancel)
        ui.keepButton.connect("clicked()", self.keep)
        self._correction = CorrectionSection(ui, self.correct)
        self.showIdle()

    # The parameter node

    def setParameterNode(self, node) -> None:
        """Shows another parameter node, or none while a scene is closed or comes in; proposes two scans."""
        if not self._binding.isTo(node):
            self.node = node
            self._binding.bind(node)
        if node is None:
            return
        if node.fixedVolume is None and node.movingVolume is None:
            node.fixedVolume, node.movingVolume = defaultVolumes(slicer.mrmlScene)
        self._nodeModified()

    def _nodeModified(self) -> None:
        for name, box in self._boxes.items():
            box.show(getattr(self.node, name))
        if self.ui.checkpointEdit.currentPath != self.node.checkpoint:
            self.ui.checkpointEdit.currentPath = self.node.checkpoint
        self._task.show()
        self._weights.show(self.node.encoder)
        self._showPair()
        self.enable()

    def _showPair(self) -> None:
        """Which scan is which, of what date, and whose."""
        node, label = self.node, self.ui.pairLabel
        scans = node and Scans(node.fixedVolume, node.movingVolume)
        chosen = scans is not None and None not in scans
        label.text = describePair(scans, showPatient=self.ui.patientCheck.checked) if chosen else ""
        label.visible = chosen

    def _checkpointTyped(self) -> None:
        self._binding.set("checkpoint", self.ui.checkpointEdit.currentPath)

    # What can be done now

    def enter(self) -> None:
        """The panel is looked at: find out, once and in the background, what this computer has."""
        self.prerequisites.look()
        if self.logic.busy and not self._run.running:
            self.enable()

    def problem(self) -> str | None:
        node = self.node
        if node is None:
            return _("There is no scene.")
        wanted = [
            name
            for name, make in (
                ("transform", node.makeTransform),
                ("volume", node.makeVolume),
                ("nodulesInFixed", node.makeNodulesInFixed and node.movingNodules is not None),
                ("nodulesInMoving", node.makeNodulesInMoving and node.fixedNodules is not None),
            )
            if make
        ]
        problem = inputProblem(node.fixedVolume, node.movingVolume, node.fixedMask, node.movingMask, wanted)
        return problem or self.weightsProblem(node) or (BUSY if self._run.blocked else None)

    def weightsProblem(self, node) -> str | None:
        """Why a run that a parameter node describes lacks SAM2's weights; None where it does not."""
        if needsWeights(node) and not self._weights.present:
            return _("Download the SAM2 model first, or choose the features MIND (local).")
        return None

    def enable(self) -> None:
        """Apply as the inputs allow, with the reason where they do not; warnings in sight."""
        busy = self._run.occupied
        self._run.look()
        problem = self.problem()
        ui = self.ui
        ui.applyButton.enabled = problem is None and not busy
        ui.applyButton.toolTip = plain(problem or _("Register the moving scan to the fixed scan."))
        self._correction.enable(self.node, busy)
        ui.cancelButton.enabled = self.logic.registration.state is not State.CANCELLING
        ui.keepButton.enabled = not self._ending
        ui.outputTransformSelector.enabled = ui.makeTransformCheck.checked
        ui.outputVolumeSelector.enabled = ui.makeVolumeCheck.checked
        ui.nodulesInFixedSelector.enabled = ui.makeNodulesInFixedCheck.checked
        ui.nodulesInMovingSelector.enabled = ui.makeNodulesInMovingCheck.checked
        if busy:
            return
        node = self.node
        if problem is None:
            self.say(
                notesOf(node)
                + inputWarnings(
                    node.fixedVolume,
                    node.movingVolume,
                    node.fixedMask,
                    node.movingMask,
                    node.initialTransform,
                )
            )
        else:
            self.say([problem])

    def say(self, sentences: list[str]) -> None:
        self.ui.messageLabel.text = "\n".join(sentences)
        self.ui.messageLabel.visible = bool(sentences)

    def _fillEncoders(self) -> None:
        offered = [
            (entry["name"], entry["name"], describeCheckpoint(entry)) for entry in self._weights.checkpoints
        ]
        self._boxes["encoder"].fill(offered, self.node and self.node.encoder)

    def _weightsChanged(self) -> None:
        """A SAM2 model is coming, has come, or has gone."""
        self._run.tick()
        self._fillEncoders()
        self.enable()

    # The run

    def apply(self) -> None:
        """Starts the registration, after installing what is missing if the user agrees."""
        node = self.node
        if self._run.occupied or self.problem():
            return
        reason = patientMismatch((node.fixedVolume, node.movingVolume))
        # The question lets events through.
        if confirmOnePatient(reason, self.say) and node is self.node:
            self._run.request(self._start)

    def correct(self) -> None:
        """Starts the correction of the present registration."""
        if not self._run.occupied:
            self._run.start(lambda node: self._start(node, self.logic.startCorrection))

    def _start(self, node, start: Callable | None = None) -> None:
        self.ui.logText.clear()
        self._shownLog = 0
        (start or self.logic.start)(node)

    def cancel(self) -> None:
        """Ends the run without a result."""
        self._ending = _("Cancelling...")
        self.logic.registration.cancel()
        self.enable()

    def keep(self) -> None:
        """Ends the run with the result so far."""
        self._ending = _("Stopping with the intermediate result...")
        self.logic.registration.keep()
        self.enable()

    def abandon(self) -> None:
        """Ends the run at once, for its scene is being closed."""
        self.prerequisites.forget()
        self._run.abandon()

    def close(self) -> None:
        """Ends everything, for the panel or Slicer is being closed."""
        self.prerequisites.close()
        self._weights.close()
        self.abandon()
        self.setParameterNode(None)
        self._run.close()

    def _pollWeights(self) -> bool:
        self._weights.poll()
        return self._weights.active

    def _found(self, findings: dict) -> None:
        """Takes in what this computer has."""
        devices = [(device["name"], device["label"], "") for device in findings["devices"]]
        self._boxes["device"].fill([choices.AUTOMATIC, *devices], self.node and self.node.device)
        self._weights.setCheckpoints(findings["checkpoints"])
        self._fillEncoders()
        if not findings["missing"] and not self._run.starting:
            # While the user chooses volumes.
            self.logic.registration.warm()
        self.enable()

    # What is shown of it

    def showLooking(self) -> None:
        if self.prerequisites.findings is None:
            self.ui.progressLabel.text = _("Looking at what is installed...")
            self.enable()

    def showStarted(self) -> None:
        self._ending = ""
        self.ui.progressLabel.text = ""
        self.say(self.logic.registration.warnings)
        self.enable()

    def showIdle(self) -> None:
        ui = self.ui
        ui.progressBar.visible = ui.cancelButton.visible = ui.keepButton.visible = False
        ui.applyButton.visible = True
        ui.progressLabel.text = ""
        self.enable()

    def showRun(self) -> None:
        registration, ui = self.logic.registration, self.ui
        ui.applyButton.visible = False
        ui.progressBar.visible = ui.cancelButton.visible = ui.keepButton.visible = True
        ui.progressBar.value = round(100 * registration.overall)
        self._showLog()
        ui.progressLabel.text = self._ending or runningText(registration)

    def showEnd(self) -> None:
        registration = self.logic.registration
        self._showLog()
        self.showIdle()
        if registration.results is not None:
            self._adopt(registration.results)
            self.ui.progressLabel.text = summary(registration.results, registration.device)
            self.say(registration.warnings)
        elif registration.state is State.CANCELLED:
            self.ui.progressLabel.text = _("Cancelled; nothing was changed.")
        else:
            self.say([said(registration.error)])

    def _showLog(self) -> None:
        log = self.logic.registration.log
        for line in log[self._shownLog :]:
            self.ui.logText.appendPlainText(line)
        self._shownLog = len(log)

    def _adopt(self, results: Results) -> None:
        """The next run updates the outputs of this one."""
        node = self.node
        with slicer.util.NodeModify(node.parameterNode):
            node.outputTransform = results.transform or node.outputTransform
            node.outputVolume = results.volume or node.outputVolume
            node.nodulesInFixed = results.nodulesInFixed or node.nodulesInFixed
            node.nodulesInMoving = results.nodulesInMoving or node.nodulesInMoving
