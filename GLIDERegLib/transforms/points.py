"""Points through any transform, in both directions.

A transform maps fixed points to moving points, LPS mm.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.core.points import PointSet

DIRECTIONS = ("fixed-to-moving", "moving-to-fixed")
# mm; far above the rounding of float64, far below a voxel, so that a linearly interpolated field shows one
# cell's slope.
JACOBIAN_STEP = 1e-3
# Nodes along each axis of a field's grid where the search for an inverse may start.
START_NODES = 12
# Of which the distances to all nodes take 14 MB.
POINTS_AT_ONCE = 1000


def map_points(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    """Fixed points (N, 3) to moving points (N, 3), LPS mm."""
    points = np.asarray(points, float).reshape(-1, 3)
    return np.array([transform.TransformPoint(point) for point in points.tolist()]).reshape(-1, 3)


def inverse_points(
    transform: sitk.Transform, points: np.ndarray, tolerance_mm: float = 1e-3, iterations: int = 50
) -> tuple[np.ndarray, np.ndarray]:
    """Fixed points x (N, 3) with T(x) = y for moving points y (N, 3), and the residual |T(x) - y| (N), mm.

    Needs the forward map T alone: Newton's method with a finite-difference Jacobian and step halving, started
    at the closest of several candidates. Where T folds or leaves y out, the best point found is returned and
    its residual tells; a residual above `tolerance_mm` means that y has no exact counterpart. All in LPS mm.
    """
    target = np.asarray(points, float).reshape(-1, 3)
    best = _closest_start(transform, target)
    error = map_points(transform, best) - target
    residual = np.linalg.norm(error, axis=1)
    active = residual > tolerance_mm
    for _ in range(iterations):
        index = np.flatnonzero(active)
        if not len(index):
            break
        newton = np.einsum("nij,nj->ni", np.linalg.pinv(_jacobian(transform, best[index])), error[index])
        improved = np.zeros(len(index), bool)
        # The error itself, a damped fixed-point step, serves where Newton's direction does not help.
        for step in (newton, newton / 2, newton / 4, newton / 16, error[index], error[index] / 4):
            rest = np.flatnonzero(~improved)
            if not len(rest):
                break
            trial = best[index[rest]] - step[rest]
            trial_error = map_points(transform, trial) - target[index[rest]]
            better = np.linalg.norm(trial_error, axis=1) < residual[index[rest]]
            chosen = index[rest[better]]
            best[chosen], error[chosen] = trial[better], trial_error[better]
            residual[chosen] = np.linalg.norm(error[chosen], axis=1)
            improved[rest[better]] = True
        active[index] = improved & (residual[index] > tolerance_mm)
    return best, residual


def in_field(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    """True (N) where fixed points (N, 3), LPS mm, lie in the domain of every displacement field or B-spline.

    Outside of it ITK applies no displacement. All True for a transform that has no such part.
    """
    points = np.asarray(points, float).reshape(-1, 3)
    inside = np.ones(len(points), bool)
    for part in parts(transform):
        domain = _domain(part)
        if domain is not None:
            inside &= domain.contains(points)
        points = map_points(part, points)
    return inside


def field_grid(transform: sitk.Transform) -> Grid | None:
    """The grid of the displacement field that fixed points meet first, if they meet one before anything
    else.
    """
    first = parts(transform)[0]
    return _domain(first) if isinstance(first, sitk.DisplacementFieldTransform) else None


def propagate(
    points: PointSet,
    transform: sitk.Transform,
    direction: str,
    fixed: Grid | None = None,
    moving: Grid | None = None,
) -> tuple[PointSet, dict[str, np.ndarray]]:
    """Propagates points "fixed-to-moving" through the transform or "moving-to-fixed" through its inverse.

    fixed, moving: where the images' voxels are, if that is known. Returns the points and columns with one
    value per point: residual_mm, the distance (mm) between a given point and itself after going there and
    back; inside_field, whether the transform is defined there (see `in_field`) and the fixed image reaches
    there; with `moving`, inside_moving: whether the moving image does.
    Raises InputError for another direction.
    """
    if direction not in DIRECTIONS:
        raise InputError(
            f"The direction '{direction}' is unknown.",
            f"Use {DIRECTIONS[0]} or {DIRECTIONS[1]}.",
            code="setting",
        )
    given = np.asarray(points.points, float)
    if direction == "moving-to-fixed":
        mapped, residual = inverse_points(transform, given)
        inside = in_field(transform, mapped)
    else:
        mapped = map_points(transform, given)
        back, _ = inverse_points(transform, mapped)
        residual = np.linalg.norm(back - given, axis=1)
        inside = in_field(transform, given)
    in_fixed, in_moving = (given, mapped) if direction == "fixed-to-moving" else (mapped, given)
    if fixed is not None:
        inside = inside & fixed.contains(in_fixed)
    columns = {"residual_mm": residual, "inside_field": inside}
    if moving is not None:
        columns["inside_moving"] = moving.contains(in_moving)
    return PointSet(list(points.labels), mapped), columns


def parts(transform: sitk.Transform) -> list[sitk.Transform]:
    """The transform's elementary parts in the order in which a point goes through them."""
    transform = transform.Downcast()
    # A linear one is a part as a whole: SimpleITK shows ANTs' MatrixOffsetTransformBase as a composite of
    # itself, without end.
    if not isinstance(transform, sitk.CompositeTransform) or transform.IsLinear():
        return [transform]
    # ITK applies the transform that was added last first.
    nested = [transform.GetNthTransform(n) for n in reversed(range(transform.GetNumberOfTransforms()))]
    return [part for item in nested for part in parts(item)]


