"""A study of the scene as files: the tables, a workbook, and the report that a browser shows and prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import slicer

from GLIDERegLib.core.errors import DependencyError, InputError
from GLIDERegLib.evaluation.follow_up.study import Study
from GLIDERegLib.evaluation.follow_up.tables import write_csv
from GLIDERegLib.files.outputs import OutputFolder
from GLIDERegLib.scene.follow_up.decisions import HEADERS
from GLIDERegLib.scene.follow_up.results import TABLES, rowsOf

PAGE, DECISIONS = "report.html", "decisions.csv"
NO_REPORT = (
    "The report needs the pictures of the scans: press 'Register and follow nodules' again, which takes up "
    "the registrations that are there."
)
# The packages beside those that Slicer and a registration have.
NOT_INSTALLED = "{what} was left out: the Python package {package} is not installed."


def exportStudy(
    folder: Path,
    cells: slicer.vtkMRMLTableNode,
    growth: slicer.vtkMRMLTableNode,
    decisions: Sequence[Sequence[str]] = (),
    study: Study | None = None,
    warnings: Sequence[str] = (),
    check: Callable[[], None] = lambda: None,
) -> tuple[list[str], list[str]]:
    """Writes nodules.csv and growth.csv, as the command line does; of a study also report.html and, with
    openpyxl, nodules.xlsx; and what readers decided. Returns the files' names, and what was left out and why.

    study: None where it was made in another session. decisions: rows by `decisions.HEADERS`. Raises
    InputError, with nothing written, where the folder cannot be filled.
    """
    left: list[str] = []
    with OutputFolder(folder) as out:
        for name, node in zip(TABLES, (cells, growth), strict=True):
            write_csv(out / name, *rowsOf(node))
        if decisions:
            write_csv(out / DECISIONS, HEADERS, decisions)
        if study is None:
            left.append(NO_REPORT)
        else:
            left += _writePages(study, out, warnings, check)
        names = [name for name in (PAGE, "nodules.xlsx", *TABLES, DECISIONS) if (out / name).exists()]
    return names, left


def _writePages(
    study: Study, out: OutputFolder, warnings: Sequence[str], check: Callable[[], None]
) -> list[str]:
    """Report and workbook; returns what was left out."""
    try:
        # Here, since they bring packages that Slicer may lack.
        from GLIDERegLib.evaluation.follow_up.report import WORKBOOK, write_study
        from GLIDERegLib.evaluation.follow_up.tables import write_workbook
    except ModuleNotFoundError as error:
        return [NOT_INSTALLED.format(what="The report", package=error.name)]
    registered = [
        "the others' reference" if n == study.reference else f"registered to {study.days[study.reference]}"
        for n in range(len(study.scans))
    ]
    if any(scan.volume.GetScene() is None for scan in study.scans):
        raise InputError(
            "A scan of the report is no longer in the scene.", "Load it again.", code="node-gone"
        )
    write_study(study, out, registered, warnings, check)
    try:
        write_workbook(out / WORKBOOK, study.nodules, study.days)
    except DependencyError:
        return [NOT_INSTALLED.format(what="The workbook (XLSX)", package="openpyxl")]
    return []
