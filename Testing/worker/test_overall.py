"""The done share of a run: from 0 to 1, never falling, whatever stages a run has."""

from __future__ import annotations

import pytest

from GLIDERegLib.worker.overall import Overall

BEFORE, GLOBAL = ["pre-alignment", "working grid"], ["global features", "reduction"]
SOLVE = ["convex optimisation", "refinement"]


def shares(overall: Overall, stages: list[str]) -> list[float]:
    return [overall.at(stage, fraction) for stage in stages for fraction in (0.0, 0.3, 1.0)]


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("wide", [[], GLOBAL])
@pytest.mark.parametrize("known", [False, True], ids=["auto", "told before"])
def test_a_whole_run_goes_from_nothing_to_all_and_never_back(symmetric, wide, known):
    solve = [*SOLVE, "symmetry"] if symmetric else SOLVE
    found = shares(
        Overall(symmetric, local=known and not wide), [*BEFORE, *wide, "local features", *solve, "result"]
    )
    assert found[0] == 0
    assert found[-1] == pytest.approx(1)
    assert found == sorted(found)


def test_a_run_that_ends_early_jumps_to_its_end():
    overall = Overall(symmetric=True, local=True)
    found = shares(overall, [*BEFORE, "local features", "convex optimisation"])
    found += [overall.at("refinement", 0.2), overall.at("result", 0.0), overall.at("result", 1.0)]
    assert found == sorted(found)
    assert found[-1] == pytest.approx(1)


def test_an_unknown_stage_changes_nothing():
    overall = Overall(symmetric=True, local=True)
    before = overall.at("local features", 0.5)
    assert overall.at("tea break", 1.0) == before
