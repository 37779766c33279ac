"""The section "Contours" of the page "QA": segments propagated and compared beside Slicer, lungs found."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.panel.child import pythonExecutable
from GLIDERegLib.panel.choices import ChoiceBox
from GLIDERegLib.panel.qa_contours_dicom import ContourDicomButtons
from GLIDERegLib.panel.remedies import said
from GLIDERegLib.panel.timers import lookTimer
from GLIDERegLib.scene.quality.contours import DIRECTIONS, SceneContours, SceneLungs
from GLIDERegLib.scene.registration.pair import Pair
from GLIDERegLib.scene.registration.segments import scanOf, segmentNames

COLUMNS = (_("Segment"), _("ml"), _("Mean"), _("95 %"), _("Hausdorff"), _("Dice"))
TIPS = ("", _("Before and after"), *[_("Distance of the surfaces, mm")] * 3, "")
WIDTHS = (58, 90, 40, 40, 62, 38)
FIGURES = ("mean_mm", "p95_mm", "hausdorff_mm", "dice")


class ContoursSection:
    """ui: the widgets of GLIDERegQA.ui. pair: called for what is checked, None where nothing can be. found:
    called once there are distances.
    """

    def __init__(self, ui, pair: Callable[[], Pair | None], found: Callable[[], None]):
        self.ui = ui
        self._pair, self._onFound = pair, found
        self._node = None
        self._names: dict[str, str] = {}
        self._segmentation: slicer.vtkMRMLSegmentationNode | None = None
        self._of: Pair | None = None
        self._report: dict = {}
        self._contours, self._lungs = SceneContours(pythonExecutable()), SceneLungs(pythonExecutable())
        self._direction = ChoiceBox(ui.qaDirectionCombo, [], lambda _value: self.show(self._node))
        view = ui.qaSegmentsView
        view.setColumnCount(len(COLUMNS))
        view.setHorizontalHeaderLabels(COLUMNS)
        for column, tip in enumerate(TIPS):
            view.horizontalHeaderItem(column).setToolTip(tip)
        for column, width in enumerate(WIDTHS):
            view.setColumnWidth(column, width)
        self._timer = lookTimer(self._poll)
        self._dicom = ContourDicomButtons(ui, self._toWrite, self._tell)
        ui.qaPropagateButton.connect("clicked()", self.propagate)
        ui.qaLungsButton.connect("clicked()", self.findLungs)
        self._tell("")

    @property
    def chosen(self) -> list[str]:
        """IDs of the selected segments, of all where none is selected."""
        rows = {item.row() for item in self.ui.qaSegmentsView.selectedItems()}
        return [name for row, name in enumerate(self._names) if row in rows or not rows]

    @property
    def origin(self) -> str:
        """Which scan the segmentation is of: "fixed" or "moving"."""
        return (self._direction.value or DIRECTIONS[0]).split("-")[0]

    def show(self, node) -> None:
        """What the parameter node chooses."""
        self._node, pair = node, self._pair()
        if self._of is not None and pair != self._of:
            self.close()
        scans = {"fixed": pair.fixed.GetName(), "moving": pair.moving.GetName()} if pair else {}
        ways = [(way, way.split("-to-")) for way in DIRECTIONS]
        self._direction.fill(
            [(way, f"{scans.get(a, a)} \u2192 {scans.get(b, b)}", "") for way, (a, b) in ways],
            self._direction.value or DIRECTIONS[0],
        )
        segmentation = node.qaSegmentation if node else None
        names, another = segmentNames(segmentation), segmentation is not self._segmentation
        if another:
            self._segmentation = segmentation
            if pair is not None and (scan := scanOf(pair, segmentation)):
                self._direction.show(next(way for way in DIRECTIONS if way.startswith(scan)))
        # Filled anew it would forget what is selected.
        if another or names != self._names:
            self._names, self._report = names, {}
            self._fill()
        self._enable()

    def propagate(self) -> None:
        """Starts with the chosen segments, or stops what runs."""
        if self._stopped():
            return
        node, pair = self._node, self._pair()
        if pair is None or node.qaSegmentation is None:
            return
        arguments = (pair, self._direction.value, node.qaSegmentation, self.chosen, node.qaOther)
        self._run(lambda: self._contours.start(*arguments, slicer.app.temporaryPath), _("Propagating..."))

    def findLungs(self) -> None:
        """Starts the search in both scans, or stops what runs."""
        if self._stopped() or (pair := self._pair()) is None:
            return
        self._run(lambda: self._lungs.start(pair, slicer.app.temporaryPath), _("Finding the lungs..."))

    def close(self) -> None:
        """Ends what is running."""
        self._timer.stop()
        self._contours.close()
        self._lungs.close()
        self._dicom.close()
        self._of = None
        self._enable()

    def _stopped(self) -> bool:
        if not self._timer.isActive():
            return False
        self.close()
        self._tell(_("Stopped by user."))
        return True

    def _run(self, start: Callable[[], None], text: str) -> None:
        self._of = self._pair()
        try:
            with slicer.util.WaitCursor():
                start()
        except InputError as error:
            self.close()
            self._tell(said(error))
            return
        self._tell(text)
        self._timer.start()
        self._enable()

    def _poll(self) -> None:
        command = self._contours if self._contours.active else self._lungs
        try:
            found, failure = command.poll(), command.failure
        except InputError as error:
            found, failure = None, error
        if command.active:
            return
        self._timer.stop()
        self._of = None
        if found is None:
            self._tell(said(failure))
        elif command is self._lungs:
            self._tell(
                _("Found: {names}. They can be chosen here, and as masks on the page Register.").format(
                    names=", ".join(f"'{node.GetName()}'" for node in found)
                )
            )
        else:
            segmentation, self._report = found
            self._fill()
            text = _("Made: '{name}'. Review it before use.").format(name=segmentation.GetName())
            self._tell("\n".join([text, *self._report["doubts"]]))
            self._onFound()
        self._enable()

    def _fill(self) -> None:
        """A row for each segment, with what is known of it."""
        volumes = {segment["name"]: segment for segment in self._report.get("segments", [])}
        view = self.ui.qaSegmentsView
        view.setRowCount(len(self._names))
        for row, name in enumerate(self._names.values()):
            told, figures = volumes.get(name, {}), self._report.get("compared", {}).get(name, {})
            cells = [name, f"{_ml(told['before_ml'])} \u2192 {_ml(told['after_ml'])}" if told else ""]
            cells += [f"{figures[key]:.2f}" if key in figures else "" for key in FIGURES]
            for column, text in enumerate(cells):
                view.setItem(row, column, qt.QTableWidgetItem(text))

    def _tell(self, text: str) -> None:
        self.ui.qaContoursLabel.text = text
        self.ui.qaContoursLabel.visible = bool(text)

    def _enable(self) -> None:
        ui, pair, running = self.ui, self._pair(), self._timer.isActive()
        of = self._node.qaSegmentation if self._node else None
        ui.qaPropagateButton.text = _("Stop") if self._contours.active else _("Propagate")
        ui.qaLungsButton.text = _("Stop") if self._lungs.active else _("Find lungs")
        ui.qaPropagateButton.enabled = pair is not None and of is not None and not self._lungs.active
        ui.qaLungsButton.enabled = pair is not None and not self._contours.active
        for widget in (ui.qaDirectionCombo, ui.qaSegmentationSelector, ui.qaOtherSelector):
            widget.enabled = pair is not None and not running
        self._dicom.enable()

    def _toWrite(self):
        pair, of = self._pair(), self._node.qaSegmentation if self._node else None
        return None if pair is None or of is None or not self._names else (pair, self.origin, of, self.chosen)


def _ml(volume: float) -> str:
    return f"{volume:.0f}" if volume >= 100 else f"{volume:.2f}"
