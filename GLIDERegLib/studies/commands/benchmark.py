"""`glidereg benchmark`: registration methods compared on a data set, by one code for all."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from GLIDERegLib.cli.console import progress_reporter
from GLIDERegLib.cli.options import complete
from GLIDERegLib.core.errors import Cancelled, InputError

if TYPE_CHECKING:
    from GLIDERegLib.studies.cases import Case, Method

PHANTOM, GENERATED = "phantom", ("phantom", "warped")
# Method names that hold a command or a folder of the user's, in which a comma may stand.
OPEN_ENDED = ("command:", "fields:")


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "benchmark",
        help="compare registration methods on a data set",
        description="Runs every method on every pair of a data set, one at a time and on the same two files, "
        "judges all by the same measures, and writes tables and plots. Started again with the same folder, "
        "it goes on where it stopped.",
    )
    add = parser.add_argument
    add("kind", nargs="?", metavar="KIND", help="kind of data set, see --list")
    add("folder", nargs="?", type=Path, metavar="FOLDER", help="of the data set; none where generated")
    add("-o", "--output", type=Path, metavar="DIR", help="folder for the results")
    add("--list", action="store_true", help="list the data sets and the methods, and leave")
    text = "methods, parted by commas; may be given several times, as command:NAME=... must be; default: all"
    add("--methods", action="append", metavar="NAMES", help=text)
    text = "the method others are tested against; default: glidereg-default, or else the first"
    add("--reference", metavar="NAME", help=text)
    add("--peers-python", type=Path, metavar="FILE", help="Python of the environment of the other methods")
    add("--threads", type=int, default=1, metavar="N", help="threads a method may use; default: 1")
    add("--timeout", type=float, metavar="S", help="seconds one run may take; default: no limit")
    add("--repeats", type=int, default=1, metavar="N", help="runs of each, for the median time; default: 1")
    add("--cases", metavar="NAMES", help="only these cases, parted by commas")
    add("--retry-failed", action="store_true", help="run again what failed or took too long before")
    add("--keep", action="store_true", help="keep the methods' own files, transforms included")
    group = parser.add_argument_group("generated motion (KIND phantom, warped)")
    group.add_argument("--seeds", default="0", metavar="LIST", help="motions, a pair for each; default: 0")
    text = "largest displacement; default: 20"
    group.add_argument("--amplitude", type=float, default=20.0, metavar="MM", help=text)
    text = "of a phantom; small: 64 x 64 x 56 voxels of 6 mm; full: 192 x 192 x 160 voxels of 2 mm (default)"
    group.add_argument("--size", choices=("small", "full"), default="full", help=text)
    group = parser.add_argument_group("ablation")
    text = "compare the parts of the method instead of methods: reduction, features, memory"
    group.add_argument("--ablation", action="store_true", help=text)
    group.add_argument("--checkpoint", type=Path, metavar="FILE", help="checkpoint of your own")
    text = "the checkpoint's network, see `glidereg weights list`; default: sam2.1_hiera_tiny"
    group.add_argument("--encoder", metavar="NAME", help=text)
    group.add_argument("--preset", metavar="NAME", help="preset of all rows; default: default")
    complete(parser, run)


def run(options: argparse.Namespace) -> None:
    if options.list:
        print(_listing(options.peers_python))
        return
    _check(options)
    from GLIDERegLib.studies.benchmark.about import about
    from GLIDERegLib.studies.benchmark.plots import write_plots
    from GLIDERegLib.studies.benchmark.run import Plan, run_benchmark
    from GLIDERegLib.studies.benchmark.tables import default_reference, table_text, write_tables

    methods, weights = _methods(options)
    names = [method.name for method in methods]
    reference = options.reference or default_reference(names)
    if reference not in names:
        raise InputError(
            f"The reference '{reference}' is none of the methods: {', '.join(names)}.", code="setting"
        )
    plan = Plan(options.threads, options.timeout, options.repeats, options.retry_failed, options.keep)
    command = shlex.join(["glidereg", *sys.argv[1:]])
    circumstances = about(command, plan.threads, plan.timeout, plan.repeats) | weights
    try:
        with progress_reporter(options.quiet) as progress:
            results = run_benchmark(_cases(options), methods, options.output, plan, progress)
    except KeyboardInterrupt:
        raise Cancelled(
            f"Cancelled; what was finished is in '{options.output}', and the same command goes on from there."
        ) from None
    write_tables(results, options.output, reference, circumstances)
    plots = write_plots(results, options.output)
    if not options.quiet:
        print(table_text(results, reference, circumstances))
        written = ["results.csv", "results.json", "table.md", *(path.name for path in plots)]
        print(f"Results in {options.output}: {', '.join(written)}")


def _check(options: argparse.Namespace) -> None:
    """Raises InputError for options that do not go together."""
    if options.kind is None or options.output is None:
        raise InputError(
            "Give the kind of data set, its folder and -o DIR, or --list.",
            "See `glidereg benchmark --help`.",
            code="option",
        )
    from GLIDERegLib.studies.datasets import WITHOUT_FOLDER

    if options.kind in WITHOUT_FOLDER and options.folder is not None:
        more = " and choose pairs with --seeds" if options.kind == PHANTOM else ""
        raise InputError(f"The kind {options.kind} reads no folder.", f"Leave it out{more}.", code="option")
    if options.kind not in WITHOUT_FOLDER and options.folder is None:
        raise InputError(
            f"The kind {options.kind} needs the folder of the data set.",
            f"Write `glidereg benchmark {options.kind} FOLDER -o DIR`.",
            code="option",
        )
    if options.threads < 1 or options.repeats < 1:
        raise InputError("The numbers of threads and repeats must be at least 1.", code="setting")
    if options.timeout is not None and not options.timeout > 0:
        raise InputError("The time-out must be more than 0 seconds.", code="setting")
    if options.ablation and options.methods:
        raise InputError(
            "The ablation has its own rows.", "Leave --methods or --ablation out.", code="option"
        )
    if not options.ablation and (options.checkpoint or options.encoder or options.preset):
        raise InputError(
            "--checkpoint, --encoder and --preset belong to the ablation.",
            "Add --ablation.",
            code="checkpoint-file",
        )


def _cases(options: argparse.Namespace) -> list[Case]:
    from GLIDERegLib.evaluation.demo import SIZES
    from GLIDERegLib.studies.datasets import find_cases, phantoms, warped_scans

    work = options.output / "data"
    if options.kind in GENERATED:
        motion = _seeds(options.seeds), options.amplitude
        size, spacing = SIZES[options.size]
        if options.kind == PHANTOM:
            cases = phantoms(work, *motion, size, spacing[0])
        else:
            cases = warped_scans(options.folder, work, *motion)
    else:
        cases = find_cases(options.kind, options.folder or work, work)
    if options.cases is None:
        return cases
    wanted, known = _parts(options.cases), [case.name for case in cases]
    if unknown := [name for name in wanted if name not in known]:
        raise InputError(
            f"There is no case '{unknown[0]}'.", f"Choose from {', '.join(known)}.", code="file-missing"
        )
    return [case for case in cases if case.name in wanted]


def _methods(options: argparse.Namespace) -> tuple[list[Method], dict[str, str]]:
    """The methods, and what is known of their weights beforehand."""
    if options.ablation:
        from GLIDERegLib.studies.benchmark.ablation import DEFAULT_ENCODER, configurations, weights_of

        encoder, preset = options.encoder or DEFAULT_ENCODER, options.preset or "default"
        rows = configurations(options.checkpoint, encoder, preset)
        return list(rows), {"weights": weights_of(rows)}
    from GLIDERegLib.studies.peers import METHODS, choose_methods

    given = options.methods or [",".join(METHODS)]
    names = [name for text in given for name in ([text] if text.startswith(OPEN_ENDED) else _parts(text))]
    return choose_methods(names, options.peers_python), {}


def _listing(peers_python: Path | None) -> str:
    from GLIDERegLib.studies.datasets import DATA_SETS
    from GLIDERegLib.studies.peers import METHODS, choose_methods

    lines = ["Data sets: glidereg benchmark KIND FOLDER -o DIR"]
    for name, data_set in DATA_SETS.items():
        layout = "\n".join(f"      {line}" for line in data_set.layout.splitlines())
        lines += ["", f"  {name}: {data_set.title}", f"    {data_set.source}", layout]
    lines += ["", "Methods: --methods NAME,NAME"]
    for method in choose_methods(list(METHODS), peers_python):
        lines.append(f"  {method.name}: {method.missing() or f'ready, {method.version()}'}")
    return "\n".join(lines)


def _parts(text: str) -> list[str]:
    """The names in a list parted by commas; an empty one holds an empty name, which is then refused."""
    return [part.strip() for part in text.split(",") if part.strip()] or [""]


def _seeds(text: str) -> list[int]:
    parts = _parts(text)
    if not all(part.isdecimal() for part in parts):
        raise InputError(
            f"The seeds '{text}' are not whole numbers from 0 on, parted by commas.", code="values"
        )
    return [int(part) for part in parts]
