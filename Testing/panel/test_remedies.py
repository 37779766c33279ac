"""Errors in the panel's own terms, and a decision for each that the panel can meet."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytest.importorskip("slicer")


@pytest.mark.parametrize(
    ("message", "hint", "code", "said"),
    [
        (
            "The scans do not overlap",
            "Align them.",
            "no-overlap",
            "The scans do not overlap. Choose another Pre-",
        ),
        ("The device is gone.", "Choose cpu.", "device", "The device is gone. Choose another Device."),
        ("It is odd", "Change it.", "setting", "It is odd. Change it."),
        ("It failed.", "", "internal", "It failed."),
    ],
)
def test_an_error_is_worded_in_the_panels_own_terms(slicerHost, message, hint, code, said):
    from GLIDERegLib.panel.remedies import worded

    assert worded(message, hint, code).startswith(said)


def test_a_page_words_an_error_of_the_library_and_leaves_others_as_they_are(slicerHost):
    from GLIDERegLib.core.errors import InputError
    from GLIDERegLib.panel.remedies import said

    assert (
        said(InputError("It is gone.", "Choose cpu.", code="device")) == "It is gone. Choose another Device."
    )
    assert said(InputError("It is odd.", "Look at it.", code="setting")) == "It is odd. Look at it."
    assert said(ValueError("odd")) == "odd"


LIBRARY = Path(__file__).resolve().parents[2] / "GLIDERegLib"
# Reached by commands only.
COMMANDS = ("cli", "studies")
ERRORS = {"InputError", "OutOfMemoryError", "WeightsError", "DependencyError"}


def codes() -> set[str]:
    """The codes of all errors that the library makes, those of its commands apart."""
    found = set()
    for path in LIBRARY.rglob("*.py"):
        if path.relative_to(LIBRARY).parts[0] in COMMANDS:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ERRORS:
                given = [word.value for word in node.keywords if word.arg == "code"]
                found |= {code.value for code in given if isinstance(code, ast.Constant)}
    return found


def test_what_to_do_is_decided_for_every_error_that_the_panel_can_meet(slicerHost):
    from GLIDERegLib.panel.remedies import LIBRARY_SAYS, REMEDIES

    assert {"no-overlap", "busy", "dicom-gap"} < codes()
    assert codes() - set(REMEDIES) - LIBRARY_SAYS == set()
    assert not set(REMEDIES) & LIBRARY_SAYS and LIBRARY_SAYS <= codes()
