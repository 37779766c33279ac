"""Stand-in for slicer.parameterNodeWrapper: typed parameters kept in the scene and bound to widgets.

Values are stored as Slicer stores them (strings in the vtkMRMLScriptedModuleNode, nodes as references, the
members of a Union under the name with a dot and their number), so that Slicer reads a scene saved here. What
modules have to live with is kept: values are cached and read again at each change of the node; a change
writes every widget that is bound; a value out of its range, or of the wrong type, is refused with an
exception; a disconnected GUI leaves its observer behind in 5.10.
"""

from __future__ import annotations

import enum
import pathlib
import types
import typing
import weakref
from types import NoneType

import slicer
import vtk
from PySide6 import QtWidgets

from . import version
from .connectors import Connector, Decimals, SingleStep
from .pythonqt import qt
from .validators import Choice, Default, Maximum, Minimum, Validator, WithinRange


class Parameter:
    """One annotated member: its types, its checks, its default and how it is written to a node.

    `types` are the members of a Union, None's type among them, or the one type there is.
    """

    def __init__(self, name: str, annotation, assigned: list):
        self.name, self.annotation = name, annotation
        plain, self.extras = annotation, []
        if typing.get_origin(annotation) is typing.Annotated:
            plain, *self.extras = typing.get_args(annotation)
        self.isUnion = typing.get_origin(plain) in (typing.Union, types.UnionType)
        self.types = typing.get_args(plain) if self.isUnion else (plain,)
        for kind in self.types:
            if not self._known(kind):
                raise TypeError(f"Unable to create serializer for member {name} of type {annotation}")
        self.validators = [extra for extra in self.extras if isinstance(extra, Validator)]
        nodes = [kind for kind in self.types if kind is not NoneType]
        self.isNode = all(issubclass(kind, slicer.vtkMRMLNode) for kind in nodes)
        self.isEnum = issubclass(self.types[0], enum.Enum)
        defaults = [extra for extra in self.extras if isinstance(extra, Default)]
        self.default = Default(assigned[0]) if assigned else next(iter(defaults), Default(self._natural()))
        self.check(self.default.value)

    @property
    def type(self) -> type:
        """The only type besides None."""
        return self.types[0]

    @staticmethod
    def _known(kind) -> bool:
        if kind in (bool, int, float, str, pathlib.Path, NoneType):
            return True
        return isinstance(kind, type) and issubclass(kind, enum.Enum | slicer.vtkMRMLNode)

    def _natural(self):
        if NoneType in self.types or self.isNode:
            return None
        return next(iter(self.type)) if self.isEnum else self.type()

    def _accepts(self, kind: type, value) -> bool:
        return isinstance(value, (int, float) if kind is float else kind)

    def check(self, value) -> None:
        """TypeError or ValueError for a value that the parameter cannot hold."""
        if value is None and not self.isUnion and self.isNode:
            return
        if value is None and NoneType not in self.types:
            raise ValueError(f"Value of '{self.name}' must not be None")
        if not any(self._accepts(kind, value) for kind in self.types):
            raise TypeError(f"Value of '{self.name}' must be of type {self.annotation}, is '{value}'")
        for validator in self.validators:
            validator.validate(value)

    def _keys(self) -> list[str]:
        return [f"{self.name}.{i}" for i in range(len(self.types))] if self.isUnion else [self.name]

    def write(self, node, value) -> None:
        self.check(value)
        index = next(i for i, kind in enumerate(self.types) if value is None or self._accepts(kind, value))
        if value is None and self.isUnion:
            index = self.types.index(NoneType)
        with slicer.util.NodeModify(node):
            for i, key in enumerate(self._keys()):
                if i != index and node.HasParameter(key):
                    node.UnsetParameter(key)
                    node.RemoveNodeReferenceIDs(key)
            self._writeAs(node, self._keys()[index], self.types[index], value)

    @staticmethod
    def _writeAs(node, key: str, kind: type, value) -> None:
        if kind is NoneType:
            node.SetParameter(key, "True")
        elif issubclass(kind, slicer.vtkMRMLNode):
            node.SetParameter(key, "")
            node.SetNodeReferenceID(key, value.GetID() if value is not None else None)
        else:
            node.SetParameter(key, value.name if issubclass(kind, enum.Enum) else str(value))

    def read(self, node):
        """The value in the node, which gets the default where it has none."""
        for key, kind in zip(self._keys(), self.types, strict=True):
            if node.HasParameter(key):
                return self._readAs(node, key, kind)
        self.write(node, self.default.value)
        return self.read(node)

    @staticmethod
    def _readAs(node, key: str, kind: type):
        if kind is NoneType:
            return None
        if issubclass(kind, slicer.vtkMRMLNode):
            return node.GetNodeReference(key)
        text = node.GetParameter(key)
        if issubclass(kind, enum.Enum):
            return kind[text]
        return text == "True" if kind is bool else kind(text)


