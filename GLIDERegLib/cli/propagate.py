"""`glidereg propagate`: points from one image to the other through a transform of any tool."""

from __future__ import annotations

import argparse
from pathlib import Path

from GLIDERegLib.cli.console import interruptible

LARGE_RESIDUAL_MM = 0.1


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "propagate",
        help="carry points from one image to the other",
        description="Carries points through a transform, ITK's or a displacement field, that maps fixed "
        "points to moving points; or through its inverse.",
    )
    add = parser.add_argument
    add("points", type=Path, metavar="POINTS", help="points file (.csv, .mrk.json or .fcsv)")
    add(
        "--transform",
        type=Path,
        required=True,
        metavar="T",
        help="transform file, fixed points to moving points",
    )
    add(
        "--direction",
        required=True,
        choices=("fixed-to-moving", "moving-to-fixed"),
        help="which image the points lie in, and which they go to",
    )
    add("-o", "--output", type=Path, required=True, metavar="OUT", help="points file to write, in LPS mm")
    add("--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from GLIDERegLib.files.outputs import refuse_overwriting, whole_file
    from GLIDERegLib.files.points import read_points, write_points
    from GLIDERegLib.files.transforms import propagate, read_transform

    refuse_overwriting([options.points, options.transform], [options.output])
    with whole_file(options.output) as temporary:
        points = read_points(options.points)
        transform = read_transform(options.transform)
        carried, columns = interruptible(lambda cancel: propagate(points, transform, options.direction))
        write_points(carried, temporary, columns)
    if options.quiet:
        return
    print(f"{len(carried)} points in {options.output}")
    for text, chosen in (
        ("outside the transform's field, which moves nothing there", ~columns["inside_field"]),
        (f"not to be carried back within {LARGE_RESIDUAL_MM} mm", columns["residual_mm"] > LARGE_RESIDUAL_MM),
    ):
        if chosen.any():
            labels = [label for label, shown in zip(carried.labels, chosen, strict=True) if shown]
            print(f"Warning: {len(labels)} points are {text}: {', '.join(labels)}.")
