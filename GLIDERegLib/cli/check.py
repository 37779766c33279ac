"""`glidereg check`: the error of any tool's transform at landmarks that are found without it."""

from __future__ import annotations

import argparse
from pathlib import Path

from GLIDERegLib.cli.console import interruptible, progress_reporter
from GLIDERegLib.cli.options import complete

# A choice: fewer landmarks than 20 leave regions without any; 2000 take minutes.
FEWEST, MOST = 20, 2000


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "check",
        help="find landmarks and judge a transform by them",
        description="Finds the same places in both scans, independently of the transform, and tells the "
        "transform's error there, by region and between them, and where nothing can be told.",
    )
    add = parser.add_argument
    add("--transform", type=Path, required=True, metavar="T", help="ITK transform or displacement field, "
        "fixed points to moving points")  # fmt: skip
    add("--fixed", type=Path, required=True, metavar="FILE", help="fixed image")
    add("--moving", type=Path, required=True, metavar="FILE", help="moving image")
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for landmarks, map, report")
    add("--count", type=int, default=1500, metavar="N", help="find at most N landmarks; default: 1500")
    complete(parser, run)


def run(options: argparse.Namespace) -> None:
    from GLIDERegLib.core.errors import InputError
    from GLIDERegLib.evaluation.landmarks.check import check_transform
    from GLIDERegLib.files.outputs import OutputFolder
    from GLIDERegLib.files.transforms import read_transform
    from GLIDERegLib.files.volumes import read_volume
    from GLIDERegLib.registration.progress import Progress

    if not FEWEST <= options.count <= MOST:
        raise InputError(
            f"--count must lie between {FEWEST} and {MOST}, not {options.count}.", code="setting"
        )

    def work(cancel):
        transform = read_transform(options.transform)
        fixed, moving = (read_volume(getattr(options, role), role) for role in ("fixed", "moving"))

        def tell(share: float) -> None:
            cancel.check()
            report(Progress("Finding landmarks", share))

        return check_transform(transform, fixed, moving, options.count, tell)

    with OutputFolder(options.output) as out:
        with progress_reporter(options.quiet) as report:
            check = interruptible(work)
        check.write(out)
    if options.quiet:
        return
    print(table(check.report["regions"]))
    print(check.summary)


def table(regions: list[dict]) -> str:
    """The errors by region: landmarks, mean, 95th percentile and worst in mm, share without a landmark."""
    lines = [f"{'':<32}{'n':>5}{'mean':>8}{'95 %':>8}{'worst':>8}{'not covered':>13}"]
    for region in regions:
        error = region["error_mm"] or {}
        values = (f"{error[key]:.2f}" if key in error else "" for key in ("mean", "p95", "max"))
        cells = "".join(f"{value:>8}" for value in values)
        lines.append(f"{region['name']:<32}{region['n']:>5}{cells}{100 * region['uncovered']:>11.0f} %")
    return "\n".join(lines)
