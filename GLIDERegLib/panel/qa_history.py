"""What was decided on the page "QA", with its buttons Undo and Redo: request, level, tolerances, records."""

from __future__ import annotations

from collections.abc import Callable

from slicer.i18n import tr as _

from GLIDERegLib.evaluation.record.record import Record
from GLIDERegLib.panel.keys import QA
from GLIDERegLib.panel.undo import UndoButtons
from GLIDERegLib.scene.quality.records import keep, withdraw
from GLIDERegLib.scene.registration.pair import Pair
from GLIDERegLib.scene.review.history import Step

# Of the parameter node, what the reader decides, and what the buttons call it.
FIELDS = {
    "qaPurpose": _("purpose"),
    "qaRegion": _("region"),
    "qaAccuracy": _("accuracy"),
    "qaLevel": _("level"),
    "qaRemarks": _("remarks"),
}


class QaHistory:
    """ui: the widgets of GLIDERegQA.ui. said: is called with what there is to say. putTolerances: writes the
    site's tolerances as they were. changed: is called when a record came or went.
    """

    def __init__(
        self,
        ui,
        said: Callable[[str], None],
        putTolerances: Callable[[dict[str, float]], None],
        changed: Callable[[], None],
    ):
        self._history = UndoButtons(QA, ui.qaUndoButton, ui.qaRedoButton, said).history
        self._said, self._putTolerances, self._changed = said, putTolerances, changed
        self._node = None
        self._known: dict[str, object] = {}
        # Of the value that is being typed, what was there before.
        self._first: object = None

    def show(self, node) -> None:
        """Another parameter node, or none: what was decided in the one before stays as it is."""
        self._node = node
        self._known = self._values()
        self._history.clear()

    def follow(self) -> None:
        """Takes note of what is another in the node than before."""
        before, self._known = self._known, self._values()
        for name, value in self._known.items():
            if value != before[name]:
                self._decided(name, before[name], value)

    def tolerances(self, before: dict[str, float], after: dict[str, float]) -> None:
        """Takes note of tolerances that were typed."""
        if before != after:
            self._record(
                _("tolerance"), lambda: self._putTolerances(before), lambda: self._putTolerances(after)
            )

    def signed(self, pair: Pair, record: Record) -> None:
        """Takes note of a record: withdrawn, it is in the scene no longer."""

        def undo() -> None:
            withdraw(pair, record)
            self._changed()
            self._said(_("Withdrawn from the scene. A copy that was saved stays where it is."))

        def redo() -> None:
            keep(pair, record)
            self._changed()
            self._said(record.reached)

        self._record(_("record"), undo, redo, nodes=(pair.fixed, pair.moving, pair.transform))

    def _values(self) -> dict[str, object]:
        return {name: getattr(self._node, name) for name in FIELDS} if self._node else {}

    def _decided(self, name: str, old, new) -> None:
        if self._history.joins(name):
            # Letter by letter: back to what was there before the first.
            old = self._first
        self._first = old
        self._record(FIELDS[name], lambda: self._put(name, old), lambda: self._put(name, new), name)

    def _put(self, name: str, value) -> None:
        self._known[name] = value
        setattr(self._node, name, value)

    def _record(self, text: str, undo, redo, subject: str = "", nodes: tuple = ()) -> None:
        self._history.record(Step(text, nodes, undo=undo, redo=redo, subject=subject))
