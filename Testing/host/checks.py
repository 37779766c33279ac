"""What of the module the real Slicer would refuse, read and not run; each check yields sentences."""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

from .facts_reader import EVERYWHERE, Facts, normal, split
from .static_types import MADE, Types

# Dynamic properties that Slicer reads.
DYNAMIC = {"SlicerParameterName", "SlicerPackParameterName"}
# Value tags of .ui files to the types of properties that they fit.
FITTING = {
    "bool": {"bool"},
    "number": {"int", "uint", "double", "qlonglong"},
    "double": {"double"},
    "string": {"QString", "QByteArray", "QKeySequence"},
    "stringlist": {"QStringList"},
}
# Modules whose calls are looked at, by the name that stands before the dot.
MODULES = (
    "slicer.util",
    "slicer.packaging",
    "slicer.i18n",
    "slicer.ScriptedLoadableModule",
    "SampleData",
    "PyTorchUtils",
)
# What connectGui can bind to each type (exact classes).
NUMBERS = {"ctkSliderWidget", "qMRMLSliderWidget", "ctkDoubleSlider", "ctkDoubleSpinBox", "qMRMLSpinBox"}
BOUND = {
    "bool": {"QCheckBox", "ctkCheckBox", "QPushButton", "ctkCheckablePushButton"},
    "int": {"QSlider", "QSpinBox", "QDoubleSpinBox", *NUMBERS},
    "float": {"QDoubleSpinBox", *NUMBERS},
    "str": {"QLineEdit", "QLabel", "QTextEdit"},
    "Path": {"ctkPathLineEdit", "ctkDirectoryButton"},
    "node": {"qMRMLNodeComboBox"},
    "Choice": {"QComboBox", "ctkComboBox"},
}


def ofPage(page: ElementTree.Element, facts: Facts) -> Iterator[str]:
    """Classes, properties, enumerators and connections of a .ui file."""
    kinds = {w.get("name"): w.get("class") for w in page.iter() if w.tag in ("widget", "layout")}
    for widget in page.iter("widget"):
        cls, where = widget.get("class"), f"{widget.get('name')} ({widget.get('class')})"
        cls = "QFrame" if cls == "Line" else cls
        if cls not in facts.classes:
            yield f"{where}: no such class"
            continue
        for element in widget.findall("property"):
            yield from _ofProperty(element, cls, where, facts)
    for connection in page.iter("connection"):
        ends = [kinds.get(connection.findtext(end)) for end in ("sender", "receiver")]
        signal, slot = (normal(connection.findtext(part)) for part in ("signal", "slot"))
        if ends[0] not in facts.classes or signal not in facts.signatures(ends[0], "signals"):
            yield f"{ends[0]} has no signal {signal}"
        if ends[1] not in facts.classes or slot not in facts.signatures(
            ends[1], "slots", "invokables", "signals"
        ):
            yield f"{ends[1]} has no slot {slot}"
        passed, taken = (split(text.partition("(")[2][:-1]) for text in (signal, slot))
        if passed[: len(taken)] != taken:
            yield f"{signal} does not fit {slot}"


def _ofProperty(element: ElementTree.Element, cls: str, where: str, facts: Facts) -> Iterator[str]:
    name, value = element.get("name"), element[0]
    if element.get("stdset") == "0" and name in DYNAMIC:
        return
    if not facts.canWrite(cls, name):
        yield f"{where}: no property {name} that can be written"
        return
    kind = facts.property(cls, name)["type"]
    if value.tag in FITTING and kind not in FITTING[value.tag]:
        yield f"{where}: {name} is a {kind}, not a {value.tag}"
    for part in (value.text or "").split("|") if value.tag in ("enum", "set") else ():
        scope, _, key = part.strip().rpartition("::")
        owner = scope.split("::")[0] or cls
        if owner in facts.classes and key not in facts.enumerators(owner):
            yield f"{where}: {owner} has no {key}"


def ofWidgets(types: Types, facts: Facts) -> Iterator[str]:
    """Attributes that are read and written of widgets, and how their methods and signals are used."""
    calls = {id(node.func): node for node in ast.walk(types.tree) if isinstance(node, ast.Call)}
    for node in ast.walk(types.tree):
        if isinstance(node, ast.Call) and (match := MADE.fullmatch(ast.unparse(node.func))):
            if node.keywords:
                yield f"{node.lineno}: {match[1]} takes no keyword arguments"
        if not isinstance(node, ast.Attribute) or (cls := types.of(node.value)) is None:
            continue
        if cls not in facts.classes:
            yield f"{node.lineno}: no class {cls}"
            continue
        yield from _ofAttribute(node, calls.get(id(node)), cls, facts)


