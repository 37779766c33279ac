"""A field mended where its reader says so: points that correspond become a term of the energy.

The present field is first bent smoothly to meet the points, then refined around them by the images and the
points together. Beyond `REACH_MM` of every point it stays what it was.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import SimpleITK as sitk
import torch
from scipy.spatial import cKDTree

from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume, apply_affine
from GLIDERegLib.core.settings import Level, Settings
from GLIDERegLib.registration.direction import Direction
from GLIDERegLib.registration.features.local_features import LocalFeatures
from GLIDERegLib.registration.field import DisplacementField
from GLIDERegLib.registration.folding import without_folds
from GLIDERegLib.registration.instance_optimisation import optimise
from GLIDERegLib.registration.joint_energy import PointTerm
from GLIDERegLib.registration.prealign import to_affine
from GLIDERegLib.registration.progress import Stages
from GLIDERegLib.registration.result import Outcome, with_initial
from GLIDERegLib.registration.working_grid import Prepared, prepare_pair, working_spacing

# A choice: the last two levels of `default` with about half of the iterations: what is left is small.
LEVELS = (Level(4, 2, 40), Level(2, 1, 48))
# Measured on the own phantom (voxels of 4 mm), bent away by 5 mm at three points: landmarks within 30 mm of
# them are off by 2.08 mm before, by 0.85, 0.78 and 0.77 after, at a reach of 30, 60 and 90 mm (1.05 without
# the bend). More reach changes more of what nobody complained of.
REACH_MM = 60.0
# How far a point may stay from where it was put: about what a reader's hand leaves open.
TOLERANCE_MM = 0.5
# Width of the smooth bend towards a point; at least this many times its length, so that it cannot fold.
LEAST_WIDTH_MM, WIDTH_PER_LENGTH = 15.0, 1.5
# A point counts like the images' disagreement by one within a ball of this radius, for each mm^2. On the same
# phantom points are left off by 0.43, 0.39, 0.25, 0.22 and 0.20 mm at 2.5, 5, 10, 20 and 40 mm, and landmarks
# around them by 0.76 to 0.79 at all: the weight trades a reader's hand against the images.
BALL_MM = 10.0
# Distance of the points that the linear part is fitted to: there, 16 mm differ from 8 by 0.006 mm.
FIT_MM = 16.0


def correct_pair(
    fixed: Volume,
    moving: Volume,
    present: sitk.Transform,
    nodes: Grid | None,
    fixed_points: np.ndarray,
    moving_points: np.ndarray,
    settings: Settings,
    stages: Stages,
    device: torch.device,
) -> Outcome:
    """Refines `present` (fixed to moving points, LPS mm) so that fixed points (N, 3) go to moving points.

    nodes: where `present` is stored, if it is a displacement field; kept where it suits, so that what is not
    corrected stays exactly what it was.
    Local features only, without intensities. Raises InputError for points outside the fixed image or that
    contradict each other, Cancelled.
    """
    _check(fixed, fixed_points, moving_points)
    settings = replace(settings, levels=LEVELS)
    with stages.stage("working grid"):
        spacing = working_spacing(fixed.grid, settings.spacing, settings.finest_spacing, settings.most_voxels)
        initial, inverse = _linear_fit(present, fixed.grid)
        grid = _suitable(nodes, fixed.grid, spacing * LEVELS[-1].node_spacing)
        # Everything below is a residual: what happens before the linear part.
        field = DisplacementField.of_transform(present, grid)
        field.vectors = (apply_affine(inverse, grid.points() + field.vectors) - grid.points()).astype(
            np.float32
        )
        target = apply_affine(inverse, moving_points)
        field.vectors = field.vectors + _bend(field, fixed_points, target, 0.0)
        multiple = LEVELS[0].node_spacing
        margin = float(np.abs(target - fixed_points).max()) + 2 * LEAST_WIDTH_MM
        images = prepare_pair(_around(fixed, fixed_points), moving, initial, spacing, margin, multiple)
    with stages.stage("local features"):
        of_fixed, of_moving = (
            LocalFeatures.of_image(image, settings, device, number == 0)
            for number, image in enumerate(images)
        )
    pair = Direction(*images, (of_fixed, of_moving), None, (0, 1), spacing)
    with stages.stage("refinement"):
        refined = optimise(
            pair,
            settings,
            stages,
            _on_cells(field, images[0], multiple).to(device),
            multiple,
            points=_term(images[0], fixed_points, target),
        )
    with stages.stage("result"):
        share = _nearness(grid, fixed_points)
        near = share > 0
        points = grid.points()[near]
        change = share[near][:, None] * (refined.at(points) - field.vectors[near])
        field.vectors[near] += change.astype(np.float32)
        # Between nodes a bend is not quite what it is at the points.
        for _ in range(3):
            field.vectors = field.vectors + _bend(field, fixed_points, target, TOLERANCE_MM)
        field.vectors = without_folds(field.vectors, grid)
        complete = with_initial(field.faded(), initial)
    return Outcome(complete, initial, spacing, [], stages.ending)


def _check(fixed: Volume, fixed_points: np.ndarray, moving_points: np.ndarray) -> None:
    if len(fixed_points) == 0 or len(fixed_points) != len(moving_points):
        raise InputError(
            f"There are {len(fixed_points)} fixed and {counted(len(moving_points), 'moving point')}.",
            "Give as many fixed as moving points, and at least one.",
            code="points",
        )
    outside = np.flatnonzero(~fixed.grid.contains(fixed_points))
    if len(outside):
        raise InputError(
            f"Point {outside[0] + 1} lies outside the fixed image.",
            "Place it on the anatomy or remove it.",
            code="points",
        )
    for a, b in cKDTree(fixed_points).query_pairs(LEAST_WIDTH_MM / 3):
        apart = np.linalg.norm(fixed_points[a] - fixed_points[b])
        stretch = np.linalg.norm((moving_points[a] - fixed_points[a]) - (moving_points[b] - fixed_points[b]))
        if stretch >= apart:
            raise InputError(
                f"Points {a + 1} and {b + 1} contradict each other: they are {apart:.1f} mm apart and their "
                f"motions differ by {stretch:.1f} mm.",
                "Remove one of them.",
                code="points",
            )


def _suitable(nodes: Grid | None, fixed: Grid, spacing: float) -> Grid:
    """The nodes of the present field where they are cubes, fine enough, and all over the fixed image; else
    new ones.
    """
    if nodes is not None:
        cubes = np.ptp(nodes.spacing) < 1e-3 * spacing
        if cubes and nodes.spacing[0] < 1.01 * spacing and nodes.contains(fixed.corners()).all():
            return nodes
    return fixed.upright().resized((spacing,) * 3, (1,) * 3, (1,) * 3)


def _linear_fit(transform: sitk.Transform, grid: Grid) -> tuple[sitk.Transform, np.ndarray]:
    """The affine transform closest to `transform` over a grid's box, and its inverse as a 4 x 4 matrix."""
    coarse = grid.resized((FIT_MM,) * 3)
    points = coarse.points().reshape(-1, 3)
    mapped = points + DisplacementField.of_transform(transform, coarse).vectors.reshape(-1, 3)
    one = np.column_stack([points, np.ones(len(points))])
    solution = np.linalg.lstsq(one, mapped, rcond=None)[0]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = solution[:3].T, solution[3]
    return to_affine(matrix[:3, :3], matrix[:3, 3]), np.linalg.inv(matrix)


