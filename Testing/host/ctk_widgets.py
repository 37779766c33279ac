"""Stand-ins for the CTK widgets, with the properties, slots and signals that Slicer's Python can reach.

Methods of CTK that are neither slots nor invokable are left out on purpose: PythonQt does not offer them
either (`button.collapsed = True` works in Slicer, `button.setCollapsed(True)` does not).
"""

from __future__ import annotations

import types
from pathlib import Path

from PySide6 import QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from . import dialogs
from .collapsible import ctkCollapsibleButton, ctkCollapsibleGroupBox
from .placeholders import placeholder, stored
from .pythonqt import PythonQtObject, QWidget, qt, wrapped

ctk = types.ModuleType("ctk", "CTK as Slicer's Python sees it.")


@placeholder
class ctkSliderWidget(QWidget):
    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    _signatures = {"valueChanged(double)": "valueChanged", "valueIsChanging(double)": "valueIsChanging"}
    _internal = ("_slider", "_spinBox")
    _steps = 1000

    def __init__(self, parent=None):
        super().__init__(parent)
        self._slider = qt.QSlider(Qt.Horizontal)
        self._spinBox = qt.QDoubleSpinBox()
        self._slider.setRange(0, self._steps)
        layout = qt.QHBoxLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._spinBox)
        self.setLayout(layout)
        # A function of its own: PySide6 would add a bound method to the class's finished meta-object as a
        # new slot.
        self._spinBox.valueChanged.connect(lambda value: self._onValue(value))
        self._slider.sliderMoved.connect(lambda step: self._onSlider(step))

    def _span(self) -> float:
        return self._spinBox.maximum - self._spinBox.minimum

    def _onValue(self, value: float) -> None:
        fraction = (value - self._spinBox.minimum) / self._span() if self._span() else 0.0
        self._slider.setValue(round(self._steps * fraction))
        self.valueChanged.emit(value)

    def _onSlider(self, step: int) -> None:
        self._spinBox.setValue(self._spinBox.minimum + step / self._steps * self._span())

    value = Property(float, lambda self: self._spinBox.value, lambda self, v: self._spinBox.setValue(v))
    minimum = Property(float, lambda self: self._spinBox.minimum, lambda self, v: self._spinBox.setMinimum(v))
    maximum = Property(float, lambda self: self._spinBox.maximum, lambda self, v: self._spinBox.setMaximum(v))
    decimals = Property(
        int, lambda self: self._spinBox.decimals, lambda self, v: self._spinBox.setDecimals(v)
    )
    prefix = Property(str, lambda self: self._spinBox.prefix, lambda self, v: self._spinBox.setPrefix(v))
    suffix = Property(str, lambda self: self._spinBox.suffix, lambda self, v: self._spinBox.setSuffix(v))
    singleStep = Property(
        float, lambda self: self._spinBox.singleStep, lambda self, v: self._spinBox.setSingleStep(v)
    )
    spinBoxVisible = Property(
        bool, lambda self: not self._spinBox.isHidden(), lambda self, v: self._spinBox.setVisible(v)
    )
    pageStep = stored(float, "_pageStep", 10.0)
    tracking = stored(bool, "_tracking", True)
    tickInterval = stored(float, "_tickInterval", 0.0)
    popupSlider = stored(bool, "_popupSlider", False)
    autoSpinBoxWidth = stored(bool, "_autoSpinBoxWidth", True)

    def setValue(self, value: float) -> None:
        self._spinBox.setValue(value)

    def setSpinBoxVisible(self, visible: bool) -> None:
        self._spinBox.setVisible(visible)

    def reset(self) -> None:
        self._spinBox.setValue(0.0)


@placeholder
class ctkDoubleSpinBox(wrapped("QDoubleSpinBox")):
    pass


@placeholder
class ctkComboBox(wrapped("QComboBox")):
    defaultText = Property(
        str,
        lambda self: QtWidgets.QComboBox.placeholderText(self),
        lambda self, text: QtWidgets.QComboBox.setPlaceholderText(self, text),
    )
    defaultIcon = stored(QtGui.QIcon, "_defaultIcon", QtGui.QIcon())
    scrollWheelEffect = stored(int, "_scrollWheelEffect", 1)


