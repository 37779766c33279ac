"""Counted costs equal a count by hand on tiny grids."""

from __future__ import annotations

from dataclasses import replace

import pytest

from GLIDERegLib.core.settings import Level, Settings
from speed.model import Cost, Run, costs

# 512 voxels of 4 mm; 64 cells of two voxels each way, 33 displacements within two cells.
SETTINGS = Settings(
    features="local",
    cell_size=8.0,
    search_range=16.0,
    search_stretch=1.0,
    symmetric=False,
    levels=(Level(4, 2, 10),),
)
RUN = Run((8, 8, 8), 4.0, 0.5, SETTINGS)
ENCODER = {
    "slices": 5,
    "batch": 2,
    "input_size": 32,
    "operations_per_slice": 1000,
    "weight_bytes": 100,
}


def test_the_local_branch_costs_what_a_count_by_hand_gives():
    found = costs(RUN)
    assert found["read"] == Cost(2 * 512 * 2)
    # 12 channels of 17 operations, and two for the confidence; cells and level see the same blocks of 2^3.
    assert found["local features"] == Cost(2 * 512 * (13 + 68 / 8), 2 * 512 * (206 + 24))
    # Two volumes of 64 * 33 costs, 56 bytes and 36 / 2 + 18 + 77 operations each.
    assert found["convex optimisation"] == Cost(2112 * 2 * 56, 2112 * 2 * 113)
    # 4^3 nodes; eight byte vectors around a sample at every second feature voxel, half of them in the body;
    # four taps of the spline each way and axis.
    iteration = Cost(24 + 84 + 144 / 2 + 84 + 84, 195 + 144 + 516 / 2 + 108 + 37 + 36)
    assert found["refinement"] == iteration * (64 * 10)
    assert found["refinement"] == found["refinement, level 1"]
    assert found["warping"] == Cost(512 * 4 + 64 * 24, 512 * 68)
    assert "symmetry" not in found and "global features" not in found


def test_features_are_pooled_once_for_each_size_of_blocks():
    levels = (Level(4, 4, 3), Level(4, 2, 10), Level(2, 2, 10))
    found = costs(replace(RUN, settings=replace(SETTINGS, levels=levels)))["local features"]
    assert found == Cost(2 * 512 * (13 + 68 / 8 + 16 / 64), 2 * 512 * (206 + 24 + 24))


def test_the_whole_is_the_sum_of_the_stages_with_no_level_counted_twice():
    levels = (Level(4, 4, 3), Level(4, 2, 10))
    found = costs(replace(RUN, settings=replace(SETTINGS, levels=levels)))
    whole = found.pop("whole")
    parts = [cost for name, cost in found.items() if "level" not in name]
    assert whole.bytes == pytest.approx(sum(cost.bytes for cost in parts))
    assert whole.operations == pytest.approx(sum(cost.operations for cost in parts))
    assert found["refinement"] == found["refinement, level 1"] + found["refinement, level 2"]


def test_a_symmetric_run_refines_twice_but_searches_and_describes_once():
    one, two = costs(RUN), costs(replace(RUN, settings=replace(SETTINGS, symmetric=True)))
    assert two["refinement"] == one["refinement"] * 2
    assert two["convex optimisation"] == one["convex optimisation"]
    assert two["local features"] == one["local features"]
    assert two["symmetry"] == Cost(64 * 84, 64 * 356)


@pytest.mark.parametrize("directions", [1, 2])
def test_with_both_features_each_direction_searches_again_on_a_warped_image(directions):
    # Global cells of 4 voxels and one cell of range: 8 cells, 7 displacements; half the local range: 7 too.
    settings = replace(SETTINGS, global_cell_size=16.0, global_search_range=16.0, symmetric=directions == 2)
    found = costs(replace(RUN, settings=settings, encoder=ENCODER))["convex optimisation"]
    warped = 512 * (10 + 13 + 52 / 8)
    assert found.bytes == 2 * 8 * 7 * 56 + directions * (warped + 2 * 64 * 7 * 56)


def test_the_encoder_costs_its_weights_once_a_batch_and_its_operations_once_a_slice():
    found = costs(replace(RUN, encoder=ENCODER))
    # Three batches; 3 * 32^2 pixels in, 256 * 2^2 values out.
    assert found["global features"] == Cost(3 * 100 + 5 * 4 * (3072 + 1024), 5000)


def test_the_dynamic_reduction_trains_in_the_first_direction_only():
    def refinement(symmetric: bool, reduction: str) -> Cost:
        settings = replace(SETTINGS, symmetric=symmetric, reduction=reduction)
        return costs(replace(RUN, settings=settings, encoder=ENCODER))["refinement"]

    for symmetric in (False, True):
        dynamic, fixed = refinement(symmetric, "dynamic"), refinement(symmetric, "pca")
        # 37,376 weights to a mean, 37,376 more for variance and decoder; 2048 tokens, 10 steps, no refresh.
        mean, whole = 256 * 12 + 256 * 128 + 128 * 12, 256 * 12 + 2 * 256 * 128 + 3 * 128 * 12
        assert dynamic.operations - fixed.operations == 10 * 2048 * (6 * whole + 12 * mean)
        assert dynamic.bytes - fixed.bytes == 10 * 2048 * 512 * 10


def test_the_floor_is_the_slower_of_moving_and_computing():
    assert Cost(100, 30).floor_seconds(10, 10) == 10
    assert Cost(100, 300).floor_seconds(10, 10) == 30
