import errno
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files import outputs
from GLIDERegLib.files.outputs import OutputFolder, refuse_overwriting, whole_file, write_json


def tree(folder):
    """Every file and folder below, with the files' text."""
    return {
        str(p.relative_to(folder)): p.read_text() if p.is_file() else None for p in Path(folder).rglob("*")
    }


@pytest.fixture
def used_folder(tmp_path):
    """A folder with a result of before and a file of the user's."""
    folder = tmp_path / "result"
    folder.mkdir()
    (folder / "report.json").write_text("before")
    (folder / "notes.txt").write_text("mine")
    return folder


def test_files_appear_only_at_the_end_and_all_together(used_folder):
    with OutputFolder(used_folder) as out:
        (out / "report.json").write_text("new")
        (out / "transform.h5").write_text("new")
        assert (used_folder / "report.json").read_text() == "before"
        assert not (used_folder / "transform.h5").exists()
    assert tree(used_folder) == {"report.json": "new", "transform.h5": "new", "notes.txt": "mine"}


@pytest.mark.parametrize("fails", [False, True])
def test_results_of_before_that_are_not_written_again_go_and_no_other_file(used_folder, fails):
    (used_folder / "points_moving.csv").write_text("of another transform")
    before = tree(used_folder)
    with suppress(RuntimeError), OutputFolder(used_folder) as out:
        out.without(["report.json", "points_moving.csv", "points_fixed.csv"])
        (out / "report.json").write_text("new")
        if fails:
            raise RuntimeError
    assert tree(used_folder) == (before if fails else {"report.json": "new", "notes.txt": "mine"})


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, InputError, MemoryError])
def test_after_a_failure_the_folder_is_as_before(used_folder, failure):
    before = tree(used_folder)
    with pytest.raises(failure):
        with OutputFolder(used_folder) as out:
            (out / "report.json").write_text("half")
            raise failure("stop")
    assert tree(used_folder) == before


def test_folders_made_for_the_occasion_go_with_a_failure_and_stay_with_a_success(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        with OutputFolder(tmp_path / "a" / "b"):
            raise KeyboardInterrupt
    assert not tree(tmp_path)
    with OutputFolder(tmp_path / "a" / "b") as out:
        (out / "report.json").write_text("new")
    assert tree(tmp_path / "a") == {"b": None, "b/report.json": "new"}


def test_a_folder_made_here_goes_again_when_nothing_was_written(tmp_path):
    with OutputFolder(tmp_path / "a"):
        pass
    assert not tree(tmp_path)


@pytest.mark.parametrize(
    "failure", [OSError(errno.EIO, "broken disk"), KeyboardInterrupt()], ids=["error", "interrupt"]
)
def test_a_failure_between_two_moves_puts_the_earlier_files_back(used_folder, monkeypatch, failure):
    before, replace = tree(used_folder), os.replace

    def failing(source, target):
        if Path(target) == used_folder / "transform.h5":
            raise failure
        replace(source, target)

    monkeypatch.setattr(outputs.os, "replace", failing)
    with pytest.raises((InputError, KeyboardInterrupt)):
        with OutputFolder(used_folder) as out:
            for name in ("a.csv", "report.json", "transform.h5", "warped.nii.gz"):
                (out / name).write_text("new")
    assert tree(used_folder) == before


def test_a_folder_in_the_place_of_a_file_stops_all_of_them(used_folder):
    (used_folder / "warped.nii.gz").mkdir()
    before = tree(used_folder)
    with pytest.raises(InputError, match="Cannot write"):
        with OutputFolder(used_folder) as out:
            (out / "report.json").write_text("new")
            (out / "warped.nii.gz").write_text("new")
    assert tree(used_folder) == before


def test_a_file_in_the_way_is_named_before_any_work(tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "result"):
        with pytest.raises(InputError, match="a file is in the way"):
            with OutputFolder(folder):
                pytest.fail("the work must not start")
    assert tree(tmp_path) == {"file": "mine"}


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path, monkeypatch):
    def read_only(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(outputs.tempfile, "mkdtemp", read_only)
    with pytest.raises(InputError, match="Permission denied; choose a folder"):
        with OutputFolder(tmp_path / "a" / "b"):
            pytest.fail("the work must not start")
    assert not tree(tmp_path)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that refuses new folders")
def test_a_file_system_that_takes_no_folders_is_refused():
    with pytest.raises(InputError, match="Cannot write"):
        with OutputFolder("/proc/glidereg"):
            pytest.fail("the work must not start")


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="is full; free some space"):
        with OutputFolder(tmp_path / "result") as out:
            (out / "a").write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")
    assert not tree(tmp_path)


