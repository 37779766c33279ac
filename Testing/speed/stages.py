"""Reads the times of a measured registration: seconds and memory of every stage, and of every level."""

from __future__ import annotations

import statistics
from bisect import bisect_left
from itertools import accumulate, pairwise

ENDING = "refinement, ending"


def level_name(number: int) -> str:
    """The row of a level, counted from 1 at the coarsest."""
    return f"refinement, level {number}"


def level_seconds(
    events: list[tuple[float, float]], iterations: list[int], directions: int
) -> dict[str, float]:
    """Seconds of every refinement level, from the fractions done and when they were told, of all directions.

    The stage tells 0 at its start, n of all iterations of all directions after the n-th, and 1 again at its
    end. What comes between two iterations counts for the level of the later one: so does a level's
    preparation, and the end of the first direction for the first level of the second. What follows the last
    iteration is the ending.
    """
    ends = list(accumulate(iterations * directions))
    seconds = dict.fromkeys([*(level_name(n + 1) for n in range(len(iterations))), ENDING], 0.0)
    for (before, begin), (fraction, end) in pairwise(events):
        number = bisect_left(ends, round(fraction * ends[-1])) % len(iterations)
        seconds[ENDING if before == 1 else level_name(number + 1)] += end - begin
    return seconds


def stage_rows(measured: dict) -> dict[str, dict]:
    """Each stage's seconds and peak memory (GiB, None where it was not told) of one run, in its order.

    measured: what child.py's `register` returns. "warping" is a part of the stage "result", measured once
    more by itself, and levels are parts of "refinement". "whole" is reading, registering and writing.
    """
    report, seconds = measured["report"], measured["seconds"]
    rows = {"read": row(seconds["read"])}
    for name, record in report["stages"].items():
        rows[name] = row(record["seconds"], record["peak_memory_mb"], record.get("peak_device_memory_mb"))
        if name == "refinement":
            settings = report["settings"]
            iterations = [level["iterations"] for level in settings["levels"]]
            directions = 2 if settings["symmetric"] else 1
            parts = level_seconds(measured["refinement_events"], iterations, directions)
            rows |= {part: row(value) for part, value in parts.items()}
    rows["warping"] = row(seconds["warping"])
    rows["write"] = row(seconds["write"])
    rows["whole"] = row(seconds["read"] + report["seconds"] + seconds["write"])
    return rows


def median_rows(runs: list[dict[str, dict]]) -> dict[str, dict]:
    """The rows of repeated runs as one: median seconds, largest memory."""
    merged = {}
    for name in runs[0]:
        rows = [run[name] for run in runs]
        merged[name] = {"seconds": statistics.median(row["seconds"] for row in rows)}
        for memory in ("gib", "device_gib"):
            values = [row[memory] for row in rows if row[memory] is not None]
            merged[name][memory] = max(values, default=None)
    return merged


def row(seconds: float, peak_mb: float | None = None, device_mb: float | None = None) -> dict:
    """A row of seconds and, from MiB, peak memory in GiB of the process and of the GPU."""
    gib, device_gib = (None if mb is None else mb / 1024 for mb in (peak_mb, device_mb))
    return {"seconds": seconds, "gib": gib, "device_gib": device_gib}
