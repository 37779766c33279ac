"""Stand-ins for CTK's two widgets that fold their contents away."""

from __future__ import annotations

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, QRect, Qt, Signal

from .placeholders import placeholder, stored
from .pythonqt import wrapped

_WIDEST = 16777215  # Qt's largest widget size


class Collapsible:
    """Hides its children while collapsed, and only those that would be seen otherwise."""

    _internal = ("_hidden", "_applying")

    def applyCollapse(self) -> None:
        if self._applying:
            return
        self._applying = True
        options = Qt.FindDirectChildrenOnly
        for child in QtWidgets.QWidget.findChildren(self, QtWidgets.QWidget, options=options):
            child.installEventFilter(self)
            if self.collapsed and not child.isHidden():
                self._hidden.append(child)
                child.hide()
        if not self.collapsed:
            for child in self._hidden:
                child.show()
            self._hidden = []
        self._applying = False

    def eventFilter(self, child, event) -> bool:
        if self.collapsed and not self._applying and event.type() == QtCore.QEvent.ShowToParent:
            self.applyCollapse()
        return False

    def showEvent(self, event) -> None:
        self.applyCollapse()


@placeholder
class ctkCollapsibleButton(Collapsible, wrapped("QAbstractButton")):
    contentsCollapsed = Signal(bool)
    _header = 24

    def __init__(self, *args):
        texts = [a for a in args if isinstance(a, str)]
        super().__init__(*(a for a in args if not isinstance(a, str)))
        self._hidden, self._applying = [], False
        self.text = texts[0] if texts else ""
        self.checkable = True
        self.checked = True
        self.setContentsMargins(0, self._header, 0, 0)
        QtWidgets.QAbstractButton.setSizePolicy(
            self, QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.Preferred
        )
        self.connect("toggled(bool)", self._onToggled)

    collapsed = Property(
        bool,
        lambda self: not QtWidgets.QAbstractButton.isChecked(self),
        lambda self, value: QtWidgets.QAbstractButton.setChecked(self, not value),
    )
    collapsedHeight = stored(int, "_collapsedHeight", 14)
    contentsFrameShape = stored(int, "_frameShape", 0)
    contentsFrameShadow = stored(int, "_frameShadow", 16)
    contentsLineWidth = stored(int, "_lineWidth", 1)
    contentsMidLineWidth = stored(int, "_midLineWidth", 0)

    def _onToggled(self, expanded: bool) -> None:
        self.applyCollapse()
        self.setMaximumHeight(_WIDEST if expanded else self._header + 2)
        self.updateGeometry()
        self.contentsCollapsed.emit(not expanded)

    def sizeHint(self) -> QtCore.QSize:
        header = QtCore.QSize(self.fontMetrics().horizontalAdvance(self.text) + 40, self._header)
        layout = QtWidgets.QWidget.layout(self)
        return header if self.collapsed or layout is None else header.expandedTo(layout.totalSizeHint())

    def minimumSizeHint(self) -> QtCore.QSize:
        layout = QtWidgets.QWidget.layout(self)
        header = QtCore.QSize(60, self._header)
        return header if self.collapsed or layout is None else header.expandedTo(layout.totalMinimumSize())

    def hitButton(self, point) -> bool:
        return point.y() < self._header

    def paintEvent(self, event) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QRect(0, 0, QtWidgets.QWidget.width(self), self._header - 2)
        painter.drawControl(QtWidgets.QStyle.CE_PushButtonBevel, option)
        text = option.rect.adjusted(24, 0, -4, 0)
        painter.drawItemText(text, Qt.AlignVCenter | Qt.AlignLeft, option.palette, True, self.text)
        option.rect = QRect(6, 5, 12, 12)
        style = QtWidgets.QStyle
        down = not self.collapsed
        painter.drawPrimitive(style.PE_IndicatorArrowDown if down else style.PE_IndicatorArrowRight, option)


@placeholder
class ctkCollapsibleGroupBox(Collapsible, wrapped("QGroupBox")):
    def __init__(self, *args):
        super().__init__(*args)
        self._hidden, self._applying = [], False
        self.checkable = True
        self.checked = True
        self.connect("toggled(bool)", self.applyCollapse)

    collapsed = Property(
        bool,
        lambda self: not QtWidgets.QGroupBox.isChecked(self),
        lambda self, value: QtWidgets.QGroupBox.setChecked(self, not value),
    )
    collapsedHeight = stored(int, "_collapsedHeight", 14)

    def paintEvent(self, event) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionGroupBox()
        self.initStyleOption(option)
        style = QtWidgets.QStyle
        arrow, title = (
            self.style().subControlRect(style.CC_GroupBox, option, part, self)
            for part in (style.SC_GroupBoxCheckBox, style.SC_GroupBoxLabel)
        )
        option.subControls = style.SC_GroupBoxFrame
        painter.drawComplexControl(style.CC_GroupBox, option)
        painter.drawItemText(title, Qt.AlignVCenter | Qt.AlignLeft, option.palette, True, self.title)
        option.rect = arrow.adjusted(2, 2, -2, -2)
        down = not self.collapsed
        painter.drawPrimitive(style.PE_IndicatorArrowDown if down else style.PE_IndicatorArrowRight, option)
