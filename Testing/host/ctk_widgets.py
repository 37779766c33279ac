"""Stand-ins for the CTK widgets, with the properties, slots and signals that Slicer's Python can reach.

Methods of CTK that are neither slots nor invokable are left out on purpose: PythonQt does not offer them
either (`button.collapsed = True` works in Slicer, `button.setCollapsed(True)` does not).
"""

from __future__ import annotations

import fnmatch
import re
import types

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from . import dialogs
from .collapsible import ctkCollapsibleButton, ctkCollapsibleGroupBox
from .placeholders import placeholder, stored
from .pythonqt import PythonQtObject, QWidget, qt, wrapped

ctk = types.ModuleType("ctk", "CTK as Slicer's Python sees it.")


def ofPart(kind: type | str, part: str, name: str, setter: str) -> Property:
    """A Qt property that is that of a part of the widget."""
    return Property(
        kind,
        lambda self: getattr(self.__dict__[part], name),
        lambda self, value: getattr(self.__dict__[part], setter)(value),
    )


def spinBoxProperty(kind: type | str, name: str) -> Property:
    return ofPart(kind, "_spinBox", name, f"set{name[0].upper()}{name[1:]}")


@placeholder
class ctkDoubleSpinBox(QWidget):
    """A QWidget with a spin box in it: of QDoubleSpinBox's names only those that are written out here."""

    FixedDecimals, DecimalsByShortcuts, DecimalsByKey, DecimalsByValue = 0, 1, 2, 4
    InsertDecimals, ReplaceDecimals, DecimalsAsMax, DecimalsAsMin = 0x10, 0x20, 0x40, 0x80
    DecimalPointAlwaysVisible = 0x100
    SetAlways, SetIfDifferent = 0, 1
    SizeHintByMinMax, SizeHintByValue = 0, 1

    valueChanged = Signal(float)
    _textChanged = Signal(str)
    editingFinished = Signal()
    decimalsChanged = Signal(int)
    _signatures = {"valueChanged(double)": "valueChanged", "valueChanged(QString)": "_textChanged"}
    _internal = ("_spinBox",)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._spinBox = qt.QDoubleSpinBox()
        layout = qt.QHBoxLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._spinBox)
        self.setLayout(layout)
        self._spinBox.valueChanged.connect(lambda value: self._onValue(value))
        self._spinBox.editingFinished.connect(lambda: self.editingFinished.emit())

    def _onValue(self, value: float) -> None:
        self.valueChanged.emit(value)
        self._textChanged.emit(self._spinBox.text)

    value = spinBoxProperty(float, "value")
    minimum = spinBoxProperty(float, "minimum")
    maximum = spinBoxProperty(float, "maximum")
    decimals = Property(int, lambda self: self._spinBox.decimals, lambda self, v: self.setDecimals(v))
    prefix = spinBoxProperty(str, "prefix")
    suffix = spinBoxProperty(str, "suffix")
    singleStep = spinBoxProperty(float, "singleStep")
    readOnly = spinBoxProperty(bool, "readOnly")
    frame = spinBoxProperty(bool, "frame")
    cleanText = Property(str, lambda self: self._spinBox.cleanText)
    isSettingValue = Property(bool, lambda self: False)
    alignment = stored(int, "_alignment", 1)
    decimalsOption = stored(int, "_decimalsOption", 0x11)
    invertedControls = stored(bool, "_invertedControls", False)
    setMode = stored(int, "_setMode", SetIfDifferent)
    sizeHintPolicy = stored(int, "_sizeHintPolicy", SizeHintByMinMax)

    def setValue(self, value: float) -> None:
        self._spinBox.setValue(value)

    setValueIfDifferent = setValue

    def setValueAlways(self, value: float) -> None:
        """Tells also where the value is what it was."""
        before = self._spinBox.value
        self._spinBox.setValue(value)
        if self._spinBox.value == before:
            self._onValue(before)

    def stepUp(self) -> None:
        self._spinBox.stepUp()

    def stepDown(self) -> None:
        self._spinBox.stepDown()

    def setDecimals(self, decimal: int) -> None:
        if decimal != self._spinBox.decimals:
            self._spinBox.setDecimals(decimal)
            self.decimalsChanged.emit(decimal)

    def setReadOnly(self, readOnly: bool) -> None:
        self._spinBox.setReadOnly(readOnly)


