"""A match to a fraction of a voxel: the affine map of a patch that makes it most alike.

Inverse compositional Gauss-Newton steps (Baker and Matthews, IJCV 56:221, 2004) on a patch under a Gaussian
window, whose brightness and contrast are free, as digital volume correlation takes them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from GLIDERegLib.evaluation.landmarks.correlation import BATCH, LEAST_CONTRAST_HU, THREADS, Picture, lattice

# Newton steps of a patch; a choice: they are bounded below, so that more of them cannot lose it.
STEPS = 12
# Of a patch's change of shape, beside what its grey values say of it: one with little in it bends little.
STIFFNESS = 0.05
# Of one step's translation, in steps of the patch's samples, and of its bend: farther a patch would be lost.
MOST_SHIFT, MOST_BEND = 1.0, 0.25


@dataclass(frozen=True)
class Refined:
    """matched (N, 3), LPS mm; shapes (N, 3, 3); alike: correlation under the window (N); unsure: standard
    deviation of the match where it is known least (N), mm, as the patches' difference lets expect it.
    """

    matched: np.ndarray
    shapes: np.ndarray
    alike: np.ndarray
    unsure: np.ndarray


def refine(
    here: Picture,
    there: Picture,
    points: np.ndarray,
    matched: np.ndarray,
    shapes: np.ndarray,
    half: int,
    step_mm: float,
) -> Refined:
    """Matches (N, 3) of points (N, 3) of `here` in `there`, LPS mm, and the local maps (N, 3, 3), improved.

    half: of the patch's width, in steps of `step_mm`; the window's standard deviation is half of that.
    """
    offsets = lattice(half, step_mm).reshape(-1, 3)
    window = np.exp(-0.5 * (offsets**2).sum(axis=1) / (0.5 * half * step_mm) ** 2)
    window /= window.sum()

    def batch(start: int) -> tuple[np.ndarray, ...]:
        part = slice(start, start + BATCH)
        return _refined(here, there, points[part], matched[part], shapes[part], offsets, window, step_mm)

    with ThreadPoolExecutor(THREADS) as pool:
        parts = list(pool.map(batch, range(0, len(points), BATCH)))
    if not parts:
        return Refined(matched, shapes, np.zeros(0), np.zeros(0))
    return Refined(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _refined(here, there, points, matched, shapes, offsets, window, step_mm: float):
    radius = float(offsets.max())
    patch, scale = _normalised(here.read(points[:, None] + offsets), window)
    slopes = _slopes(here, points[:, None] + offsets) / scale[..., None]
    # Translation first, then the shape by rows: x' = x + t + B x, x in radii.
    jacobian = np.concatenate(
        [slopes, (slopes[..., :, None] * (offsets / radius)[None, :, None, :]).reshape(*patch.shape, 9)], -1
    )
    # What brightness and contrast explain tells nothing of the place.
    jacobian -= np.einsum("s,nsp->np", window, jacobian)[:, None]
    jacobian -= np.einsum("s,ns,nsp->np", window, patch, jacobian)[:, None] * patch[..., None]
    weighted = jacobian * window[:, None]
    normal = np.einsum("nsp,nsq->npq", weighted, jacobian)
    size = np.trace(normal[:, :3, :3], axis1=1, axis2=2) / 3 + 1e-12
    normal += (np.diag([1e-4] * 3 + [STIFFNESS] * 9)[None] * size[:, None, None]).astype(normal.dtype)

    def seen_there() -> np.ndarray:
        at = matched[:, None] + np.einsum("nij,sj->nsi", shapes, offsets)
        return _normalised(there.read(at), window)[0]

    for _ in range(STEPS):
        seen = seen_there()
        change = np.linalg.solve(normal, np.einsum("nsp,ns->np", weighted, seen - patch)[..., None])[..., 0]
        change[:, :3] = np.clip(change[:, :3], -MOST_SHIFT * step_mm, MOST_SHIFT * step_mm)
        change[:, 3:] = np.clip(change[:, 3:], -MOST_BEND * radius, MOST_BEND * radius)
        # The patch would have to move by `change`; the match moves the other way.
        bend = np.linalg.inv(np.eye(3) + change[:, 3:].reshape(-1, 3, 3) / radius)
        shapes = shapes @ bend
        matched = matched - np.einsum("nij,nj->ni", shapes, change[:, :3])
    seen = seen_there()
    alike = np.einsum("s,ns,ns->n", window, seen, patch)
    left = np.einsum("s,ns->n", window, (seen - patch) ** 2)
    worst = np.linalg.eigvalsh(np.linalg.inv(normal)[:, :3, :3])[:, -1]
    return matched, shapes, alike, np.sqrt(np.maximum(left * worst, 0) * (window**2).sum())


def _normalised(values: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Patches (N, S) of mean 0 and standard deviation 1 under the window, and that deviation (N, 1)."""
    values = values - (values * window).sum(axis=1, keepdims=True)
    scale = np.maximum(np.sqrt((values**2 * window).sum(axis=1, keepdims=True)), LEAST_CONTRAST_HU)
    return values / scale, scale


def _slopes(picture: Picture, at: np.ndarray) -> np.ndarray:
    """Central differences (N, S, 3) per mm at points (N, S, 3)."""
    reach = picture.grid.spacing[0]
    return np.stack(
        [(picture.read(at + e) - picture.read(at - e)) / (2 * reach) for e in np.eye(3) * reach], axis=-1
    )
