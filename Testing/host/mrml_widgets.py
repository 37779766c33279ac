"""Stand-ins for Slicer's own widgets; they work on the real MRML scene.

Only what Slicer's Python reaches through PythonQt is here: properties, slots, invokable methods and signals.
"""

from __future__ import annotations

import slicer
import vtk
from PySide6 import QtCore, QtGui
from PySide6.QtCore import Signal

from .ctk_widgets import ctk
from .node_combo_box import qMRMLNodeComboBox
from .observing import Observing
from .placeholders import placeholder, stored
from .pythonqt import QWidget, qt, wrapped


def sceneSignal(cls: type) -> type:
    """Class decorator: `mrmlSceneChanged(vtkMRMLScene*)` by its C++ signature."""
    cls._signatures = {
        **cls.__dict__.get("_signatures", {}),
        "mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged",
    }
    return placeholder(cls)


@sceneSignal
class qMRMLWidget(QWidget):
    mrmlSceneChanged = Signal(object)
    _internal = ("_scene",)

    def setMRMLScene(self, scene) -> None:
        if scene is not self.__dict__.get("_scene"):
            self.__dict__["_scene"] = scene
            self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self):
        return self.__dict__.get("_scene")


@sceneSignal
class qSlicerWidget(QWidget):
    """As a qMRMLWidget, but Python cannot ask it for its scene."""

    mrmlSceneChanged = Signal(object)
    _internal = ("_scene",)

    def setMRMLScene(self, scene) -> None:
        if scene is not self.__dict__.get("_scene"):
            self.__dict__["_scene"] = scene
            self.mrmlSceneChanged.emit(scene)


@placeholder
class qMRMLSliderWidget(ctk.ctkSliderWidget):
    quantity = stored(str, "_quantity", "")
    orientation = stored(int, "_orientation", 1)
    unitAwareProperties = stored(int, "_unitAwareProperties", 0x1F)

    def setQuantity(self, baseName: str) -> None:
        self.quantity = baseName

    def setMRMLScene(self, scene) -> None:
        self.__dict__["_scene"] = scene

    def mrmlScene(self):
        return self.__dict__.get("_scene")


@placeholder
class qMRMLTableView(Observing, wrapped("QTableView")):
    """Shows a table node; cells can be edited unless the node is locked."""

    selectionChanged = Signal()
    _internal = ("_observed",)
    transposed = stored(bool, "_transposed", False)
    firstRowLocked = stored(bool, "_firstRowLocked", False)
    firstColumnLocked = stored(bool, "_firstColumnLocked", False)

    def __init__(self, parent=None):
        super().__init__(parent)
        model = self.__dict__["_model"] = QtGui.QStandardItemModel()
        self.__dict__["_filling"] = False
        self.setModel(model)
        model.itemChanged.connect(lambda item: self._onEdited(item))
        self.selectionModel().connect(
            "selectionChanged(QItemSelection,QItemSelection)", lambda: self.selectionChanged.emit()
        )

    def setMRMLScene(self, scene) -> None:
        self.__dict__["_scene"] = scene

    def mrmlScene(self):
        return self.__dict__.get("_scene")

    def mrmlTableNode(self):
        return self.__dict__.get("_table")

    def setMRMLTableNode(self, node) -> None:
        """Also for the node that it has: columns are resized to their content, the selection is told."""
        self.unobserve("_fill")
        self.__dict__["_table"] = node
        if node is not None:
            self.observe(node, vtk.vtkCommand.ModifiedEvent, "_fill")
        self._fill()
        self.resizeColumnsToContents()
        self.selectionChanged.emit()

    def _fill(self, *_) -> None:
        node, model = self.mrmlTableNode(), self.__dict__["_model"]
        table = node.GetTable() if node is not None else vtk.vtkTable()
        rows, columns = table.GetNumberOfRows(), table.GetNumberOfColumns()
        flags = QtCore.Qt.ItemIsSelectable | QtCore.Qt.ItemIsEnabled
        if node is not None and not node.GetLocked():
            flags |= QtCore.Qt.ItemIsEditable
        self.__dict__["_filling"] = True
        model.setRowCount(rows)
        model.setColumnCount(columns)
        for column in range(columns):
            name = table.GetColumnName(column) or ""
            title, unit = node.GetColumnTitle(name) or name, node.GetColumnUnitLabel(name)
            model.setHorizontalHeaderItem(column, QtGui.QStandardItem(f"{title} [{unit}]" if unit else title))
            for row in range(rows):
                item = QtGui.QStandardItem(table.GetValue(row, column).ToString())
                item.setFlags(flags)
                model.setItem(row, column, item)
        self.__dict__["_filling"] = False

    def _onEdited(self, item: QtGui.QStandardItem) -> None:
        if not self.__dict__["_filling"]:
            node = self.mrmlTableNode()
            node.GetTable().SetValue(item.row(), item.column(), vtk.vtkVariant(item.text()))
            node.Modified()