def test_a_disk_without_space_is_noticed_even_when_the_writer_says_nothing(tmp_path, monkeypatch):
    (tmp_path / "report.json").write_text("before")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(outputs.shutil, "disk_usage", lambda _: usage._replace(free=0))
    with pytest.raises(InputError, match="is full"):
        write_json({}, tmp_path / "report.json")
    assert tree(tmp_path) == {"report.json": "before"}


def test_the_message_names_the_users_folder_not_the_temporary_one(used_folder, monkeypatch):
    usage = shutil.disk_usage(used_folder)
    monkeypatch.setattr(outputs.shutil, "disk_usage", lambda _: usage._replace(free=0))
    with pytest.raises(InputError) as refused:
        with OutputFolder(used_folder) as out:
            with whole_file(out / "transform.h5"):
                raise InputError("the writer's own words")
    assert str(refused.value).startswith(f"The disk of '{used_folder / 'transform.h5'}' is full")


def test_space_is_asked_for_in_advance(tmp_path):
    with OutputFolder(tmp_path) as out:
        out.require_free(1)
        with pytest.raises(InputError, match="are needed; free some space"):
            out.require_free(10**18)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    (tmp_path / "a.txt").write_text("before")
    with pytest.raises(KeyboardInterrupt):
        with whole_file(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt
    assert tree(tmp_path) == {"a.txt": "before"}
    with whole_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert tree(tmp_path) == {"a.txt": "new"}


def test_an_output_that_is_an_input_is_refused_under_any_name(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    scan = tmp_path / "out" / "warped.nii.gz"
    scan.write_text("scan")
    (tmp_path / "link.nii.gz").symlink_to(scan)
    os.link(scan, tmp_path / "hard.nii.gz")
    (tmp_path / "linked").symlink_to(tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    same = ["out/warped.nii.gz", "out/../link.nii.gz", "hard.nii.gz", "linked/warped.nii.gz"]
    for name in same:
        with pytest.raises(InputError, match="would overwrite"):
            refuse_overwriting([tmp_path / "other.nii", name], [tmp_path / "x.h5", scan])
    with pytest.raises(InputError, match="would overwrite"):
        refuse_overwriting(["missing.csv"], ["./missing.csv"])
    refuse_overwriting(same, ["out/transform.h5", "warped.nii.gz"])


def test_json_holds_numpy_values_and_null_for_what_is_not_finite(tmp_path):
    data = {
        "count": np.int64(3),
        "share": np.float32(0.5),
        "flag": np.True_,
        "points": np.array([[1.0, np.nan]]),
        "worst": float("inf"),
        "path": Path("ct.nii.gz"),
        "sizes": (1, np.uint8(2)),
        7: None,
    }
    write_json(data, tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text()) == {
        "count": 3,
        "share": 0.5,
        "flag": True,
        "points": [[1.0, None]],
        "worst": None,
        "path": "ct.nii.gz",
        "sizes": [1, 2],
        "7": None,
    }


def test_what_json_cannot_hold_leaves_the_old_file(tmp_path):
    (tmp_path / "report.json").write_text("before")
    with pytest.raises(TypeError):
        write_json({"a": object()}, tmp_path / "report.json")
    assert tree(tmp_path) == {"report.json": "before"}
