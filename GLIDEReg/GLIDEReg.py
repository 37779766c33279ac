"""GLIDE-Reg for 3D Slicer: deformable registration of two CT scans, with the nodules propagated along."""

import sys
import time
import unittest
from pathlib import Path
from typing import Annotated, Union

import slicer
import vtk
from slicer import (
    vtkMRMLGridTransformNode,
    vtkMRMLLabelMapVolumeNode,
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLNode,
    vtkMRMLPlotChartNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLSequenceBrowserNode,
    vtkMRMLSequenceNode,
    vtkMRMLTableNode,
    vtkMRMLTransformNode,
)
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

# Installed, the library and the resources lie beside this file; in a source tree, one folder up.
_HERE = Path(__file__).resolve().parent
ROOT = _HERE if (_HERE / "GLIDERegLib").is_dir() else _HERE.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from GLIDERegLib.core.describing import descriptions  # noqa: E402
from GLIDERegLib.core.settings import SLICE_SIZES, Settings  # noqa: E402
from GLIDERegLib.scene.follow_up.measuring import ScanMeasuring  # noqa: E402
from GLIDERegLib.scene.follow_up.run import FollowUp  # noqa: E402
from GLIDERegLib.scene.registration.outcome import Results  # noqa: E402
from GLIDERegLib.scene.registration.request import Correction, Inputs, Outputs, correspondingPoints  # noqa: E402
from GLIDERegLib.scene.registration.run import SceneRegistration  # noqa: E402
from GLIDERegLib.scene.sequence.nodes import SequenceResults, sequenceOf, usualReference  # noqa: E402
from GLIDERegLib.scene.sequence.run import SequenceInputs, SequenceRegistration, sequenceProblem  # noqa: E402

# What the settings are, and are when nothing was chosen.
ABOUT, DEFAULTS = descriptions(Settings), Settings()

# Slicer's parameter node wrapper needs the None. Written as Slicer's own modules write it.
Mask = Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, None]  # noqa: UP007
Study = Union[vtkMRMLSequenceNode, vtkMRMLSequenceBrowserNode, None]  # noqa: UP007


class GLIDEReg(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent):
        import qt

        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("GLIDE-Reg")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Registration")]
        parent.dependencies = []
        parent.contributors = ["GLIDE-Reg contributors"]
        parent.helpText = _(
            "Registers two CT scans, above all of the lung, and propagates nodules from one to the other. "
            "The results are for checking by eye; this is not a diagnostic device."
        )
        parent.acknowledgementText = _("The method is GLIDE-Reg (arXiv 2603.00218).")
        parent.icon = qt.QIcon(str(ROOT / "Resources" / "Icons" / "GLIDEReg.png"))
        slicer.app.connect("startupCompleted()", self._registerSampleData)

    def _registerSampleData(self) -> None:
        from GLIDERegLib.scene.registration.sample import registerSampleData

        registerSampleData(str(ROOT / "Resources" / "Icons" / "GLIDEReg.png"))


