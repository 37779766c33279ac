"""`glidereg follow-up`: three dated scans of one phantom in, one row a nodule out."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from GLIDERegLib.evaluation.follow_up.scans import read_scans
from GLIDERegLib.evaluation.measuring import measure_nodule
from GLIDERegLib.evaluation.phantom import make_phantom
from GLIDERegLib.files.points import PointSet, write_points
from GLIDERegLib.files.volumes import read_volume, write_volume

# Voxels of 6 mm are too coarse for nodules that keep their size.
FAST = ["--preset=fast", "--features=local", "--spacing=12", "--nodules-as-tissue"]
# Each is measured at each date.
NODULES = 4
DAYS = ("2022-03-10", "2023-03-10", "2024-03-10")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The list of a patient who breathes in less from date to date; each date's nodules in an order of its
    own, under labels that tell nothing. Returns the list's path and the phantom's nodule of each mark.
    """
    folder = tmp_path_factory.mktemp("Doe^Jane")
    rng, rows, true = np.random.default_rng(0), ["scan,date,points,searched"], {}
    for day, amplitude in zip(DAYS, (16.0, 8.0, 0.0), strict=True):
        phantom = make_phantom((64, 64, 56), (6.0, 6.0, 6.0), amplitude_mm=amplitude)
        scan, nodules = (
            (phantom.moving, phantom.moving_nodules) if amplitude else (phantom.fixed, phantom.fixed_nodules)
        )
        write_volume(scan, folder / f"{day}.nii.gz")
        order = rng.permutation(NODULES)
        if day == DAYS[1]:
            order = order[1:]
        labels = [f"P{n}" for n in range(1, len(order) + 1)]
        write_points(PointSet(labels, nodules[order]), folder / f"{day}.csv")
        true |= {(day, label): int(n) for label, n in zip(labels, order, strict=True)}
        rows.append(f"{day}.nii.gz,{day},{day}.csv,{'yes' if day == DAYS[1] else ''}")
    path = folder / "scans.csv"
    path.write_text("\n".join(rows) + "\n")
    return path, true


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_three_dates_give_one_row_a_nodule_and_a_second_run_registers_nothing(glidereg, study, tmp_path):
    path, true = study
    out = tmp_path / "out"
    status, output, errors = glidereg("follow-up", path, "-o", out, *FAST, "--by-steps")
    assert (status, output.splitlines()[0]) == (0, "3 pairs: 3 to compute, one after another")
    rows = table(out / "nodules.csv")
    number = len({n for n in true.values()})
    assert f"{number} nodules, {len(true)} marks in 3 scans" in output and len(rows) == 3 * number
    found = {}
    for row in rows:
        if row["place"] == "marked":
            found.setdefault(row["nodule"], set()).add(true[row["date"], row["label"]])
    assert sorted(map(sorted, found.values())) == [[n] for n in range(number)]
    missing = [row for row in rows if row["place"] == "expected"]
    assert [(row["date"], row["status"]) for row in missing] == [(DAYS[1], "not seen (searched)")]
    # 2022 to 2023 to 2024 against 2022 to 2024.
    apart = [float(row["by_steps_mm"]) for row in rows if row["by_steps_mm"]]
    assert len(apart) == number and 0 < np.median(apart) < 6
    page = (out / "report.html").read_text("utf-8")
    assert "Doe^Jane" not in page and str(tmp_path) not in page and "Nodule follow-up" in page

    before = {p.name: p.stat().st_mtime_ns for p in (out / "registrations").glob("*/transform.h5")}
    (out / "nodules.csv").unlink()
    status, output, _ = glidereg("follow-up", path, "-o", out, *FAST)
    assert status == 0 and "2 done already, 0 to compute" in output and (out / "nodules.csv").is_file()
    assert {p.name: p.stat().st_mtime_ns for p in (out / "registrations").glob("*/transform.h5")} == before


@pytest.mark.parametrize("tissue", [False, True])
def test_marked_nodules_keep_their_size_in_each_registration(glidereg, study, tmp_path, monkeypatch, tissue):
    from GLIDERegLib.core.errors import InputError
    from GLIDERegLib.studies.cohort import run

    def registered(cases, *_, **__):
        for case in cases:
            given = case.fixed_nodules, case.moving_nodules
            names = [path and path.name for path in given]
            fixed, moving = case.fixed.name[:10], case.moving.name[:10]
            assert names == ([None, None] if tissue else [f"{fixed}.csv", f"{moving}.csv"])
        raise InputError(f"{len(cases)} were looked at")

    monkeypatch.setattr(run, "run_cohort", registered)
    options = FAST if tissue else FAST[:-1]
    status, _, errors = glidereg("follow-up", study[0], "-o", tmp_path / "out", *options)
    assert status == 2 and "2 were looked at" in errors


