"""What scripts and the panel ask of the module's logic: registrations of nodes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import slicer
from slicer import (
    vtkMRMLGridTransformNode,
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSequenceNode,
    vtkMRMLTransformNode,
)
from slicer.i18n import tr as _

from GLIDERegLib.core.errors import Cancelled
from GLIDERegLib.scene.follow_up.measuring import ScanMeasuring
from GLIDERegLib.scene.follow_up.run import FollowUp
from GLIDERegLib.scene.parameters import inputsOf, notesOf, outputsOf, sequenceInputsOf, settingsOf
from GLIDERegLib.scene.registration.outcome import Results
from GLIDERegLib.scene.registration.request import Correction, Inputs, Outputs, correspondingPoints
from GLIDERegLib.scene.registration.run import SceneRegistration
from GLIDERegLib.scene.sequence.nodes import SequenceResults
from GLIDERegLib.scene.sequence.run import SequenceInputs, SequenceRegistration, sequenceProblem


class RegistrationLogic:
    """Registration of the scene's nodes, with or without a panel.

    pythonExecutable: of the Python that registers. parameters: the module's parameter node.
    """

    pythonExecutable: Callable[[], str]
    # One for all logics of a loaded module: two registrations at once would only slow each other down.
    _registration: SceneRegistration | None = None
    _sequenceRegistration: SequenceRegistration | None = None
    _followUp: FollowUp | None = None

    @property
    def registration(self) -> SceneRegistration:
        """The one registration of this Slicer, running or not."""
        if type(self)._registration is None:
            type(self)._registration = SceneRegistration(self.pythonExecutable())
        return type(self)._registration

    @property
    def sequenceRegistration(self) -> SequenceRegistration:
        """The one registration of a 4D study, running or not; its frames go through `registration`."""
        if type(self)._sequenceRegistration is None:
            type(self)._sequenceRegistration = SequenceRegistration(self.registration)
        return type(self)._sequenceRegistration

    @property
    def followUp(self) -> FollowUp:
        """The one follow-up of dated scans, running or not; its scans go through `registration`."""
        if type(self)._followUp is None:
            measuring = ScanMeasuring(self.pythonExecutable())
            type(self)._followUp = FollowUp(self.registration, measuring)
        return type(self)._followUp

    @property
    def busy(self) -> bool:
        """Whether a pair, a 4D study or dated scans are being registered, so that nothing else can start."""
        return self.registration.active or self.sequenceRegistration.active or self.followUp.active

    def start(self, parameters: Any) -> None:
        """Starts what the parameter node says; `self.registration.poll()` must be called until it ends.

        Raises GLIDERegLib.core.errors.InputError where it cannot be started.
        """
        self.registration.start(
            inputsOf(parameters),
            outputsOf(parameters),
            settingsOf(parameters),
            preview=parameters.preview,
            temporaryFolder=slicer.app.temporaryPath,
            notes=notesOf(parameters),
        )

    def startCorrection(self, parameters: Any) -> None:
        """Starts mending the registration that the parameter node's output transform holds, at its points.

        Raises GLIDERegLib.core.errors.InputError where the points do not fit together.
        """
        transform = parameters.outputTransform
        points = correspondingPoints(parameters.correctionFixed, parameters.correctionMoving)
        self.registration.start(
            inputsOf(parameters),
            outputsOf(parameters),
            settingsOf(parameters),
            temporaryFolder=slicer.app.temporaryPath,
            correction=Correction(transform, *points),
        )

    def sequenceProblem(self, parameters: Any) -> str | None:
        """Why the 4D study that the parameter node says cannot be registered; None where it can."""
        return sequenceProblem(sequenceInputsOf(parameters))

    def startSequence(self, parameters: Any) -> None:
        """Starts registering the 4D study that the parameter node says; `self.sequenceRegistration.poll()`
        must be called until it ends.

        Raises GLIDERegLib.core.errors.InputError where it cannot be started.
        """
        self.sequenceRegistration.start(
            sequenceInputsOf(parameters), settingsOf(parameters), temporaryFolder=slicer.app.temporaryPath
        )

    def startFollowUp(self, parameters: Any, scans, reference: int, anyPatient: bool = False) -> None:
        """Starts following the nodules of dated scans (GLIDERegLib.scene.follow_up.scans.SceneScan, in order
        of time), registered to that of the number `reference`; `self.followUp.poll()` must be called until it
        ends. anyPatient: go on though they are of different patients.

        Raises GLIDERegLib.core.errors.InputError where it cannot be started.
        """
        self.followUp.start(
            scans,
            reference,
            settingsOf(parameters),
            anyPatient,
            temporaryFolder=slicer.app.temporaryPath,
            keepNodules=parameters.keepNodules,
        )

    def registerVolumes(
        self,
        fixedVolumeNode: vtkMRMLScalarVolumeNode,
        movingVolumeNode: vtkMRMLScalarVolumeNode,
        outputTransformNode: vtkMRMLGridTransformNode | bool = True,
        outputVolumeNode: vtkMRMLScalarVolumeNode | bool = True,
        fixedNodulesNode: vtkMRMLMarkupsFiducialNode | None = None,
        movingNodulesNode: vtkMRMLMarkupsFiducialNode | None = None,
        nodulesInFixedNode: vtkMRMLMarkupsFiducialNode | bool = True,
        nodulesInMovingNode: vtkMRMLMarkupsFiducialNode | bool = True,
        fixedMaskNode: vtkMRMLNode | None = None,
        movingMaskNode: vtkMRMLNode | None = None,
        initialTransformNode: vtkMRMLTransformNode | None = None,
        preset: str = "default",
        progressCallback=None,
        keepNodules: bool = False,
        **settings,
    ) -> Results:
        """Registers two volumes and waits for the end; for the Python console and for batches.

        Each output is a node to fill, True for a new node, or False to leave it out. settings: further
        keywords of GLIDERegLib.Settings, such as features="local", spacing=1.5, device="cpu".
        progressCallback(stage, fraction of the whole run) is called about ten times a second. keepNodules:
        the given nodules do not steer the registration and keep their size in it.

            logic = GLIDERegLogic()
            for name in ("patient1", "patient2"):
                fixed, moving = getNode(name + " follow-up"), getNode(name + " baseline")
                results = logic.registerVolumes(fixed, moving, preset="fast", features="local")
                slicer.util.saveNode(results.transform, f"/data/{name}.h5")

        Returns the filled nodes, the propagated points and the engine's report. Raises
        GLIDERegLib.core.errors.InputError for inputs that cannot be used, RuntimeError where it failed.
        """
        inputs = Inputs(
            fixedVolumeNode,
            movingVolumeNode,
            fixedNodulesNode,
            movingNodulesNode,
            fixedMaskNode,
            movingMaskNode,
            initialTransformNode,
            keepNodules,
        )
        outputs = Outputs(outputTransformNode, outputVolumeNode, nodulesInFixedNode, nodulesInMovingNode)
        registration = self.registration
        registration.start(
            inputs, outputs, {"name": preset, **settings}, temporaryFolder=slicer.app.temporaryPath
        )

        return _waitFor(registration, progressCallback)

    def registerSequence(
        self,
        sequenceNode: vtkMRMLSequenceNode,
        referenceFrame: int = 0,
        nodulesNode: vtkMRMLMarkupsFiducialNode | None = None,
        maskNode: vtkMRMLNode | None = None,
        warpedVolumes: bool = False,
        preset: str = "default",
        progressCallback=None,
        **settings,
    ) -> SequenceResults:
        """Registers every frame of a 4D study to one of them and waits for the end.

        referenceFrame: its number, from 0. nodulesNode: points in that frame, followed through all frames.
        warpedVolumes: whether every frame is wanted on the reference. The rest is as in registerVolumes.

            results = GLIDERegLogic().registerSequence(getNode("4DCT"), nodulesNode=getNode("Nodules"))

        Returns the sequence of transforms, the tracks with their plot, and which frames failed. Raises as
        registerVolumes does.
        """
        registration = self.sequenceRegistration
        inputs = SequenceInputs(sequenceNode, referenceFrame, nodulesNode, maskNode, warpedVolumes)
        registration.start(inputs, {"name": preset, **settings}, temporaryFolder=slicer.app.temporaryPath)
        return _waitFor(registration, progressCallback)


def _waitFor(registration: SceneRegistration | SequenceRegistration, progressCallback):
    """The results at the end; Slicer's events are handled meanwhile."""
    try:
        while registration.active:
            registration.poll()
            if progressCallback is not None:
                progressCallback(registration.stage, registration.overall)
            slicer.app.processEvents()
            time.sleep(0.1)
    finally:
        # After Ctrl-C or an error of the callback; else the worker stays for the next volumes of a batch.
        if registration.active:
            registration.close()
    if registration.results is None:
        error = registration.error or Cancelled(_("The registration was cancelled."))
        raise RuntimeError(f"{error.message} {error.hint}".strip())
    return registration.results
