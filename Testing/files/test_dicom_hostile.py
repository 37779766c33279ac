"""Hostile DICOM of every kind: each read right or refused in one line, soon and in little memory."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

TESTING = Path(__file__).resolve().parents[1]
SECONDS, BYTES, FEWEST = 10, 1 << 30, 200
# What the bomb of the campaign would unfold to.
BOMB_BYTES = 1 << 28


@pytest.mark.parametrize("seed", [0])
def test_hostile_files_are_read_right_or_refused_soon_and_in_little_memory(tmp_path, seed):
    path = os.pathsep.join([str(TESTING.parent), str(TESTING)])
    command = [
        sys.executable,
        "-W",
        "ignore",
        str(TESTING / "tools" / "dicom_campaign.py"),
        tmp_path / "c",
        str(seed),
    ]
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""  # no chatter of ITK or pydicom
    *lines, last = map(json.loads, done.stdout.splitlines())
    assert not [line for line in lines if line["verdict"] not in ("right", "refused")]
    assert not [line for line in lines if line["seconds"] > SECONDS]
    counts = Counter(line["verdict"] for line in lines)
    assert counts.total() >= FEWEST and min(counts["right"], counts["refused"]) > 20
    assert last["peak"] < BYTES
    (bomb,) = [line for line in lines if line["name"] == "deflated bomb"]
    assert bomb["verdict"] == "refused" and bomb["grown"] < BOMB_BYTES
