"""A whole cohort: what is still to do, who does it, records and table."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.errors import Cancelled, InputError, of_the_system
from GLIDERegLib.files.outputs import OutputFolder, hidden_folder, remove_hidden_folders
from GLIDERegLib.studies.cases import Case
from GLIDERegLib.studies.cohort.memory import memory_of_machine
from GLIDERegLib.studies.cohort.pair import STOP, Job, arguments_of, inputs_of
from GLIDERegLib.studies.cohort.records import fingerprint, read_record, write_record
from GLIDERegLib.studies.cohort.schedule import (
    Finished,
    local_client,
    make_plan,
    on_workers,
    one_by_one,
    refusal,
    remote_client,
)
from GLIDERegLib.studies.cohort.table import write_table

FEW = 2
# Bytes of a name on the file systems of Linux, macOS and Windows (there letters).
LONGEST_NAME = 255
# Of the free memory, what pairs may take; the rest is for the system and the workers.
SHARE_OF_MEMORY = 0.9
STOP_SECONDS = 10.0
WAITING = {"status": "waiting"}


def run_cohort(
    cases: Sequence[Case],
    folder: Path,
    options: Sequence[str] = (),
    needs: Callable[[Case], float] = lambda case: 0.0,
    *,
    limit: float | None = None,
    workers: int | None = None,
    threads: int | None = None,
    scheduler: str | None = None,
    sequential: bool = False,
    retry_failed: bool = False,
    command: Sequence[str] | None = None,
    started: Callable[[str, int], None] = lambda text, number: None,
    finished: Callable[[str, dict[str, Any]], None] = lambda name, record: None,
) -> dict[str, dict[str, Any]]:
    """Registers the pairs that are not done, each into `folder`/NAME with a record, and writes the table.

    options: of `glidereg register`, each as --name=value. needs: GiB a pair will take. limit: GiB at which a
    pair is ended. workers, threads: None to share this machine out. scheduler: address of a running cluster.
    retry_failed: pairs that failed before are computed again. command: to run instead of `glidereg register`,
    with the same arguments. started hears what will be done and the number of pairs to compute; finished
    hears each pair's record.

    Returns the records by name, in the order of the cases. A pair that fails is recorded and the rest go on.
    Raises InputError, and Cancelled after Ctrl-C: what is done by then, the table too, stays.
    """
    folder = Path(os.path.abspath(folder))
    arguments = {case.name: arguments_of(case, list(options)) for case in cases}
    prints, records, unusable = _looked_up(cases, folder, arguments)
    again = ("waiting", "failed") if retry_failed else ("waiting",)
    pending = [c for c in cases if records[c.name]["status"] in again and c.name not in unusable]
    # Refuses a folder that cannot be written before anything else is done.
    with OutputFolder(folder), _scratch(folder) as scratch:
        need = {case.name: needs(case) for case in pending}
        jobs = [
            Job(c.name, command and tuple(command), arguments[c.name], folder / c.name, scratch, limit)
            for c in pending
        ]
        text = _told(records, len(pending), retry_failed or bool(unusable))
        for name in unusable:
            finished(name, records[name])
        alone = sequential or workers == 1 or (workers is None and len(jobs) <= FEW)
        outcomes = _outcomes(jobs, need, workers, threads, scheduler, alone, started, text)
        try:
            for name, outcome in outcomes:
                if outcome.get("ended_for") == "cancel":
                    continue
                if outcome.get("refused"):
                    # Depends on the machine, so another run tries it again.
                    records[name] = {"status": "failed", "reason": outcome["reason"]}
                else:
                    records[name] = _recorded(folder / name, prints[name], outcome)
                finished(name, records[name])
        except KeyboardInterrupt:
            # It may come between a record's writing and this process's noting it.
            written = {c.name: _known(folder / c.name, prints[c.name]) for c in pending}
            records |= {name: record for name, record in written.items() if record is not WAITING}
            done = sum(record["status"] == "done" for record in records.values())
            raise Cancelled(
                f"Cancelled; {done} of {counted(len(cases), 'pair')} are done and stay, run again for "
                "the rest."
            ) from None
        finally:
            outcomes.close()
            for job in jobs:
                remove_hidden_folders(job.target, own=True)
            write_table(folder, records.items())
    return records


def _looked_up(
    cases: Sequence[Case], folder: Path, arguments: Mapping[str, Sequence[str]]
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]], list[str]]:
    """Fingerprints and records of the pairs by name, as they are known so far, and the names of those that
    cannot be computed: a name too long, say, which leaves the others alone.
    """
    prints: dict[str, dict[str, Any]] = {}
    records: dict[str, dict[str, Any]] = {}
    unusable = []
    for case in cases:
        try:
            if len(os.fsencode(case.name)) > LONGEST_NAME:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), case.name)
            _check(case, folder)
            prints[case.name] = fingerprint(case, arguments[case.name])
            records[case.name] = _known(folder / case.name, prints[case.name])
        except OSError as error:
            records[case.name] = {"status": "failed", "reason": str(of_the_system(error))}
            unusable.append(case.name)
    return prints, records, unusable


def _outcomes(
    jobs: list[Job],
    needs: Mapping[str, float],
    workers: int | None,
    threads: int | None,
    scheduler: str | None,
    alone: bool,
    started: Callable[[str, int], None],
    text: str,
) -> Finished:
    """Runs the jobs where they are to run, and yields name and outcome of each."""
    if not jobs:
        started(text, 0)
        return
    if scheduler is not None:
        with remote_client(scheduler) as client, _ended_with(jobs[0].scratch):
            started(f"{text}, on {scheduler}; dashboard: {client.dashboard_link}", len(jobs))
            yield from on_workers(client, _with_threads(jobs, threads or 1), needs, ahead=2)
        return
    total, free = memory_of_machine()
    cores = _cores()
    tried = [job for job in jobs if needs[job.name] <= total]
    fitting = {job.name: needs[job.name] for job in tried}
    plan = make_plan(fitting, SHARE_OF_MEMORY * free, cores, 1 if alone else workers, threads)
    shared = [job for job in tried if job.name not in plan.alone] if plan.workers > 1 else []
    rest = [job for job in tried if job not in shared]
    if shared:
        with local_client(plan) as client, _ended_with(jobs[0].scratch):
            text += f", {plan.workers} at once with {counted(plan.threads, 'thread')} each"
            started(f"{text}; dashboard: {client.dashboard_link}", len(jobs))
            yield from on_workers(client, _with_threads(shared, plan.threads), needs, ahead=1)
    else:
        started(f"{text}, one after another", len(jobs))
    yield from one_by_one(_with_threads(rest, threads or cores))
    for job in jobs:
        if needs[job.name] > total:
            yield job.name, refusal(needs[job.name], f"this machine has {total:.1f} GB")


def _with_threads(jobs: list[Job], threads: int) -> list[Job]:
    return [replace(job, arguments=(*job.arguments, f"--threads={threads}")) for job in jobs]


def _cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check(case: Case, folder: Path) -> None:
    """Raises InputError where results would lie among a pair's inputs, an input among its results, or a file
    is in the results' place; OSError where a name cannot be used.
    """
    target = Path(os.path.realpath(folder / case.name))
    if target.exists() and not target.is_dir():
        raise InputError(
            f"'{target}' is in the way of a pair's results.",
            "Choose another output folder.",
            code="cannot-write",
        )
    for path in inputs_of(case).values():
        given = Path(os.path.realpath(path))
        if given.is_relative_to(target) or target.is_relative_to(given):
            raise InputError(
                f"The results of '{case.name}' would go to the folder of its input '{path}'.",
                "Choose another output folder.",
                code="overwrites-input",
            )


def _recorded(folder: Path, depends_on: dict[str, Any], outcome: dict[str, Any]) -> dict[str, Any]:
    """The record of a pair, written into its folder; one that cannot be written fails that pair alone."""
    try:
        return write_record(folder, depends_on, outcome)
    except (InputError, OSError) as error:
        reason = of_the_system(error) if isinstance(error, OSError) else error
        return {"status": "failed", "reason": str(reason)}


def _known(folder: Path, depends_on: dict[str, Any]) -> dict[str, Any]:
    record = read_record(folder)
    return record if record is not None and record["depends_on"] == depends_on else WAITING


def _told(records: Mapping[str, dict[str, Any]], pending: int, retry_failed: bool) -> str:
    """What there is already, and what will be done."""
    count = [sum(r["status"] == status for r in records.values()) for status in ("done", "failed")]
    parts = [f"{count[0]} done already"] if count[0] else []
    if count[1] and not retry_failed:
        parts.append(f"{count[1]} failed before and are not repeated (--retry-failed repeats them)")
    return f"{counted(len(records), 'pair')}: {', '.join([*parts, f'{pending} to compute'])}"


@contextmanager
def _scratch(folder: Path):
    """A folder for what is half written, beside the results and gone at the end."""
    scratch = hidden_folder(folder)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _ended_with(scratch: Path):
    """When the block is left before its time, ends the pairs that still run, wherever that is, and waits
    until each has cleaned up behind itself.
    """
    try:
        yield
    except BaseException:
        (scratch / STOP).touch()
        end = time.monotonic() + STOP_SECONDS
        while len(os.listdir(scratch)) > 1 and time.monotonic() < end:
            time.sleep(0.05)
        raise
