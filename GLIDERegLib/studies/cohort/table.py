"""The table of a cohort: a row for each pair."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from GLIDERegLib.files.outputs import whole_file
from GLIDERegLib.studies.cohort.records import read_report

TABLE = "cohort.csv"
# Column: where the report of `glidereg register` tells it.
FROM_REPORT = {
    "points": ("target_registration_error", "final", "n"),
    "tre_initial_mm": ("target_registration_error", "initial", "mean"),
    "tre_final_mm": ("target_registration_error", "final", "mean"),
    "tre_final_p95_mm": ("target_registration_error", "final", "p95"),
    "correlation_initial": ("similarity", "initial", "normalised_cross_correlation"),
    "correlation_final": ("similarity", "final", "normalised_cross_correlation"),
    "mutual_information_initial": ("similarity", "initial", "mutual_information"),
    "mutual_information_final": ("similarity", "final", "mutual_information"),
    "folded_share": ("jacobian", "share_not_positive"),
    "jacobian_min": ("jacobian", "min"),
    "round_trip_mean_mm": ("inverse_consistency", "mean_mm"),
    "working_spacing_mm": ("working_spacing_mm",),
    "features": ("features",),
    "device": ("device", "kind"),
    "version": ("versions", "glidereg"),
}
FROM_RECORD = ("status", "reason", "seconds", "peak_memory_gb", "host", "finished")


def write_table(folder: Path, records: Iterable[tuple[str, dict[str, Any]]]) -> Path:
    """Writes DIR/cohort.csv from names and records in their order; what is not known stays empty.

    Lengths are in mm, memory in GiB; folded_share is between 0 and 1. Raises InputError.
    """
    path = folder / TABLE
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", *FROM_RECORD, *FROM_REPORT, "warnings"])
        for name, record in records:
            report = read_report(folder / name) if record["status"] == "done" else {}
            cells = [record.get(key) for key in FROM_RECORD]
            cells += [_entry(report, keys) for keys in FROM_REPORT.values()]
            writer.writerow([name, *cells, " ".join(report.get("warnings", []))])
    return path


def _entry(report: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        report = report.get(key) if isinstance(report, dict) else None
    return report
