"""`glidereg follow-up`: one patient's dated scans registered, their nodules measured and told apart."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from GLIDERegLib.cli.console import interruptible, print_warnings
from GLIDERegLib.cli.options import complete, settings_of, settings_options
from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.errors import Cancelled, InputError
from GLIDERegLib.studies.commands.cohort import Console, PairsFailed, register_options

if TYPE_CHECKING:
    from GLIDERegLib.evaluation.follow_up.scans import DatedScan
    from GLIDERegLib.evaluation.follow_up.study import Study
    from GLIDERegLib.registration.progress import CancelToken

REGISTRATIONS = "registrations"
Pair = tuple[int, int]


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "follow-up",
        parents=[settings_options()],
        help="follow the nodules of one patient over any number of dates",
        description="Registers the dated scans of one patient to the newest one, one after the other, "
        "measures every marked nodule in the scan in which it was marked, and tells which marks are one "
        "nodule. Writes nodules.csv, growth.csv and report.html. A second run computes only what is missing "
        "or has changed. "
        "Marked nodules do not steer the registration and keep their size in it. "
        "For visual checking; not a diagnostic device.",
    )
    add = parser.add_argument
    text = "CSV with the columns scan, date (YYYY-MM-DD), points and searched (yes or no: whether every "
    text += "nodule of that scan was marked); all but scan may be empty; paths are relative to the CSV"
    add("scans", type=Path, metavar="CSV", help=text)
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    text = "date of the scan that the others are registered to; default: the newest"
    add("--reference", metavar="DATE", help=text)
    text = "register each scan to the next date too, and tell how far both ways lead apart in mm"
    add("--by-steps", action="store_true", help=text)
    text = "go on though DICOM says that the scans are of different patients"
    add("--allow-different-patients", action="store_true", help=text)
    text = "write the patient's name and ID and the scans' file names into the page"
    add("--show-names", action="store_true", help=text)
    text = "let the marked nodules steer the registration and change their size in it, as any other tissue"
    add("--nodules-as-tissue", action="store_true", help=text)
    add("--xlsx", action="store_true", help="write the tables as nodules.xlsx too")
    complete(parser, run)


def run(options: argparse.Namespace) -> None:
    from GLIDERegLib.evaluation.follow_up.report import GROWTH, NODULES, PAGE, WORKBOOK, write_study
    from GLIDERegLib.evaluation.follow_up.scans import number_of, read_scans
    from GLIDERegLib.evaluation.follow_up.study import steps_to
    from GLIDERegLib.files.outputs import OutputFolder, refuse_overwriting
    from GLIDERegLib.files.patients import patients_of_dates

    settings_of(options)
    scans, folder = read_scans(options.scans), options.output
    reference = number_of(scans, options.reference)
    mismatch = patients_of_dates({scan.name: scan.patient for scan in scans})
    if mismatch and not options.allow_different_patients:
        hint = "Check the list, or give --allow-different-patients."
        raise InputError(mismatch, hint, code="different-patients")
    given = [options.scans, *(file for scan in scans for file in (scan.path, scan.points) if file)]
    refuse_overwriting(given, [folder, *(folder / name for name in (NODULES, GROWTH, PAGE, WORKBOOK))])
    _refuse_what_would_fail_at_the_end(scans, options.xlsx)
    pairs = {(reference, n): None for n in range(len(scans)) if n != reference}
    if options.by_steps:
        pairs |= {step: None for n in range(len(scans)) for step in steps_to(reference, n)}
    reports = _register(scans, list(pairs), folder / REGISTRATIONS, options)
    warnings = ([mismatch] if mismatch else []) + _told(scans, reports)

    def finish(cancel: CancelToken) -> Study:
        study = _study(scans, list(pairs), reference, folder / REGISTRATIONS, cancel)
        texts = [
            "the others' reference" if n == reference else _quality(reports[reference, n])
            for n in range(len(scans))
        ]
        with OutputFolder(folder) as out:
            names, workbook = options.show_names, options.xlsx
            write_study(study, out, texts, warnings, cancel.check, names, workbook)
        return study

    try:
        study = interruptible(finish)
    except Cancelled:
        raise Cancelled("Cancelled; the registrations stay, run again for the tables.") from None
    if not options.quiet:
        marks = sum(cell.mark is not None for nodule in study.nodules for cell in nodule.cells)
        found = ((len(study.nodules), "nodule"), (marks, "mark"), (len(scans), "scan"))
        nodules, marked, dates = (counted(number, what) for number, what in found)
        print(f"{nodules}, {marked} in {dates}; report in {folder / PAGE}")
        print_warnings(warnings)


def _refuse_what_would_fail_at_the_end(scans: Sequence[DatedScan], workbook: bool) -> None:
    """Raises what measuring the marks or writing a workbook would raise after hours of registering."""
    from GLIDERegLib.evaluation.follow_up.study import usable_marks
    from GLIDERegLib.evaluation.follow_up.tables import new_workbook
    from GLIDERegLib.files.volumes import read_volume

    if workbook:
        new_workbook()
    marked = [len(usable_marks(scan, read_volume(scan.path, f"{scan.name} scan"))) for scan in scans]
    if not any(marked):
        raise InputError(
            "No nodule is marked in any of the scans", "Name a points file for at least one.", code="points"
        )


def _register(
    scans: Sequence[DatedScan], pairs: Sequence[Pair], folder: Path, options: argparse.Namespace
) -> dict[Pair, dict]:
    """Registers the pairs (fixed, moving) that are not done, each in a process of its own, and returns their
    reports. Raises PairsFailed where one failed, and Cancelled; what is done stays.
    """
    from GLIDERegLib.studies.cases import Case
    from GLIDERegLib.studies.cohort.records import read_report
    from GLIDERegLib.studies.cohort.run import run_cohort

    names = {pair: _name(scans, pair) for pair in pairs}
    cases = [
        Case(
            names[fixed, moving],
            scans[fixed].path,
            scans[moving].path,
            fixed_nodules=None if options.nodules_as_tissue else scans[fixed].points,
            moving_nodules=None if options.nodules_as_tissue else scans[moving].points,
        )
        for fixed, moving in pairs
    ]
    console = Console(options.quiet)
    try:
        records = run_cohort(
            cases,
            folder,
            register_options(options) + (["--allow-different-patients"] * options.allow_different_patients),
            threads=getattr(options, "threads", None),
            sequential=True,
            retry_failed=True,
            started=console.started,
            finished=console.finished,
        )
    finally:
        console.close()
    failed = {name: record["reason"] for name, record in records.items() if record["status"] != "done"}
    if failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise PairsFailed(f"{len(failed)} of {counted(len(pairs), 'registration')} failed ({reasons}).")
    return {pair: read_report(folder / name) for pair, name in names.items()}


def _study(
    scans: Sequence[DatedScan], pairs: Sequence[Pair], reference: int, folder: Path, cancel: CancelToken
) -> Study:
    from GLIDERegLib.cli.register import TRANSFORM
    from GLIDERegLib.evaluation.follow_up.places import link_of
    from GLIDERegLib.evaluation.follow_up.study import make_study
    from GLIDERegLib.evaluation.measuring import measure_nodule
    from GLIDERegLib.files.transforms import read_transform
    from GLIDERegLib.files.volumes import read_volume

    volumes = []
    for scan in scans:
        volumes.append(read_volume(scan.path, f"{scan.name} scan"))
        cancel.check()
    links = {pair: link_of(read_transform(folder / _name(scans, pair) / TRANSFORM)) for pair in pairs}
    return make_study(scans, volumes, links, reference, measure_nodule, cancel.check)


def _name(scans: Sequence[DatedScan], pair: Pair) -> str:
    fixed, moving = (scans[number].name for number in pair)
    return f"{moving}_to_{fixed}"


def _quality(report: dict) -> str:
    before, after = (
        report["similarity"][when]["normalised_cross_correlation"] for when in ("initial", "final")
    )
    return f"correlation {before:.2f} before, {after:.2f} after"


def _told(scans: Sequence[DatedScan], reports: dict[Pair, dict]) -> list[str]:
    """The registrations' warnings, each once, with the scans it holds for; what they say of single nodules
    the study says by itself.
    """
    from GLIDERegLib.evaluation.measuring.keeping import on_nodules

    told: dict[str, list[str]] = {}
    for (_fixed, moving), report in reports.items():
        for text in report.get("warnings", ()):
            if on_nodules(text):
                continue
            told.setdefault(text, []).append(scans[moving].name)
    return [f"{', '.join(dict.fromkeys(names))}: {text}" for text, names in told.items()]
