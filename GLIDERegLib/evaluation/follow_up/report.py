"""The study's files: nodules.csv, growth.csv, report.html and, where wanted, nodules.xlsx."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any

from GLIDERegLib import __version__
from GLIDERegLib.core.ct import is_ct
from GLIDERegLib.evaluation.follow_up.curve import growth_curve
from GLIDERegLib.evaluation.follow_up.page import render
from GLIDERegLib.evaluation.follow_up.rows import MEASURED, Cell, Change, Nodule
from GLIDERegLib.evaluation.follow_up.study import Study
from GLIDERegLib.evaluation.follow_up.tables import (
    CELLS,
    CHANGES,
    cell_rows,
    change_rows,
    shown,
    write_csv,
    write_workbook,
)
from GLIDERegLib.evaluation.follow_up.words import headline, interval, role
from GLIDERegLib.evaluation.growth import (
    BTS,
    DIAMETER,
    FLEISCHNER,
    FLEISCHNER_MM,
    LUNG_RADS,
    LUNG_RADS_MM,
    SHORT_DOUBLING_DAYS,
    VOLUME,
    VOLUME_CHANGE_PERCENT,
)
from GLIDERegLib.evaluation.report_pictures import display_window, nodule_picture, nodule_png
from GLIDERegLib.files.outputs import OutputFolder
from GLIDERegLib.files.volumes import to_sitk

NODULES, GROWTH, PAGE, WORKBOOK = "nodules.csv", "growth.csv", "report.html", "nodules.xlsx"
RULES = (
    (
        f"Mean diameter: growth is an increase of more than {LUNG_RADS_MM:g} mm within 12 months.",
        LUNG_RADS,
    ),
    (f"Diameter: a change counts from {FLEISCHNER_MM:g} mm.", FLEISCHNER),
    (
        f"Volume of a solid nodule, segmented in both scans: a change of at least "
        f"{VOLUME_CHANGE_PERCENT:.0f} % counts; then a doubling time of at most {SHORT_DOUBLING_DAYS:.0f} "
        "days asks for more work-up.",
        BTS,
    ),
)
# Judged, not measured: where voxels' longest edges differ by more, sizes are called less comparable.
VOXEL_RATIO = 1.5


def write_study(
    study: Study,
    out: OutputFolder,
    registered: Sequence[str],
    warnings: Sequence[str] = (),
    check: Callable[[], None] = lambda: None,
    show_names: bool = False,
    workbook: bool = False,
) -> None:
    """Writes all files of a study into a folder.

    registered: how each scan was registered, in words. show_names: write the scans' file names, which often
    hold a patient's name, into the page. workbook: XLSX too. check is called now and then and may raise.
    Raises DependencyError where a workbook is wanted and openpyxl is missing.
    """
    nodules, days = study.nodules, study.days
    write_csv(out / NODULES, CELLS, cell_rows(nodules, days))
    write_csv(out / GROWTH, CHANGES, change_rows(nodules, days))
    if workbook:
        write_workbook(out / WORKBOOK, nodules, days)
    reference = study.volumes[study.reference]
    window = display_window(reference)
    images = [to_sitk(volume) for volume in study.volumes]
    rows = []
    for nodule in nodules:
        check()
        rows.append(_row(nodule, days) | {"pictures": _pictures(nodule, days, images, window)})
    html = render(
        {
            "made": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            "version": __version__,
            "scans": [_scan(study, n, text, show_names) for n, text in enumerate(registered)],
            "warnings": [*warnings, *_own_warnings(study)],
            "nodules": rows,
            "doubtful": any(cell["doubtful"] for row in rows for cell in row["cells"]),
            "rules": [{"text": text, "source": source} for text, source in RULES],
            "reference": days[study.reference].isoformat(),
            "window": window,
            "unit": "HU" if is_ct(reference) else "intensity",
        }
    )
    (out / PAGE).write_text(html, encoding="utf-8", newline="\n")


def _scan(study: Study, number: int, registered: str, show_names: bool) -> dict[str, Any]:
    scan, last = study.scans[number], study.scans[-1].day
    before = (last - scan.day).days
    marked = sum(nodule.cells[number].mark is not None for nodule in study.nodules)
    return {
        "day": scan.name,
        "role": role(number, len(study.scans)),
        "before_current": interval(before) if before else "",
        "spacing": study.volumes[number].grid.spacing,
        "marked": marked,
        "searched": scan.searched,
        "registered": registered,
        "name": scan.path.name if show_names else "",
    }


def _own_warnings(study: Study) -> list[str]:
    """What makes the scans less comparable."""
    told = [
        f"The list says {scan.name}, DICOM says {scan.stated}; the list's date was taken."
        for scan in study.scans
        if scan.stated
    ]
    edges = [max(volume.grid.spacing) for volume in study.volumes]
    if max(edges) > VOXEL_RATIO * min(edges):
        told.append(
            f"The scans' voxels differ (longest edges {min(edges):.2g} to {max(edges):.2g} mm): sizes are "
            "less comparable."
        )
    return told


def _row(nodule: Nodule, days: Sequence[date]) -> dict[str, Any]:
    curves = [
        growth_curve(
            quantity,
            days,
            [cell.measurement.size(quantity) if cell.measurement else None for cell in nodule.cells],
        )
        for quantity in (DIAMETER, VOLUME)
    ]
    # All others are in the table of growth.
    found = [nodule.change(q, whole) for whole in (False, True) for q in (VOLUME, DIAMETER)]
    told = list(dict.fromkeys(change for change in found if change is not None))
    remarks = [
        (day.isoformat(), text) for day, cell in zip(days, nodule.cells, strict=True) for text in cell.notes
    ]
    return {
        "number": nodule.number,
        "place": nodule.place,
        "cells": [{"shown": shown(cell), "doubtful": bool(cell.notes)} for cell in nodule.cells],
        "headline": headline(nodule, days),
        "curves": [curve for curve in curves if curve],
        "changes": _spans(told, days),
        "remarks": remarks,
    }


def _spans(changes: Sequence[Change], days: Sequence[date]) -> list[dict[str, Any]]:
    """The changes by their dates, each with a sentence for each quantity."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for change in changes:
        span = f"{days[change.earlier]} to {days[change.later]}"
        entry = {"span": span, "interval": interval(change.days), "words": []}
        found.setdefault((change.earlier, change.later), entry)["words"].append(change.growth.words)
    return list(found.values())


def _pictures(nodule: Nodule, days: Sequence[date], images, window) -> list[dict[str, str]]:
    pictures = []
    for day, cell, image in zip(days, nodule.cells, images, strict=True):
        mask = getattr(cell.measurement, "mask", None)
        outline = to_sitk(mask) if mask is not None else None
        picture = nodule_png(nodule_picture(image, cell.point, "axial", window, outline))
        pictures.append({"uri": picture, "day": day.isoformat(), "caption": _caption(cell)})
    return pictures


def _caption(cell: Cell) -> str:
    if cell.status == MEASURED or cell.radius is None:
        return shown(cell)
    return f"{shown(cell)}; expected within {cell.radius:.1f} mm"
