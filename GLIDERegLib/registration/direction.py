"""A pair as one direction of its registration sees it."""

from __future__ import annotations

from dataclasses import dataclass

from GLIDERegLib.registration.features.global_features import GlobalFeatures
from GLIDERegLib.registration.features.local_features import LocalFeatures
from GLIDERegLib.registration.working_grid import Prepared


@dataclass
class Direction:
    """One direction of a pair: its images and features as fixed and moving.

    local_features: of the fixed and the moving image; None without. global_features: those of the pair as it
    was given; None without. order: which of its images is fixed here, and which moving. spacing: of the
    working voxels, mm. one_scale: whether both scans are known to have one scale of values, as HU.
    quiet: of others, whether their noise is known to be as small as a CT's.
    """

    fixed: Prepared
    moving: Prepared
    local_features: tuple[LocalFeatures, LocalFeatures] | None
    global_features: GlobalFeatures | None
    order: tuple[int, int]
    spacing: float
    one_scale: bool = True
    quiet: bool = False
