"""How a setting describes itself: the panel's lists, the command line's help and the limits come from this.

@dataclass(frozen=True)
class Some:
    range: float = described(48.0, "radius of the search", unit="mm", least=1.0)

descriptions(Some)["range"].unit  # "mm"
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Choice:
    """One of a setting's values: what is stored, what a list shows, and what it means."""

    value: str
    title: str
    tip: str = ""


@dataclass(frozen=True)
class Description:
    """What a setting means, in words for its user.

    text: a phrase that could end a sentence. title: as the panel names it, where it does. unit: `mm`,
    `pixels`, ... term: the word or symbol of the paper (arXiv 2603.00218). least, most: the limits, both
    allowed. automatic: what None stands for. shown: the limits of the panel's box, where they are narrower.
    """

    text: str
    title: str = ""
    unit: str = ""
    term: str = ""
    choices: tuple[Choice, ...] = ()
    least: float | None = None
    most: float | None = None
    automatic: str = ""
    shown: tuple[float, float] | None = None

    @property
    def values(self) -> tuple[str, ...]:
        """The values there are to choose from; empty where it is no choice."""
        return tuple(choice.value for choice in self.choices)


def described(default: Any, text: str, **description: Any) -> Any:
    """A dataclass field with a default and the other attributes of its Description as keywords."""
    return dataclasses.field(default=default, metadata={"description": Description(text, **description)})


def descriptions(described_class: Any) -> dict[str, Description]:
    """The Description of each field, by the field's name."""
    return {field.name: field.metadata["description"] for field in dataclasses.fields(described_class)}
