"""What landmarks say of a transform: its error at each, by region and between, and where nothing is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy.spatial import cKDTree

from GLIDERegLib.core.geometry import Volume
from GLIDERegLib.evaluation import metrics
from GLIDERegLib.evaluation.landmarks.between import COVERED_MM, expected_error
from GLIDERegLib.evaluation.landmarks.matching import Landmarks
from GLIDERegLib.evaluation.landmarks.names import NEAR_PLEURA, in_words
from GLIDERegLib.evaluation.landmarks.regions import Regions
from GLIDERegLib.transforms.points import map_points

# Choices: as many places as a reader looks at, and the share left out of which a sentence is worth while.
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
            return f"No landmark {in_words(self.name)}: nothing is known of it."
        if self.uncovered < WORTH_SAYING:
            return ""
        where = in_words(self.name).removeprefix("in ")
        return f"No landmark in {100 * self.uncovered:.0f} % of {where}."


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
    places = errors.landmarks.fixed
    array[inside] = expected_error(places, errors.lengths, regions.grid.points()[inside])
    return Volume(array, regions.grid, "error map")


def _uncovered(mask: np.ndarray, regions: Regions, landmarks: np.ndarray) -> float:
    """Share of a region's voxels that no landmark (N, 3), whatever region it lies in, is near to."""
    distance, _ = cKDTree(landmarks).query(regions.grid.points()[mask], distance_upper_bound=COVERED_MM)
    return float(np.mean(~np.isfinite(distance)))
