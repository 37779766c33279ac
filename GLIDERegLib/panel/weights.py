"""SAM2 checkpoints as the panel offers them: what they are, getting them, removing them.

Files are handled by a process of the Python that registers (`main` below), since only that one is sure to
have the packages this takes.

    download = Download(name)
    download.start()
    ...  # a timer calls download.poll() until it is True; download.fraction feeds a progress bar
    # download.failure is None when the file is there, else what to tell the user
"""

from __future__ import annotations

import _thread
import json
import logging
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from GLIDERegLib.core.errors import Cancelled, GlideRegError
from GLIDERegLib.panel.child import Child
from GLIDERegLib.worker.channel import Channel
from GLIDERegLib.worker.watch import end_with_parent

TITLE = "GLIDE-Reg"
COMMAND = ("-m", "GLIDERegLib.panel.weights")
CANCELLED = "The download was cancelled."
_GRACE_SECONDS = 2.0
_ANSWER_SECONDS = 30.0


def describeCheckpoint(entry: dict) -> str:
    """One line for a list: name, size, licence, whether it is here. entry: one of the probe's checkpoints."""
    state = "on this computer" if entry["present"] else "to be downloaded"
    return f"{entry['name']}: {_size(entry)}, {entry['license']}, {state}"


def storageFolder() -> str:
    """Path of the folder where checkpoints are kept; raises GlideRegError where it cannot be found out."""
    return _ask("folder")


def confirmDownload(entry: dict) -> bool:
    """Asks the user whether to download a checkpoint, with size, licence and place.

    Raises GlideRegError where the place cannot be found out.
    """
    import slicer

    text = (
        f"Download {entry['name']} ({_size(entry)})? It is an image encoder of Meta's SAM2, its licence is "
        f"{entry['license']}, and it will be kept in {storageFolder()} until you remove it."
    )
    return slicer.util.confirmOkCancelDisplay(text, windowTitle=TITLE)


def removeCheckpoint(entry: dict) -> bool:
    """Deletes a checkpoint from this computer if the user agrees; raises GlideRegError where that fails."""
    import slicer

    text = f"Remove {entry['name']} ({_size(entry)}) from this computer? It can be downloaded again."
    if not slicer.util.confirmOkCancelDisplay(text, windowTitle=TITLE):
        return False
    _ask("remove", entry["name"])
    return True


def _size(entry: dict) -> str:
    return f"{entry['size_bytes'] / 1e6:.0f} MB"


class Download:
    """One checkpoint on its way here; nothing is kept unless it arrives whole.

    fraction: 0 to 1. failure: what to tell the user when it ended without the file, None otherwise.
    """

    def __init__(self, name: str, command: Sequence[str] = COMMAND):
        self._name, self._command = name, command
        self._child: Child | None = None
        self._cancelled: float | None = None
        self.fraction = 0.0
        self.failure: str | None = None

    def start(self) -> None:
        """Starts it; returns at once."""
        self._folder = tempfile.TemporaryDirectory(prefix="glidereg-", ignore_cleanup_errors=True)
        self._cancelFile = Path(self._folder.name) / "cancel"
        try:
            self._child = Child(*self._command, "download", self._name, str(self._cancelFile))
        except OSError as error:
            self._end(f"The download could not be started ({error}); restart Slicer and try again.")

    def poll(self) -> bool:
        """True once it is over, one way or the other; never blocks."""
        if self._child is None:
            return True
        status = self._child.exitStatus
        answer = _answers(self._child)
        self.fraction = answer.get("fraction", self.fraction)
        if status is None:
            if self._cancelled is None or time.monotonic() < self._cancelled + _GRACE_SECONDS:
                return False
            self._child.close()
        if "value" in answer:
            self._end(None)
        elif self._cancelled is not None:
            self._end(CANCELLED)
        else:
            self._end(answer.get("error") or _noAnswer(self._child))
        return True

    def cancel(self) -> None:
        """Asks it to stop; `poll` is True within 3 s."""
        if self._child is not None and self._cancelled is None:
            self._cancelled = time.monotonic()
            self._cancelFile.touch()

    def close(self) -> None:
        """Ends it at once where it still runs."""
        if self._child is not None:
            self._end(CANCELLED)

    def _end(self, failure: str | None) -> None:
        self.failure = failure
        self.fraction = 1.0 if failure is None else self.fraction
        if self._child is not None:
            self._child.close()
            # A process that was killed has deleted nothing.
            if (partial := _answers(self._child).get("partial")) is not None:
                shutil.rmtree(partial, ignore_errors=True)
            self._child = None
        self._folder.cleanup()


def _ask(*arguments: str) -> str:
    """What the process answers to a short question; raises GlideRegError with its error."""
    try:
        child = Child(*COMMAND, *arguments)
    except OSError as error:
        raise GlideRegError(f"The Python that registers could not be started ({error}).") from error
    deadline = time.monotonic() + _ANSWER_SECONDS
    while child.exitStatus is None and time.monotonic() < deadline:
        time.sleep(0.02)
    answer = _answers(child)
    child.close()
    if "value" not in answer:
        raise GlideRegError(answer.get("error") or _noAnswer(child))
    return answer["value"]


def _answers(child: Child) -> dict:
    """What a process has said so far, of each key the newest; empty before its first message."""
    answers = {}
    for line in list(child.lines):
        with suppress(ValueError, TypeError):
            answers |= json.loads(line)
    return answers


def _noAnswer(child: Child) -> str:
    logging.error("GLIDE-Reg's process for checkpoints failed:\n%s", "\n".join(child.log))
    reason = child.log[-1] if child.log else f"exit status {child.exitStatus}"
    return f"Checkpoints cannot be handled ({reason}); restart Slicer and try again."


def main(arguments: Sequence[str]) -> int:
    """The process: `download NAME CANCEL_FILE`, `remove NAME` or `folder`; its exit status.

    Answers in JSON, one object a line: {"partial": "folder"} before a download and {"fraction": 0.5} while it
    works, then {"value": "..."} or {"error": "..."}.
    """
    channel = Channel()
    end_with_parent()
    try:
        channel.send({"value": str(_do(channel, *arguments))})
        return 0
    except GlideRegError as error:
        channel.send({"error": str(error)})
        return error.exit_status
    except KeyboardInterrupt:
        return Cancelled.exit_status
    except ImportError as error:
        channel.send({"error": f"Install the Python packages of GLIDE-Reg first ({error})."})
        return 1


def _do(channel: Channel, action: str, name: str = "", cancelFile: str = "") -> Path | bool:
    from GLIDERegLib.files import checkpoints

    if action == "folder":
        return checkpoints.weights_folder()
    if action == "remove":
        return checkpoints.remove(name)
    threading.Thread(target=_interruptWhenCancelled, args=[Path(cancelFile)], daemon=True).start()
    channel.send({"partial": str(checkpoints.partial_folder(name))})
    told = 0.0

    def progress(fraction: float) -> None:
        nonlocal told
        if fraction - told >= 0.01:
            told = fraction
            channel.send({"fraction": round(fraction, 3)})

    return checkpoints.download(name, progress)


def _interruptWhenCancelled(file: Path) -> None:
    """Raises KeyboardInterrupt in the main thread once the file is there: what has arrived gets deleted."""
    while not file.exists():
        time.sleep(0.1)
    if hasattr(signal, "pthread_kill"):  # reaches the main thread even while it waits for data
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    else:
        _thread.interrupt_main()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
