"""Who does the pairs: this process, one after another, or the workers of a Dask cluster."""

from __future__ import annotations

import logging
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.studies.cohort.pair import Job, run_pair

if TYPE_CHECKING:
    from distributed import Client

# The name under which workers declare the GiB they have.
MEMORY = "memory"
# A pair that saw its worker die this often is not tried again.
MOST_DEATHS = 2
# The terminal sends Ctrl-C to the workers too, but they are ended in order, by this process.
UNTOUCHED_BY_CTRL_C = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
NO_DASK = (
    "Several pairs at once need the package distributed: install it with `pip install distributed`, "
    "or use --sequential."
)
LOST = "The connection to the scheduler was lost; run again, what is done stays."
Finished = Iterator[tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class Plan:
    """How many workers, each with how many threads and GiB; the names of pairs that run alone afterwards."""

    workers: int
    threads: int
    memory: float
    alone: frozenset[str]


def make_plan(
    needs: Mapping[str, float], memory: float, cores: int, workers: int | None, threads: int | None
) -> Plan:
    """Shares a machine out so that the pairs are done soon and never need more than its memory.

    needs: GiB of each pair. memory: GiB to share out. Each worker gets an equal share, and what needs more
    than that runs alone. Without a number of workers, that with the fewest rounds is taken.
    """
    most = max(1, min(len(needs), cores // threads if threads else cores))

    def alone(count: int) -> frozenset[str]:
        return frozenset(name for name, need in needs.items() if need > memory / count)

    def rounds(count: int) -> float:
        large = len(alone(count))
        return large + (len(needs) - large) / count

    count = min(workers, max(1, len(needs))) if workers else min(range(1, most + 1), key=rounds)
    return Plan(count, threads or max(1, cores // count), memory / count, alone(count))


def one_by_one(jobs: Sequence[Job]) -> Finished:
    """Yields name and outcome of each pair, done in this process's own care."""
    for job in jobs:
        try:
            outcome = run_pair(job)
        except Exception as error:
            outcome = _not_run(error)
        yield job.name, outcome


def on_workers(client: Client, jobs: Sequence[Job], needs: Mapping[str, float], ahead: int) -> Finished:
    """Yields name and outcome of each pair as the workers finish them, the largest first.

    Only `ahead` pairs for each thread of a worker are handed out at a time. When a worker dies, Dask blames
    all that were handed to it, so what it gave up is tried once more at the end, with nothing beside it.
    Where workers declare their memory, a pair goes only where it fits, and one that fits nowhere is refused.
    """
    largest = _largest_declared(client)
    waiting, suspects = deque(sorted(jobs, key=lambda job: -needs[job.name])), deque()
    for job in list(waiting):
        if largest is not None and needs[job.name] > largest:
            waiting.remove(job)
            yield job.name, refusal(needs[job.name], f"the largest worker declares {largest:.1f} GB")
    resources = {job.name: None if largest is None else {MEMORY: needs[job.name]} for job in waiting}

    def most() -> int:
        return max(1, ahead * sum(client.nthreads().values()))

    for job, outcome in _handed_out(client, waiting, resources, most):
        if outcome is None:
            suspects.append(job)
        else:
            yield job.name, outcome
    for job, outcome in _handed_out(client, suspects, resources, lambda: 1):
        yield job.name, outcome or {"reason": "Its worker died each time, even with no other pair beside it."}


def _handed_out(
    client: Client,
    waiting: deque[Job],
    resources: Mapping[str, dict[str, float] | None],
    most: Callable[[], int],
) -> Iterator[tuple[Job, dict[str, Any] | None]]:
    """Yields each pair and its outcome, None where its workers died; at most `most` are out at a time."""
    from distributed import CancelledError, KilledWorker, as_completed

    out, completed = {}, as_completed()
    while waiting or out:
        while waiting and len(out) < most():
            job = waiting.popleft()
            key = f"{job.name}-{uuid.uuid4().hex}"
            future = client.submit(
                run_pair, job, key=key, pure=False, retries=1, resources=resources[job.name]
            )
            out[future.key] = job
            completed.add(future)
        future = next(completed)
        try:
            outcome = future.result()
        except CancelledError:
            raise InputError(LOST) from None
        except KilledWorker:
            outcome = None
        except Exception as error:
            outcome = _not_run(error)
        yield out.pop(future.key), outcome


def refusal(need: float, limit: str) -> dict[str, Any]:
    """The outcome of a pair that is not even tried."""
    reason = (
        f"Not tried: it needs about {need:.1f} GB and {limit}; use a coarser --spacing or a larger machine, "
        "or say with --memory-per-pair what it takes."
    )
    return {"reason": reason, "refused": True}


@contextmanager
def local_client(plan: Plan) -> Iterator[Client]:
    """Worker processes on this machine, gone at the end. Raises InputError where Dask is not installed."""
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        raise InputError(NO_DASK) from None
    calm = {
        "distributed.scheduler.allowed-failures": MOST_DEATHS - 1,
        "logging.distributed": "critical",
    }
    with (
        dask.config.set(calm),
        LocalCluster(
            n_workers=plan.workers,
            threads_per_worker=1,
            processes=True,
            # The pairs are not in the workers' own memory; their guards watch them.
            memory_limit=0,
            resources={MEMORY: plan.memory},
            dashboard_address="127.0.0.1:0",
            preload=[UNTOUCHED_BY_CTRL_C],
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def remote_client(address: str) -> Iterator[Client]:
    """A cluster that runs already, left running. Raises InputError when it is not there."""
    try:
        from distributed import Client
    except ImportError:
        raise InputError(NO_DASK) from None
    try:
        client = Client(address)
    except (OSError, ValueError) as error:
        raise InputError(
            f"There is no Dask scheduler at '{address}' ({error}).",
            "Check the address it printed at its start.",
            code="file-damaged",
        ) from None
    with client:
        client.wait_for_workers(1)
        yield client


def _largest_declared(client: Client) -> float | None:
    """GiB of the largest worker that declares them; None where none does."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return max((w["resources"][MEMORY] for w in workers if MEMORY in w["resources"]), default=None)


def _not_run(error: Exception) -> dict[str, Any]:
    """The outcome of a pair whose task failed, rather than its process."""
    return {"reason": f"It could not be run: {' '.join(str(error).split())}"}
