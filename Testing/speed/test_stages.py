"""Stage and level times are read rightly from what a registration reports."""

from __future__ import annotations

import pytest

from speed.stages import ENDING, level_name, level_seconds, median_rows, row, stage_rows

FIRST, SECOND = level_name(1), level_name(2)


def test_levels_get_their_own_preparation_and_iterations():
    # Two levels of two and one iterations: prepared by 10 and 20 s, iterations of 1, 2 and 3 s, 5 s after.
    events = [(0, 100.0), (1 / 3, 111.0), (2 / 3, 113.0), (1, 136.0), (1, 141.0)]
    assert level_seconds(events, [2, 1], 1) == pytest.approx({FIRST: 13.0, SECOND: 23.0, ENDING: 5.0})


def test_the_levels_of_both_directions_are_taken_together():
    # Iterations of 1, 2, 4, 8, 16 and 32 s, the third and the last on the second level; 5 s after.
    times = [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 68.0]
    events = list(zip([n / 6 for n in range(7)] + [1.0], times, strict=True))
    assert level_seconds(events, [2, 1], 2) == pytest.approx({FIRST: 27.0, SECOND: 36.0, ENDING: 5.0})


def measured(refinement: float, peak: float) -> dict:
    """What child.py would tell of a run with two stages."""
    stages = {
        "local features": {"seconds": 2.0, "peak_memory_mb": 512.0},
        "refinement": {"seconds": refinement, "peak_memory_mb": peak, "peak_device_memory_mb": 256.0},
    }
    settings = {"levels": [{"iterations": 1}], "symmetric": False}
    return {
        "seconds": {"read": 1.0, "warping": 0.5, "write": 3.0},
        "report": {"stages": stages, "settings": settings, "seconds": 10.0},
        "refinement_events": [(0, 0.0), (1, refinement - 1), (1, refinement)],
    }


def test_stages_keep_their_order_and_the_whole_includes_the_files():
    rows = stage_rows(measured(4.0, 1024.0))
    expected = ["read", "local features", "refinement", FIRST, ENDING, "warping", "write", "whole"]
    assert list(rows) == expected
    assert rows["whole"]["seconds"] == 1 + 10 + 3
    assert rows["refinement"] == {"seconds": 4.0, "gib": 1.0, "device_gib": 0.25}
    assert rows[FIRST]["seconds"] == 3.0 and rows["local features"]["device_gib"] is None


def test_repeats_give_the_median_time_and_the_largest_memory():
    runs = [stage_rows(measured(seconds, peak)) for seconds, peak in ((4, 100), (9, 2048), (5, 300))]
    merged = median_rows(runs)
    assert merged["refinement"] == {"seconds": 5, "gib": 2.0, "device_gib": 0.25}
    assert merged["read"] == row(1.0)
