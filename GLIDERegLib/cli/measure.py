"""`glidereg measure`: nodules measured in one original scan."""

from __future__ import annotations

import argparse
from pathlib import Path

from GLIDERegLib.cli.console import interruptible, print_warnings
from GLIDERegLib.cli.options import complete
from GLIDERegLib.cli.register import REPORT, WARPED
from GLIDERegLib.core.counting import counted

# Decimals of what is written; six stand for coordinates.
DECIMALS = 2


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "measure",
        help="measure nodules in one original scan",
        description="Segments each nodule from one point in it and measures volume and diameters, with 95 % "
        "intervals. Give the scan as it was reconstructed, never a warped one: a warp changes sizes.",
    )
    add = parser.add_argument
    add("scan", type=Path, metavar="SCAN", help="the scan, in HU: a file or a folder with a DICOM series")
    add(
        "--points",
        type=Path,
        required=True,
        metavar="P",
        help="a point in each nodule (.csv, .mrk.json or .fcsv)",
    )
    add("-o", "--output", type=Path, required=True, metavar="CSV", help="table to write, a row a point")
    add(
        "--step",
        type=int,
        default=0,
        metavar="N",
        help="so many steps of 0.35 mm larger than found (smaller: negative)",
    )
    add("--masks", type=Path, metavar="SEG", help="also write the outlines (.seg.nrrd)")
    complete(parser, run)


def run(options: argparse.Namespace) -> None:
    from GLIDERegLib.core.errors import InputError
    from GLIDERegLib.evaluation.doubts import OUTSIDE_SHARE, outside_doubt
    from GLIDERegLib.evaluation.measuring import measure_nodule
    from GLIDERegLib.files.outputs import refuse_overwriting, whole_file
    from GLIDERegLib.files.points import read_points, write_points
    from GLIDERegLib.files.segmentations import SLICER, write_segmentation
    from GLIDERegLib.files.volumes import read_volume

    if options.output.suffix.lower() != ".csv":
        raise InputError(f"Cannot write '{options.output}'.", "Name the table .csv.", code="cannot-write")
    if options.masks is not None and not options.masks.name.lower().endswith(SLICER):
        raise InputError(
            f"Cannot write '{options.masks}'.", f"Name the outlines {SLICER}.", code="cannot-write"
        )
    outputs = [path for path in (options.output, options.masks) if path is not None]
    refuse_overwriting([options.scan, options.points], outputs)
    with whole_file(options.output) as temporary:
        points = read_points(options.points)
        if options.scan.name == WARPED and (options.scan.parent / REPORT).exists():
            raise InputError(
                f"'{options.scan}' is a warped scan, and a warp changes the size of nodules.",
                "Measure in the original scan.",
                code="warped",
            )
        scan = read_volume(options.scan, "measured")

        def measure(cancel) -> list:
            found = []
            for point in points.points:
                cancel.check()
                found.append(measure_nodule(scan, point, step=options.step))
            return found

        nodules = interruptible(measure)
        same = marked_twice(points.names, nodules)
        write_points(points, temporary, columns(nodules) | {"same_nodule_as": same})
        if options.masks is not None:
            write_segmentation(outlines(points.labels, nodules, scan.grid), options.masks)
    if options.quiet:
        return
    measured = sum(nodule.measured for nodule in nodules)
    print(f"{counted(len(nodules), 'point')}, {measured} measured, in {options.output}")
    for label, nodule in zip(points.labels, nodules, strict=True):
        print(f"  {label}: {line(nodule)}")
    doubt = outside_doubt(points.points, scan.grid, "measured", OUTSIDE_SHARE)
    print_warnings(([doubt] if doubt else []) + twice_words(points.names, same))


