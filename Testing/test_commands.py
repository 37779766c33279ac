"""The README's commands leave folders behind; none of them may change what the next command sees."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LEFT_BY_COMMANDS = ("demo", "benchmark", "build", "dist")


def lint(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise", "."],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


@pytest.mark.skipif(importlib.util.find_spec("ruff") is None, reason="needs ruff")
def test_the_style_check_says_the_same_with_the_folders_of_other_commands_lying_there(tmp_path):
    copy = tmp_path / "clone"
    ignored = shutil.ignore_patterns(*LEFT_BY_COMMANDS, "[.]*", "__pycache__", "Resources")
    shutil.copytree(ROOT, copy, ignore=ignored)
    before = lint(copy)
    for name in LEFT_BY_COMMANDS:
        (copy / name).mkdir()
        (copy / name / "report.json").write_text("{}")
    assert lint(copy) == before == "All checks passed!\n"
