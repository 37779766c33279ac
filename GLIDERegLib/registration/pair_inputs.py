"""What a registration is given of a pair: both scans, where they count, and what is known beforehand."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.geometry import Volume
from GLIDERegLib.core.points import PointSet
from GLIDERegLib.registration.scale import enlarged, enlarged_transform


@dataclass(frozen=True)
class PairInputs:
    """Two scans (LPS mm) and what belongs to them.

    fixed_mask, moving_mask: bool (z, y, x) on the grid of their own scan, where similarity counts. initial:
    fixed to moving points, LPS mm, instead of a pre-alignment. fixed_nodules, moving_nodules: a point in each
    nodule that is to stay rigid. hounsfield: whether both scans were given in HU. quiet: of
    others, whether their noise is known to be as small as a CT's.
    """

    fixed: Volume
    moving: Volume
    fixed_mask: np.ndarray | None = None
    moving_mask: np.ndarray | None = None
    initial: sitk.Transform | None = None
    fixed_nodules: PointSet | None = None
    moving_nodules: PointSet | None = None
    hounsfield: bool = True
    quiet: bool = False

    @property
    def scans(self) -> tuple[Volume, Volume]:
        """The fixed and the moving one."""
        return self.fixed, self.moving

    @property
    def masks(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Of the fixed and of the moving scan, bool (z, y, x) on its own grid."""
        return self.fixed_mask, self.moving_mask

    @property
    def nodules(self) -> tuple[PointSet | None, PointSet | None]:
        """Of the fixed and of the moving scan, a point in each."""
        return self.fixed_nodules, self.moving_nodules

    def enlarged(self, factor: float) -> PairInputs:
        """The same voxels `factor` times as far apart, the initial transform with them, without nodules."""
        initial = self.initial
        if initial is not None and factor != 1:
            initial = enlarged_transform(initial, factor)
        fixed, moving = (enlarged(scan, factor) for scan in self.scans)
        return replace(
            self, fixed=fixed, moving=moving, initial=initial, fixed_nodules=None, moving_nodules=None
        )
