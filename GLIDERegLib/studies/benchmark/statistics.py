"""How sure a comparison of methods is: intervals and paired tests with cases as the independent samples.

Landmarks of one case are not independent (one wrong vessel misplaces many), so no test here counts them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 5000


@dataclass(frozen=True)
class Comparison:
    """A method against the reference, over the n cases that both finished.

    difference: mean of method - reference. p: of the two-sided Wilcoxon signed-rank test, None where no case
    differs or there is none; p_holm: corrected for the number of methods tested.
    """

    n: int
    difference: float | None
    p: float | None
    p_holm: float | None = None


def mean_interval(cases: Sequence[np.ndarray], seed: int = 0) -> tuple[float, float] | None:
    """95 % bootstrap interval (BCa; Efron 1987) of the mean of all values, where whole cases are drawn.

    cases: the values of each case, in any numbers. None for fewer than two cases, or where they do not vary.
    """
    sums, counts = (np.array([function(values) for values in cases], float) for function in (np.sum, len))
    if len(sums) < 2 or np.ptp(sums / counts) == 0:
        return None
    with warnings.catch_warnings():
        # A distribution too narrow for BCa is told by the result, which is then not finite.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        interval = stats.bootstrap(
            (sums, counts),
            lambda s, c, axis: s.sum(axis=axis) / c.sum(axis=axis),
            paired=True,
            vectorized=True,
            confidence_level=CONFIDENCE,
            n_resamples=RESAMPLES,
            random_state=np.random.default_rng(seed),
        ).confidence_interval
    return (float(interval.low), float(interval.high)) if np.isfinite(interval).all() else None


def compare(values: Mapping[str, Mapping[str, float]], reference: str) -> dict[str, Comparison]:
    """Every method but the reference against it, by a value per case: {method: {case: value}}."""
    base = values[reference]
    found = {name: _paired(cases, base) for name, cases in values.items() if name != reference}
    tested = {name: result.p for name, result in found.items() if result.p is not None}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    return {
        name: Comparison(result.n, result.difference, result.p, corrected.get(name))
        for name, result in found.items()
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) step-down correction of p values, in the order given."""
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(corrected, 1).tolist()


def _paired(values: Mapping[str, float], base: Mapping[str, float]) -> Comparison:
    common = [case for case in values if case in base]
    if not common:
        return Comparison(0, None, None)
    difference = np.array([values[case] - base[case] for case in common])
    p = float(stats.wilcoxon(difference).pvalue) if difference.any() else None
    return Comparison(len(common), float(difference.mean()), p)
