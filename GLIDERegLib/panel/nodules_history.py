"""What was decided on the page "Nodules", row by row, with its buttons Undo and Redo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import slicer
from slicer.i18n import tr as _

from GLIDERegLib.panel.keys import NODULES
from GLIDERegLib.panel.undo import UndoButtons
from GLIDERegLib.scene.review.history import Step
from GLIDERegLib.scene.review.table import Row


class NodulesHistory:
    """ui: the widgets of GLIDERegNodules.ui. said: is called with the reason where something stays.

    put(row, values) writes fields, by name, of the row of that mark, as they were at another time.
    """

    def __init__(self, ui, said: Callable[[str], None], put: Callable[[Row, dict], None]):
        history = UndoButtons(NODULES, ui.undoButton, ui.redoButton, said).history
        self._history, self._put = history, put
        # The row before the first of several small steps.
        self._before: Row | None = None
        self.clear, self.seal = history.clear, history.seal

    def record(self, tableNode: slicer.vtkMRMLTableNode, before: Row, after: Row) -> None:
        """Takes note of what the reader changed in a row, if anything; other fields stay what they become."""
        if before == after:
            return
        what, joins = _described(before, after)
        subject = f"{after.markedIn} {after.point} {what}" if joins else ""
        if self._history.joins(subject):
            before = self._before
        self._before = before
        names = [f.name for f in fields(Row) if getattr(before, f.name) != getattr(after, f.name)]
        old, new = ({name: getattr(row, name) for name in names} for row in (before, after))
        self._history.record(
            Step(
                _("nodule {label}: {what}").format(label=after.label, what=what),
                (tableNode,),
                undo=lambda: self._put(after, old),
                redo=lambda: self._put(after, new),
                subject=subject,
            )
        )


def _described(before: Row, after: Row) -> tuple[str, bool]:
    """What was changed, and whether it comes in many small steps."""
    if before.counterpart != after.counterpart:
        return (_("moved"), True) if after.isCorrected else (_("back to prediction"), False)
    if before.status != after.status:
        return after.status, False
    if before.noduleType != after.noduleType:
        return _("nodule type"), False
    return (_("comment") if before.comment != after.comment else _("diameter")), True
