"""`glidereg consistency`: independent registrations compared, there and back or round three scans."""

from __future__ import annotations

import argparse
from pathlib import Path

from GLIDERegLib.cli.console import interruptible, progress_reporter
from GLIDERegLib.cli.options import complete, settings_of, settings_options
from GLIDERegLib.core.counting import counted


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "consistency",
        parents=[settings_options()],
        help="compare a transform with independent registrations",
        description="Inverse consistency: the transform followed by an independent registration with the "
        "scans exchanged, which is run here unless --backward gives one. With --second and --direct, "
        "transitivity: the transform followed by --second, beside --direct.",
    )
    add = parser.add_argument
    add("--transform", type=Path, required=True, metavar="T", help="fixed points to moving points")
    add("--fixed", type=Path, required=True, metavar="FILE", help="fixed image")
    add("--moving", type=Path, metavar="FILE", help="moving image, for the registration with both exchanged")
    add("--backward", type=Path, metavar="T", help="an independent transform, moving to fixed points")
    add("--keep-backward", type=Path, metavar="T", help="keep the registration with both exchanged (.h5)")
    add("--second", type=Path, metavar="T", help="transform from moving points to a third scan's")
    add("--direct", type=Path, metavar="T", help="transform from fixed points to that third scan's")
    add("-o", "--output", type=Path, required=True, metavar="JSON", help="report to write")
    complete(parser, run)


def run(options: argparse.Namespace) -> None:
    from GLIDERegLib.core.errors import InputError
    from GLIDERegLib.files.outputs import refuse_overwriting, whole_file, write_json

    if (options.second is None) != (options.direct is None):
        raise InputError("Transitivity needs both --second and --direct.", code="setting")
    if options.second is None and options.backward is None and options.moving is None:
        raise InputError(
            "Give --moving, to register with the scans exchanged, or --backward.", code="setting"
        )
    registers = options.second is None and options.backward is None
    if options.keep_backward is not None and not registers:
        raise InputError("--keep-backward goes with a registration that is run here.", code="setting")
    given = (options.transform, options.fixed, options.moving, options.backward, options.second)
    written = [path for path in (options.output, options.keep_backward) if path is not None]
    refuse_overwriting([path for path in (*given, options.direct) if path is not None], written)
    with whole_file(options.output) as temporary:
        with progress_reporter(options.quiet) as progress:
            report = interruptible(lambda cancel: _report(options, progress, cancel))
        write_json(report, temporary)
    if not options.quiet:
        whole = report["residual_mm"]
        print(
            f"{report['kind'].capitalize()}: {whole['mean']:.2f} mm on average at "
            f"{counted(whole['n'], 'point')}, "
            f"95 % below {whole['p95']:.2f} mm, largest {whole['max']:.2f} mm."
        )
        for name, values in report["regions_mm"].items():
            print(f"  {name:<32}{values['mean']:>8.2f}{values['p95']:>8.2f}{values['max']:>8.2f}")


def _report(options: argparse.Namespace, progress, cancel) -> dict:
    from GLIDERegLib.evaluation.consistency import inverse_consistency, transitivity
    from GLIDERegLib.evaluation.landmarks.regions import find_regions
    from GLIDERegLib.files.transforms import read_transform, write_transform
    from GLIDERegLib.files.volumes import read_volume

    transform = read_transform(options.transform)
    fixed = read_volume(options.fixed, "fixed")
    regions = find_regions(fixed)
    if options.second is not None:
        others = read_transform(options.second), read_transform(options.direct)
        return {"kind": "transitivity"} | transitivity(transform, *others, regions).report(regions)
    if options.backward is not None:
        backward, by = read_transform(options.backward), "given"
    else:
        from GLIDERegLib.api import register

        moving = read_volume(options.moving, "moving")
        second = register(moving, fixed, settings_of(options), progress=progress, cancel=cancel)
        backward, by = second.transform, "registered with the scans exchanged"
    found = inverse_consistency(transform, backward, regions)
    if options.keep_backward is not None:
        write_transform(backward, options.keep_backward)
    return {"kind": "inverse consistency", "backward": by} | found.report(regions)
