"""The rows of the ablation are registrations that the command line knows, with and without a checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from GLIDERegLib.cli import _parser
from GLIDERegLib.cli.options import settings_of
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files import checkpoints
from GLIDERegLib.studies.benchmark.ablation import WITHOUT, configurations, weights_of
from GLIDERegLib.studies.cases import Task

TASK = Task(Path("fixed.nii.gz"), Path("moving.nii.gz"), Path("own"), 3, fixed_mask=Path("mask.nii.gz"))


@pytest.fixture
def checkpoint(tmp_path):
    file = tmp_path / "mine.pt"
    file.write_bytes(b"weights of my own")
    return file


def parsed(row, task=TASK):
    command = row.command(task)
    assert command[:3] == [sys.executable, "-m", "GLIDERegLib"]
    return _parser().parse_args(command[3:])


def test_there_is_a_row_for_every_reduction_feature_pair_and_reading(checkpoint):
    rows = configurations(checkpoint)
    assert len({row.name for row in rows}) == len(rows) == 21
    wanted = {
        (reduction, features, reading)
        for reduction in ("pca", "static", "dynamic")
        for features in ("global", "both")
        for reading in ("slice", "memory")
    }
    assert {(row.reduction, row.features, row.reading) for row in rows if row.features != "local"} == wanted
    assert [row.without for row in rows if row.features == "local"] == [None, *WITHOUT]
    assert rows[0].features == rows[0].name == "local"


def test_every_row_is_the_registration_its_name_says(checkpoint):
    for row in configurations(checkpoint, "sam2.1_hiera_small", "fast"):
        options = parsed(row)
        settings = settings_of(options)
        assert settings.features == row.features
        assert settings.name == "fast" and settings.align == "none" and settings.threads == 3
        assert (options.fixed, options.moving, options.output) == (TASK.fixed, TASK.moving, TASK.folder)
        assert options.fixed_mask == TASK.fixed_mask and options.moving_mask is None
        if row.features != "local":
            assert settings.reduction == row.reduction
            assert settings.encoder_reading == row.reading
            assert settings.encoder == "sam2.1_hiera_small"
            assert settings.checkpoint == str(checkpoint)


def test_a_network_without_memory_has_no_rows_that_need_it(checkpoint):
    rows = configurations(checkpoint, "dinov2_vitl14_reg")
    assert len(rows) == 15 and {row.reading for row in rows} == {None, "slice"}
    assert "DINOv2 checkpoint" in configurations(encoder="dinov2_vitl14_reg")[1].missing()


def test_without_a_checkpoint_the_local_row_can_run_and_the_others_say_what_is_missing():
    rows = configurations()
    assert rows[0].missing() is None
    for row in rows[1:13]:
        assert "glidereg weights download sam2.1_hiera_tiny" in row.missing()
    assert weights_of(rows) == "weights: none"


def test_a_downloaded_checkpoint_is_used(checkpoint, monkeypatch):
    monkeypatch.setattr(checkpoints, "find", lambda name: checkpoint if name == "sam2_hiera_tiny" else None)
    assert [row.missing() for row in configurations(encoder="sam2_hiera_tiny")] == [None] * 21
    assert configurations()[1].missing()


def test_a_checkpoint_that_was_not_published_is_named_so(checkpoint):
    assert weights_of(configurations(checkpoint)) == f"weights: {checkpoint}, not a published checkpoint"


def test_a_published_checkpoint_is_told_by_its_hash_and_not_by_its_name(checkpoint, monkeypatch):
    import hashlib

    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    size = checkpoint.stat().st_size
    entry = checkpoints.Checkpoint("sam2_of_the_test", "", size, digest, "")
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", {entry.name: entry})
    assert weights_of(configurations(checkpoint)) == "weights: sam2_of_the_test as published"


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere.pt"):
        configurations(tmp_path / "nowhere.pt")


def test_a_row_without_a_part_changes_that_setting_alone():
    whole = settings_of(parsed(configurations()[0])).as_dict()
    for row in configurations()[13:]:
        found = settings_of(parsed(row)).as_dict()
        name = WITHOUT[row.without].partition("=")[0]
        assert [key for key in whole if whole[key] != found[key]] == [name]
