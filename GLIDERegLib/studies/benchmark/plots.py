"""The results of a benchmark as pictures (PNG), in colours that colour-blind readers can tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from GLIDERegLib.files.outputs import whole_file
from GLIDERegLib.studies.benchmark.by_family import several_families
from GLIDERegLib.studies.benchmark.rows import case_row, landmark_errors
from GLIDERegLib.studies.benchmark.run import Results

# Okabe and Ito (2008) without yellow, which is too light for lines, and grey for an eighth method.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#888888")
# Lines and hatches tell the ninth method and those after it from the first.
LINES, HATCHES = ("-", "--", ":", "-."), ("", "///", "...", "xxx")
BOXES_IN_A_ROW = 60
LEAST_ERROR_MM = 0.1
FARTHEST_PERCENT, ROOM = 99, 1.5


def write_plots(results: Results, out: Path) -> list[Path]:
    """Draws what the results have data for; the files are written whole or not at all.

    error_curves.png: share of landmarks within a distance, over the cases that all methods finished.
    errors_by_case.png: landmark errors of each case. dice_by_structure.png: Dice of each structure over the
    cases of one family. Raises InputError where one cannot be written.
    """
    errors = {
        name: {r["case"]: e for r in results.done(name) for e in landmark_errors([r])}
        for name in results.methods
    }
    errors = {name: cases for name, cases in errors.items() if cases}
    common = set.intersection(*(set(cases) for cases in errors.values())) if errors else set()
    dice = {name: found for name in results.methods if (found := _dice_by_structure(results, name))}
    figures = {}
    if common:
        figures["error_curves.png"] = _error_curves(
            {name: {case: cases[case] for case in sorted(common)} for name, cases in errors.items()}
        )
    if errors:
        figures["errors_by_case.png"] = _boxes(errors, "landmark error (mm)", logarithmic=True)
    if dice and not several_families(results):
        figures["dice_by_structure.png"] = _boxes(dice, "Dice overlap", logarithmic=False)
    for name in {"error_curves.png", "errors_by_case.png", "dice_by_structure.png"} - set(figures):
        # An earlier call's picture would be taken for this one's.
        (out / name).unlink(missing_ok=True)
    for name, figure in figures.items():
        with whole_file(out / name) as temporary:
            figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight")
    return [out / name for name in figures]


def _dice_by_structure(results: Results, method: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for row in map(case_row, results.done(method)):
        for key, value in row.items():
            if key.startswith("dice_") and value is not None:
                found.setdefault(key[5:].replace("_", " "), []).append(value)
    return found


def _error_curves(errors: dict[str, dict[str, np.ndarray]]) -> Figure:
    figure, (ax,) = _figure(7.0, 4.6)
    pooled = {name: np.sort(np.concatenate(list(cases.values()))) for name, cases in errors.items()}
    for n, (name, values) in enumerate(pooled.items()):
        share = 100 * np.arange(1, len(values) + 1) / len(values)
        style = {"color": COLOURS[n % len(COLOURS)], "linestyle": LINES[n // len(COLOURS) % len(LINES)]}
        ax.step(np.append(0, values), np.append(0, share), where="post", label=name, linewidth=1.8, **style)
    # A method that leaves the motion as it was shall not squeeze all others into a corner.
    farthest = ROOM * np.median([np.percentile(values, FARTHEST_PERCENT) for values in pooled.values()])
    ax.set(xlim=(0, max(farthest, 1e-3)), ylim=(0, 100))
    ax.set(xlabel="distance from the counterpart (mm)", ylabel="landmarks within that distance (%)")
    ax.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _boxes(values: dict[str, dict[str, Sequence[float]]], label: str, logarithmic: bool) -> Figure:
    """A box for every method in every group (a case, a structure), in as many rows as that takes."""
    groups = list(dict.fromkeys(group for found in values.values() for group in found))
    together = max(1, BOXES_IN_A_ROW // (len(values) + 1))
    rows = [groups[n : n + together] for n in range(0, len(groups), together)]
    width = max(6.0, 0.22 * (len(values) + 1) * len(rows[0]))
    figure, axes = _figure(width, 3.4 * len(rows), len(rows))
    for ax, row in zip(axes, rows, strict=True):
        for n, found in enumerate(values.values()):
            _draw_boxes(ax, n, len(values), [(at, found[g]) for at, g in enumerate(row) if g in found])
        long = max(map(len, row)) > 8
        ax.set_xticks(range(len(row)), row, rotation=20 * long, ha="right" if long else "center")
        ax.set(xlim=(-0.5, len(rows[0]) - 0.5), ylabel=label)
        if logarithmic:
            ax.set_yscale("log")
            ax.set_ylim(bottom=LEAST_ERROR_MM)
            ax.yaxis.set_major_formatter("{x:g}")
        for border in np.arange(len(row) - 1) + 0.5:
            ax.axvline(border, color="0.85", linewidth=0.8)
    patches = [
        Patch(facecolor=_colour(n), hatch=_hatch(n), edgecolor="0.2", label=name)
        for n, name in enumerate(values)
    ]
    axes[0].legend(handles=patches, frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.005, 1))
    return figure


def _draw_boxes(ax: Axes, n: int, methods: int, groups: list[tuple[int, Sequence[float]]]) -> None:
    if not groups:
        return
    step = 0.84 / methods
    boxes = ax.boxplot(
        [found for _, found in groups],
        positions=[at + (n - (methods - 1) / 2) * step for at, _ in groups],
        widths=0.8 * step,
        patch_artist=True,
        manage_ticks=False,
        medianprops={"color": "white" if n % len(COLOURS) == 6 else "black", "linewidth": 1.2},
        flierprops={"marker": ".", "markersize": 2, "markeredgecolor": _colour(n)},
    )
    for box in boxes["boxes"]:
        box.set(facecolor=_colour(n), hatch=_hatch(n), edgecolor="0.2", linewidth=0.8)


def _colour(n: int) -> str:
    return COLOURS[n % len(COLOURS)]


def _hatch(n: int) -> str:
    return HATCHES[n // len(COLOURS) % len(HATCHES)]


def _figure(width: float, height: float, rows: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), facecolor="white", layout="tight")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 1, squeeze=False, sharey=True)[:, 0]
    for ax in axes:
        ax.grid(axis="y", color="0.9")
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)
