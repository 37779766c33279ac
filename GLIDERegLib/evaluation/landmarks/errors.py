"""What landmarks say of a transform: its error at each, by region and between, and where nothing is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy.spatial import cKDTree

from GLIDERegLib.core.geometry import Volume
from GLIDERegLib.evaluation import metrics
from GLIDERegLib.evaluation.landmarks.matching import Landmarks
from GLIDERegLib.evaluation.landmarks.regions import NEAR_PLEURA, Regions
from GLIDERegLib.files.transforms import map_points

# A place farther from every landmark is not told about: breathing differs by millimetres over this distance.
COVERED_MM = 15.0
# Of the Gaussian that weighs the nearest landmarks in the map: at COVERED_MM two widths.
WIDTH_MM, NEAREST = 7.5, 8
WORST = 10
WORTH_SAYING = 0.05


@dataclass(frozen=True)
class Region:
    """error: mean, median, p95, max and others in mm at `n` landmarks, None without one; uncovered: share of
    the region's volume with no landmark within `COVERED_MM`.
    """

    name: str
    n: int
    error: dict | None
    uncovered: float

    @property
    def sentence(self) -> str:
        """What is not known of the region, in words; "" where next to nothing."""
        if self.n == 0:
            return f"No landmark in the {self.name}: nothing is known of it."
        if self.uncovered < WORTH_SAYING:
            return ""
        share = f"{100 * self.uncovered:.0f} % of the {self.name}"
        if self.name == NEAR_PLEURA:
            share = f"{100 * self.uncovered:.0f} % of the lung {self.name}"
        return f"No landmark in {share}."


@dataclass(frozen=True)
class Errors:
    """vectors: T(x) - y of each landmark (N, 3), LPS mm; lengths: (N) mm; initial: |x - y| (N) mm."""

    landmarks: Landmarks
    vectors: np.ndarray
    lengths: np.ndarray
    initial: np.ndarray
    regions: list[Region]

    def worst(self, count: int = WORST) -> np.ndarray:
        """Rows of the largest errors, largest first."""
        return np.argsort(-self.lengths, kind="stable")[:count]


def errors_of(transform: sitk.Transform, landmarks: Landmarks, regions: Regions) -> Errors:
    """The errors of a transform (fixed to moving points, LPS mm) at landmarks and by region.

    An error of less than about `landmarks.voxel_mm` cannot be told from none.
    """
    vectors = map_points(transform, landmarks.fixed) - landmarks.moving
    lengths = np.linalg.norm(vectors, axis=1)
    initial = np.linalg.norm(landmarks.fixed - landmarks.moving, axis=1)
    return Errors(landmarks, vectors, lengths, initial, _by_region(vectors, landmarks, regions))


def _by_region(vectors: np.ndarray, landmarks: Landmarks, regions: Regions) -> list[Region]:
    names = np.array(landmarks.regions)
    told = []
    for name, mask in regions.masks().items():
        inside = landmarks.near_pleura if name == NEAR_PLEURA else names == name
        error = None
        if inside.any():
            error = metrics.target_registration_error(vectors[inside], np.zeros((inside.sum(), 3)))[1]
        told.append(Region(name, int(inside.sum()), error, _uncovered(mask, regions, landmarks.fixed)))
    return told


def error_map(errors: Errors, regions: Regions) -> Volume:
    """`expected_error` (z, y, x), float32, of the body's voxels on the regions' grid; NaN outside of it."""
    inside = regions.labels > 0
    array = np.full(inside.shape, np.nan, np.float32)
    array[inside] = expected_error(errors, regions.grid.points()[inside])
    return Volume(array, regions.grid, "error map")


def expected_error(errors: Errors, points: np.ndarray) -> np.ndarray:
    """Expected error (M), mm, at fixed points (M, 3), LPS mm; NaN where no landmark tells.

    The mean of the nearest landmarks' errors, weighed by their distance; lengths, not vectors, so that errors
    of opposite directions do not cancel.
    """
    count = min(NEAREST, len(errors.lengths))
    distance, index = cKDTree(errors.landmarks.fixed).query(points, count)
    distance, index = distance.reshape(len(points), -1), index.reshape(len(points), -1)
    weight = np.exp(-0.5 * (distance / WIDTH_MM) ** 2)
    values = (weight * errors.lengths[index]).sum(axis=1) / weight.sum(axis=1)
    return np.where(distance[:, 0] > COVERED_MM, np.nan, values)


def _uncovered(mask: np.ndarray, regions: Regions, landmarks: np.ndarray) -> float:
    """Share of a region's voxels that no landmark (N, 3), whatever region it lies in, is near to."""
    distance, _ = cKDTree(landmarks).query(regions.grid.points()[mask], distance_upper_bound=COVERED_MM)
    return float(np.mean(~np.isfinite(distance)))
