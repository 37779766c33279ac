"""Stand-ins for Slicer's own widgets; they work on the real MRML scene.

Only what Slicer's Python reaches through PythonQt is here: properties, slots, invokable methods and signals.
"""

from __future__ import annotations

import vtk
from PySide6 import QtCore, QtGui
from PySide6.QtCore import Signal

from .ctk_widgets import ctk
from .node_combo_box import Observing, qMRMLNodeComboBox
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
        if scene is not self.mrmlScene():
            self.__dict__["_scene"] = scene
            self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self):
        return self.__dict__.get("_scene")


@sceneSignal
class qSlicerWidget(qMRMLWidget):
    pass


@placeholder
class qMRMLSliderWidget(ctk.ctkSliderWidget):
    quantity = stored(str, "_quantity", "")

    def setMRMLScene(self, scene) -> None:
        self.__dict__["_scene"] = scene

    def mrmlScene(self):
        return self.__dict__.get("_scene")


@placeholder
class qMRMLTableView(Observing, wrapped("QTableView")):
    """Shows a table node, read only."""

    selectionChanged = Signal()
    _internal = ("_observed",)
    transposed = stored(bool, "_transposed", False)
    firstRowLocked = stored(bool, "_firstRowLocked", False)
    firstColumnLocked = stored(bool, "_firstColumnLocked", False)

    def setMRMLScene(self, scene) -> None:
        self.__dict__["_scene"] = scene

    def mrmlTableNode(self):
        return self.__dict__.get("_table")

    def setMRMLTableNode(self, node) -> None:
        self.unobserve("_fill")
        self.__dict__["_table"] = node
        if node is not None:
            self.observe(node, [vtk.vtkCommand.ModifiedEvent], "_fill")
        self._fill()

    def _fill(self) -> None:
        node = self.mrmlTableNode()
        table = node.GetTable() if node is not None else vtk.vtkTable()
        columns = range(table.GetNumberOfColumns())
        model = QtGui.QStandardItemModel(table.GetNumberOfRows(), len(columns))
        for column in columns:
            model.setHorizontalHeaderItem(column, QtGui.QStandardItem(table.GetColumnName(column) or ""))
            for row in range(table.GetNumberOfRows()):
                item = QtGui.QStandardItem(table.GetValue(row, column).ToString())
                item.setFlags(QtCore.Qt.ItemIsSelectable | QtCore.Qt.ItemIsEnabled)
                model.setItem(row, column, item)
        self.setModel(model)
        self.__dict__["_model"] = model
        self.selectionModel().connect(
            "selectionChanged(QItemSelection,QItemSelection)", lambda: self.selectionChanged.emit()
        )


@placeholder
class qMRMLSegmentSelectorWidget(QWidget):
    """A segmentation and one of its segments."""

    currentNodeChanged = Signal(object)
    currentSegmentChanged = Signal(str)
    _signatures = {"currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged"}
    _internal = ("_nodes", "_segments")

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

    def setMRMLScene(self, scene) -> None:
        self._nodes.setMRMLScene(scene)

    def currentNode(self):
        return self._nodes.currentNode()

    def setCurrentNode(self, node) -> None:
        self._nodes.setCurrentNode(node)

    def currentSegmentID(self) -> str:
        return self._segments.currentData or ""

    def setCurrentSegmentID(self, segmentID: str) -> None:
        self._segments.currentIndex = self._segments.findData(segmentID)

    def _onNode(self, node) -> None:
        self._segments.clear()
        segmentation = node.GetSegmentation() if node is not None else None
        for index in range(segmentation.GetNumberOfSegments() if segmentation else 0):
            segment = segmentation.GetNthSegment(index)
            self._segments.addItem(segment.GetName(), segmentation.GetNthSegmentID(index))
        self.currentNodeChanged.emit(node)


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
