"""The results of a benchmark as files: results.csv, results.json and table.md."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from GLIDERegLib.files.outputs import whole_file, write_json
from GLIDERegLib.studies.benchmark.about import describe_weights
from GLIDERegLib.studies.benchmark.by_family import family_tables, several_families
from GLIDERegLib.studies.benchmark.rows import (
    GIB,
    SLOW_PEER,
    case_row,
    landmark_errors,
    markdown,
    share_of_time,
)
from GLIDERegLib.studies.benchmark.run import Results
from GLIDERegLib.studies.benchmark.statistics import compare, mean_interval

OURS = "glidereg-default"
MOST_CASES_SHOWN = 12
# What methods are tested by: the column of a case's row, and its name.
TESTED = (
    ("tre_mean", "target registration error, mean of a case (mm)"),
    ("truth_mean", "distance from the truth, mean of a case (mm)"),
    ("dice_mean", "Dice, mean of a case"),
)
NOTES = """\
- TRE: distance (mm) of each landmark, propagated to the moving scan, from its counterpart there; mean,
  SD and quartiles over all landmarks of all finished cases. 95 % CI: BCa bootstrap of that mean, drawing
  whole cases. Snapped: the propagated landmark moved to the nearest voxel centre of the moving scan first.
- Within: share of landmarks within that distance of their counterpart (centre point matching).
- Truth: distance (mm) from the known transform over the mask or body; the mean of the cases' values.
- Dice: mean of the cases; structures are warped with nearest neighbour.
- Folding: voxels of the mask or body, at the fixed scan's resolution, whose raw Jacobian determinant is not
  positive; mean of the cases.
- Time: wall clock of the whole process, reading and writing files included, mean of the cases. CPU: seconds
  of the processor that it took, user and system, which another load on the machine changes less. GiB: the
  most memory its processes took together in any case.
- A method that did not finish every case is summed up over those it did."""
NOTE_ON_TESTS = """\
p: two-sided Wilcoxon signed-rank test with cases as samples, by their means, over the cases both methods
finished; Holm's correction for the number of methods. Landmarks of one case are not independent and are not
used as samples."""


def default_reference(methods: list[str]) -> str:
    """Our default where it takes part, else the first method."""
    return OURS if OURS in methods else methods[0]


def write_tables(results: Results, out: Path, reference: str, about: dict) -> None:
    """Writes results.csv (a row for each case and method), results.json (everything) and table.md to `out`.

    reference: the method the others are tested against. Raises InputError where a file cannot be written.
    """
    rows = [case_row(record) for record in results.records]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with whole_file(out / "results.csv") as temporary:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    everything = {"about": about, "cases": results.cases, "methods": results.methods}
    write_json(everything | {"reference": reference, "records": results.records}, out / "results.json")
    with whole_file(out / "table.md") as temporary:
        temporary.write_text(table_text(results, reference, about), encoding="utf-8")


def table_text(results: Results, reference: str, about: dict) -> str:
    """The table in Markdown, in the layout of the paper's Table 2, with what a reader must know under it."""
    ran = [name for name in results.methods if not _never_ran(results, name)]
    tests = _tests(results, ran, reference)
    parts = [*family_tables(results, ran, reference), _main_table(results, ran), NOTES]
    parts += [*_case_table(results, ran), *tests]
    if tests:
        parts.append(NOTE_ON_TESTS)
    if reasons := _not_done(results):
        parts.append("Not done:\n\n" + "\n".join(f"- {reason}" for reason in reasons))
    return "\n\n".join([*parts, _circumstances(results, about)]) + "\n"


def _never_ran(results: Results, method: str) -> bool:
    return all(record["status"] == "missing" for record in results.records if record["method"] == method)


def _main_table(results: Results, methods: list[str]) -> str:
    rows = {name: [case_row(record) for record in results.done(name)] for name in methods}
    errors = {name: landmark_errors(results.done(name)) for name in methods}
    pooled = {name: np.concatenate(found) for name, found in errors.items() if found}

    def mean(key: str, digits: int, factor: float = 1) -> Callable[[str], str | None]:
        def cell(name: str) -> str | None:
            values = [row[key] for row in rows[name] if row.get(key) is not None]
            return f"{factor * np.mean(values):.{digits}f}" if values else None

        return cell

    def over_landmarks(text: Callable[[np.ndarray], str]) -> Callable[[str], str | None]:
        return lambda name: text(pooled[name]) if name in pooled else None

    def quartile(percent: int) -> Callable[[str], str | None]:
        return over_landmarks(lambda found: f"{np.percentile(found, percent):.2f}")

    def interval(name: str) -> str | None:
        found = mean_interval(errors[name]) if errors[name] else None
        return f"{found[0]:.2f} to {found[1]:.2f}" if found else None

    def ratio(key: str) -> Callable[[str], str | None]:
        return lambda name: share_of_time(rows[name], rows.get(SLOW_PEER, []), key)

    def memory(name: str) -> str | None:
        found = max((row["peak_gib"] or 0 for row in rows[name]), default=0)
        return f"{found:.2f}" if found else None

    def within(limit: int) -> Callable[[str], str | None]:
        return over_landmarks(lambda found: f"{100 * (found <= limit).mean():.1f}")

    structures = dict.fromkeys(
        key for name in methods for row in rows[name] for key in row if key[:5] == "dice_"
    )
    # Each family labels structures in its own way.
    if several_families(results):
        structures = dict.fromkeys(key for key in structures if key == "dice_mean")
    columns = {
        "cases": lambda name: f"{len(rows[name])}/{len(results.cases)}",
        "TRE (mm), mean ± SD": over_landmarks(lambda found: f"{found.mean():.2f} ± {found.std():.2f}"),
        "95 % CI": interval,
        **{f"{percent} %": quartile(percent) for percent in (25, 50, 75, 95)},
        "snapped TRE (mm)": mean("tre_snapped_mean", 2),
        **{f"within {limit} mm (%)": within(limit) for limit in (2, 5, 10)},
        "truth (mm), mean": mean("truth_mean", 2),
        "truth, 95 %": mean("truth_p95", 2),
        "truth, max": mean("truth_max", 2),
        **{f"Dice {key[5:].replace('_', ' ')}": mean(key, 3) for key in structures},
        "folding (%)": mean("folded_percent", 4),
        "time (s)": mean("seconds", 1),
        f"time / {SLOW_PEER}": ratio("seconds"),
        "CPU (s)": mean("cpu_seconds", 1),
        f"CPU / {SLOW_PEER}": ratio("cpu_seconds"),
        "GiB": memory,
    }
    cells = {title: [cell(name) for name in methods] for title, cell in columns.items()}
    shown = {title: column for title, column in cells.items() if any(cell is not None for cell in column)}
    return markdown(
        ["method", *shown], [[name, *row] for name, *row in zip(methods, *shown.values(), strict=True)]
    )


