"""Nodules of two scans: how well the place of a carried one is known, and which belong together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from GLIDERegLib.errors import InputError
from GLIDERegLib.evaluation.agreement import PointMap

RELIABLE, LOOK_CLOSELY, UNRELIABLE = "reliable", "look closely", "unreliable"
# AAPM TG-132: registration errors should be below 2 mm, or below a voxel where that is more.
TOLERANCE_MM = 2.0
# A quarter and a half of that tolerance: the inverse of a sound field is exact to about 0.001 mm.
DOUBTFUL_RESIDUAL_MM, LARGEST_RESIDUAL_MM = 0.5, 1.0
# From full expiration to full inspiration a lung about triples its gas.
LARGEST_VOLUME_RATIO = 3.0
# Half of the correlation leaves three quarters of the variance unexplained.
LOWEST_AGREEMENT = 0.5
DIFFERENCE_MM, NEIGHBOURHOOD_MM = 1.5, 5.0


@dataclass(frozen=True)
class Evidence:
    """What is known about one carried nodule without knowing the truth.

    inside_fixed, inside_moving: whether the field covers it, and whether it lands in the moving scan.
    residual: mm between the nodule and where the way there and back leads. volume_ratio: Jacobian determinant
    of fixed to moving at the fixed point, local volume in the moving scan over that in the fixed one.
    lowest_ratio: its smallest value within about 5 mm. agreement, shift, spread: see
    `agreement.LocalAgreement`. voxel_mm: mean edge of the coarser scan's voxels.
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

    @property
    def expected_error(self) -> float:
        """Root mean square error in mm to expect from the images and the way back; this orders nodules."""
        return math.sqrt(self.shift**2 + self.spread**2 + self.residual**2)


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


def grade(evidence: Evidence) -> tuple[str, str]:
    """How far to trust a carried nodule, and why in words.

    "unreliable": the field or the images contradict it. "look closely": they leave doubt. "reliable": both
    agree within the tolerance, 2 mm (AAPM TG-132) or one voxel where that is more.
    """
    e = evidence
    tolerance = max(TOLERANCE_MM, e.voxel_mm)
    against = [
        (not e.inside_fixed, "outside the field of the registration, where nothing was compared"),
        (not e.inside_moving, "lands outside the moving scan"),
        (e.lowest_ratio <= 0, f"the field folds within {NEIGHBOURHOOD_MM:.0f} mm"),
        (
            e.residual > LARGEST_RESIDUAL_MM,
            f"there and back leads {e.residual:.1f} mm away: the field is inconsistent here",
        ),
        (
            e.shift > tolerance and e.shift > 2 * e.spread,
            f"the surroundings fit clearly better {e.shift:.1f} mm away",
        ),
    ]
    if reasons := [text for holds, text in against if holds]:
        return UNRELIABLE, "; ".join(reasons)
    doubts = [
        (
            not 1 / LARGEST_VOLUME_RATIO <= e.volume_ratio <= LARGEST_VOLUME_RATIO,
            f"local volume moving/fixed {100 * e.volume_ratio:.0f} %, more than breathing makes",
        ),
        (
            e.residual > DOUBTFUL_RESIDUAL_MM,
            f"there and back leads {e.residual:.1f} mm away",
        ),
        (
            e.agreement < LOWEST_AGREEMENT,
            f"the surroundings look different (agreement {e.agreement:.2f} of 1)",
        ),
        (
            math.hypot(e.shift, e.spread) > tolerance,
            f"the images place it only within {math.hypot(e.shift, e.spread):.1f} mm "
            f"(wanted: {tolerance:.1f} mm)",
        ),
    ]
    if reasons := [text for holds, text in doubts if holds]:
        return LOOK_CLOSELY, "; ".join(reasons)
    return RELIABLE, f"field and images agree within {tolerance:.1f} mm"


def match(first: np.ndarray, second: np.ndarray, distance_mm: float) -> list[tuple[int, int, float]]:
    """One-to-one pairs (row of first, row of second, distance in mm) of points (N, 3) and (M, 3).

    Of all assignments within the distance, one with the most pairs, and among those one with the smallest
    sum of distances. Raises InputError for a distance that is not positive.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    if not distance_mm > 0:
        raise InputError(f"The largest distance of a pair must be more than 0 mm, not {distance_mm}.")
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