@sceneSignal
class qMRMLSegmentSelectorWidget(Observing, qMRMLWidget):
    """A segmentation and one of its segments: the first one until another is chosen."""

    currentNodeChanged = Signal(object)
    _validNodeChanged = Signal(bool)
    currentSegmentChanged = Signal(str)
    _signatures = {
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "currentNodeChanged(bool)": "_validNodeChanged",
    }
    _internal = ("_nodes", "_segments", "_scene", "_observed")

    def __init__(self, parent=None):
        super().__init__(parent)
        self._nodes, self._segments = qMRMLNodeComboBox(), qt.QComboBox()
        self._nodes.nodeTypes = ["vtkMRMLSegmentationNode"]
        self._nodes.addEnabled = self._nodes.removeEnabled = False
        layout = qt.QVBoxLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._nodes)
        layout.addWidget(self._segments)
        self.setLayout(layout)
        self._nodes.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: self._onNode(node))
        self._segments.connect(
            "currentIndexChanged(int)", lambda: self.currentSegmentChanged.emit(self.currentSegmentID())
        )

    noneEnabled = stored(bool, "_noneEnabled", False, "_fill")

    def setMRMLScene(self, scene) -> None:
        self._nodes.setMRMLScene(scene)
        super().setMRMLScene(scene)

    def currentNode(self):
        return self._nodes.currentNode()

    def setCurrentNode(self, node) -> None:
        self._nodes.setCurrentNode(node)

    def currentSegmentID(self) -> str:
        return self._segments.currentData or ""

    def segmentIDs(self) -> list[str]:
        segmentation = self.currentNode().GetSegmentation() if self.currentNode() is not None else None
        return list(segmentation.GetSegmentIDs()) if segmentation else []

    def setCurrentSegmentID(self, segmentID: str) -> None:
        if (index := self._segments.findData(segmentID)) >= 0:
            self._segments.currentIndex = index

    def _onNode(self, node) -> None:
        self.unobserve("_fill")
        if node is not None:
            for name in ("SegmentAdded", "SegmentRemoved", "SegmentModified"):
                self.observe(node.GetSegmentation(), getattr(slicer.vtkSegmentation, name), "_fill")
        self._fill()
        self.currentNodeChanged.emit(node)
        self._validNodeChanged.emit(node is not None)

    def _fill(self, *_) -> None:
        before, first = self.currentSegmentID(), not self.noneEnabled
        offered = [] if first else [("None", "")]
        for segmentID in self.segmentIDs():
            offered.append((self.currentNode().GetSegmentation().GetSegment(segmentID).GetName(), segmentID))
        self._segments.blockSignals(True)
        self._segments.clear()
        for name, segmentID in offered:
            self._segments.addItem(name, segmentID)
        kept = self._segments.findData(before)
        # A segment that is gone gives way to the first one there is.
        self._segments.currentIndex = kept if kept >= 0 else min(int(bool(before)), len(offered) - 1)
        self._segments.blockSignals(False)
        if self.currentSegmentID() != before:
            self.currentSegmentChanged.emit(self.currentSegmentID())


WIDGETS = {
    cls.__name__: cls
    for cls in (
        qMRMLWidget,
        qSlicerWidget,
        qMRMLNodeComboBox,
        qMRMLSliderWidget,
        qMRMLTableView,
        qMRMLSegmentSelectorWidget,
    )
}
