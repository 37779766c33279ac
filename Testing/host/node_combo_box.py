"""Stand-in for qMRMLNodeComboBox, the list of a scene's nodes; it works on the real scene.

What the real one does by itself is kept: when the current node is removed or hidden, the list's next node is
selected, or the last; signals come again when rows above the current one come or go; the list is filled anew
when a scene has been closed or imported, which leaves nothing selected.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal

from . import dialogs, pythonqt, version
from .node_filter import NodeFilter
from .node_rows import NodeRows
from .placeholders import placeholder, stored
from .pythonqt import QWidget, qt


def _filtering(kind: type | str, key: str) -> Property:
    """A property that is one of the filter's."""

    def write(self, value):
        setattr(self._filter, key, list(value) if kind == "QStringList" else value)
        self._filterChanged()

    return Property(kind, lambda self: getattr(self._filter, key), write)


@placeholder
class qMRMLNodeComboBox(NodeRows, QWidget):
    """Lists the nodes of some classes."""

    currentNodeChanged = Signal(object)
    _validNodeChanged = Signal(bool)
    currentNodeIDChanged = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAddedByUserAction = Signal(object)  # not in 5.10, see version.py
    nodeAboutToBeRemoved = Signal(object)
    nodeAboutToBeEdited = Signal(object)
    currentNodeRenamed = Signal(str)
    _signatures = {
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "currentNodeChanged(bool)": "_validNodeChanged",
        "nodeActivated(vtkMRMLNode*)": "nodeActivated",
        "nodeAdded(vtkMRMLNode*)": "nodeAdded",
        "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUser",
        "nodeAddedByUserAction(vtkMRMLNode*)": "nodeAddedByUserAction",
        "nodeAboutToBeRemoved(vtkMRMLNode*)": "nodeAboutToBeRemoved",
        "nodeAboutToBeEdited(vtkMRMLNode*)": "nodeAboutToBeEdited",
    }
    _internal = ("_combo", "_scene", "_ids", "_current", "_filter", "_baseNames", "_wanted", "_observed")

    def __init__(self, parent=None):
        super().__init__(parent)
        # IDs of the nodes in sight, in the scene's order; the current one's; what was asked for before there
        # was a scene.
        self._scene, self._ids, self._current, self._wanted = None, [], None, None
        self._filter, self._baseNames = NodeFilter(), {}
        self._combo = qt.QComboBox()
        # As wide as its widest entry when it is first laid out, unless the widget's policy ignores that.
        self._combo.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Expanding)
        layout = qt.QHBoxLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self.setLayout(layout)
        self._combo.connect("activated(int)", lambda row: self._onActivated(row))
        self.enabled = False
        self._refill()

    nodeTypes = _filtering("QStringList", "types")
    hideChildNodeTypes = _filtering("QStringList", "hiddenTypes")
    showHidden = _filtering(bool, "hidden")
    showChildNodeTypes = _filtering(bool, "children")
    noneEnabled = stored(bool, "_noneEnabled", False, "_refill")
    noneDisplay = stored(str, "_noneDisplay", "None", "_refill")
    addEnabled = stored(bool, "_addEnabled", True, "_refill")
    removeEnabled = stored(bool, "_removeEnabled", True, "_refill")
    editEnabled = stored(bool, "_editEnabled", False, "_refill")
    renameEnabled = stored(bool, "_renameEnabled", False, "_refill")
    selectNodeUponCreation = stored(bool, "_selectNodeUponCreation", True)
    interactionNodeSingletonTag = stored(str, "_interactionNodeSingletonTag", "Singleton")
    sizeAdjustPolicy = Property(
        int,
        lambda self: self._combo.sizeAdjustPolicy.value,
        lambda self, policy: self._combo.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy(policy)),
    )
    currentNodeID = Property(
        str, lambda self: self._current or "", lambda self, nodeID: self.setCurrentNodeID(nodeID)
    )

    def _setBaseName(self, name: str) -> None:
        if not self._filter.types:
            warnings.warn("qMRMLNodeComboBox: no node types yet, so baseName is lost", stacklevel=2)
        self._baseNames.update(dict.fromkeys(self._filter.types, name))

    def _baseName(self) -> str:
        return self._baseNames.get(self._filter.types[0], "") if self._filter.types else ""

    baseName = Property(str, lambda self: self._baseName(), lambda self, name: self._setBaseName(name))

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene) -> None:
        if scene is self._scene:
            return
        wanted, self._wanted = self._current if self._ids else self._wanted, None
        self._follow(scene)
        self.enabled = scene is not None
        self._refill()
        self.setCurrentNodeID(wanted or "")

    def currentNode(self):
        return self._scene.GetNodeByID(self._current) if self._scene and self._current else None

    def setCurrentNode(self, node) -> None:
        self.setCurrentNodeID(node if isinstance(node, str) else node.GetID() if node is not None else "")

    def setCurrentNodeID(self, nodeID: str) -> None:
        """None where the list has no such node."""
        if self._scene is None:
            self._wanted = nodeID
            return
        self._select(nodeID if nodeID in self._ids else None)

    def setCurrentNodeIndex(self, index: int) -> None:
        self._select(self._ids[index] if 0 <= index < len(self._ids) else None)

    def nodeCount(self) -> int:
        return len(self._ids)

    def nodeFromIndex(self, index: int):
        return self._scene.GetNodeByID(self._ids[index]) if 0 <= index < len(self._ids) else None

    def nodeTypeLabel(self, nodeType: str) -> str:
        """What the user reads for a node class: `Volume` for vtkMRMLScalarVolumeNode."""
        return (self._scene.GetTypeDisplayNameByClassName(nodeType) if self._scene else "") or "node"

    def addAttribute(self, nodeType: str, name: str, value=None) -> None:
        self._filter.attributes[nodeType] = (name, "" if value is None else str(value))
        self._filterChanged()

    def addNode(self, nodeType: str | None = None):
        """A new node; None, with a warning, for a class that is not listed."""
        if nodeType is None and not self._filter.types:
            return None
        nodeType = self._filter.types[0] if nodeType is None else nodeType
        if nodeType not in self._filter.types:
            warnings.warn(f"qMRMLNodeComboBox: {nodeType} is not among the node types", stacklevel=2)
            return None
        node = self._scene.CreateNodeByClass(nodeType)
        node.UnRegister(None)
        name = self._baseNames.get(nodeType) or node.GetDefaultNodeNamePrefix()
        node.SetName(self._scene.GenerateUniqueName(name))
        for attribute, value in self._filter.attributes.values():
            node.SetAttribute(attribute, value)
        node = self._scene.AddNode(node)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        if node := self.currentNode():
            self._scene.RemoveNode(node)

    def editCurrentNode(self) -> None:
        self.nodeAboutToBeEdited.emit(self.currentNode())

    def renameCurrentNode(self) -> None:
        node = self.currentNode()
        if node and (name := self._askName(f"Rename {self.nodeTypeLabel(node.GetClassName())}")):
            node.SetName(name)
            self.currentNodeRenamed.emit(name)

    # What is shown

    def _filterChanged(self) -> None:
        if self._scene is not None:
            # Without an entry for none, a selection that is lost this way is lost silently.
            self._setIds(self._look(), tellNone=self.noneEnabled)
        self._refill()

    def _firstRow(self) -> int:
        return 1 if self.noneEnabled else 0

    def _refill(self) -> None:
        # While a file is loaded each property would fill it again; the loader does it at the end.
        if "_combo" not in self.__dict__ or pythonqt.isLoading():
            return
        nodes = [self._scene.GetNodeByID(nodeID) for nodeID in self._ids]
        self._combo.blockSignals(True)
        self._combo.clear()
        self._combo.addItems([self.noneDisplay] * self._firstRow() + [node.GetName() or "" for node in nodes])
        if actions := self._actions():
            self._combo.insertSeparator(self._combo.count)
            self._combo.addItems([text for text, _ in actions])
        types = self._filter.types
        self._combo.placeholderText = f"Select a {self.nodeTypeLabel(types[0] if types else '')}"
        self._combo.blockSignals(False)
        self._showCurrent()

    def _showCurrent(self) -> None:
        row = self._firstRow() + self._ids.index(self._current) if self._current else self._firstRow() - 1
        self._combo.blockSignals(True)
        self._combo.currentIndex = row
        self._combo.blockSignals(False)

    def _actions(self) -> list[tuple[str, Callable[[], None]]]:
        """The menu's entries below the nodes and what each does."""
        types = self._filter.types
        label = self.nodeTypeLabel(types[0] if len(types) == 1 else "")
        actions = [(f"Rename current {label}", self.renameCurrentNode)] if self.renameEnabled else []
        if self.editEnabled:
            actions.append((f"Edit current {label}", self.editCurrentNode))
        for nodeType in types if self.addEnabled else ():
            create = f"Create new {self.nodeTypeLabel(nodeType)}"
            actions.append((create, lambda t=nodeType: self._create(t)))
            if self.renameEnabled:
                actions.append((f"{create} as...", lambda t=nodeType, c=create: self._create(t, c)))
        if self.removeEnabled:
            actions.append((f"Delete current {label}", self.removeCurrentNode))
        return actions

    def _create(self, nodeType: str, title: str = "") -> None:
        """What the menu does; a title is that of a dialog that asks for the name."""
        name = self._askName(title) if title else None
        if title and not name:
            return
        if (node := self.addNode(nodeType)) is not None:
            if name:
                node.SetName(name)
            self.setCurrentNode(node)
            (self.nodeAddedByUser if version.isOlder() else self.nodeAddedByUserAction).emit(node)

    @staticmethod
    def _askName(title: str) -> str:
        return dialogs.dialogs.ask(dialogs.ShownDialog("getText", title, "New name:"))

    def _onActivated(self, row: int) -> None:
        if row < self._firstRow() + len(self._ids):
            self._select(self._ids[row - self._firstRow()] if row >= self._firstRow() else None)
            self.nodeActivated.emit(self.currentNode())
        else:
            # A separator stands between.
            self._actions()[row - self._firstRow() - len(self._ids) - 1][1]()
            self._showCurrent()
