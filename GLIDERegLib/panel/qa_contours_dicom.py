"""The DICOM buttons of the section "Contours": chosen segments written on their scan's own slices."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.panel.child import pythonExecutable
from GLIDERegLib.panel.dependencies import ensureExtra
from GLIDERegLib.panel.plain import plain
from GLIDERegLib.panel.remedies import said
from GLIDERegLib.panel.saving import askFolder
from GLIDERegLib.panel.timers import lookTimer
from GLIDERegLib.scene.quality.contour_export import SceneContourExport, describeContours
from GLIDERegLib.scene.registration.pair import Pair

SEG_PACKAGE = "highdicom"
# The pair, which scan the segmentation is of, the segmentation, and the IDs of the chosen segments.
Chosen = tuple[Pair, str, slicer.vtkMRMLSegmentationNode, list[str]]


class ContourDicomButtons:
    """ui: the widgets of GLIDERegQA.ui. chosen: called for what would be written, None where nothing can be.
    tell: called with what there is to say.
    """

    def __init__(self, ui, chosen: Callable[[], Chosen | None], tell: Callable[[str], None]):
        self.ui = ui
        self._chosen, self._tell = chosen, tell
        self._export = SceneContourExport(pythonExecutable())
        self._timer = lookTimer(self._poll)
        ui.qaSegButton.connect("clicked()", lambda: self._clicked("seg"))
        ui.qaStructButton.connect("clicked()", lambda: self._clicked("rtstruct"))

    def enable(self) -> None:
        able = self._chosen() is not None and not self._export.active
        self.ui.qaSegButton.enabled = self.ui.qaStructButton.enabled = able

    def close(self) -> None:
        """Ends what is being written."""
        self._timer.stop()
        self._export.close()

    def _clicked(self, kind: str) -> None:
        chosen = self._chosen()
        if chosen is None:
            return
        if kind == "seg" and not ensureExtra(SEG_PACKAGE):
            self._tell(
                _("DICOM SEG needs the Python package highdicom, which is not installed; RTSTRUCT does not.")
            )
            return
        # The question and pip let events through.
        if (chosen := self._chosen()) is None:
            return
        pair, scan, segmentation, ids = chosen
        try:
            shown = describeContours(kind, getattr(pair, scan), segmentation, ids)
        except InputError as error:
            self._tell(said(error))
            return
        if not slicer.util.confirmOkCancelDisplay(plain(_("A DICOM object will be written.") + f"\n{shown}")):
            return
        folder = askFolder(_("Save the DICOM object"))
        # The scene may have been closed while the dialogs were open.
        if not folder or self._chosen() != chosen:
            return
        try:
            with slicer.util.WaitCursor():
                self._export.start(kind, *chosen, folder, slicer.app.temporaryPath)
        except InputError as error:
            self._tell(said(error))
            return
        self._tell(_("Writing..."))
        self.enable()
        self._timer.start()

    def _poll(self) -> None:
        path = self._export.poll()
        if self._export.active:
            return
        self._timer.stop()
        if path:
            text = _("Written: {path}").format(path=path)
        elif self._export.failure.code == "package-highdicom":
            # Where it is missing, nobody knows but here.
            text = _("DICOM SEG needs the Python package highdicom in {python}; install it there.").format(
                python=pythonExecutable()
            )
        else:
            text = said(self._export.failure)
        self._tell(text)
        self.enable()
