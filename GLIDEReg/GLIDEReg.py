"""GLIDE-Reg for 3D Slicer: deformable registration of two CT scans, with the nodules propagated along."""

import sys
import unittest
from functools import partial
from pathlib import Path
from typing import Annotated, Union

import slicer
import vtk
from slicer import (
    vtkMRMLGridTransformNode,
    vtkMRMLLabelMapVolumeNode,
    vtkMRMLMarkupsFiducialNode,
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
from GLIDERegLib.scene.scripting import RegistrationLogic  # noqa: E402

# What the settings are, and are when nothing was chosen.
ABOUT, DEFAULTS = descriptions(Settings), Settings()

# Slicer's parameter node wrapper needs the None. Written as Slicer's own modules write it.
Mask = Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, None]  # noqa: UP007
Study = Union[vtkMRMLSequenceNode, vtkMRMLSequenceBrowserNode, None]  # noqa: UP007


@parameterNodeWrapper
class GLIDERegParameterNode:
    """What the user chooses on the pages, saved with the scene: flat, and with the names of 0.1.0, so that
    scenes go on opening (docs/adr/0007-flat-parameter-node.md). 0 stands for automatic where a number may be
    left open. What the choices mean for a registration is read in `GLIDERegLib/scene/parameters.py`.
    """

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

    task: str = ""  # the last one chosen; its settings are those below
    keepNodules: bool = True
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
    checkSecond: vtkMRMLTransformNode  # moving points to a third scan's
    checkDirect: vtkMRMLTransformNode  # fixed points to that scan's
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
    measureTable: vtkMRMLTableNode
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
    sequenceAmplitude: vtkMRMLTableNode

    followUpScan: vtkMRMLScalarVolumeNode
    followUpNodules: vtkMRMLMarkupsFiducialNode
    followUpSequence: vtkMRMLSequenceNode
    followUpScans: vtkMRMLTableNode
    followUpReference: str = ""  # the date of a scan; the newest where empty
    followUpTable: vtkMRMLTableNode
    followUpCells: vtkMRMLTableNode
    followUpGrowth: vtkMRMLTableNode
    followUpChart: vtkMRMLPlotChartNode
    followUpDecisions: vtkMRMLTableNode
    reader: str = ""  # whose decisions are made now

    qaSegmentation: vtkMRMLSegmentationNode
    qaOther: vtkMRMLSegmentationNode
    qaPurpose: str = ""
    qaRegion: str = ""
    qaAccuracy: Annotated[float, WithinRange(0, 50)] = 0.0  # mm
    qaLevel: str = ""
    qaRemarks: str = ""


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


class GLIDERegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel's frame: Slicer's events come in here and go to the pages of the library."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panel = None
        self.pages = []
        self.keys = []

    def setup(self) -> None:
        import qt

        from GLIDERegLib.panel.check import CheckPage
        from GLIDERegLib.panel.follow_up import FollowUpPage
        from GLIDERegLib.panel.keys import EVERYWHERE, PageKeys, showKeys
        from GLIDERegLib.panel.nodules import NodulesPage
        from GLIDERegLib.panel.qa import QaPage
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
            CheckPage(self._addTab("GLIDERegCheck", _("Check")), self.logic, self.panel),
            NodulesPage(self._addTab("GLIDERegNodules", _("Nodules")), self.logic),
            SequencePage(self._addTab("GLIDERegSequence", _("4D study")), self.logic, self.panel),
            FollowUpPage(self._addTab("GLIDERegFollowUp", _("Follow-up")), self.logic, self.panel),
            QaPage(self._addTab("GLIDERegQA", _("QA"))),
        ]
        keysButton = qt.QToolButton()
        keysButton.text, keysButton.toolTip = _("Keys"), _("All keys of these pages")
        keysButton.connect("clicked()", showKeys)
        # Below the tabs: beside them, it would hide the last one in a narrow panel.
        self.layout.addWidget(keysButton)
        turns = {f"page{n + 1}": partial(self.tabs.setCurrentIndex, n) for n in range(len(self.pages))}
        everywhere = PageKeys(EVERYWHERE, self.tabs, {"keys": keysButton}, turns)
        self.keys = [everywhere, *(page.keys for page in self.pages if page is not self.panel)]
        self._setKeysActive(False)
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
        self._setKeysActive(True)

    def exit(self) -> None:
        """A running registration goes on while other modules are used."""
        self._setKeysActive(False)
        self._marks.giveBack()

    def _setKeysActive(self, active: bool) -> None:
        for keys in self.keys:
            keys.setActive(active)

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
        for page in (self.panel, *self.pages[3:]):
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


class GLIDERegLogic(ScriptedLoadableModuleLogic, RegistrationLogic):
    """Registration of the scene's nodes, with or without a panel; see `RegistrationLogic` for scripts."""

    @staticmethod
    def pythonExecutable() -> str:
        from GLIDERegLib.panel.child import pythonExecutable

        return pythonExecutable()

    def getParameterNode(self) -> GLIDERegParameterNode:
        node = super().getParameterNode()
        if not node.HasObserver(vtk.vtkCommand.ModifiedEvent):
            # VTK calls an object's first observer last. It must not be the one that reads a parameter,
            # or the widgets would show what that was before.
            node.AddObserver(vtk.vtkCommand.ModifiedEvent, _nothing, -1)
        return GLIDERegParameterNode(node)


def _nothing(caller, event) -> None:
    """An observer that only stands in its place."""


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
        from GLIDERegLib.panel.self_test import missing, registerTheSamplePair

        if packages := missing():
            self.skipTest(f"The Python that registers lacks {', '.join(packages)}.")
        error, before = registerTheSamplePair(GLIDERegLogic())
        self.assertLess(error, 0.25 * before)
        self.delayDisplay("Test passed")
