"""The probe tells what is there and what is missing, whatever is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from GLIDERegLib.files.checkpoints import CHECKPOINTS
from GLIDERegLib.worker import probe

ROOT = Path(__file__).resolve().parents[2]
# Runs the probe with packages that fail to import, as absent or half-installed ones do.
WITHOUT = """
import runpy, sys
class Finder:
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in {absent!r}.split():
            raise {error}(name)
sys.meta_path.insert(0, Finder)
runpy.run_module("GLIDERegLib.worker.probe", run_name="__main__")
"""


def run_probe(*arguments: str) -> tuple[dict, str]:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=True, cwd=ROOT, timeout=120
    )
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def found():
    return run_probe("-m", "GLIDERegLib.worker.probe")[0]


def test_where_registrations_run_nothing_needed_is_missing(found):
    assert found["missing"] == []
    assert found["versions"]["torch"] == torch.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))


def test_the_default_device_is_the_one_auto_takes(found):
    from GLIDERegLib.api import choose_device

    names = [device["name"] for device in found["devices"]]
    assert choose_device(found["default"]).type == choose_device("auto").type
    assert found["default"] in names
    assert names[-1] == "cpu"
    for name in names:
        choose_device(name)
    assert found["devices"][-1]["label"].startswith("CPU (")


def test_a_checkpoint_is_present_once_its_file_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("GLIDEREG_WEIGHTS", str(tmp_path))
    entry = next(iter(CHECKPOINTS.values()))
    (tmp_path / entry.file).touch()
    rows = probe.probe()["checkpoints"]
    assert [row["name"] for row in rows] == [name for name in CHECKPOINTS if name.startswith("sam2")]
    assert [row["name"] for row in rows if row["present"]] == [entry.name]
    assert rows[0]["size_bytes"] == entry.size and rows[0]["license"] == "Apache-2.0"


@pytest.mark.parametrize("error", ["ModuleNotFoundError", "OSError"])
def test_with_nothing_installed_it_names_everything_and_offers_the_processor(error):
    absent = [*probe.NEEDED, *probe.GLOBAL, *probe.OPTIONAL]
    found, errors = run_probe("-c", WITHOUT.format(absent=" ".join(absent), error=error))
    assert found["missing"] == list(probe.NEEDED)
    assert found["missing_global"] == list(probe.GLOBAL)
    assert found["missing_optional"] == list(probe.OPTIONAL)
    assert found["versions"] == {} and found["checkpoints"] == []
    assert [device["name"] for device in found["devices"]] == [found["default"]] == ["cpu"]
    assert "Traceback" not in errors


def test_local_registrations_need_nothing_that_is_not_listed():
    others = {*probe.GLOBAL, *probe.OPTIONAL, "matplotlib", "yaml", "torchvision", "PIL", "nibabel"}
    source = WITHOUT.format(absent=" ".join(sorted(others)), error="ModuleNotFoundError")
    source = source.replace('runpy.run_module("GLIDERegLib.worker.probe", run_name="__main__")', "")
    done = subprocess.run(
        [sys.executable, "-c", source + "import GLIDERegLib.api"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_a_graphics_card_is_named_with_its_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"Card {number}")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (20 * 2**30, 24 * 2**30))
    assert probe.device_label("cuda:1") == "Card 1 (20.0 of 24.0 GB free)"

    def fail(number):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch.cuda, "mem_get_info", fail)
    assert probe.device_label("cuda") == "Card 0"
