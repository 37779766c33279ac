"""`glidereg demo`: a generated pair with known truth, registered as any other pair, and judged."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from GLIDERegLib.cli.console import comparison, interruptible, progress_reporter
from GLIDERegLib.cli.evaluate import accuracy_rows
from GLIDERegLib.cli.options import complete, settings_of, settings_options
from GLIDERegLib.cli.register import REPORT, TRANSFORM, print_summary, register_files
from GLIDERegLib.files.pair_files import PairFiles

if TYPE_CHECKING:
    from GLIDERegLib.core.settings import Settings
    from GLIDERegLib.files.outputs import OutputFolder
    from GLIDERegLib.registration.progress import CancelToken, ProgressCallback

FIGURE = "figure.png"


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "demo",
        parents=[settings_options()],
        help="register a generated pair of chest scans whose true motion is known",
        description="Generates two scans of a breathing chest, registers the written files, and compares the "
        "result with the motion that is known at every point. --seed also chooses the patient.",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder for everything"
    )
    parser.add_argument(
        "--size",
        choices=("small", "full"),
        default="full",
        help="small: 64 x 64 x 56 voxels of 6 mm, seconds; full: 192 x 192 x 160 voxels of 2 mm (default)",
    )
    parser.add_argument(
        "--download-weights",
        action="store_true",
        help="fetch the encoder's checkpoint first; without network, go on with local features",
    )
    complete(parser, run)


def run(options: argparse.Namespace) -> None:
    from GLIDERegLib.evaluation.phantom import LABELS
    from GLIDERegLib.files.outputs import OutputFolder

    settings = settings_of(options)
    with OutputFolder(options.output) as out, progress_reporter(options.quiet) as progress:
        report = interruptible(lambda cancel: _demo(options, settings, out, progress, cancel))
    if options.quiet:
        return
    print_summary(report, options.output, report["inputs"])
    print(f"Figure: {options.output / FIGURE}")
    truth = report["truth"]
    print("\nAgainst the known truth")
    errors = [
        (f"error {where}, {name} (mm)", *(truth[key][when][value] for when in ("initial", "final")))
        for where, key in (("everywhere in the body", "body"), ("at the nodules", "nodules"))
        for name, value in (("mean", "mean"), ("95th percentile", "p95"))
    ]
    print(comparison(errors + accuracy_rows(truth, LABELS)))


def _demo(
    options: argparse.Namespace,
    settings: Settings,
    out: OutputFolder,
    progress: ProgressCallback,
    cancel: CancelToken,
) -> dict:
    from GLIDERegLib.evaluation.demo import SIZES, judge, write_pair
    from GLIDERegLib.evaluation.figure import registration_figure
    from GLIDERegLib.evaluation.phantom import make_phantom
    from GLIDERegLib.files.outputs import write_json
    from GLIDERegLib.files.transforms import read_transform
    from GLIDERegLib.registration.progress import Progress

    if options.download_weights:
        _download(settings.encoder, options.quiet)
    progress(Progress("generating scans", 0.0))
    phantom = make_phantom(*SIZES[options.size], seed=settings.seed, nodule_growth=0.0)
    write_pair(phantom, out)
    progress(Progress("generating scans", 1.0))
    inputs = PairFiles(
        fixed=out / "fixed.nii.gz",
        moving=out / "moving.nii.gz",
        fixed_points=out / "fixed_nodules.csv",
        moving_points=out / "moving_nodules.csv",
    )
    done = register_files(inputs, settings, out, progress, cancel)
    truth = judge(phantom, read_transform(out / TRANSFORM))
    registration_figure(
        *done.pair.scans,
        done.result.warped,
        done.result.displacement.vectors,
        done.result.displacement.grid,
        out / FIGURE,
        fixed_points=phantom.fixed_landmarks,
        moving_points=phantom.moving_landmarks,
    )
    names = {role: path.name for role, path in inputs.given().items()}
    report = done.report | {"inputs": names, "truth": truth}
    write_json(report, out / REPORT)
    return report


def _download(encoder: str, quiet: bool) -> None:
    from GLIDERegLib.core.errors import WeightsError
    from GLIDERegLib.core.networks import network
    from GLIDERegLib.files.checkpoints import download

    try:
        download(encoder, progress=not quiet)
    except WeightsError:
        if not quiet:
            name = f"{network(encoder).title} checkpoint {encoder}"
            print(f"The {name} cannot be downloaded here; going on without it.", flush=True)
