"""A comparison runs every method on the same files, keeps what is done, and survives what goes wrong."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.files.points import PointSet, write_points
from GLIDERegLib.files.transforms import write_transform
from GLIDERegLib.files.volumes import read_volume, write_volume
from GLIDERegLib.studies.benchmark import prepare as preparation
from GLIDERegLib.studies.benchmark.about import about
from GLIDERegLib.studies.benchmark.plots import write_plots
from GLIDERegLib.studies.benchmark.prepare import prepare, task_of
from GLIDERegLib.studies.benchmark.run import Plan, kept_results, run_benchmark
from GLIDERegLib.studies.benchmark.tables import default_reference, table_text, write_tables
from GLIDERegLib.studies.cases import Case
from GLIDERegLib.studies.peers import choose_methods

GRID = Grid((24, 22, 20), (2.0, 2.5, 3.0), (-20, 10, 5))
SHIFT = (4.0, -2.5, 3.0)
POINTS = GRID.to_physical(np.random.default_rng(0).uniform(5, 14, (12, 3)))


@dataclass
class Shift:
    """A method that finds a translation: its process writes it into a file, and its name into a list."""

    name: str
    calls: Path
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    release: str = "1"
    end: str = "true"
    lacking: str | None = None

    def missing(self):
        return self.lacking

    def command(self, task):
        text = " ".join(map(str, self.offset))
        return [
            "sh",
            "-c",
            f"echo {self.name} >> '{self.calls}'; echo {text} > '{task.folder}/found'; {self.end}",
        ]

    def transform(self, task):
        if not (task.folder / "found").is_file():
            raise InputError("There is no result.")
        return sitk.TranslationTransform(3, np.loadtxt(task.folder / "found").tolist())

    def version(self):
        return f"shift {self.release}"


class Empty(Shift):
    """Leaves nothing."""

    def command(self, task):
        return ["true"]


class Interrupted(Shift):
    """The user presses Ctrl-C while it is at work."""

    def transform(self, task):
        raise KeyboardInterrupt


@pytest.fixture
def case(tmp_path):
    return make_case(tmp_path / "inputs" / "one", "one")


@pytest.fixture
def right(tmp_path):
    return Shift("right", tmp_path / "calls", SHIFT)


@pytest.fixture
def idle(tmp_path):
    return Shift("idle", tmp_path / "calls")


def make_case(folder, name, shift=SHIFT, moving_grid=GRID, seed=0):
    """A case whose moving image and labels are the fixed ones, moved by a shift in mm."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    coarse = ndimage.gaussian_filter(rng.normal(0, 1500, (40, 40, 40)), 1.5)
    files = {}
    for role, grid, offset in (("fixed", GRID, (0, 0, 0)), ("moving", moving_grid, shift)):
        at = np.moveaxis(grid.points() - offset - GRID.origin, -1, 0)[::-1] / 2.0 + 5
        values = ndimage.map_coordinates(coarse, at, order=1, mode="nearest")
        volumes = {role: values.astype(np.float32), f"{role}_labels": (values > 0).astype(np.uint8) + 1}
        for file, array in volumes.items():
            files[file] = folder / f"{file}.nii.gz"
            write_volume(Volume(array, grid), files[file])
        files[f"{role}_points"] = folder / f"{role}.csv"
        write_points(
            PointSet([f"P{n}" for n in range(len(POINTS))], POINTS + offset), files[f"{role}_points"]
        )
    files["truth"] = folder / "truth.h5"
    write_transform(sitk.TranslationTransform(3, shift), files["truth"])
    return Case(name, **files, structures=((1, "tissue"), (2, "bone")))


def calls(method):
    return method.calls.read_text().split() if method.calls.exists() else []


def status(results):
    return {(record["case"], record["method"]): record["status"] for record in results.records}


def final(record, key="target_registration_error"):
    return record["metrics"][key]["final"]


CIRCUMSTANCES = about("glidereg benchmark pairs pairs.csv -o out", 1, None, 1)


def test_every_method_is_judged_by_the_known_truth(case, right, idle, tmp_path):
    found = {r["method"]: r for r in run_benchmark([case], [right, idle], tmp_path / "out").records}
    assert final(found["right"])["max"] < 1e-5
    assert final(found["idle"])["mean"] == pytest.approx(np.linalg.norm(SHIFT), rel=1e-5)
    assert final(found["right"], "truth_error")["max"] < 1e-5
    assert final(found["idle"], "truth_error")["max"] == pytest.approx(np.linalg.norm(SHIFT), rel=1e-5)
    assert final(found["right"], "dice")["mean"] > final(found["idle"], "dice")["mean"] + 0.1
    assert found["right"]["seconds"] > 0


