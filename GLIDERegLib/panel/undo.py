"""The buttons Undo and Redo of a page."""

from __future__ import annotations

from collections.abc import Callable

from slicer.i18n import tr as _

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.panel.keys import keysOf
from GLIDERegLib.panel.plain import plain
from GLIDERegLib.panel.remedies import said
from GLIDERegLib.scene.review.history import History


class UndoButtons:
    """Keeps two buttons in step with the history of a page, which is `history`.

    page: as the keys are declared. told: is called with the reason where something cannot be taken back.
    """

    def __init__(self, page: str, undoButton, redoButton, told: Callable[[str], None]):
        self.history = History(self.show)
        self._buttons = (undoButton, redoButton)
        self._keys = tuple(keysOf(page, action) for action in ("undo", "redo"))
        self._told = told
        undoButton.connect("clicked()", lambda: self._do(self.history.undo))
        redoButton.connect("clicked()", lambda: self._do(self.history.redo))
        self.show()

    def show(self) -> None:
        """What the buttons would do, as it is now."""
        texts = (self.history.undoText, self.history.redoText)
        tips = (_("Undo: {text}"), _("Redo: {text}"))
        nothing = (_("Nothing to undo"), _("Nothing to redo"))
        for n, button in enumerate(self._buttons):
            button.enabled = bool(texts[n])
            tip = tips[n].format(text=texts[n]) if texts[n] else nothing[n]
            button.toolTip = plain(f"{tip} ({self._keys[n]})")

    def _do(self, act: Callable[[], None]) -> None:
        try:
            act()
        except InputError as error:
            self._told(said(error))
