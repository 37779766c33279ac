"""The study's files: nodules.csv, growth.csv, report.html and, where wanted, nodules.xlsx."""

from __future__ import annotations

import math
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
from GLIDERegLib.evaluation.follow_up.words import at_a_glance, growth_by, headline, interval, role
from GLIDERegLib.evaluation.growth import (
    BTS,
    DIAMETER,
    FLEISCHNER,
    FLEISCHNER_MM,
    LUNG_RADS,
    LUNG_RADS_MM,
    MEASUREMENT,
    SHORT_DOUBLING_DAYS,
    VOLUME,
    VOLUME_CHANGE_PERCENT,
)
from GLIDERegLib.evaluation.measuring.keeping import on_nodules
from GLIDERegLib.evaluation.nodules import LARGEST_UNCERTAINTY_MM
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
        f"{BTS} (BTS)",
    ),
)
# Judged, not measured: where voxels' longest edges differ by more, sizes are called less comparable.
VOXEL_RATIO = 1.5
# Dates side by side on the first page.
MOST_SHOWN = 8


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
    chosen = _chosen(len(days))
    window = display_window(reference)
    images = [to_sitk(volume) for volume in study.volumes]
    rows = []
    for nodule in nodules:
        check()
        row = _row(nodule, days)
        row["shown"] = [row["cells"][n] for n in chosen]
        rows.append(row | {"pictures": _pictures(nodule, days, images, window)})
    scans = [_scan(study, n, text, show_names) for n, text in enumerate(registered)]
    patients = [str(scan.patient) for scan in study.scans if str(scan.patient)]
    html = render(
        {
            "made": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            "version": __version__,
            "patient": patients[-1] if show_names and patients else "",
            "scans": scans,
            "shown": [scans[n] for n in chosen],
            "warnings": [*(text for text in warnings if not on_nodules(text)), *_own_warnings(study)],
            "nodules": rows,
            "glance": at_a_glance(nodules),
            "trust": _trust(study),
            "doubtful": any(cell["doubtful"] for row in rows for cell in row["cells"]),
            "rules": [{"text": text, "source": source} for text, source in RULES],
            "reference": days[study.reference].isoformat(),
            "window": window,
            "unit": "HU" if is_ct(reference) else "intensity",
        }
    )
    (out / PAGE).write_text(html, encoding="utf-8", newline="\n")


def _chosen(count: int) -> list[int]:
    """The numbers of the dates that the first page has room for: the first and the last ones."""
    return list(range(count)) if count <= MOST_SHOWN else [0, *range(count - MOST_SHOWN + 1, count)]


def _trust(study: Study) -> str:
    """How well is known which marks lie at one place, in sentences; empty where nothing was propagated."""
    known = [
        (nodule.number, cell.mark.radius)
        for nodule in study.nodules
        for number, cell in enumerate(nodule.cells)
        if number != study.reference and cell.mark is not None
    ]
    radii = [radius for _, radius in known if radius is not None]
    if not radii:
        return ""
    ends = list(dict.fromkeys(f"{radius:.1f}" for radius in (min(radii), max(radii))))
    text = (
        f"Which marks are one nodule follows from where the registration puts them in the scan of "
        f"{study.scans[study.reference].name}; there their places are known within {' to '.join(ends)} mm "
        "(95 %)."
    )
    unsure = sorted({number for number, radius in known if (radius or math.inf) > LARGEST_UNCERTAINTY_MM})
    if unsure:
        text += (
            f" Within more than {LARGEST_UNCERTAINTY_MM:g} mm only, so that a look at the pictures should "
            f"confirm it: {', '.join(map(str, unsure))}."
        )
    return text


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
    remarks: dict[str, list[str]] = {}
    for day, cell in zip(days, nodule.cells, strict=True):
        for text in cell.notes:
            remarks.setdefault(text, []).append(day.isoformat())
    last, whole = (headline(nodule, days, span) | {"by": growth_by(nodule, span)} for span in (False, True))
    if whole["span"] == last["span"]:
        whole = {"span": "", "lines": [], "by": []}
    for line, first in ((last, days[-2]), (whole, days[0])):
        # What the column's head says already.
        line["span"] = line["span"].removeprefix(f"{first} to {days[-1]}").removeprefix(": ")
    now = nodule.cells[-1].mark
    if now is not None and not now.measurement.measured:
        last["lines"] = [f"now: {now.measurement.status}", *last["lines"]]
    return {
        "number": nodule.number,
        "place": nodule.place,
        "cells": [{"shown": shown(cell), "doubtful": bool(cell.notes)} for cell in nodule.cells],
        "headline": last,
        "whole": whole,
        "curves": [curve for curve in curves if curve],
        "changes": _spans(told, days),
        "remarks": [(dates, text) for text, dates in remarks.items()],
    }


def _spans(changes: Sequence[Change], days: Sequence[date]) -> list[dict[str, Any]]:
    """The changes by their dates, each with a sentence for each quantity."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for change in changes:
        span = f"{days[change.earlier]} to {days[change.later]}"
        entry = {"span": span, "interval": interval(change.days), "words": []}
        found.setdefault((change.earlier, change.later), entry)["words"].append(_short(change.growth.words))
    return list(found.values())


def _short(words: str) -> str:
    """The sentences on a growth without what the page says once for all."""
    for long, short in (
        (f", {MEASUREMENT}", ""),
        (LUNG_RADS, "Lung-RADS"),
        (FLEISCHNER, "Fleischner"),
        (BTS, "BTS"),
    ):
        words = words.replace(long, short)
    return words


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
