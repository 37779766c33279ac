"""Many pairs in one call: what one of them does harms no other, and nothing is computed twice."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from GLIDERegLib.core.errors import Cancelled, InputError
from GLIDERegLib.studies.cases import Case
from GLIDERegLib.studies.cohort.records import write_record
from GLIDERegLib.studies.cohort.run import run_cohort

ROOT = Path(__file__).parents[2]
STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in.py")))


@pytest.fixture
def make_case(tmp_path):
    """Makes a pair of which the stand-in for the registration does one of its deeds."""
    folder = tmp_path / "images"
    folder.mkdir()

    def make(name, deed="register", **others):
        fixed, moving = folder / f"{name}_fixed", folder / f"{name}_moving"
        fixed.write_text(deed)
        moving.write_text("moving")
        return Case(name, fixed, moving, **others)

    return make


@pytest.fixture
def cohort(tmp_path):
    """Runs pairs into one folder; returns the records and the names of those that were computed."""

    def run(cases, *options, **keywords):
        computed = []
        records = run_cohort(
            cases,
            tmp_path / "out",
            options,
            command=STAND_IN,
            finished=lambda name, record: computed.append(name),
            **keywords,
        )
        return records, sorted(computed)

    return run


def table(folder):
    with open(folder / "cohort.csv", newline="", encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def hidden(folder):
    return [path for path in folder.rglob(".*")]


def test_forty_pairs_survive_a_bad_file_a_dying_worker_and_a_lack_of_memory(cohort, make_case, tmp_path):
    pytest.importorskip("distributed", reason="needs the extra `cohort`")
    (tmp_path / "killed").mkdir()
    deeds = {
        7: "input",
        15: "kill worker",
        16: f"kill some workers\n{tmp_path / 'killed'}\n1",
        23: "large",
    }
    cases = [make_case(f"pair{n:02}", deeds.get(n, "register")) for n in range(40)]
    records, computed = cohort(cases, workers=2, threads=1, limit=0.2)

    assert computed == [case.name for case in cases]
    failed = {name: record for name, record in records.items() if record["status"] == "failed"}
    assert failed.keys() == {"pair07", "pair15", "pair23"}
    assert failed["pair07"]["reason"] == "The fixed image is damaged; mend it."
    assert "worker died each time" in failed["pair15"]["reason"]
    assert "took more than the 0.2 GB" in failed["pair23"]["reason"]
    assert len(os.listdir(tmp_path / "killed")) == 1
    results = list((tmp_path / "out").glob("*/warped.nii.gz"))
    assert len(results) == 37 and {file.read_text() for file in results if "pair16" not in str(file)} == {
        "whole"
    }
    rows = table(tmp_path / "out")
    assert [row["status"] for row in rows.values()].count("done") == 37 and list(rows) == list(records)
    assert not hidden(tmp_path / "out")

    (tmp_path / "out" / "pair03" / "warped.nii.gz").unlink()
    cases[5].fixed.write_text("register\n")
    records, computed = cohort([*cases, make_case("new")], workers=2, threads=1, limit=0.2)
    assert computed == ["new", "pair03", "pair05"]
    assert [record["status"] for record in records.values()].count("done") == 38


def test_a_pair_blamed_for_its_neighbours_deaths_gets_its_turn_alone(cohort, make_case, tmp_path):
    """A pair that sees as many workers die as Dask forgives, whoever killed them, is done all the same."""
    pytest.importorskip("distributed", reason="needs the extra `cohort`")
    (tmp_path / "killed").mkdir()
    blamed = f"kill some workers\n{tmp_path / 'killed'}\n2"
    records, computed = cohort([make_case("blamed", blamed), make_case("a"), make_case("b")], workers=2)
    assert [record["status"] for record in records.values()] == ["done"] * 3
    assert computed == ["a", "b", "blamed"] and len(os.listdir(tmp_path / "killed")) == 2


FAILURES = {
    "input": (2, "The fixed image is damaged; mend it."),
    "memory": (3, "There is not enough memory."),
    "weights": (4, "The checkpoint is missing; download it."),
    "killed": (-9, "Killed from outside (signal 9), most likely because the machine's memory ran out."),
    "segfault": (-11, "Ended unexpectedly (SIGSEGV)."),
    "no report": (0, "The process ended without writing report.json."),
}


@pytest.mark.skipif(sys.platform == "win32", reason="has no signals")
def test_every_failure_is_recorded_with_its_reason_and_leaves_no_results(cohort, make_case, tmp_path):
    cases = [make_case(deed, deed) for deed in FAILURES]
    records, _ = cohort(cases, sequential=True)
    for name, (status, reason) in FAILURES.items():
        stored = json.loads((tmp_path / "out" / name / "status.json").read_text())
        assert (stored["status"], stored["exit_status"], stored["reason"]) == ("failed", status, reason)
        assert stored == json.loads(json.dumps(records[name]))
        assert [file.name for file in (tmp_path / "out" / name).iterdir()] == ["status.json"]
        assert table(tmp_path / "out")[name]["reason"] == reason


@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
def test_memory_that_a_process_shares_with_its_child_counts_once(cohort, make_case):
    records, _ = cohort([make_case("a", "fork")], limit=0.18)
    assert records["a"]["status"] == "done"
    assert 0.1 < records["a"]["peak_memory_gb"] < 0.15


def test_what_failed_is_repeated_only_on_demand_or_when_its_input_changed(cohort, make_case):
    cases = [make_case("bad", "input"), make_case("good")]
    assert cohort(cases)[1] == ["bad", "good"]
    records, computed = cohort(cases)
    assert computed == [] and records["bad"]["status"] == "failed"
    assert cohort(cases, retry_failed=True)[1] == ["bad"]
    cases[0].fixed.write_text("register")
    records, computed = cohort(cases)
    assert computed == ["bad"] and records["bad"]["status"] == "done"


def test_other_settings_compute_all_again_but_other_threads_nothing(cohort, make_case):
    cases = [make_case("a"), make_case("b")]
    cohort(cases, "--preset=fast", threads=1)
    assert cohort(cases, "--preset=fast", threads=2)[1] == []
    assert cohort(cases, "--preset=default", threads=2)[1] == ["a", "b"]


def test_a_checkpoint_another_version_and_a_file_in_a_folder_count_as_input(
    cohort, make_case, tmp_path, monkeypatch
):
    case = make_case("a")
    mask, weights = tmp_path / "series", tmp_path / "weights"
    mask.mkdir()
    (mask / "slice").write_text("1")
    weights.write_text("1")
    cases = [Case("a", case.fixed, case.moving, fixed_mask=mask)]
    options = ["--encoder=x", f"--checkpoint={weights}"]
    assert cohort(cases, *options)[1] == ["a"]
    assert cohort(cases, *options)[1] == []
    (mask / "slice").write_text("12")
    assert cohort(cases, *options)[1] == ["a"]
    weights.write_text("12")
    assert cohort(cases, *options)[1] == ["a"]
    monkeypatch.setattr("GLIDERegLib.studies.cohort.records.__version__", "next")
    assert cohort(cases, *options)[1] == ["a"]


def test_a_failure_leaves_no_result_of_earlier_settings_and_no_foreign_file_is_touched(
    cohort, make_case, tmp_path
):
    cases = [make_case("a")]
    cohort(cases)
    (tmp_path / "out" / "a" / "notes.txt").write_text("mine")
    cases[0].fixed.write_text("input")
    assert cohort(cases)[0]["a"]["status"] == "failed"
    names = sorted(file.name for file in (tmp_path / "out" / "a").iterdir())
    assert names == ["notes.txt", "status.json"]


def test_the_command_gets_absolute_paths_points_masks_and_options(cohort, make_case, tmp_path):
    points, mask = tmp_path / "points.csv", tmp_path / "mask.nii.gz"
    case = make_case("a", fixed_points=points, moving_mask=mask, align=True)
    cohort([case], "--seed=3", threads=5)
    report = json.loads((tmp_path / "out" / "a" / "report.json").read_text())
    assert report["arguments"][:2] == [str(case.fixed), str(case.moving)]
    wanted = {
        f"--fixed-points={points}",
        f"--moving-mask={mask}",
        "--seed=3",
        "--align=affine",
        "--threads=5",
        "--quiet",
    }
    assert wanted < set(report["arguments"])
    cohort([case], "--align=none")
    report = json.loads((tmp_path / "out" / "a" / "report.json").read_text())
    assert "--align=affine" not in report["arguments"]


def test_the_table_tells_what_the_reports_tell(cohort, make_case, tmp_path):
    cohort([make_case("a"), make_case("b", "input")])
    rows = table(tmp_path / "out")
    a = rows["a"]
    assert [float(a[key]) for key in ("tre_initial_mm", "tre_final_mm", "folded_share")] == [9.0, 1.5, 0.25]
    assert (a["points"], a["warnings"], a["correlation_final"], a["reason"]) == ("3", "One. Two.", "", "")
    assert float(a["seconds"]) > 0 and float(a["peak_memory_gb"]) > 0
    assert rows["b"]["tre_final_mm"] == "" and rows["b"]["status"] == "failed"


def test_a_pair_larger_than_the_machine_is_refused_and_tried_again_next_time(cohort, make_case, tmp_path):
    cases = [make_case("giant"), make_case("small")]
    needs = {"giant": 1e6, "small": 0.1}
    records, _ = cohort(cases, needs=lambda case: needs[case.name])
    assert records["small"]["status"] == "done"
    assert "needs about 1000000.0 GB and this machine has" in records["giant"]["reason"]
    assert not (tmp_path / "out" / "giant").exists()
    assert cohort(cases)[1] == ["giant"]


def test_results_cannot_land_among_a_pairs_own_inputs(make_case, tmp_path):
    folder = tmp_path / "out" / "a"
    folder.mkdir(parents=True)
    case = make_case("a")
    for bad in (Case("a", folder / "warped.nii.gz", case.moving), Case("a", case.fixed, tmp_path / "out")):
        with pytest.raises(InputError, match="choose another output folder"):
            run_cohort([bad], tmp_path / "out", command=STAND_IN)
    assert list(folder.iterdir()) == []


def test_a_file_in_a_folders_place_is_refused_before_anything_runs(make_case, tmp_path):
    cases = [make_case("a", f"wait\n{tmp_path / 'pid'}"), make_case("b")]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b").write_text("file")
    (tmp_path / "file").write_text("file")
    for folder, message in (("file", "Cannot write"), ("out", "in the way")):
        with pytest.raises(InputError, match=message):
            run_cohort(cases, tmp_path / folder, command=STAND_IN)
    assert not (tmp_path / "pid").exists()


INTERRUPTED = """
import sys
from pathlib import Path
from GLIDERegLib.studies.cases import Case
from GLIDERegLib.studies.cohort.records import write_record
from GLIDERegLib.studies.cohort.run import run_cohort
from GLIDERegLib.core.errors import Cancelled

