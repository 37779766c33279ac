"""The report's numbers, each with its unit, what is usual, and where that is said."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from GLIDERegLib.core.counting import counted

TG132 = (
    "Brock KK, Mutic S, McNutt TR, Li H, Kessler ML. Use of image registration and fusion algorithms and "
    "techniques in radiotherapy: report of the AAPM Radiation Therapy Committee Task Group No. 132. "
    "Med Phys 2017;44(7):e43-e76. doi 10.1002/mp.12256"
)
SOURCES = (TG132,)
NO_VALUE = "no agreed value"


@dataclass(frozen=True)
class Number:
    """One figure of a registration.

    before, after: texts, empty where it does not apply. usual: what is usual. source: number of the entry of
    `SOURCES` that says so, from 1; None without one. meaning: how the figure compares, or how to read it.
    of_field: whether it is a property of the field, which is no evidence of accuracy.
    """

    name: str
    unit: str
    before: str
    after: str
    usual: str
    source: int | None
    meaning: str
    of_field: bool = False


def numbers(measured: dict, lengths_mm: np.ndarray, largest_voxel_mm: float, unit: str) -> list[Number]:
    """All figures of a report of `evaluate_transform`, with the lengths of the displacements in the body.

    largest_voxel_mm: the longest edge of a voxel of either scan. unit: of the intensities.
    Raises KeyError, TypeError or ValueError where the report does not hold what it should.
    """
    return [
        *_point_errors(measured.get("target_registration_error")),
        *_similarity(measured["similarity"], unit),
        *_displacements(lengths_mm),
        *_jacobian(measured["jacobian"]),
        *_inverse_consistency(measured["inverse_consistency"], largest_voxel_mm),
    ]


def compared(value: float, limit: float, unit: str) -> str:
    """Where a value stands beside a limit, in words."""
    if value <= limit:
        return f"{value:.2f} {unit} is within {limit:g} {unit}."
    return f"{value:.2f} {unit} is above {limit:g} {unit}."


def _point_errors(error: dict | None) -> list[Number]:
    if not error:
        return []
    initial, final = error["initial"], error["final"]
    found = []
    # Limits such as the 2 and 5 mm of TG-132 are for commissioning a system, not for judging one patient.
    for name, key, meaning in (
        ("mean", "mean", "Compare it with the voxel, and with how far two readers' points lie apart."),
        ("95th percentile", "p95", "19 of 20 points are closer than this."),
        ("largest", "max", "Look at this point: a wrong mark and a wrong registration look alike here."),
    ):
        found.append(
            Number(
                f"Target registration error of {counted(final['n'], 'point pair')}, {name}",
                "mm",
                f"{initial[key]:.2f}",
                f"{final[key]:.2f}",
                NO_VALUE,
                None,
                meaning,
            )
        )
    return found


def _similarity(similarity: dict, unit: str) -> list[Number]:
    initial, final = similarity["initial"], similarity["final"]
    found = []
    for name, key, what, digits, higher in (
        ("Normalised cross-correlation", "normalised_cross_correlation", "no unit, at most 1", 3, True),
        ("Mean absolute difference", "mean_absolute_difference", unit, 1, False),
        ("Mutual information", "mutual_information", "nats", 3, True),
    ):
        before, after = initial[key], final[key]
        if before is None or after is None:
            continue
        change = "rose" if after > before else "fell" if after < before else "did not change"
        expected = "rises" if higher else "falls"
        meaning = f"It {change}; between scans that match better it {expected}."
        found.append(
            Number(name, what, f"{before:.{digits}f}", f"{after:.{digits}f}", NO_VALUE, None, meaning)
        )
    return found


def _displacements(lengths_mm: np.ndarray) -> list[Number]:
    levels = {"median": 50, "95th percentile": 95, "largest": 100}
    meaning = "This is the motion that was found, from breathing and posture; it is not an error."
    return [
        Number(
            f"Displacement in the body, {name}",
            "mm",
            "",
            f"{np.percentile(lengths_mm, level):.1f}",
            NO_VALUE,
            None,
            meaning,
            of_field=True,
        )
        for name, level in levels.items()
    ]


def _jacobian(jacobian: dict) -> list[Number]:
    least, most, folded = jacobian["min"], jacobian["max"], 100 * jacobian["share_not_positive"]
    name = "Jacobian determinant (local change of volume)"
    found = [
        Number(
            f"{name}, smallest",
            "no unit, 1 is unchanged",
            "",
            f"{least:.2f}",
            "above 0",
            1,
            f"Where tissue shrinks most, {least:.2f} of its volume is left."
            if least > 0
            else "At 0 or below, the field folds, which no tissue does.",
            of_field=True,
        ),
        Number(
            f"{name}, largest",
            "no unit, 1 is unchanged",
            "",
            f"{most:.2f}",
            NO_VALUE,
            None,
            f"Where tissue grows most, it has {most:.2f} times its volume.",
            of_field=True,
        ),
        Number(
            "Folding (Jacobian ≤ 0)",
            "% of voxels of the body",
            "",
            f"{folded:.3f}",
            "0 %",
            1,
            "None was found; folds are smoothed away, so this tells nothing of accuracy."
            if folded == 0
            else "Where the field folds it has no inverse: do not rely on points there.",
            of_field=True,
        ),
    ]
    if jacobian.get("std_log") is not None:
        found.append(
            Number(
                "Spread of the logarithm of the Jacobian determinant",
                "no unit",
                "",
                f"{jacobian['std_log']:.3f}",
                NO_VALUE,
                None,
                "0 is the same change of volume everywhere; the larger, the more uneven.",
                of_field=True,
            )
        )
    return found


def _inverse_consistency(consistency: dict, largest_voxel_mm: float) -> list[Number]:
    """Only where the way back is a field of its own: that through a computed inverse is 0 for any field."""
    if consistency["method"] == "numerical inverse":
        return []
    return [
        Number(
            f"Inverse consistency error, {name}",
            "mm",
            "",
            f"{consistency[key]:.3f}",
            f"up to the longest voxel edge, {largest_voxel_mm:g} mm",
            1,
            compared(consistency[key], largest_voxel_mm, "mm"),
        )
        for name, key in (("mean", "mean_mm"), ("95th percentile", "p95_mm"), ("largest", "max_mm"))
    ]
