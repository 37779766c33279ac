"""The files of one pair, and all that is registered of them read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from GLIDERegLib.registration.pair_inputs import PairInputs

ROLES = ("fixed", "moving")


@dataclass(frozen=True)
class PairFiles:
    """The files of one registration; None for what is not given."""

    fixed: Path
    moving: Path
    fixed_mask: Path | None = None
    moving_mask: Path | None = None
    initial_transform: Path | None = None
    fixed_points: Path | None = None
    moving_points: Path | None = None
    fixed_nodules: Path | None = None
    moving_nodules: Path | None = None

    def given(self) -> dict[str, Path]:
        """The paths that are given, by name."""
        paths = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: path for name, path in paths.items() if path is not None}

    def read(self) -> PairInputs:
        """Scans, masks, initial transform and nodules, in LPS mm; the points are the caller's.

        Raises InputError for files that cannot be used, for small ones before the scans are read.
        """
        from GLIDERegLib.files.points import read_points
        from GLIDERegLib.files.transforms import read_transform
        from GLIDERegLib.files.volumes import read_mask, read_volume
        from GLIDERegLib.registration.pair_inputs import PairInputs

        initial = read_transform(self.initial_transform) if self.initial_transform else None
        fixed_nodules, moving_nodules = (
            read_points(path) if path else None for path in (self.fixed_nodules, self.moving_nodules)
        )
        with ThreadPoolExecutor(2) as pool:
            reading = [pool.submit(read_volume, getattr(self, role), role) for role in ROLES]
            fixed, moving = (scan.result() for scan in reading)
        fixed_mask, moving_mask = (
            read_mask(path, scan.grid, role) if path else None
            for path, scan, role in (
                (self.fixed_mask, fixed, "fixed"),
                (self.moving_mask, moving, "moving"),
            )
        )
        return PairInputs(fixed, moving, fixed_mask, moving_mask, initial, fixed_nodules, moving_nodules)
