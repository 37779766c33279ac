"""What tests of several layers share."""

from __future__ import annotations

import gc
import itertools
import os
import signal
from pathlib import Path

import pytest

from GLIDERegLib.processes.loading import THREAD_VARIABLES

# As the command line and the worker do; they are read when torch and NumPy are loaded.
for name, value in THREAD_VARIABLES.items():
    os.environ.setdefault(name, value)
# Tests send interrupts, which shells make background jobs ignore.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_finish():
    # Some tests look for what nobody holds any more: not among all the libraries' objects each time.
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def weights_folders(tmp_path_factory):
    """New empty folders, one after the other; pytest's own numbers are found among all folders each time."""
    root = tmp_path_factory.mktemp("weights")

    def folders():
        for number in itertools.count():
            (root / str(number)).mkdir()
            yield root / str(number)

    return folders()


@pytest.fixture(autouse=True)
def no_checkpoint(weights_folders, monkeypatch):
    """Tests see an empty weights folder, whatever this machine's user has downloaded."""
    monkeypatch.setenv("GLIDEREG_WEIGHTS", str(next(weights_folders)))


@pytest.fixture(scope="session")
def small_phantom():
    """A pair of chest scans with known truth, 64 x 64 x 56 voxels of 6 mm."""
    from GLIDERegLib.evaluation.phantom import make_phantom

    return make_phantom((64, 64, 56), (6.0, 6.0, 6.0))


@pytest.fixture(scope="session")
def phantom_folder(small_phantom, tmp_path_factory):
    """The small phantom as files: fixed.nii.gz, moving_labels.nii.gz, fixed_landmarks.csv and so on."""
    from GLIDERegLib.evaluation.demo import write_pair

    folder = tmp_path_factory.mktemp("phantom")
    write_pair(small_phantom, folder)
    return folder


@pytest.fixture(scope="session")
def images(phantom_folder):
    """The files of the small phantom's fixed and moving image."""
    return [phantom_folder / f"{role}.nii.gz" for role in ("fixed", "moving")]


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real data that lies beside some checkouts and is no part of the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the real scans in {SHARED_DATA}, which are no part of the project")
    return SHARED_DATA


@pytest.fixture
def glidereg(capfd):
    """Runs a command line in this process; returns its exit status, standard output and standard error."""

    from GLIDERegLib.cli import main

    def call(*arguments):
        capfd.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as leaving:
            status = leaving.code
        return status, *capfd.readouterr()

    return call
