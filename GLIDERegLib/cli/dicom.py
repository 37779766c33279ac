"""`glidereg export-dicom`, `import-dicom`, `export-contours`: registrations and contours as DICOM objects."""

from __future__ import annotations

import argparse
from pathlib import Path

from GLIDERegLib.cli.console import interruptible, print_warnings
from GLIDERegLib.cli.options import complete
from GLIDERegLib.core.counting import counted

# mm; what a reader of the object may be told without a word: a tenth of a fine voxel.
UNSAID_MM = 0.1


def add_parser(commands: argparse._SubParsersAction) -> None:
    _add_export(commands)
    _add_import(commands)
    _add_contours(commands)


def _add_scans(parser: argparse.ArgumentParser, text: str, required: bool) -> None:
    """The options for the two scans; text: their help, with {role} in it."""
    for role in ("fixed", "moving"):
        parser.add_argument(
            f"--{role}-dicom", type=Path, required=required, metavar="SCAN", help=text.format(role=role)
        )


def _add_export(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "export-dicom",
        help="write a registration as a DICOM Deformable Spatial Registration",
        description="Writes the registration of two DICOM series as a DICOM Deformable Spatial Registration, "
        "a new series in the fixed scan's study, from the fixed to the moving frame of reference.",
    )
    add = parser.add_argument
    add("result", type=Path, metavar="DIR", help="results of `glidereg register`, or a transform file")
    _add_scans(parser, "folder or one file of the {role} DICOM series", required=True)
    add("-o", "--output", type=Path, required=True, metavar="OUT", help="DICOM file to write")
    add(
        "--keep-grid",
        action="store_true",
        help="write the displacement field's own grid, turned or fine as it is; default: a grid along the "
        "patient's axes, every 2 to 3 mm",
    )
    complete(parser, run_export)


def _add_import(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "import-dicom",
        help="read a DICOM registration object, deformable or rigid",
        description="Reads a DICOM Deformable Spatial Registration or Spatial Registration and writes it as "
        "a transform from fixed to moving points.",
    )
    add = parser.add_argument
    add("registration", type=Path, metavar="REG", help="the registration object")
    _add_scans(parser, "the {role} DICOM series; refused where the object is not of it", required=False)
    add("-o", "--output", type=Path, required=True, metavar="OUT", help="transform to write (.h5 or .tfm)")
    add("--report", type=Path, metavar="JSON", help="which scans it leads from and to, by their UIDs")
    complete(parser, run_import)


def _add_contours(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "export-contours",
        help="write a segmentation as a DICOM RT Structure Set or Segmentation",
        description="Writes a segmentation that lies on a DICOM scan's grid as an RT Structure Set or a "
        "DICOM Segmentation (which needs the package highdicom), unapproved, in the scan's study.",
    )
    add = parser.add_argument
    add("labels", type=Path, metavar="SEGMENTATION", help="label map (.nii.gz, .nrrd, .mha) or .seg.nrrd")
    add("--dicom", type=Path, required=True, metavar="SCAN", help="folder or one file of the DICOM series")
    add("--type", required=True, choices=("rtstruct", "seg"), help="which object to write")
    add("-o", "--output", type=Path, required=True, metavar="OUT", help="DICOM file to write")
    complete(parser, run_contours)


def run_contours(options: argparse.Namespace) -> None:
    from GLIDERegLib.files.outputs import refuse_overwriting

    refuse_overwriting([options.labels, options.dicom], [options.output])
    scan, segmentation = interruptible(lambda cancel: _export_contours(options))
    if not options.quiet:
        print("Scan:  ", _described(scan.info))
        names = ", ".join(segment.name for segment in segmentation.segments)
        print(f"{options.output}: {counted(len(segmentation.segments), 'segment')}, not approved: {names}")
        _warn_of_taken_over(scan)


def _export_contours(options: argparse.Namespace):
    from GLIDERegLib.files.dicom.registered_scans import read_scan
    from GLIDERegLib.files.dicom.segmentation_object import export_segmentation
    from GLIDERegLib.files.dicom.structure_set import export_structure_set
    from GLIDERegLib.files.segmentations import read_segmentation

    scan, segmentation = read_scan(options.dicom, "scan"), read_segmentation(options.labels, "scan's")
    write = {"rtstruct": export_structure_set, "seg": export_segmentation}[options.type]
    write(segmentation, scan, options.output)
    return scan, segmentation


