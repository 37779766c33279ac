"""What the machine does to the command: streams that cannot be written, closed trees, small disks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(*arguments, stdout=subprocess.PIPE, **environment):
    return subprocess.run(
        [sys.executable, "-m", "GLIDERegLib", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=os.environ | environment,
    )


def one_line(done):
    """The line of standard error, without the program's name; there is no other."""
    lines = done.stderr.decode("utf-8").splitlines()
    assert len(lines) == 1, lines
    return lines[0].removeprefix("glidereg: error: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_standard_output_is_one_line(unbuffered):
    with open("/dev/full", "wb") as full:
        done = run("weights", "list", stdout=full, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 2
    assert "No space left" in one_line(done)


@pytest.mark.skipif(os.name != "posix", reason="closes a pipe as POSIX does")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_read_enough_is_no_error(unbuffered):
    reading, writing = os.pipe()
    os.close(reading)
    done = run("weights", "list", stdout=writing, PYTHONUNBUFFERED=unbuffered)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
