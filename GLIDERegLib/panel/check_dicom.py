"""The DICOM buttons of the page "Check": a registration object read into the scene, or written from it."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.panel.child import pythonExecutable
from GLIDERegLib.panel.plain import plain
from GLIDERegLib.panel.remedies import said
from GLIDERegLib.panel.saving import askFile
from GLIDERegLib.panel.timers import lookTimer
from GLIDERegLib.scene.registration.dicom_objects import (
    SceneExport,
    SceneImport,
    describeExport,
    dicomFile,
    direction,
    scans,
)
from GLIDERegLib.scene.registration.pair import Pair


class DicomButtons:
    """ui: the widgets of GLIDERegCheck.ui. pair: called for what is checked, None where nothing can be.
    imported: called with the transform node once an object is read.
    """

    def __init__(self, ui, pair: Callable[[], Pair | None], imported: Callable):
        self.ui = ui
        self._pair, self._imported = pair, imported
        self._export, self._import = SceneExport(pythonExecutable()), SceneImport(pythonExecutable())
        self._timer = lookTimer(self._poll)
        ui.checkImportButton.connect("clicked()", self._clickedImport)
        ui.checkSendButton.connect("clicked()", self._clickedSend)
        self._tell("")

    def show(self) -> None:
        """Which way the transform leads that is checked now."""
        pair = self._pair()
        self.ui.checkDirectionLabel.text = direction(pair) if pair is not None else ""
        self._enable()

    def close(self) -> None:
        """Ends what is being read or written."""
        self._timer.stop()
        self._export.close()
        self._import.close()
        self._enable()

    def _clickedImport(self) -> None:
        path = qt.QFileDialog.getOpenFileName(
            slicer.util.mainWindow(), _("Import a DICOM registration object"), "", _("All files (*)")
        )
        if path:
            self._run(lambda: self._import.start(path, slicer.app.temporaryPath), _("Reading..."))

    def _clickedSend(self) -> None:
        pair = self._pair()
        if pair is None:
            return
        try:
            for volume in scans(pair).values():
                dicomFile(volume)
            shown = describeExport(pair)
        except InputError as error:
            self._tell(said(error))
            return
        question = _("A DICOM Deformable Spatial Registration will be written.")
        if not slicer.util.confirmOkCancelDisplay(plain(f"{question}\n{shown}")):
            return
        path = askFile(_("Save the DICOM object"), "registration.dcm", _("DICOM"))
        # The scene may have been closed while the dialogs were open.
        if path and self._pair() == pair:
            self._run(lambda: self._export.start(pair, path, slicer.app.temporaryPath), _("Writing..."))

    def _run(self, start: Callable[[], None], text: str) -> None:
        try:
            with slicer.util.WaitCursor():
                start()
        except InputError as error:
            self._tell(said(error))
            return
        self._tell(text)
        self._enable()
        self._timer.start()

    def _poll(self) -> None:
        for command in (self._export, self._import):
            if not command.active:
                continue
            try:
                found = command.poll()
            except InputError as error:
                self._end(said(error))
                return
            if command.active:
                return
            if found is None:
                self._end(said(command.failure))
            elif command is self._export:
                self._end(_("Written: {path}").format(path=found))
            else:
                node, text = found
                self._end(text)
                self._imported(node)

    def _end(self, text: str) -> None:
        self._timer.stop()
        self._tell(text)
        self._enable()

    def _tell(self, text: str) -> None:
        self.ui.checkDicomLabel.text = text
        self.ui.checkDicomLabel.visible = bool(text)

    def _enable(self) -> None:
        idle = not (self._export.active or self._import.active)
        self.ui.checkImportButton.enabled = idle
        self.ui.checkSendButton.enabled = idle and self._pair() is not None