@placeholder
class ctkPathLineEdit(QWidget):
    Dirs, Files, Drives, NoSymLinks, Readable, Writable, Executable = 1, 2, 4, 8, 0x10, 0x20, 0x40
    Hidden, System, AllDirs, CaseSensitive, NoDotAndDotDot = 0x100, 0x200, 0x400, 0x800, 0x1000
    NoDot, NoDotDot, AllEntries, NoFilter = 0x2000, 0x4000, 7, -1
    AdjustToContents, AdjustToContentsOnFirstShow, AdjustToMinimumContentsLength = 0, 1, 2
    ShowDirsOnly, DontResolveSymlinks, DontConfirmOverwrite, DontUseNativeDialog, ReadOnly = (
        1,
        2,
        4,
        0x10,
        0x20,
    )

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    _internal = ("_combo", "_button", "_valid")

    def __init__(self, parent=None):
        super().__init__(parent)
        self._combo = qt.QComboBox()
        self._combo.setEditable(True)
        self._combo.setMinimumContentsLength(8)
        self._combo.setSizeAdjustPolicy(QtWidgets.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        self._combo.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)
        self._button = qt.QToolButton()
        self._button.setText("...")
        self._valid = False
        layout = qt.QHBoxLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._combo)
        layout.addWidget(self._button)
        self.setLayout(layout)
        self._button.clicked.connect(lambda: self.browse())
        self._combo.editTextChanged.connect(lambda text: self._onText(text))

    def _onText(self, text: str) -> None:
        if (valid := Path(text).exists() and bool(text)) != self._valid:
            self._valid = valid
            self.validInputChanged.emit(valid)
        self.currentPathChanged.emit(text)

    currentPath = Property(
        str, lambda self: self._combo.currentText, lambda self, path: self._combo.setEditText(path)
    )
    label = stored(str, "_label", "")
    filters = stored(int, "_filters", AllEntries)
    options = stored(int, "_options", 0)
    nameFilters = stored("QStringList", "_nameFilters", [])
    settingKey = stored(str, "_settingKey", "")
    showHistoryButton = stored(bool, "_showHistoryButton", True)
    sizeAdjustPolicy = stored(int, "_sizeAdjustPolicy", AdjustToContentsOnFirstShow)
    minimumContentsLength = stored(int, "_minimumContentsLength", 0)
    showBrowseButton = Property(
        bool, lambda self: not self._button.isHidden(), lambda self, shown: self._button.setVisible(shown)
    )

    def setCurrentPath(self, path: str) -> None:
        self._combo.setEditText(path)

    def browse(self) -> None:
        files = self.filters & self.Files
        kind = "getExistingDirectory" if not files else "getOpenFileName"
        answer = dialogs.dialogs.ask(dialogs.ShownDialog(kind, self.label, ";;".join(self.nameFilters)))
        if answer:
            self._combo.setEditText(str(answer))

    def addCurrentPathToHistory(self) -> None:
        if self.currentPath and self._combo.findText(self.currentPath) < 0:
            self._combo.insertItem(0, self.currentPath)

    def retrieveHistory(self) -> None:
        """The placeholder keeps its history for the widget's life only."""


class ctkWidgetsUtils:
    @staticmethod
    def grabWidget(widget: PythonQtObject) -> QtGui.QImage:
        return widget.grab().toImage()


WIDGETS = {
    cls.__name__: cls
    for cls in (
        ctkCollapsibleButton,
        ctkCollapsibleGroupBox,
        ctkSliderWidget,
        ctkDoubleSpinBox,
        ctkComboBox,
        ctkPathLineEdit,
    )
}
for _name, _cls in {**WIDGETS, "ctkWidgetsUtils": ctkWidgetsUtils}.items():
    setattr(ctk, _name, _cls)
dialogs.install(ctk)
