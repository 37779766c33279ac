"""One nodule whose outline a reader drew in one original scan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from GLIDERegLib.core.geometry import Volume
from GLIDERegLib.evaluation.measuring.diameters import axial_diameters
from GLIDERegLib.evaluation.measuring.measurement import COULD_NOT_BE_TOLD, MEASURED, NoduleMeasurement
from GLIDERegLib.evaluation.measuring.patch import turn

# Parts of a pixel along each axis: the outline's smoothing then spares what is one pixel wide.
PARTS = 3


def measure_outline(volume: Volume, mask: Volume, point_mm: Sequence[float]) -> NoduleMeasurement:
    """The nodule that a reader outlined in an original scan.

    mask: (z, y, x), not 0 in the nodule, a box cut from the scan's own grid. point_mm: LPS mm, for the
    record. The volume is that of the voxels; it has no interval of its own, since how well a reader draws is
    not known of one drawing.
    """
    x, y, z = point_mm
    point, inside = (float(x), float(y), float(z)), np.asarray(mask.array) != 0
    if not inside.any():
        return NoduleMeasurement(point, f"{COULD_NOT_BE_TOLD}: its outline is empty")
    first = np.rint(volume.grid.to_index(mask.grid.origin)).astype(int)[::-1]
    box = tuple(slice(a, a + n) for a, n in zip(first, inside.shape, strict=True))
    upright = mask.grid.upright()
    axes, flips = turn(mask.grid, upright)
    fine = inside.transpose(axes)[flips].repeat(PARTS, axis=1).repeat(PARTS, axis=2)
    long, short = axial_diameters(fine, np.asarray(upright.spacing)[::-1] / (1, PARTS, PARTS))
    center = mask.grid.to_physical(np.argwhere(inside)[:, ::-1]).mean(axis=0)
    return NoduleMeasurement(
        point,
        MEASURED,
        volume_mm3=float(inside.sum(dtype=float) * np.prod(mask.grid.spacing)),
        long_mm=long,
        short_mm=short,
        mean_hu=float(volume.array[box][inside].mean()),
        center_mm=tuple(center.tolist()),
        mask=mask,
    )
