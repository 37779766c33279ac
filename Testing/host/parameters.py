"""Stand-in for slicer.parameterNodeWrapper: typed parameters kept in the scene and bound to widgets.

Values are stored as Slicer stores them (strings in the vtkMRMLScriptedModuleNode, nodes as references, the
members of an Optional under the name with an index), so that a saved scene reads the same here and there.
Two habits of the original that modules have to live with are kept: connectGui returns None, so that
disconnectGui cannot cut anything, and a value out of its range, or of the wrong type, is refused with an
exception.
"""

from __future__ import annotations

import enum
import pathlib
import typing
from types import NoneType

import slicer
import vtk

from .connectors import Connector
from .pythonqt import qt
from .validators import Choice, Default, Maximum, Minimum, Validator, WithinRange


class Parameter:
    """One annotated member: its types, its checks, its default and how it is written to a node.

    `types` are the members of a Union, None's type among them, or the one type there is.
    """

    def __init__(self, name: str, annotation, assigned: list):
        self.name, self.annotation = name, annotation
        plain, extras = annotation, []
        if typing.get_origin(annotation) is typing.Annotated:
            plain, *extras = typing.get_args(annotation)
        # Slicer knows Optional[X] and Union[X, Y], and does not take `X | Y` for one of them.
        self.isUnion = typing.get_origin(plain) is typing.Union
        self.types = typing.get_args(plain) if self.isUnion else (plain,)
        for kind in self.types:
            if not self._known(kind):
                raise TypeError(f"Unable to create serializer for member {name} of type {annotation}")
        self.validators = [extra for extra in extras if isinstance(extra, Validator)]
        nodes = [kind for kind in self.types if kind is not NoneType]
        self.isNode = all(issubclass(kind, slicer.vtkMRMLNode) for kind in nodes)
        self.isEnum = issubclass(self.types[0], enum.Enum)
        defaults = assigned or [extra.value for extra in extras if isinstance(extra, Default)]
        self.default = defaults[0] if defaults else self._natural()
        self.check(self.default)

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

    def write(self, node, value) -> None:
        self.check(value)
        with slicer.util.NodeModify(node):
            if not self.isUnion:
                self._writeAs(node, self.name, self.type, value)
                return
            for index in range(len(self.types)):
                node.UnsetParameter(f"{self.name}_{index}")
                node.RemoveNodeReferenceIDs(f"{self.name}_{index}")
            index = next(i for i, kind in enumerate(self.types) if self._accepts(kind, value))
            self._writeAs(node, f"{self.name}_{index}", self.types[index], value)

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
        keys = [f"{self.name}_{i}" for i in range(len(self.types))] if self.isUnion else [self.name]
        for key, kind in zip(keys, self.types, strict=True):
            if node.HasParameter(key):
                return self._readAs(node, key, kind)
        self.write(node, self.default)
        return self.default

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


class _Wrapper:
    """What the decorator adds to a class of annotated members."""

    def __init__(self, parameterNode, prefix: str | None = None):
        if prefix:
            raise NotImplementedError("the host's parameter node wrapper knows no prefix")
        self.parameterNode = parameterNode
        self._connectors: list[Connector] = []
        self._updating = False
        for parameter in self.allParameters.values():
            parameter.read(parameterNode)

    def getValue(self, name: str):
        return getattr(self, self._known(name))

    def setValue(self, name: str, value) -> None:
        setattr(self, self._known(name), value)

    def default(self, name: str) -> Default:
        return Default(self.allParameters[self._known(name)].default)

    def dataType(self, name: str):
        return self.allParameters[self._known(name)].annotation

    def isCached(self, name: str) -> bool:
        return self._known(name) is not None

    def connectGui(self, gui) -> None:
        """Binds each widget that has the dynamic property SlicerParameterName.

        `gui` is what childWidgetVariables gives, or a widget whose children are looked through.
        """
        widgets = gui.findChildren(qt.QWidget) if isinstance(gui, qt.QWidget) else vars(gui).values()
        named = [(w.property("SlicerParameterName"), w) for w in widgets]
        self.connectParametersToGui({name: widget for name, widget in named if name})

    def connectParametersToGui(self, mapping: dict) -> int:
        connectors = [
            Connector(widget, self.allParameters[self._known(name)]) for name, widget in mapping.items()
        ]
        for connector in connectors:
            connector.write(connector.parameter.read(self.parameterNode))
            connector.widget.connect(connector.signal, self._receiver(connector))
        self._connectors += connectors
        self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._updateGui())
        return 0

    def disconnectGui(self, tag) -> None:
        """Nothing: Slicer's connectGui gives no tag that would cut the connection."""

    def _known(self, name: str) -> str:
        if name not in self.allParameters:
            known = ", ".join(self.allParameters)
            raise ValueError(f"Cannot find a param with the given name: {name}; there are {known}")
        return name

    def _receiver(self, connector: Connector):
        def receive():
            if not self._updating:
                with slicer.util.NodeModify(self):
                    setattr(self, connector.parameter.name, connector.read())

        return receive

    def _updateGui(self) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            with slicer.util.NodeModify(self):
                for connector in self._connectors:
                    connector.write(connector.parameter.read(self.parameterNode))
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


def _property(parameter: Parameter) -> property:
    return property(
        lambda self: parameter.read(self.parameterNode),
        lambda self, value: parameter.write(self.parameterNode, value),
    )


def parameterNodeWrapper(cls=None):
    """Class decorator; see the module's docstring."""
    if cls is None:
        return parameterNodeWrapper
    parameters = {}
    for name, annotation in typing.get_type_hints(cls, include_extras=True).items():
        assigned = [cls.__dict__[name]] if name in cls.__dict__ else []
        parameters[name] = Parameter(name, annotation, assigned)
        setattr(cls, name, _property(parameters[name]))
    for name, value in _Wrapper.__dict__.items():
        if name.startswith("__") and name != "__init__":
            continue
        if name != "__init__" and name in cls.__dict__:
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
        setattr(cls, name, value)
    cls.allParameters = parameters
    return cls


EXPORTS = {
    f.__name__: f for f in (parameterNodeWrapper, Validator, WithinRange, Minimum, Maximum, Choice, Default)
}
