"""Measurements are kept, made again where something changed, and tell why they failed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bench import RUNS, main

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.registration.features.pooled_features import cell_factor
from speed import child, model
from speed.model import Run
from speed.runs import Bench, Failed, better, spacing_of, with_floors
from speed.stages import ENDING, level_name, level_seconds, stage_rows

RATES = {
    "copy_bytes_per_s": 1e3,
    "triad_bytes_per_s": 2e3,
    "operations_per_s": 1e30,
    "encoder_operations_per_s": 1e31,
}
RUN = {
    "preset": "fast",
    "features": "local",
    "edge": 32,
    "spacing_mm": 8.0,
    "body_share": 0.5,
    "encoder": None,
}


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path, threads=1, device="cpu", repeats=1)


@pytest.mark.parametrize("edge", sorted({48}.union(*RUNS.values())))
def test_the_working_grid_has_as_many_voxels_as_asked_for_even_after_single_precision(edge):
    spacing = spacing_of(edge)
    read = float(np.float32(spacing))
    grid = Grid((edge,) * 3, (read,) * 3).resized((spacing,) * 3)
    assert grid.size == (edge,) * 3
    assert spacing * edge == pytest.approx(330, rel=1e-3)


@pytest.mark.parametrize("name", RUNS)
def test_the_search_of_all_sizes_looks_at_the_same_cells(name):
    cell = Settings.preset(name.split("-")[0]).cell_size
    edges = [cell_factor(cell, spacing_of(edge)) * spacing_of(edge) for edge in RUNS[name]]
    assert edges == pytest.approx([edges[0]] * len(edges), rel=1e-3)


def test_a_record_is_kept_until_what_it_was_made_with_changes_or_it_failed(bench):
    made = []

    def measure():
        made.append(1)
        if len(made) == 2:
            raise Failed("The disk is full.")
        return {"seconds": len(made)}

    assert bench.record("run", {"repeats": 1}, measure)["seconds"] == 1
    assert bench.record("run", {"repeats": 1}, measure)["seconds"] == 1
    failed = bench.record("run", {"repeats": 3}, measure)
    assert (failed["status"], failed["reason"]) == ("failed", "The disk is full.")
    assert bench.record("run", {"repeats": 3}, measure)["seconds"] == 3
    assert bench.record("run", {"repeats": 3}, measure)["seconds"] == 3


def test_a_process_that_fails_is_reported_with_its_last_words(bench):
    with pytest.raises(Failed, match="no_such_folder"):
        bench.run("register", folder="no_such_folder", preset="fast", features="local", spacing=6.0,
                  threads=1, device="cpu", work=str(bench.out))  # fmt: skip


@pytest.fixture(scope="module")
def measured(phantom_folder, tmp_path_factory):
    """A registration of the small phantom in both directions, measured from files to files."""
    work = tmp_path_factory.mktemp("work")
    found = child.register(str(phantom_folder), "default", "local", 12.0, 1, "cpu", str(work))
    assert list(work.iterdir()) == []
    return found


def test_every_counted_stage_of_a_real_run_has_its_time(measured):
    assert measured["report"]["working_spacing_mm"] == 12.0
    rows = stage_rows(measured)
    run = RUN | {"preset": "default", "spacing_mm": 12.0, "rows": rows}
    counted = with_floors(run, RATES)["model"]
    # What is not counted: pre-alignment and result are others' work, the ending is hardly any.
    assert set(rows) - set(counted) == {"pre-alignment", "result", ENDING}
    assert all(part["share"] == part["floor_s"] / rows[name]["seconds"] for name, part in counted.items())


def test_a_real_run_tells_each_level_as_often_as_it_iterates(measured):
    levels = measured["report"]["settings"]["levels"]
    iterations = [level["iterations"] for level in levels]
    # As if every step had taken a second.
    events = [(fraction, float(n)) for n, (fraction, _) in enumerate(measured["refinement_events"])]
    expected = {level_name(n): 2 * count for n, count in enumerate(iterations, start=1)} | {ENDING: 1}
    assert level_seconds(events, iterations, 2) == expected


def test_the_better_of_copy_and_triad_makes_the_floor():
    rows = {name: {"seconds": 1e4} for name in model.costs(Run((32,) * 3, 8.0, 0.5, Settings.preset("fast")))}
    read = with_floors(RUN | {"rows": rows}, RATES)["model"]["read"]
    assert read["bytes"] == 4 * 32**3
    assert read["floor_s"] == pytest.approx(4 * 32**3 / 2e3)
    assert read["share"] == pytest.approx(4 * 32**3 / 2e3 / 1e4)


def test_of_two_measurements_each_rate_is_the_better_one():
    first = {"device": "cpu", "graphics": None} | RATES
    second = first | {"copy_bytes_per_s": 5e3, "operations_per_s": 1.0}
    assert better(first, second) == first | {"copy_bytes_per_s": 5e3}


def test_the_seeded_encoder_counts_its_slices_and_operations():
    pytest.importorskip("sam2", reason="needs the package sam2")
    settings = Settings(encoder_input_size=64)
    encoder = child._encoder(settings, torch.device("cpu"))
    slices = torch.zeros(3, 64, 64)
    encoder.encode(slices, slices > 0)
    told = child._cost_of(encoder)
    assert (told["slices"], told["weights"], told["input_size"]) == (3, "seeded:0", 64)
    parameters = sum(p.numel() for p in encoder.model.image_encoder.parameters())
    assert told["weight_bytes"] == (2 if encoder.half else 4) * parameters
    # The patch embedding alone: 16 x 16 places, 96 kernels of 7 x 7 x 3, two operations a weight.
    assert told["operations_per_slice"] > 16 * 16 * 96 * 7 * 7 * 3 * 2


@pytest.mark.parametrize("options", [["--sizes", "8"], ["--runs", "quick-local"], ["--repeats", "0"]])
def test_options_that_cannot_be_are_refused_before_anything_is_made(options, tmp_path, capsys):
    with pytest.raises(SystemExit) as refused:
        main([str(tmp_path / "out"), *options])
    assert refused.value.code == 2 and options[0] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_device_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="Unknown device 'abacus'"):
        main([str(tmp_path / "out"), "--device", "abacus"])
    assert not (tmp_path / "out").exists()
