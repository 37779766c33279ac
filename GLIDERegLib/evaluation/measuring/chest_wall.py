"""Where the chest wall ends beside a nodule that lies on it and has its density."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

# Between aerated lung and soft tissue, half way.
TISSUE_HU = -420.0
SOFT_TISSUE_HU = 30.0
# What a ball of this radius fits into is wall, diaphragm or mediastinum; it fits into no nodule of 20 mm.
BALL_MM = 12.0
COARSE_MM = 1.0
# The lung is the aerated region with most voxels this close to the click.
CLOSE_MM = 12.0
# The surface beside the nodule is continued under it by a polynomial of second degree.
AROUND_MM, UNDER_MM = 20.0, 15.0
BEYOND_MM, LUNG_RANGE_HU = 2.5, 100.0
LEAST_POINTS, LARGEST_MISFIT_MM = 60, 1.0
ROUNDS = 4
# So high the ball rolls into a nodule of 20 mm from the wall beneath. What is higher, and reaches farther
# aside than any nodule, is another wall.
CAP_MM = 6.0
# How far around the click the fit is held against what is seen, and what is no part of the surface.
ERROR_WITHIN_MM, LARGEST_ERROR_MM = 12.0, 3.0
# Cosine of the largest angle between the surface as seen and as fitted.
ALIKE = 0.93


@dataclass(frozen=True)
class ChestWall:
    """distance: mm (z, y, x, fine) from the wall's surface, negative in it; infinite without one. error_mm:
    how far, by standard deviation, the surface around the click lies off the one that is continued under it,
    fitted: where (z, y, x) the distance is from that one; both None where none was. second: distance from
    another wall that rises from the first, None without one.
    """

    distance: np.ndarray
    error_mm: float | None = None
    fitted: np.ndarray | None = None
    second: np.ndarray | None = None

    def part(self, box: tuple[slice, ...]) -> ChestWall:
        """That of a part of the patch."""
        fitted, second = (None if part is None else part[box] for part in (self.fitted, self.second))
        return replace(self, distance=self.distance[box], fitted=fitted, second=second)


def chest_wall(smooth: np.ndarray, fine_mm: np.ndarray, seed: tuple[int, ...], lung_hu: float) -> ChestWall:
    """The wall near a click (seed: its fine index), as the lightly smoothed patch shows it."""
    rolled = _rolled(smooth, fine_mm, seed)
    if not np.isfinite(rolled).all():
        return ChestWall(rolled)
    return _continued(rolled, smooth, fine_mm, seed, lung_hu)


def _rolled(smooth: np.ndarray, fine_mm: np.ndarray, seed: tuple[int, ...]) -> np.ndarray:
    """Distance from what a ball rolls in outside the lung.

    The air beyond a thin wall, or the other lung, counts as outside.
    """
    every = np.maximum(np.rint(COARSE_MM / fine_mm).astype(int), 1)
    coarse = smooth[:: every[0], :: every[1], :: every[2]]
    edges = every * fine_mm
    # What lies outside the patch goes on as at its faces, or no ball would fit into a wall near them.
    margin = np.ceil(2 * BALL_MM / edges).astype(int)
    labels, _ = ndimage.label(coarse <= TISSUE_HU)
    near = tuple(
        slice(max(int(s // e - CLOSE_MM / h), 0), int(s // e + CLOSE_MM / h) + 1)
        for s, e, h in zip(seed, every, edges, strict=True)
    )
    found = np.bincount(labels[near].ravel())[1:]
    lung = labels == 1 + np.argmax(found) if found.any() else labels > 0
    tissue = np.pad(~lung, [(n, n) for n in margin], mode="edge")
    inner = ndimage.distance_transform_edt(tissue, edges) > BALL_MM
    if not inner.any():
        return np.full(smooth.shape, np.inf, np.float32)
    reach = ndimage.distance_transform_edt(~inner, edges) - BALL_MM
    reach = reach[tuple(slice(n, length - n) for n, length in zip(margin, reach.shape, strict=True))]
    along = np.meshgrid(
        *[np.arange(n) / e for n, e in zip(smooth.shape, every, strict=True)], indexing="ij", sparse=True
    )
    index = np.stack(np.broadcast_arrays(*along))
    return ndimage.map_coordinates(reach.astype(np.float32), index, order=1, mode="nearest")


def _continued(
    rolled: np.ndarray, smooth: np.ndarray, fine_mm: np.ndarray, seed: tuple[int, ...], lung_hu: float
) -> ChestWall:
    """The same, with the surface that is seen around the click continued under it."""
    tissue = smooth > TISSUE_HU
    rim = tissue & ~ndimage.binary_erosion(tissue, border_value=1) & (np.abs(rolled) < 2.0)
    places = np.argwhere(rim)
    points = (places - seed) * fine_mm
    near = np.linalg.norm(points, axis=1) < AROUND_MM
    places, points = places[near], points[near]
    if len(points) < LEAST_POINTS:
        return ChestWall(rolled)
    slopes = np.stack([_slope(smooth, places, axis) / fine_mm[axis] for axis in range(3)], axis=1)
    steep = np.maximum(np.linalg.norm(slopes, axis=1), 1.0)
    outward = -slopes / steep[:, None]
    # Where the nodule itself, ground glass or not, lies on the wall, no lung shows where that ends.
    beyond = places + outward * BEYOND_MM / fine_mm
    in_lung = ndimage.map_coordinates(smooth, beyond.T, order=1, mode="nearest") < lung_hu + LUNG_RANGE_HU
    points, places, steep, outward = points[in_lung], places[in_lung], steep[in_lung], outward[in_lung]
    if len(points) < LEAST_POINTS:
        return ChestWall(rolled)
    # From the voxel's centre to where half of the step from lung to tissue is crossed.
    half = (lung_hu + SOFT_TISSUE_HU) / 2
    points = points + outward * np.clip((smooth[tuple(places.T)] - half) / steep, -0.5, 1.0)[:, None]
    normal = np.median(outward, axis=0)
    if np.linalg.norm(normal) < 0.3:
        return ChestWall(rolled)
    normal /= np.linalg.norm(normal)
    first = np.cross(normal, np.eye(3)[np.argmin(np.abs(normal))])
    first /= np.linalg.norm(first)
    frame = np.stack([first, np.cross(normal, first), normal])
    u, v, height = frame @ points.T
    kept = outward @ normal > 0.5
    for _ in range(ROUNDS):
        if kept.sum() < LEAST_POINTS:
            return ChestWall(rolled)
        terms = _terms(u, v)
        factors = np.linalg.lstsq(terms[kept], height[kept], rcond=None)[0]
        misfit = height - terms @ factors
        spread = 1.4826 * np.median(np.abs(misfit[kept]))
        # The flank of the nodule rises from the wall: near it, yet turned another way.
        _, a, b, aa, ab, bb = factors
        facing = np.stack([-(a + 2 * aa * u + ab * v), -(b + ab * u + 2 * bb * v), np.ones_like(u)])
        facing /= np.linalg.norm(facing, axis=0)
        alike = np.sum((frame @ outward.T) * facing, axis=0) > ALIKE
        kept = (np.abs(misfit) < max(2.5 * spread, 0.3)) & alike
    around = alike & (u**2 + v**2 < ERROR_WITHIN_MM**2) & (np.abs(misfit) < LARGEST_ERROR_MM)
    error = float(np.sqrt(np.mean(misfit[around] ** 2))) if around.any() else LARGEST_ERROR_MM
    if spread > LARGEST_MISFIT_MM:
        return ChestWall(rolled)
    z, y, x = np.meshgrid(
        *[(np.arange(n) - s) * h for n, s, h in zip(smooth.shape, seed, fine_mm, strict=True)],
        indexing="ij",
        sparse=True,
    )
    u, v, height = (row[0] * z + row[1] * y + row[2] * x for row in frame)
    under = u**2 + v**2 < UNDER_MM**2
    above = height - sum(f * t for f, t in zip(factors, (1, u, v, u * u, u * v, v * v), strict=True))
    fitted = under & (np.abs(above) < UNDER_MM)
    one = np.where(fitted, above, rolled)
    second = _second(rolled, one, u**2 + v**2 > (UNDER_MM - 1) ** 2, fine_mm)
    distance = one if second is None else np.minimum(one, second)
    return ChestWall(distance.astype(np.float32), error, fitted, second)


def _second(
    rolled: np.ndarray, above: np.ndarray, aside: np.ndarray, fine_mm: np.ndarray
) -> np.ndarray | None:
    """Distance from another wall that rises from the one whose surface was continued, as where diaphragm,
    mediastinum and chest wall meet; None without one. above: distance from the first. aside: what lies no
    longer under the nodule.
    """
    labels, _ = ndimage.label((rolled < 0) & (above > 0))
    high = np.setdiff1d(labels[aside & (above > CAP_MM)], [0])
    if not len(high):
        return None
    other = np.isin(labels, high)
    outside = ndimage.distance_transform_edt(~other, fine_mm)
    return np.where(other, -ndimage.distance_transform_edt(other, fine_mm), outside)


def _terms(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=1)


def _slope(image: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
    """Central difference per voxel along an axis at some voxels."""
    after, before = places.copy(), places.copy()
    after[:, axis] = np.minimum(after[:, axis] + 1, image.shape[axis] - 1)
    before[:, axis] = np.maximum(before[:, axis] - 1, 0)
    apart = np.maximum(after[:, axis] - before[:, axis], 1)
    return (image[tuple(after.T)] - image[tuple(before.T)]) / apart
