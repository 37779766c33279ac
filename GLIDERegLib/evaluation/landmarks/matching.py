"""Pairs of landmarks: keypoints of the fixed scan and their matches in the moving one.

Found by normalised cross-correlation of patches of two sizes about a rough estimate (`guide`), there and
back, then bent and moved to a fraction of a voxel (`refinement`). Then smaller structures of the lungs are
looked for about what the first ones tell. No transform under test is known here, and no MIND: what a
registration got wrong by its features is not got wrong the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Volume
from GLIDERegLib.evaluation.landmarks.between import COVERED_MM
from GLIDERegLib.evaluation.landmarks.correlation import Progress, peak, search
from GLIDERegLib.evaluation.landmarks.guide import NEIGHBOURS, Guide, estimate, picture
from GLIDERegLib.evaluation.landmarks.keypoints import find_keypoints, find_smaller
from GLIDERegLib.evaluation.landmarks.names import BODY
from GLIDERegLib.evaluation.landmarks.refinement import refine
from GLIDERegLib.evaluation.landmarks.regions import Regions, find_regions

# Steps of the search, of the scans' own voxels within these bounds: finer ones show noise, coarser no vessel.
FINEST_MM, COARSEST_MM = 1.0, 2.0
# Half of the two patches and the reach of the search, in steps of about a voxel.
HALVES, REACH = (5, 8), 8
# Of the search for smaller structures, which begins where the first landmarks say.
SMALL_REACH = 4
# A choice, lenient: the tests that follow (ambiguity, sharpness, the way back) reject most wrong matches.
LEAST_CORRELATION = 0.6
# In steps; each told right from wrong matches on F, textured_31, random_0, the own phantom of 32 mm and a
# strong motion of F's scan, and these limits keep most right ones: the refined place leads back to where it
# came from; both sizes of patch agree; it lies where the correlation had it; its own uncertainty.
MOST_BACK, MOST_BETWEEN, MOST_MOVED, MOST_UNSURE = 0.4, 0.5, 1.2, 0.04
# A landmark that its neighbours' local map contradicts by more than three times what is usual, between these
# two, was matched with something else.
OUTLIER_MM = (3.0, 6.0)
COUNT, LUNG_SHARE = 1500, 0.8
# Places tried for each one wanted, and at most: half of them can be matched, and the best are kept. Of the
# smaller structures as many as are wanted in all.
CANDIDATES, MOST_TRIED = 5, 1500
# Of those that can be matched, the surest so far apart come first, then closer ones.
SPREADS_MM = (20.0, 15.0, 10.0, 5.0, 0.0)


@dataclass(frozen=True)
class Landmarks:
    """fixed, moving: (N, 3) LPS mm, row by row; confidence: 0 to 1; regions: the name of each one's region;
    near_pleura: bool (N). voxel_mm: edge of the coarser scan's voxels, within which a match can be told.
    candidates: how many places were tried.
    """

    fixed: np.ndarray
    moving: np.ndarray
    confidence: np.ndarray
    regions: list[str]
    near_pleura: np.ndarray
    voxel_mm: float
    candidates: int

    def __len__(self) -> int:
        return len(self.fixed)

    @property
    def labels(self) -> list[str]:
        """L001, L002, ..."""
        return [f"L{number:03d}" for number in range(1, len(self) + 1)]


def find_landmarks(
    fixed: Volume,
    moving: Volume,
    count: int = COUNT,
    regions: Regions | None = None,
    progress: Progress = lambda share: None,
) -> Landmarks:
    """Up to `count` pairs of landmarks of two CT scans of a patient, four fifths of them in the lungs.

    regions: of the fixed scan, if they are known. progress is told the share that is done. Raises InputError
    where the scans do not overlap or no place can be matched.
    """
    regions = find_regions(fixed) if regions is None else regions
    lungs = round(count * (LUNG_SHARE if regions.lungs().any() else 0))
    each = min(CANDIDATES, max(MOST_TRIED / count, 1.0))
    points = find_keypoints(fixed, regions, round(each * lungs), round(each * (count - lungs)))
    progress(0.1)
    guide = estimate(fixed, moving, points, lambda share: progress(0.1 + 0.3 * share))
    matched, confidence = _match(fixed, moving, points, guide, REACH)
    confidence = without_outliers(points, matched, confidence, guide, regions.in_lungs(points))
    progress(0.7)
    if lungs:
        points, matched, confidence = _with_smaller(
            fixed, moving, regions, points, matched, confidence, guide, count
        )
    progress(1.0)
    kept = np.flatnonzero(confidence > 0)
    if not len(kept):
        raise InputError(
            "No place of the fixed scan was found again in the moving one",
            "Check that both show the same part of one patient.",
            code="no-landmarks",
        )
    kept = _best(kept, points, confidence, regions.at(points), count, lungs)
    return Landmarks(
        points[kept],
        matched[kept],
        confidence[kept],
        regions.at(points[kept]),
        regions.near_pleura(points[kept]),
        _edge(fixed, moving),
        len(points),
    )


def _edge(fixed: Volume, moving: Volume) -> float:
    return max(float(np.prod(v.grid.spacing)) ** (1 / 3) for v in (fixed, moving))


def _with_smaller(fixed, moving, regions, points, matched, confidence, guide: Guide, count: int):
    """Points, matches and confidence with those of up to `count` smaller structures of the lungs."""
    kept = np.flatnonzero(confidence > 0)
    # Fewer tell nothing between them.
    if len(kept) <= NEIGHBOURS:
        return points, matched, confidence
    residuals = matched[kept] - points[kept] @ guide.matrix.T - guide.offset
    local = Guide(guide.matrix, guide.offset, points[kept], residuals, np.ones(len(kept)))
    smaller = find_smaller(fixed, regions, points, points[kept], COVERED_MM, count)
    found, sure = _match(fixed, moving, smaller, local, SMALL_REACH)
    points, matched = np.concatenate([points, smaller]), np.concatenate([matched, found])
    confidence = np.concatenate([confidence, sure])
    return points, matched, without_outliers(points, matched, confidence, guide, regions.in_lungs(points))


def _match(
    fixed: Volume, moving: Volume, points: np.ndarray, guide: Guide, reach: int
) -> tuple[np.ndarray, np.ndarray]:
    """Moving points (N, 3) and a confidence (N) that is 0 where the match was dropped. reach: of the search,
    in steps of about a voxel.
    """
    step = float(np.clip(_edge(fixed, moving), FINEST_MM, COARSEST_MM))
    here, there = (picture(volume, step) for volume in (fixed, moving))
    expected, shapes = guide.at(points)
    shifts, high = _highest(here, there, points, expected, shapes, step, reach)
    found = expected + np.einsum("nij,nj->ni", shapes, shifts)
    back, high_back = _highest(there, here, found, points, np.linalg.inv(shapes), step, reach)
    # Half of the loop is the way there's: the mean of both ways is the better start.
    found = found - 0.5 * back
    small, large = (refine(here, there, points, found, shapes, half, step) for half in HALVES)
    matched = large.matched
    doubts = [
        np.linalg.norm(small.matched - matched, axis=1) / (MOST_BETWEEN * step),
        np.linalg.norm(matched - found, axis=1) / (MOST_MOVED * step),
        large.unsure / (MOST_UNSURE * step),
        LEAST_CORRELATION / np.maximum(np.minimum(high, high_back), 1e-6),
        np.where(moving.grid.contains(matched), 0.0, 2.0),
    ]
    doubt = np.max(doubts, axis=0)
    rows = np.flatnonzero(doubt <= 1)
    turned = np.linalg.inv(large.shapes[rows])
    again = refine(there, here, matched[rows], points[rows], turned, HALVES[1], step).matched
    loop = np.linalg.norm(again - points[rows], axis=1)
    doubt[rows] = np.maximum(doubt[rows], loop / (MOST_BACK * step))
    alike = np.clip(np.minimum(large.alike, np.minimum(high, high_back)), 0, 1)
    return matched, np.where(doubt <= 1, alike * (1 - doubt / 2), 0.0)


def _highest(here, there, points, expected, shapes, step: float, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Where both sizes of patch together correlate best: shifts (N, 3) in mm before `shapes`, and how well,
    0 at the border of the search.
    """
    volumes = search(here, there, points, expected, shapes, HALVES, reach, step)
    shifts, heights = np.zeros((len(points), 3)), np.zeros(len(points))
    for n, sizes in enumerate(zip(*volumes, strict=True)):
        shifts[n], height = peak(np.mean(sizes, axis=0))
        heights[n] = height if np.abs(shifts[n]).max() < reach - 0.5 else 0.0
    return shifts * step, heights


