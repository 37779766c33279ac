"""The page "Check": is this registration to be trusted, and where? Pictures, maps, numbers."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

from GLIDERegLib.panel.binding import ParameterBinding, showTable
from GLIDERegLib.panel.check_consistency import ConsistencySection
from GLIDERegLib.panel.check_dicom import DicomButtons
from GLIDERegLib.panel.check_landmarks import LandmarksSection
from GLIDERegLib.panel.check_look import LookSection
from GLIDERegLib.panel.check_metrics import computeMetrics
from GLIDERegLib.panel.check_transitivity import TransitivitySection
from GLIDERegLib.panel.choices import ChoiceBox
from GLIDERegLib.panel.keys import CHECK, PageKeys
from GLIDERegLib.panel.registration import BUSY, RegistrationPanel
from GLIDERegLib.scene.quality.maps import KINDS, LANDMARK_ERROR, findMap
from GLIDERegLib.scene.registration.pair import Pair, makePair, pairProblem, registeredVolumes

# Of quantity, region, value and unit; where they are usual and who says so stands to the right.
WIDTHS = (138, 54, 50, 62)


class CheckPage:
    """Keeps the page's widgets, the parameter node and what is shown in step.

    ui: the widgets of GLIDERegCheck.ui; logic: the module's. registrationPanel: the page Register, by whose
    settings and prerequisites a second registration is made. What is shown in the views is given back when
    the page closes, when the transform or a scan changes, and when its switch is put back; it is not saved.
    """

    def __init__(self, ui, logic, registrationPanel: RegistrationPanel):
        self.ui = ui
        self.logic = logic
        self._register = registrationPanel
        self._node = None
        self._binding = ParameterBinding(ui, self._nodeModified)
        self._transform: slicer.vtkMRMLTransformNode | None = None
        self._transformTag = None
        self._outdated = False
        self._segmentation: slicer.vtkMRMLSegmentationNode | None = None
        self._look = LookSection(ui, self._pair, self.measure, self._enable, self._say)
        self._segment = ChoiceBox(
            ui.checkSegmentCombo, [], lambda name: self._binding.set("checkSegment", name)
        )
        ui.checkMeasureButton.connect("clicked()", self.measure)
        self._landmarks = LandmarksSection(ui, self._pair, lambda: self._look.showMap(LANDMARK_ERROR))
        self._consistency = ConsistencySection(ui, self._pair, self._whenReady)
        self._transitivity = TransitivitySection(ui, self._pair)
        self._dicom = DicomButtons(ui, self._pair, self._imported)
        self.keys = PageKeys(
            CHECK,
            ui.checkViewsSection,
            {
                "layout": ui.checkLayoutButton,
                "before": ui.checkBeforeCheck,
                "follow": ui.checkFollowCheck,
                "find": ui.checkFindButton,
                "metrics": ui.checkMeasureButton,
                "next": ui.checkNextButton,
                "previous": ui.checkPreviousButton,
                "confirm": ui.checkConfirmButton,
                "reject": ui.checkRejectButton,
                "undo": ui.checkUndoButton,
                "redo": ui.checkRedoButton,
            },
            {"overlay": self._look.nextOverlay},
        )
        self._look.reset()

    # The parameter node

    def setParameterNode(self, node) -> None:
        """Shows another parameter node, or none while a scene is closed."""
        if self._binding.isTo(node):
            return
        self._look.close()
        self._landmarks.history.clear()
        self._node = node
        self._look.setNode(node)
        self._consistency.show(node)
        self._transitivity.show(node)
        self._watch(None)
        self._binding.bind(node)
        if node is not None:
            self._nodeModified()

    def enter(self) -> None:
        """The page is looked at: a registration that has ended meanwhile is what will be checked."""
        node = self._node
        if node is not None and node.checkTransform is None and node.outputTransform is not None:
            node.checkTransform = node.outputTransform
        self._consistency.show(node)
        self._transitivity.show(node)

    def close(self) -> None:
        """Everything as it was before the page was used."""
        self._landmarks.close()
        self._consistency.close()
        self._transitivity.close()
        self._dicom.close()
        self.setParameterNode(None)

    def _nodeModified(self) -> None:
        node = self._node
        if node.checkTransform is not self._transform:
            self._watch(node.checkTransform)
            if self._transform is not None:
                fixed, moving = registeredVolumes(self._transform)
                node.checkFixed, node.checkMoving = fixed or node.checkFixed, moving or node.checkMoving
        self._look.setNode(node)
        self._fillSegments()
        showTable(self.ui.checkTableView, node.checkTable, WIDTHS)
        self._landmarks.show()
        self._consistency.show(node)
        self._transitivity.show(node)
        self._dicom.show()
        self._enable()
        self._look.show()

    def _watch(self, transform: slicer.vtkMRMLTransformNode | None) -> None:
        """Notices when this transform changes, and no other any more."""
        if self._transform is not None:
            self._transform.RemoveObserver(self._transformTag)
        self._transform, self._outdated = transform, False
        if transform is not None:
            event = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
            self._transformTag = transform.AddObserver(event, self._transformModified)

    def _transformModified(self, caller=None, event=None) -> None:
        self._outdated = any(findMap(self._transform, kind) for kind in KINDS)
        self._consistency.forget()
        self._transitivity.forget()
        self._enable()

    def _whenReady(self, node, ready: Callable[[], None], refused: Callable[[str], None]) -> None:
        """As `Prerequisites.whenReady`, for the settings of the page Register."""
        reason = BUSY if self.logic.busy else self._register.weightsProblem(node)
        if reason:
            refused(reason)
        else:
            self._register.prerequisites.whenReady(node, ready, refused)

    def _pair(self) -> Pair | None:
        node = self._node
        if node is None or pairProblem(node.checkFixed, node.checkMoving, node.checkTransform):
            return None
        return makePair(node.checkFixed, node.checkMoving, node.checkTransform, node.checkBack)

    def _fillSegments(self) -> None:
        segmentation = self._node.checkFixedStructures
        source = segmentation.GetSegmentation() if segmentation else None
        names = [source.GetNthSegmentID(n) for n in range(source.GetNumberOfSegments())] if source else []
        offered = [(name, source.GetSegment(name).GetName(), "") for name in names]
        if self._node.checkSegment not in names:
            self._binding.set("checkSegment", "")
        self._segment.fill([("", _("All structures together"), ""), *offered], self._node.checkSegment)
        self.ui.checkSegmentCombo.enabled = segmentation is not None
        if segmentation is not self._segmentation:
            self._segmentation = segmentation
            if segmentation is None:
                self.ui.checkOutlineCheck.checked = False

    # What can be done now

    def _enable(self) -> None:
        node = self._node
        problem = (
            pairProblem(node.checkFixed, node.checkMoving, node.checkTransform) if node else _("No scene.")
        )
        self.ui.checkMeasureButton.enabled = problem is None
        self._look.enable(problem is None)
        outdated = _("The transform has changed since its metrics were computed; compute them again.")
        self._say(problem or (outdated if self._outdated else ""))

    def _say(self, text: str) -> None:
        self.ui.checkMessageLabel.text = text
        self.ui.checkMessageLabel.visible = bool(text)

    # Metrics

    def _imported(self, transform: slicer.vtkMRMLTransformNode) -> None:
        """A registration object that was read is what is checked now."""
        if self._node is not None:
            self._node.checkTransform = transform

    def measure(self) -> None:
        """Makes the maps and fills the table, as far as the inputs allow."""
        with slicer.util.WaitCursor():
            # The cursor lets events through, and the scene may have been closed.
            pair = self._pair()
            if pair is None:
                return
            problems = computeMetrics(pair, self._node)
            self._landmarks.refresh()
            self._outdated = False
        self._say("\n".join(problems))
