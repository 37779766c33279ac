"""The exponent is that of a known power law, and the page says what was measured and what was not."""

from __future__ import annotations

import pytest

from speed.stages import row
from speed.tables import document, fit_exponent, table

ABOUT = {
    "command": "make bench",
    "date": "2026-01-02",
    "machine": {"processor": "P", "cores": 2, "memory_bytes": 8 * 2**30, "load_before": 0.0},
    "versions": {"glidereg": "1", "torch": "2", "python": "3"},
    "settings": {"threads": 2},
}
RATES = {
    "device": "cpu",
    "graphics": None,
    "copy_bytes_per_s": 16e9,
    "triad_bytes_per_s": 20e9,
    "operations_per_s": 1e11,
    "encoder_operations_per_s": 2e11,
}


def run(edge: int, features: str = "local", gpu: float | None = None) -> dict:
    """A finished run whose local features take time in proportion to the voxels."""
    voxels = edge**3
    rows = {"local features": row(1e-6 * voxels, 512.0), "whole": row(3.0, 2048.0, gpu)}
    return {
        "name": f"default-{features}-{edge}",
        "status": "done",
        "edge": edge,
        "voxels": voxels,
        "preset": "default",
        "features": features,
        "repeats": 3,
        "encoder": {"slices": 7, "input_size": 512} if features == "both" else None,
        "rows": rows,
        "model": {"local features": {"bytes": 2e9, "operations": 3e9, "floor_s": 0.1, "share": 0.05}},
    }


def results(*runs: dict, peers: tuple[dict, ...] = (), **rates) -> dict:
    return {"about": ABOUT, "rates": RATES | rates, "field_mm": 330.0, "runs": runs, "peers": peers}


def test_the_exponent_of_a_power_law_is_found():
    sizes = [128**3, 256**3, 400**3]
    assert fit_exponent(sizes, [3e-6 * n**1.25 for n in sizes]) == pytest.approx(1.25)
    assert fit_exponent(sizes, [7.0] * 3) == pytest.approx(0, abs=1e-9)


def test_the_exponent_is_the_least_squares_slope_where_no_power_law_fits():
    # Logarithms (0, 0), (1, 2), (2, 1): slope 1 / 2.
    assert fit_exponent([1, 10, 100], [1, 100, 10]) == pytest.approx(0.5)


def test_one_size_or_nothing_measured_has_no_exponent():
    assert fit_exponent([1000], [2.0]) is None
    assert fit_exponent([1000, 1000], [2.0, 3.0]) is None
    assert fit_exponent([1000, 2000, 3000], [None, 0.0, 3.0]) is None


def test_a_table_is_markdown_with_a_dash_for_what_is_not_there():
    lines = table(["a", "b"], [["x", None]]).splitlines()
    assert lines == ["| a | b |", "| :-- | --: |", "| x | – |"]


def test_sizes_stand_in_order_with_the_exponent_last_and_the_largest_beside_its_floor():
    page = document(results(run(200), run(100))).splitlines()
    assert "| stage | 100³ (s, 3x) | 200³ (s, 3x) | exponent |" in page
    assert "| MIND, both images | 1.00 | 8.00 | 1.00 |" in page
    assert "| stage at 200³ | s | GB | Gop | floor (s) | share (%) | GiB |" in page
    assert "| MIND, both images | 8.00 | 2.00 | 3.00 | 0.100 | 5.0 | 0.500 |" in page
    assert "| whole | 3.00 | – | – | – | – | 2.00 |" in page


def test_the_page_says_whether_a_gpu_was_measured():
    without = document(results(run(100)))
    assert "figures of a GPU are missing" in without and "GPU GiB |" not in without
    on_gpu = document(results(run(100, gpu=1024.0), device="cuda", graphics="Card"))
    assert "Measured on a GPU, Card" in on_gpu and "missing" not in on_gpu
    assert "| whole | 3.00 | – | – | – | – | 2.00 | 1.00 |" in on_gpu


def test_runs_with_seeded_weights_are_labelled_and_only_they():
    assert "random weights" not in document(results(run(100)))
    page = document(results(run(100), run(100, "both")))
    assert page.count("seeded random weights") == 1
    assert page.index("both features") < page.index("seeded random weights")


def test_methods_are_compared_with_each_peer_that_ran_and_failures_give_their_reason():
    def peer(name: str, seconds: float) -> dict:
        return {"name": name, "status": "done", "seconds": seconds, "gib": 1.0, "version": "v"}

    broken = {"name": "greedy", "status": "failed", "reason": "It is not installed."}
    peers = (peer("glidereg-default", 10.0), peer("convexadam", 40.0), broken)
    page = document(results(run(100), peers=peers)).splitlines()
    assert "| method | s | GiB | time / convexadam | version |" in page
    assert "| glidereg-default | 10.0 | 1.00 | 0.25 | v |" in page
    assert "- greedy: It is not installed." in page
