"""Which widget an expression of the panel is, as far as names tell: `ui.x`, `self.ui.x`, `qt.QTimer()`."""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

MADE = re.compile(r"(?:qt|ctk|slicer)\.(Q\w+|ctk\w+|qMRML\w+|qSlicer\w+)")
RETURNS = {
    "slicer.app.moduleManager()": "qSlicerModuleManager",
    "slicer.app.layoutManager()": "qSlicerLayoutManager",
    "slicer.util.mainWindow()": "qSlicerMainWindow",
    "slicer.app": "qSlicerApplication",
}


def widgetsOf(pages: Iterator[Path]) -> dict[str, str]:
    """Class of every widget by its name."""
    roots = [ElementTree.parse(page).getroot() for page in pages]
    return {w.get("name"): w.get("class") for root in roots for w in root.iter("widget")}


class Types:
    """The types of one file's expressions. widgets: classes by name, of all .ui files."""

    def __init__(self, tree: ast.Module, widgets: dict[str, str]):
        self.tree, self._widgets = tree, widgets
        self._attributes: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and (kind := self.of(node.value)):
                for target in node.targets:
                    if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self":
                        self._attributes[target.attr] = kind
            elif isinstance(node, ast.FunctionDef):
                self._arguments(node)

    def _arguments(self, function: ast.FunctionDef) -> None:
        """`def __init__(self, button: qt.QPushButton): self._button = button`"""
        kinds = {
            a.arg: match[1]
            for a in function.args.args
            if a.annotation is not None and (match := MADE.fullmatch(ast.unparse(a.annotation)))
        }
        for node in ast.walk(function):
            pairs = []
            if isinstance(node, ast.Assign):
                target, value = node.targets[0], node.value
                isTuple = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
                pairs = zip(target.elts, value.elts, strict=False) if isTuple else [(target, value)]
            for target, value in pairs:
                if isinstance(value, ast.Name) and value.id in kinds and isinstance(target, ast.Attribute):
                    self._attributes[target.attr] = kinds[value.id]

    def of(self, node: ast.expr) -> str | None:
        """The class of C++ of an expression; None where it is none, or not known."""
        text = ast.unparse(node)
        if text in RETURNS:
            return RETURNS[text]
        if isinstance(node, ast.Call):
            match = MADE.fullmatch(ast.unparse(node.func))
            return match[1] if match else None
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            if owner == "ui" or owner.endswith(".ui"):
                return self._widgets.get(node.attr)
            if owner == "self":
                return self._attributes.get(node.attr)
        return None
