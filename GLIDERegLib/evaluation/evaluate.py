"""Judges any registration by its transform: fixed points to moving points, LPS mm, whatever tool made it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.body import Body
from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.ct import AIR_HU
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.core.size import magnification
from GLIDERegLib.evaluation import metrics
from GLIDERegLib.evaluation.doubts import (
    direction_doubt,
    mirror_doubt,
    outside_doubt,
    same_points_doubt,
    similarity_doubt,
)
from GLIDERegLib.files.itk import itk_calls
from GLIDERegLib.files.pairing import match_labels
from GLIDERegLib.files.points import PointSet
from GLIDERegLib.files.volumes import to_sitk
from GLIDERegLib.registration.field import DisplacementField, jacobian_determinant
from GLIDERegLib.transforms.points import in_field, inverse_points, map_points

# Choices: finer sampling, or more of it, tells the same figures more slowly.
FINEST_MM = 2.0
MOST_VOXELS = 200**3
CONSISTENCY_POINTS = 1000
# Points of one image: a list with labels, or (N, 3) in LPS mm.
Points = PointSet | np.ndarray
IDENTITY = sitk.Transform(3, sitk.sitkIdentity)


def evaluate_transform(
    transform: sitk.Transform,
    fixed: Volume,
    moving: Volume,
    fixed_points: Points | None = None,
    moving_points: Points | None = None,
    fixed_labels: Volume | None = None,
    moving_labels: Volume | None = None,
    mask: Volume | None = None,
    inverse_transform: sitk.Transform | None = None,
    sampling_mm: float = FINEST_MM,
    nodes: DisplacementField | None = None,
) -> dict:
    """A report on a transform, ready for JSON; what was not given (points, labels) is left out.

    transform: fixed points to moving points, LPS mm. Points: two point sets, matched by label where labels
    tell, or two arrays (N, 3) in LPS mm, matched by row. fixed_labels and mask lie on the fixed image's grid;
    labels are whole numbers. Points, labels and similarity are also judged for the identity ("initial").
    Without a mask, similarity, Jacobian and inverse consistency count inside the body of the fixed image.
    inverse_transform: the tool's own inverse, for the inverse consistency error fixed -> moving -> fixed;
    without it the transform is inverted numerically.

    Similarity and Jacobian are sampled at every n-th fixed voxel, at most sampling_mm apart where the image
    is finer; see "sampling" in the report. nodes: the transform as a field on the grid it was made on, whose
    nodes show every fold: the Jacobian is read there instead, inside the body; see its "sampling_mm". Outside
    the moving image, the warped image is filled with its minimum. Raises InputError for input that does not
    fit.
    """
    _check(transform, fixed, mask, (fixed_points, moving_points), (fixed_labels, moving_labels))
    stride, sampled = _sampled(fixed, sampling_mm / magnification(fixed.grid))
    # Found once, and only where something is judged inside it.
    body = lru_cache(partial(Body, fixed))
    inside, region = _region(mask, body, stride, sampled.grid)
    field = displacement_on(transform, sampled.grid)
    length = np.linalg.norm(field, axis=-1)[inside]
    if nodes is None:
        jacobian = metrics.jacobian_statistics(jacobian_determinant(field, sampled.grid), inside)
    else:
        jacobian = metrics.jacobian_statistics(nodes.jacobian_determinant(), body().on(nodes.grid))
        jacobian["sampling_mm"] = list(nodes.grid.spacing)
    similarity = _similarity(transform, sampled, moving, inside)
    report = {
        "sampling": {
            "every_nth_voxel": stride,
            "spacing_mm": list(sampled.grid.spacing),
            "size": list(sampled.grid.size),
            "region": region,
            "voxels": int(inside.sum()),
        },
        "displacement": {"mean_mm": float(length.mean()), "max_mm": float(length.max())},
        "jacobian": jacobian,
        "similarity": similarity,
        "inverse_consistency": _inverse_consistency(transform, inverse_transform, sampled.grid, inside),
    }
    warnings = [*fixed.notes, *moving.notes]
    warnings += filter(None, [similarity_doubt(similarity), mirror_doubt(jacobian["share_not_positive"])])
    uncovered = 1 - in_field(transform, _scattered(sampled.grid, inside)).mean()
    if uncovered > 0:
        warnings.append(
            f"The transform's field leaves out {100 * uncovered:.1f} % of the region and moves nothing there."
        )
    report["warnings"] = warnings
    if fixed_points is not None and moving_points is not None:
        grids = (fixed.grid, moving.grid)
        report |= _judged_at_points(transform, fixed_points, moving_points, grids, warnings)
    if fixed_labels is not None and moving_labels is not None:
        report["dice"] = _dice(transform, fixed_labels, moving_labels)
    return report


def displacement_on(transform: sitk.Transform, grid: Grid) -> np.ndarray:
    """Displacements (z, y, x, 3) of a transform at a grid's voxel centres, float64, LPS mm."""
    with itk_calls("The transform cannot be evaluated on the fixed image's grid.", code="transform"):
        field = sitk.TransformToDisplacementField(
            transform, sitk.sitkVectorFloat64, grid.size, grid.origin, grid.spacing, grid.direction
        )
    return sitk.GetArrayFromImage(field)


