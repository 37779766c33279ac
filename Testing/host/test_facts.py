"""The module and its stand-in, held to the facts of the real Slicer; each check finds a planted fault."""

from __future__ import annotations

import ast
import inspect
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from host import checks
from host.facts_reader import EVERYWHERE, VERSIONS, facts
from host.static_types import Types, widgetsOf

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "GLIDEReg" / "GLIDEReg.py"
PAGES = sorted((ROOT / "Resources" / "UI").glob("*.ui"))
FILES = [MODULE, *sorted((ROOT / "GLIDERegLib").rglob("*.py"))]
PANEL = [MODULE, *(f for f in FILES if f.parent.name in ("panel", "scene"))]


@pytest.fixture(params=VERSIONS)
def real(request):
    """The facts of one version."""
    return facts(request.param)


def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def parameters() -> dict[str, str]:
    """The annotations of the parameter node's members by name."""
    aliases, found = {}, {}
    for node in tree(MODULE).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            aliases[node.targets[0].id] = ast.unparse(node.value)
        if isinstance(node, ast.ClassDef) and node.name.endswith("ParameterNode"):
            members = [child for child in node.body if isinstance(child, ast.AnnAssign)]
            found = {child.target.id: ast.unparse(child.annotation) for child in members}
    return {name: aliases.get(annotation, annotation) for name, annotation in found.items()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_widgets_properties_and_connections_of_the_pages_exist(real, page):
    assert list(checks.ofPage(ElementTree.parse(page).getroot(), real)) == []


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ('class="ctkCollapsibleButton"', 'class="ctkFoldingButton"', "no such class"),
        ('name="toolTip"', 'name="toolTipp"', "no property toolTipp"),
        ("QComboBox::AdjustToMinimumContentsLengthWithIcon", "QComboBox::Adjust", "has no Adjust"),
        ("<bool>true</bool>", "<string>true</string>", "not a string"),
        ("mrmlSceneChanged(vtkMRMLScene*)", "sceneChanged(vtkMRMLScene*)", "no signal sceneChanged"),
        ("setMRMLScene(vtkMRMLScene*)", "setMRMLScene(bool)", "no slot setMRMLScene"),
    ],
)
def test_a_fault_in_a_page_is_found(real, old, new, found):
    text = PAGES[0].read_text(encoding="utf-8")
    assert old in text
    said = list(checks.ofPage(ElementTree.fromstring(text.replace(old, new)), real))
    assert any(found in sentence for sentence in said)


@pytest.mark.once
@pytest.mark.parametrize("file", PANEL, ids=lambda file: file.stem)
def test_attributes_of_widgets_exist(real, file):
    assert list(checks.ofWidgets(Types(tree(file), widgetsOf(PAGES)), real)) == []


@pytest.mark.once
def test_most_attributes_of_the_panel_are_understood(real):
    """The check above is no check where it knows no type."""
    types = [Types(tree(file), widgetsOf(PAGES)) for file in PANEL]
    nodes = [(t, n) for t in types for n in ast.walk(t.tree) if isinstance(n, ast.Attribute)]
    assert sum(t.of(node.value) is not None for t, node in nodes) > 100


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("ui.applyButton.enable = True", "enable does not exist"),
        ("ui.applyButton.text()", "is a property and is called"),
        ("ui.applyButton.click(1, 2)", "does not take 2 arguments"),
        ("ui.applyButton.setText(text='x')", "takes no keyword"),
        ("ui.applyButton.connect('pressed(int)', print)", "no signal pressed(int)"),
        ("ui.applyButton.width = 3", "cannot be written"),
        ("ui.applyButton.click = print", "cannot be written"),
        ("ui.progressBar.setCollapsed(True)", "does not exist"),
        ("qt.QPushButton(text='x')", "takes no keyword"),
        ("slicer.app.mainWindow()", "does not exist"),
    ],
)
def test_a_fault_in_the_use_of_a_widget_is_found(real, line, found):
    (said,) = checks.ofWidgets(Types(ast.parse(line), widgetsOf(PAGES)), real)
    assert found in said


