"""What a reader decided on a page, step by step, to be taken back and done again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import slicer


@dataclass(frozen=True)
class Step:
    """text: what was decided, for the reader. nodes: without all of them nothing can be taken back.

    subject: a later step of the same subject takes the place of this one, see `History.joins`; "" for none.
    """

    text: str
    nodes: tuple[slicer.vtkMRMLNode, ...]
    undo: Callable[[], None]
    redo: Callable[[], None]
    subject: str = ""


class History:
    """The steps of a page. changed: is called whenever what can be taken back is another.

    It lives as long as the nodes that it is of: steps whose nodes have left the scene are dropped.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None):
        self._onChanged = changed
        self._done: list[Step] = []
        self._undone: list[Step] = []
        self._open = False

    @property
    def undoText(self) -> str:
        """What `undo` would take back; "" for nothing."""
        self._drop()
        return self._done[-1].text if self._done else ""

    @property
    def redoText(self) -> str:
        """What `redo` would do again; "" for nothing."""
        self._drop()
        return self._undone[-1].text if self._undone else ""

    def joins(self, subject: str) -> bool:
        """Whether a step of this subject would take the place of the last one, such as the next letter of a
        comment: then it has to take back both.
        """
        self._drop()
        return self._open and bool(subject and self._done) and self._done[-1].subject == subject

    def record(self, step: Step) -> None:
        """Takes note of a step that was done; what was taken back before cannot be done again."""
        if self.joins(step.subject):
            self._done.pop()
        self._done.append(step)
        self._undone.clear()
        self._open = True
        self._onChanged()

    def seal(self) -> None:
        """The next step stands alone, whatever its subject."""
        self._open = False

    def undo(self) -> None:
        """Takes the last step back. What its `undo` raises is passed on, with nothing changed here."""
        if self.undoText:
            self._done[-1].undo()
            self._undone.append(self._done.pop())
        self.seal()
        self._onChanged()

    def redo(self) -> None:
        """Does again what was taken back last; see `undo`."""
        if self.redoText:
            self._undone[-1].redo()
            self._done.append(self._undone.pop())
        self.seal()
        self._onChanged()

    def forget(self, nodes: Sequence[slicer.vtkMRMLNode | None]) -> None:
        """Drops what was decided in these nodes, for they were filled anew."""
        self._keep(lambda step: not any(node in step.nodes for node in nodes))
        self._onChanged()

    def clear(self) -> None:
        """Drops everything."""
        self._keep(lambda step: False)
        self._onChanged()

    def _drop(self) -> None:
        self._keep(lambda step: all(node.GetScene() is not None for node in step.nodes))

    def _keep(self, wanted: Callable[[Step], bool]) -> None:
        self._done = [step for step in self._done if wanted(step)]
        self._undone = [step for step in self._undone if wanted(step)]
