"""Modules `qt` and, through its classes, `ctk`: PySide6 behind the rules of PythonQt.

Slicer's Python meets Qt through PythonQt, whose manners differ from PySide6's: a Qt property shadows the
method of the same name and is read and written as a plain attribute, an unknown name is refused on reading
and on writing, signals are connected by their C++ signature, and lists come back as tuples. Every class of
Qt that is a QObject gets a subclass here that keeps those rules; objects that Qt makes itself come wrapped in
`Adopted`, which keeps them too. The other classes (QIcon, QSize, ...) are PySide6's own.
"""

from __future__ import annotations

import inspect
import math
import sys
import types
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from functools import cache, partial

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import QMetaMethod, QMetaObject, QObject

from .signals import SignalOfObject, join, part

# What PySide6 adds to a class: PythonQt's objects have none of it.
_PYSIDE_ONLY = {"Signal", "Slot", "Property", "staticMetaObject", "emit", "receivers", "tr"}
# Made once, never through a wrapper.
_APPLICATIONS = {"QCoreApplication", "QGuiApplication", "QApplication"}


@cache
def propertiesOf(cls: type) -> dict[str, bool]:
    """The Qt properties that a class declares, with whether each can be written."""
    meta = cls.staticMetaObject
    found = [meta.property(i) for i in range(meta.propertyCount())]
    # PythonQt leaves out what hides QTimer's static method of this name.
    return {p.name(): p.isWritable() for p in found if p.name() != "singleShot"}


@cache
def _propertyType(cls: type, name: str) -> str:
    meta = cls.staticMetaObject
    return meta.property(meta.indexOfProperty(name)).typeName()


def converted(value, kind: str):
    """A value as PythonQt makes it one of a C++ type; TypeError where it does not.

    Lenient: numbers become whole by floor, anything becomes a text or a truth value, None too, and any
    sequence a list of texts.
    """
    if kind in ("QString", "QStringList", "QList<QString>") and isinstance(value, QtCore.QObject):
        raise TypeError
    if kind == "QString":
        return str(value)
    if kind == "bool":
        return bool(value)
    if kind in ("int", "uint", "qlonglong"):
        if not isinstance(value, int | float):
            raise TypeError
        return math.floor(value)
    if kind == "double":
        if not isinstance(value, int | float):
            raise TypeError
        return float(value)
    if kind in ("QStringList", "QList<QString>"):
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise TypeError
        return [str(item) for item in value]
    return value


# Properties being read. Qt's getter may be virtual (sizeHint), and PySide6 then looks for an override of it
# by the same name on the same object: it has to find the method.
_reading: set[tuple[int, str]] = set()
# What PythonQt has only printed since the last test.
complaints: list[str] = []


def complain(text: str) -> None:
    """Says something on the console, as PythonQt does where it does not raise."""
    complaints.append(text)
    print(text, file=sys.stderr)


def refuseRich(text: str, where: str) -> None:
    """Complains of a text that Qt takes for HTML though nobody wrote it as such: what it holds between < and
    >, as a scan's name may, would not be seen, and its lines would run together.
    """
    if QtGui.Qt.mightBeRichText(text) and not text.startswith(("<qt>", "<table")):
        complain(f"{where} would be read as HTML: {text!r}")


def _refuseRichText(owner: QObject, name: str, value) -> None:
    if name == "toolTip":
        refuseRich(str(value), f"the tool tip of {QObject.objectName(owner)}")
    elif name == "text" and isinstance(owner, QtWidgets.QLabel):
        isPlain = QtWidgets.QLabel.textFormat(owner) == QtCore.Qt.PlainText
        if not isPlain and QtGui.Qt.mightBeRichText(str(value)):
            complain(f"the label {QObject.objectName(owner)} would be read as HTML: {value!r}")


# True while a .ui file is loaded: PySide6 then hangs every named child on its parent, PythonQt does not.
_loading = False


@contextmanager
def loadingUi():
    """While it lasts, writing an attribute that does not exist has no effect."""
    global _loading
    _loading = True
    try:
        yield
    finally:
        _loading = False


