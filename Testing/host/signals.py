"""Signals as PythonQt has them: a function gets only as many of a signal's arguments as it takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from PySide6.QtCore import QObject


def argumentCount(function: Callable) -> int | None:
    """How many of a signal's arguments PythonQt passes on; None: all of them.

    It reads the code object of functions and methods and passes everything to anything else.
    """
    bound = inspect.ismethod(function)
    code = getattr(function.__func__ if bound else function, "__code__", None)
    if code is None or code.co_flags & inspect.CO_VARARGS:
        return None
    return code.co_argcount - bound


def join(owner: QObject, key: str, signal, passed: int, function: Callable, convert: Callable) -> None:
    """Connects one native signal; at most `passed` of its arguments reach the function, converted."""
    if not callable(function):
        raise TypeError(f"a signal can only be connected to something that can be called, not {function!r}")
    wanted = argumentCount(function)

    def call(*arguments):
        function(*(convert(argument) for argument in arguments[:wanted]))

    # PySide6 picks the overload by the receiver's own number of parameters, so it has to be spelt out.
    receivers = (lambda: call(), lambda a: call(a), lambda a, b: call(a, b), lambda a, b, c: call(a, b, c))
    signal.connect(receivers[passed])
    owner.__dict__.setdefault("_connections", []).append((key, function, signal, receivers[passed]))


def part(owner: QObject, key: str, function: Callable | None) -> bool:
    """Undoes `join`, for every function where none is given; False where there was nothing to undo."""
    connections = owner.__dict__.get("_connections", [])
    gone = [c for c in connections if c[0] == key and (function is None or c[1] == function)]
    for connection in gone:
        connection[2].disconnect(connection[3])
        connections.remove(connection)
    return bool(gone)


def disconnectAll(owner: QObject) -> None:
    """Undoes every `join` of an object."""
    for key in {connection[0] for connection in owner.__dict__.get("_connections", [])}:
        part(owner, key, None)


class SignalOfObject:
    """`button.clicked`: to connect, to disconnect, and to emit by calling it."""

    def __init__(self, owner: QObject, name: str, native, convert: Callable):
        self._owner, self._name, self._native, self._convert = owner, name, native, convert

    def connect(self, function: Callable) -> None:
        meta = type(self._owner).staticMetaObject
        methods = [meta.method(i) for i in range(meta.methodCount())]
        passed = max(m.parameterCount() for m in methods if bytes(m.name()).decode() == self._name)
        join(self._owner, self._name, self._native, passed, function, self._convert)

    def disconnect(self, function: Callable | None = None) -> bool:
        return part(self._owner, self._name, function)

    def emit(self, *args) -> None:
        self._native.emit(*args)

    __call__ = emit
