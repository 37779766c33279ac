"""`glidereg check` and `glidereg consistency`: what they write other commands read."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from GLIDERegLib.evaluation.phantom import make_phantom
from GLIDERegLib.files.transforms import write_transform
from GLIDERegLib.files.volumes import write_volume


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A phantom that only moved as a whole by (4, -3, 2) mm, as files with that translation."""
    folder = tmp_path_factory.mktemp("pair")
    still = make_phantom((64, 48, 56), (4.0, 4.0, 4.0), amplitude_mm=0.0, seed=5, shift_mm=(4, -3, 2))
    for volume in (still.fixed, still.moving):
        write_volume(volume, folder / f"{volume.name}.nii.gz")
    write_transform(sitk.TranslationTransform(3, (4, -3, 2)), folder / "right.tfm")
    write_transform(sitk.TranslationTransform(3, (4, -3, 10)), folder / "wrong.tfm")
    return folder


@pytest.fixture(scope="module")
def scans(pair):
    return ["--fixed", pair / "fixed.nii.gz", "--moving", pair / "moving.nii.gz"]


def test_a_check_writes_landmarks_map_and_report_and_says_one_line(glidereg, pair, scans, tmp_path):
    out = tmp_path / "check"
    status, said, _ = glidereg("check", "--transform", pair / "wrong.tfm", *scans, "-o", out, "--count", 20)
    assert status == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "check.json",
        "error_map.nrrd",
        "fixed_landmarks.csv",
        "moving_landmarks.csv",
    ]
    report = json.loads((out / "check.json").read_text())
    assert report["error_mm"]["final"]["median"] == pytest.approx(8.0, abs=0.5)
    assert len(report["worst"]) == 10
    assert said.splitlines()[-1] == report["summary"]
    told = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "error_map.nrrd")))
    assert np.nanmedian(told) == pytest.approx(8.0, abs=0.5)

    evaluated = tmp_path / "evaluated.json"
    points = [f"--{role}-points={out / f'{role}_landmarks.csv'}" for role in ("fixed", "moving")]
    arguments = ["--transform", pair / "right.tfm", *scans, *points, "-o", evaluated]
    assert glidereg("evaluate", *arguments)[0] == 0
    error = json.loads(evaluated.read_text())["target_registration_error"]["final"]
    assert error["n"] == report["landmarks"]["found"] and error["median"] < 1.0


def test_a_count_out_of_range_is_one_line(glidereg, pair, scans, tmp_path):
    arguments = ["--transform", pair / "right.tfm", *scans, "-o", tmp_path / "x", "--count", 3]
    status, _, error = glidereg("check", *arguments)
    assert status == 2 and error.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_consistency_with_a_given_way_back(glidereg, pair, scans, tmp_path):
    write_transform(sitk.TranslationTransform(3, (-4, 3, 0)), tmp_path / "back.tfm")
    out = tmp_path / "report.json"
    arguments = ["--transform", pair / "right.tfm", *scans[:2], "--backward", tmp_path / "back.tfm"]
    assert glidereg("consistency", *arguments, "-o", out)[0] == 0
    report = json.loads(out.read_text())
    assert report["kind"] == "inverse consistency"
    assert report["residual_mm"]["mean"] == pytest.approx(2.0)


def test_consistency_registers_with_the_scans_exchanged(glidereg, pair, scans, tmp_path):
    out = tmp_path / "report.json"
    arguments = [
        "--transform",
        pair / "right.tfm",
        *scans,
        "--preset",
        "fast",
        "--features",
        "local",
        "--spacing",
        "8",
        "--keep-backward",
        tmp_path / "back.h5",
    ]
    assert glidereg("consistency", *arguments, "-o", out, "--quiet")[0] == 0
    report = json.loads(out.read_text())
    assert report["backward"] == "registered with the scans exchanged"
    # A registration of a pair that only moved as a whole, computed on voxels of 8 mm.
    lungs = [values["median"] for name, values in report["regions_mm"].items() if "third" in name]
    assert max(lungs) < 4.0
    # What was kept is the way back that was measured.
    given = ["--transform", pair / "right.tfm", *scans[:2], "--backward", tmp_path / "back.h5"]
    assert glidereg("consistency", *given, "-o", tmp_path / "again.json", "--quiet")[0] == 0
    assert json.loads((tmp_path / "again.json").read_text())["residual_mm"] == report["residual_mm"]


def test_consistency_without_a_second_way_is_refused(glidereg, pair, scans, tmp_path):
    arguments = ["--transform", pair / "right.tfm", *scans[:2], "-o", tmp_path / "r.json"]
    status, _, error = glidereg("consistency", *arguments)
    assert status == 2 and "--backward" in error
    status, _, error = glidereg("consistency", *arguments, "--second", pair / "right.tfm")
    assert status == 2 and "--direct" in error
    backward = ["--backward", pair / "right.tfm", "--keep-backward", tmp_path / "b.h5"]
    status, _, error = glidereg("consistency", *arguments, *backward)
    assert status == 2 and "--keep-backward" in error and not (tmp_path / "b.h5").exists()
