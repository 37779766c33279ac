"""A pair of scans with what it is judged by, and a registration method that is run on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import SimpleITK as sitk


@dataclass(frozen=True)
class Case:
    """One pair of a data set, as files.

    name: unique in its data set, and fit to be a file's name. Points: files as `read_points` reads them;
    points of equal label, or else of equal row, correspond. Nodules: points in nodules
    that shall keep their size. Labels and masks lie on their own image's grid.
    truth: a transform that is right everywhere inside the body, fixed to moving points, LPS mm; scored: mask
    on the fixed grid of where it may be judged, the body where None. lungs: mask on the fixed grid, for what
    is told of the lungs apart. structures: names of label values. family: the kind of data, by which tables
    are parted. align: whether the scans must be aligned affinely before any method sees them.
    snap_to_voxels: whether the data set's published errors are measured after propagated points were moved to
    the nearest voxel centre of the moving image; such errors are then given beside the plain ones.
    """

    name: str
    fixed: Path
    moving: Path
    fixed_points: Path | None = None
    moving_points: Path | None = None
    fixed_labels: Path | None = None
    moving_labels: Path | None = None
    fixed_mask: Path | None = None
    moving_mask: Path | None = None
    truth: Path | None = None
    scored: Path | None = None
    lungs: Path | None = None
    family: str = ""
    structures: tuple[tuple[int, str], ...] = ()
    align: bool = False
    snap_to_voxels: bool = False
    fixed_nodules: Path | None = None
    moving_nodules: Path | None = None


@dataclass(frozen=True)
class Task:
    """What every method gets: the same two NIfTI files on one grid, an empty folder of its own, threads.

    fixed_mask, moving_mask: uint8 NIfTI files on the same grid, or None. case: the case's name, by which a
    method finds what was made for it elsewhere. given, given_mask: the moving scan and its mask on their own
    grid, for methods that take two grids; None where all get the scan resampled.
    """

    fixed: Path
    moving: Path
    folder: Path
    threads: int
    fixed_mask: Path | None = None
    moving_mask: Path | None = None
    case: str = ""
    given: Path | None = None
    given_mask: Path | None = None

    def on_own_grid(self) -> Task:
        """The task of a method that takes two grids."""
        if self.given is None:
            return self
        return replace(self, moving=self.given, moving_mask=self.given_mask, given=None, given_mask=None)


class Method(Protocol):
    """A registration method, run as one process of its own."""

    name: str

    def missing(self) -> str | None:
        """One sentence that says what must be installed, and how; None where it can run."""

    def command(self, task: Task) -> Sequence[str]:
        """The process to run; it leaves its result in the task's folder. An empty one runs nothing."""

    def transform(self, task: Task) -> sitk.Transform:
        """The result, fixed to moving points, LPS mm. Raises InputError where it is missing or damaged."""

    def version(self) -> str:
        """Name and version of the program, for the table's foot."""