def test_a_second_call_runs_nothing_again(case, right, idle, tmp_path):
    first = run_benchmark([case], [right, idle], tmp_path / "out")
    second = run_benchmark([case], [right, idle], tmp_path / "out")
    assert calls(right) == ["right", "idle"]
    assert second.records == first.records


def test_an_interrupted_comparison_goes_on_where_it_stopped(case, right, idle, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_benchmark([case], [right, Interrupted("second", right.calls), idle], tmp_path / "out")
    results = run_benchmark([case], [right, Shift("second", right.calls), idle], tmp_path / "out")
    assert calls(right) == ["right", "second", "second", "idle"]
    assert set(status(results).values()) == {"done"}


def test_what_several_calls_and_a_stopped_one_left_comes_into_one_table(case, right, idle, tmp_path):
    out = tmp_path / "out"
    other = make_case(tmp_path / "inputs" / "two", "two", seed=1)
    run_benchmark([other], [idle], out)
    run_benchmark([case], [right], out, Plan(threads=2))
    with pytest.raises(KeyboardInterrupt):
        run_benchmark([case], [right, Interrupted("second", right.calls), idle], out)
    kept = kept_results(out, ["one"], ["idle", "right"], Plan())
    assert status(kept) == {("one", "right"): "done", ("two", "idle"): "done"}
    assert (kept.cases, kept.methods) == (["one", "two"], ["idle", "right"])
    text = table_text(kept, "right", CIRCUMSTANCES)
    assert "| right | 1/2 |" in text and "| idle | 1/2 |" in text
    assert kept_results(out, [], [], Plan(repeats=3)).records == []


@pytest.mark.parametrize("change", ["version", "command", "threads", "repeats", "points", "record"])
def test_only_what_has_changed_runs_again(case, right, idle, tmp_path, change):
    out = tmp_path / "out"
    run_benchmark([case], [right, idle], out)
    right.calls.unlink()
    plan, again = Plan(), ["right"]
    if change == "version":
        right.release = "2"
    elif change == "command":
        right.offset = (1.0, 1.0, 1.0)
    elif change == "record":
        (out / "records" / "one" / "right.json").write_text("{")
    elif change == "threads":
        plan, again = Plan(threads=2), ["right", "idle"]
    elif change == "repeats":
        plan, again = Plan(repeats=2), ["right", "right", "idle", "idle"]
    else:
        write_points(PointSet([f"P{n}" for n in range(12)], POINTS + 1), case.moving_points)
        again = ["right", "idle"]
    run_benchmark([case], [right, idle], out, plan)
    assert calls(right) == again


def test_failures_are_told_and_the_rest_goes_on(case, right, tmp_path):
    damaged = make_case(tmp_path / "inputs" / "two", "damaged")
    damaged.moving.write_bytes(damaged.moving.read_bytes()[:500])
    methods = [
        Shift("absent", tmp_path / "calls", lacking="Install absent."),
        Shift("broken", tmp_path / "calls", end="echo no luck; exit 3"),
        Empty("empty", tmp_path / "calls"),
        right,
    ]
    results = run_benchmark([damaged, case], methods, tmp_path / "out")
    assert status(results) == {
        ("damaged", "absent"): "missing",
        ("damaged", "broken"): "failed",
        ("damaged", "empty"): "failed",
        ("damaged", "right"): "failed",
        ("one", "absent"): "missing",
        ("one", "broken"): "failed",
        ("one", "empty"): "failed",
        ("one", "right"): "done",
    }
    reasons = {(record["case"], record["method"]): record["reason"] for record in results.records}
    assert "moving.nii.gz" in reasons["damaged", "right"]
    assert "no luck" in reasons["one", "broken"]
    assert "There is no result." in reasons["one", "empty"]
    text = table_text(results, "right", CIRCUMSTANCES)
    assert "missing: absent. Install absent." in text and "broken on one: failed." in text
    assert "| right | 1/2 |" in text and "| broken | 0/2 | –" in text


def test_a_failure_runs_again_only_when_asked_for(case, tmp_path):
    broken = Shift("broken", tmp_path / "calls", end="exit 1")
    for _ in range(2):
        run_benchmark([case], [broken], tmp_path / "out")
    assert calls(broken) == ["broken"]
    run_benchmark([case], [broken], tmp_path / "out", Plan(retry_failed=True))
    assert calls(broken) == ["broken", "broken"]


def test_a_method_that_takes_too_long_is_a_timeout(case, tmp_path):
    slow = Shift("slow", tmp_path / "calls", end="sleep 60")
    results = run_benchmark([case], [slow], tmp_path / "out", Plan(timeout=0.5))
    assert status(results) == {("one", "slow"): "timeout"}


def test_a_result_outlives_the_program_that_made_it(case, right, tmp_path):
    run_benchmark([case], [right], tmp_path / "out")
    right.lacking = "Install right."
    assert status(run_benchmark([case], [right], tmp_path / "out")) == {("one", "right"): "done"}
    assert status(run_benchmark([case], [right], tmp_path / "new")) == {("one", "right"): "missing"}
    right.lacking = None
    assert status(run_benchmark([case], [right], tmp_path / "new")) == {("one", "right"): "done"}


def test_repeats_give_the_median_time(case, right, tmp_path):
    record = run_benchmark([case], [right], tmp_path / "out", Plan(repeats=3)).records[0]
    assert calls(right) == ["right"] * 3
    assert record["seconds"] == sorted(record["seconds_each"])[1]


def test_a_methods_files_are_removed_unless_they_are_to_be_kept(case, right, tmp_path):
    run_benchmark([case], [right], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out/cases/one/right").iterdir()] == ["log.txt"]
    run_benchmark([case], [right], tmp_path / "kept", Plan(keep=True))
    assert (tmp_path / "kept/cases/one/right/found").is_file()


def test_two_methods_of_one_name_are_refused(case, right, tmp_path):
    with pytest.raises(InputError, match="right"):
        run_benchmark([case], [right, replace(right)], tmp_path / "out")


def test_a_file_in_the_place_of_the_folder_is_refused(case, right, tmp_path):
    (tmp_path / "out").write_text("precious")
    with pytest.raises(InputError, match="out"):
        run_benchmark([case], [right], tmp_path / "out")
    assert (tmp_path / "out").read_text() == "precious"


def test_scans_on_different_grids_come_to_all_methods_on_the_fixed_grid(right, tmp_path):
    oblique = tuple(np.ravel(sitk.VersorTransform((0, 1, 1), 0.1).GetMatrix()))
    other = Grid((30, 28, 40), (2.2, 2.0, 1.9), (-26, 2, 0), oblique)
    case = make_case(tmp_path / "inputs", "one", moving_grid=other)
    for role, grid in (("fixed", GRID), ("moving", other)):
        mask = np.zeros(grid.shape, np.uint8)
        mask[6:-6, 5:-5, 5:-5] = 1
        write_volume(Volume(mask, grid), tmp_path / f"{role}_mask.nii.gz")
    case = replace(case, **{f"{role}_mask": tmp_path / f"{role}_mask.nii.gz" for role in ("fixed", "moving")})
    record = run_benchmark([case], [right], tmp_path / "out").records[0]
    assert final(record)["max"] < 1e-5
    folder = tmp_path / "out/cases/one"
    task = task_of(case, folder, folder / "right", 1)
    for path in (task.fixed, task.moving, task.fixed_mask, task.moving_mask):
        assert read_volume(path).grid.matches(GRID)
    given = {role: sitk.ReadImage(str(getattr(case, role))) for role in ("fixed", "moving", "moving_mask")}
    expected = sitk.Resample(given["moving"], given["fixed"], sitk.Transform(), sitk.sitkLinear, -1024)
    inside = sitk.Resample(given["moving"] * 0 + 1, given["fixed"], sitk.Transform(), sitk.sitkLinear, 0)
    inside = sitk.GetArrayFromImage(inside) == 1
    moving = read_volume(task.moving).array
    np.testing.assert_allclose(moving[inside], sitk.GetArrayFromImage(expected)[inside], atol=1e-3)
    expected = sitk.Resample(given["moving_mask"], given["fixed"], sitk.Transform(), sitk.sitkNearestNeighbor)
    np.testing.assert_array_equal(read_volume(task.moving_mask).array, sitk.GetArrayFromImage(expected))


def test_a_method_that_takes_two_grids_gets_the_moving_scan_as_it_is_given(right, tmp_path):
    other = Grid((30, 28, 40), (2.2, 2.0, 1.9), (-26, 2, 0))
    case = make_case(tmp_path / "inputs", "one", moving_grid=other)
    mask = np.zeros(other.shape, np.uint8)
    mask[:, 5:-5] = 1
    write_volume(Volume(mask, other), tmp_path / "mask.nii.gz")
    case = replace(case, moving_mask=tmp_path / "mask.nii.gz")
    folder = tmp_path / "out"
    prepare(case, folder)
    task = task_of(case, folder, folder / "right", 1)
    for path, given in zip(
        (task.on_own_grid().moving, task.on_own_grid().moving_mask),
        (case.moving, case.moving_mask),
        strict=True,
    ):
        found, expected = read_volume(path), read_volume(given)
        assert found.grid.matches(expected.grid)
        np.testing.assert_array_equal(found.array, expected.array)
    greedy, convexadam = choose_methods(["greedy", "convexadam"])
    assert str(task.given) in greedy.command(task) and str(task.moving) in convexadam.command(task)
    same = make_case(tmp_path / "same", "same")
    assert task_of(same, folder, folder, 1).given is None
    # An alignment is part of what all get, and it is in the resampled scan alone.
    assert task_of(replace(case, align=True), folder, folder, 1).on_own_grid().moving == task.moving


def test_the_initial_alignment_is_part_of_what_is_judged(case, right, tmp_path, monkeypatch):
    affine = sitk.AffineTransform(3)
    affine.SetMatrix((1.05, 0.04, 0, -0.03, 0.97, 0.02, 0, 0.01, 1.02))
    affine.SetTranslation((3, -2, 1))
    monkeypatch.setattr(preparation, "prealign", lambda *given: affine)
    # The method's shift comes first, the alignment after it.
    goal = [affine.TransformPoint((point + SHIFT).tolist()) for point in POINTS]
    write_points(PointSet([f"P{n}" for n in range(12)], np.array(goal)), case.moving_points)
    record = run_benchmark([replace(case, align=True)], [right], tmp_path / "out").records[0]
    assert final(record)["max"] < 1e-4
    given = [sitk.ReadImage(str(path)) for path in (case.moving, case.fixed)]
    expected = sitk.GetArrayFromImage(sitk.Resample(*given, affine, sitk.sitkLinear, -5000))
    moving = read_volume(tmp_path / "out/cases/one/moving.nii.gz").array
    inside = expected > -5000
    assert 0.5 < inside.mean() < 1
    np.testing.assert_allclose(moving[inside], expected[inside], atol=1e-2)


def test_prepared_files_are_made_once(case, tmp_path):
    prepare(case, tmp_path / "prepared")
    before = (tmp_path / "prepared/fixed.nii.gz").stat().st_mtime_ns
    prepare(case, tmp_path / "prepared")
    assert (tmp_path / "prepared/fixed.nii.gz").stat().st_mtime_ns == before


@pytest.fixture(scope="module")
def two_cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    cases = make_case(folder / "1", "one"), make_case(folder / "2", "two", shift=(1.0, 2.0, -4.0), seed=1)
    methods = Shift("right", folder / "calls", SHIFT), Shift("idle", folder / "calls")
    return run_benchmark(cases, methods, folder / "out")


def test_tables_hold_a_row_for_each_case_and_method(two_cases, tmp_path):
    write_tables(two_cases, tmp_path, "right", CIRCUMSTANCES)
    rows = list(csv.DictReader((tmp_path / "results.csv").open(encoding="utf-8")))
    assert [(row["case"], row["method"]) for row in rows] == [
        ("one", "right"),
        ("one", "idle"),
        ("two", "right"),
        ("two", "idle"),
    ]
    assert float(rows[3]["tre_mean"]) == pytest.approx(np.sqrt(21), rel=1e-5)
    # The shift of the first case takes each point of the second one that far from the right place.
    assert float(rows[2]["tre_p95"]) == pytest.approx(np.linalg.norm([3.0, -4.5, 7.0]), rel=1e-5)
    assert float(rows[0]["dice_bone"]) > 0.8
    everything = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert everything["records"] == two_cases.records
    assert everything["about"]["machine"]["memory_bytes"] > 0


def test_the_table_sums_up_all_landmarks(two_cases):
    lines = table_text(two_cases, "right", CIRCUMSTANCES).splitlines()
    header, idle = ([cell.strip() for cell in lines[n].split("|")[1:-1]] for n in (0, 3))
    cells = dict(zip(header, idle, strict=True))
    errors = np.repeat([np.linalg.norm(SHIFT), np.sqrt(21)], 12)
    assert cells["method"] == "idle" and cells["cases"] == "2/2"
    assert cells["TRE (mm), mean ± SD"] == f"{errors.mean():.2f} ± {errors.std():.2f}"
    assert cells["within 5 mm (%)"] == f"{100 * np.mean(errors <= 5):.1f}"
    assert cells["folding (%)"] == "0.0000"
    assert {"Dice tissue", "Dice bone", "Dice mean", "truth, 95 %"} <= cells.keys()
    assert not {"snapped TRE (mm)", "time / convexadam"} & cells.keys()


def test_the_table_tells_how_it_was_made(two_cases):
    text = table_text(two_cases, "right", CIRCUMSTANCES)
    for part in (CIRCUMSTANCES["command"], CIRCUMSTANCES["date"], "right: shift 1", "Against right", "Holm"):
        assert part in text
    assert "load before the start" in text and "1 thread(s)" in text


def test_the_table_tells_of_results_from_an_earlier_day_and_another_machine(two_cases):
    first, *rest = two_cases.records
    old = first | {"made": {"date": "2020-02-02T00:00:00+00:00", "processor": "Abacus"}, "version": "shift 0"}
    text = table_text(replace(two_cases, records=[old, *rest]), "right", CIRCUMSTANCES)
    line = next(line for line in text.splitlines() if "Results made from" in line)
    assert "2020-02-02" in line and rest[-1]["made"]["date"] in line
    assert "Abacus" in line and CIRCUMSTANCES["machine"]["processor"] in line
    assert "right: shift 0 and shift 1" in text


def test_times_are_told_relative_to_convexadam(case, right, tmp_path):
    peer = Shift("convexadam", tmp_path / "calls", end="sleep 0.3")
    results = run_benchmark([case], [right, peer], tmp_path / "out")
    header, _, *rows = table_text(results, "right", CIRCUMSTANCES).splitlines()[:4]
    place = [cell.strip() for cell in header.split("|")].index("time / convexadam")
    own, other = (float(row.split("|")[place]) for row in rows)
    assert other == 1
    seconds = {record["method"]: record["seconds"] for record in results.records}
    assert own == pytest.approx(seconds["right"] / seconds["convexadam"], abs=0.006)
    # Another load on the machine makes a method wait, but its own work no longer.
    place = [cell.strip() for cell in header.split("|")].index("CPU / convexadam")
    assert [float(row.split("|")[place]) for row in rows][1] == 1


def test_weights_that_were_not_published_are_named_so(two_cases):
    from GLIDERegLib.files.checkpoints import CHECKPOINTS
    from GLIDERegLib.studies.benchmark.about import describe_weights

    published = CHECKPOINTS["sam2.1_hiera_tiny"].sha256
    assert describe_weights(f"sha256:{published}") == "weights: sam2.1_hiera_tiny as published"
    assert "not a published checkpoint" in describe_weights("sha256:123")
    used = replace(two_cases, records=[record | {"weights": "sha256:123"} for record in two_cases.records])
    assert "weights: sha256:123, not a published checkpoint" in table_text(used, "right", CIRCUMSTANCES)


def test_ours_is_the_reference_unless_told():
    assert default_reference(["none", "glidereg-fast", "glidereg-default"]) == "glidereg-default"
    assert default_reference(["none", "syn"]) == "none"


def test_plots_are_drawn_of_what_there_is(two_cases, case, right, tmp_path):
    drawn = write_plots(two_cases, tmp_path)
    assert [path.name for path in drawn] == [
        "error_curves.png",
        "errors_by_case.png",
        "dice_by_structure.png",
    ]
    for path in drawn:
        array = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        assert min(array.shape[:2]) > 300 and array.std() > 5
    # Two methods that share no case cannot be summed up in one curve, and families label in their own ways.
    first, *_, last = two_cases.records
    apart = replace(two_cases, records=[first | {"family": "a"}, last | {"family": "b"}])
    assert [path.name for path in write_plots(apart, tmp_path)] == ["errors_by_case.png"]
    assert [path.name for path in tmp_path.glob("*.png")] == ["errors_by_case.png"]
    text = table_text(apart, "right", CIRCUMSTANCES)
    assert text.startswith("Family ") and "Dice mean" in text and "Dice bone" not in text
    bare = replace(case, fixed_points=None, moving_points=None, fixed_labels=None, moving_labels=None)
    assert write_plots(run_benchmark([bare], [right], tmp_path / "bare"), tmp_path) == []