def test_nodules_that_doubled_are_told_so_and_the_warp_leaves_the_prior_its_size(glidereg, tmp_path):
    # Rigid balls of 12 and 14 mm that doubled; labels and order tell nothing.
    pair = make_phantom((92, 72, 96), (2.0,) * 3, amplitude_mm=8.0, nodule_growth=1.0)
    chosen, true = [pair.nodule_labels.index(f"nodule {n}") for n in (5, 7)], {}
    rows = ["scan,date,points,searched"]
    scans = {
        DAYS[0]: (pair.moving, pair.moving_nodules[chosen], ["P1", "P2"]),
        DAYS[2]: (pair.fixed, pair.fixed_nodules[chosen][::-1], ["P1", "P2"]),
    }
    for day, (scan, points, labels) in scans.items():
        write_volume(scan, tmp_path / f"{day}.nii.gz")
        write_points(PointSet(labels, points), tmp_path / f"{day}.csv")
        order = chosen if day == DAYS[0] else chosen[::-1]
        true |= {(day, label): n for label, n in zip(labels, order, strict=True)}
        rows.append(f"{day}.nii.gz,{day},{day}.csv,yes")
    (tmp_path / "scans.csv").write_text("\n".join(rows) + "\n")
    out = tmp_path / "out"
    options = ("--preset=fast", "--features=local", "--spacing=6")
    assert glidereg("follow-up", tmp_path / "scans.csv", "-o", out, *options)[0] == 0

    cells, growth = table(out / "nodules.csv"), table(out / "growth.csv")
    assert len(cells) == 4 and {row["status"] for row in cells} == {"measured"}
    for number in ("1", "2"):
        prior, current = (row for row in cells if row["nodule"] == number)
        assert true[prior["date"], prior["label"]] == true[current["date"], current["label"]]
        change = next(row for row in growth if row["nodule"] == number and row["quantity"] == "volume")
        # Painted with edges of one voxel, so that 100 % is not exact.
        assert float(change["change"]) == pytest.approx(100, abs=20) and float(change["change_low"]) > 25
        assert "at least 25 %" in change["words"] and "not within the 400 days" in change["words"]
        # Where the warp puts the prior nodule it is as large as it was scanned, half of the current one.
        place = [float(current[f"{axis}_lps_mm"]) for axis in "xyz"]
        warped = read_volume(out / "registrations" / f"{DAYS[0]}_to_{DAYS[2]}" / "warped.nii.gz", "warped")
        assert measure_nodule(warped, place).volume_mm3 == pytest.approx(float(prior["volume_mm3"]), rel=0.1)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("not in HU", "The values of the scan of 2022-03-10 are not Hounsfield units"),
        ("marks in RAS", "inside it where they are meant in RAS"),
        ("no marks", "No nodule is marked in any of the scans"),
        ("no openpyxl", "A workbook needs the package openpyxl"),
    ],
)
def test_what_would_fail_at_the_end_stops_before_anything_is_registered(
    glidereg, study, tmp_path, monkeypatch, fault, said
):
    scans = dict(zip(DAYS, read_scans(study[0]), strict=True))
    first, last = scans[DAYS[0]], scans[DAYS[2]]
    image, points, options = first.path, tmp_path / "points.csv", ["--nodules-as-tissue"]
    marks = first.marks()
    write_points(PointSet(marks.labels, marks.points), points)
    if fault == "not in HU":
        volume = read_volume(image, "scan")
        image = tmp_path / "shifted.nii.gz"
        write_volume(replace(volume, array=volume.array + 1024), image)
    elif fault == "marks in RAS":
        volume = read_volume(image, "scan")
        origin = tuple((np.asarray(volume.grid.origin) + (500, 500, 0)).tolist())
        image = tmp_path / "elsewhere.nii.gz"
        write_volume(replace(volume, grid=replace(volume.grid, origin=origin)), image)
        there = (marks.points + (500, 500, 0)) * (-1, -1, 1)
        write_points(PointSet(marks.labels, there), points)
    elif fault == "no openpyxl":
        monkeypatch.setitem(sys.modules, "openpyxl", None)
        options.append("--xlsx")
    points = "" if fault == "no marks" else points
    lines = ["scan,date,points", f"{image},{DAYS[0]},{points}", f"{last.path},{DAYS[2]},"]
    (tmp_path / "scans.csv").write_text("\n".join(lines) + "\n")
    status, output, errors = glidereg("follow-up", tmp_path / "scans.csv", "-o", tmp_path / "out", *options)
    assert status != 0 and said in errors and not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_what_is_registered_stays_on_cancel(study, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "GLIDERegLib", "follow-up", str(study[0]), "-o", str(out), *FAST]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    first = out / "registrations" / f"{DAYS[0]}_to_{DAYS[2]}" / "status.json"
    end = time.monotonic() + 120
    while not first.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "1 of 2 pairs are done and stay" in errors
    assert first.exists() and not (out / "nodules.csv").exists()
    assert not [p for p in out.rglob(".glidereg-*")]


def test_scans_of_different_patients_stop_before_anything_is_registered(
    glidereg, study, tmp_path, monkeypatch
):
    from GLIDERegLib.evaluation.follow_up import scans
    from GLIDERegLib.files.patients import Patient

    patients = iter(["1", "2", "1"] * 2)
    monkeypatch.setattr(scans, "scan_identity", lambda path, role: (Patient(next(patients), "Doe"), ""))
    status, output, errors = glidereg("follow-up", study[0], "-o", tmp_path / "out")
    assert (status, output) == (2, "") and not (tmp_path / "out").exists()
    assert "The scans of 2022-03-10 and 2023-03-10 are of different patients: their IDs differ" in errors
    assert "--allow-different-patients" in errors and "Doe" not in errors