def _case_table(results: Results, methods: list[str]) -> list[str]:
    """Error and time of every case, where there are several that fit beside each other."""
    if not 1 < len(results.cases) <= MOST_CASES_SHOWN:
        return []
    rows = {name: {row["case"]: row for row in map(case_row, results.done(name))} for name in methods}

    def cell(row: dict | None) -> str | None:
        if row is None or row.get("tre_mean") is None:
            return None
        return f"{row['tre_mean']:.2f}" + (f" ({row['seconds']:.0f} s)" if row["seconds"] else "")

    cells = [[name, *(cell(rows[name].get(case)) for case in results.cases)] for name in methods]
    title = "Each case: mean TRE (mm) and time"
    return [f"{title}\n\n{markdown(['method', *results.cases], cells)}"] if _any(cells) else []


def _any(cells: list[list[str | None]]) -> bool:
    return any(cell is not None for _, *row in cells for cell in row)


def _tests(results: Results, methods: list[str], reference: str) -> list[str]:
    """A table for each measure the reference has: every other method against it."""
    tables = []
    rows = {name: [case_row(record) for record in results.done(name)] for name in methods}
    for key, title in TESTED:
        values = {
            name: {row["case"]: row[key] for row in found if row.get(key) is not None}
            for name, found in rows.items()
        }
        if len(methods) < 2 or not values.get(reference):
            continue
        found = compare(values, reference)
        cells = [
            [name, str(c.n), None if c.difference is None else f"{c.difference:+.3f}", _p(c.p), _p(c.p_holm)]
            for name, c in found.items()
        ]
        header = ["method", "cases", f"difference from {reference}", "p", "p (Holm)"]
        tables.append(f"Against {reference}: {title}\n\n{markdown(header, cells)}")
    return tables


def _p(value: float | None) -> str | None:
    return None if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _not_done(results: Results) -> list[str]:
    """One line for all methods that are missing for one reason, and for each run that failed."""
    missing: dict[str, dict[str, None]] = {}
    failed = []
    for record in results.records:
        if record["status"] == "missing":
            missing.setdefault(record["reason"], {})[record["method"]] = None
        elif record["status"] != "done":
            failed.append(f"{record['method']} on {record['case']}: {record['status']}. {record['reason']}")
    return [f"missing: {', '.join(names)}. {reason}" for reason, names in missing.items()] + failed


def _circumstances(results: Results, about: dict) -> str:
    machine, settings = about["machine"], about["settings"]
    versions: dict[str, dict[str, None]] = {}
    for record in results.records:
        if record.get("version"):
            versions.setdefault(record["method"], {})[record["version"]] = None
    weights = dict.fromkeys(describe_weights(r["weights"]) for r in results.records if r.get("weights"))
    dates = [record["made"]["date"] for record in results.records]
    processors = dict.fromkeys(record["made"]["processor"] for record in results.records)
    graphics = ", ".join(machine["graphics"]) or "no graphics card"
    limit = "no limit" if settings["timeout_s"] is None else f"at most {settings['timeout_s']:g} s"
    lines = [
        f"Command: `{about['command']}`",
        f"Date: {about['date']}",
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['memory_bytes'] / GIB:.0f} GiB"
        f", {graphics}, {machine['system']}; load before the start {machine['load_before']}",
        f"Runs: {settings['threads']} thread(s), {limit} a run, median time of {settings['repeats']}",
        f"Results made from {min(dates)} to {max(dates)} on {', '.join(processors)}",
        "Methods: " + "; ".join(f"{name}: {' and '.join(found)}" for name, found in versions.items()),
        "Versions: " + ", ".join(f"{name} {version}" for name, version in about["versions"].items()),
        *([about["weights"]] if about.get("weights") else weights or ["weights: none"]),
    ]
    return "\n".join(f"- {line}" for line in lines)
