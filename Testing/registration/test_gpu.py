"""The whole method on a graphics card against the same on the processor; skipped where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from registration.support import AnatomyEncoder

from GLIDERegLib import api
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.evaluation.phantom import make_phantom
from GLIDERegLib.registration import pipeline
from GLIDERegLib.registration.backends import use_backend
from GLIDERegLib.registration.memory import estimated_bytes
from GLIDERegLib.registration.progress import CancelToken

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card with CUDA")

VOXEL = 4.0  # mm


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(size=(96, 96, 80), spacing=(VOXEL,) * 3, amplitude_mm=20.0, seed=2)


def settings(device="cuda", **changes):
    return Settings.preset("default", features="local", device=device, **changes)


@pytest.fixture(scope="module")
def on_card(phantom):
    return api.register(phantom.fixed, phantom.moving, settings())


def mapped(result, points):
    return result.displacement.transform_points(points)


def test_the_field_is_that_of_the_processor(phantom, on_card):
    on_processor = api.register(phantom.fixed, phantom.moving, settings("cpu"))
    here, there = (mapped(result, phantom.fixed_landmarks) for result in (on_card, on_processor))
    apart = np.linalg.norm(here - there, axis=1)
    error = np.linalg.norm(there - phantom.moving_landmarks, axis=1)
    assert error.mean() < VOXEL / 3
    # Other rounding takes other turns at equal costs: far less than the error itself.
    assert apart.mean() < 0.1 * error.mean() and np.percentile(apart, 95) < VOXEL / 4
    assert on_card.report["jacobian"]["min"] > 0


def test_a_run_repeats_to_the_bit(phantom, on_card):
    again = api.register(phantom.fixed, phantom.moving, settings())
    assert np.array_equal(again.displacement.vectors, on_card.displacement.vectors)


@pytest.mark.skipif(torch.version.hip is not None, reason="written for CUDA")
def test_the_fused_kernels_are_what_runs(on_card):
    pytest.importorskip("triton")
    if torch.cuda.get_device_capability() < (7, 5):
        pytest.skip("a card too old for Triton")
    assert on_card.report["device"]["kernels"] == "triton"


def test_plain_pytorch_gives_the_same_field(phantom, on_card):
    with use_backend("torch"):
        plain = api.register(phantom.fixed, phantom.moving, settings())
    assert plain.report["device"]["kernels"] == "torch"
    apart = np.linalg.norm(plain.displacement.vectors - on_card.displacement.vectors, axis=-1)
    assert apart.mean() < 0.02 * VOXEL


def test_the_cards_memory_stays_below_the_estimate_of_the_main_memory():
    large = make_phantom(size=(192, 192, 160), spacing=(2.0,) * 3, amplitude_mm=20.0)
    result = api.register(large.fixed, large.moving, settings())
    used = max(stage.get("peak_device_memory_mb", 0.0) for stage in result.report["stages"].values())
    assert 0 < used * 2**20 < estimated_bytes(large.fixed.grid, large.moving.grid, settings(), False)


def test_memory_that_runs_out_once_is_another_try_on_a_coarser_grid(phantom, monkeypatch):
    optimise, tries = pipeline.optimise_both, []

    def first_asks_too_much(*arguments, **named):
        tries.append(1)
        if len(tries) == 1:
            torch.empty(1 << 50, dtype=torch.uint8, device="cuda")
        return optimise(*arguments, **named)

    monkeypatch.setattr(pipeline, "optimise_both", first_asks_too_much)
    result = api.register(phantom.fixed, phantom.moving, settings())
    assert result.report["working_spacing_mm"] == pytest.approx(1.3 * VOXEL)
    assert any("because memory ran out" in warning for warning in result.report["warnings"])


@pytest.mark.parametrize("reduction", ["pca", "dynamic"])
def test_both_features_find_on_the_card_what_is_too_far_for_local_search(reduction):
    pair = make_phantom((64, 64, 56), (6.0,) * 3, amplitude_mm=20.0, seed=5, shift_mm=(50.0, -30.0, 70.0))
    chosen = Settings.preset("fast", align="none", features="both", reduction=reduction, device="cuda")
    result = api.register(pair.fixed, pair.moving, chosen, encoder=AnatomyEncoder(32, 0.3, 0))
    errors = np.linalg.norm(mapped(result, pair.fixed_landmarks) - pair.moving_landmarks, axis=1)
    assert np.median(errors) < 4  # two thirds of a voxel, as on the processor


def test_stopping_early_keeps_what_there_is_and_previews_are_shown(phantom):
    keep, seen = CancelToken(), []

    def preview(field):
        seen.append(field)
        if len(seen) == 3:
            keep.cancel()

    result = api.register(phantom.fixed, phantom.moving, settings(), keep=keep, preview=preview)
    assert len(seen) >= 3 and result.report["stopped_early"]
    error = np.linalg.norm(mapped(result, phantom.fixed_landmarks) - phantom.moving_landmarks, axis=1)
    before = np.linalg.norm(phantom.fixed_landmarks - phantom.moving_landmarks, axis=1)
    assert error.mean() < before.mean()


def test_a_correction_repeats_to_the_bit(phantom, on_card):
    points = phantom.fixed_landmarks[:6], phantom.moving_landmarks[:6] + 3.0
    first, second = (
        api.correct(phantom.fixed, phantom.moving, on_card.transform, *points, settings()) for _ in range(2)
    )
    assert np.array_equal(first.displacement.vectors, second.displacement.vectors)