def isLoading() -> bool:
    """Whether `loadingUi` lasts."""
    return _loading


def toPythonQt(value):
    """A value as PythonQt hands it over: sequences as tuples, Qt's own objects under the same rules."""
    if isinstance(value, list | tuple):
        return tuple(toPythonQt(item) for item in value)
    return Adopted(value) if isinstance(value, QObject) and not isinstance(value, PythonQtObject) else value


def toNative(value):
    """A value as PySide6 takes it."""
    if isinstance(value, list | tuple):
        return [toNative(item) for item in value]
    return value._native if type(value) is Adopted else value


@cache
def _slotOf(cls: type, name: str, count: int) -> tuple[str, ...] | None:
    """The types of what a class's only method of this name with so many parameters takes; None where there is
    none, or more than one.
    """
    meta = cls.staticMetaObject
    methods = [meta.method(i) for i in range(meta.methodCount())]
    fitting = {
        tuple(bytes(kind).decode() for kind in method.parameterTypes())
        for method in methods
        if method.parameterCount() == count and bytes(method.name()).decode() == name
    }
    return fitting.pop() if len(fitting) == 1 else None


class Method:
    """A method of a Qt object; what it returns follows PythonQt's rules."""

    def __init__(self, owner: QObject, native: Callable):
        self._owner, self._native, self.__name__ = owner, native, native.__name__

    def __call__(self, *args, **keywords):
        if keywords:
            raise ValueError(f"{self.__name__} takes no keyword arguments, as no method of C++ does")
        if not shiboken6.isValid(self._owner):
            raise RuntimeError(f"Trying to call '{self.__name__}' on a destroyed object")
        try:
            return toPythonQt(self._native(*(toNative(a) for a in self._fitting(args))))
        except TypeError as error:
            raise ValueError(f"Could not find matching overload for {self.__name__}: {error}") from error

    def _fitting(self, args: tuple) -> tuple:
        """The arguments as the only slot of this name with so many takes them, where there is just one."""
        kinds = _slotOf(type(self._owner), self.__name__, len(args))
        return args if kinds is None else tuple(converted(a, k) for a, k in zip(args, kinds, strict=True))

    def __eq__(self, other):
        return isinstance(other, Method) and self._owner is other._owner and self.__name__ == other.__name__

    def __hash__(self):
        return hash((id(self._owner), self.__name__))


def _raw(owner: QObject) -> Callable:
    """PySide6's own way of looking an attribute up."""
    if isinstance(owner, PythonQtObject):
        return super(PythonQtObject, owner).__getattribute__
    return partial(getattr, owner)


def _get(owner: QObject, name: str):
    cls = type(owner)
    if not shiboken6.isValid(owner):
        raise ValueError(f"Trying to read '{name}' from a destroyed {cls.__name__} object")
    if name == "name":
        return QObject.objectName(owner)
    if name in _METHODS:
        return types.MethodType(_METHODS[name], owner)
    reading = (id(owner), name)
    if name in propertiesOf(cls) and reading not in _reading:
        _reading.add(reading)
        try:
            return toPythonQt(QObject.property(owner, name))
        finally:
            _reading.discard(reading)
    if name in _PYSIDE_ONLY:
        raise AttributeError(f"{cls.__name__} has no attribute named '{name}'")
    try:
        value = _raw(owner)(name)
    except AttributeError:
        dynamic = QObject.property(owner, name)
        if dynamic is None:
            raise AttributeError(f"{cls.__name__} has no attribute named '{name}'") from None
        return toPythonQt(dynamic)
    if isinstance(value, QtCore.SignalInstance):
        return SignalOfObject(owner, name, value, toPythonQt)
    return Method(owner, value) if inspect.isbuiltin(value) and reading not in _reading else value


