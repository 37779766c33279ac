"""The process that stands between whoever asked for a pair and the pair's own process.

It measures and limits the pair's memory, and it outlives a worker that is killed: when its standard input
ends, it ends the pair and removes what that has written so far. It imports nothing slow.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from GLIDERegLib.processes.watched import Watched

LAST_LINES, LAST_COLUMNS = 20, 500
LOG = "errors.txt"


def main() -> None:
    """Reads a job as a line of JSON on standard input, does it, and writes how it ended as JSON."""
    job = json.loads(sys.stdin.readline())
    abandoned = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), abandoned.set()), daemon=True).start()
    outcome = supervise(job["command"], Path(job["scratch"]), job["limit"], Path(job["stop"]), abandoned)
    if abandoned.is_set():
        shutil.rmtree(job["scratch"], ignore_errors=True)
    else:
        print(json.dumps(outcome), flush=True)
    os._exit(0)


def supervise(
    command: list[str], scratch: Path, limit: int | None, stop: Path, abandoned: threading.Event
) -> dict[str, Any]:
    """Runs a command to its end, or ends it when it takes more than `limit` bytes, the file `stop` appears or
    it is abandoned.

    Returns exit_status (negative: the signal), ended_for ("memory", "cancel" or None), seconds, peak_memory
    (bytes, resident, of the process and its offspring, sampled), host and the last lines of its log.
    """
    begin = time.monotonic()

    def why(peak: int) -> str | None:
        if limit is not None and peak > limit:
            return "memory"
        return "cancel" if abandoned.is_set() or stop.exists() else None

    with open(scratch / LOG, "w+b") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=os.name != "nt",
        )
        # When memory runs out, Linux shall take this process rather than a worker or the scheduler.
        with suppress(OSError):
            Path(f"/proc/{process.pid}/oom_score_adj").write_text("1000")
        watched = Watched(process)
        ended_for = watched.wait(why)
        log.seek(0)
        lines = log.read().decode("utf-8", "replace").splitlines()[-LAST_LINES:]
    return {
        "exit_status": process.returncode,
        "ended_for": ended_for,
        "seconds": round(time.monotonic() - begin, 2),
        "peak_memory": watched.peak,
        "host": socket.gethostname(),
        "log": [line[:LAST_COLUMNS] for line in lines],
    }


if __name__ == "__main__":
    main()