def _ofAttribute(node: ast.Attribute, call: ast.Call | None, cls: str, facts: Facts) -> Iterator[str]:
    where, kind = f"{node.lineno}: {cls}.{node.attr}", facts.kind(cls, node.attr)
    if node.attr in ("connect", "disconnect"):
        if call is not None and call.args and isinstance(call.args[0], ast.Constant):
            signal = normal(call.args[0].value)
            if signal not in facts.signatures(cls, "signals"):
                yield f"{where}: no signal {signal}"
    elif node.attr in EVERYWHERE:
        return
    elif kind is None:
        yield f"{where} does not exist"
    elif isinstance(node.ctx, ast.Store):
        if kind != "property" or not facts.canWrite(cls, node.attr):
            yield f"{where} is a {kind} that cannot be written"
    elif call is not None:
        if kind == "property":
            yield f"{where} is a property and is called"
        elif call.keywords:
            yield f"{where} takes no keyword arguments"
        elif not any(m.takes(len(call.args)) for m in facts.named(cls, node.attr)):
            yield f"{where} does not take {len(call.args)} arguments"


def ofCalls(tree: ast.Module, facts: Facts) -> Iterator[str]:
    """Calls of Slicer's Python by their full name, through an import of it, or through `super()`."""
    short: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            short |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if ast.unparse(node.value).startswith(MODULES):
                short[node.targets[0].id] = ast.unparse(node.value)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        head, _, rest = ast.unparse(node.func).partition(".")
        dotted = f"{short.get(head, head)}.{rest}".rstrip(".")
        module = next((m for m in MODULES if dotted.startswith(f"{m}.")), None)
        # What 5.10 lacks is only reached where it is there.
        if module is None or module not in facts.python or "(" in dotted:
            continue
        signature = facts.function(dotted)
        if signature is None:
            names = facts.python[module]
            if dotted.removeprefix(f"{module}.").split(".")[0] not in {
                *names["functions"],
                *names["classes"],
            }:
                yield f"{node.lineno}: no {dotted}"
        elif problem := _misfit(node, signature, "self" in dict(signature["args"])):
            yield f"{node.lineno}: {dotted} {problem}"


def _misfit(call: ast.Call, signature: dict, isMethod: bool) -> str | None:
    if any(isinstance(a, ast.Starred) for a in call.args) or any(k.arg is None for k in call.keywords):
        return None
    explicit = isMethod and bool(call.args) and ast.unparse(call.args[0]) == "self"
    names = signature["args"][1:] if isMethod and not explicit else signature["args"]
    given = {name for name, _ in names[: len(call.args)]} | {k.arg for k in call.keywords}
    if len(call.args) > len(names) and "star" not in signature:
        return f"takes {len(names)} arguments"
    known = {name for name, _ in (*names, *signature.get("keywords", []))}
    if "starstar" not in signature and (unknown := given - known):
        return f"has no {', '.join(sorted(unknown))}"
    if lacking := [name for name, default in names if not default and name not in given]:
        return f"lacks {', '.join(lacking)}"
    return None


def ofBindings(page: ElementTree.Element, parameters: dict[str, str], facts: Facts) -> Iterator[str]:
    """What connectGui makes of the widgets; parameters: annotations by name, aliases resolved."""
    for widget in page.iter("widget"):
        properties = {p.get("name"): p[0] for p in widget.findall("property")}
        if "SlicerParameterName" not in properties:
            continue
        name, cls = properties["SlicerParameterName"].text, widget.get("class")
        where = f"{widget.get('name')} ({name})"
        if name not in parameters:
            yield f"{where}: no such parameter"
            continue
        annotation = parameters[name]
        nodes = re.findall(r"\bvtkMRML\w+", annotation)
        base = re.match(r"(?:Annotated\[)?([\w.]+)", annotation)[1].rpartition(".")[2]
        kind = "node" if nodes else "Choice" if "Choice(" in annotation else base
        if cls not in BOUND.get(kind, set()):
            yield f"{where}: {cls} cannot be bound to {annotation}"
        offered = [s.text for s in properties["nodeTypes"]] if "nodeTypes" in properties else []
        hidden = "showChildNodeTypes" in properties and properties["showChildNodeTypes"].text == "false"
        if nodes and (offered != nodes):
            yield f"{where}: nodeTypes becomes {nodes}" + (", without derived classes" if hidden else "")
        if match := re.search(r"WithinRange\(([-\d.]+), ([-\d.]+)\)", annotation):
            for bound, value in zip(("minimum", "maximum"), match.groups(), strict=True):
                if bound in properties and float(properties[bound].text) != float(value):
                    yield f"{where}: {bound} becomes {value}"
        elif cls in ("QSlider", "ctkSliderWidget", "qMRMLSliderWidget"):
            yield f"{where}: {cls} needs a range"
