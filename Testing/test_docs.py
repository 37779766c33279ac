"""The pages for readers: links lead somewhere, names in the code exist, the first page stays one page."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    [*(ROOT / "docs").rglob("*.md"), ROOT / "GLIDERegLib/registration/README.md"]
)
LINK = re.compile(r"\]\(([^)#\s]+)?(#[\w-]+)?\)")


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    heads = re.findall(r"(?m)^#+ (.+)$", page.read_text(encoding="utf-8"))
    return {"#" + re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_to_a_file_or_heading_that_is_there(page):
    broken = []
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        there = (page.parent / target) if target else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target + anchor)
    assert broken == []


def test_the_first_page_is_one_page():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


METHOD = ROOT / "GLIDERegLib/registration"
METHOD_MAP = (METHOD / "README.md").read_text("utf-8")


def defined(source: str) -> set[str]:
    """The functions, classes, methods (as Class.method) and constants of a module."""
    names = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
        if isinstance(node, ast.Assign | ast.AnnAssign):
            names |= {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
    return names


def test_every_file_and_name_of_the_method_map_exists():
    table = re.findall(r"(?m)^\| [^|]+ \| [^|]+ \| ([^|]+\.py[^|]*) \| ([^|]+) \|$", METHOD_MAP)
    assert len(table) >= 25
    for files, names in table:
        found = [
            defined((METHOD / file).read_text("utf-8")) for file in re.findall(r"`([\w./]+\.py)`", files)
        ]
        missing = set(re.findall(r"`([\w.]+)`", names)) - set().union(*found)
        assert found and not missing, f"{missing} not in {files}"


def test_every_file_of_the_method_stands_in_its_map():
    files = [path.relative_to(METHOD).as_posix() for path in METHOD.rglob("[!_]*.py")]
    kernels = ("backends/numba", "backends/torch", "backends/triton")
    assert [file for file in files if f"`{file}`" not in METHOD_MAP and not file.startswith(kernels)] == []


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_two_commands_of_the_first_page_are_targets_of_the_makefile(target):
    assert f"make {target} " in (ROOT / "README.md").read_text(encoding="utf-8")
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
