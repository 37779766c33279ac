"""Numbers of a record: from the reports of other commands, beside a site's tolerances."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.evaluation.landmarks.names import in_words

LANDMARKS = "landmark error"
NOT_COVERED = "without a landmark"
MARKS = "error at marked points"
# Of a comparison of contours: its key there, the number's name, its unit.
DISTANCES = (
    ("mean_mm", "surface distance, mean", "mm"),
    ("p95_mm", "surface distance, 95 %", "mm"),
    ("hausdorff_mm", "Hausdorff distance", "mm"),
)


@dataclass(frozen=True)
class Number:
    """name: what it is and where; tolerance: the site's own most in that unit, None where it has none."""

    name: str
    value: float | None
    unit: str
    tolerance: float | None = None

    @property
    def within(self) -> bool | None:
        """Whether the tolerance is kept; None where there is no tolerance or no value."""
        return None if self.tolerance is None or self.value is None else self.value <= self.tolerance


def numbers_of(reports: list[dict], tolerances: Mapping[str, float]) -> list[Number]:
    """The numbers that reports of this package hold, in their order.

    tolerances: the most that a site allows, by the number's name; a name that ends in ", anywhere" stands for
    that number of every region. Raises InputError for a tolerance that no number bears or that is no number,
    and for damaged reports.
    """
    try:
        found = [number for report in reports for number in _of(report)]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"A report is damaged, or no report of this program ({error}).",
            "Give what a check, an evaluation, a consistency or a comparison of contours wrote.",
            code="report",
        ) from error
    for name, most in tolerances.items():
        if isinstance(most, bool) or not isinstance(most, int | float) or not math.isfinite(most):
            raise InputError(
                f"The tolerance for '{name}' is no number: {most!r}",
                "Give the most that is allowed, in the number's unit.",
                code="tolerances",
            )
    used = set()

    def allowed(name: str) -> float | None:
        for key in (name, general(name)):
            if key in tolerances:
                used.add(key)
                return float(tolerances[key])
        return None

    named = [Number(n.name, n.value, n.unit, allowed(n.name)) for n in found]
    if unused := sorted(set(tolerances) - used):
        raise InputError(
            f"No number of the reports is called {', '.join(map(repr, unused))}",
            f"The numbers are: {'; '.join(dict.fromkeys(n.name for n in found))}",
            code="tolerances",
        )
    return named


def general(name: str) -> str:
    """What stands for a number of every region, where the name is that of one region's."""
    return f"{name.partition(' in the ')[0]}, anywhere" if " in the " in name else name


def of_region(numbers: list[Number], region: str) -> list[Number]:
    """Those that speak of a region."""
    return [number for number in numbers if number.name.endswith(f" {in_words(region)}")]


def _of(report: dict) -> list[Number]:
    if "regions" in report and "error_mm" in report:
        return _of_check(report)
    if "residual_mm" in report:
        kind = f"{report['kind']} error"
        found = [Number(f"{kind}, 95 %", report["residual_mm"]["p95"], "mm")]
        regions = report.get("regions_mm", {})
        return found + [
            Number(f"{kind}, 95 % {in_words(name)}", e["p95"], "mm") for name, e in regions.items()
        ]
    if "compared" in report:
        return _of_contours(report["compared"])
    found = []
    if error := report.get("target_registration_error"):
        found.append(Number(f"{MARKS}, mean", error["final"]["mean"], "mm"))
        found.append(Number(f"{MARKS}, largest", error["final"]["max"], "mm"))
    if jacobian := report.get("jacobian"):
        found.append(Number("folding", 100 * jacobian["share_not_positive"], "%"))
        # A tolerance is the most that is allowed.
        found.append(Number("1 - least Jacobian determinant", 1 - jacobian["min"], ""))
    if dice := report.get("dice"):
        for label, value in dice["final"]["per_label"].items():
            found.append(Number(f"1 - Dice of label {label}", 1 - value, ""))
    if not found:
        raise InputError(
            "A report holds no number that a record knows.",
            "Give what a check, an evaluation, a consistency or a comparison of contours wrote.",
            code="report",
        )
    return found


def _of_contours(compared: dict[str, dict[str, float]]) -> list[Number]:
    found = []
    for name, figures in compared.items():
        found += [
            Number(f"{title} of {name}", figures[key], unit)
            for key, title, unit in DISTANCES
            if key in figures
        ]
        if "dice" in figures:
            found.append(Number(f"1 - Dice of {name}", 1 - figures["dice"], ""))
    return found


def _of_check(report: dict) -> list[Number]:
    final = report["error_mm"]["final"]
    found = [
        Number(f"{LANDMARKS}, mean", final["mean"], "mm"),
        Number(f"{LANDMARKS}, 95 %", final["p95"], "mm"),
        Number(f"{LANDMARKS}, largest", final["max"], "mm"),
    ]
    for region in report["regions"]:
        where, error = in_words(region["name"]), region["error_mm"] or {}
        found.append(Number(f"{LANDMARKS}, 95 % {where}", error.get("p95"), "mm"))
        found.append(Number(f"{NOT_COVERED} {where}", 100 * region["uncovered"], "%"))
    return found
