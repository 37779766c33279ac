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


LATE = (
    "import os, signal, time\n"
    "from pathlib import Path\n"
    "from GLIDERegLib import cli\n"
    "from GLIDERegLib.files.outputs import OutputFolder\n"
    "def command(options):\n"
    "    with OutputFolder({out!r}) as folder:\n"
    "        def work(cancel):\n"
    "            (folder / 'result').touch()\n"
    "            {inside}\n"
    "        cli.console.interruptible(work)\n"
    "        {after}\n"
    "    {at_the_end}\n"
    "    print('done')\n"
    "cli.weights.list_weights = command\n"
    "cli.run()\n"
)
SEND = "os.kill(os.getpid(), signal.{name}); time.sleep(0.3)"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("moment", ["inside", "after", "at_the_end"])
def test_a_signal_after_the_results_leaves_them_and_the_status_says_so(tmp_path, name, moment):
    out = tmp_path / "out"
    places = dict.fromkeys(("inside", "after", "at_the_end"), "pass") | {moment: SEND.format(name=name)}
    process = start("-c", LATE.format(out=str(out), **places), "weights", "list")
    said, errors = process.communicate(timeout=60)
    assert (process.returncode, said, errors) == (0, "done\n", "")
    assert [path.name for path in out.iterdir()] == ["result"]


def test_a_second_signal_does_not_disturb_the_cleaning_up_after_the_first(tmp_path):
    script = (
        "import os, signal, time\n"
        "from pathlib import Path\n"
        "from GLIDERegLib import cli\n"
        "def command(options):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT); time.sleep(5)\n"
        "    finally:\n"
        "        os.kill(os.getpid(), signal.SIGTERM); time.sleep(0.3)\n"
        f"        Path({str(tmp_path / 'cleaned')!r}).touch()\n"
        "cli.weights.list_weights = command\n"
        "cli.run()\n"
    )
    process = start("-c", script, "weights", "list")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.count("\n") == 1
    assert (tmp_path / "cleaned").exists()


def test_a_signal_while_packages_are_imported_ends_with_130():
    # Imports of large packages make their classes by `exec`, after which Python would end itself by SIGINT.
    script = (
        "import os, signal\n"
        "from GLIDERegLib import cli\n"
        "source = 'import os, signal, time; os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)'\n"
        "cli.weights.list_weights = lambda options: exec(source)\n"
        "cli.run()\n"
    )
    process = start("-c", script, "weights", "list")
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.count("\n")) == (130, 1)