class _Cached:
    """A parameter's value in one node: read once, and again at each change of the node."""

    def __init__(self, parameter: Parameter, node):
        self.parameter, self._node, self._writing = parameter, node, False
        self.value = parameter.read(node)
        alive = weakref.ref(self)
        self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: alive()._refresh())

    def __del__(self):
        self._node.RemoveObserver(self._tag)

    def _refresh(self) -> None:
        if not self._writing:
            self.value = self.parameter.read(self._node)

    def write(self, value) -> None:
        self._writing = True
        try:
            # Other observers shall find the new value.
            with slicer.util.NodeModify(self._node):
                self.parameter.write(self._node, value)
                self.value = self.parameter.read(self._node)
        finally:
            self._writing = False


class _Wrapper:
    """What the decorator adds to a class of annotated members."""

    def __init__(self, parameterNode, prefix: str | None = None):
        if prefix:
            raise NotImplementedError("the host's parameter node wrapper knows no prefix")
        self.parameterNode = parameterNode
        self._guis: dict[int, list[Connector]] = {}
        self._observers: dict[int, int] = {}
        self._nextTag = 0
        self._updating = False
        self._values = {name: _Cached(one, parameterNode) for name, one in self.allParameters.items()}

    def getValue(self, name: str):
        return self._values[self._known(name)].value

    def setValue(self, name: str, value) -> None:
        self._values[self._known(name)].write(value)

    def default(self, paramName: str) -> Default:
        return self.allParameters[self._known(paramName)].default

    def dataType(self, membername: str):
        return self.allParameters[self._known(membername)].annotation

    def isCached(self, paramName: str) -> bool:
        return self._known(paramName) is not None

    def connectGui(self, gui) -> int:
        """Binds each widget that has the dynamic property SlicerParameterName; returns what disconnects them.

        `gui` is what childWidgetVariables gives, or a widget whose children are looked through.
        """
        widgets = gui.findChildren(qt.QWidget) if isinstance(gui, QtWidgets.QWidget) else vars(gui).values()
        named = [(w.property("SlicerParameterName"), w) for w in widgets]
        return self.connectParametersToGui({name: widget for name, widget in named if name})

    def connectParametersToGui(self, mapping: dict) -> int:
        for name in mapping:
            self._known(name)
        connectors = [Connector(widget, self.allParameters[name]) for name, widget in mapping.items()]
        tag, self._nextTag = self._nextTag, self._nextTag + 1
        self._guis[tag] = connectors
        for connector in connectors:
            # What the widget makes of the value in writing does not come back.
            connector.write(self.getValue(connector.parameter.name))
            connector.connect(self._receiver(connector))
        self._observers[tag] = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._updateGui())
        return tag

    def disconnectGui(self, guiTag: int) -> None:
        if guiTag not in self._guis:
            return
        for connector in self._guis.pop(guiTag):
            connector.disconnect()
        observer = self._observers.pop(guiTag)
        if not version.isOlder():
            self.RemoveObserver(observer)

    def _known(self, name: str) -> str:
        if name not in self.allParameters:
            known = ", ".join(self.allParameters)
            raise ValueError(f"Cannot find a param with the given name: {name}; there are {known}")
        return name

    def _receiver(self, connector: Connector):
        def receive():
            with slicer.util.NodeModify(self):
                if not self._updating:
                    self.setValue(connector.parameter.name, connector.read())

        return receive

    def _updateGui(self) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            with slicer.util.NodeModify(self):
                for connectors in list(self._guis.values()):
                    for connector in connectors:
                        connector.write(self.getValue(connector.parameter.name))
        finally:
            self._updating = False

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified):
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)

    def Modified(self):
        self.parameterNode.Modified()


def _property(name: str) -> property:
    return property(
        lambda self: self._values[name].value, lambda self, value: self._values[name].write(value)
    )


def parameterNodeWrapper(classtype=None):
    """Class decorator; see the module's docstring."""
    if classtype is None:
        return parameterNodeWrapper
    parameters = {}
    for name, annotation in typing.get_type_hints(classtype, include_extras=True).items():
        assigned = [getattr(classtype, name)] if hasattr(classtype, name) else []
        parameters[name] = Parameter(name, annotation, assigned)
        setattr(classtype, name, _property(name))
    for name, value in {**_Wrapper.__dict__, "allParameters": parameters}.items():
        if name.startswith("__") and name != "__init__":
            continue
        if name != "__init__" and hasattr(classtype, name):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
        setattr(classtype, name, value)
    return classtype


EXPORTS = {
    f.__name__: f
    for f in (
        parameterNodeWrapper,
        Validator,
        WithinRange,
        Minimum,
        Maximum,
        Choice,
        Default,
        Decimals,
        SingleStep,
    )
}