def without_outliers(
    points: np.ndarray, matched: np.ndarray, confidence: np.ndarray, guide: Guide, lungs: np.ndarray
) -> np.ndarray:
    """Confidence (N), 0 where the other landmarks' local map says another place than the match.

    points, matched: (N, 3) LPS mm, of which those count whose confidence is not 0. lungs: bool (N); lungs and
    the rest move apart, and are held to their own kind where there are enough of it. A rib that was taken for
    the next one, along with the lung's motion, would pass otherwise.
    """
    residuals = matched - points @ guide.matrix.T - guide.offset
    for _ in range(3):
        kept, confidence = confidence > 0, confidence.copy()
        for group in (lungs, ~lungs):
            own = np.flatnonzero(kept & group)
            others = own if len(own) > NEIGHBOURS else np.flatnonzero(kept)
            if not len(own) or len(others) <= NEIGHBOURS:
                continue
            local = Guide(guide.matrix, guide.offset, points[others], residuals[others], np.ones(len(others)))
            off = np.linalg.norm(matched[own] - local.at(points[own])[0], axis=1)
            confidence[own[off > np.clip(3 * np.percentile(off, 80), *OUTLIER_MM)]] = 0
    return confidence


def _best(kept: np.ndarray, points, confidence, names: list[str], count: int, lungs: int) -> np.ndarray:
    """Rows of `kept`, so many in the lungs and the rest outside, in the order of the candidates."""
    order = kept[np.argsort(-confidence[kept], kind="stable")]
    outside = np.array([names[n] == BODY for n in order])
    inside = _apart(order[~outside], points, lungs)
    return np.sort(np.concatenate([inside, _apart(order[outside], points, count - len(inside))]))


def _apart(order: np.ndarray, points: np.ndarray, count: int) -> np.ndarray:
    """The first `count` rows of an order, those first that lie far from the ones before them."""
    chosen: list[int] = []
    for distance in SPREADS_MM:
        for row in order:
            if len(chosen) == count:
                break
            away = np.linalg.norm(points[chosen] - points[row], axis=1)
            if not len(chosen) or away.min() > distance:
                chosen.append(row)
    return np.array(chosen, int)
