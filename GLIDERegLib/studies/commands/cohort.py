"""`glidereg cohort`: a list of pairs, each registered in a process of its own, with one table at the end."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from GLIDERegLib.cli.options import OFFERED, complete, option_name, settings_of, settings_options
from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.errors import GlideRegError

if TYPE_CHECKING:
    from GLIDERegLib.core.settings import Settings


class PairsFailed(GlideRegError):
    """The cohort is done, but for pairs that failed."""

    exit_status = 5


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "cohort",
        parents=[settings_options()],
        help="register many pairs, on one machine or on a cluster",
        description="Registers all pairs of a list, several at once, each in a process of its own and into "
        "DIR/NAME, and writes the table DIR/cohort.csv. A second run computes only what is missing or has "
        "changed. A pair that fails is recorded and the others go on; the exit status is then 5.",
    )
    add = parser.add_argument
    text = (
        "CSV with the columns name, fixed, moving and, as wanted, fixed_points, moving_points, fixed_mask, "
    )
    add("pairs", type=Path, metavar="CSV", help=text + "moving_mask; paths are relative to the CSV")
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    where = parser.add_mutually_exclusive_group()
    text = "pairs at once on this machine; default: what its processor and memory allow, one with a GPU"
    where.add_argument("--workers", type=_positive(int), metavar="N", help=text)
    text = "address of a running Dask scheduler whose workers do the pairs; they must see the same files"
    where.add_argument("--scheduler", metavar="ADDRESS", help=text)
    text = "one pair after another, without Dask; what a list of one or two pairs gets anyway"
    where.add_argument("--sequential", action="store_true", help=text)
    text = "memory to set aside for each pair instead of an estimate; a pair that takes more is ended"
    add("--memory-per-pair", type=_positive(float), metavar="GB", help=text)
    text = "compute pairs again that failed before, though nothing about them has changed"
    add("--retry-failed", action="store_true", help=text)
    complete(parser, run)


def run(options: argparse.Namespace) -> None:
    from GLIDERegLib.studies.cohort.memory import estimated_memory
    from GLIDERegLib.studies.cohort.run import run_cohort
    from GLIDERegLib.studies.cohort.table import TABLE
    from GLIDERegLib.studies.datasets.pairs import read_pairs

    settings = settings_of(options)
    cases = read_pairs(options.pairs, check_files=False)
    limit = options.memory_per_pair
    workers = options.workers
    if workers is None and _has_gpu(settings):
        workers = 1
    console = Console(options.quiet)
    try:
        records = run_cohort(
            cases,
            options.output,
            register_options(options),
            lambda case: limit or estimated_memory(case, settings),
            limit=limit,
            workers=workers,
            threads=settings.threads,
            scheduler=options.scheduler,
            sequential=options.sequential,
            retry_failed=options.retry_failed,
            started=console.started,
            finished=console.finished,
        )
    finally:
        console.close()
    failed = sum(record["status"] != "done" for record in records.values())
    if not options.quiet:
        # Standard error holds one line at the end: the error of `PairsFailed`, or that all went well.
        end = sys.stdout if failed else sys.stderr
        print(
            f"{len(records) - failed} of {counted(len(records), 'pair')} done; table in "
            f"{options.output / TABLE}",
            file=end,
        )
    if failed:
        raise PairsFailed(
            f"{failed} of {counted(len(records), 'pair')} failed; {options.output / TABLE} says why, "
            "--retry-failed tries them again."
        )


def register_options(options: argparse.Namespace) -> list[str]:
    """What was given of the settings, as options of `glidereg register`; threads are shared out anew."""
    found = []
    for setting in OFFERED:
        value = getattr(options, "preset" if setting == "name" else setting, None)
        if value is not None and setting != "threads":
            value = Path(value).absolute() if setting == "checkpoint" else value
            found.append(f"--{option_name(setting)}={value}")
    return found


def _positive(kind: type):
    def convert(text: str):
        value = kind(text)
        if not value > 0:
            raise ValueError
        return value

    convert.__name__ = "positive number"
    return convert


def _has_gpu(settings: Settings) -> bool:
    """Whether pairs would share a graphics card, whose memory nobody shares out here."""
    import torch

    return settings.device.startswith("cuda") or (settings.device == "auto" and torch.cuda.is_available())


class Console:
    """A bar on a terminal, a line for each pair on standard output elsewhere, nothing when quiet."""

    def __init__(self, quiet: bool):
        self._quiet, self._bar, self._done, self._total = quiet, None, 0, 0
        # A log of standard error holds the error and nothing else.
        self._stream = sys.stderr if sys.stderr.isatty() else sys.stdout

    def started(self, text: str, number: int) -> None:
        self._total = number
        if self._quiet:
            return
        print(text, file=self._stream, flush=True)
        if number and self._stream is sys.stderr:
            from tqdm import tqdm

            self._bar = tqdm(total=number, unit="pair")

    def finished(self, name: str, record: dict[str, Any]) -> None:
        self._done += 1
        if self._quiet:
            return
        text = f"{name}: {record['reason'] or 'done'}"
        if self._bar is not None:
            self._bar.update()
            if record["status"] == "failed":
                self._bar.write(text, file=sys.stderr)
        else:
            print(f"[{self._done}/{self._total}] {text}", file=self._stream, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
