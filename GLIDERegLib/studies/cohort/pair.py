"""One pair, as a task that any worker can do: run its process, move the results to their place."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from GLIDERegLib.files.outputs import OutputFolder

if TYPE_CHECKING:
    from GLIDERegLib.studies.cases import Case

ROOT = Path(__file__).resolve().parents[3]
REPORT = "report.json"
STOP = "stop"
GIB = 2**30
# What `glidereg register` is given of a case; the rest of it is for judging.
REGISTERED = (
    "fixed",
    "moving",
    "fixed_points",
    "moving_points",
    "fixed_mask",
    "moving_mask",
    "fixed_nodules",
    "moving_nodules",
)
REASONS = {
    2: "The input cannot be used",
    3: "There is not enough memory",
    4: "The weights of the encoder cannot be used",
}


@dataclass(frozen=True)
class Job:
    """What a worker must know of a pair. All paths are absolute and mean the same on every machine.

    program: what to run, None for `glidereg register` with the worker's own Python. arguments: of the pair.
    target: the folder of its results. scratch: the folder of the run, on the same disk as the target; a file
    `stop` in it ends all pairs. limit: GiB that the pair may take, None for no limit.
    """

    name: str
    program: tuple[str, ...] | None
    arguments: tuple[str, ...]
    target: Path
    scratch: Path
    limit: float | None


def inputs_of(case: Case) -> dict[str, Path]:
    """The absolute paths of what is registered of a case, by name."""
    given = {name: getattr(case, name) for name in REGISTERED}
    return {name: Path(path).absolute() for name, path in given.items() if path is not None}


def arguments_of(case: Case, options: list[str]) -> tuple[str, ...]:
    """The arguments of `glidereg register` for a case, but the output; `align` in the case counts where no
    --align is among the options.
    """
    paths = inputs_of(case)
    given = [str(paths.pop(role)) for role in ("fixed", "moving")]
    given += [f"--{name.replace('_', '-')}={path}" for name, path in paths.items()]
    if case.align and not any(option.startswith("--align=") for option in options):
        given.append("--align=affine")
    return (*given, *options)


def run_pair(job: Job) -> dict[str, Any]:
    """Registers a pair in a process of its own; returns what the guard tells, with `reason` (None when the
    results are in their place, else a sentence) and `files` (their names).

    Raises InputError when the results cannot be moved to their place, OSError when no process can be started.
    """
    scratch = Path(tempfile.mkdtemp(dir=job.scratch))
    try:
        outcome = _guarded(job, scratch)
        results = scratch / "result"
        outcome["reason"], outcome["files"] = _why_failed(outcome, results, job.limit), []
        if outcome["reason"]:
            outcome["reason"] = _without_paths(outcome["reason"], job)
        if outcome["reason"] is None:
            outcome["files"] = sorted(file.name for file in results.iterdir())
            with OutputFolder(job.target) as out:
                for name in outcome["files"]:
                    os.replace(results / name, out / name)
        return outcome
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _guarded(job: Job, scratch: Path) -> dict[str, Any]:
    program = job.program or (sys.executable, "-m", "GLIDERegLib", "register")
    order = {
        "command": [*program, *job.arguments, f"--output={scratch / 'result'}", "--quiet"],
        "scratch": str(scratch),
        "limit": None if job.limit is None else int(job.limit * GIB),
        "stop": str(job.scratch / STOP),
    }
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    guard = subprocess.Popen(
        [sys.executable, "-m", "GLIDERegLib.studies.cohort.guard"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1"},
        # A Ctrl-C at the terminal reaches this process, which then lets the guard clean up.
        start_new_session=os.name != "nt",
        text=True,
    )
    try:
        guard.stdin.write(json.dumps(order) + "\n")
        guard.stdin.flush()
        answer = guard.stdout.read()
    finally:
        guard.stdin.close()
        guard.wait()
    if not answer:
        raise OSError("the process that watches over the pair was ended")
    return json.loads(answer)


def _without_paths(reason: str, job: Job) -> str:
    """The reason without the paths of the pair, which often hold a patient's name; what they are is said."""
    given = [argument.removeprefix("--").partition("=") for argument in job.arguments]
    paths = [(path, role) for role, (path, *_) in zip(("fixed", "moving"), given, strict=False)]
    paths += [(path, name.replace("-", " ")) for name, equals, path in given[2:] if equals]
    # The longest first: a folder may be the beginning of another path.
    for path, name in sorted(paths, key=lambda pair: -len(pair[0])):
        if os.path.isabs(path):
            reason = reason.replace(f" '{path}'", "").replace(path, f"({name})")
    return reason


def _why_failed(outcome: dict[str, Any], results: Path, limit: float | None) -> str | None:
    """One sentence, None for a pair that is done; from the exit status and the last line of the log."""
    status, log = outcome["exit_status"], outcome["log"]
    if outcome["ended_for"] == "cancel":
        return "Cancelled."
    if outcome["ended_for"] == "memory":
        return f"Ended because it took more than the {limit:g} GB it may take (--memory-per-pair)."
    if status == 0:
        return None if (results / REPORT).is_file() else f"The process ended without writing {REPORT}."
    last = log[-1].removeprefix("glidereg: error: ") if log else ""
    if status in REASONS:
        return last or f"{REASONS[status]} (exit status {status})."
    if status == -9:
        return "Killed from outside (signal 9), most likely because the machine's memory ran out."
    how = f"exit status {status}"
    if -status in set(signal.Signals):
        how = signal.Signals(-status).name
    return f"Ended unexpectedly ({how}){': ' + last if last else '.'}"
