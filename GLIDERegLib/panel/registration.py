"""The registration panel: parameter node on one side, widgets on the other, and the run in between."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.panel import choices
from GLIDERegLib.panel.binding import ParameterBinding
from GLIDERegLib.panel.choices import ChoiceBox
from GLIDERegLib.panel.correction import CorrectionSection
from GLIDERegLib.panel.prerequisites import POLL_MILLISECONDS, Prerequisites, needsWeights
from GLIDERegLib.panel.texts import runningText, summary
from GLIDERegLib.panel.weights import describeCheckpoint
from GLIDERegLib.panel.weights_control import WeightsControl
from GLIDERegLib.scene.registration.checks import defaultVolumes, inputProblem, inputWarnings
from GLIDERegLib.scene.registration.outcome import Results
from GLIDERegLib.worker.job import State

BUSY = _("A registration is running already; cancel it or wait for its end.")


class RegistrationPanel:
    """Keeps widgets, parameter node and run in step. ui: the widgets of GLIDEReg.ui; logic: its logic."""

    def __init__(self, ui, logic):
        self.ui = ui
        self.logic = logic
        self._node = None
        self._binding = ParameterBinding(ui, self._nodeModified)
        self.prerequisites = Prerequisites(self._found, lambda failure: self._say([failure]))
        # Asked for, until it is known whether it can start.
        self._starting = False
        # Only a run that this panel started is its business; scripts may start others.
        self._running = False
        self._blocked = False
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
        self._weights = WeightsControl(ui.weightsButton, self._weightsChanged)
        ui.checkpointEdit.connect("currentPathChanged(QString)", self._checkpointTyped)
        # All that is told of an emptied text.
        ui.checkpointEdit.connect("validInputChanged(bool)", self._checkpointTyped)
        ui.applyButton.connect("clicked()", self.apply)
        ui.cancelButton.connect("clicked()", self.cancel)
        ui.keepButton.connect("clicked()", self.keep)
        self._correction = CorrectionSection(ui, self.correct)
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MILLISECONDS)
        self._timer.connect("timeout()", self._tick)
        self._showIdle()

    # The parameter node

    def setParameterNode(self, node) -> None:
        """Shows another parameter node, or none while a scene is closed or comes in; proposes two scans."""
        if not self._binding.isTo(node):
            self._node = node
            self._binding.bind(node)
        if node is None:
            return
        if node.fixedVolume is None and node.movingVolume is None:
            node.fixedVolume, node.movingVolume = defaultVolumes(slicer.mrmlScene)
        self._nodeModified()

    def _nodeModified(self) -> None:
        for name, box in self._boxes.items():
            box.show(getattr(self._node, name))
        if self.ui.checkpointEdit.currentPath != self._node.checkpoint:
            self.ui.checkpointEdit.currentPath = self._node.checkpoint
        self._weights.show(self._node.encoder)
        self._enable()

    def _checkpointTyped(self) -> None:
        self._binding.set("checkpoint", self.ui.checkpointEdit.currentPath)

    # What can be done now

    def enter(self) -> None:
        """The panel is looked at: find out, once and in the background, what this computer has."""
        self.prerequisites.look()
        if self.logic.busy and not self._running:
            self._enable()

    def _problem(self) -> str | None:
        node = self._node
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
        return problem or self.weightsProblem(node) or (BUSY if self._blocked else None)

    def weightsProblem(self, node) -> str | None:
        """Why a run that a parameter node describes lacks SAM2's weights; None where it does not."""
        if needsWeights(node) and not self._weights.present:
            return _("Download the SAM2 model first, or let the scans be compared by local structure.")
        return None

    def _enable(self) -> None:
        """Apply as the inputs allow, with the reason where they do not; warnings in sight."""
        busy = self._running or self._starting
        self._blocked = self.logic.busy and not self._running
        if self._blocked:
            # Its end is nobody's to tell.
            self._timer.start()
        problem = self._problem()
        ui = self.ui
        ui.applyButton.enabled = problem is None and not busy
        ui.applyButton.toolTip = problem or _("Register the moving scan to the fixed scan.")
        self._correction.enable(self._node, busy)
        ui.cancelButton.enabled = self.logic.registration.state is not State.CANCELLING
        ui.keepButton.enabled = not self._ending
        ui.outputTransformSelector.enabled = ui.makeTransformCheck.checked
        ui.outputVolumeSelector.enabled = ui.makeVolumeCheck.checked
        ui.nodulesInFixedSelector.enabled = ui.makeNodulesInFixedCheck.checked
        ui.nodulesInMovingSelector.enabled = ui.makeNodulesInMovingCheck.checked
        if busy:
            return
        node = self._node
        if problem is None:
            self._say(
                inputWarnings(
                    node.fixedVolume,
                    node.movingVolume,
                    node.fixedMask,
                    node.movingMask,
                    node.initialTransform,
                )
            )
        else:
            self._say([problem])

    def _say(self, sentences: list[str]) -> None:
        self.ui.messageLabel.text = "\n".join(sentences)
        self.ui.messageLabel.visible = bool(sentences)

    def _fillEncoders(self) -> None:
        offered = [
            (entry["name"], entry["name"], describeCheckpoint(entry)) for entry in self._weights.checkpoints
        ]
        self._boxes["encoder"].fill(offered, self._node and self._node.encoder)

    def _weightsChanged(self) -> None:
        """A SAM2 model is coming, has come, or has gone."""
        self._timer.start()
        self._fillEncoders()
        self._enable()

    # The run

    def apply(self) -> None:
        """Starts the registration, after installing what is missing if the user agrees."""
        if self._running or self._starting or self._problem():
            return
        self._starting = True
        if self.prerequisites.findings is None:
            self.ui.progressLabel.text = _("Looking at what is installed...")
            self._enable()
        self.prerequisites.whenReady(self._node, self._begin, self._refuse)

    def _begin(self) -> None:
        self._starting = False
        self.ui.progressLabel.text = ""
        self._start(self.logic.start)

    def _refuse(self, reason: str) -> None:
        self._starting = False
        self._showIdle()
        self._say([reason])

    def correct(self) -> None:
        """Starts the correction of the present registration."""
        if not self._running and not self._starting:
            self._start(self.logic.startCorrection)

    def _start(self, start: Callable) -> None:
        self.ui.logText.clear()
        self._shownLog = 0
        node = self._node
        self._starting = True
        try:
            with slicer.util.WaitCursor():
                # The cursor lets events through, and the scene or the panel may have been closed.
                if node is None or node is not self._node:
                    return
                start(node)
        except InputError as error:
            self._refuse(str(error))
            return
        finally:
            self._starting = False
        self._running, self._ending = True, ""
        self._say(self.logic.registration.warnings)
        self._timer.start()
        self._enable()

    def cancel(self) -> None:
        """Ends the run without a result."""
        self._ending = _("Cancelling...")
        self.logic.registration.cancel()
        self._enable()

    def keep(self) -> None:
        """Ends the run with the result so far."""
        self._ending = _("Finishing with the result so far...")
        self.logic.registration.keep()
        self._enable()

    def abandon(self) -> None:
        """Ends the run at once, for its scene is being closed."""
        self._starting = self._running = False
        self.prerequisites.forget()
        self.logic.registration.close()
        self._showIdle()

    def close(self) -> None:
        """Ends everything, for the panel or Slicer is being closed."""
        self.prerequisites.close()
        self._weights.close()
        self.abandon()
        self.setParameterNode(None)
        # The last: a run of another page that is still ending would have it look at widgets that are gone.
        self._timer.stop()

    def _tick(self) -> None:
        """Looks at everything that runs in the background."""
        if self._node is None:
            # A scene is coming in: the end of a run waits until it is here.
            return
        self._weights.poll()
        registration = self.logic.registration
        if self._running:
            registration.poll()
            self._showRun()
            if not registration.active:
                self._running = False
                self._showEnd()
        elif self._blocked:
            if not self.logic.busy:
                self._enable()
        elif not self._weights.active:
            self._timer.stop()

    def _found(self, findings: dict) -> None:
        """Takes in what this computer has."""
        devices = [(device["name"], device["label"], "") for device in findings["devices"]]
        self._boxes["device"].fill([choices.AUTOMATIC, *devices], self._node and self._node.device)
        self._weights.setCheckpoints(findings["checkpoints"])
        self._fillEncoders()
        if not findings["missing"] and not self._starting:
            # While the user chooses volumes.
            self.logic.registration.warm()
        self._enable()

    # What is shown of it

    def _showIdle(self) -> None:
        ui = self.ui
        ui.progressBar.visible = ui.cancelButton.visible = ui.keepButton.visible = False
        ui.applyButton.visible = True
        ui.progressLabel.text = ""
        self._enable()

    def _showRun(self) -> None:
        registration, ui = self.logic.registration, self.ui
        ui.applyButton.visible = False
        ui.progressBar.visible = ui.cancelButton.visible = ui.keepButton.visible = True
        ui.progressBar.value = round(100 * registration.overall)
        self._showLog()
        ui.progressLabel.text = self._ending or runningText(registration)

    def _showEnd(self) -> None:
        registration = self.logic.registration
        self._showLog()
        self._showIdle()
        if registration.results is not None:
            self._adopt(registration.results)
            self.ui.progressLabel.text = summary(registration.results, registration.device)
            self._say(registration.warnings)
        elif registration.state is State.CANCELLED:
            self.ui.progressLabel.text = _("Cancelled; nothing was changed.")
        else:
            self._say([" ".join(registration.error).strip()])

    def _showLog(self) -> None:
        log = self.logic.registration.log
        for line in log[self._shownLog :]:
            self.ui.logText.appendPlainText(line)
        self._shownLog = len(log)

    def _adopt(self, results: Results) -> None:
        """The next run updates the outputs of this one."""
        node = self._node
        with slicer.util.NodeModify(node.parameterNode):
            node.outputTransform = results.transform or node.outputTransform
            node.outputVolume = results.volume or node.outputVolume
            node.nodulesInFixed = results.nodulesInFixed or node.nodulesInFixed
            node.nodulesInMoving = results.nodulesInMoving or node.nodulesInMoving