images, out, workers, *command = sys.argv[1:]
cases = [Case(n, Path(images) / f"{n}_fixed", Path(images) / f"{n}_moving") for n in ("a", "b", "c", "d")]
if __name__ == "__main__":
    try:
        run_cohort(cases, Path(out), workers=int(workers), command=command)
    except Cancelled as error:
        print(error)
        sys.exit(130)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="sends signals to a process group")
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_running_pairs_and_keeps_what_is_done(make_case, tmp_path, workers):
    if workers > 1:
        pytest.importorskip("distributed", reason="needs the extra `cohort`")
    for name, deed in {
        "a": "register",
        "b": f"wait\n{tmp_path / 'pid'}",
        "c": "register",
        "d": "wait\n/x",
    }.items():
        make_case(name, deed)
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED)
    process = subprocess.Popen(
        [sys.executable, script, tmp_path / "images", tmp_path / "out", str(workers), *STAND_IN],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    try:
        done = tmp_path / "out" / "a" / "status.json"
        while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text() and done.exists()):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        # As the terminal does: to every process that started from the command line.
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "pairs are done and stay" in output and "Traceback" not in errors
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))
    rows = table(tmp_path / "out")
    assert (rows["a"]["status"], rows["b"]["status"]) == ("done", "waiting")
    assert not (tmp_path / "out" / "b").exists() and not hidden(tmp_path / "out")


