"""The annotations that slicer.parameterNodeWrapper checks values by, and the one that gives a default."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Validator(ABC):
    """Base class of the annotations that check a value."""

    @abstractmethod
    def validate(self, value) -> None:
        """Raises ValueError for a value that must not be."""


class WithinRange(Validator):
    def __init__(self, minimum, maximum):
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


class Minimum(Validator):
    def __init__(self, minimum):
        self.minimum = minimum

    def validate(self, value):
        if value < self.minimum:
            raise ValueError(f"Value must be greater than {self.minimum}, is {value}")


class Maximum(Validator):
    def __init__(self, maximum):
        self.maximum = maximum

    def validate(self, value):
        if value > self.maximum:
            raise ValueError(f"Value must be less than {self.maximum}, is {value}")


class Choice(Validator):
    def __init__(self, choices):
        self.choices = choices

    def validate(self, value):
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be in one of the following: {self.choices}")


class Default:
    """A default value, or a function that makes it."""

    def __init__(self, value=None, *, generator=None):
        if generator is not None and value is not None:
            raise ValueError("Default takes a value or a generator, not both")
        self._value, self._generator = value, generator

    @property
    def value(self):
        return self._value if self._generator is None else self._generator()

    def __eq__(self, other):
        return isinstance(other, Default) and self.value == other.value

    __hash__ = None

    def __repr__(self):
        return f"Default({self.value!r})"