def _bend(field: DisplacementField, points: np.ndarray, target: np.ndarray, tolerance: float) -> np.ndarray:
    """What to add to the field's vectors so that points are within `tolerance` (mm) of their targets:
    Gaussians about the points, with weights that make the sum exact at each of them.
    """
    missing = target - field.transform_points(points)
    length = np.linalg.norm(missing, axis=1)
    if length.max() <= tolerance:
        return np.zeros_like(field.vectors)
    missing *= np.clip(1 - tolerance / np.maximum(length, 1e-9), 0, None)[:, None]
    width = max(LEAST_WIDTH_MM, WIDTH_PER_LENGTH * float(length.max()))

    def gaussians(at: np.ndarray) -> np.ndarray:
        squares = ((at[..., None, :] - points) ** 2).sum(axis=-1)
        return np.exp(-0.5 * squares / width**2)

    weights = np.linalg.lstsq(gaussians(points), missing, rcond=1e-6)[0]
    added = np.zeros_like(field.vectors)
    nodes = field.grid.points()
    for number, plane in enumerate(nodes):
        added[number] = gaussians(plane) @ weights
    return added


def _around(volume: Volume, points: np.ndarray) -> Volume:
    """The part of an image within `REACH_MM` of the points, along its axes."""
    index = volume.grid.to_index(points)
    reach = REACH_MM / np.asarray(volume.grid.spacing)
    low = np.clip(np.floor(index.min(axis=0) - reach), 0, None).astype(int)
    high = np.minimum(np.ceil(index.max(axis=0) + reach).astype(int) + 1, volume.grid.size)
    x, y, z = (slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    grid = replace(
        volume.grid,
        size=tuple((high - low).tolist()),
        origin=tuple(volume.grid.to_physical(low).tolist()),
    )
    return Volume(volume.array[z, y, x], grid, volume.name)


def _on_cells(field: DisplacementField, image: Prepared, factor: int) -> torch.Tensor:
    """A field (mm) as displacements (3, Z, Y, X) in working voxels at blocks of `factor` voxels."""
    voxel = image.grid.spacing[0]
    blocks = image.grid.resized((voxel * factor,) * 3)
    first = image.grid.to_physical(np.full(3, (factor - 1) / 2))
    blocks = replace(blocks, origin=tuple(first.tolist()))
    vectors = field.at(blocks.points()) @ image.grid.axes / voxel
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(vectors, -1, 0), dtype=np.float32))


def _term(image: Prepared, points: np.ndarray, target: np.ndarray) -> PointTerm:
    """The points in working voxels; `BALL_MM` says what share of the image each weighs."""
    voxel = image.grid.spacing[0]
    ball = 4 / 3 * np.pi * (BALL_MM / voxel) ** 3
    weight = ball * voxel**2 / max(float(image.weight.sum()), ball)
    return PointTerm(image.grid.to_index(points), (target - points) @ image.grid.axes / voxel, weight)


def _nearness(grid: Grid, points: np.ndarray) -> np.ndarray:
    """(z, y, x): 1 near a point, falling smoothly to 0 at `REACH_MM` from all of them."""
    nodes = grid.points().reshape(-1, 3)
    distance = cKDTree(points).query(nodes, distance_upper_bound=REACH_MM)[0].reshape(grid.shape)
    ramp = np.clip(2 - 2 * distance / REACH_MM, 0, 1)
    return (ramp**2 * (3 - 2 * ramp)).astype(np.float32)
