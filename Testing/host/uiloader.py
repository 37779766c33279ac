"""Loads a .ui file as Slicer does, and refuses what Slicer would only complain about on the console.

A widget class that is not known, a property its class does not have, a connection of objects or signals
that do not exist: each raises UiError and names the place.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

from PySide6 import QtCore, QtUiTools, QtWidgets
from PySide6.QtCore import QObject

from . import version
from .collapsible import Collapsible
from .node_combo_box import qMRMLNodeComboBox
from .pythonqt import loadingUi, propertiesOf, resolve, toNative, toPythonQt, wrapped

# Dynamic properties that Slicer reads; any other in a .ui file is a misspelt one.
_DYNAMIC = {"SlicerParameterName", "SlicerPackParameterName"}


class UiError(RuntimeError):
    """A .ui file asks for something that does not exist."""


class UiLoader(QtUiTools.QUiLoader):
    """`qt.QUiLoader`. Connections are made by name, PySide6 not knowing types such as vtkMRMLScene*."""

    placeholders: dict[str, type] = {}
    _known: dict[tuple, tuple[bytes, list[dict[str, str]]]] = {}

    def load(self, file, parent=None):
        """The top widget of a file (a path or a QFile)."""
        content, connections = self._prepared(self._read(file))
        buffer = QtCore.QBuffer()
        buffer.setData(content)
        buffer.open(QtCore.QBuffer.ReadOnly)
        with loadingUi():
            top = toPythonQt(super().load(buffer, parent))
        if top is None:
            raise UiError(self.errorString())
        for section in top.findChildren(Collapsible):
            section.applyCollapse()
        for box in top.findChildren(qMRMLNodeComboBox):
            box._refill()
        for connection in connections:
            self._connect(top, connection)
        return top

    def _prepared(self, content: bytes) -> tuple[bytes, list[dict[str, str]]]:
        """The file checked, without its connections, and these; the same file is prepared once."""
        key = (content, version.number, *self.placeholders.items())
        if key not in self._known:
            root = ET.fromstring(content)
            connections = root.find("connections")
            if connections is not None:
                root.remove(connections)
            for widget in root.iter("widget"):
                self._check(widget)
            parts = connections if connections is not None else ()
            told = [{part.tag: part.text for part in connection} for connection in parts]
            self._known[key] = ET.tostring(root), told
        return self._known[key]

    def createWidget(self, className, parent=None, name=""):
        widget = self._class(className, name)(*([parent] if parent is not None else []))
        QObject.setObjectName(widget, name)
        return widget

    def createLayout(self, className, parent=None, name=""):
        cls = wrapped(className)
        if cls is None:
            raise UiError(f"layout '{name}' is of the unknown class {className}")
        layout = cls()
        QObject.setObjectName(layout, name)
        if isinstance(parent, QtWidgets.QWidget) and QtWidgets.QWidget.layout(parent) is None:
            QtWidgets.QWidget.setLayout(parent, layout)
        return layout

    @staticmethod
    def _read(file) -> bytes:
        if not isinstance(file, QtCore.QFile):
            with open(file, "rb") as stream:
                return stream.read()
        if not file.isOpen():
            file.open(QtCore.QFile.ReadOnly)
        return bytes(file.readAll())

    def _class(self, className: str, name: str) -> type:
        cls = self.placeholders.get(className) or wrapped(className)
        if cls is None:
            raise UiError(f"widget '{name}' is of the unknown class {className}")
        return cls

    def _check(self, widget: ET.Element) -> None:
        """Refuses unknown properties; spells out the placeholders' enumerations, which Qt cannot know."""
        name, className = widget.get("name", ""), widget.get("class", "")
        if className == "Line":  # Designer's own name for a QFrame drawn as a line
            return
        cls = self._class(className, name)
        for element in widget.findall("property"):
            key = element.get("name", "")
            known = key in propertiesOf(cls) or (element.get("stdset") == "0" and key in _DYNAMIC)
            if not known:
                raise UiError(f"widget '{name}' of class {cls.__name__} has no property '{key}'")
            if className in self.placeholders:
                self._spellOut(element, cls)

    @staticmethod
    def _spellOut(element: ET.Element, cls: type) -> None:
        """Turns `ctkPathLineEdit::Files|ctkPathLineEdit::Hidden` into its number."""
        for value in [v for v in element if v.tag in ("enum", "set") and f"{cls.__name__}::" in v.text]:
            number = 0
            for part in value.text.split("|"):
                name = part.rpartition("::")[2]
                if not isinstance(getattr(cls, name, None), int):
                    raise UiError(f"{cls.__name__} has no enumeration value '{name}'")
                number |= getattr(cls, name)
            value.tag, value.text = "number", str(number)

    @staticmethod
    def _connect(top, connection: dict[str, str]) -> None:
        def find(name):
            found = top if top.objectName == name else top.findChild(QtCore.QObject, name)
            if found is None:
                raise UiError(f"a connection names the object '{name}', which does not exist")
            return found

        sender, receiver = find(connection["sender"]), find(connection["receiver"])
        slot = getattr(receiver, connection["slot"].split("(")[0], None)
        if not callable(slot):
            raise UiError(f"'{connection['receiver']}' has no slot {connection['slot']}")
        try:
            resolve(toNative(sender), connection["signal"])
            sender.connect(connection["signal"], slot)
        except LookupError as error:
            raise UiError(f"'{connection['sender']}': {error}") from error
