"""Reads the facts of the real Slicer in the folder `facts`, by PythonQt's rules of looking names up."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "facts"
VERSIONS = ("5.10", "5.12")
# What every object has beside its class's names.
EVERYWHERE = {"className", "inherits", "help", "delete", "connect", "disconnect"}


@dataclass(frozen=True)
class Method:
    """A method of C++: how many arguments it takes, and its signatures as moc lists them."""

    name: str
    types: tuple[str, ...]
    required: int

    @classmethod
    def read(cls, text: str) -> Method:
        """`static int name(QString text, int index=)`"""
        head, _, rest = text.partition("(")
        types, required = [], 0
        for part in split(rest[:-1]):
            match = re.fullmatch(r"(.*\S)\s+\w+", part.rstrip("="))
            named = match and part.rstrip("=").split()[-1] not in ("int", "double", "bool", "char")
            types.append(match[1] if named else part.rstrip("="))
            required += not part.endswith("=")
        return cls(head.split()[-1], tuple(types), required)

    @property
    def signatures(self) -> set[str]:
        counts = range(self.required, len(self.types) + 1)
        return {f"{self.name}({','.join(self.types[:n])})" for n in counts}

    def takes(self, count: int) -> bool:
        return self.required <= count <= len(self.types)


def split(text: str) -> list[str]:
    """At commas that stand in no brackets."""
    return [part.strip() for part in re.findall(r"(?:<[^>]*>|[^,<])+", text) if part.strip()]


def normal(signature: str) -> str:
    return re.sub(r"\s*([(),*&<>])\s*", r"\1", signature.strip())


class Facts:
    """One version of Slicer."""

    def __init__(self, version: str):
        data = json.loads((FOLDER / f"slicer-{version}.json").read_text(encoding="utf-8"))
        self.version, self.classes, self.python = version, data["classes"], data["python"]

    @cache  # noqa: B019
    def lineage(self, name: str) -> tuple[str, ...]:
        """The class and all it inherits, nearest first."""
        found: list[str] = []
        todo = [name]
        while todo:
            if (cls := todo.pop(0)) in self.classes and cls not in found:
                found.append(cls)
                todo += self.classes[cls].get("bases", [])
        return tuple(found)

    def property(self, cls: str, name: str) -> dict | None:
        name = "objectName" if name == "name" else name
        owners = (self.classes[owner].get("properties", {}) for owner in self.lineage(cls))
        return next((owner[name] for owner in owners if name in owner), None)

    def canWrite(self, cls: str, name: str) -> bool:
        facts = self.property(cls, name)
        return facts is not None and bool(facts.get("writable", "write" in facts))

    @cache  # noqa: B019
    def methods(self, cls: str, *groups: str) -> tuple[Method, ...]:
        groups = groups or ("slots", "invokables", "decorated", "signals")
        texts = (t for o in self.lineage(cls) for g in groups for t in self.classes[o].get(g) or ())
        return tuple(Method.read(text) for text in texts)

    def named(self, cls: str, name: str) -> list[Method]:
        return [method for method in self.methods(cls) if method.name == name]

    def signatures(self, cls: str, *groups: str) -> set[str]:
        return {normal(s) for method in self.methods(cls, *groups) for s in method.signatures}

    def enumerators(self, cls: str) -> set[str]:
        enums = (self.classes[owner].get("enums") or {} for owner in self.lineage(cls))
        return {value for owner in enums for name, values in owner.items() for value in (name, *values)}

    def kind(self, cls: str, name: str) -> str | None:
        """ "property", "method", "signal" or "enum", as PythonQt finds the name; None where it finds none."""
        if self.property(cls, name) is not None:
            return "property"
        if methods := self.named(cls, name):
            signals = {m.name for m in self.methods(cls, "signals")}
            return "signal" if methods[0].name in signals else "method"
        return "enum" if name in self.enumerators(cls) else None

    def function(self, dotted: str) -> dict | None:
        """The signature of a function, of a method or of a class's constructor of Slicer's Python."""
        module, _, name = dotted.rpartition(".")
        if module in self.python:
            facts = self.python[module]
            if name in facts["classes"]:
                return facts["classes"][name]["methods"].get("__init__")
            return facts["functions"].get(name)
        outer, _, cls = module.rpartition(".")
        classes = self.python.get(outer, {}).get("classes", {})
        return classes.get(cls, {}).get("methods", {}).get(name)


@cache
def facts(version: str) -> Facts:
    return Facts(version)
