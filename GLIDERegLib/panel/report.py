"""The button that makes the report: asks where, lets it be made beside Slicer, and opens it."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.panel.child import pythonExecutable
from GLIDERegLib.panel.remedies import said
from GLIDERegLib.panel.saving import askFile
from GLIDERegLib.panel.timers import lookTimer
from GLIDERegLib.scene.report.folder import ReportInputs
from GLIDERegLib.scene.report.run import SceneReport


class ReportButton:
    """inputs: called for what is reported; raises InputError where something is missing."""

    def __init__(self, button: qt.QPushButton, label: qt.QLabel, inputs: Callable[[], ReportInputs]):
        self._button, self._label, self._inputs = button, label, inputs
        self._report = SceneReport(pythonExecutable())
        self._timer = lookTimer(self._poll)
        button.connect("clicked()", self._clicked)

    def _clicked(self) -> None:
        try:
            inputs = self._inputs()
            page = askFile(_("Save the report"), "report.html", _("Web page"))
            if not page:
                return
            # The scene may have been closed while the dialog was open.
            inputs = self._inputs()
            with slicer.util.WaitCursor():
                self._report.start(inputs, page, slicer.app.temporaryPath)
        except InputError as error:
            self._label.text = said(error)
            return
        self._button.enabled = False
        self._label.text = _("Making the report...")
        self._timer.start()

    def _poll(self) -> None:
        page = self._report.poll()
        if page is None and not self._report.failure:
            return
        self._timer.stop()
        self._button.enabled = True
        if page is None:
            self._label.text = said(self._report.failure)
            return
        self._label.text = _("Report: {path}").format(path=page)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(page)))

    def close(self) -> None:
        """Ends a report that is being made."""
        self._timer.stop()
        self._report.close()
