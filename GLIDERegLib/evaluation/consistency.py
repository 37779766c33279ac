"""Registrations against each other: there and back by two independent ones, and round three scans.

Unlike the round trip through a field's own inverse, which is about 0 for any field, these compare results
that do not know of one another. They find errors, and cannot rule them out: two may be wrong the same way
(Christensen and Johnson, IEEE Trans Med Imaging 20:568, 2001; J Electron Imaging 12:106, 2003).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.evaluation import metrics
from GLIDERegLib.evaluation.landmarks.regions import Regions
from GLIDERegLib.transforms.points import in_field, map_points

# A choice: the 95th percentile of so many stands on 150 points; each costs an inversion.
POINTS = 3000
SEED = 0


@dataclass(frozen=True)
class Residuals:
    """points (N, 3): of the fixed scan, LPS mm; lengths (N): how far the two ways end apart, mm; left_out:
    share of the points asked that a field does not reach.
    """

    points: np.ndarray
    lengths: np.ndarray
    left_out: float

    def report(self, regions: Regions) -> dict:
        """Mean, median, p95, max and others (mm) of all points and by region, ready for JSON."""
        zero = np.zeros((len(self.lengths), 3))
        along = np.column_stack([self.lengths, zero[:, 1:]])
        names, near = np.array(regions.at(self.points)), regions.near_pleura(self.points)
        by_region = {}
        for name in regions.masks():
            inside = names == name if name in regions.names.values() else near
            if inside.any():
                by_region[name] = metrics.target_registration_error(along[inside], zero[inside])[1]
        everything = metrics.target_registration_error(along, zero)[1]
        return {"residual_mm": everything, "regions_mm": by_region, "left_out": self.left_out}


def inverse_consistency(forward: sitk.Transform, backward: sitk.Transform, regions: Regions) -> Residuals:
    """|backward(forward(x)) - x| over the fixed scan's body, mm.

    forward: fixed to moving points; backward: of an independent registration with the scans exchanged, moving
    to fixed points; LPS mm. Raises InputError where no point stays within both fields.
    """
    points = scattered(regions)
    there = map_points(forward, points)
    known = in_field(forward, points) & in_field(backward, there)
    return _residuals(points, map_points(backward, there), points, known)


def transitivity(
    first_second: sitk.Transform,
    second_third: sitk.Transform,
    first_third: sitk.Transform,
    regions: Regions,
) -> Residuals:
    """|second_third(first_second(x)) - first_third(x)| over the first scan's body, mm in the third scan.

    Each maps points of the scan named first to the one named second, LPS mm; regions are the first scan's.
    Raises InputError where no point stays within all fields.
    """
    points = scattered(regions)
    between = map_points(first_second, points)
    known = in_field(first_second, points) & in_field(first_third, points) & in_field(second_third, between)
    return _residuals(points, map_points(second_third, between), map_points(first_third, points), known)


def scattered(regions: Regions) -> np.ndarray:
    """Points (N, 3), LPS mm: half in the lungs, half in the rest of the body, the same at every call."""
    rng = np.random.default_rng(SEED)
    lungs = regions.lungs()
    chosen = []
    for mask in (lungs, (regions.labels > 0) & ~lungs):
        voxels = np.argwhere(mask)
        chosen.append(voxels[rng.choice(len(voxels), min(POINTS // 2, len(voxels)), replace=False)])
    return regions.grid.to_physical(np.concatenate(chosen)[:, ::-1])


def _residuals(points, ends: np.ndarray, goals: np.ndarray, known: np.ndarray) -> Residuals:
    if not known.any():
        raise InputError(
            "No point of the fixed scan's body lies within all of the fields",
            "Check that each transform maps from the scan that it should.",
            code="no-overlap",
        )
    lengths = np.linalg.norm(ends - goals, axis=1)
    return Residuals(points[known], lengths[known], float(np.mean(~known)))
