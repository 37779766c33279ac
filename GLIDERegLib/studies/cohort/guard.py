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

import psutil

from GLIDERegLib.studies.process_tree import ProcessTree

# Seconds between two looks at the pair: short at first, for what is over soon.
SHORTEST_LOOK, LONGEST_LOOK = 0.01, 0.1
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
    begin, peak, ended_for, look = time.monotonic(), 0, None, SHORTEST_LOOK
    with open(scratch / LOG, "w+b") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=os.name != "nt",
        )
        tree = ProcessTree(process.pid)
        # When memory runs out, Linux shall take this process rather than a worker or the scheduler.
        with suppress(OSError):
            Path(f"/proc/{process.pid}/oom_score_adj").write_text("1000")
        while process.poll() is None:
            peak = max(peak, _resident(tree))
            if limit is not None and peak > limit:
                ended_for = "memory"
            elif abandoned.is_set() or stop.exists():
                ended_for = "cancel"
            if ended_for:
                tree.kill()
            with suppress(subprocess.TimeoutExpired):
                process.wait(look)
            look = min(1.2 * look, LONGEST_LOOK)
        log.seek(0)
        lines = log.read().decode("utf-8", "replace").splitlines()[-LAST_LINES:]
    return {
        "exit_status": process.returncode,
        "ended_for": ended_for,
        "seconds": round(time.monotonic() - begin, 2),
        "peak_memory": peak,
        "host": socket.gethostname(),
        "log": [line[:LAST_COLUMNS] for line in lines],
    }


def _resident(tree: ProcessTree) -> int:
    """Bytes of a process, and of its offspring what they do not share: one just forked shares everything."""
    total = 0
    for process in tree.look():
        with suppress(psutil.Error):
            own = process == tree.main
            total += process.memory_info().rss if own else process.memory_full_info().uss
    return total


if __name__ == "__main__":
    main()
