"""The results of a benchmark as files: results.csv, results.json and table.md."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from GLIDERegLib.files.outputs import whole_file, write_json
from GLIDERegLib.studies.benchmark.about import describe_weights
from GLIDERegLib.studies.benchmark.run import Results
from GLIDERegLib.studies.benchmark.statistics import compare, mean_interval

OURS, SLOW_PEER = "glidereg-default", "convexadam"
GIB = 2**30
MOST_CASES_SHOWN = 12
# A landmark this far off is lost, not imprecise: TRE of the best published methods lies around 1 mm.
FAR_MM = 5.0
FAMILY_COLUMNS = (
    "cases",
    "mean",
    "median",
    "95 %",
    "worst",
    f"beyond {FAR_MM:g} mm (%)",
    "body",
    "lungs",
    "lungs, 95 %",
    "near the pleura",
    "SD of log J, lungs / truth",
    "body / truth",
    "folding (%)",
    "Dice",
    "time (s)",
    "GiB",
)
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
- Time: wall clock of the whole process, reading and writing files included, mean of the cases. GiB: the most
  memory its processes took together in any case.
- A method that did not finish every case is summed up over those it did."""
NOTE_ON_TESTS = """\
p: two-sided Wilcoxon signed-rank test with cases as samples, by their means, over the cases both methods
finished; Holm's correction for the number of methods. Landmarks of one case are not independent and are not
used as samples."""


def case_row(record: dict) -> dict[str, float | str | None]:
    """A record as one flat row: lengths in mm, Dice 0 to 1, folded voxels in %, memory in GiB."""
    row = {name: record.get(name) for name in ("case", "family", "method", "version", "status", "reason")}
    # Zero is what methods without a process have.
    row["seconds"] = record.get("seconds") or None
    row["peak_gib"] = record.get("peak_bytes", 0) / GIB or None
    if record["status"] != "done":
        return row
    metrics = record["metrics"]
    if error := metrics.get("target_registration_error"):
        row |= {"landmarks": error["final"]["n"], "tre_initial_mean": error["initial"]["mean"]}
        row |= {f"tre_{key}": value for key, value in error["final"].items() if key != "n"}
        matching = metrics["centre_point_matching"]["final"]
        row |= {f"share_{limit}": share for limit, share in matching.items()}
    if snapped := metrics.get("snapped_error"):
        row |= {f"tre_snapped_{key}": value for key, value in snapped["final"].items() if key != "n"}
    if truth := metrics.get("truth_error"):
        row |= {f"truth_{key}": truth["final"][key] for key in ("mean", "median", "p95", "max")}
    for region, error in metrics.get("truth_by_region", {}).items():
        row |= {f"truth_{region}_{key}": error["final"][key] for key in ("mean", "p95")}
    for region, found in metrics.get("log_jacobian", {}).items():
        row |= {f"log_jacobian_{region}": found["std_log"]}
        row |= {f"log_jacobian_{region}_truth": found["truth_std_log"]}
    if dice := metrics.get("dice"):
        names = record["structures"]
        labels = dice["final"]["per_label"].items()
        row |= {f"dice_{names.get(label, f'label {label}')}": value for label, value in labels}
        row["dice_mean"] = dice["final"]["mean"]
    jacobian = metrics["jacobian"]
    row |= {"folded_percent": 100 * jacobian["share_not_positive"]}
    row |= {f"jacobian_{key}": jacobian[key] for key in ("min", "max", "std_log")}
    row |= {f"round_trip_{key}": metrics["inverse_consistency"][key] for key in ("mean_mm", "p95_mm")}
    for when in ("initial", "final"):
        row |= {f"{name}_{when}": value for name, value in metrics["similarity"][when].items()}
    return row


