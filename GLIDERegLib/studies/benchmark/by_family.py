"""A table for each family of cases: a mean over all hides what a method does on one kind of data."""

from __future__ import annotations

import numpy as np

from GLIDERegLib.studies.benchmark.rows import SLOW_PEER, case_row, landmark_errors, markdown, share_of_time
from GLIDERegLib.studies.benchmark.run import Results

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
    "CPU (s)",
    f"CPU / {SLOW_PEER}",
    "GiB",
)


def several_families(results: Results) -> bool:
    return len(_families(results)) > 1


def _families(results: Results) -> list[str]:
    return list(dict.fromkeys(r["family"] for r in results.records if r.get("family")))


def family_tables(results: Results, methods: list[str], reference: str) -> list[str]:
    """A table for each family of cases where there are several, that in which the reference is worst
    first."""
    families = _families(results)
    if not several_families(results):
        return []
    done = {
        (family, name): [r for r in results.done(name) if r.get("family") == family]
        for family in families
        for name in methods
    }

    slow = {family: [case_row(r) for r in done.get((family, SLOW_PEER), [])] for family in families}

    def behind(family: str) -> float:
        """The reference's mean error over the best of the others'."""
        means = {n: np.concatenate(e).mean() for n in methods if (e := landmark_errors(done[family, n]))}
        others = [mean for name, mean in means.items() if name != reference]
        return means[reference] / min(others) if reference in means and others else 0.0

    tables = []
    for family in sorted(families, key=behind, reverse=True):
        rows = [
            [name, *_family_row(done[family, name], slow[family])] for name in methods if done[family, name]
        ]
        title = f"Family {family}: landmarks (mm), distance from the truth by region (mm), smoothness"
        tables.append(f"{title}\n\n{markdown(['method', *FAMILY_COLUMNS], rows)}")
    return tables


def _family_row(records: list[dict], slow: list[dict]) -> list[str | None]:
    """The cells of `FAMILY_COLUMNS` over the cases of one family; slow: the slow peer's rows of them."""
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
    cells += [mean("folded_percent", 4), mean("dice_mean", 3), mean("seconds", 1), mean("cpu_seconds", 1)]
    cells += [share_of_time(rows, slow, "cpu_seconds"), mean("peak_gib")]
    return cells
