"""A page's tie to the module's parameter node: widgets bound by their names, changes told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import slicer
import vtk

from GLIDERegLib.scene.mrml.selections import Selections


class ParameterBinding:
    """Ties the widgets of a page to one parameter node at a time. ui: the page's widgets.

    changed: is called after each change of the node, whoever made it.
    """

    def __init__(self, ui, changed: Callable[[], None]):
        self._ui, self._changed = ui, changed
        self._node = None

    def isTo(self, node) -> bool:
        """Whether this node, wrapped anew or not, is the one that is bound."""
        return None not in (node, self._node) and node.parameterNode is self._node.parameterNode

    def set(self, name: str, value: str | int) -> None:
        """Sets a parameter of the bound node, if it is another."""
        if self._node is not None and getattr(self._node, name) != value:
            setattr(self._node, name, value)

    def bind(self, node) -> None:
        """Binds another parameter node, or none while a scene is closed or comes in.

        Not for the node that is bound: Slicer 5.10 leaves observers behind each time.
        """
        if self._node is not None:
            self._selections.close()
            self._node.disconnectGui(self._guiTag)
            self._node.parameterNode.RemoveObserver(self._tag)
        self._node = node
        if node is not None:
            # First, so that boxes that lose a node find the parameter empty already.
            self._selections = Selections(node)
            self._guiTag = node.connectGui(self._ui)
            event = vtk.vtkCommand.ModifiedEvent
            self._tag = node.parameterNode.AddObserver(event, lambda *_: self._changed())


def showTable(
    view: slicer.qMRMLTableView, tableNode: slicer.vtkMRMLTableNode | None, widths: Sequence[int] = ()
) -> None:
    """Shows a table in a qMRMLTableView; where it is shown already, the column widths stay the user's.

    widths: of the first columns, pixels, so that they fit into the panel beside each other.
    """
    if view.mrmlTableNode() is not tableNode:
        view.setMRMLTableNode(tableNode)
        for column, width in enumerate(widths):
            view.setColumnWidth(column, width)