def landmark_errors(records: list[dict]) -> list[np.ndarray]:
    """The errors (mm) of the landmarks of each record that has landmarks."""
    reports = [record["metrics"].get("target_registration_error") for record in records]
    return [np.array([each["final_mm"] for each in report["each"]]) for report in reports if report]


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
    parts = [_main_table(results, ran), NOTES, *family_tables(results, ran, reference)]
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
    slow = {row["case"]: row["seconds"] for row in rows.get(SLOW_PEER, [])}

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

    def ratio(name: str) -> str | None:
        times = [(row["seconds"], slow.get(row["case"])) for row in rows[name]]
        own, other = np.sum([pair for pair in times if all(pair)] or [(0, 0)], axis=0)
        return f"{own / other:.2f}" if other else None

    def memory(name: str) -> str | None:
        found = max((row["peak_gib"] or 0 for row in rows[name]), default=0)
        return f"{found:.2f}" if found else None

    def within(limit: int) -> Callable[[str], str | None]:
        return over_landmarks(lambda found: f"{100 * (found <= limit).mean():.1f}")

    structures = dict.fromkeys(
        key for name in methods for row in rows[name] for key in row if key[:5] == "dice_"
    )
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
        f"time / {SLOW_PEER}": ratio,
        "GiB": memory,
    }
    cells = {title: [cell(name) for name in methods] for title, cell in columns.items()}
    shown = {title: column for title, column in cells.items() if any(cell is not None for cell in column)}
    return markdown(
        ["method", *shown], [[name, *row] for name, *row in zip(methods, *shown.values(), strict=True)]
    )


def family_tables(results: Results, methods: list[str], reference: str) -> list[str]:
    """A table for each family of cases where there are several, that in which the reference is worst
    first."""
    families = list(dict.fromkeys(r["family"] for r in results.records if r.get("family")))
    if len(families) < 2:
        return []
    done = {
        (family, name): [r for r in results.done(name) if r.get("family") == family]
        for family in families
        for name in methods
    }

    def behind(family: str) -> float:
        """The reference's mean error over the best of the others'."""
        means = {n: np.concatenate(e).mean() for n in methods if (e := landmark_errors(done[family, n]))}
        others = [mean for name, mean in means.items() if name != reference]
        return means[reference] / min(others) if reference in means and others else 0.0

    tables = []
    for family in sorted(families, key=behind, reverse=True):
        rows = [[name, *_family_row(done[family, name])] for name in methods if done[family, name]]
        title = f"Family {family}: landmarks (mm), distance from the truth by region (mm), smoothness"
        tables.append(f"{title}\n\n{markdown(['method', *FAMILY_COLUMNS], rows)}")
    return tables


def _family_row(records: list[dict]) -> list[str | None]:
    """The cells of `FAMILY_COLUMNS` over the cases of one family."""
    rows, errors = [case_row(record) for record in records], landmark_errors(records)

    def mean(key: str, digits: int = 2) -> str | None:
        values = [row[key] for row in rows if row.get(key) is not None]
        return f"{np.mean(values):.{digits}f}" if values else None

    pooled = np.concatenate(errors) if errors else None
    cells = [str(len(rows))] + (
        [None] * 5
        if pooled is None
        else [
            f"{pooled.mean():.2f}",
            f"{np.median(pooled):.2f}",
            f"{np.percentile(pooled, 95):.2f}",
            f"{pooled.max():.1f}",
            f"{100 * (pooled > FAR_MM).mean():.1f}",
        ]
    )
    cells += [mean(f"truth_{region}") for region in ("body_mean", "lungs_mean", "lungs_p95", "pleura_mean")]
    for region in ("lungs", "body"):
        found, truth = mean(f"log_jacobian_{region}", 3), mean(f"log_jacobian_{region}_truth", 3)
        cells.append(f"{found} / {truth}" if found else None)
    cells += [mean("folded_percent", 4), mean("dice_mean", 3), mean("seconds", 1), mean("peak_gib")]
    return cells


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
    versions = {r["method"]: r["version"] for r in results.records if r.get("version")}
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
        "Methods: " + "; ".join(f"{name}: {version}" for name, version in versions.items()),
        "Versions: " + ", ".join(f"{name} {version}" for name, version in about["versions"].items()),
        *([about["weights"]] if about.get("weights") else weights or ["weights: none"]),
    ]
    return "\n".join(f"- {line}" for line in lines)


def markdown(header: list[str], rows: list[list[str | None]]) -> str:
    """A Markdown table; None becomes a dash."""
    lines = [header, [":--", *["--:"] * (len(header) - 1)], *rows]
    cells = [["–" if cell is None else cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)
