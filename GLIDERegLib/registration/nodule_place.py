"""Where a nodule lies exactly: the shift by which both scans agree best around it, whatever its size in each.

A nodule does not steer the registration, so that the tissue about it alone tells where it went. Here the
rigid motion is shifted, and only shifted, until what is seen of the nodule and of that tissue agrees: a
nodule that grew keeps its middle, and no shift can hide its growth.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from GLIDERegLib.core.geometry import Volume

# Distance of samples, the largest shift along an axis, and what is compared around a nodule; choices.
STEP_MM, REACH_MM, AROUND_MM = 1.0, 4.0, 4.0
# Lung to soft tissue; bone and metal beside a nodule must not outweigh it.
RANGE_HU = (-1000.0, 200.0)
# Less agreement than that is no sight of the same place.
LEAST_CORRELATION = 0.5


def placed(
    scans: tuple[Volume, Volume],
    centers: np.ndarray,
    radii: np.ndarray,
    rotation: np.ndarray,
    shift: np.ndarray,
) -> np.ndarray:
    """The shift (3,) of a rigid motion, moved by at most REACH_MM to where both scans agree best.

    scans: fixed and moving, in HU. centers (N, 3), radii (N,): the balls that hold the nodule in the fixed
    scan, LPS mm. rotation (3, 3), shift: fixed to moving points. Unchanged where nothing tells a better one.
    """
    margin = (radii + AROUND_MM)[:, None]
    low, high = (centers - margin).min(axis=0), (centers + margin).max(axis=0)
    reach = int(REACH_MM / STEP_MM)
    axes = [np.arange(a, b + STEP_MM, STEP_MM) for a, b in zip(low, high, strict=True)]
    wider = [np.arange(-reach, len(axis) + reach) * STEP_MM + axis[0] for axis in axes]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    apart = np.linalg.norm(points[..., None, :] - centers, axis=-1) - radii
    weight = (apart.min(axis=-1) <= AROUND_MM).astype(np.float32)
    fixed = _seen(scans[0], points)
    moving = _seen(scans[1], np.stack(np.meshgrid(*wider, indexing="ij"), axis=-1) @ rotation.T + shift)
    number = 2 * reach + 1
    found = np.empty((number,) * 3)
    for at in np.ndindex(found.shape):
        window = tuple(slice(n, n + length) for n, length in zip(at, fixed.shape, strict=True))
        found[at] = _correlation(fixed, moving[window], weight)
    best = np.unravel_index(np.argmax(found), found.shape)
    if found[best] < LEAST_CORRELATION or not all(0 < n < number - 1 for n in best):
        return shift
    offset = np.array([n - reach + _between(found, best, axis) for axis, n in enumerate(best)])
    return shift + rotation @ (offset * STEP_MM)


def _seen(scan: Volume, points: np.ndarray) -> np.ndarray:
    index = scan.grid.to_index(points.reshape(-1, 3))[:, ::-1].T
    values = ndimage.map_coordinates(scan.array, index, output=np.float32, order=1, mode="nearest")
    return np.clip(values, *RANGE_HU).reshape(points.shape[:-1])


def _correlation(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> float:
    total = weight.sum()
    a = a - (a * weight).sum() / total
    b = b - (b * weight).sum() / total
    power = (weight * a * a).sum() * (weight * b * b).sum()
    return float((weight * a * b).sum() / np.sqrt(power)) if power > 0 else 0.0


def _between(found: np.ndarray, best: tuple, axis: int) -> float:
    """The summit of the parabola through three neighbours, in steps from the middle one."""
    before, middle, after = (
        found[tuple(n + by * (m == axis) for m, n in enumerate(best))] for by in (-1, 0, 1)
    )
    bend = before - 2 * middle + after
    return float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5)) if bend < 0 else 0.0