def columns(nodules: list) -> dict[str, list]:
    """The table's columns after label, x, y and z; empty where a nodule could not be measured."""
    numbers = (
        "volume_mm3", "volume_low_mm3", "volume_high_mm3", "long_mm", "short_mm", "mean_mm",
    )  # fmt: skip
    table: dict[str, list] = {
        name: [_rounded(getattr(nodule, name)) for nodule in nodules] for name in numbers
    }
    table["status"] = [nodule.status for nodule in nodules]
    for name in ("mean_low_mm", "mean_high_mm", "mean_hu"):
        table[name] = [_rounded(getattr(nodule, name)) for nodule in nodules]
    for name in ("attenuation", "touches_vessel", "touches_pleura"):
        values = [getattr(nodule, name) for nodule in nodules]
        table[name] = ["" if value is None else value for value in values]
    for name, values in (
        ("pixel_mm", [_acquired(nodule, "voxel_mm", 0) for nodule in nodules]),
        ("slice_mm", [_acquired(nodule, "voxel_mm", 2) for nodule in nodules]),
        ("noise_hu", [_acquired(nodule, "noise_hu") for nodule in nodules]),
    ):
        table[name] = [_rounded(value) for value in values]
    return table


def marked_twice(names: list[str], nodules: list) -> list[str]:
    """For each point the first one before it in the same nodule, by its name; else empty."""
    from GLIDERegLib.evaluation.measuring.measurement import same_nodule

    found = [same_nodule(nodules[: n + 1], n) for n in range(len(nodules))]
    return [names[others[0]] if others else "" for others in found]


def twice_words(names: list[str], same: list[str]) -> list[str]:
    """A sentence on each point in a nodule that another one lies in, too."""
    return [
        f"'{name}' lies in the same nodule as '{other}': it is one nodule, measured twice."
        for name, other in zip(names, same, strict=True)
        if other
    ]


def outlines(labels: list[str], nodules: list, grid):
    """The masks as segments "1. LABEL" by their points' numbers, in the box of the scan that holds them all;
    a nodule that could not be measured has none.
    """
    import numpy as np

    from GLIDERegLib.core.geometry import Grid
    from GLIDERegLib.files.segmentations import Segment, Segmentation

    masks = {n: nodule.mask for n, nodule in enumerate(nodules, 1) if nodule.mask is not None}
    firsts = {n: np.rint(grid.to_index(mask.grid.origin)).astype(int) for n, mask in masks.items()}
    low = np.min([*firsts.values()], axis=0) if masks else np.zeros(3, int)
    ends = [first + masks[n].grid.size for n, first in firsts.items()]
    size = np.max(ends, axis=0) - low if masks else np.ones(3, int)
    layers, segments = [np.zeros(size[::-1], np.int32)], []
    for n, mask in masks.items():
        first = (firsts[n] - low)[::-1]
        box = tuple(slice(a, a + length) for a, length in zip(first, mask.array.shape, strict=True))
        inside = mask.array != 0
        layer = next((k for k, layer in enumerate(layers) if not layer[box][inside].any()), len(layers))
        if layer == len(layers):
            # It overlaps another one in each.
            layers.append(np.zeros_like(layers[0]))
        layers[layer][box][inside] = n
        segments.append(Segment(f"{n}. {labels[n - 1]}", n, layer))
    origin = tuple(grid.to_physical(low).tolist())
    i, j, k = (int(length) for length in size)
    box_grid = Grid((i, j, k), grid.spacing, origin, grid.direction)
    return Segmentation(tuple(layers), box_grid, tuple(segments))


def line(nodule) -> str:
    """A nodule in one line for a person."""
    if not nodule.measured:
        return nodule.status
    return (
        f"{nodule.volume_mm3:.0f} mm³ (95 % {nodule.volume_low_mm3:.0f} to {nodule.volume_high_mm3:.0f}), "
        f"{nodule.long_mm:.1f} x {nodule.short_mm:.1f} mm, mean {nodule.mean_mm:.1f} mm, {nodule.attenuation}"
    )


def _acquired(nodule, name: str, axis: int | None = None) -> float | None:
    value = getattr(nodule.scanned, name, None)
    return value if value is None or axis is None else value[axis]


def _rounded(value: float | None) -> float:
    return float("nan") if value is None else round(value, DECIMALS)
