"""Who does the pairs: this process, one after another, or the workers of a Dask cluster."""

from __future__ import annotations

import logging
import uuid
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from GLIDERegLib.errors import InputError
from GLIDERegLib.evaluation.cohort.pair import Job, run_pair

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

    Only `ahead` pairs for each thread of a worker are handed out at a time: when a worker dies, Dask blames
    all that were handed to it. Where workers declare their memory, a pair goes only where it fits, and one
    that fits nowhere is refused.
    """
    from distributed import CancelledError, KilledWorker, as_completed

    largest = _largest_declared(client)
    waiting, names, completed = deque(sorted(jobs, key=lambda job: -needs[job.name])), {}, as_completed()
    while waiting or names:
        while waiting and len(names) < max(1, ahead * sum(client.nthreads().values())):
            job = waiting.popleft()
            if largest is not None and needs[job.name] > largest:
                yield job.name, refusal(needs[job.name], f"the largest worker declares {largest:.1f} GB")
                continue
            resources = None if largest is None else {MEMORY: needs[job.name]}
            key = f"{job.name}-{uuid.uuid4().hex}"
            future = client.submit(run_pair, job, key=key, pure=False, retries=1, resources=resources)
            names[future.key] = job.name
            completed.add(future)
        if names:
            future = next(completed)
            try:
                outcome = future.result()
            except CancelledError:
                raise InputError(LOST) from None
            except KilledWorker as error:
                deaths = error.allowed_failures + 1
                outcome = {"reason": f"Its worker died {deaths} times while it was computed."}
            except Exception as error:
                outcome = _not_run(error)
            yield names.pop(future.key), outcome


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
            f"There is no Dask scheduler at '{address}' ({error}); check the address it printed at its start."
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
