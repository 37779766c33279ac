"""`glidereg export-measurements`: a table of measured nodules as a DICOM structured report."""

from __future__ import annotations

import argparse
from pathlib import Path

from GLIDERegLib.cli.console import interruptible, print_warnings
from GLIDERegLib.cli.options import complete
from GLIDERegLib.core.counting import counted


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "export-measurements",
        help="write measured nodules as a DICOM structured report",
        description="Writes a table of `glidereg measure` as a DICOM structured report (TID 1500), "
        "unverified, in the scan's study. Needs the package highdicom.",
    )
    add = parser.add_argument
    add("table", type=Path, metavar="TABLE", help="table of `glidereg measure` (.csv)")
    add("--dicom", type=Path, required=True, metavar="SCAN", help="folder or one file of the measured series")
    add(
        "--previous",
        type=Path,
        metavar="SR",
        help="earlier report, whose nodules of the same label these are",
    )
    add("-o", "--output", type=Path, required=True, metavar="OUT", help="DICOM file to write")
    complete(parser, run)


def run(options: argparse.Namespace) -> None:
    from GLIDERegLib.files.outputs import refuse_overwriting

    given = [options.table, options.dicom, *([options.previous] if options.previous else [])]
    refuse_overwriting(given, [options.output])
    known, uids, doubts = interruptible(lambda cancel: _export(options))
    if options.quiet:
        return
    print(f"{counted(len(uids), 'nodule')} in {options.output}, not verified")
    for label, uid in uids.items():
        print(f"  {label}: {'tracked from the earlier report' if label in known else 'new'}, {uid}")
    print_warnings(doubts)


def _export(options: argparse.Namespace) -> tuple[dict[str, str], dict[str, str], list[str]]:
    from GLIDERegLib.files.dicom.measurement_report import (
        export_measurements,
        read_measurements,
        read_tracking,
    )
    from GLIDERegLib.files.dicom.new_object import taken_over_doubts
    from GLIDERegLib.files.dicom.registered_scans import read_scan

    scan, nodules = read_scan(options.dicom, "scan"), read_measurements(options.table)
    known = read_tracking(options.previous, scan) if options.previous else {}
    return known, export_measurements(nodules, scan, options.output, known), taken_over_doubts(scan)
