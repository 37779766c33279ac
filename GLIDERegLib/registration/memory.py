"""What a registration will need of the main memory, and the coarser grid that fits where that is too much."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil

from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.core.networks import network
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.registration.working_grid import working_spacing

GIB = 2**30
# Fitted from above to peaks measured on the processor with two threads; see studies/cohort/README.md.
BASE = 0.5e9
BYTES_PER_GIVEN_VOXEL = 20  # of the two images: reading and resampling them
# Of the coupled convex optimisation, its costs for all displacements: 925 at 48 mm, times the stretch.
BYTES_PER_CELL = 5300
BYTES_PER_VOXEL_FINE, BYTES_PER_VOXEL_COARSE = 106, 60  # of the working grid, nodes 2 or 4 voxels apart
# More for normalised intensities: from 1.85 GB on the phantom in 2 mm, 1.76 without; 2.84 on G.
BYTES_PER_VOXEL_INTENSITY = 16
# Counted from the arrays: encoded tokens as float32, and the same in half precision for the reduction.
BYTES_PER_CHANNEL = 4 + 2
HEADROOM = 1.1
COARSEST_MM, COARSER = 6.0, 1.1
# The limit of a container or a batch job, by the two versions of Linux's control groups.
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def estimated_bytes(
    fixed: Grid, moving: Grid, settings: Settings, with_encoder: bool, device: str = "cpu"
) -> float:
    """Main memory that the registration of a pair takes at its peak, in bytes.

    device: the kind (`torch.device.type`) that encodes the slices.
    """
    spacing = working_spacing(fixed, settings.spacing, settings.finest_spacing, settings.most_voxels)
    volume = float(np.prod(fixed.extent))
    fine = min(level.node_spacing for level in settings.levels) <= 2
    per_voxel = BYTES_PER_VOXEL_FINE if fine else BYTES_PER_VOXEL_COARSE
    per_voxel += BYTES_PER_VOXEL_INTENSITY if settings.intensity_share > 0 else 0
    given = BYTES_PER_GIVEN_VOXEL * sum(float(np.prod(grid.size)) for grid in (fixed, moving))
    working = per_voxel * volume / spacing**3
    working += settings.search_stretch * BYTES_PER_CELL * volume / max(spacing, settings.cell_size) ** 3
    needed = BASE + max(given, working)
    if with_encoder:
        encoder = network(settings.encoder)
        slices = 2 * fixed.extent[2] / (spacing * settings.slice_step(device, spacing))
        tokens = slices * (settings.slice_size(device) / encoder.token) ** 2
        needed += encoder.memory + BYTES_PER_CHANNEL * encoder.channels * tokens
    return HEADROOM * needed


def free_bytes() -> float:
    """Bytes of main memory that this process can still take, within the limits of its container or job."""
    free = psutil.virtual_memory().available
    for path in LIMITS:
        with suppress(OSError, ValueError):
            free = min(free, int(Path(path).read_text()) - psutil.Process().memory_info().rss)
    return float(max(free, 0))


def fitted(
    fixed: Grid, moving: Grid, settings: Settings, with_encoder: bool, free: float
) -> tuple[Settings, str | None]:
    """The settings with as coarse a working grid as `free` bytes ask for, and one sentence where that changes
    or threatens the result; a spacing that the user chose stays.
    """
    needed = estimated_bytes(fixed, moving, settings, with_encoder)
    # Part of what is needed is there already: the process itself.
    limit = free + BASE
    if needed <= limit:
        return settings, None
    short = f"about {needed / GIB:.1f} GB are needed and {free / GIB:.1f} GB are free"
    if settings.spacing is not None:
        return settings, f"The memory may not be enough: {short}; a coarser spacing needs less."
    spacing = working_spacing(fixed, None, settings.finest_spacing, settings.most_voxels)
    found = settings
    while needed > limit and spacing < COARSEST_MM:
        spacing = min(COARSER * spacing, COARSEST_MM)
        trial = replace(settings, spacing=round(spacing, 2))
        previous, needed = needed, estimated_bytes(fixed, moving, trial, with_encoder)
        if needed >= previous:  # the images themselves are too large
            break
        found = trial
    if found is settings:
        return settings, f"The memory may not be enough: {short}."
    even = ", and may not be enough even so" if needed > limit else ""
    return found, f"Registered on voxels of {found.spacing:g} mm to save memory: {short}{even}."


def coarser(fixed: Grid, settings: Settings) -> Settings:
    """The settings with half the working voxels or fewer, for another try after memory ran out."""
    spacing = working_spacing(fixed, settings.spacing, settings.finest_spacing, settings.most_voxels)
    return replace(settings, spacing=round(1.3 * spacing, 2))