def warp(
    volume: Volume, transform: sitk.Transform, grid: Grid, fill: float, interpolator: int = sitk.sitkLinear
) -> Volume:
    """The moving volume read at the transformed voxels of a fixed grid, in its own type; `fill` outside."""
    with itk_calls(f"The {volume.name} cannot be resampled through the transform.", code="transform"):
        image = sitk.Resample(
            to_sitk(volume),
            grid.size,
            transform,
            interpolator,
            grid.origin,
            grid.spacing,
            grid.direction,
            fill,
        )
    return Volume(sitk.GetArrayFromImage(image), grid, f"warped {volume.name}")


def _check(
    transform: sitk.Transform,
    fixed: Volume,
    mask: Volume | None,
    points: tuple[Points | None, Points | None],
    labels: tuple[Volume | None, Volume | None],
) -> None:
    if transform.GetDimension() != 3:
        raise InputError(
            f"The transform is {transform.GetDimension()}-D.", "Give a 3-D transform.", code="not-3d"
        )
    for (of_fixed, of_moving), what in ((points, "points"), (labels, "labels")):
        if (of_fixed is None) != (of_moving is None):
            raise InputError(
                f"Give the {what} of both images, fixed and moving, or of neither.", code="setting"
            )
    for volume, what in ((labels[0], "fixed labels"), (mask, "mask")):
        if volume is not None and not volume.grid.matches(fixed.grid, tolerance=0.01):
            raise InputError(
                f"The {what} must lie on the fixed image's grid.",
                "Resample them onto it.",
                code="grid-differs",
            )


def _sampled(fixed: Volume, sampling_mm: float) -> tuple[list[int], Volume]:
    """Every n-th voxel of the fixed image: at most `sampling_mm` apart where the image is finer, and at most
    200^3.
    """
    size, spacing = np.asarray(fixed.grid.size), np.asarray(fixed.grid.spacing)
    stride = np.maximum(1, np.floor(sampling_mm / spacing + 1e-6)).astype(int)
    while np.prod(np.ceil(size / stride)) > MOST_VOXELS:
        stride[np.argmin(stride * spacing)] += 1
    array = fixed.array[:: stride[2], :: stride[1], :: stride[0]]
    grid = Grid.of(array.shape[::-1], spacing * stride, fixed.grid.origin, fixed.grid.direction)
    return stride.tolist(), Volume(array, grid, fixed.name)


def _region(
    mask: Volume | None, body: Callable[[], Body], stride: list[int], grid: Grid
) -> tuple[np.ndarray, str]:
    """Where the transform is judged, bool on the sampled grid, and its name."""
    if mask is not None:
        inside = mask.array[:: stride[2], :: stride[1], :: stride[0]] > 0
        if not inside.any():
            raise InputError(
                "The mask is empty or thinner than the sampling.", "Give a larger mask.", code="mask"
            )
        return inside, "mask"
    return body().on(grid), "body"


def _similarity(transform: sitk.Transform, fixed: Volume, moving: Volume, inside: np.ndarray) -> dict:
    """Similarity of fixed and moving before and after, values below air taken as air."""
    fill = max(float(moving.array.min()), AIR_HU)
    moving = Volume(np.maximum(moving.array, fill).astype(np.float32), moving.grid, moving.name)
    reference = np.maximum(fixed.array, AIR_HU)
    return {
        name: metrics.similarity(reference, warp(moving, t, fixed.grid, fill).array, inside)
        for name, t in (("initial", IDENTITY), ("final", transform))
    }


def _scattered(grid: Grid, inside: np.ndarray) -> np.ndarray:
    """Up to 1000 voxel centres (N, 3) spread evenly over the region, the same at every call."""
    voxels = np.flatnonzero(inside)
    rng = np.random.default_rng(0)
    chosen = rng.choice(voxels, min(CONSISTENCY_POINTS, len(voxels)), replace=False)
    return grid.to_physical(np.stack(np.unravel_index(chosen, inside.shape), axis=-1)[:, ::-1])