@parameterNodeWrapper
class GLIDERegParameterNode:
    """What the user sets, saved with the scene. 0 stands for automatic where a number may be left open."""

    fixedVolume: vtkMRMLScalarVolumeNode
    movingVolume: vtkMRMLScalarVolumeNode
    fixedNodules: vtkMRMLMarkupsFiducialNode
    movingNodules: vtkMRMLMarkupsFiducialNode
    fixedMask: Mask
    movingMask: Mask
    initialTransform: vtkMRMLTransformNode
    correctionFixed: vtkMRMLMarkupsFiducialNode
    correctionMoving: vtkMRMLMarkupsFiducialNode

    makeTransform: bool = True
    makeVolume: bool = True
    makeNodulesInFixed: bool = True
    makeNodulesInMoving: bool = True
    outputTransform: vtkMRMLGridTransformNode
    outputVolume: vtkMRMLScalarVolumeNode
    nodulesInFixed: vtkMRMLMarkupsFiducialNode
    nodulesInMoving: vtkMRMLMarkupsFiducialNode

    preset: Annotated[str, Choice(list(ABOUT["name"].values))] = DEFAULTS.name
    device: str = DEFAULTS.device
    preview: bool = True
    align: Annotated[str, Choice(list(ABOUT["align"].values))] = DEFAULTS.align
    features: Annotated[str, Choice(list(ABOUT["features"].values))] = DEFAULTS.features
    encoder: str = DEFAULTS.encoder
    checkpoint: str = ""
    reduction: Annotated[str, Choice(list(ABOUT["reduction"].values))] = DEFAULTS.reduction
    sliceSize: Annotated[str, Choice([size.value for size in SLICE_SIZES])] = "auto"
    sliceStep: Annotated[int, WithinRange(*ABOUT["encoder_slice_step"].shown)] = 0
    spacing: Annotated[float, WithinRange(*ABOUT["spacing"].shown)] = 0.0
    searchRange: Annotated[float, WithinRange(*ABOUT["search_range"].shown)] = DEFAULTS.search_range
    threads: Annotated[int, WithinRange(*ABOUT["threads"].shown)] = 0
    seed: Annotated[int, WithinRange(*ABOUT["seed"].shown)] = DEFAULTS.seed

    checkTransform: vtkMRMLTransformNode
    checkFixed: vtkMRMLScalarVolumeNode
    checkMoving: vtkMRMLScalarVolumeNode
    checkBack: vtkMRMLTransformNode
    checkFixedStructures: vtkMRMLSegmentationNode
    checkMovingStructures: vtkMRMLSegmentationNode
    checkSegment: str = ""
    checkFixedLandmarks: vtkMRMLMarkupsFiducialNode
    checkMovingLandmarks: vtkMRMLMarkupsFiducialNode
    checkTable: vtkMRMLTableNode
    checkOpacity: Annotated[float, WithinRange(0, 100)] = 50.0
    checkSpacing: Annotated[float, WithinRange(2, 50)] = 15.0

    reviewTable: vtkMRMLTableNode
    matchTable: vtkMRMLTableNode
    matchDistance: Annotated[float, WithinRange(0.1, 100)] = 10.0
    daysBetween: Annotated[float, WithinRange(-36500, 36500)] = 0.0

    sequence: Study
    sequenceReference: Annotated[int, WithinRange(0, 1000000)] = 0  # frames count from 1
    sequenceNodules: vtkMRMLMarkupsFiducialNode
    sequenceMask: Mask
    makeWarpedFrames: bool = True
    sequenceFixed: vtkMRMLScalarVolumeNode
    sequenceWarped: vtkMRMLSequenceNode
    sequenceTable: vtkMRMLTableNode
    sequenceChart: vtkMRMLPlotChartNode

    followUpScan: vtkMRMLScalarVolumeNode
    followUpNodules: vtkMRMLMarkupsFiducialNode
    followUpScans: vtkMRMLTableNode
    followUpReference: str = ""  # the date of a scan; the newest where empty
    followUpTable: vtkMRMLTableNode
    followUpCells: vtkMRMLTableNode
    followUpGrowth: vtkMRMLTableNode
    followUpChart: vtkMRMLPlotChartNode


class GLIDERegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel's frame: Slicer's events come in here and go to the pages of the library."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panel = None
        self.pages = []

    def setup(self) -> None:
        import qt

        from GLIDERegLib.panel.check import CheckPage
        from GLIDERegLib.panel.follow_up import FollowUpPage
        from GLIDERegLib.panel.nodules import NodulesPage
        from GLIDERegLib.panel.registration import RegistrationPanel
        from GLIDERegLib.panel.sequence import SequencePage
        from GLIDERegLib.scene.views.reading_marks import ReadingMarks

        ScriptedLoadableModuleWidget.setup(self)
        self.logic = GLIDERegLogic()
        self.tabs = qt.QTabWidget()
        self.layout.addWidget(self.tabs)
        self.ui = self._addTab("GLIDEReg", _("Register"))
        self.panel = RegistrationPanel(self.ui, self.logic)
        self.pages = [
            self.panel,
            CheckPage(self._addTab("GLIDERegCheck", _("Check")), self.logic),
            NodulesPage(self._addTab("GLIDERegNodules", _("Nodules")), self.logic),
            SequencePage(self._addTab("GLIDERegSequence", _("4D study")), self.logic, self.panel),
            FollowUpPage(self._addTab("GLIDERegFollowUp", _("Follow-up")), self.logic, self.panel),
        ]
        self._marks = ReadingMarks()
        self.tabs.connect("currentChanged(int)", self.onPageChanged)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneChanged)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneChanged)
        slicer.app.connect("aboutToQuit()", self.closePages)
        self._setParameterNode(self.logic.getParameterNode())
        if getattr(self.parent, "isEntered", False):
            # Slicer does not enter a module that it reloads in sight.
            self.enter()

    def _addTab(self, name: str, title: str):
        """The widgets of a page by name."""
        page = slicer.util.loadUI(str(ROOT / "Resources" / "UI" / f"{name}.ui"))
        page.setMRMLScene(slicer.mrmlScene)
        self.tabs.addTab(page, title)
        return slicer.util.childWidgetVariables(page)

    def _setParameterNode(self, node: GLIDERegParameterNode | None) -> None:
        for page in self.pages:
            page.setParameterNode(node)

    def enter(self) -> None:
        self._setParameterNode(self.logic.getParameterNode())
        self.pages[self.tabs.currentIndex].enter()
        self._mark()

    def exit(self) -> None:
        """A running registration goes on while other modules are used."""
        self._marks.giveBack()

    def onPageChanged(self, index: int) -> None:
        self.pages[index].enter()
        self._mark()

    def _mark(self) -> None:
        node = self.logic.getParameterNode()
        volumes = [node.fixedVolume, node.movingVolume, node.checkFixed, node.checkMoving]
        self._marks.show(slicer.mrmlScene, volumes)

    def cleanup(self) -> None:
        slicer.app.disconnect("aboutToQuit()", self.closePages)
        self.closePages()
        self.removeObservers()

    def closePages(self) -> None:
        self._marks.giveBack()
        for page in self.pages:
            page.close()

    def onSceneStartClose(self, caller=None, event=None) -> None:
        self._marks.giveBack()
        for page in (self.panel, *self.pages[-2:]):
            page.abandon()
        self._setParameterNode(None)

    def onSceneStartImport(self, caller=None, event=None) -> None:
        """Lets go of the parameter node: node boxes are filled anew at the end, and would empty it; and what
        has been read of it is not yet what it will hold.
        """
        self._setParameterNode(None)

    def onSceneChanged(self, caller=None, event=None) -> None:
        self._setParameterNode(self.logic.getParameterNode())

    def onReload(self) -> None:
        """Reloads the library too, which Slicer's own reload leaves as it was."""
        self.closePages()
        for name in [name for name in sys.modules if name.split(".")[0] == "GLIDERegLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class GLIDERegLogic(ScriptedLoadableModuleLogic):
    """Registration of the scene's nodes, with or without a panel."""

    # One for all logics: two registrations at once would only slow each other down.
    _registration: SceneRegistration | None = None
    _sequenceRegistration: SequenceRegistration | None = None
    _followUp: FollowUp | None = None

    def getParameterNode(self) -> GLIDERegParameterNode:
        node = super().getParameterNode()
        if not node.HasObserver(vtk.vtkCommand.ModifiedEvent):
            # VTK calls an object's first observer last. It must not be the one that reads a parameter,
            # or the widgets would show what that was before.
            node.AddObserver(vtk.vtkCommand.ModifiedEvent, _nothing, -1)
        return GLIDERegParameterNode(node)

    @property
    def registration(self) -> SceneRegistration:
        """The one registration of this Slicer, running or not."""
        from GLIDERegLib.panel.child import pythonExecutable

        if GLIDERegLogic._registration is None:
            GLIDERegLogic._registration = SceneRegistration(pythonExecutable())
        return GLIDERegLogic._registration

    @property
    def sequenceRegistration(self) -> SequenceRegistration:
        """The one registration of a 4D study, running or not; its frames go through `registration`."""
        if GLIDERegLogic._sequenceRegistration is None:
            GLIDERegLogic._sequenceRegistration = SequenceRegistration(self.registration)
        return GLIDERegLogic._sequenceRegistration

    @property
    def followUp(self) -> FollowUp:
        """The one follow-up of dated scans, running or not; its scans go through `registration`."""
        if GLIDERegLogic._followUp is None:
            from GLIDERegLib.panel.child import pythonExecutable

            GLIDERegLogic._followUp = FollowUp(self.registration, ScanMeasuring(pythonExecutable()))
        return GLIDERegLogic._followUp

    @property
    def busy(self) -> bool:
        """Whether a pair, a 4D study or dated scans are being registered, so that nothing else can start."""
        return self.registration.active or self.sequenceRegistration.active or self.followUp.active

    def start(self, parameters: GLIDERegParameterNode) -> None:
        """Starts what the parameter node says; `self.registration.poll()` must be called until it ends.

        Raises GLIDERegLib.core.errors.InputError where it cannot be started.
        """
        self.registration.start(
            inputsOf(parameters),
            outputsOf(parameters),
            settingsOf(parameters),
            preview=parameters.preview,
            temporaryFolder=slicer.app.temporaryPath,
        )

    def startCorrection(self, parameters: GLIDERegParameterNode) -> None:
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

    def sequenceProblem(self, parameters: GLIDERegParameterNode) -> str | None:
        """Why the 4D study that the parameter node says cannot be registered; None where it can."""
        return sequenceProblem(sequenceInputsOf(parameters))

    def startSequence(self, parameters: GLIDERegParameterNode) -> None:
        """Starts registering the 4D study that the parameter node says; `self.sequenceRegistration.poll()`
        must be called until it ends.

        Raises GLIDERegLib.core.errors.InputError where it cannot be started.
        """
        self.sequenceRegistration.start(
            sequenceInputsOf(parameters), settingsOf(parameters), temporaryFolder=slicer.app.temporaryPath
        )

    def startFollowUp(
        self, parameters: GLIDERegParameterNode, scans, reference: int, anyPatient: bool = False
    ) -> None:
        """Starts following the nodules of dated scans (GLIDERegLib.scene.follow_up.scans.SceneScan, in order
        of time), registered to that of the number `reference`; `self.followUp.poll()` must be called until it
        ends. anyPatient: go on though they are of different patients.

        Raises GLIDERegLib.core.errors.InputError where it cannot be started.
        """
        self.followUp.start(
            scans, reference, settingsOf(parameters), anyPatient, temporaryFolder=slicer.app.temporaryPath
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
        **settings,
    ) -> Results:
        """Registers two volumes and waits for the end; for the Python console and for batches.

        Each output is a node to fill, True for a new node, or False to leave it out. settings: further
        keywords of GLIDERegLib.Settings, such as features="local", spacing=1.5, device="cpu".
        progressCallback(stage, fraction of the whole run) is called about ten times a second.

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


def _nothing(caller, event) -> None:
    """An observer that only stands in its place."""


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
        raise RuntimeError(" ".join(registration.error or (_("The registration was cancelled."),)).strip())
    return registration.results


def inputsOf(parameters: GLIDERegParameterNode) -> Inputs:
    """The nodes the parameter node chooses."""
    return Inputs(
        parameters.fixedVolume,
        parameters.movingVolume,
        parameters.fixedNodules,
        parameters.movingNodules,
        parameters.fixedMask,
        parameters.movingMask,
        parameters.initialTransform,
    )


def sequenceInputsOf(parameters: GLIDERegParameterNode) -> SequenceInputs:
    """The 4D study the parameter node chooses, and its reference frame, the usual one unless it says."""
    volumes = sequenceOf(parameters.sequence)
    reference = parameters.sequenceReference - 1
    if volumes is not None and reference < 0:
        reference = usualReference(volumes)
    return SequenceInputs(
        volumes,
        reference,
        parameters.sequenceNodules,
        parameters.sequenceMask,
        parameters.makeWarpedFrames,
    )


def outputsOf(parameters: GLIDERegParameterNode) -> Outputs:
    """Which outputs the parameter node wants, and where."""

    def wanted(make: bool, node):
        return (node or True) if make else False

    return Outputs(
        wanted(parameters.makeTransform, parameters.outputTransform),
        wanted(parameters.makeVolume, parameters.outputVolume),
        wanted(parameters.makeNodulesInFixed, parameters.nodulesInFixed),
        wanted(parameters.makeNodulesInMoving, parameters.nodulesInMoving),
    )


def settingsOf(parameters: GLIDERegParameterNode) -> dict:
    """The preset and what differs from the default, as keywords of GLIDERegLib.Settings.preset.

    What is left out is the preset's.
    """
    chosen = {
        "device": parameters.device,
        "align": parameters.align,
        "features": parameters.features,
        "encoder": parameters.encoder,
        "checkpoint": parameters.checkpoint or None,
        "reduction": parameters.reduction,
        "encoder_input_size": None if parameters.sliceSize == "auto" else int(parameters.sliceSize),
        "encoder_slice_step": parameters.sliceStep or None,
        "spacing": parameters.spacing or None,
        "search_range": parameters.searchRange,
        "threads": parameters.threads or None,
        "seed": parameters.seed,
    }
    changed = {name: value for name, value in chosen.items() if value != getattr(DEFAULTS, name)}
    return {"name": parameters.preset, **changed}


class GLIDERegTest(ScriptedLoadableModuleTest):
    """Registers the sample pair; run it from the module's Reload and Test section."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        try:
            self.test_registersTheSamplePair()
        except unittest.SkipTest as reason:
            # Slicer would show it as a failure.
            self.delayDisplay(str(reason))

    def test_registersTheSamplePair(self):
        import numpy as np

        from GLIDERegLib.scene.registration.sample import makeSamplePair

        self._skipWithoutPackages()
        fixed, moving, movingNodules, fixedNodules = makeSamplePair()
        results = GLIDERegLogic().registerVolumes(
            fixed, moving, movingNodulesNode=movingNodules, preset="fast", features="local"
        )
        found = slicer.util.arrayFromMarkupsControlPoints(results.nodulesInFixed, world=True)
        truth = slicer.util.arrayFromMarkupsControlPoints(fixedNodules, world=True)
        before = slicer.util.arrayFromMarkupsControlPoints(movingNodules, world=True)
        error = np.linalg.norm(found - truth, axis=1).mean()
        self.assertLess(error, 0.25 * np.linalg.norm(before - truth, axis=1).mean())
        self.assertEqual(results.volume.GetImageData().GetDimensions(), fixed.GetImageData().GetDimensions())
        self.delayDisplay("Test passed")

    def _skipWithoutPackages(self) -> None:
        """Skips the test where the Python that registers lacks packages, as in a Slicer fresh from the
        factory; fails where it cannot be asked.
        """
        from GLIDERegLib.panel.dependencies import Probe, missingPackages

        probe = Probe()
        probe.start()
        while (findings := probe.poll()) is None and probe.failure is None:
            time.sleep(0.1)
        if findings is None:
            self.fail(probe.failure)
        if missing := missingPackages(findings, globalFeatures=False):
            self.skipTest(f"The Python that registers lacks {', '.join(missing)}.")