def _domain(part: sitk.Transform) -> Grid | None:
    """The box in which a displacement field or B-spline is defined, as a grid; None for other transforms."""
    if isinstance(part, sitk.DisplacementFieldTransform):
        field = part.GetDisplacementField()
        return Grid(field.GetSize(), field.GetSpacing(), field.GetOrigin(), field.GetDirection())
    if isinstance(part, sitk.BSplineTransform):
        size, direction = part.GetTransformDomainMeshSize(), part.GetTransformDomainDirection()
        spacing = np.asarray(part.GetTransformDomainPhysicalDimensions()) / size
        first = np.asarray(part.GetTransformDomainOrigin()) + np.reshape(direction, (3, 3)) @ (spacing / 2)
        return Grid(size, tuple(spacing.tolist()), tuple(first.tolist()), direction)
    return None


def _closest_start(transform: sitk.Transform, target: np.ndarray) -> np.ndarray:
    """Of y, y - u(y) and the nodes of a field, the x (N, 3) whose image T(x) is closest to y (N, 3)."""
    image = map_points(transform, target)
    start, distance = target.copy(), np.linalg.norm(image - target, axis=1)
    own = 2 * target - image
    candidates = [(own, map_points(transform, own))]
    domains = [domain for part in parts(transform) if (domain := _domain(part)) is not None]
    if domains:
        low, high = -0.5 + 1e-6, np.asarray(domains[0].size) - 0.5 - 1e-6
        axes = [np.linspace(low, end, START_NODES) for end in high]
        nodes = domains[0].to_physical(np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 3))
        images = map_points(transform, nodes)
        # |image - point|^2 less what is the same for all images.
        squares, blocks = np.sum(images**2, axis=1), range(0, max(len(target), 1), POINTS_AT_ONCE)
        few = [target[first : first + POINTS_AT_ONCE] for first in blocks]
        nearest = np.concatenate([(squares - 2 * part @ images.T).argmin(axis=1) for part in few])
        candidates.append((nodes[nearest], images[nearest]))
    for candidate, image in candidates:
        apart = np.linalg.norm(image - target, axis=1)
        closer = apart < distance
        start[closer], distance[closer] = candidate[closer], apart[closer]
    return start


def _jacobian(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    """Central differences of the transform at points (N, 3): (N, 3, 3), rows are components of T."""
    steps = np.eye(3) * JACOBIAN_STEP
    differences = [
        map_points(transform, points + step) - map_points(transform, points - step) for step in steps
    ]
    return np.stack(differences, axis=-1) / (2 * JACOBIAN_STEP)
