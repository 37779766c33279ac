"""`glidereg propagate-labels`: a segmentation from one scan to the other, and what it is worth there."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from GLIDERegLib.cli.console import interruptible, print_warnings
from GLIDERegLib.cli.options import complete
from GLIDERegLib.cli.propagate import ROLES, image_grids
from GLIDERegLib.core.counting import counted

# mm; an inverse further from the exact one than a tenth of a fine voxel is told.
UNSAID_MM = 0.1
COLUMNS = {
    "mean_mm": "mean mm",
    "p95_mm": "95 % mm",
    "hausdorff_mm": "Hausdorff",
    "dice": "Dice",
}


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "propagate-labels",
        help="propagate a segmentation from one image to the other",
        description="Propagates a label map, or a .seg.nrrd of 3D Slicer, onto the other image's grid "
        "through a transform that maps fixed points to moving points, and compares it with one there.",
    )
    add = parser.add_argument
    add("labels", type=Path, metavar="SEGMENTATION", help="label map (.nii.gz, .nrrd, .mha) or .seg.nrrd")
    add("--transform", type=Path, required=True, metavar="T", help="transform, fixed points to moving points")
    add(
        "--direction",
        required=True,
        choices=("fixed-to-moving", "moving-to-fixed"),
        help="which image the segmentation is of, and which it goes to",
    )
    for role in ROLES:
        text = (
            f"the {role} image, needed where the segmentation goes to it; found by itself where T lies in a "
        )
        add(f"--{role}", type=Path, metavar="FILE", help=text + "folder of `glidereg register`")
    add(
        "--compare",
        type=Path,
        metavar="OTHER",
        help="segmentation of the other image to compare with, by name",
    )
    add("--report", type=Path, metavar="JSON", help="figures to write")
    add(
        "--surfaces",
        type=Path,
        metavar="DIR",
        help="folder for each compared segment's surface with its distances (.vtk)",
    )
    add("-o", "--output", type=Path, required=True, metavar="OUT", help="segmentation to write")
    complete(parser, run)


def run(options: argparse.Namespace) -> None:
    from GLIDERegLib.core.errors import InputError
    from GLIDERegLib.files.outputs import refuse_overwriting, write_json
    from GLIDERegLib.files.segmentations import write_segmentation

    if options.surfaces and not options.compare:
        raise InputError("--surfaces needs --compare, to which the distances are.", code="setting")

    inputs = [options.labels, options.transform, options.fixed, options.moving, options.compare]
    outputs = [path for path in (options.output, options.report) if path]
    refuse_overwriting([path for path in inputs if path], outputs)
    found, compared, meshes = interruptible(lambda cancel: _propagated(options))
    write_segmentation(found.segmentation, options.output)
    surfaces = _write_surfaces(meshes, options.surfaces) if options.surfaces else {}
    doubts = list(_doubts(found, compared))
    if options.report:
        segments = [
            {"name": item.segment.name, **{k: v for k, v in asdict(item).items() if k != "segment"}}
            for item in found.segments
        ]
        write_json(
            {
                "direction": options.direction,
                "reviewed": False,
                "inverse_residual_mm": found.residual_mm,
                "segments": segments,
                "compared": compared,
                "surfaces": surfaces,
                "doubts": doubts,
            },
            options.report,
        )
    if not options.quiet:
        _print(found, compared, options.output)
        print_warnings(doubts)


def _propagated(options: argparse.Namespace):
    from GLIDERegLib.core.errors import InputError
    from GLIDERegLib.evaluation.contours import compare_segmentations, propagate_segmentation
    from GLIDERegLib.files.segmentations import read_segmentation
    from GLIDERegLib.files.transforms import read_transform

    origin, goal = options.direction.split("-to-")
    source = read_segmentation(options.labels, origin)
    other = read_segmentation(options.compare, goal) if options.compare else None
    grid = image_grids(options).get(goal)
    if grid is None:
        raise InputError(
            f"The grid of the {goal} image is not known", f"Give the {goal} image.", code=f"no-{goal}-image"
        )
    found = propagate_segmentation(source, read_transform(options.transform), options.direction, grid)
    if other is None:
        return found, {}, {}
    compared = compare_segmentations(found.segmentation, other)
    return found, compared, _meshes(found.segmentation, other, compared) if options.surfaces else {}


def _meshes(propagated, other, compared: dict) -> dict:
    """Each compared segment's surface, by its name."""
    from GLIDERegLib.evaluation.distance_mesh import distance_mesh

    theirs = {segment.name: segment for segment in other.segments}
    return {
        segment.name: distance_mesh(mask, other.mask(theirs[segment.name]), propagated.grid)
        for segment, mask in propagated.masks()
        if "mean_mm" in compared.get(segment.name, {})
    }


def _write_surfaces(meshes: dict, folder: Path) -> dict[str, str]:
    """Writes the meshes; the names of their files by the segments'."""
    from GLIDERegLib.files.meshes import write_mesh
    from GLIDERegLib.files.outputs import OutputFolder

    files = {name: f"surface_{number}.vtk" for number, name in enumerate(meshes, 1)}
    with OutputFolder(folder) as out:
        for name, mesh in meshes.items():
            write_mesh(mesh.points, mesh.faces, mesh.distances, "distance_mm", out / files[name])
    return files


def _print(found, compared: dict, output: Path) -> None:
    print(f"{counted(len(found.segments), 'segment')} in {output}, not reviewed")
    heads = ["ml before", "ml after", *(COLUMNS.values() if compared else ())]
    print(f"{'':<32}" + "".join(f"{head:>11}" for head in heads))
    for item in found.segments:
        figures = compared.get(item.segment.name, {})
        cells = [f"{item.before_ml:.2f}", f"{item.after_ml:.2f}"]
        cells += [f"{figures[key]:.2f}" if key in figures else "" for key in COLUMNS if compared]
        print(f"{item.segment.name:<32}" + "".join(f"{cell:>11}" for cell in cells))


def _doubts(found, compared: dict):
    names = [item.segment.name for item in found.segments if item.lost]
    if names:
        said = counted(len(names), "segment is lost, nothing of it", "segments are lost, nothing of them")
        yield f"{said} is on the other grid: {', '.join(names)}."
    for item in found.segments:
        if item.share_outside > 0:
            yield f"{100 * item.share_outside:.0f} % of '{item.segment.name}' lies outside the other scan."
    names = [item.segment.name for item in found.segments if item.slides]
    if names:
        yield (
            f"Organs that slide along their neighbours have an uncertain surface: {', '.join(names)}. The "
            "field is smooth there."
        )
    if found.residual_mm > UNSAID_MM:
        yield f"The transform's inverse is up to {found.residual_mm:.2f} mm from exact: it folds or is rough."
    for side, key in (("propagated", "volume_ml"), ("compared", "other_volume_ml")):
        names = [name for name, figures in compared.items() if figures[key] == 0]
        if names:
            yield f"Not in the {side} segmentation, so not compared: {', '.join(names)}."