def _set(owner: QObject, name: str, value) -> bool:
    """Writes a Qt property; False where there is none of that name."""
    cls = type(owner)
    if not shiboken6.isValid(owner):
        raise AttributeError(f"Trying to set property '{name}' on a destroyed {cls.__name__} object")
    if name == "name":
        QObject.setObjectName(owner, value)
    elif name in propertiesOf(cls):
        if not propertiesOf(cls)[name]:
            raise AttributeError(f"Property '{name}' of {cls.__name__} object is not writable")
        if not _loading:
            _refuseRichText(owner, name, value)
        try:
            fitting = converted(toNative(value), _propertyType(cls, name))
        except TypeError:
            fitting = None
        if fitting is None or not QObject.setProperty(owner, name, fitting):
            kind = type(value).__name__
            raise AttributeError(
                f"Property '{name}' of {cls.__name__} does not accept {value!r} of type {kind}"
            )
    elif name.encode() in [bytes(known) for known in QObject.dynamicPropertyNames(owner)]:
        QObject.setProperty(owner, name, value)
    else:
        return False
    return True


def _refuse(cls: type, name: str) -> None:
    if hasattr(cls, name):
        raise AttributeError(f"Slot '{name}' can not be overwritten on {cls.__name__} object")
    raise AttributeError(
        f"'{name}' does not exist on {cls.__name__} and creating new attributes on C++ objects is not allowed"
    )


class PythonQtObject:
    """The rules, mixed into every QObject class; `_internal` names a placeholder's private attributes."""

    # C++ signature to attribute, for signals of types that PySide6 does not know.
    _signatures: dict[str, str] = {}
    _internal: tuple[str, ...] = ()

    def __init__(self, *args, **kwargs):
        if kwargs:
            raise ValueError(
                f"PythonQt's {type(self).__name__} takes no keyword arguments: {', '.join(kwargs)}"
            )
        super().__init__(*(toNative(argument) for argument in args))

    def __getattribute__(self, name: str):
        return super().__getattribute__(name) if name.startswith("_") else _get(self, name)

    def __setattr__(self, name: str, value) -> None:
        closed = type(self).__dict__.get("_direct", False)
        if name in self._internal:
            super().__setattr__(name, value)
        elif not _set(self, name, value) and not _loading:
            if closed:
                _refuse(type(self), name)
            super().__setattr__(name, value)


class Adopted:
    """An object that Qt made itself, such as a form's label or a dialog's button."""

    __slots__ = ("_native",)

    def __init__(self, native: QObject):
        object.__setattr__(self, "_native", native)

    def __getattr__(self, name: str):
        if name.startswith("_"):
            raise AttributeError(name)
        return _get(self._native, name)

    def __setattr__(self, name: str, value) -> None:
        if not _set(self._native, name, value):
            _refuse(type(self._native), name)

    def __eq__(self, other):
        return type(other) is Adopted and self._native is other._native

    def __hash__(self):
        return hash(self._native)


class PythonQtType(type(QObject)):
    """isinstance does not follow Qt's inheritance, only that of classes made in Python: for a QPushButton,
    isinstance(button, qt.QWidget) is False, and button.inherits("QWidget") is True.
    """

    def __instancecheck__(cls, instance):
        if type(instance) is Adopted:
            return type(instance._native) is cls.__dict__.get("_native")
        return cls.__subclasscheck__(type(instance))

    def __subclasscheck__(cls, sub):
        for base in sub.__mro__:
            if base is cls:
                return True
            if base.__dict__.get("_direct"):
                # A class of C++: to Python it has no base but the wrapper.
                return False
        return False


def className(owner: QObject) -> str:
    return type(owner).__name__


def delete(owner: QObject) -> None:
    shiboken6.delete(owner)


def children(owner: QObject) -> tuple:
    return toPythonQt(QObject.children(owner))


def findChildren(owner: QObject, kind: type | str = QObject, name: str = "") -> tuple:
    """All descendants of a class, given itself or by its name, and of an object name where one is given."""
    found = [c for c in QObject.findChildren(owner, QObject) if not name or QObject.objectName(c) == name]
    if isinstance(kind, str):
        return toPythonQt([c for c in found if kind in (k.__name__ for k in type(c).__mro__)])
    native = kind.__dict__.get("_native", kind)
    return toPythonQt([c for c in found if native in type(c).__mro__])