@placeholder
class ctkSliderWidget(QWidget):
    NoSynchronize, SynchronizeWidth, SynchronizeDecimals = 0, 1, 2

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    decimalsChanged = Signal(int)
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
        self._slider.sliderReleased.connect(lambda: self._onReleased())

    def _span(self) -> float:
        return self._spinBox.maximum - self._spinBox.minimum

    def _onValue(self, value: float) -> None:
        fraction = (value - self._spinBox.minimum) / self._span() if self._span() else 0.0
        self._slider.setValue(round(self._steps * fraction))
        if self._slider.isSliderDown() and not self.tracking:
            self.valueIsChanging.emit(value)
        else:
            self.valueChanged.emit(value)

    def _onSlider(self, step: int) -> None:
        self._spinBox.setValue(self._spinBox.minimum + step / self._steps * self._span())

    def _onReleased(self) -> None:
        if not self.tracking:
            self.valueChanged.emit(self._spinBox.value)

    value = spinBoxProperty(float, "value")
    minimum = spinBoxProperty(float, "minimum")
    maximum = spinBoxProperty(float, "maximum")
    decimals = Property(int, lambda self: self._spinBox.decimals, lambda self, v: self.setDecimals(v))
    prefix = spinBoxProperty(str, "prefix")
    suffix = spinBoxProperty(str, "suffix")
    singleStep = spinBoxProperty(float, "singleStep")
    spinBoxVisible = Property(
        bool, lambda self: not self._spinBox.isHidden(), lambda self, v: self._spinBox.setVisible(v)
    )
    pageStep = stored(float, "_pageStep", 10.0)
    tracking = stored(bool, "_tracking", True)
    tickInterval = stored(float, "_tickInterval", 0.0)
    tickPosition = stored(int, "_tickPosition", 0)
    popupSlider = stored(bool, "_popupSlider", False)
    spinBoxAlignment = stored(int, "_spinBoxAlignment", 0x20)
    synchronizeSiblings = stored(int, "_synchronizeSiblings", SynchronizeWidth)
    invertedAppearance = stored(bool, "_invertedAppearance", False)
    invertedControls = stored(bool, "_invertedControls", False)

    def setValue(self, value: float) -> None:
        self._spinBox.setValue(value)

    def setDecimals(self, decimals: int) -> None:
        if decimals != self._spinBox.decimals:
            self._spinBox.setDecimals(decimals)
            self.decimalsChanged.emit(decimals)

    def setSpinBoxVisible(self, visible: bool) -> None:
        self._spinBox.setVisible(visible)

    def reset(self) -> None:
        self._spinBox.setValue(0.0)


