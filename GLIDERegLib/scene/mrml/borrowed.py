"""Properties of the user's nodes that are changed for a while, such as what a slice view shows."""

from __future__ import annotations

from typing import Any

import slicer


class Borrowed:
    """Remembers what it changes and gives it back. Names are those of Get and Set methods, or Get and
    SetAndObserve where a property is a node.

    borrowed = Borrowed()
    borrowed.set(compositeNode, ForegroundOpacity=0.5, Compositing=2)   # SetForegroundOpacity and so on
    borrowed.giveBack()
    """

    def __init__(self):
        # Node and property to what it was and what we made of it.
        self._changes: dict[tuple[slicer.vtkMRMLNode, str], tuple[Any, Any]] = {}

    def set(self, node: slicer.vtkMRMLNode, **properties: Any) -> None:
        """Changes properties of a node; those that have the value already are not touched."""
        changing = node.StartModify()
        for name, value in properties.items():
            before, _ = self._changes.get((node, name), (_get(node, name), None))
            if _get(node, name) != value:
                _set(node, name, value)
            self._changes[node, name] = before, _get(node, name)
        node.EndModify(changing)

    def giveBack(self) -> None:
        """Every property as it was before the first change, except those that somebody else has changed since
        and those of nodes that have left the scene.
        """
        for (node, name), (before, ours) in self._changes.items():
            scene = node.GetScene()
            if scene is None or _get(node, name) != ours:
                continue
            if name.endswith("ID") and before and scene.GetNodeByID(before) is None:
                before = None
            _set(node, name, before)
        self._changes.clear()


def _get(node: slicer.vtkMRMLNode, name: str) -> Any:
    return getattr(node, f"Get{name}")()


def _set(node: slicer.vtkMRMLNode, name: str, value: Any) -> None:
    setter = getattr(node, f"Set{name}", None) or getattr(node, f"SetAndObserve{name}")
    setter(value)
