"""The page "Check": is this registration to be trusted, and where? Pictures, maps, numbers."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.panel.binding import ParameterBinding, showTable
from GLIDERegLib.panel.check_dicom import DicomButtons
from GLIDERegLib.panel.check_landmarks import LandmarksSection
from GLIDERegLib.panel.check_texts import (
    CONSISTENCY,
    DRAWINGS,
    LAYOUT_CHOICES,
    MAPS,
    OVERLAYS,
    REVEAL,
    inSight,
    positionText,
)
from GLIDERegLib.panel.check_views import CheckViews
from GLIDERegLib.panel.choices import ChoiceBox
from GLIDERegLib.panel.keys import CHECK, PageKeys
from GLIDERegLib.panel.looking import Looking
from GLIDERegLib.panel.remedies import said
from GLIDERegLib.scene.quality.maps import KINDS, LANDMARK_ERROR, findMap, showMaps
from GLIDERegLib.scene.quality.measures import measure
from GLIDERegLib.scene.quality.numbers import Row, fieldRows, fillTable, insideOf, landmarkRows, overlapRows
from GLIDERegLib.scene.registration.pair import Pair, makePair, pairProblem, registeredVolumes
from GLIDERegLib.scene.views import overlay
from GLIDERegLib.scene.views.crosshair import Position
from GLIDERegLib.scene.views.drawing import CONTOURS

TABLE = "vtkMRMLTableNode"
BLINK_MILLISECONDS = 500


class CheckPage:
    """Keeps the page's widgets, the parameter node and what is shown in step.

    ui: the widgets of GLIDERegCheck.ui. What is shown in the views is given back when the page closes, when
    the transform or a scan changes, and when its switch is put back; it is not saved.
    """

    def __init__(self, ui, logic):
        self.ui = ui
        self.logic = logic
        self._node = None
        self._binding = ParameterBinding(ui, self._nodeModified)
        self._transform: slicer.vtkMRMLTransformNode | None = None
        self._transformTag = None
        self._outdated = False
        self._segmentation: slicer.vtkMRMLSegmentationNode | None = None
        self._views: CheckViews | None = None
        self._looking = Looking()
        self._quiet = False
        self._offered = OVERLAYS + ([REVEAL] if CheckViews.canReveal() else []) + MAPS
        self._layout = ChoiceBox(ui.checkLayoutCombo, LAYOUT_CHOICES, lambda _: self._showLayout())
        self._overlay = ChoiceBox(ui.checkOverlayCombo, self._offered, lambda _: self._show())
        self._drawing = ChoiceBox(ui.checkDrawingCombo, DRAWINGS, lambda _: self._show())
        self._segment = ChoiceBox(
            ui.checkSegmentCombo, [], lambda name: self._binding.set("checkSegment", name)
        )
        ui.checkLayoutButton.connect("toggled(bool)", lambda on: self._showLayout())
        for box in (ui.checkBeforeCheck, ui.checkOutlineCheck, ui.checkFollowCheck):
            box.connect("toggled(bool)", lambda on: self._show())
        ui.checkMeasureButton.connect("clicked()", self.measure)
        self._landmarks = LandmarksSection(ui, self._pair, self._foundLandmarks)
        self._dicom = DicomButtons(ui, self._pair, self._imported)
        self.keys = PageKeys(
            CHECK,
            ui.checkViewsSection,
            {
                "layout": ui.checkLayoutButton,
                "before": ui.checkBeforeCheck,
                "follow": ui.checkFollowCheck,
                "next": ui.checkNextButton,
                "previous": ui.checkPreviousButton,
                "confirm": ui.checkConfirmButton,
                "reject": ui.checkRejectButton,
                "undo": ui.checkUndoButton,
                "redo": ui.checkRedoButton,
            },
            {"overlay": self.nextOverlay},
        )
        self._blinking = qt.QTimer()
        self._blinking.setInterval(BLINK_MILLISECONDS)
        self._blinking.connect("timeout()", self._blink)
        self._reset()

    # The parameter node

    def setParameterNode(self, node) -> None:
        """Shows another parameter node, or none while a scene is closed."""
        if self._binding.isTo(node):
            return
        self._close()
        self._landmarks.history.clear()
        self._node = node
        self._watch(None)
        self._binding.bind(node)
        if node is not None:
            self._nodeModified()

    def enter(self) -> None:
        """The page is looked at: a registration that has ended meanwhile is what will be checked."""
        node = self._node
        if node is not None and node.checkTransform is None and node.outputTransform is not None:
            node.checkTransform = node.outputTransform

    def close(self) -> None:
        """Everything as it was before the page was used."""
        self._landmarks.close()
        self._dicom.close()
        self.setParameterNode(None)

    def _nodeModified(self) -> None:
        node = self._node
        if node.checkTransform is not self._transform:
            self._watch(node.checkTransform)
            if self._transform is not None:
                fixed, moving = registeredVolumes(self._transform)
                node.checkFixed, node.checkMoving = fixed or node.checkFixed, moving or node.checkMoving
        if self._views is not None and self._views.pair != self._pair():
            self._close()
        independent = [CONSISTENCY] if node.checkBack is not None else []
        self._overlay.fill([*self._offered, *independent], self._overlay.value)
        self._fillSegments()
        showTable(self.ui.checkTableView, node.checkTable)
        self._landmarks.show()
        self._dicom.show()
        self._enable()
        self._show()

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
        self._enable()

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
        node, ui = self._node, self.ui
        problem = (
            pairProblem(node.checkFixed, node.checkMoving, node.checkTransform) if node else _("No scene.")
        )
        for widget in (
            ui.checkLayoutButton,
            ui.checkOverlayCombo,
            ui.checkBeforeCheck,
            ui.checkDrawingCombo,
            ui.checkMeasureButton,
        ):
            widget.enabled = problem is None
        ui.checkOutlineCheck.enabled = problem is None and node.checkFixedStructures is not None
        ui.checkFollowCheck.enabled = problem is None and ui.checkLayoutButton.checked
        mode = self._overlay.value
        ui.checkOpacitySlider.enabled = problem is None and (mode == overlay.FADE or mode in KINDS)
        ui.checkSpacingSlider.enabled = problem is None and self._drawing.value not in ("", CONTOURS)
        outdated = _("The transform has changed since its metrics were computed; compute them again.")
        self._say(problem or (outdated if self._outdated else ""))

    def _say(self, text: str) -> None:
        self.ui.checkMessageLabel.text = text
        self.ui.checkMessageLabel.visible = bool(text)

    # What is seen

    def _showLayout(self) -> None:
        if self._quiet or self._node is None or (pair := self._pair()) is None:
            return
        if self._views is None:
            self._views = CheckViews(pair, self._tellPosition)
        shown, views = self.ui.checkLayoutButton.checked, self._views
        views.showLayout(self._layout.value if shown else None)
        if self._views is not views:
            # Closed meanwhile, since laying out lets events through.
            return
        if shown and self._overlay.value == overlay.NOTHING:
            self._overlay.show(overlay.WARPED)
        self._quietly(lambda: setattr(self.ui.checkFollowCheck, "checked", shown))
        self._enable()
        self._show()

    def nextOverlay(self) -> None:
        """The overlay below the present one in the list, after the last one the first."""
        combo = self.ui.checkOverlayCombo
        if combo.enabled:
            combo.setCurrentIndex((combo.currentIndex + 1) % combo.count)

    def _show(self) -> None:
        """The views as the switches say."""
        if self._quiet or self._node is None or (pair := self._pair()) is None:
            return
        ui, mode, node, reason = self.ui, self._overlay.value, self._node, ""
        if mode == LANDMARK_ERROR and findMap(pair.transform, mode) is None:
            self._quietly(lambda: self._overlay.show(overlay.NOTHING))
            self._say(_("Press 'Find landmarks' first."))
            return
        if mode in KINDS and findMap(pair.transform, mode) is None:
            self._quietly(lambda: self._overlay.show(overlay.NOTHING))
            self.measure()
            if self._pair() != pair:
                # Closed, or another one, since measuring lets events through.
                return
            if findMap(pair.transform, mode) is not None:
                self._overlay.show(mode)
            else:
                mode = overlay.NOTHING
                reason = _("This map needs two CT scans whose numbers are HU.")
        if self._views is None:
            self._views = CheckViews(pair, self._tellPosition)
        self._views.showOverlay(mode, node.checkOpacity / 100, ui.checkBeforeCheck.checked)
        self._views.showDrawing(self._drawing.value, node.checkSpacing)
        self._views.showOutlines(node.checkFixedStructures if ui.checkOutlineCheck.checked else None)
        self._views.follow(ui.checkFollowCheck.checked and ui.checkLayoutButton.checked)
        if mode == overlay.FLICKER:
            self._blinking.start()
        else:
            self._blinking.stop()
        self._looking.see(pair, inSight(self._layoutShown(), mode, self._drawing.value))
        self._enable()
        if reason:
            self._say(reason)

    def _layoutShown(self) -> str:
        return self._layout.value if self.ui.checkLayoutButton.checked else ""

    def _blink(self) -> None:
        self._views.blink()

    def _tellPosition(self, position: Position | None) -> None:
        self.ui.checkPositionLabel.text = "" if position is None else positionText(position)

    def _close(self) -> None:
        """Gives the views back and puts every switch to off."""
        self._blinking.stop()
        self._looking.stop()
        if self._views is not None:
            self._views.close()
            self._views = None
        self._reset()

    def _reset(self) -> None:
        def off() -> None:
            for box in ("checkLayoutButton", "checkBeforeCheck", "checkOutlineCheck", "checkFollowCheck"):
                getattr(self.ui, box).checked = False
            self._overlay.show(overlay.NOTHING)
            self._drawing.show("")

        self._quietly(off)
        self._tellPosition(None)
        self._enable()

    def _quietly(self, change) -> None:
        """Changes widgets without acting on it."""
        self._quiet, before = True, self._quiet
        change()
        self._quiet = before

    # Metrics

    def _imported(self, transform: slicer.vtkMRMLTransformNode) -> None:
        """A registration object that was read is what is checked now."""
        if self._node is not None:
            self._node.checkTransform = transform

    def _foundLandmarks(self) -> None:
        """Shows the map of their errors."""
        self._overlay.show(LANDMARK_ERROR)
        self._show()

    def measure(self) -> None:
        """Makes the maps and fills the table, as far as the inputs allow."""
        problems: list[str] = []
        with slicer.util.WaitCursor():
            # The cursor lets events through, and the scene may have been closed.
            pair, node = self._pair(), self._node
            if pair is None:
                return
            measures = measure(pair)
            rows = fieldRows(measures, _("body"), measures.body)

            def landmarks(fixed, moving) -> list[Row]:
                found, leftOut = landmarkRows(pair, fixed, moving)
                problems.extend(leftOut)
                return found

            for given, make in (
                (
                    [node.checkFixedStructures],
                    lambda s: fieldRows(measures, *insideOf(measures, s, node.checkSegment)),
                ),
                (
                    [node.checkFixedStructures, node.checkMovingStructures],
                    lambda a, b: overlapRows(pair, a, b),
                ),
                (
                    [node.checkFixedLandmarks, node.checkMovingLandmarks],
                    landmarks,
                ),
            ):
                if None in given:
                    continue
                try:
                    rows += make(*given)
                except InputError as error:
                    problems.append(said(error))
            showMaps(pair, measures)
            self._landmarks.refresh()
            self._outdated = False
            if node.checkTable is None:
                name = pair.transform.GetScene().GenerateUniqueName(f"Numbers of {pair.transform.GetName()}")
                node.checkTable = pair.transform.GetScene().AddNewNodeByClass(TABLE, name)
            fillTable(node.checkTable, rows, pair, measures)
        self._say("\n".join(problems))
