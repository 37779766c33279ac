"""What the method is computed with; the one place that asks what there is.

    backend_for(device).pool(values, usable, 4)

Numba's kernels on a processor where numba is installed, Triton's on an NVIDIA card where Triton and a C
compiler are, plain PyTorch elsewhere. The environment variable GLIDEREG_BACKEND, or `use_backend` for a
while, names one that is taken wherever it can run: `torch` runs everywhere.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

from GLIDERegLib.core.errors import InputError

if TYPE_CHECKING:
    import torch

    from GLIDERegLib.registration.backends.numba.compiling import Preparation
    from GLIDERegLib.registration.backends.protocol import Backend

VARIABLE = "GLIDEREG_BACKEND"
NAMES = ("numba", "triton", "torch")

_used: str | None = None


def backend_for(device: torch.device) -> Backend:
    """The backend for tensors on a device. InputError for an unknown name in GLIDEREG_BACKEND."""
    return _backend(device, _wanted())


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """While it lasts, the named backend is taken wherever it can run, and plain PyTorch elsewhere."""
    global _used
    before, _used = _used, name
    try:
        yield
    finally:
        _used = before


def prepare_kernels() -> Preparation | None:
    """Starts compiling what this machine still lacks of the processor's kernels, without waiting for it; None
    where there is nothing to compile. Does not load torch.
    """
    if not _numba_wanted(_wanted()):
        return None
    from GLIDERegLib.registration.backends.numba import compiling

    return compiling.prepare()


def _wanted() -> str | None:
    name = _used or os.environ.get(VARIABLE) or None
    if name not in (None, *NAMES):
        raise InputError(f"Unknown backend '{name}'.", f"Choose one of {', '.join(NAMES)}.", code="backend")
    return name


def _numba_wanted(wanted: str | None) -> bool:
    return wanted == "numba" or (wanted is None and importlib.util.find_spec("numba") is not None)


@lru_cache
def _backend(device: torch.device, wanted: str | None) -> Backend:
    from GLIDERegLib.registration.backends.torch_backend import TorchBackend

    if device.type == "cpu" and _numba_wanted(wanted):
        from GLIDERegLib.registration.backends.numba_backend import NumbaBackend

        return NumbaBackend()
    if device.type == "cuda" and wanted in (None, "triton"):
        return _triton(device) or TorchBackend()
    return TorchBackend()


def _triton(device: torch.device) -> Backend | None:
    """Triton's backend where its kernels can be built and run, else None."""
    import torch

    if importlib.util.find_spec("triton") is None:
        return None
    try:
        from GLIDERegLib.registration.backends.triton_backend import TritonBackend

        backend = TritonBackend()
        backend.try_on(device)
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:  # compilers and drivers fail in many ways; the remedy is the same
        logging.getLogger(__name__).info("Triton cannot be used: %s", error)
        return None
    return backend
