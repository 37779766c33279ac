"""In place of `glidereg register` in tests: does what the text of its fixed image says, at once.

The first line of the fixed image is the deed; the others, where there are any, what it needs for that.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

fixed, moving, *options = sys.argv[1:]
given = dict(option.removeprefix("--").split("=", 1) for option in options if "=" in option)
out = Path(given["output"])
deed, *rest = Path(fixed).read_text().split("\n")


def refuse(status, text):
    print("Some line before the last.", file=sys.stderr)
    print("glidereg: error:", text, file=sys.stderr)
    sys.exit(status)


def kill_worker():
    import psutil

    psutil.Process().parent().parent().kill()
    time.sleep(60)


out.mkdir()
(out / "warped.nii.gz").write_text("half" if deed != "register" else "whole")
if deed == "input":
    refuse(2, "The fixed image is damaged; mend it.")
elif deed == "memory":
    refuse(3, "There is not enough memory.")
elif deed == "weights":
    refuse(4, "The checkpoint is missing; download it.")
elif deed == "segfault":
    os.kill(os.getpid(), signal.SIGSEGV)
elif deed == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
elif deed == "no report":
    sys.exit(0)
elif deed == "large":
    block = bytearray(os.urandom(1 << 20)) * 400
    time.sleep(60)
elif deed == "fork":
    block = bytearray(os.urandom(1 << 20)) * 100
    if os.fork() == 0:
        time.sleep(0.5)
        os._exit(0)
    os.wait()
elif deed == "wait":
    Path(rest[0]).write_text(str(os.getpid()))
    time.sleep(60)
elif deed == "alone":
    if Path(rest[0]).exists():
        refuse(2, "Another pair runs at the same time.")
    Path(rest[0]).touch()
    time.sleep(0.3)
    Path(rest[0]).unlink()
elif deed == "kill worker":
    kill_worker()
elif deed == "kill some workers" and len(os.listdir(rest[0])) < int(rest[1]):
    (Path(rest[0]) / str(os.getpid())).touch()
    kill_worker()
report = {
    "versions": {"glidereg": "stand-in"},
    "target_registration_error": {
        "initial": {"mean": 9.0, "n": 3},
        "final": {"mean": 1.5, "n": 3, "p95": 2.0},
    },
    "jacobian": {"share_not_positive": 0.25, "min": -1.0},
    "warnings": ["One.", "Two."],
    "arguments": sys.argv[1:],
}
(out / "report.json").write_text(json.dumps(report))
