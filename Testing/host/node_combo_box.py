"""Stand-in for qMRMLNodeComboBox, the list of a scene's nodes; it works on the real scene."""

from __future__ import annotations

import functools
import weakref

import shiboken6
import slicer
import slicer.util
import vtk
from PySide6.QtCore import Property, Signal

from . import dialogs
from .placeholders import placeholder, stored
from .pythonqt import QWidget, qt

# Every widget that ever observed something and still exists.
observing: weakref.WeakSet = weakref.WeakSet()


class Observing:
    """Observers of VTK objects that stay silent once the widget's C++ side is gone."""

    _internal = ("_observed",)

    def observe(self, target, events, method: str) -> None:
        alive = weakref.ref(self)

        def call(*_):
            widget = alive()
            if widget is None or not shiboken6.isValid(widget):
                return
            try:
                getattr(widget, method)()
            except ValueError:
                # Garbage collection in between may have destroyed it.
                if shiboken6.isValid(widget):
                    raise

        observing.add(self)
        tags = [target.AddObserver(event, call) for event in events]
        self.__dict__.setdefault("_observed", []).append((target, method, tags))

    def unobserve(self, method: str) -> None:
        observed = self.__dict__.setdefault("_observed", [])
        for target, _, tags in [entry for entry in observed if entry[1] == method]:
            for tag in tags:
                target.RemoveObserver(tag)
        self.__dict__["_observed"] = [entry for entry in observed if entry[1] != method]


@functools.cache
def _typeLabel(nodeType: str) -> str:
    try:
        return getattr(slicer, nodeType)().GetTypeDisplayName()
    except (AttributeError, TypeError):  # an abstract class, or none at all
        return nodeType.removeprefix("vtkMRML").removesuffix("Node")


