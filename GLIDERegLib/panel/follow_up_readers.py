"""Who reads a study on the page "Follow-up", what was decided on each nodule, and what of it is shown."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import slicer
from slicer.i18n import tr as _

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.panel.choices import ChoiceBox
from GLIDERegLib.panel.keys import FOLLOW_UP
from GLIDERegLib.panel.undo import UndoButtons
from GLIDERegLib.scene.follow_up.decisions import (
    BLIND,
    DONE,
    GROWN,
    NO_NODULE,
    SHRUNK,
    UNCHANGED,
    UNSURE,
    Decision,
    decided,
    isDone,
    isOpen,
    readDecisions,
    readers,
    renumbered,
    shownTo,
    writeDecisions,
)
from GLIDERegLib.scene.review.history import Step

CHOICES = ("", GROWN, UNCHANGED, SHRUNK, NO_NODULE, UNSURE)


class Readers:
    """ui: the widgets of GLIDERegFollowUp.ui. number: called for the number of the selected nodule, "" where
    none is. changed: called after each change of what is shown. select: selects a nodule by its number. said:
    is called with the reason where something cannot be taken back.
    """

    def __init__(
        self,
        ui,
        number: Callable[[], str],
        changed: Callable[[], None],
        select: Callable[[str], None],
        said: Callable[[str], None],
    ):
        self.ui, self._number, self._changed, self._select = ui, number, changed, select
        self._node = None
        # Of the steps that can be taken back: nobody takes back what another reader decided.
        self._reader = ""
        self._history = UndoButtons(FOLLOW_UP, ui.followUpUndoButton, ui.followUpRedoButton, said).history
        self._showing = False
        self._decision = ChoiceBox(
            ui.followUpDecisionCombo, [(one, one or _("not decided"), "") for one in CHOICES], self._decide
        )
        ui.followUpCommentEdit.connect("editingFinished()", self._comment)
        ui.followUpDoneButton.connect("clicked()", self.done)

    @property
    def keys(self) -> dict[str, Callable[[], None]]:
        """What the keys of the decisions do, by their action."""
        actions = {"grown": GROWN, "unchanged": UNCHANGED, "shrunk": SHRUNK, "none": NO_NODULE}
        actions["unsure"] = UNSURE
        return {action: partial(self._choose, decision) for action, decision in actions.items()}

    @property
    def decisions(self) -> list[Decision]:
        return readDecisions(self._node.followUpDecisions) if self._node is not None else []

    @property
    def name(self) -> str:
        return self._node.reader.strip() if self._node is not None else ""

    def show(self, node) -> None:
        """Shows what the reader of a parameter node may see."""
        self._node = node
        if self.name != self._reader:
            self._reader = self.name
            self._history.clear()
        ui, number, decisions = self.ui, self._number(), self.decisions
        own = shownTo(decisions, self.name).get(self.name, {}).get(number)
        self._decision.show(own.decision if own else "")
        if ui.followUpCommentEdit.text != (own.comment if own else ""):
            ui.followUpCommentEdit.text = own.comment if own else ""
        free = bool(self.name and number) and not isOpen(decisions)
        ui.followUpDecisionCombo.enabled = free
        ui.followUpCommentEdit.enabled = free and own is not None
        done = isDone(decisions, self.name)
        ui.followUpDoneButton.enabled = self.name in readers(decisions) and not done
        ui.followUpReadersLabel.text = self._state(decisions)

    def columns(self) -> tuple[list[str], Callable[[str], list[str]]]:
        """For the table of nodules: headers, and the cells of a nodule by its number."""
        shown = shownTo(self.decisions, self.name)

        def cells(number: str) -> list[str]:
            return [_text(found.get(number)) if found else _(BLIND) for found in shown.values()]

        return [_("Read by {name}").format(name=name) for name in shown], cells

    def takeOver(self, numbers: dict[str, str]) -> None:
        """A new study numbers the nodules otherwise; numbers: old to new."""
        self._history.clear()
        if self._node is not None and self.decisions:
            writeDecisions(self._node.followUpDecisions, renumbered(self.decisions, numbers))

    def done(self) -> None:
        """The reader has read all nodules."""
        self._write(Decision(self.name, "", DONE))

    def _choose(self, decision: str) -> None:
        """As the list of decisions, where one can be made."""
        combo = self.ui.followUpDecisionCombo
        if combo.enabled:
            combo.setCurrentIndex(combo.findData(decision))

    def _decide(self, decision: str) -> None:
        self._write(Decision(self.name, self._number(), decision, self.ui.followUpCommentEdit.text))

    def _comment(self) -> None:
        own = shownTo(self.decisions, self.name).get(self.name, {}).get(self._number())
        text = self.ui.followUpCommentEdit.text
        # Leaving the field is no change.
        if own is not None and own.comment != text:
            self._write(Decision(self.name, own.nodule, own.decision, text))

    def _write(self, new: Decision) -> None:
        node = self._node
        if node is None or not new.reader or isOpen(self.decisions):
            return
        if node.followUpDecisions is None:
            name = slicer.mrmlScene.GenerateUniqueName(_("Readers' decisions"))
            node.followUpDecisions = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
        table, before = node.followUpDecisions, self.decisions
        writeDecisions(table, decided(before, new))
        after = self.decisions
        if isOpen(after):
            # From here on decisions stay.
            self._history.clear()
        else:
            self._history.record(
                Step(
                    _described(new),
                    (table,),
                    undo=lambda: self._put(table, after, before, new.nodule),
                    redo=lambda: self._put(table, before, after, new.nodule),
                )
            )
        self.show(node)
        self._changed()

    def _put(
        self,
        table: slicer.vtkMRMLTableNode,
        expected: list[Decision],
        wanted: list[Decision],
        nodule: str,
    ) -> None:
        """Writes the decisions as they were, and shows the nodule that the step was about."""
        if readDecisions(table) != expected:
            raise InputError("The table of decisions was changed elsewhere.", "Decide anew.", code="scene")
        writeDecisions(table, wanted)
        if nodule:
            self._select(nodule)
        self.show(self._node)
        self._changed()

    def _state(self, decisions: list[Decision]) -> str:
        if not self.name:
            return _("Type the reader's name to decide.")
        if isOpen(decisions):
            return _("All readers are done: their decisions are shown beside each other, and stay.")
        others = [name for name in readers(decisions) if name != self.name]
        lines = [
            _("{name} is done.").format(name=name)
            if isDone(decisions, name)
            else _("{name} is reading.").format(name=name)
            for name in others
        ]
        if isDone(decisions, self.name):
            lines.append(_("You are done; a change takes that back."))
        return " ".join(lines)


def _described(one: Decision) -> str:
    if not one.nodule:
        return _("all nodules read")
    return _("nodule {number} {what}").format(number=one.nodule, what=one.decision or _("not decided"))


def _text(one: Decision | None) -> str:
    if one is None or not one.decision:
        return ""
    comment = f", {one.comment}" if one.comment else ""
    return f"{one.decision}{comment} ({one.when[:16].replace('T', ' ')})"