def test_ctrl_c_just_when_a_record_is_written_leaves_it_in_the_table(make_case, tmp_path, monkeypatch):
    def then_interrupted(*arguments):
        write_record(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr("GLIDERegLib.studies.cohort.run.write_record", then_interrupted)
    cases = [make_case(name, "register") for name in "ab"]
    with pytest.raises(Cancelled, match="1 of 2 pairs are done"):
        run_cohort(cases, tmp_path / "out", workers=1, command=STAND_IN)
    assert {name: row["status"] for name, row in table(tmp_path / "out").items()} == {
        "a": "done",
        "b": "waiting",
    }


def test_a_pair_does_not_outlive_whoever_asked_for_it(make_case, tmp_path):
    case = make_case("a", f"wait\n{tmp_path / 'pid'}")
    scratch = tmp_path / "scratch" / "run"
    scratch.mkdir(parents=True)
    command = [*STAND_IN, str(case.fixed), str(case.moving), f"--output={scratch / 'result'}"]
    guard = subprocess.Popen(
        [sys.executable, "-m", "GLIDERegLib.studies.cohort.guard"],
        stdin=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    order = {"command": command, "scratch": str(scratch), "limit": None, "stop": str(tmp_path / "stop")}
    guard.stdin.write(json.dumps(order) + "\n")
    guard.stdin.flush()
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()):
        assert guard.poll() is None
        time.sleep(0.02)
    guard.stdin.close()
    guard.wait(timeout=20)
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))
    assert not scratch.exists()