@placeholder
class ctkComboBox(wrapped("QComboBox")):
    """Shows the default text while nothing is chosen; unlike with Qt's placeholderText, a first item is."""

    NeverScroll, AlwaysScroll, ScrollWithFocus, ScrollWithNoVScrollBar = 0, 1, 2, 4

    returnRelease = Signal()
    defaultText = stored(str, "_defaultText", "", "update")
    defaultIcon = stored(QtGui.QIcon, "_defaultIcon", QtGui.QIcon())
    forceDefault = stored(bool, "_forceDefault", False, "update")
    elideMode = stored(int, "_elideMode", 3)
    scrollWheelEffect = stored(int, "_scrollWheelEffect", AlwaysScroll)
    currentUserDataAsString = Property(
        str,
        lambda self: str(self.currentData or ""),
        lambda self, text: self.setCurrentUserDataAsString(text),
    )

    def setCurrentUserDataAsString(self, userData: str) -> None:
        QtWidgets.QComboBox.setCurrentIndex(self, QtWidgets.QComboBox.findData(self, userData))

    def paintEvent(self, event) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionComboBox()
        self.initStyleOption(option)
        if self.currentIndex < 0 or self.forceDefault:
            option.currentText = self.defaultText
        painter.drawComplexControl(QtWidgets.QStyle.CC_ComboBox, option)
        painter.drawControl(QtWidgets.QStyle.CE_ComboBoxLabel, option)


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
        self.retrieveHistory()

    def _isAcceptable(self, text: str) -> bool:
        """Whether a text fits the name filters, as "Weights (*.pt *.pth)"; the file need not exist."""
        patterns = []
        for entry in self.nameFilters:
            inside = re.search(r"\(([^)]*)\)", entry)
            patterns += (inside[1] if inside else entry).split()
        return bool(text) and (not patterns or any(fnmatch.fnmatchcase(text, p) for p in patterns))

    def _onText(self, text: str) -> None:
        valid, before = self._isAcceptable(text), self._valid
        self._valid = valid
        if valid:
            self.currentPathChanged.emit(text)
        if valid != before:
            self.validInputChanged.emit(valid)

    currentPath = Property(
        str, lambda self: self._combo.currentText, lambda self, path: self._combo.setEditText(path)
    )
    label = stored(str, "_label", "")
    filters = stored(int, "_filters", AllEntries | NoDotAndDotDot | Readable | Executable)
    options = stored(int, "_options", 0)
    nameFilters = stored("QStringList", "_nameFilters", [])
    settingKey = stored(str, "_settingKey", "", "retrieveHistory")
    showHistoryButton = stored(bool, "_showHistoryButton", True)
    sizeAdjustPolicy = stored(int, "_sizeAdjustPolicy", AdjustToContentsOnFirstShow)
    minimumContentsLength = stored(int, "_minimumContentsLength", 0)
    showBrowseButton = Property(
        bool, lambda self: not self._button.isHidden(), lambda self, shown: self._button.setVisible(shown)
    )

    def comboBox(self):
        return self._combo

    def minimumSizeHint(self) -> QtCore.QSize:
        """As wide as its text, unless `sizeAdjustPolicy` is the minimum."""
        hint = QtWidgets.QWidget.minimumSizeHint(self)
        if self.sizeAdjustPolicy == self.AdjustToMinimumContentsLength:
            return hint
        text = QtGui.QFontMetrics(QtWidgets.QWidget.font(self)).horizontalAdvance(self.currentPath)
        return hint.expandedTo(QtCore.QSize(text + hint.height(), 0))

    def setCurrentPath(self, path: str) -> None:
        self._combo.setEditText(path)

    def browse(self) -> None:
        """Asks under a title of its own; `label` is not shown."""
        kind, title = "getExistingDirectory", "Select a directory..."
        if self.filters & self.Files:
            writes = self.filters & self.Writable
            kind = "getSaveFileName" if writes else "getOpenFileName"
            title = "Select a file to save" if writes else "Open a file"
        answer = dialogs.dialogs.ask(dialogs.ShownDialog(kind, title, ";;".join(self.nameFilters)))
        if answer:
            self._combo.setEditText(str(answer))

    def _historyKey(self) -> str:
        return f"ctkPathLineEdit/{self.settingKey or self.objectName}"

    def _history(self) -> list[str]:
        stored = qt.QSettings().value(self._historyKey())
        return [stored] if isinstance(stored, str) else list(stored or ())

    def addCurrentPathToHistory(self) -> None:
        if path := self.currentPath:
            history = [path, *(known for known in self._history() if known != path)]
            qt.QSettings().setValue(self._historyKey(), history)
            self.retrieveHistory()

    def retrieveHistory(self) -> None:
        """Offers the stored paths and shows the newest."""
        history = self._history()
        self._combo.blockSignals(True)
        self._combo.clear()
        self._combo.addItems(history)
        self._combo.blockSignals(False)
        self._onText(self.currentPath)


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
