"""What a registration will need of the main memory, from the images' headers alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import SimpleITK as sitk

from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.files.checkpoints import find
from GLIDERegLib.registration.memory import BASE, GIB, estimated_bytes

if TYPE_CHECKING:
    from GLIDERegLib.core.settings import Settings
    from GLIDERegLib.studies.cases import Case


def estimated_memory(case: Case, settings: Settings) -> float:
    """GiB that the registration of a pair takes at its peak, from the files' headers.

    A file that cannot be read counts as empty: its registration will say what is wrong with it.
    """
    grids = [grid for path in (case.fixed, case.moving) if (grid := _grid_of(path)) is not None]
    if len(grids) < 2:
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


def _grid_of(path: Path) -> Grid | None:
    """The grid an image's header tells; of a DICOM folder about, taking each of its files for a slice."""
    slices = 1
    try:
        if path.is_dir():
            files = [file for file in sorted(path.iterdir()) if file.is_file()]
            slices, path = len(files), files[0]
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
    except (RuntimeError, OSError, IndexError):
        return None
    size, spacing = list(reader.GetSize()[:3]), reader.GetSpacing()[:3]
    if len(size) < 3 or min(spacing) <= 0:
        return None
    return Grid((size[0], size[1], size[2] * slices), tuple(spacing))