def run_export(options: argparse.Namespace) -> None:
    from GLIDERegLib.files.outputs import refuse_overwriting

    folder = options.result.is_dir()
    transform = options.result / "transform.h5" if folder else options.result
    refuse_overwriting([transform, options.fixed_dicom, options.moving_dicom], [options.output])
    written = interruptible(lambda cancel: _export(options, transform, options.result if folder else None))
    if options.quiet:
        return
    for role, scan in (("Fixed: ", written.fixed), ("Moving:", written.moving)):
        print(role, _described(scan.info))
    size, spacing = (
        " x ".join(f"{n:g}" for n in values) for values in (written.grid.size, written.grid.spacing)
    )
    print(
        f"{options.output}: Deformable Spatial Registration, fixed to moving; {size} vectors, every "
        f"{spacing} mm"
    )
    print(
        f"Read back, it is at most {written.largest_difference_mm:.3f} mm from the transform, at 2000 points "
        "of the fixed scan."
    )
    if written.largest_difference_mm > UNSAID_MM:
        print_warnings(
            ["The transform bends more finely than the grid; --keep-grid writes a displacement field's own."]
        )
    _warn_of_taken_over(written.fixed)
    if not folder:
        print_warnings(["Nothing tells whether these are the scans that were registered."])


def _export(options: argparse.Namespace, transform: Path, result: Path | None):
    from GLIDERegLib.files.dicom.registered_scans import check_registered, check_warped, read_scan
    from GLIDERegLib.files.dicom.registration_writer import export_registration
    from GLIDERegLib.files.transforms import read_transform
    from GLIDERegLib.files.volumes import read_volume

    mapping = read_transform(transform)
    fixed, moving = (
        read_scan(getattr(options, f"{role}_dicom"), f"{role} scan") for role in ("fixed", "moving")
    )
    if result is not None:
        check_registered(result, fixed.grid, moving.grid)
        check_warped(result, mapping, read_volume(options.moving_dicom, "moving"))
    return export_registration(mapping, fixed, moving, options.output, options.keep_grid)


def run_import(options: argparse.Namespace) -> None:
    from GLIDERegLib.files.dicom.registered_scans import read_scan
    from GLIDERegLib.files.dicom.registration_object import read_registration
    from GLIDERegLib.files.outputs import refuse_overwriting, write_json
    from GLIDERegLib.files.transforms import write_transform

    given = {
        role: path for role in ("fixed", "moving") if (path := getattr(options, f"{role}_dicom")) is not None
    }
    outputs = [options.output, *([options.report] if options.report else [])]
    refuse_overwriting([options.registration, *given.values()], outputs)

    def work(cancel):
        infos = {role: read_scan(path, f"{role} scan").info for role, path in given.items()}
        found = read_registration(options.registration, **infos)
        write_transform(found.transform, options.output)
        if options.report:
            write_json(_report(found), options.report)
        return found, infos

    found, infos = interruptible(work)
    if options.quiet:
        return
    for role, scan in (("fixed", found.fixed), ("moving", found.moving)):
        print(f"{role.title() + ':':<7}", _described(infos[role]) if role in infos else scan)
    print(f"{options.output}: {found.kind} '{found.label}', fixed to moving points, LPS mm")
    print_warnings(list(found.notes))


def _warn_of_taken_over(scan) -> None:
    from GLIDERegLib.files.dicom.new_object import taken_over_doubts

    print_warnings(taken_over_doubts(scan))


def _report(found) -> dict:
    """Without anything of the patient."""
    scans = {
        role: {"frame": scan.frame, "study": scan.study, "series": scan.series, "images": sorted(scan.images)}
        for role, scan in (("fixed", found.fixed), ("moving", found.moving))
    }
    return {"kind": found.kind, "label": found.label, **scans, "notes": found.notes}


def _described(info) -> str:
    """A scan in one line, without anything of the patient."""
    date = f" of {info.study_date}" if info.study_date else ""
    frame = f"frame of reference {info.frame_of_reference_uid or 'unknown'}"
    return f"series '{info.description}'{date}, {counted(len(info.sop_instance_uids), 'image')}, {frame}"
