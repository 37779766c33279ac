"""The rows of a qMRMLNodeComboBox, which follow the scene as qMRMLSceneModel, its filter and Qt's box do."""

from __future__ import annotations

import vtk

from . import version
from .observing import Observing


class NodeRows(Observing):
    """Mixed into the combo box, which shows them: `_ids` of the nodes in sight, in the scene's order, and
    `_current`, one of them or None. It uses the widget's `_combo`, `_filter`, `_firstRow`, `_showCurrent` and
    signals.
    """

    def _follow(self, scene) -> None:
        """Lists what is in another scene, or nothing; tells nobody."""
        for method in ("_onAdded", "_onRemoved", "_onReplaced", "_onNodeModified"):
            self.unobserve(method)
        self._scene, self._ids, self._current = scene, [], None
        if scene is None:
            return
        self.observe(scene, scene.NodeAddedEvent, "_onAdded", 10.0, vtk.VTK_OBJECT)
        # After the observers of modules, which have priority 0.
        self.observe(scene, scene.NodeAboutToBeRemovedEvent, "_onRemoved", -10.0, vtk.VTK_OBJECT)
        for event in (scene.EndCloseEvent, scene.EndImportEvent):
            self.observe(scene, event, "_onReplaced")
        self._ids = self._look()

    def _look(self) -> list[str]:
        """The IDs of the nodes to list; all that concern the filter are watched for changes."""
        self.unobserve("_onNodeModified")
        nodes = self._filter.nodes(self._scene)
        for node in nodes:
            self.observe(node, vtk.vtkCommand.ModifiedEvent, "_onNodeModified")
        return [node.GetID() for node in nodes if self._filter.accepts(node)]

    def _onAdded(self, scene, node) -> None:
        if scene.IsImporting() or not self._filter.concerns(node):
            return
        self.observe(node, vtk.vtkCommand.ModifiedEvent, "_onNodeModified")
        if self._filter.accepts(node):
            self._putIn(len(self._ids), node.GetID())

    def _onRemoved(self, scene, node) -> None:
        if not scene.IsClosing():
            self.unobserve("_onNodeModified", node)
            self._setIds([nodeID for nodeID in self._ids if nodeID != node.GetID()])

    def _onReplaced(self, scene, _) -> None:
        """After closing and importing: every row goes, and what there is now comes in."""
        self._setIds([])
        self._setIds(self._look())

    def _onNodeModified(self, node, _) -> None:
        if self._scene is None or self._scene.IsClosing() or self._scene.IsImporting():
            return
        nodeID, name = node.GetID(), node.GetName() or ""
        if self._filter.accepts(node) != (nodeID in self._ids):
            self._setIds(self._look())
        elif nodeID in self._ids:
            row = self._firstRow() + self._ids.index(nodeID)
            if self._combo.itemText(row) != name:
                self._combo.setItemText(row, name)
                # 5.12 hangs its signals on the text, 5.10 on the row.
                if nodeID == self._current and not version.isOlder():
                    self._announce()

    def _setIds(self, wanted: list[str], tellNone: bool = True) -> None:
        """Takes rows out, from the last to the first, then puts rows in, as Qt's filter does."""
        row = len(self._ids) - 1
        while row >= 0:
            last = row
            while row >= 0 and self._ids[row] not in wanted:
                row -= 1
            if row < last:
                self._takeOut(row + 1, last, tellNone)
            row -= 1
        for row, nodeID in enumerate(wanted):
            if row >= len(self._ids) or self._ids[row] != nodeID:
                self._putIn(row, nodeID)

    def _takeOut(self, first: int, last: int, tellNone: bool) -> None:
        for nodeID in self._ids[first : last + 1]:
            if node := self._scene.GetNodeByID(nodeID):
                self.nodeAboutToBeRemoved.emit(node)
        current = self._currentRow()
        del self._ids[first : last + 1]
        # Qt's box stays at its row number; where an entry of the menu is there now, the last node is taken.
        if first <= current <= last:
            self._current = self._ids[min(current, len(self._ids) - 1)] if self._ids else None
        self._combo.blockSignals(True)
        for row in range(last, first - 1, -1):
            self._combo.removeItem(self._firstRow() + row)
        self._combo.blockSignals(False)
        self._showCurrent()
        if current >= first and (self._current is not None or tellNone):
            self._announce()

    def _putIn(self, row: int, nodeID: str) -> None:
        node, current = self._scene.GetNodeByID(nodeID), self._currentRow()
        self._ids.insert(row, nodeID)
        self._combo.blockSignals(True)
        self._combo.insertItem(self._firstRow() + row, node.GetName() or "")
        self._combo.blockSignals(False)
        self._showCurrent()
        self.nodeAdded.emit(node)
        if current >= row:
            self._announce()

    def _currentRow(self) -> int:
        """Among the nodes; -1 where none is selected."""
        return self._ids.index(self._current) if self._current is not None else -1

    def _select(self, nodeID: str | None) -> None:
        if nodeID != self._current:
            self._current = nodeID
            self._showCurrent()
            self._announce()

    def _announce(self) -> None:
        node = self.currentNode()
        self.currentNodeChanged.emit(node)
        self._validNodeChanged.emit(node is not None)
        self.currentNodeIDChanged.emit(node.GetID() if node is not None else "")