@pytest.mark.once
def test_calls_of_slicers_python_fit(real):
    found = {file.name: list(checks.ofCalls(tree(file), real)) for file in FILES}
    assert {name: faults for name, faults in found.items() if faults} == {}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("slicer.util.loadUi('x')", "no slicer.util.loadUi"),
        ("slicer.util.loadUI('x', 1)", "takes 1 arguments"),
        ("slicer.util.getNodesByClass()", "lacks className"),
        ("slicer.util.mainWindow(parent=None)", "has no parent"),
        (
            "import SampleData\nSampleData.SampleDataLogic.registerCustomSampleDataSource(name=1)",
            "has no name",
        ),
        ("from slicer.util import arrayFromVolume as a\na()", "lacks volumeNode"),
    ],
)
def test_a_call_that_does_not_fit_is_found(real, line, found):
    (said,) = checks.ofCalls(ast.parse(line), real)
    assert found in said


def test_a_category_of_sample_data_without_its_title_is_found():
    line = "SampleData.SampleDataLogic.registerCustomSampleDataCategory(category='C')"
    (said,) = checks.ofCalls(ast.parse(line), facts("5.12"))
    assert "lacks title" in said


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_connect_gui_leaves_the_widgets_as_the_pages_say(real, page):
    assert list(checks.ofBindings(ElementTree.parse(page).getroot(), parameters(), real)) == []


@pytest.mark.parametrize(
    ("name", "annotation", "found"),
    [
        ("fixedVolume", "", "no such parameter"),
        ("fixedVolume", "str", "cannot be bound"),
        ("fixedVolume", "vtkMRMLModelNode", "nodeTypes becomes ['vtkMRMLModelNode']"),
        ("matchDistance", "Annotated[float, WithinRange(1, 2)]", "maximum becomes 2"),
    ],
)
def test_a_binding_that_changes_a_widget_or_fails_is_found(real, name, annotation, found):
    changed = {**parameters(), name: annotation}
    if not annotation:
        del changed[name]
    pages = [ElementTree.parse(page).getroot() for page in PAGES]
    assert any(found in said for page in pages for said in checks.ofBindings(page, changed, real))


# The stand-in itself: none of its names too many, and none that takes more.

STAND_INS = {
    "ctk_widgets": ("ctkSliderWidget", "ctkDoubleSpinBox", "ctkComboBox", "ctkPathLineEdit"),
    "collapsible": ("ctkCollapsibleButton", "ctkCollapsibleGroupBox"),
    "mrml_widgets": ("qMRMLWidget", "qSlicerWidget", "qMRMLSliderWidget", "qMRMLTableView"),
    "node_combo_box": ("qMRMLNodeComboBox",),
    "desktop": ("qSlicerModuleManager", "qSlicerApplication", "qSlicerMainWindow"),
    "modules": ("qSlicerScriptedLoadableModule", "qSlicerScriptedLoadableModuleWidget"),
}
# Only since 5.12: the fixture slicer510 takes it away.
NEWER = {"nodeAddedByUserAction"}
CPP = [(module, name) for module, names in STAND_INS.items() for name in names]


def ownNames(cls: type) -> dict[str, object]:
    """Public names that a stand-in brings itself, without its own machinery and Qt's event handlers."""
    found: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("host.") and base.__module__ not in ("host.pythonqt", "host.observing"):
            found |= vars(base)
    return {
        name: value
        for name, value in found.items()
        if not name.startswith("_")
        and not name.endswith(("Event", "SizeHint"))
        and name not in {"sizeHint", "eventFilter", "hitButton", "applyCollapse", "staticMetaObject"}
    }


