"""What a registration will need of the main memory, from the images' headers alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import SimpleITK as sitk

from GLIDERegLib.files.checkpoints import find
from GLIDERegLib.registration.geometry import Grid
from GLIDERegLib.registration.lattice import working_spacing

if TYPE_CHECKING:
    from GLIDERegLib.evaluation.cases import Case
    from GLIDERegLib.registration.settings import Settings

GIB = 2**30
# Fitted from above to peaks measured on the processor with one thread; see README.md beside this file.
BASE = 0.55e9
BYTES_PER_VOXEL = 49  # of the two given images: reading and resampling them
BYTES_PER_CELL = 4900  # of the coupled convex optimisation, its costs for all displacements
BYTES_PER_FINE_VOXEL, BYTES_PER_COARSE_VOXEL = 220, 160  # of the working grid, features at full or half size
# Counted from the arrays, not measured: SAM2's encoder, and a map of 64 x 64 x 256 float32 for each slice.
BASE_OF_ENCODER, BYTES_PER_SLICE = 2e9, 64 * 64 * 256 * 4
HEADROOM = 1.1


def estimated_memory(case: Case, settings: Settings) -> float:
    """GiB that the registration of a pair takes at its peak, from the files' headers.

    A file that cannot be read counts as empty: its registration will say what is wrong with it.
    """
    grids = [grid for path in (case.fixed, case.moving) if (grid := _grid_of(path)) is not None]
    if len(grids) < 2:
        return BASE / GIB
    fixed = grids[0]
    spacing = working_spacing(fixed, settings.spacing, settings.finest_spacing, settings.most_voxels)
    volume = float(np.prod(fixed.extent))
    full_size = min(level.feature_factor for level in settings.levels) == 1
    per_voxel = BYTES_PER_FINE_VOXEL if full_size else BYTES_PER_COARSE_VOXEL
    given = BYTES_PER_VOXEL * sum(float(np.prod(grid.size)) for grid in grids)
    working = per_voxel * volume / spacing**3
    working += BYTES_PER_CELL * volume / max(spacing, settings.cell_size) ** 3
    needed = BASE + max(given, working)
    if _uses_encoder(settings):
        slices = 2 * fixed.extent[2] / spacing / (settings.encoder_slice_step or 1)
        needed += BASE_OF_ENCODER + BYTES_PER_SLICE * slices
    return HEADROOM * needed / GIB


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
