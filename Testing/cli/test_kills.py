"""Cancelled and killed at random moments: nothing half written, no process left, the next run cleans up."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
import kills

from GLIDERegLib.files.outputs import REPLACED, OutputFolder, hidden_folder, remove_hidden_folders

# About what a run takes; some signals come too late on a fast machine.
SECONDS = 4.0

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")


def test_signals_at_random_moments_leave_nothing_half_written(tmp_path, monkeypatch):
    # The tool sets the temporary folder of each try; it is put back.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    kills.make_pair(tmp_path)
    # The time bounds the test on a busy machine.
    rng, until = random.Random(5), time.monotonic() + 15
    tries = kills.signals(2, 2, rng)
    summary = kills.campaign("register", tmp_path, tmp_path, SECONDS, tries, rng, until)
    assert summary["faults"] == []
    assert summary["cancels"] or summary["kills"]


def test_a_signal_that_comes_after_the_end_is_sent_again(tmp_path, monkeypatch):
    """Moments follow the runs' own length: of a run of half a second few signals of four are in time."""

    def attempt(kind, data, place, number, after):
        place.mkdir()
        late = after > 0.5
        return kills.Try("finished" if late else "status 130", not late, [], 0.5 if late else None)

    monkeypatch.setattr(kills, "attempt", attempt)
    monkeypatch.setattr(kills, "rerun", lambda kind, data, place: ([], 0.5))
    tries = kills.signals(20, 0, random.Random(1))
    summary = kills.campaign("register", tmp_path, tmp_path, SECONDS, tries, random.Random(1), float("inf"))
    assert summary["interrupted"]["cancels"] == 20
    assert summary["cancels"].get("finished", 0) <= 2


def killed_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def left_by(pid, folder):
    mine = hidden_folder(folder)
    left = mine.with_name(mine.name.replace(f"-{os.getpid()}-", f"-{pid}-"))
    return mine.rename(left)


def test_a_killed_runs_folder_is_removed_and_a_living_ones_stays(tmp_path):
    living = left_by(os.getppid(), tmp_path)
    dead = left_by(killed_pid(), tmp_path)
    with OutputFolder(tmp_path) as out:
        (out / "new").touch()
    assert living.exists() and not dead.exists()


def test_earlier_results_that_a_killed_run_had_moved_aside_are_put_back(tmp_path):
    dead = left_by(killed_pid(), tmp_path)
    (dead / REPLACED).mkdir()
    (dead / REPLACED / "report.json").write_text("earlier")
    (dead / "report.json").write_text("later")
    hidden_folder(tmp_path).rmdir()
    assert (tmp_path / "report.json").read_text() == "earlier"
    assert not dead.exists()


def test_a_folder_that_an_interrupt_left_goes_when_its_own_process_says_so(tmp_path):
    """Ctrl-C may come between the making of a folder and whoever would remove it."""
    left, other = hidden_folder(tmp_path), tmp_path / ".glidereg-elsewhere-1-x"
    other.mkdir()
    remove_hidden_folders(tmp_path)
    assert left.is_dir(), "it may be in use"
    remove_hidden_folders(tmp_path, own=True)
    assert list(tmp_path.iterdir()) == [other]
