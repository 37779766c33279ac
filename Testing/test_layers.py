"""The import rules of the developers' page (docs/develop.md), read from the source itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "GLIDERegLib"
ENGINE = ("core", "registration", "transforms", "files", "evaluation", "api")
# What each layer may import of the library, beside itself.
ALLOWED = {
    "core": set(),
    "errors": {"core"},
    "processes": {"core"},
    "registration": {"core"},
    "transforms": {"core", "registration"},
    "files": {"core", "registration", "transforms"},
    "evaluation": {"core", "registration", "transforms", "files"},
    "api": {"core", "registration", "transforms", "files", "evaluation"},
    "worker": {"processes", *ENGINE},
    "cli": {"processes", *ENGINE, "worker"},
    "studies": {"processes", *ENGINE, "worker", "cli"},
    "scene": {"processes", *ENGINE, "worker"},
    "panel": {"processes", *ENGINE, "worker", "scene"},
}
QT, SLICER, VTK = (
    {"qt", "ctk", "PythonQt", "PySide6", "PyQt5", "PyQt6"},
    {"slicer", "mrml"},
    {"vtk", "vtkmodules"},
)
FORBIDDEN = {
    "core": QT | SLICER | VTK | {"torch", "SimpleITK", "numba"},
    "errors": QT | SLICER | VTK | {"torch", "SimpleITK", "numba"},
    "processes": QT | SLICER | VTK | {"torch", "SimpleITK", "numpy"},
    "registration": QT | SLICER | VTK | {"pooch", "requests"},
    "transforms": QT | SLICER | VTK | {"torch"},
    "files": QT | SLICER | VTK,
    "evaluation": QT | SLICER | VTK,
    "api": QT | SLICER | VTK,
    "worker": QT | SLICER,
    "cli": QT | SLICER | VTK,
    "studies": QT | SLICER | VTK,
    "scene": QT,
    "panel": set(),
}
# What only the file of one encoder may import.
ENCODERS = {
    **dict.fromkeys(("sam2", "hydra", "omegaconf"), ("registration", "features", "sam2.py")),
    "transformers": ("registration", "features", "dinov2.py"),
}
SLOW = {"torch", "sam2", "transformers", "SimpleITK", "numba", "matplotlib"}


def layer_of(parts: tuple[str, ...]) -> str:
    """The layer of a module given its path inside the library: its folder, or its own name at the top."""
    return parts[0].removesuffix(".py")


def imports(source: str, package: tuple[str, ...]) -> set[tuple[str, ...]]:
    """All module paths that a source imports anywhere, `from x import y` as x.y, relative ones resolved."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {tuple(alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple((node.module or "").split(".")) if node.module else ()
            found |= {(*base, alias.name) for alias in node.names}
    return found


def violations(source: str, path: tuple[str, ...]) -> list[str]:
    """What a module of the library, at this path inside it, imports against the rules."""
    layer = layer_of(path)
    wrong = []
    for name in imports(source, ("GLIDERegLib", *path[:-1])):
        inside = name[0] == "GLIDERegLib" and len(name) > 1 and not name[1].startswith("__")
        if inside and name[1] != layer and name[1] in ALLOWED and name[1] not in ALLOWED[layer]:
            wrong.append(".".join(name))
        if name[0] in FORBIDDEN[layer] or path != ENCODERS.get(name[0], path):
            wrong.append(".".join(name))
    return wrong


def modules() -> list[Path]:
    return [path for path in sorted(LIBRARY.rglob("*.py")) if path.parent != LIBRARY or path.name[0] != "_"]


def test_a_module_imports_only_layers_above_its_own():
    parts = {path: path.relative_to(LIBRARY).parts for path in modules()}
    assert {layer_of(inside) for inside in parts.values()} <= set(ALLOWED), "a new layer needs its rules here"
    wrong = {
        str(path): violations(path.read_text(encoding="utf-8"), inside) for path, inside in parts.items()
    }
    assert len(wrong) > 300
    assert {path: names for path, names in wrong.items() if names} == {}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (("registration", "x.py"), "from ..files.volumes import read_volume"),
        (("registration", "x.py"), "from GLIDERegLib import evaluation"),
        (("registration", "x.py"), "def f():\n    import vtk.util.numpy_support"),
        (("registration", "x.py"), "from sam2.build_sam import build_sam2"),
        (("registration", "features", "sam2.py"), "import transformers"),
        (("files", "x.py"), "import GLIDERegLib.evaluation.metrics"),
        (("worker", "x.py"), "import slicer"),
        (("scene", "x.py"), "from qt import QTimer"),
        (("cli", "x.py"), "from ..panel import widget"),
    ],
)
def test_a_breach_of_the_rules_is_found(path, source):
    assert len(violations(source, path)) == 1


