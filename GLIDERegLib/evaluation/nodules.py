"""Nodules of two scans: how well the place of a propagated one is known, and which belong together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.evaluation.agreement import PointMap

REVIEW = "review recommended"
# From full expiration to full inspiration a lung about triples its gas.
LARGEST_VOLUME_RATIO = 3.0
# Half of the correlation leaves three quarters of the variance unexplained.
LOWEST_AGREEMENT = 0.5
# A point that may be farther off can lie outside a nodule of 6 mm, the smallest that Fleischner 2017 follows.
LARGEST_UNCERTAINTY_MM = 3.0
# The inverse of a sound field is exact to about 0.001 mm.
LARGEST_RESIDUAL_MM = 0.5
# Better places are looked for in steps of at least 1 mm.
CLEAR_SHIFT_MM = 2.0
DIFFERENCE_MM, NEIGHBOURHOOD_MM = 1.5, 5.0
# Around a nodule whose size is not known; a choice about those that are followed.
UNKNOWN_RADIUS_MM = 6.0
# Of the findings of `advice`, those by which both scans look different.
IMAGES = slice(5, None)
# Chosen on phantoms (seeds 2 and 5, presets fast and default, voxels of 3 and 2.5 mm), where 97 % of 1816
# points lie within the radius; checked, not blindly, on pairs E (fast) and F (default): 95 and 99 %.
COVERAGE_OF_IMAGES, COVERAGE_OF_VOXEL = 1.2, 0.5


@dataclass(frozen=True)
class Evidence:
    """What is known about one propagated nodule without knowing the truth.

    inside_fixed, inside_moving: whether the field covers it, and whether it lands in the moving scan.
    residual: mm between the nodule and where the inverse leads it back to. volume_ratio: Jacobian determinant
    of fixed to moving at the fixed point, the expansion of the tissue around it. lowest_ratio: its smallest
    value within about 5 mm. agreement, shift, spread: see `agreement.LocalAgreement`. voxel_mm: mean edge of
    the coarser scan's voxels; edge_mm: their longest edge.
    """

    inside_fixed: bool
    inside_moving: bool
    residual: float
    volume_ratio: float
    lowest_ratio: float
    agreement: float
    shift: float
    spread: float
    voxel_mm: float
    edge_mm: float

    @property
    def uncertainty(self) -> float | None:
        """Radius in mm that holds the true place in 95 of 100 cases; None where nothing was registered.

        Never below half an edge of the coarser scan's voxels: no image shows a place more finely.
        """
        if not (self.inside_fixed and self.inside_moving):
            return None
        images = COVERAGE_OF_IMAGES * math.sqrt(self.shift**2 + self.spread**2 + self.residual**2)
        return max(self.edge_mm / 2, math.hypot(images, COVERAGE_OF_VOXEL * self.edge_mm))


def jacobian_determinants(mapping: PointMap, points: np.ndarray) -> np.ndarray:
    """Determinant (N,) of the map's Jacobian at points (N, 3), by central differences over 3 mm."""
    offsets = DIFFERENCE_MM * np.concatenate([np.eye(3), -np.eye(3)])
    points = np.asarray(points, float)
    mapped = mapping((points[:, None] + offsets).reshape(-1, 3)).reshape(len(points), 2, 3, 3)
    return np.linalg.det((mapped[:, 0] - mapped[:, 1]) / (2 * DIFFERENCE_MM))


def volume_ratios(mapping: PointMap, point: np.ndarray) -> tuple[float, float]:
    """The Jacobian determinant at a fixed point (3,), and its smallest value on a lattice 5 mm around it."""
    axis = NEIGHBOURHOOD_MM * np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    around = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    determinants = jacobian_determinants(mapping, np.asarray(point) + around)
    return float(determinants[len(determinants) // 2]), float(determinants.min())


def left_out_mm(long_mm: float | None) -> float:
    """Radius about a nodule that is not compared when its place in another scan is judged: what grows or
    vanishes tells nothing of the place. long_mm: its longest diameter, None or 0 where unknown.
    """
    return long_mm / 2 if long_mm else UNKNOWN_RADIUS_MM


def advice(evidence: Evidence, absent_from: str = "") -> tuple[str, str]:
    """REVIEW and why in words, or two empty texts where nothing speaks against the place of the nodule.

    absent_from: the scan that it was propagated to, where no reader marked it there.

    An inverse that returns and a field without folds are no such evidence: both follow from how a field is
    made. Only their failure tells, of a transform made elsewhere.
    """
    e = evidence
    uncertainty = e.uncertainty
    findings = [
        (not e.inside_fixed, "outside the field of the registration, where nothing was compared"),
        (not e.inside_moving, "lands outside the moving scan"),
        (e.lowest_ratio <= 0, f"the field folds within {NEIGHBOURHOOD_MM:.0f} mm"),
        (
            e.residual > LARGEST_RESIDUAL_MM,
            f"the field has no inverse here (it misses by {e.residual:.1f} mm)",
        ),
        (
            not 1 / LARGEST_VOLUME_RATIO <= e.volume_ratio <= LARGEST_VOLUME_RATIO,
            f"the tissue around has {e.volume_ratio:.2f} times its volume in the moving scan, "
            "more than breathing makes",
        ),
        (
            e.shift > max(CLEAR_SHIFT_MM, e.voxel_mm) and e.shift > 2 * e.spread,
            f"the surroundings fit clearly better {e.shift:.1f} mm away",
        ),
        (
            e.agreement < LOWEST_AGREEMENT,
            f"the surroundings look different (agreement {e.agreement:.2f} of 1)",
        ),
        (
            uncertainty is not None and uncertainty > LARGEST_UNCERTAINTY_MM,
            f"the place is uncertain by more than {LARGEST_UNCERTAINTY_MM:.0f} mm, the radius of a nodule "
            "that guidelines follow",
        ),
    ]
    if absent_from and (unlike := any(holds for holds, _ in findings[IMAGES])):
        within = "" if uncertainty is None else f"; its place there is known within {uncertainty:.1f} mm"
        gone = f"not marked in {absent_from}, so that nothing there has to look like it{within}"
        findings[IMAGES] = [(unlike, gone)]
    reasons = [text for holds, text in findings if holds]
    return (REVIEW, "; ".join(reasons)) if reasons else ("", "")


def match(first: np.ndarray, second: np.ndarray, distance_mm: float) -> list[tuple[int, int, float]]:
    """One-to-one pairs (row of first, row of second, distance in mm) of points (N, 3) and (M, 3).

    Of all assignments within the distance, one with the most pairs, and among those one with the smallest
    sum of distances. Raises InputError for a distance that is not positive.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    if not distance_mm > 0:
        raise InputError(
            f"The largest distance of a pair must be more than 0 mm, not {distance_mm}.", code="setting"
        )
    first, second = (np.asarray(points, float).reshape(-1, 3) for points in (first, second))
    distances = cdist(first, second)
    near = distances <= distance_mm
    # In units of the limit all pairs together cost no more than their number: one pair less costs more.
    forbidden = min(distances.shape) + 1.0
    rows, columns = linear_sum_assignment(np.where(near, distances / distance_mm, forbidden))
    return [
        (int(row), int(column), float(distances[row, column]))
        for row, column in zip(rows, columns, strict=True)
        if near[row, column]
    ]


def same_labels(first: Sequence[str], second: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of places in two lists that hold the same label, where each list holds it once."""

    def unique(labels: Sequence[str]) -> dict[str, int]:
        return {label: n for n, label in enumerate(labels) if label and list(labels).count(label) == 1}

    places = unique(second)
    return [(n, places[label]) for label, n in unique(first).items() if label in places]
