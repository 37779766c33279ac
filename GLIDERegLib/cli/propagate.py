"""`glidereg propagate`: points from one image to the other through a transform of any tool."""

from __future__ import annotations

import argparse
import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from GLIDERegLib.cli.console import interruptible, print_warnings
from GLIDERegLib.cli.options import complete
from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.errors import GlideRegError

if TYPE_CHECKING:
    from GLIDERegLib.core.geometry import Grid

ROLES = ("fixed", "moving")
# In a folder of results, where the scans that were registered are named.
TRANSFORM, INPUTS = "transform.h5", "inputs.json"

# A choice, a tenth of a fine voxel: an inverse that is off by more is worth a word.
LARGE_RESIDUAL_MM = 0.1


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "propagate",
        help="propagate points from one image to the other",
        description="Propagates points through a transform, ITK's or a displacement field, that maps fixed "
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
    for role, other in (("fixed", "the motion is not known"), ("moving", "nothing can be compared")):
        text = f"the {role} image, to tell points outside of it, where {other}; found by itself where T lies "
        text += "in a folder of `glidereg register`"
        add(f"--{role}", type=Path, metavar="FILE", help=text)
    add("-o", "--output", type=Path, required=True, metavar="OUT", help="points file to write, in LPS mm")
    complete(parser, run)


def run(options: argparse.Namespace) -> None:
    from GLIDERegLib.evaluation.doubts import OUTSIDE_SHARE, outside_doubt
    from GLIDERegLib.files.outputs import refuse_overwriting, whole_file
    from GLIDERegLib.files.points import read_points, write_points
    from GLIDERegLib.files.transforms import read_transform
    from GLIDERegLib.transforms.points import propagate

    given = [getattr(options, role) for role in ROLES if getattr(options, role)]
    refuse_overwriting([options.points, options.transform, *given], [options.output])
    with whole_file(options.output) as temporary:
        points = read_points(options.points)
        transform = read_transform(options.transform)
        grids = image_grids(options)
        propagated, columns = interruptible(
            lambda cancel: propagate(points, transform, options.direction, **grids)
        )
        write_points(propagated, temporary, columns)
    if options.quiet:
        return
    print(f"{counted(len(propagated), 'point')} in {options.output}")
    role = options.direction.partition("-")[0]
    if role in grids:
        print_warnings([*filter(None, [outside_doubt(points.points, grids[role], role, OUTSIDE_SHARE)])])
    doubts = {
        "outside the transform's field or the fixed image, where no motion is known": ~columns[
            "inside_field"
        ],
        f"without an inverse within {LARGE_RESIDUAL_MM} mm": columns["residual_mm"] > LARGE_RESIDUAL_MM,
    }
    if "inside_moving" in columns:
        doubts["outside the moving image, where nothing can be compared"] = ~columns["inside_moving"]
    for text, chosen in doubts.items():
        if chosen.any():
            labels = [label for label, shown in zip(propagated.labels, chosen, strict=True) if shown]
            said = counted(len(labels), "point is", "points are")
            print_warnings([f"{said} {text}: {', '.join(labels)}."])


def image_grids(options: argparse.Namespace) -> dict[str, Grid]:
    """Where the images' voxels are: of those given, else of those that were registered, if they are there."""
    from GLIDERegLib.files.grids import read_grid

    found = {role: read_grid(path, role) for role in ROLES if (path := getattr(options, role))}
    folder = options.transform.parent
    if options.transform.name != TRANSFORM or not (folder / INPUTS).is_file():
        return found
    with suppress(OSError, ValueError, KeyError, TypeError, GlideRegError):
        registered = json.loads((folder / INPUTS).read_text(encoding="utf-8"))
        for role in ROLES:
            if role not in found:
                found[role] = read_grid(registered[role], role)
    return found
