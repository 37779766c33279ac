"""What is known of one nodule in one original scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from GLIDERegLib.core.acquisition import Acquisition
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Volume
from GLIDERegLib.evaluation.growth import DIAMETER, VOLUME, Size

MEASURED, COULD_NOT_BE_TOLD = "measured", "could not be told"
SOLID, PART_SOLID, GROUND_GLASS = "solid", "part-solid", "ground glass"

# Centroids of one nodule, whatever was clicked, differ by less; two nodules do not lie so close.
SAME_MM = 1.0


@dataclass(frozen=True)
class NoduleMeasurement:
    """A nodule's size in one original scan; all figures are None where `status` is not MEASURED.

    point_mm: the click, LPS mm. status: MEASURED, or COULD_NOT_BE_TOLD, a colon and the reason.
    volume_mm3 of the whole nodule, ground glass and solid part together; volume_low_mm3, volume_high_mm3: its
    95 % interval. long_mm: longest diameter in an axial plane, short_mm: the widest across it in the same
    plane; mean_low_mm, mean_high_mm: 95 % interval of their mean. mean_hu: mean attenuation in its middle,
    where voxels hold nothing else (None where it is too small for that; of all voxels in an outline that a
    reader drew). attenuation: SOLID, PART_SOLID or GROUND_GLASS. center_mm: centroid, LPS mm. mask: uint8
    (z, y, x), 1 in the nodule, a box cut from the scan's own grid, for outlines: the volume counts parts of
    voxels, which a mask cannot. step: how many steps larger (or smaller, negative) than found. scanned: how
    the scan was acquired, as far as is known. An outline that a reader drew has no intervals, no attenuation
    class, and says nothing of what it touches.
    """

    point_mm: tuple[float, float, float]
    status: str
    volume_mm3: float | None = None
    volume_low_mm3: float | None = None
    volume_high_mm3: float | None = None
    long_mm: float | None = None
    short_mm: float | None = None
    mean_low_mm: float | None = None
    mean_high_mm: float | None = None
    mean_hu: float | None = None
    attenuation: str | None = None
    touches_vessel: bool | None = None
    touches_pleura: bool | None = None
    center_mm: tuple[float, float, float] | None = None
    mask: Volume | None = None
    step: int = 0
    scanned: Acquisition | None = None

    @property
    def measured(self) -> bool:
        return self.status == MEASURED

    @property
    def mean_mm(self) -> float | None:
        """Mean of the long and the short diameter in mm to one decimal, as the guidelines round it."""
        mean = self._mean_diameter()
        return None if mean is None else round(mean, 1)

    def size(self, quantity: str = VOLUME) -> Size:
        """The VOLUME or the mean DIAMETER with its interval, for `growth`.

        Raises InputError where the nodule could not be measured.
        """
        mean = self._mean_diameter()
        if self.volume_mm3 is None or mean is None:
            raise InputError(f"The size of this nodule {self.status}.", code="not-measured")
        if quantity == DIAMETER:
            return Size(DIAMETER, mean, self.mean_low_mm, self.mean_high_mm, self.scanned)
        return Size(VOLUME, self.volume_mm3, self.volume_low_mm3, self.volume_high_mm3, self.scanned)

    def _mean_diameter(self) -> float | None:
        """In mm, not rounded."""
        if self.long_mm is None or self.short_mm is None:
            return None
        return (self.long_mm + self.short_mm) / 2


def same_nodule(nodules: Sequence[NoduleMeasurement], row: int) -> list[int]:
    """The other measurements of one scan, by their numbers, that are of the nodule of a row."""
    own = nodules[row].center_mm
    if own is None:
        return []
    return [
        n
        for n, other in enumerate(nodules)
        if n != row
        and other.center_mm is not None
        and np.linalg.norm(np.subtract(own, other.center_mm)) < SAME_MM
    ]
