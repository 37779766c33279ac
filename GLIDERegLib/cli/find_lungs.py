"""`glidereg find-lungs`: the lungs of CT scans as segmentations."""

from __future__ import annotations

import argparse
from pathlib import Path

from GLIDERegLib.cli.console import interruptible

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "find-lungs",
        help="find the lungs of CT scans",
        description="Finds the right and the left lung of each CT by thresholds and shape, vessels inside "
        "them included, and writes them as NAME_lungs.seg.nrrd on the scan's own grid, for masks.",
    )
    add = parser.add_argument
    add("scans", type=Path, nargs="+", metavar="SCAN", help="CT: a file, or a folder of DICOM")
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the segmentations")
    add("--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from GLIDERegLib.files.outputs import OutputFolder, refuse_overwriting
    from GLIDERegLib.files.segmentations import write_segmentation

    names = [_name(path) for path in options.scans]
    refuse_overwriting(options.scans, [options.output / name for name in names])
    with OutputFolder(options.output) as out:
        for path, name in zip(options.scans, names, strict=True):
            found = _interruptible_lungs(path)
            write_segmentation(found, out / name)
            if not options.quiet:
                print(f"{name}: {', '.join(segment.name for segment in found.segments)}")


def _name(path: Path) -> str:
    ending = next((s for s in SUFFIXES if path.name.lower().endswith(s)), "")
    return f"{path.name[: len(path.name) - len(ending)]}_lungs.seg.nrrd"


def _interruptible_lungs(path: Path):
    return interruptible(lambda cancel: _lungs(path))


def _lungs(path: Path):
    from GLIDERegLib.core.ct import in_hounsfield, is_ct
    from GLIDERegLib.core.errors import InputError
    from GLIDERegLib.evaluation.lungs import find_lungs
    from GLIDERegLib.files.segmentations import Segment, Segmentation
    from GLIDERegLib.files.volumes import read_volume

    volume = read_volume(path, "scan")
    # Of other images everything counts as body, and what is dark in it would be a lung.
    found = find_lungs(volume) if is_ct(in_hounsfield(volume)) else None
    if found is None or not found.names:
        raise InputError(
            f"No lung was found in '{path.name}'", "Give a CT of the chest in HU.", code="no-lung"
        )
    labels = found.on(volume.grid)
    segments = tuple(Segment(name, label) for label, name in found.names.items())
    return Segmentation((labels.astype("int32"),), volume.grid, segments)
