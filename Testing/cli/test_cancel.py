"""Ctrl-C: exit status 130, one line, and nothing left behind. POSIX signals are sent to real processes."""

import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_refinement_ends_with_130_and_leaves_nothing(images, tmp_path, number):
    out = tmp_path / "new" / "out"
    # Enough iterations that refinement is certainly running when the signal arrives.
    script = (
        "import sys, GLIDERegLib.core.settings as s\n"
        "s._PRESETS['paper'] = {'levels': (s.Level(2, 2, 10**6),)}\n"
        "import GLIDERegLib.cli.console as c; c.SECONDS_BETWEEN_LINES = 0\n"
        "from GLIDERegLib.cli import run; run()\n"
    )
    process = start("-c", script, "register", *images, "-o", out, "--preset", "paper", "--align", "none")
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "refinement" in line:
            break
    assert out.exists(), lines
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("glidereg: error: Cancelled")
    assert not (tmp_path / "new").exists()


def test_a_native_call_that_does_not_return_cannot_hold_the_process(tmp_path):
    out = tmp_path / "out"
    script = (
        "import sys, time\n"
        "from GLIDERegLib import cli\n"
        "from GLIDERegLib.files.outputs import OutputFolder\n"
        "def stuck(options):\n"
        f"    with OutputFolder({str(out)!r}) as folder:\n"
        "        cli.console.interruptible(lambda cancel: ((folder / 'partial').touch(), time.sleep(3600)))\n"
        "cli.weights.list_weights = stuck\n"
        "cli.run()\n"
    )
    process = start("-c", script, "weights", "list")
    while not list(out.glob(".glidereg-*/partial")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.count("\n") == 1
    assert not out.exists()