@placeholder
class qMRMLNodeComboBox(Observing, QWidget):
    """Lists the nodes of some classes; never selects one by itself."""

    currentNodeChanged = Signal(object)
    _validNodeChanged = Signal(bool)
    currentNodeIDChanged = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAddedByUserAction = Signal(object)
    nodeAboutToBeRemoved = Signal(object)
    _signatures = {
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "currentNodeChanged(bool)": "_validNodeChanged",
        "nodeActivated(vtkMRMLNode*)": "nodeActivated",
        "nodeAdded(vtkMRMLNode*)": "nodeAdded",
        "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUser",
        "nodeAddedByUserAction(vtkMRMLNode*)": "nodeAddedByUserAction",
        "nodeAboutToBeRemoved(vtkMRMLNode*)": "nodeAboutToBeRemoved",
    }
    _internal = ("_combo", "_scene", "_ids", "_current", "_observed")

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene, self._ids, self._current = None, [], None
        self._combo = qt.QComboBox()
        # Long node names must not widen the panel.
        self._combo.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        self._combo.setMinimumContentsLength(10)
        layout = qt.QHBoxLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self.setLayout(layout)
        self._combo.connect("activated(int)", lambda row: self._onActivated(row))
        self.enabled = False
        self._refresh()

    nodeTypes = stored("QStringList", "_nodeTypes", [], "_refresh")
    hideChildNodeTypes = stored("QStringList", "_hideChildNodeTypes", [], "_refresh")
    showHidden = stored(bool, "_showHidden", False, "_refresh")
    showChildNodeTypes = stored(bool, "_showChildNodeTypes", True, "_refresh")
    baseName = stored(str, "_baseName", "")
    noneEnabled = stored(bool, "_noneEnabled", False, "_refresh")
    noneDisplay = stored(str, "_noneDisplay", "None", "_refresh")
    addEnabled = stored(bool, "_addEnabled", True, "_refresh")
    removeEnabled = stored(bool, "_removeEnabled", True, "_refresh")
    editEnabled = stored(bool, "_editEnabled", False, "_refresh")
    renameEnabled = stored(bool, "_renameEnabled", False, "_refresh")
    selectNodeUponCreation = stored(bool, "_selectNodeUponCreation", True)
    interactionNodeSingletonTag = stored(str, "_interactionNodeSingletonTag", "")
    sizeAdjustPolicy = stored(int, "_sizeAdjustPolicy", 0)
    currentNodeID = Property(
        str, lambda self: self._current or "", lambda self, nodeID: self.setCurrentNodeID(nodeID)
    )

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene) -> None:
        if scene is self._scene:
            return
        self.unobserve("_onSceneChanged")
        self._scene = scene
        if scene is not None:
            events = (
                "NodeAddedEvent",
                "NodeRemovedEvent",
                "EndBatchProcessEvent",
                "EndCloseEvent",
                "EndImportEvent",
            )
            self.observe(scene, [getattr(slicer.vtkMRMLScene, e) for e in events], "_onSceneChanged")
        self.enabled = scene is not None
        self._refresh()

    def currentNode(self):
        return self._scene.GetNodeByID(self._current) if self._scene and self._current else None

    def setCurrentNode(self, node) -> None:
        self.setCurrentNodeID(node if isinstance(node, str) else node.GetID() if node is not None else "")

    def setCurrentNodeID(self, nodeID: str) -> None:
        self._update()
        nodeID = nodeID if nodeID in self._ids else None
        if nodeID != self._current:
            self._current = nodeID
            self._showCurrent()
            self._announce()

    def setCurrentNodeIndex(self, index: int) -> None:
        self.setCurrentNode(self.nodeFromIndex(index))

    def nodeCount(self) -> int:
        return len(self._nodes())

    def nodeFromIndex(self, index: int):
        nodes = self._nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    def nodeTypeLabel(self, nodeType: str) -> str:
        """What the user reads for a node class: `Scalar Volume` for vtkMRMLScalarVolumeNode."""
        return _typeLabel(nodeType)

    def addAttribute(self, nodeType: str, name: str, value=None) -> None:
        self.__dict__.setdefault("_attributes", []).append((nodeType, name, value))
        self._refresh()

    def addNode(self, nodeType: str = ""):
        """A new node as "Create new" in the menu makes it."""
        node = self._scene.CreateNodeByClass(nodeType or self.nodeTypes[0])
        node.UnRegister(None)
        node.SetName(self._scene.GenerateUniqueName(self.baseName or self.nodeTypeLabel(node.GetClassName())))
        node = self._scene.AddNode(node)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUserAction.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        if node := self.currentNode():
            self.nodeAboutToBeRemoved.emit(node)
            self._scene.RemoveNode(node)

    def renameCurrentNode(self) -> None:
        if node := self.currentNode():
            shown = dialogs.ShownDialog("getText", f"Rename {node.GetName()}", "New name:")
            if name := dialogs.dialogs.ask(shown):
                node.SetName(name)

    def _nodes(self) -> list:
        if self._scene is None:
            return []
        # Read once: properties are slow, and scenes have many nodes.
        hidden, children = self.showHidden, self.showChildNodeTypes
        types, hiddenTypes = self.nodeTypes, self.hideChildNodeTypes
        attributes = self.__dict__.get("_attributes", [])

        def accepts(node) -> bool:
            if node.GetHideFromEditors() and not hidden:
                return False
            if any(node.IsA(nodeType) for nodeType in hiddenTypes):
                return False
            if not any(node.IsA(t) if children else node.GetClassName() == t for t in types):
                return False
            for nodeType, name, value in attributes:
                found = node.GetAttribute(name)
                if node.IsA(nodeType) and (found is None or (value is not None and found != str(value))):
                    return False
            return True

        if len(types) == 1:
            # The scene finds the nodes of a class much faster than a loop over all.
            nodes = slicer.util.getNodesByClass(types[0], self._scene)
        else:
            nodes = (self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes()))
        return [node for node in nodes if accepts(node)]

    def _onSceneChanged(self) -> None:
        if self._scene.IsBatchProcessing():
            return
        before = set(self._ids)
        self._update()
        for nodeID in [i for i in self._ids if i and i not in before]:
            self.nodeAdded.emit(self._scene.GetNodeByID(nodeID))

    def _update(self) -> None:
        if [nodeID for nodeID in self._ids if nodeID] != [node.GetID() for node in self._nodes()]:
            self._refresh()

    def _refresh(self) -> None:
        if "_combo" not in self.__dict__:
            return
        nodes = self._nodes()
        self.unobserve("_refreshNames")
        for node in nodes:
            self.observe(node, [vtk.vtkCommand.ModifiedEvent], "_refreshNames")
        self._ids = ([None] if self.noneEnabled else []) + [node.GetID() for node in nodes]
        names = ([self.noneDisplay] if self.noneEnabled else []) + [node.GetName() for node in nodes]
        self._combo.blockSignals(True)
        self._combo.clear()
        self._combo.addItems(names + [text for text, _ in self._actions()])
        hint = f"Select a {self.nodeTypeLabel(self.nodeTypes[0])}" if self.nodeTypes else ""
        self._combo.placeholderText = hint
        self._combo.blockSignals(False)
        gone = self._current is not None and self._current not in self._ids
        self._current = None if gone else self._current
        self._showCurrent()
        if gone:
            self._announce()

    def _refreshNames(self) -> None:
        first = 1 if self.noneEnabled else 0
        for row, node in enumerate(self._nodes()):
            if self._combo.itemText(first + row) != node.GetName():
                self._combo.setItemText(first + row, node.GetName())

    def _showCurrent(self) -> None:
        self._combo.blockSignals(True)
        self._combo.currentIndex = self._ids.index(self._current) if self._current in self._ids else -1
        self._combo.blockSignals(False)

    def _announce(self) -> None:
        node = self.currentNode()
        self.currentNodeChanged.emit(node)
        self._validNodeChanged.emit(node is not None)
        self.currentNodeIDChanged.emit(self._current or "")

    def _actions(self) -> list[tuple[str, object]]:
        """The menu's extra entries and what each does."""
        label = self.nodeTypeLabel(self.nodeTypes[0]) if self.nodeTypes else ""
        actions = [(f"Rename current {label}", self.renameCurrentNode)] if self.renameEnabled else []
        if self.removeEnabled:
            actions.append((f"Delete current {label}", self.removeCurrentNode))
        for nodeType in self.nodeTypes if self.addEnabled else ():
            actions.append((f"Create new {self.nodeTypeLabel(nodeType)}", lambda t=nodeType: self.addNode(t)))
        return actions

    def _onActivated(self, row: int) -> None:
        if row < len(self._ids):
            self.setCurrentNodeID(self._ids[row] or "")
            self.nodeActivated.emit(self.currentNode())
        else:
            self._actions()[row - len(self._ids)][1]()
            self._showCurrent()
