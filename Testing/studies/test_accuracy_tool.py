"""Testing/tools/accuracy.py: changes of settings, and pairs by name."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from GLIDERegLib.core.settings import Level, Settings


@pytest.fixture(scope="module")
def tool():
    pytest.importorskip("resource", reason="peak memory is read as Linux and macOS tell it")
    path = Path(__file__).resolve().parents[1] / "tools" / "accuracy.py"
    spec = importlib.util.spec_from_file_location("accuracy_tool", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_changes_are_read_as_python_writes_them(tool):
    settings = tool.settings_of("fast", ["levels=((4, 2, 7),)", "symmetric=True", "align=none"])
    expected = {"levels": (Level(4, 2, 7),), "symmetric": True, "align": "none"}
    assert settings == Settings.preset("fast", features="local", threads=1, **expected)


def test_a_pair_that_nobody_knows_is_refused(tool, tmp_path):
    with pytest.raises(SystemExit, match="no pair 'elsewhere'"):
        tool.case_of("elsewhere", tmp_path)