def excess(cls: type, real, cpp: str) -> list[str]:
    said = []
    for name, value in ownNames(cls).items():
        kind = real.kind(cpp, name)
        if name in EVERYWHERE or (real.version == "5.10" and name in NEWER):
            continue
        if kind is None:
            said.append(f"{name} does not exist")
        elif inspect.isfunction(value) and kind == "method":
            arguments = list(inspect.signature(value).parameters.values())[1:]
            counts = range(sum(a.default is a.empty for a in arguments), len(arguments) + 1)
            variable = any(a.kind in (a.VAR_POSITIONAL, a.VAR_KEYWORD) for a in arguments)
            methods = real.named(cpp, name)
            if not variable and not all(any(m.takes(n) for m in methods) for n in counts):
                said.append(f"{name} takes {list(counts)} arguments")
        elif inspect.isfunction(value):
            said.append(f"{name} is a method, really a {kind}")
    return said


@pytest.mark.parametrize(("module", "name"), CPP, ids=[name for _, name in CPP])
def test_a_stand_in_has_no_name_too_many(slicerHost, real, module, name):
    import importlib

    assert excess(getattr(importlib.import_module(f"host.{module}"), name), real, name) == []


@pytest.mark.parametrize(("module", "name"), CPP, ids=[name for _, name in CPP])
def test_a_stand_in_inherits_what_the_real_class_does(slicerHost, real, module, name):
    import importlib

    from PySide6.QtCore import QObject

    cls = getattr(importlib.import_module(f"host.{module}"), name)
    if issubclass(cls.__mro__[-2], QObject) or QObject in cls.__mro__:
        qtBases = [base.__name__ for base in cls.__mro__ if base.__module__.startswith("PySide6")]
        assert qtBases[0] in real.lineage(name)


def test_a_name_too_many_and_a_method_that_takes_more_are_found(slicerHost, real):
    from host.ctk_widgets import ctkSliderWidget

    class Lenient(ctkSliderWidget):
        __module__ = "host.planted"

        def moduleUnloaded(self):
            pass

        def setValue(self, value, other=0):
            pass

        def minimum(self):
            pass

    assert set(excess(Lenient, real, "ctkSliderWidget")) == {
        "setValue takes [1, 2] arguments",
        "minimum is a method, really a property",
        "moduleUnloaded does not exist",
    }


def signature(function) -> list[list]:
    given = [a for a in inspect.signature(function).parameters.values() if a.kind is a.POSITIONAL_OR_KEYWORD]
    return [[a.name, int(a.default is not a.empty)] for a in given if a.name != "self"]


def test_functions_of_slicers_python_have_the_real_signatures(slicerHost):
    import SampleData
    import slicer

    real = facts("5.12")
    functions = {f"slicer.packaging.{n}": f for n, f in vars(slicer.packaging).items() if callable(f)}
    functions |= {f"slicer.util.{n}": getattr(slicer.util, n) for n in ("pip_install", "pip_uninstall")}
    for name in ("registerCustomSampleDataCategory", "registerCustomSampleDataSource"):
        functions[f"SampleData.SampleDataLogic.{name}"] = getattr(SampleData.SampleDataLogic, name)
    functions["SampleData.SampleDataSource"] = SampleData.SampleDataSource
    assert len(functions) > 8
    for dotted, function in functions.items():
        theirs = [argument for argument in real.function(dotted)["args"] if argument[0] != "self"]
        assert signature(function) == theirs, dotted
    slicerHost.packaging.setPresent(False)
    theirs = facts("5.10").function("slicer.util.pip_install")["args"]
    assert signature(slicer.util.pip_install) == theirs


def test_base_classes_of_modules_have_no_method_too_many(slicerHost, real):
    from host import bases

    for name, cls in bases.EXPORTS.items():
        theirs = real.python["slicer.ScriptedLoadableModule"]["classes"][name]["methods"]
        for method, function in vars(cls).items():
            if inspect.isfunction(function) and not method.startswith("__"):
                assert method in theirs, f"{name}.{method}"
                expected = [argument for argument in theirs[method]["args"] if argument[0] != "self"]
                assert signature(function) == expected, f"{name}.{method}"
