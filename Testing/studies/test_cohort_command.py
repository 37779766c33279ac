"""`glidereg cohort`: a list of pairs in, folders and one table out."""

from __future__ import annotations

import argparse
import csv
import json

import pytest
import SimpleITK as sitk

from GLIDERegLib.evaluation.demo import write_pair
from GLIDERegLib.evaluation.phantom import make_phantom
from GLIDERegLib.studies.commands import cohort

FAST = ["--preset=fast", "--features=local", "--align=none", "--spacing=12"]


@pytest.fixture(scope="module")
def tiny_pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    write_pair(make_phantom((32, 32, 28), (12.0, 12.0, 12.0)), folder)
    return folder


def write_list(path, *rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("name", "fixed", "moving", "fixed_points", "moving_points"), *rows])
    return path


def test_a_good_and_a_damaged_pair_give_a_table_exit_status_5_and_no_second_computation(
    glidereg, tiny_pair, tmp_path
):
    files = [f"{role}{kind}" for kind in (".nii.gz", "_nodules.csv") for role in ("fixed", "moving")]
    (tiny_pair / "damaged.nii.gz").write_text("no image")
    pairs = write_list(
        tiny_pair / "pairs.csv", ("good", *files), ("damaged", "damaged.nii.gz", *files[1:2], "", "")
    )
    out = tmp_path / "new" / "out"
    status, output, errors = glidereg("cohort", pairs, "-o", out, *FAST)
    assert status == 5
    assert output.splitlines()[-1].startswith("1 of 2 pairs done")
    assert output.startswith("2 pairs: 2 to compute, one after another\n")
    assert errors.startswith("glidereg: error: 1 of 2 pairs failed") and errors.count("\n") == 1

    with open(out / "cohort.csv", newline="", encoding="utf-8") as file:
        good, damaged = csv.DictReader(file)
    report = json.loads((out / "good" / "report.json").read_text())
    assert report["settings"]["name"] == "fast" and report["settings"]["spacing"] == 12
    assert float(good["tre_final_mm"]) == report["target_registration_error"]["final"]["mean"]
    assert float(good["correlation_final"]) == report["similarity"]["final"]["normalised_cross_correlation"]
    assert float(good["folded_share"]) == report["jacobian"]["share_not_positive"]
    assert sitk.ReadTransform(str(out / "good" / "transform.h5")).GetDimension() == 3
    assert (damaged["status"], [f.name for f in (out / "damaged").iterdir()]) == ("failed", ["status.json"])
    # Tables are handed on: no path, which may hold a name.
    assert "fixed image cannot be read" in damaged["reason"] and str(tiny_pair) not in damaged["reason"]

    before = (out / "good" / "report.json").stat()
    status, output, errors = glidereg("cohort", pairs, "-o", out, *FAST, "--quiet")
    assert (status, output, errors.count("\n")) == (5, "", 1)
    assert (out / "good" / "report.json").stat() == before

    write_list(pairs, ("good", *files))
    status, output, errors = glidereg("cohort", pairs, "-o", out, *FAST)
    assert status == 0 and errors.startswith("1 of 1 pair done") and errors.count("\n") == 1
    assert (out / "good" / "report.json").stat() == before


REFUSED = {
    "--workers=0": "--workers",
    "--memory-per-pair=nan": "--memory-per-pair",
    "--preset=best": "Unknown preset",
    "--spacing=100": "spacing",
}


@pytest.mark.parametrize("option", REFUSED)
def test_a_wrong_option_is_refused_before_anything_runs(glidereg, tmp_path, option):
    pairs = write_list(tmp_path / "pairs.csv", ("a", "a.nii.gz", "b.nii.gz", "", ""))
    status, output, errors = glidereg("cohort", pairs, "-o", tmp_path / "out", option)
    assert (status, output, errors.count("\n")) == (2, "", 1)
    assert REFUSED[option] in errors and not (tmp_path / "out").exists()


def test_every_setting_reaches_each_registration_but_the_threads(tmp_path):
    commands = argparse.ArgumentParser().add_subparsers()
    cohort.add_parser(commands)
    given = [*FAST, "--seed=0", "--slice-step=2", f"--checkpoint={tmp_path / 'own.pt'}"]
    options = commands.choices["cohort"].parse_args(["pairs.csv", "-o", "out", *given, "--threads=3"])
    assert sorted(cohort.register_options(options)) == sorted([*given[:3], "--spacing=12.0", *given[4:]])
