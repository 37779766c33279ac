"""How cost grows with the number of voxels, and the table of the speed benchmark in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

LABELS = {
    "read": "reading both scans",
    "pre-alignment": "pre-alignment (rigid)",
    "global features": "SAM2 encoding, both images",
    "reduction": "reduction (PCA start)",
    "local features": "MIND, both images",
    "symmetry": "symmetry (inversion, mean)",
    "result": "result (warping, report)",
    "warping": "– warping",
    "write": "writing the results",
}
NOTES = """\
- Working grids of N³ voxels over the same phantom, {field:g} mm along each axis, so that the anatomy fills
  all of them. Every run is a process of its own, after one that filled the caches of compiled code; the
  median where it was repeated (3x: three runs).
- s: wall-clock seconds. Exponent: slope of log seconds over log voxels by least squares, over all sizes
  shown; 1 is proportional to the number of voxels. The search looks at cells of whole voxels near 8 mm: its
  cost depends on their edge in mm, by its inverse sixth power, more than on the grid; at multiples of 40
  voxels along an axis that edge is the same.
- GB, Gop: bytes moved and operations computed at the least, counted by hand from the shapes of the run by
  the formulae in Testing/speed/model.py. Floor: the larger of bytes over the better of copy and triad, and
  operations over the rate of a matrix product (SAM2's in its own precision). Share: floor over measured
  seconds. –: nothing is counted.
- GiB: largest resident memory of the process during the stage; at "whole", of the process in all. GPU GiB:
  what PyTorch had allocated there at most.
- whole: reading, registering and writing, without the start of Python. Levels and "ending" are parts of the
  refinement, in both directions where the preset is symmetric; warping is part of the result, timed again."""
SEEDED = (
    "SAM2's real network with seeded random weights, for time and memory only: what these runs register "
    "means nothing, and no figure here is a result of GLIDE-Reg."
)


def fit_exponent(sizes: Iterable[float], costs: Iterable[float | None]) -> float | None:
    """b of cost = a size^b by least squares of the logarithms; None below two sizes with a positive cost."""
    pairs = np.array([(n, c) for n, c in zip(sizes, costs, strict=True) if c], float).reshape(-1, 2)
    if len(np.unique(pairs[:, 0])) < 2:
        return None
    slope, _ = np.polyfit(*np.log(pairs).T, 1)
    return float(slope)


def document(results: dict) -> str:
    """The whole page. results: as `bench.py` writes them to speed.json."""
    parts = ["# Speed and memory, stage by stage", _circumstances(results)]
    for runs in _groups(results["runs"]):
        parts += [_heading(runs[0]), _growth_table(runs), _floor_table(runs[-1])]
    if results["peers"]:
        parts += ["## Beside other methods", *_peer_table(results["peers"])]
    if failed := [r for r in (*results["runs"], *results["peers"]) if r["status"] != "done"]:
        parts.append("Not done:\n\n" + "\n".join(f"- {r['name']}: {r['reason']}" for r in failed))
    return "\n\n".join([*parts, "## How to read it", NOTES.format(field=results["field_mm"])]) + "\n"


def _groups(runs: list[dict]) -> list[list[dict]]:
    """The finished runs of each preset and kind of features, by size."""
    groups: dict[tuple, list[dict]] = {}
    for run in runs:
        if run["status"] == "done":
            groups.setdefault((run["preset"], run["features"]), []).append(run)
    return [sorted(group, key=lambda run: run["voxels"]) for group in groups.values()]


def _heading(run: dict) -> str:
    if run["features"] == "local":
        return f"## Preset {run['preset']}, local features"
    encoder = run["encoder"]
    seen = f"{encoder['slices']} slices of {encoder['input_size']} x {encoder['input_size']} pixels"
    return f"## Preset {run['preset']}, both features\n\n{SEEDED} At {run['edge']}³: {seen}."


def _growth_table(runs: list[dict]) -> str:
    """Seconds of every stage at all sizes, and the exponents."""
    sizes = [run["voxels"] for run in runs]
    rows = []
    for name in runs[0]["rows"]:
        seconds = [run["rows"][name]["seconds"] for run in runs]
        cells = [_number(s) for s in seconds]
        rows.append([_label(name), *cells, _number(fit_exponent(sizes, seconds), 2)])
    memory = [run["rows"]["whole"]["gib"] for run in runs]
    rows.append(["GiB", *(_number(m) for m in memory), _number(fit_exponent(sizes, memory), 2)])
    repeats = [f"{run['edge']}³ (s, {run['repeats']}x)" for run in runs]
    return table(["stage", *repeats, "exponent"], rows)


def _floor_table(run: dict) -> str:
    """Seconds of one run beside the floor and the memory."""
    on_gpu = run["rows"]["whole"]["device_gib"] is not None
    rows = []
    for name, row in run["rows"].items():
        cells = [_number(row["seconds"]), *_counted(run["model"].get(name))]
        cells += [_number(row["gib"])] + ([_number(row["device_gib"])] if on_gpu else [])
        rows.append([_label(name), *cells])
    head = [f"stage at {run['edge']}³", "s", "GB", "Gop", "floor (s)", "share (%)", "GiB"]
    return table(head + ["GPU GiB"] * on_gpu, rows)


def _counted(cost: dict | None) -> list[str | None]:
    """Cells of bytes, operations, floor and share."""
    if cost is None:
        return [None] * 4
    share = None if cost["share"] is None else _number(100 * cost["share"], 1)
    operations = _number(cost["operations"] / 1e9 or None)
    return [_number(cost["bytes"] / 1e9), operations, _number(cost["floor_s"]), share]


def _peer_table(peers: list[dict]) -> list[str]:
    done = {peer["name"]: peer for peer in peers if peer["status"] == "done"}
    others = [name for name in done if not name.startswith("glidereg")]
    rows = []
    for name, peer in done.items():
        ratios = [_number(peer["seconds"] / done[other]["seconds"], 2) for other in others]
        rows.append([name, _number(peer["seconds"]), _number(peer["gib"]), *ratios, peer["version"]])
    about = (
        "Phantom of 192 x 192 x 160 voxels of 2 mm; the whole process, the start of Python included, by the "
        "same code and with the same threads for all."
    )
    head = ["method", "s", "GiB", *(f"time / {other}" for other in others), "version"]
    return [about, table(head, rows)] if rows else []


def _circumstances(results: dict) -> str:
    about, rates = results["about"], results["rates"]
    machine, versions = about["machine"], about["versions"]
    memory = machine["memory_bytes"] / 2**30
    if rates["device"] == "cuda":
        where = f"Measured on a GPU, {rates['graphics']}, with synchronised times."
    else:
        where = "Measured on the processor. The figures of a GPU are missing: none was used."
    lines = [
        f"`{about['command']}`, {about['date']}, glidereg {versions['glidereg']}, torch {versions['torch']}, "
        f"Python {versions['python']}.",
        f"{machine['processor']}, {machine['cores']} cores, {memory:.0f} GiB, {about['settings']['threads']} "
        f"threads; load before the start {machine['load_before']}.",
        f"Best before and after the runs: copy {_giga(rates['copy_bytes_per_s'])} GB/s, triad "
        f"{_giga(rates['triad_bytes_per_s'])} GB/s, float32 matrix product "
        f"{_giga(rates['operations_per_s'])} Gop/s, in the encoder's precision "
        f"{_giga(rates['encoder_operations_per_s'])} Gop/s.",
        where,
    ]
    return "\n".join(f"- {line}" for line in lines)


def _giga(rate: float) -> str:
    return _number(rate / 1e9)


def _label(name: str) -> str:
    return f"– {name.removeprefix('refinement, ')}" if "," in name else LABELS.get(name, name)


def _number(value: float | None, digits: int | None = None) -> str | None:
    """Three figures, at most four places, or so many digits after the point."""
    if value is None:
        return None
    if digits is None:
        digits = min(max(2 - math.floor(math.log10(abs(value))), 0), 4) if value else 0
    return f"{value:.{digits}f}"


def table(head: list[str], rows: list[list[str | None]]) -> str:
    """A Markdown table, the first column to the left, the others to the right; – for what is None."""
    lines = [head, [":--", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join("–" if c is None else c for c in line) + " |" for line in lines)
