"""Intervals and tests agree with known answers and with a second computation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from GLIDERegLib.studies.benchmark.statistics import compare, holm, mean_interval


def test_holm_gives_the_textbook_answer():
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, none smaller than the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_wilcoxon_agrees_with_counting_all_sign_patterns():
    rng = np.random.default_rng(3)
    base = {f"case{n}": value for n, value in enumerate(rng.normal(5, 1, 8))}
    other = {case: value + rng.normal(0.5, 0.6) for case, value in base.items()}
    difference = np.array([other[case] - base[case] for case in base])
    ranks = np.abs(difference).argsort().argsort() + 1
    seen = abs(np.sum(np.sign(difference) * ranks))
    patterns = np.array(list(product((-1, 1), repeat=8))) @ ranks
    exact = np.mean(np.abs(patterns) >= seen)
    found = compare({"ours": base, "other": other}, "ours")["other"]
    assert found.p == pytest.approx(exact)
    assert found.difference == pytest.approx(difference.mean())
    assert found.n == 8


def test_only_cases_that_both_finished_are_compared():
    values = {"ours": {"a": 1.0, "b": 2.0, "c": 3.0}, "other": {"b": 2.5, "c": 4.0, "d": 100.0}}
    found = compare(values, "ours")["other"]
    assert found.n == 2
    assert found.difference == pytest.approx(0.75)


def test_equal_methods_have_no_p_and_do_not_count_for_the_correction():
    base = {str(n): float(n) for n in range(6)}
    worse = {case: value + 1 + value / 10 for case, value in base.items()}
    found = compare({"ours": base, "twin": base, "worse": worse, "absent": {}}, "ours")
    assert found["twin"].p is None and found["twin"].difference == 0
    assert found["absent"] == type(found["absent"])(0, None, None)
    assert found["worse"].p == found["worse"].p_holm == pytest.approx(2 / 2**6)


def test_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(60):
        interval = mean_interval([rng.normal(2, 1, 1) for _ in range(25)])
        hits += interval[0] <= 2 <= interval[1]
    # 95 % of 60 is 57; fewer than 50 has a probability below 0.001 if it holds.
    assert hits >= 50


def test_interval_draws_cases_and_not_their_landmarks():
    rng = np.random.default_rng(1)
    case_means = rng.normal(2, 0.5, 8)
    many = [mean + rng.normal(0, 0.1, 300) for mean in case_means]
    few = [np.array([values.mean()]) for values in many]
    assert mean_interval(many) == pytest.approx(mean_interval(few), abs=1e-9)
    pooled_error = np.concatenate(many).std() / np.sqrt(8 * 300)
    low, high = mean_interval(many)
    assert high - low > 10 * pooled_error


def test_interval_is_about_the_mean_of_all_landmarks_when_cases_have_different_numbers():
    cases = [np.full(90, 1.0), np.full(10, 5.0), np.full(50, 2.0), np.full(50, 2.5)]
    low, high = mean_interval(cases)
    assert low < np.concatenate(cases).mean() < high
    assert mean_interval(cases) == (low, high)


@pytest.mark.parametrize("cases", [[], [np.array([1.0, 2.0])], [np.ones(3), np.ones(5)]])
def test_there_is_no_interval_where_nothing_varies(cases):
    assert mean_interval(cases) is None
