"""Where to look for a keypoint's match: a rough estimate of its own, that knows no transform under test.

An affine alignment, then correlation of large patches in a wide search, coarse to fine. Of several peaks that
one counts that agrees with the neighbours' (relaxation labelling, Rosenfeld, Hummel and Zucker, IEEE Trans
SMC 6:420, 1976); between the points the estimate is a local affine map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial import cKDTree

from GLIDERegLib.core.geometry import Volume
from GLIDERegLib.evaluation.landmarks.correlation import Picture, Progress, search
from GLIDERegLib.evaluation.landmarks.keypoints import HIGHEST_HU, LOWEST_HU
from GLIDERegLib.evaluation.lungs import resampled, upright
from GLIDERegLib.registration.prealign import linear_parts, prealign

# Step (mm), half a patch and reach of the search in steps, peaks that are kept: 44 mm wide patches 48 mm
# around the affine start, which the deepest breath on record leaves behind (43 mm on COPD pairs), then finer.
STAGES = ((4.0, 5, 12, 6), (2.5, 6, 6, 3), (2.0, 6, 5, 3))
NEIGHBOURS = 24
# Displacements of neighbours agree within SLACK_MM + STRAIN * their distance.
SLACK_MM, STRAIN = 2.5, 0.2
ROUNDS, SHARPNESS = 12, 6.0
OUTLIER_MM = 4.0
# Of the local map's departure from the affine start, per neighbour: few or flat neighbours bend it little.
RIDGE = 0.02
LEAST_STRETCH, MOST_STRETCH = 0.4, 2.5


@dataclass(frozen=True)
class Guide:
    """matrix (3, 3), offset (3): the affine start; points (N, 3) and what is beyond it there, residuals
    (N, 3), mm, with weights (N) of trust.
    """

    matrix: np.ndarray
    offset: np.ndarray
    points: np.ndarray
    residuals: np.ndarray
    weights: np.ndarray

    def at(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Expected moving points (M, 3) and local maps (M, 3, 3) at fixed points (M, 3), none of which counts
        for itself.
        """
        base = points @ self.matrix.T + self.offset
        shapes = np.broadcast_to(self.matrix, (len(points), 3, 3))
        if len(self.points) <= NEIGHBOURS:
            return base, shapes.copy()
        distance, index = cKDTree(self.points).query(points, NEIGHBOURS + 1)
        weight = self.weights[index] * (distance > 1e-6)
        width = np.maximum(np.median(distance, axis=1, keepdims=True), 1.0)
        weight = weight * np.exp(-0.5 * (distance / width) ** 2) + 1e-9
        away = (self.points[index] - points[:, None]) / width[..., None]
        design = np.concatenate([np.ones((*away.shape[:2], 1)), away], axis=2)
        normal = np.einsum("mk,mki,mkj->mij", weight, design, design)
        normal += np.diag([0, 1, 1, 1]) * (RIDGE * weight.sum(axis=1))[:, None, None] + 1e-9 * np.eye(4)
        right = np.einsum("mk,mki,mkd->mid", weight, design, self.residuals[index])
        solved = np.linalg.solve(normal, right)
        bent = shapes + np.swapaxes(solved[:, 1:], 1, 2) / width[..., None]
        stretch = np.linalg.svd(bent, compute_uv=False)
        sane = (stretch.min(axis=1) > LEAST_STRETCH) & (stretch.max(axis=1) < MOST_STRETCH)
        return base + solved[:, 0], np.where(sane[:, None, None], bent, shapes)


def picture(volume: Volume, spacing_mm: float) -> Picture:
    """A scan on an upright isotropic grid, smoothed to it, between air and bone."""
    grid = upright(volume.grid, spacing_mm)
    return Picture(np.clip(resampled(volume, grid), LOWEST_HU, HIGHEST_HU).astype(np.float32), grid)


def estimate(fixed: Volume, moving: Volume, points: np.ndarray, progress: Progress) -> Guide:
    """The rough estimate at keypoints (N, 3) of the fixed scan."""
    affine = prealign(fixed, moving, "affine")
    matrix, offset = linear_parts(affine) if affine.IsLinear() else linear_parts(sitk.Transform())
    guide = Guide(matrix, offset, points[:0], points[:0], np.zeros(0))
    for number, (step, half, reach, kept) in enumerate(STAGES):
        expected, shapes = guide.at(points)
        (volumes,) = search(
            picture(fixed, step), picture(moving, step), points, expected, shapes, (half,), reach, step
        )
        shifts, scores = _peaks(volumes, kept)
        base = points @ matrix.T + offset
        found = np.einsum("nij,nhj->nhi", shapes, shifts * step) + (expected - base)[:, None]
        residuals, weights = _agreed(points, found, scores)
        guide = _without_outliers(Guide(matrix, offset, points, residuals, weights))
        progress((number + 1) / len(STAGES))
    return guide


def _peaks(volumes: np.ndarray, kept: int) -> tuple[np.ndarray, np.ndarray]:
    """The highest local maxima: shifts (N, kept, 3) in steps (x, y, z), and their scores (N, kept)."""
    middle = volumes.shape[1] // 2
    shifts, scores = np.zeros((len(volumes), kept, 3)), np.full((len(volumes), kept), -1.0)
    for n, volume in enumerate(volumes):
        tops = np.argwhere((volume == ndimage.maximum_filter(volume, size=3)) & (volume > 0))
        values = volume[tuple(tops.T)]
        best = np.argsort(-values, kind="stable")[:kept]
        shifts[n, : len(best)] = tops[best][:, ::-1] - middle
        scores[n, : len(best)] = values[best]
    return shifts, scores


def _agreed(points: np.ndarray, found: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of several displacements (N, H, 3) a point the one that its neighbours support, (N, 3), and how much it
    is, (N).
    """
    count = min(NEIGHBOURS, len(points) - 1)
    if count < 1:
        return found[:, 0], np.clip(scores[:, 0], 0, 1)
    distance, index = cKDTree(points).query(points, count + 1)
    distance, index = distance[:, 1:], index[:, 1:]
    apart = np.linalg.norm(found[:, None, :, None] - found[index][:, :, None], axis=-1)
    allowed = SLACK_MM + STRAIN * distance
    compatible = np.exp(-0.5 * (apart / allowed[..., None, None]) ** 2)
    prior = np.exp(SHARPNESS * scores) * (scores > 0)
    prior = prior / np.maximum(prior.sum(axis=1, keepdims=True), 1e-12)
    trust = np.clip(scores.max(axis=1), 0, 1)
    chance = prior
    for _ in range(ROUNDS):
        support = np.einsum("nk,nkhg,nkg->nh", trust[index], compatible, chance[index]) / count
        chance = prior * (support + 1e-6)
        chance = chance / np.maximum(chance.sum(axis=1, keepdims=True), 1e-12)
    best = chance.argmax(axis=1)
    rows = np.arange(len(points))
    return found[rows, best], np.clip(scores[rows, best], 0, 1) * support[rows, best]


def _without_outliers(guide: Guide) -> Guide:
    """Points that their neighbours' map contradicts lose their weight (Geman and McClure's)."""
    weights = guide.weights
    for _ in range(4):
        current = Guide(guide.matrix, guide.offset, guide.points, guide.residuals, weights)
        expected, _ = current.at(guide.points)
        given = guide.points @ guide.matrix.T + guide.offset + guide.residuals
        off = np.linalg.norm(given - expected, axis=1)
        weights = guide.weights / (1 + (off / OUTLIER_MM) ** 2) ** 2
    return Guide(guide.matrix, guide.offset, guide.points, guide.residuals, weights)
