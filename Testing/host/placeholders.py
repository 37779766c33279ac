"""Helpers to write a stand-in of a C++ widget in Python."""

from __future__ import annotations

from PySide6.QtCore import Property

from .pythonqt import propertiesOf


def placeholder(cls: type) -> type:
    """Class decorator: to user code the class is closed, as any C++ class is."""
    cls._direct = True
    propertiesOf.cache_clear()
    return cls


def stored(kind: type | str, key: str, default, changed: str = "") -> Property:
    """A Qt property that only remembers its value, calling the method `changed` afterwards."""

    def read(self):
        return self.__dict__.get(key, default)

    def write(self, value):
        self.__dict__[key] = value
        if changed:
            getattr(self, changed)()

    return Property(kind, read, write)
