"""What a registration will need of the main memory, from the images' headers alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil

from GLIDERegLib.core.errors import GlideRegError
from GLIDERegLib.files.checkpoints import find
from GLIDERegLib.files.grids import read_grid
from GLIDERegLib.registration.memory import BASE, GIB, estimated_bytes

if TYPE_CHECKING:
    from GLIDERegLib.core.settings import Settings
    from GLIDERegLib.studies.cases import Case


def estimated_memory(case: Case, settings: Settings) -> float:
    """GiB that the registration of a pair takes at its peak, from the files' headers.

    A file that cannot be read counts as empty: its registration will say what is wrong with it.
    """
    try:
        grids = [read_grid(path) for path in (case.fixed, case.moving)]
    except GlideRegError:
        return BASE / GIB
    # Which device `auto` finds is not known here; a GPU sees more and larger slices.
    device = "cpu" if settings.device == "cpu" else "cuda"
    return estimated_bytes(*grids, settings, _uses_encoder(settings), device) / GIB


def memory_of_machine() -> tuple[float, float]:
    """GiB of main memory that this machine, or this job's share of it, has in all, and has free now."""
    memory = psutil.virtual_memory()
    total = memory.total
    try:
        from distributed.system import MEMORY_LIMIT

        total = min(total, MEMORY_LIMIT)  # knows the limits of a container or a batch job
    except ImportError:
        pass
    return total / GIB, min(total, memory.available) / GIB


def _uses_encoder(settings: Settings) -> bool:
    if settings.features != "auto":
        return settings.features != "local"
    return settings.checkpoint is not None or find(settings.encoder) is not None
