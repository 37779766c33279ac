"""Runs every method on every case, one after the other, and keeps each result as soon as it is there."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import SimpleITK as sitk

from GLIDERegLib import __version__
from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.errors import GlideRegError, InputError
from GLIDERegLib.files.outputs import write_json
from GLIDERegLib.registration.progress import Progress, ProgressCallback
from GLIDERegLib.studies.benchmark.about import stamp
from GLIDERegLib.studies.benchmark.judge import Judge
from GLIDERegLib.studies.benchmark.prepare import made_of, prepare, task_of
from GLIDERegLib.studies.cases import Case, Method, Task
from GLIDERegLib.studies.peers.runner import LOG, run_method

if TYPE_CHECKING:
    from GLIDERegLib.studies.peers.runner import Run

# Raised when a measure changes its meaning, so that older records are made anew.
MEASURES = 2


@dataclass(frozen=True)
class Results:
    """One record (JSON-able) for every case and method, cases in the outer order.

    A record has case, family, method, made (date, processor), made_with, version, status ("done", "failed",
    "missing" or "timeout"), reason, and where done seconds (median of the repeats), seconds_each,
    cpu_seconds (median, None where the system does not tell), peak_bytes, weights, structures
    ({label: name}) and metrics, the report of `Judge`.
    """

    cases: list[str]
    methods: list[str]
    records: list[dict]

    def done(self, method: str) -> list[dict]:
        """The records of the cases a method finished."""
        return [r for r in self.records if r["method"] == method and r["status"] == "done"]


@dataclass(frozen=True)
class Plan:
    """How methods run. timeout: seconds a run may take. repeats: runs of a method, for a median time.
    retry_failed: whether what failed before runs again. keep: whether the methods' own files stay.
    """

    threads: int = 1
    timeout: float | None = None
    repeats: int = 1
    retry_failed: bool = False
    keep: bool = False


def run_benchmark(
    cases: Sequence[Case],
    methods: Sequence[Method],
    out: Path,
    plan: Plan | None = None,
    progress: ProgressCallback | None = None,
) -> Results:
    """Runs all methods on all cases and judges them; `out` is the folder of the results.

    out/cases/CASE holds what all methods get, out/cases/CASE/METHOD a method's log, and out/records/CASE has
    a JSON file for each method, written as soon as its run is judged. A second call with the same folder runs
    only what has no record yet, or whose scans, version, command, threads or repeats are other ones; failures
    and time-outs stay unless `plan.retry_failed`. What fails is recorded with its reason, and the rest goes
    on. Raises InputError for names that are given twice and for a folder that cannot be written.
    """
    plan, progress = plan or Plan(), progress or (lambda report: None)
    names = [case.name for case in cases], [method.name for method in methods]
    for given, what in zip(names, ("cases", "methods"), strict=True):
        twice = sorted({name for name in given if given.count(name) > 1})
        if twice:
            raise InputError(
                f"Two {what} are called {', '.join(twice)}.",
                "Give each a name of its own.",
                code="setting",
            )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"Cannot write '{out}': {error.strerror}.",
            "Choose a folder that can be written.",
            code="cannot-write",
        ) from error
    records = []
    for case in cases:
        for record, told in _run_case(case, methods, out, plan):
            records.append(record)
            fraction = len(records) / (len(cases) * len(methods))
            progress(Progress("benchmark", fraction, f"{case.name}, {record['method']}: {told}"))
    return Results(*names, records)


def kept_results(out: Path, cases: Sequence[str], methods: Sequence[str], plan: Plan) -> Results:
    """All that a folder of results holds of a plan's threads and repeats, whichever calls made it.

    cases, methods: names that come first, in this order; what else is there follows.
    """
    found = [record for path in sorted((out / "records").glob("*/*.json")) if (record := _read(path))]
    wanted = {"threads": plan.threads, "repeats": plan.repeats}
    found = [record for record in found if record["made_with"] == record["made_with"] | wanted]
    orders = []
    for key, first in (("case", cases), ("method", methods)):
        there = dict.fromkeys(record[key] for record in found)
        orders.append([*(name for name in first if name in there), *(n for n in there if n not in first)])
    cases, methods = orders
    found.sort(key=lambda record: (cases.index(record["case"]), methods.index(record["method"])))
    return Results(cases, methods, found)


def _run_case(case: Case, methods: Sequence[Method], out: Path, plan: Plan) -> Iterator[tuple[dict, str]]:
    """The record of every method on a case, and what happened in a few words."""
    origin, folder = made_of(case), out / "cases" / case.name
    initial = judge = problem = None
    for method in methods:
        place = out / "records" / case.name / f"{method.name}.json"
        task = task_of(case, folder, folder / method.name, plan.threads)
        missing = method.missing()
        made_with = _made_with(case, origin, plan, None if missing else method, task)
        earlier = _read(place)
        if earlier and _holds(earlier, made_with, missing, plan):
            yield earlier, f"{earlier['status']} before"
            continue
        if not missing and initial is None and problem is None:
            try:
                initial, judge = prepare(case, folder, origin), Judge(case)
            except GlideRegError as error:
                problem = f"The case cannot be used. {error}"
        record = {"case": case.name, "family": case.family, "method": method.name}
        record |= {"made": stamp(), "made_with": made_with}
        if missing or problem:
            record |= {"status": "missing" if missing else "failed", "reason": missing or problem}
        else:
            record |= {"version": method.version(), "structures": dict(case.structures)}
            record |= _run(method, task, plan, lambda found, i=initial, j=judge: j(_after(i, found)))
        place.parent.mkdir(parents=True, exist_ok=True)
        write_json(record, place)
        record = _read(place)
        yield record, _tell(record)


def _made_with(case: Case, origin: dict, plan: Plan, method: Method | None, task: Task) -> dict:
    """What a record depends on, as it comes back from JSON; method: None where it cannot run."""
    made_with = {
        "case": origin | {"structures": case.structures},
        "threads": plan.threads,
        "repeats": plan.repeats,
        "measures": f"{__version__}, {MEASURES}",
    }
    if method is not None:
        task.folder.mkdir(parents=True, exist_ok=True)
        base = str(task.folder.parent)
        made_with["version"] = method.version()
        # One that this case cannot fill in fails when it is run, with the reason.
        with suppress(InputError):
            made_with["command"] = [str(part).replace(base, case.name) for part in method.command(task)]
    return json.loads(json.dumps(made_with))


def _holds(earlier: dict, made_with: dict, missing: str | None, plan: Plan) -> bool:
    """Whether an earlier record still says what a new run would."""
    if missing:
        # A result outlives the program that made it.
        return earlier["status"] == "done" and earlier["made_with"] == earlier["made_with"] | made_with
    again = earlier["status"] == "missing" or (earlier["status"] != "done" and plan.retry_failed)
    return earlier["made_with"] == made_with and not again


def _run(method: Method, task: Task, plan: Plan, judge: Callable[[sitk.Transform], dict]) -> dict:
    """Runs a method as often as planned and judges its last result."""
    runs: list[Run] = []
    for _ in range(plan.repeats):
        shutil.rmtree(task.folder, ignore_errors=True)
        task.folder.mkdir(parents=True)
        runs.append(run_method(method, task, plan.timeout))
        if runs[-1].status != "done":
            return {"status": runs[-1].status, "reason": runs[-1].reason, "seconds": runs[-1].seconds}
    try:
        metrics = judge(method.transform(task))
    # Whatever a method leaves behind must not end the comparison of the others.
    except Exception as error:
        reason = str(error) if isinstance(error, GlideRegError) else f"{type(error).__name__}: {error}"
        return {"status": "failed", "reason": f"Its result cannot be judged. {reason}"}
    weights, cpu = _weights(task.folder), [run.cpu_seconds for run in runs]
    if not plan.keep:
        _remove_results(task.folder)
    return {
        "status": "done",
        "reason": "",
        "seconds": statistics.median(run.seconds for run in runs),
        "seconds_each": [run.seconds for run in runs],
        "cpu_seconds": None if None in cpu else statistics.median(cpu),
        "peak_bytes": max(run.peak_bytes for run in runs),
        "weights": weights,
        "metrics": metrics,
    }


def _after(initial: sitk.Transform, found: sitk.Transform) -> sitk.Transform:
    """A method's transform and then the initial one."""
    # ITK applies the transform that was added last first.
    return sitk.CompositeTransform([initial, found])


def _weights(folder: Path) -> str | None:
    """The weights that a registration of ours names in its report; None for other methods."""
    report = next(iter(folder.rglob("report.json")), None)
    found = _read(report) if report else None
    return (found.get("weights") or {}).get("weights") if found else None


def _remove_results(folder: Path) -> None:
    """Leaves a method's log only: fields of large scans would soon fill a disk."""
    for file in [path for path in folder.rglob("*") if path.is_file() and path.name != LOG]:
        file.unlink()


def _read(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _tell(record: dict) -> str:
    if record["status"] != "done":
        return f"{record['status']}. {record['reason']}"
    error = record["metrics"].get("target_registration_error")
    told = f", {error['final']['mean']:.2f} mm at {counted(error['final']['n'], 'landmark')}" if error else ""
    return f"done in {record['seconds']:.1f} s{told}"
