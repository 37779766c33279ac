"""Which widget of a panel can show which parameter, as slicer.parameterNodeWrapper pairs them.

Only the exact classes: a subclass made in Python is refused, as Slicer refuses it.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from dataclasses import dataclass
from types import NoneType
from typing import TYPE_CHECKING

from .ctk_widgets import ctk
from .mrml_widgets import qMRMLSliderWidget
from .node_combo_box import qMRMLNodeComboBox
from .pythonqt import qt
from .validators import Choice

if TYPE_CHECKING:
    from .parameters import Parameter

SLIDERS = (qt.QSlider, ctk.ctkSliderWidget, qMRMLSliderWidget)
SPIN_BOXES = (qt.QDoubleSpinBox, ctk.ctkSliderWidget, qMRMLSliderWidget, ctk.ctkDoubleSpinBox)


@dataclass
class Decimals:
    """Annotation: how many decimals a spin box or slider shows."""

    value: int


@dataclass
class SingleStep:
    """Annotation: the step of a spin box or slider."""

    value: float


class Connector:
    """One widget bound to one parameter. Making it changes the widget, whatever the .ui file said."""

    def __init__(self, widget, parameter: Parameter):
        self.widget, self.parameter = widget, parameter
        self._receiver: Callable | None = None
        cls = type(widget)
        kind = None if parameter.isUnion else parameter.type
        self.items: list | None = None
        if kind is bool and cls is qt.QCheckBox:
            self.property, self.signal = "checked", "stateChanged(int)"
        elif kind is bool and cls is qt.QPushButton:
            self.property, self.signal = "checked", "toggled(bool)"
            widget.checkable = True
        elif kind is int and cls in (qt.QSpinBox, qt.QSlider):
            self.property, self.signal = "value", "valueChanged(int)"
            self._limit(-(2**31), 2**31 - 1)
        elif kind in (float, int) and cls in SPIN_BOXES:
            self.property, self.signal = "value", "valueChanged(double)"
            if kind is int:
                widget.decimals = 0
            self._limit(float("-inf"), float("inf"))
        elif cls in (qt.QComboBox, ctk.ctkComboBox) and (
            (parameter.isEnum and kind) or kind in (int, float, str, bool)
        ):
            self.property, self.signal = "currentIndex", "currentIndexChanged(int)"
            self._fill()
        elif kind is str and cls is qt.QLineEdit:
            self.property, self.signal = "text", "textChanged(QString)"
        elif kind is str and cls is qt.QLabel:
            self.property, self.signal = "text", None
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
        for extra in self.parameter.extras:
            if isinstance(extra, Decimals):
                self.widget.decimals = extra.value
            elif isinstance(extra, SingleStep):
                self.widget.singleStep = extra.value
            lowest = getattr(extra, "minimum", lowest)
            highest = getattr(extra, "maximum", highest)
        unbounded = lowest in (-(2**31), float("-inf")) or highest in (2**31 - 1, float("inf"))
        if unbounded and type(self.widget) in SLIDERS:
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
            self.items = list(choices[0])
            texts = [str(item) for item in self.items]
        self.widget.clear()
        self.widget.addItems(texts)

    def connect(self, receiver: Callable[[], None]) -> None:
        """Calls the function at each change of the widget."""
        self._receiver = receiver
        if self.signal is not None:
            self.widget.connect(self.signal, receiver)

    def disconnect(self) -> None:
        if self.signal is not None and self._receiver is not None:
            self.widget.disconnect(self.signal, self._receiver)
        self._receiver = None

    def read(self):
        if self.property is None:
            return self.widget.currentNode()
        value = getattr(self.widget, self.property)
        # An index of -1 reads the last item, in Slicer too.
        return self.items[value] if self.items is not None else self.parameter.type(value)

    def write(self, value) -> None:
        if self.property is None:
            self.widget.setCurrentNode(value)
        elif self.items is not None:
            if value not in self.items:
                raise ValueError(f"Unable to find value {value} in choices {self.items}")
            self.widget.currentIndex = self.items.index(value)
        elif self.property != "text" or self.widget.text != value:
            setattr(self.widget, self.property, str(value) if self.parameter.type is pathlib.Path else value)
