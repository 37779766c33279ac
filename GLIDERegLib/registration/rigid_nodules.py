"""Growth-safe registration: nodules neither steer the similarity nor change their size in the field.

Where a nodule grew, a field that makes both scans alike stretches it, and hides the growth. So its voxels
count as not measured, and afterwards the field is made rigid there: the rigid motion that is closest to the
field around the nodule, mixed with the field over a shell (the aim of Staring's rigidity penalty, Med Phys
34:4098, 2007, reached by projection).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from GLIDERegLib.core.ct import AIR_HU
from GLIDERegLib.core.geometry import Volume
from GLIDERegLib.registration.field import DisplacementField, jacobian_determinant
from GLIDERegLib.registration.nodule_place import placed

# Descriptors see an edge from there.
HIDDEN_MARGIN_MM = 1.5
# The motion of a nodule is that of the tissue about it, up to this far from its boundary.
AROUND_MM = 5.0
# Shells over which the field becomes rigid; the next where the field would be compressed too much.
SHELLS_MM = (4.0, 6.0, 9.0, 14.0, 21.0)
# Of the nodes: the field is linear between them, so that a nodule needs some in and about it.
NODES_MM, MOST = 2.0, 3
LEAST_DETERMINANT = 0.2
ITERATIONS = 60


# Rotation (3, 3) and shift (3,).
Motion = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Ball:
    """What holds one nodule: center (3,) LPS mm, radius_mm."""

    center: np.ndarray
    radius_mm: float


def hidden(volume: Volume, nodules: list[Volume]) -> Volume:
    """The CT with the nodules' voxels, and a margin, marked as not measured.

    nodules: masks (z, y, x), each on a box of the volume's own voxels.
    """
    if not nodules:
        return volume
    array = volume.array.astype(np.promote_types(volume.array.dtype, np.int16))
    margin = np.ceil(HIDDEN_MARGIN_MM / np.asarray(volume.grid.spacing)[::-1]).astype(int)
    for nodule in nodules:
        first = np.rint(volume.grid.to_index(nodule.grid.origin)[::-1]).astype(int) - margin
        mask = np.pad(nodule.array > 0, [(n, n) for n in margin])
        mask = ndimage.distance_transform_edt(~mask, volume.grid.spacing[::-1]) <= HIDDEN_MARGIN_MM
        inside = [
            slice(max(-f, 0), min(n, s - f)) for f, n, s in zip(first, mask.shape, array.shape, strict=True)
        ]
        box = tuple(slice(f + part.start, f + part.stop) for f, part in zip(first, inside, strict=True))
        array[box][mask[tuple(inside)]] = 2 * AIR_HU
    return Volume(array, volume.grid, volume.name)


def kept_rigid(
    field: DisplacementField,
    fixed: list[Ball],
    moving: list[Ball],
    scans: tuple[Volume, Volume] | None = None,
) -> DisplacementField:
    """The field, rigid within balls of the fixed image and where it meets balls of the moving image.

    scans: both in HU, by which each nodule is placed; see `placed`.
    """
    balls = fixed + [Ball(_source(field, ball.center), ball.radius_mm) for ball in moving]
    regions = _together([ball for ball in balls if field.grid.contains(ball.center)])
    if not regions:
        return field
    field = field.subdivided(NODES_MM, MOST)
    motions = [_motion(field, region, scans) for region in regions]
    for shell in SHELLS_MM:
        vectors = _mixed(field, regions, motions, shell)
        changed = np.any(vectors != field.vectors, axis=-1)
        if not changed.any() or jacobian_determinant(vectors, field.grid)[changed].min() > LEAST_DETERMINANT:
            break
    return DisplacementField(vectors, field.grid, field.background, field.residual_mm)


def _source(field: DisplacementField, point: np.ndarray) -> np.ndarray:
    """The fixed point (3,) that the field takes to a moving one."""
    linear = np.linalg.inv(field.background)[:3, :3]
    at = np.asarray(point, float) - field.background[:3, 3]
    for _ in range(ITERATIONS):
        missing = linear @ (point - field.transform_points(at[None])[0])
        at = at + missing
        if np.linalg.norm(missing) < 1e-3:
            break
    return at


def _together(balls: list[Ball]) -> list[list[Ball]]:
    """Balls that overlap move as one: a nodule at both dates, or neighbours."""
    regions: list[list[Ball]] = []
    for ball in balls:
        near = [
            region
            for region in regions
            if any(np.linalg.norm(ball.center - b.center) < ball.radius_mm + b.radius_mm for b in region)
        ]
        regions = [region for region in regions if not any(region is other for other in near)]
        regions.append([ball] + [b for region in near for b in region])
    return regions


def _motion(field: DisplacementField, region: list[Ball], scans: tuple[Volume, Volume] | None) -> Motion:
    """The rigid motion of a region: that of the field in and about it, placed by the scans."""
    box = _box(field, region, AROUND_MM)
    points = field.grid.points()[box]
    near = _away(points, region) < AROUND_MM
    rotation, shift = _rigid(points[near], field.vectors[box][near])
    if scans is not None:
        centers, radii = np.stack([b.center for b in region]), np.array([b.radius_mm for b in region])
        shift = placed(scans, centers, radii, rotation, shift)
    return rotation, shift


def _away(points: np.ndarray, region: list[Ball]) -> np.ndarray:
    """Distance in mm of points from a region's balls, negative in them."""
    return np.min([np.linalg.norm(points - b.center, axis=-1) - b.radius_mm for b in region], axis=0)


def _mixed(
    field: DisplacementField, regions: list[list[Ball]], motions: list[Motion], shell_mm: float
) -> np.ndarray:
    """Vectors of the field with each region's rigid motion, wholly within it, not at all beyond its shell."""
    spacing = float(max(field.grid.spacing))
    total = np.ones((*field.grid.shape, 1), np.float32)
    vectors = field.vectors.astype(np.float32).copy()
    for region, (rotation, shift) in zip(regions, motions, strict=True):
        box = _box(field, region, shell_mm + 2 * spacing)
        points = field.grid.points()[box]
        away = _away(points, region)
        # Between nodes the field is linear: those about the region must be rigid, too.
        ramp = np.clip(1 - (away - spacing) / shell_mm, 0, 1)
        share = ramp**2 * (3 - 2 * ramp)
        weight = (share / np.maximum(1 - share, 1e-6))[..., None]
        vectors[box] += weight * (points @ rotation.T + shift - points)
        total[box] += weight
    return (vectors / total).astype(np.float32)


def _box(field: DisplacementField, region: list[Ball], margin_mm: float) -> tuple[slice, ...]:
    reach = np.array([[(b.radius_mm + margin_mm)] for b in region]) / np.asarray(field.grid.spacing)
    index = field.grid.to_index(np.stack([b.center for b in region]))
    low = np.maximum(np.floor((index - reach).min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil((index + reach).max(axis=0)).astype(int) + 1, field.grid.size)
    return tuple(slice(int(a), int(b)) for a, b in zip(low[::-1], high[::-1], strict=True))


def _rigid(points: np.ndarray, displacements: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (3, 3) and shift (3,) closest to points (N, 3) + displacements (Kabsch 1976)."""
    moved = points + displacements
    middle, moved_middle = points.mean(axis=0), moved.mean(axis=0)
    u, _, vt = np.linalg.svd((moved - moved_middle).T @ (points - middle))
    rotation = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    return rotation, moved_middle - rotation @ middle
