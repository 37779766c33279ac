"""How processes load their packages: what is read at the import must be set before it."""

import gc
import subprocess
import sys

import pytest

from GLIDERegLib.processes.loading import THREAD_VARIABLES, uncollected
from GLIDERegLib.processes.start import end, start_process

TOLD = "import os; print(*(os.environ[name] for name in {names}))"


def test_a_process_of_the_library_is_told_how_its_threads_wait():
    process = start_process([sys.executable, "-c", TOLD.format(names=list(THREAD_VARIABLES))])
    try:
        assert process.stdout.read().decode().split() == list(THREAD_VARIABLES.values())
    finally:
        end(process)


@pytest.fixture
def frozen(monkeypatch):
    """How often all objects were put aside; none is, as this process goes on to other tests."""
    calls = []
    monkeypatch.setattr(gc, "freeze", lambda: calls.append(gc.isenabled()))
    return calls


def test_the_collector_rests_while_packages_are_loaded_and_passes_over_them_later(monkeypatch, frozen):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with pytest.raises(ImportError), uncollected():
        assert not gc.isenabled()
        import no_such_package  # noqa: F401
    assert gc.isenabled() and frozen == [True]


def test_the_collector_is_left_alone_where_the_packages_are_there_already(monkeypatch, frozen):
    monkeypatch.setitem(sys.modules, "torch", sys)
    with uncollected():
        assert gc.isenabled()
    gc.disable()
    try:
        monkeypatch.delitem(sys.modules, "torch")
        with uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert frozen == []


def test_files_points_and_measures_are_read_without_torch():
    needed = ("files.transforms", "files.checkpoints", "evaluation.evaluate", "evaluation.measuring.measure")
    source = "import sys\nfrom GLIDERegLib import read_volume\n"
    source += "".join(f"import GLIDERegLib.{name}\n" for name in needed) + "print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