def _inverse_consistency(transform, inverse_transform, grid: Grid, inside: np.ndarray) -> dict:
    """Residuals in mm of points propagated to the moving image and back."""
    points = _scattered(grid, inside)
    there = map_points(transform, points)
    if inverse_transform is None:
        back, method = inverse_points(transform, there)[0], "numerical inverse"
    else:
        back, method = map_points(inverse_transform, there), "given inverse"
    residual = np.linalg.norm(back - points, axis=1)
    return {
        "method": method,
        "n": len(points),
        "mean_mm": float(residual.mean()),
        "p95_mm": float(np.percentile(residual, 95)),
        "max_mm": float(residual.max()),
    }


def _match(fixed: Points, moving: Points) -> tuple[np.ndarray, np.ndarray, list[str], dict, list[str]]:
    """Corresponding fixed and moving points (N, 3), their labels, how they were matched, and what to warn of.

    See `match_labels`; arrays by order.
    """
    arrays = [np.asarray(p.points if isinstance(p, PointSet) else p, float) for p in (fixed, moving)]
    if not (isinstance(fixed, PointSet) and isinstance(moving, PointSet) and len(fixed) and len(moving)):
        if arrays[0].shape != arrays[1].shape:
            raise InputError(
                f"{len(arrays[0])} fixed and {counted(len(arrays[1]), 'moving point')} cannot be matched.",
                "Give corresponding points the same unique label.",
                code="labels",
            )
        numbered = [f"P{n + 1}" for n in range(len(arrays[0]))]
        labels = list(fixed.labels) if isinstance(fixed, PointSet) else numbered
        return arrays[0], arrays[1], labels, {"matched_by": "order", "n": len(labels)}, []
    matching = match_labels(fixed.given_labels, moving.given_labels)
    start, goal = (array[rows] for array, rows in zip(arrays, matching.columns(), strict=True))
    labels = [fixed.labels[row] for row, _ in matching.rows]
    about: dict[str, Any] = {"matched_by": matching.by, "n": len(labels)}
    if matching.by == "label":
        about |= {
            f"only_{role}": alone for role, alone in zip(("fixed", "moving"), matching.alone, strict=True)
        }
        about["repeated"] = list(matching.repeated)
    return start, goal, labels, about, matching.warnings()


def _judged_at_points(
    transform: sitk.Transform, fixed: Points, moving: Points, grids: tuple[Grid, Grid], warnings: list[str]
) -> dict:
    """The report's entries on corresponding points; what casts doubt on them is added to `warnings`.

    grids: of the fixed and of the moving image.
    """
    start, goal, labels, matching, left_out = _match(fixed, moving)
    warnings += left_out
    doubts = [
        outside_doubt(start, grids[0], "fixed"),
        outside_doubt(goal, grids[1], "moving"),
        same_points_doubt(start, goal) or direction_doubt(transform, start, goal),
    ]
    warnings += filter(None, doubts)
    return _points_report(start, map_points(transform, start), goal, labels) | {"points": matching}


def _points_report(start: np.ndarray, propagated: np.ndarray, goal: np.ndarray, labels: list[str]) -> dict:
    """Target registration error and centre point matching before and after, with each point's error."""
    initial, initial_summary = metrics.target_registration_error(start, goal)
    final, final_summary = metrics.target_registration_error(propagated, goal)
    each = [
        {"label": label, "initial_mm": float(before), "final_mm": float(after)}
        for label, before, after in zip(labels, initial, final, strict=True)
    ]
    matching = {
        name: {f"within_{mm:g}_mm": share for mm, share in metrics.centre_point_matching(p, goal).items()}
        for name, p in (("initial", start), ("final", propagated))
    }
    error = {"initial": initial_summary, "final": final_summary, "each": each}
    return {"target_registration_error": error, "centre_point_matching": matching}


def _dice(transform: sitk.Transform, fixed: Volume, moving: Volume) -> dict:
    """Dice of each label before and after, on the fixed labels' grid."""
    labels = fixed.array.astype(np.int32)
    return {
        name: metrics.dice(labels, _labels_on(t, moving, fixed.grid))
        for name, t in (("initial", IDENTITY), ("final", transform))
    }


def _labels_on(transform: sitk.Transform, labels: Volume, grid: Grid) -> np.ndarray:
    """Moving labels on the fixed grid, nearest neighbour, int32; 0 outside."""
    as_integers = Volume(labels.array.astype(np.int32), labels.grid, labels.name)
    return warp(as_integers, transform, grid, 0, sitk.sitkNearestNeighbor).array
