"""What casts doubt on a transform that is judged, or on the points it is judged by."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.transforms.points import map_points

# By how much similarity must have fallen to cast doubt: breath alone changes the lungs' density and lowers it
# by up to 0.02, see `registration.plausibility`.
FALLEN_CORRELATION = 0.03
# A choice: points of which this share lies outside their image may have been read in a wrong way.
OUTSIDE_SHARE = 0.5
# A choice: of the distance without the transform; the right direction leaves far less.
REVERSED_SHARE = 0.5
# A choice: no field that folds in places does so at most of them.
MIRRORED_SHARE = 0.5
RAS = np.array([-1.0, -1.0, 1.0])


def outside_doubt(points: np.ndarray, grid: Grid, role: str, least: float = 0.0) -> str:
    """A sentence on points (N, 3), LPS mm, of which more than the share `least` lie outside their own image,
    with how else they would fit; empty where there are none.
    """
    outside = ~grid.contains(points)
    if not outside.mean() > least:
        return ""
    number = int(outside.sum())
    of = f"{number} of {counted(len(points), f'{role} point')}"
    said = f"{of} {'lies' if number == 1 else 'lie'} outside the {role} image"
    if outside.mean() <= OUTSIDE_SHARE:
        return f"{said}."
    others = {"in RAS": points * RAS, "in voxels": grid.to_physical(points), "in cm": 10 * points}
    fits = [name for name, moved in others.items() if grid.contains(moved).all()]
    if fits:
        return f"{said}, and inside it where they are meant {' or '.join(fits)}: check what their file says."
    return f"{said}: check whether they belong to it."


def direction_doubt(transform: sitk.Transform, fixed: np.ndarray, moving: np.ndarray) -> str:
    """A sentence where corresponding points (N, 3), LPS mm, are farther apart through the transform than
    without it; empty otherwise.
    """
    if not len(fixed):
        return ""
    before = _apart(fixed, moving)
    after, reverse = (
        _apart(map_points(transform, fixed), moving),
        _apart(map_points(transform, moving), fixed),
    )
    if after <= before:
        return ""
    said = f"The points lie {before:.1f} mm apart without the transform and {after:.1f} mm through it"
    if reverse < REVERSED_SHARE * before:
        return f"{said}, but {reverse:.1f} mm the other way: it seems to map moving to fixed points."
    return f"{said}: one of them may be of other scans, or the points in another coordinate system."


def same_points_doubt(fixed: np.ndarray, moving: np.ndarray) -> str:
    """A sentence where corresponding points (N, 3) of two scans are the same places; empty otherwise."""
    if not len(fixed) or not np.array_equal(fixed, moving):
        return ""
    return "The fixed and the moving points are the same places: was one list given twice?"


def similarity_doubt(similarity: dict) -> str:
    """A sentence where scans agree clearly less through the transform than without it; empty otherwise."""
    before, after = (similarity[when]["normalised_cross_correlation"] for when in ("initial", "final"))
    if before is not None and after is None:
        return (
            "The transform leads to nothing of the moving scan: it may be of other scans, or in another unit."
        )
    if before is None or after is None or before - after <= FALLEN_CORRELATION:
        return ""
    return (
        f"The scans agree less through the transform than without it (correlation {before:.3f} before, "
        f"{after:.3f} after): it may be of other scans, or map moving to fixed points."
    )


def mirror_doubt(share: float) -> str:
    """A sentence where the Jacobian determinant is not positive at most voxels, of which `share` tells."""
    if share <= MIRRORED_SHARE:
        return ""
    return (
        f"The Jacobian determinant is not positive at {100 * share:.0f} % of the voxels: the transform "
        "mirrors or flattens the patient."
    )


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other, axis=1).mean())
