"""Starting a Python that can import this library, and ending it with all it started."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

from GLIDERegLib.processes.loading import THREAD_VARIABLES

ROOT = Path(__file__).resolve().parents[2]
WINDOWS = os.name == "nt"
# Names a Python of the user's own, which must not meet the libraries that Slicer's launcher points to.
PYTHON_VARIABLE = "GLIDEREG_PYTHON"
OF_SLICER = ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
SIGKILL = 9  # Windows has no name for it
# Known to subprocess on Windows only.
NO_WINDOW = getattr(subprocess, "CREATE_NO_WINDOW", 0)
GROUP = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)


def start_process(command: list[str]) -> subprocess.Popen[bytes]:
    """Starts a Python that can import this library, in a process group of its own, with pipes.

    Its standard input stays open as long as this process lives: its end tells the child that it is alone.
    Raises OSError.
    """
    inherited = dict(os.environ)
    if PYTHON_VARIABLE in inherited:
        inherited = {name: value for name, value in inherited.items() if name not in OF_SLICER}
    paths = [str(ROOT), *filter(None, [inherited.get("PYTHONPATH")])]
    environment = {
        **inherited,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUTF8": "1",
        **THREAD_VARIABLES,
        "PYTHONIOENCODING": "utf-8",
    }
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        start_new_session=not WINDOWS,
        creationflags=NO_WINDOW | GROUP if WINDOWS else 0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def kill_tree(process: subprocess.Popen) -> None:
    """Kills the process and all it started, whether or not it still runs itself; does not wait."""
    if WINDOWS:
        taskkill = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
        with suppress(OSError):
            subprocess.run(taskkill, capture_output=True, creationflags=NO_WINDOW)
        process.kill()
    else:
        # Of a group without members the first is said on Linux, the second on macOS.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, SIGKILL)


def end(process: subprocess.Popen) -> None:
    """Kills the process with all it started, and waits until it is gone."""
    kill_tree(process)
    close_input(process)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)


def close_input(process: subprocess.Popen) -> None:
    """Closes this end of its standard input, whatever the other end has not read."""
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
