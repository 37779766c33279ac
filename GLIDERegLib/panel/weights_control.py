"""The button beside the list of SAM2 models: download, cancel, remove."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _

from GLIDERegLib.core.errors import GlideRegError
from GLIDERegLib.panel.plain import plain
from GLIDERegLib.panel.remedies import said
from GLIDERegLib.panel.weights import Download, confirmDownload, removeCheckpoint


class WeightsControl:
    """Makes a button do what fits the chosen model: download it, cancel the download, or remove it.

    changed: called after a model has come or gone.
    """

    def __init__(self, button: qt.QPushButton, changed: Callable[[], None]):
        self._button = button
        self._changed = changed
        self._checkpoints: dict[str, dict] = {}
        self._chosen = ""
        self._download: Download | None = None
        self._coming = ""
        self._closed = False
        button.connect("clicked()", self._clicked)
        self._update()

    @property
    def active(self) -> bool:
        """Whether a download is running."""
        return self._download is not None

    @property
    def checkpoints(self) -> list[dict]:
        """All models, as the probe describes them."""
        return list(self._checkpoints.values())

    @property
    def present(self) -> bool:
        """Whether the chosen model is on this computer; True while nothing is known of it."""
        entry = self._checkpoints.get(self._chosen)
        return entry is None or entry["present"]

    def setCheckpoints(self, checkpoints: list[dict]) -> None:
        """checkpoints: what the probe found."""
        self._checkpoints = {entry["name"]: dict(entry) for entry in checkpoints}
        self._update()

    def show(self, name: str) -> None:
        """Another model was chosen."""
        self._chosen = name
        self._update()

    def poll(self) -> None:
        """Looks at a running download; call it from a timer."""
        if self._download is None:
            return
        if not self._download.poll():
            self._update()
            return
        failure, self._download = self._download.failure, None
        if failure is None:
            self._checkpoints[self._coming]["present"] = True
        else:
            slicer.util.errorDisplay(plain(failure))
            if self._closed:
                return
        self._update()
        self._changed()

    def close(self) -> None:
        """Ends a running download; nothing can be started any more."""
        self._closed = True
        if self._download is not None:
            self._download.close()
            self._download = None

    def _clicked(self) -> None:
        entry = self._checkpoints[self._chosen]
        try:
            if self._download is not None:
                self._download.cancel()
            elif entry["present"]:
                entry["present"] = not removeCheckpoint(entry)
                self._changed()
            elif confirmDownload(entry) and not self._closed:
                self._coming = entry["name"]
                self._download = Download(self._coming)
                self._download.start()
                self._changed()
        except GlideRegError as error:
            slicer.util.errorDisplay(plain(said(error)))
        if not self._closed:
            self._update()

    def _update(self) -> None:
        button = self._button
        button.enabled = self._chosen in self._checkpoints
        if self._download is not None:
            button.text = _("Cancel ({share:.0f} %)").format(share=100 * self._download.fraction)
            button.toolTip = _("Stop the download; nothing of it is kept.")
        elif self.present and button.enabled:
            button.text = _("Remove...")
            button.toolTip = _("Delete the chosen model from this computer.")
        else:
            button.text = _("Download...")
            button.toolTip = _("Get the chosen model; its size and licence are shown first.")
