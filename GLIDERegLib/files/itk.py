"""How this layer calls SimpleITK: without its chatter, and with its errors said in one sentence."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import SimpleITK as sitk

from GLIDERegLib.core.errors import InputError, OutOfMemoryError, shortened

REASONS = {
    "determinant is 0": "two of its axes have the same direction, or one has none",
    "Zero-valued spacing": "the spacing along one of its axes is zero",
    "but received": "its voxels are cut off",
    "fread got only": "its voxels are cut off",
    "data read error": "its packed voxels are damaged",
    "couldn't parse element": "its voxels are cut off, or no numbers",
    "ScalarWithSpace": "it has spacings and a space, where NRRD asks for space directions",
}


class _Silence:
    """What native code prints to standard error (HDF5, MetaIO, NrrdIO) goes nowhere while someone is inside.

    Several threads may be: the first turns it off, the last on. Python's own `sys.stderr` is not concerned in
    the command line, which has a descriptor of its own for it. Where the program has put something else in
    its place, as 3D Slicer does, the descriptor is the program's and is left alone.
    """

    def __init__(self):
        self._lock, self._inside, self._kept = threading.Lock(), 0, -1

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside > 1:
                return
            # A program without a console has no such descriptor, and one with its own console no such stream.
            with suppress(OSError, AttributeError, ValueError):
                sys.stderr.fileno()
                self._kept = os.dup(2)
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 2)
                os.close(nowhere)

    def __exit__(self, *_) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside or self._kept < 0:
                return
            os.dup2(self._kept, 2)
            os.close(self._kept)
            self._kept = -1


_silence = _Silence()


@contextmanager
def itk_calls(failure: str, hint: str = "", code: str = "file-damaged", named: str = "") -> Iterator[None]:
    """Runs SimpleITK calls without a word on standard error; their errors become an InputError of this text,
    hint and code; of a file that is `named`, with the reason where ITK gives one that a user understands.

    Raises OutOfMemoryError when ITK could not allocate memory.
    """
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        with _silence:
            yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError) or "allocate" in str(error):
            raise OutOfMemoryError(
                "There is not enough memory to hold the image.", "Close other programs."
            ) from error
        if named and (reason := _reason(str(error))):
            failure = f"{named} cannot be read: {reason}."
        raise InputError(failure, hint, code=code) from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _reason(said: str) -> str:
    """What ITK says of a header that it cannot use, in a user's words; empty where that is of no use."""
    for text, reason in REASONS.items():
        if text in said:
            return reason
    # NrrdIO tells its calls from the outermost in, a line each, and the fault last.
    lines = [line.partition(": ")[2] for line in said.splitlines() if line.startswith("[nrrd] ")]
    last = "".join(letter if letter.isprintable() else " " for letter in lines[-1]).strip() if lines else ""
    return f"its header is wrong ({shortened(last)})" if last else ""
