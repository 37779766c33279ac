"""The words a user reads are the field's: no phrase of the house where radiology or Slicer has its own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What must not be read, and what is said instead.
PHRASES = {
    r"\bcarr(y|ies|ied|ying)\b": "propagate",
    r"shift and turn|shift, turn": "Rigid, Affine",
    r"middle on middle|middles of the scans": "Center of volumes",
    r"\bquality:|computed on:|compared by": "Preset, Device, Features",
    r"local structure|by the anatomy|anatomy features|looking at the anatomy": "MIND (local), SAM2 (global)",
    r"learned along|learned before": "VAE, co-optimised (dynamic); VAE, pretrained (static)",
    r"own weights|largest motion:|working voxels:": "Custom checkpoint, Search range, Working resolution",
    r"correct by points|points met": "Landmark correction, landmark error",
    r"\bfolded\b": "Folding (Jacobian ≤ 0)",
    r"round.trip|there and back|way back": "Inverse consistency error",
    r"over fixed:|read together|maps and numbers|as it lies": "Overlay, Linked crosshair, Compute metrics",
    r"^two lists$|\bdisappeared\b": "Match nodule lists, not marked in",
    r"\breliable\b|look closely|look at these nodules": "position uncertainty, review recommended",
    r"ended early": "Stopped by user, intermediate result",
    r"numbers inside|scans over time|over the phases": "Region for statistics, Sequence, Results",
}
CODE = ("panel", "scene", "cli")


def strings(path: Path) -> Iterator[str]:
    """The texts of a Python file that may be shown: all but docstrings and names of one word."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


@cache
def texts() -> tuple[tuple[str, str], ...]:
    return tuple((place, " ".join(text.split())) for place, text in _texts() if text not in FORMER)


def _texts() -> Iterator[tuple[str, str]]:
    """Where it stands, and what: every text that a user reads."""
    library = ROOT / "GLIDERegLib"
    files = [path for folder in CODE for path in sorted((library / folder).rglob("*.py"))]
    files += [*sorted((library / "evaluation").glob("report*.py")), library / "core" / "settings.py"]
    for path in [*files, ROOT / "GLIDEReg" / "GLIDEReg.py"]:
        for text in strings(path):
            yield str(path.relative_to(ROOT)), text
    for path in sorted((ROOT / "Resources" / "UI").glob("*.ui")):
        for element in ElementTree.parse(path).iter("string"):
            yield path.name, element.text or ""
    for path in [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]:
        yield path.name, path.read_text(encoding="utf-8")


# What a table, a list or a point of version 0.1.0 calls itself, which has to be found.
FORMER = {"round-trip residual", "Round-trip residual (mm)"}


@pytest.mark.parametrize("phrase", PHRASES)
def test_no_text_for_a_user_says_it_otherwise_than_the_field(phrase):
    found = [
        f"{place}: {text[max(0, hit.start() - 40) : hit.end() + 40]!r}"
        for place, text in texts()
        for hit in re.finditer(phrase, text, re.IGNORECASE)
    ]
    assert not found, f"say {PHRASES[phrase]}: {found}"


def names_and_docstrings(path: Path) -> Iterator[str]:
    """What a Python file calls things, in words apart, and what it says of them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield ast.get_docstring(node) or ""
        for name in (getattr(node, "name", None), getattr(node, "arg", None), getattr(node, "id", None)):
            yield re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name) if isinstance(name, str) else ""


def test_code_says_propagate_as_the_screen_does():
    phrase = next(phrase for phrase, word in PHRASES.items() if word == "propagate")
    found = {
        f"{path.relative_to(ROOT)}: {text}"
        for path in sorted((ROOT / "GLIDERegLib").rglob("*.py"))
        for text in names_and_docstrings(path)
        if re.search(phrase, text, re.IGNORECASE)
    }
    assert not found


# Beside `counted`: what is a number of many by its meaning, or has one form for one and for many.
NEVER_ONE = r"series|values|digits|more"
# A number that was counted: a length, a sum, a size, or a name that says so.
A_COUNT = r"(len|sum|int)\(.*\)|(number|count|n|.*\['n'\])"


def plurals(path: Path) -> Iterator[str]:
    """Formatted texts of a Python file in which a count stands before a noun of many."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        parts = node.values if isinstance(node, ast.JoinedStr) else []
        for number, part in enumerate(parts[:-1]):
            if not isinstance(part, ast.FormattedValue) or not re.fullmatch(A_COUNT, ast.unparse(part.value)):
                continue
            rest = [part.value if isinstance(part, ast.Constant) else "some" for part in parts[number + 1 :]]
            noun = re.match(r" (?:some |[a-z]+ )?([a-z]{3,}s|series)\b", "".join(map(str, rest)))
            if noun and not re.fullmatch(NEVER_ONE, noun[1]):
                yield f"{path.name}:{part.lineno}: {ast.unparse(part.value)}{noun[0]}"


def test_one_of_something_is_not_told_as_many():
    found = [text for path in sorted((ROOT / "GLIDERegLib").rglob("*.py")) for text in plurals(path)]
    assert not found, f"say it by `counted`: {found}"


def test_a_count_before_a_noun_of_many_is_found(tmp_path):
    path = tmp_path / "said.py"
    path.write_text('f"{len(a)} {role} points lie", f"{count} slices", f"{counted(3, name)} of {length} mm"')
    assert len(list(plurals(path))) == 2


def test_a_phrase_in_a_text_is_found():
    assert all(re.search(phrase, sample, re.IGNORECASE) for phrase, sample in SAMPLES.items())
    assert SAMPLES.keys() == PHRASES.keys()


SAMPLES = dict(
    zip(
        PHRASES,
        (
            "nodules are carried",
            "Shift and turn",
            "Middle on middle",
            "Compared by",
            "Local structure",
            "Learned along",
            "Own weights",
            "Points met",
            "Folded: 0 %",
            "Round-trip residual",
            "Read together",
            "Two lists",
            "reliable",
            "Ended early",
            "Numbers inside",
        ),
        strict=True,
    )
)
