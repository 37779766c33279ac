"""How this layer calls SimpleITK: without its warnings, and with its errors said in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import SimpleITK as sitk

from GLIDERegLib.errors import InputError, OutOfMemoryError


@contextmanager
def itk_calls(failure: str) -> Iterator[None]:
    """Runs SimpleITK calls without ITK's warnings; any error they raise becomes InputError(failure).

    Raises OutOfMemoryError when ITK could not allocate memory.
    """
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError) or "allocate" in str(error):
            raise OutOfMemoryError(
                "There is not enough memory to hold the image; close other programs."
            ) from error
        raise InputError(failure) from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