def inherits(owner: QObject, name: str) -> bool:
    """Whether it is of that class of C++ or of one that inherits it."""
    return name in (kind.__name__ for kind in type(owner).__mro__)


def findChild(owner: QObject, kind: type | str = QObject, name: str = ""):
    return next(iter(findChildren(owner, kind, name)), None)


def connect(owner: QObject, signature: str, target, slot: str | None = None) -> bool:
    """`connect('toggled(bool)', function)` or `connect('clicked()', object, 'slot()')`.

    Where the object has no such signal, it only says so and returns False.
    """
    try:
        attribute, passed, key = resolve(owner, signature)
    except LookupError as error:
        complain(str(error))
        return False
    function = target if slot is None else getattr(target, slot.split("(")[0])
    join(owner, key, _raw(owner)(attribute), passed, function, toPythonQt)
    return True


def disconnect(owner: QObject, signature: str, target=None, slot: str | None = None) -> bool:
    try:
        key = resolve(owner, signature)[2]
    except LookupError as error:
        complain(str(error))
        return False
    return part(owner, key, target if slot is None else getattr(target, slot.split("(")[0]))


def resolve(owner: QObject, signature: str) -> tuple[str, int, str]:
    """Attribute, number of arguments and normal form of the signal that a signature names; LookupError."""
    normal = bytes(QMetaObject.normalizedSignature(signature)).decode()
    attribute, _, arguments = normal.partition("(")
    passed = len(arguments[:-1].split(",")) if arguments[:-1] else 0
    placeholders: dict[str, str] = {}
    for cls in reversed(type(owner).__mro__):
        placeholders |= cls.__dict__.get("_signatures", {})
    if normal in placeholders:
        return placeholders[normal], passed, normal
    meta = type(owner).staticMetaObject
    if attribute not in placeholders.values() and meta.indexOfSignal(normal) >= 0:
        return attribute, passed, normal
    methods = [meta.method(i) for i in range(meta.methodCount())]
    known = {bytes(m.methodSignature()).decode() for m in methods if m.methodType() == QMetaMethod.Signal}
    known = {k for k in known if k.partition("(")[0] not in placeholders.values()} | set(placeholders)
    near = sorted(k for k in known if k.partition("(")[0] == attribute) or sorted(known)
    raise LookupError(f"{type(owner).__name__} has no signal {normal}; it has {', '.join(near)}")


_METHODS = {
    function.__name__: function
    for function in (className, inherits, delete, children, findChildren, findChild, connect, disconnect)
}


def _wrap(native: type) -> type:
    return PythonQtType(
        native.__name__,
        (PythonQtObject, native),
        {"_direct": True, "_native": native, "__module__": "qt", "__doc__": native.__doc__},
    )


def _makeQt() -> types.ModuleType:
    module = types.ModuleType("qt", "Qt as Slicer's Python sees it.")
    for source in (QtCore, QtGui, QtWidgets):
        for name in [n for n in dir(source) if n.startswith("Q")]:
            found = getattr(source, name)
            isObject = isinstance(found, type) and issubclass(found, QObject) and name not in _APPLICATIONS
            setattr(module, name, _wrap(found) if isObject else found)
    return module


qt = _makeQt()


class _TableWidgetItem(QtWidgets.QTableWidgetItem):
    """No QObject, and yet its tool tip may be taken for HTML."""

    def setToolTip(self, text: str) -> None:
        refuseRich(text, "the tool tip of a cell")
        super().setToolTip(text)


qt.QTableWidgetItem = _TableWidgetItem
QWidget = qt.QWidget


def wrapped(name: str) -> type | None:
    """The class of that name under PythonQt's rules; None where Qt has no such QObject class."""
    cls = getattr(qt, name, None)
    return cls if isinstance(cls, PythonQtType) else None