@pytest.fixture
def scheduler():
    """The address of a cluster in this process, with one worker that declares 4 GiB."""
    distributed = pytest.importorskip("distributed", reason="needs the extra `cohort`")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, resources={"memory": 4}, dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


def test_a_running_cluster_does_the_pairs_that_fit_and_refuses_the_others(
    cohort, make_case, tmp_path, scheduler
):
    needs = {"a": 3.0, "b": 5.0, "c": 3.0, "d": 0.5}
    cases = [make_case(name) for name in needs]
    records, _ = cohort(cases, scheduler=scheduler, needs=lambda case: needs[case.name])
    assert [record["status"] for record in records.values()] == ["done", "failed", "done", "done"]
    assert "needs about 5.0 GB and the largest worker declares 4.0 GB" in records["b"]["reason"]
    assert not (tmp_path / "out" / "b").exists() and not hidden(tmp_path / "out")


def test_pairs_on_a_cluster_that_do_not_fit_together_run_one_after_another(
    cohort, make_case, tmp_path, scheduler
):
    cases = [make_case(name, f"alone\n{tmp_path / 'busy'}") for name in "abcd"]
    records, _ = cohort(cases, scheduler=scheduler, needs=lambda case: 3.0)
    assert {record["reason"] for record in records.values()} == {None}


def test_an_address_that_is_none_is_refused(cohort, make_case):
    pytest.importorskip("distributed", reason="needs the extra `cohort`")
    with pytest.raises(InputError, match="no Dask scheduler at 'nowhere://x'"):
        cohort([make_case("a")], scheduler="nowhere://x")


def test_without_dask_three_pairs_are_refused_and_told_what_to_install(cohort, make_case, monkeypatch):
    for name in ("dask", "distributed", "distributed.system"):
        monkeypatch.setitem(sys.modules, name, None)
    cases = [make_case(name) for name in "abc"]
    with pytest.raises(InputError, match="`pip install distributed`"):
        cohort(cases)
    assert cohort(cases, sequential=True)[1] == ["a", "b", "c"]


def test_reasons_hold_no_path_of_the_pair(tmp_path):
    from GLIDERegLib.studies.cohort.pair import Job, _without_paths

    fixed, moving, points = (str(tmp_path / name) for name in ("Doe", "Doe/prior.nii.gz", "Doe.csv"))
    job = Job(
        "pair", None, (fixed, moving, f"--fixed-points={points}", "--preset=fast"), tmp_path, tmp_path, None
    )
    reason = f"The moving image '{moving}' is damaged; see '{points}' and {fixed}."
    found = _without_paths(reason, job)
    assert found == "The moving image is damaged; see and (fixed)." and "Doe" not in found
