"""What a registration takes of the machine: the device, threads, and memory that may run out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import SimpleITK as sitk
import torch

from GLIDERegLib.core.errors import InputError, OutOfMemoryError
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.registration.backends import backend_for
from GLIDERegLib.registration.memory import coarser
from GLIDERegLib.registration.result import Outcome


def choose_device(name: str) -> torch.device:
    """The device asked for, `auto` being the first GPU there is; InputError where it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(
            f"Unknown device '{name}'.", "Choose auto, cpu, cuda, cuda:N or mps.", code="setting"
        ) from None
    missing = device.type not in ("cpu", "cuda", "mps")
    missing |= device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    missing |= device.type == "mps" and not torch.backends.mps.is_available()
    if missing:
        raise InputError(
            f"The device '{name}' is not available on this machine", "Choose cpu or auto.", code="device"
        )
    return device


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Limits torch, kernels and ITK to `count` threads while it lasts; None: to as many as torch takes."""
    before = torch.get_num_threads(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    count = count or before[0]
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(count)
    # Inversion and repair run on the processor whatever the device.
    backend = backend_for(torch.device("cpu"))
    kernels_before = backend.threads()
    backend.set_threads(count)
    torch.set_num_threads(count)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before[1])
        backend.set_threads(kernels_before)
        torch.set_num_threads(before[0])


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turns memory that runs out within into OutOfMemoryError."""
    try:
        yield
    except (MemoryError, torch.cuda.OutOfMemoryError) as error:
        raise OutOfMemoryError(
            "There is not enough memory for these settings",
            "Use a coarser working resolution, the preset fast or local features.",
        ) from error


def once_again(
    run: Callable[[Settings], Outcome], settings: Settings, fixed: Grid, warnings: list[str]
) -> tuple[Settings, Outcome]:
    """What `run` gives, on a coarser grid where memory runs out the first time; with the settings it took."""
    with suppress(MemoryError, torch.cuda.OutOfMemoryError):
        return settings, run(settings)
    # Only now, since the error held what filled the memory.
    torch.cuda.empty_cache()
    settings = coarser(fixed, settings)
    warnings.append(f"Registered on voxels of {settings.spacing:g} mm, because memory ran out at first.")
    return settings, run(settings)