def loaded_with(source: str, package: tuple[str, ...], known: set[str]) -> set[str]:
    """Which of the known modules a source imports when it is loaded: not what only a call or a type checker
    imports.
    """
    tree = ast.parse(source)
    top = [
        node
        for node in tree.body
        for node in (node.body if isinstance(node, ast.Try) else [node])
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    names = {".".join(name) for name in imports(ast.unparse(ast.Module(top, [])), package)}
    return {name if name in known else name.rpartition(".")[0] for name in names} & known


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Modules that are, by way of others, loaded for their own loading."""

    def reached(start: str) -> set[str]:
        seen, waiting = set(), [start]
        while waiting:
            for name in graph[waiting.pop()] - seen:
                seen.add(name)
                waiting.append(name)
        return seen

    return sorted(name for name in graph if name in reached(name))


def test_no_module_of_the_library_is_imported_in_a_circle():
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in LIBRARY.rglob("*.py")
    }
    graph = {
        name: loaded_with(path.read_text("utf-8"), path.relative_to(ROOT).parent.parts, set(paths) - {name})
        for name, path in paths.items()
    }
    assert graph["GLIDERegLib.registration.pipeline"] > {"GLIDERegLib.registration.backends"}
    assert circles(graph) == []


def test_a_circle_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c"]


@pytest.mark.parametrize("path", sorted((ROOT / "GLIDEReg").rglob("*.py")), ids=lambda path: path.name)
def test_what_slicer_loads_at_start_imports_nothing_slow_at_its_top(path):
    top = ast.Module(
        [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.Import | ast.ImportFrom)], []
    )
    assert not {name[0] for name in imports(ast.unparse(top), ())} & SLOW


@pytest.mark.parametrize("module", ["GLIDERegLib", "GLIDERegLib.core.errors", "GLIDERegLib.cli"])
def test_importing_the_package_or_its_command_line_loads_nothing_slow(module):
    script = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert not set(done.stdout.split()) & (SLOW | {"numpy"})


def test_the_shared_vocabulary_loads_nothing_slow():
    """What the panel needs to fill its lists must not cost Slicer the import of torch."""
    names = ["GLIDERegLib.core." + path.stem for path in (LIBRARY / "core").glob("[a-z]*.py")]
    script = f"import sys, {', '.join(names)}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert len(names) >= 5 and not set(done.stdout.split()) & SLOW


# What the library says is worded for the command line in cli/, for Slicer in panel/; benchmark, cohort, peers
# and data sets are reached by their commands only.
FRONT_ENDS = ("cli", "panel", "studies")
COMMANDS = re.compile(
    r"(?<![\w-])--[a-z]{2}|\bglidereg (register|weights|report|cohort|demo)\b|\bpip install\b"
)


def said_to_people(source: str) -> list[str]:
    """The texts that a module raises or warns with: strings inside raise statements and calls of append."""
    texts = []
    for node in ast.walk(ast.parse(source)):
        warns = isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "append"
        if isinstance(node, ast.Raise) or warns:
            inside = (n.value for n in ast.walk(node) if isinstance(n, ast.Constant))
            texts += [value for value in inside if isinstance(value, str)]
    return texts


def test_no_message_of_the_library_names_a_flag_or_a_command():
    inner = [path for path in modules() if not path.relative_to(LIBRARY).as_posix().startswith(FRONT_ENDS)]
    said = {str(path): said_to_people(path.read_text("utf-8")) for path in inner}
    found = {path: [text for text in texts if COMMANDS.search(text)] for path, texts in said.items()}
    assert {path: texts for path, texts in found.items() if texts} == {}


def test_a_flag_in_a_message_is_found():
    planted = 'def f():\n    raise InputError(f"Too big; use --spacing {2}.")'
    assert [text for text in said_to_people(planted) if COMMANDS.search(text)]
