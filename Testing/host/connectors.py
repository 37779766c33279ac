"""Which widget of a panel can show which parameter, as slicer.parameterNodeWrapper pairs them."""

from __future__ import annotations

import pathlib
from types import NoneType
from typing import TYPE_CHECKING

from .ctk_widgets import ctk
from .node_combo_box import qMRMLNodeComboBox
from .pythonqt import qt
from .validators import Choice

if TYPE_CHECKING:
    from .parameters import Parameter


class Connector:
    """One widget bound to one parameter."""

    def __init__(self, widget, parameter: Parameter):
        self.widget, self.parameter = widget, parameter
        cls = type(widget)
        kind = None if parameter.isUnion else parameter.type
        self.items: list | None = None
        if kind is bool and cls in (qt.QCheckBox, qt.QPushButton):
            self.property, self.signal = "checked", "toggled(bool)"
            if cls is qt.QPushButton:
                widget.checkable = True
        elif kind is int and cls in (qt.QSpinBox, qt.QSlider):
            self.property, self.signal = "value", "valueChanged(int)"
            self._limit(-(2**31), 2**31 - 1)
        elif kind is float and cls in (qt.QDoubleSpinBox, ctk.ctkSliderWidget):
            self.property, self.signal = "value", "valueChanged(double)"
            self._limit(float("-inf"), float("inf"))
        elif cls is qt.QComboBox and ((parameter.isEnum and kind) or kind in (int, float, str, bool)):
            self.property, self.signal = "currentIndex", "currentIndexChanged(int)"
            self._fill()
        elif kind is str and cls is qt.QLineEdit:
            self.property, self.signal = "text", "textChanged(QString)"
        elif kind is pathlib.Path and cls is ctk.ctkPathLineEdit:
            self.property, self.signal = "currentPath", "currentPathChanged(QString)"
        elif parameter.isNode and cls is qMRMLNodeComboBox:
            self.property, self.signal = None, "currentNodeChanged(vtkMRMLNode*)"
            # Also in Slicer an abstract class such as vtkMRMLNode fails here.
            kinds = [k for k in parameter.types if k is not NoneType]
            widget.nodeTypes = [k().GetClassName() for k in kinds]
        else:
            raise RuntimeError(
                f"Unable to create GUI connector from datatype '{parameter.annotation}' to widget '{cls}'"
            )

    def _limit(self, lowest, highest) -> None:
        for validator in self.parameter.validators:
            lowest = getattr(validator, "minimum", lowest)
            highest = getattr(validator, "maximum", highest)
        unbounded = lowest in (-(2**31), float("-inf")) or highest in (2**31 - 1, float("inf"))
        if unbounded and type(self.widget) in (qt.QSlider, ctk.ctkSliderWidget):
            raise RuntimeError(f"Cannot bind the unbounded '{self.parameter.name}' to a slider")
        self.widget.minimum, self.widget.maximum = lowest, highest

    def _fill(self) -> None:
        """Slicer replaces a combo box's items by the choices, or by the labels of the enumeration."""
        if self.parameter.isEnum:
            self.items = list(self.parameter.type)
            label = getattr(self.parameter.type, "label", lambda item: item.name)
            texts = [label(item) for item in self.items]
        else:
            choices = [v.choices for v in self.parameter.validators if isinstance(v, Choice)]
            if not choices:
                raise RuntimeError("ComboBoxToStringableConnector requires the Choice annotation to be used.")
            self.items = choices[0]
            texts = [str(item) for item in self.items]
        self.widget.clear()
        self.widget.addItems(texts)

    def read(self):
        if self.property is None:
            return self.widget.currentNode()
        value = getattr(self.widget, self.property)
        return self.items[value] if self.items is not None else self.parameter.type(value)

    def write(self, value) -> None:
        if self.property is None:
            self.widget.setCurrentNode(value)
        elif self.items is not None:
            self.widget.currentIndex = self.items.index(value)
        else:
            setattr(self.widget, self.property, str(value) if self.parameter.type is pathlib.Path else value)
