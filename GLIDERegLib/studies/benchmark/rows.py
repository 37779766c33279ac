"""What the tables and plots of a benchmark read of its records."""

from __future__ import annotations

import numpy as np

# The peer whose time others are told by.
SLOW_PEER = "convexadam"
GIB = 2**30


def case_row(record: dict) -> dict[str, float | str | None]:
    """A record as one flat row: lengths in mm, Dice 0 to 1, folded voxels in %, memory in GiB."""
    row = {name: record.get(name) for name in ("case", "family", "method", "version", "status", "reason")}
    # Zero is what methods without a process have.
    row["seconds"] = record.get("seconds") or None
    row["cpu_seconds"] = record.get("cpu_seconds") or None
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


def share_of_time(rows: list[dict], others: list[dict], key: str) -> str | None:
    """The time of some cases over what the slow peer took for the same ones, in words for a cell.

    rows, others: those of `case_row`. key: "seconds" or "cpu_seconds".
    """
    slow = {row["case"]: row[key] for row in others}
    times = [(row[key], slow.get(row["case"])) for row in rows]
    own, other = np.sum([pair for pair in times if all(pair)] or [(0, 0)], axis=0)
    return f"{own / other:.2f}" if other else None


def markdown(header: list[str], rows: list[list[str | None]]) -> str:
    """A Markdown table; None becomes a dash."""
    lines = [header, [":--", *["--:"] * (len(header) - 1)], *rows]
    cells = [["–" if cell is None else cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)
