"""How well nodules are measured, on generated scans of known truth: tables by size, slices and kind.

    python Testing/tools/measure_truth.py --generator cubes --seeds 1000-1199 --rows rows.csv
    python Testing/tools/measure_truth.py --generator cubes --kind solid --where isolated --seeds … --rows …
    python Testing/tools/measure_truth.py --table rows.csv

Two generators that share no part: `scenes` (GLIDERegLib.evaluation.nodule_phantom) and `cubes`
(nodule_cubes.py beside this file), on seeds 0 to 1119 and 7000 to 7199 of which the intervals were chosen.
Each seed is one nodule at two dates: size, kind, surroundings, slices, kernel, noise and growth are drawn
from it, unless --kind or --where say otherwise. About two seconds of a processor a scan. Rows are written one
by one: stopped and started again, it goes on.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import nodule_cubes
import numpy as np

from GLIDERegLib.evaluation.growth import growth
from GLIDERegLib.evaluation.measuring import measure_nodule
from GLIDERegLib.evaluation.nodule_phantom import AT_PLEURA, AT_VESSEL, ISOLATED, Scene, scan_of

KINDS = ("solid", "part-solid", "ground glass")
DIAMETERS = (4.0, 5.0, 6.0, 8.0, 10.0, 14.0, 20.0)
SLICES = (0.7, 1.0, 1.25, 2.0, 3.0, 5.0)
COARSE_PIXELS = (1.0, 1.37, 1.5, 2.0)
GROWTHS = (0.0, 0.0, 0.0, -0.2, 0.1, 0.25, 0.6, 1.0)
VOLUMES = ("volume_mm3", "volume_low_mm3", "volume_high_mm3")
NUMBERS = (*VOLUMES, "long_mm", "short_mm", "mean_low_mm", "mean_high_mm")


def scenes(seed: int, generator: str = "scenes") -> tuple:
    """A nodule at two dates, and its growth as a share of its volume."""
    rng = np.random.default_rng([seed, 77 if generator == "scenes" else 79])
    diameter = float(
        rng.choice(DIAMETERS, p=(0.12, 0.14, 0.18, 0.18, 0.16, 0.14, 0.08)) * rng.uniform(0.95, 1.1)
    )
    kind = str(rng.choice(KINDS, p=(0.7, 0.15, 0.15)))
    where = str(rng.choice((ISOLATED, AT_VESSEL, AT_PLEURA)))
    # A quarter of the scans were made coarser.
    coarse = rng.uniform() < 0.25
    pixel = float(rng.choice(COARSE_PIXELS) if coarse else rng.uniform(0.6, 0.85))
    thin = (
        rng.choice((pixel, 1.0, 2.0, 2.5))
        if coarse
        else rng.choice(SLICES, p=(0.2, 0.25, 0.3, 0.1, 0.1, 0.05))
    )
    thickness, share = float(thin), float(rng.choice(GROWTHS))
    if generator == "scenes":
        kernel, sharp = float(rng.uniform(0.35, 0.7)), float(rng.choice((0.0, 0.0, 0.4)))
        noise = float(rng.uniform(10, 40))
        first = Scene(diameter, kind, where, (pixel, pixel, thickness), kernel, sharp, noise, seed)
        # The next scan is of the same protocol, with a noise of its own.
        return first, first.grown(share, noise_hu=float(rng.uniform(10, 40))), share
    kernel = str(rng.choice((nodule_cubes.SOFT, nodule_cubes.STANDARD, nodule_cubes.SHARP)))
    apart = 1.0 if coarse else float(rng.choice((1.0, 1.0, 0.7)))
    averaged = bool(coarse and rng.uniform() < 0.6)
    noise = float(rng.uniform(*nodule_cubes.NOISE_HU[kernel])) * (0.6 if coarse else 1)
    spacing = (pixel, pixel, thickness * apart)
    first = nodule_cubes.Cube(diameter, kind, where, spacing, thickness, kernel, averaged, noise, seed)
    return first, first.grown(share), share


def measured(seed: int, generator: str = "scenes", **forced: str) -> list[dict]:
    """A row for each date; the second with growth, measured and true. forced: fields of both scenes."""
    *both, share = scenes(seed, generator)
    first, second = (replace(scene, **forced) for scene in both)
    scanned = scan_of if generator == "scenes" else nodule_cubes.scan_of
    rows, sizes = [], []
    for scene in (first, second):
        truth = scanned(scene)
        # A reader does not hit the middle.
        click = np.random.default_rng([seed, 78, scene.scan]).uniform(-0.15, 0.15, 3) * scene.diameter_mm
        found = measure_nodule(truth.volume, truth.center_mm + click)
        row = {
            "seed": seed, "date": scene.scan, "kind": scene.kind, "where": scene.where,
            "diameter_mm": round(scene.diameter_mm, 2), "slice_mm": scene.spacing[2],
            "pixel_mm": scene.spacing[0], "noise_hu": scene.noise_hu,
            "true_mm3": truth.volume_mm3,
            "true_mean_mm": (truth.long_mm + truth.short_mm) / 2, "status": found.status,
            "attenuation": found.attenuation or "", **{name: getattr(found, name) or "" for name in NUMBERS},
        }  # fmt: skip
        rows.append(row)
        sizes.append((found, truth.volume_mm3))
    (a, true_a), (b, true_b) = sizes
    change = growth(a.size(), b.size()) if a.measured and b.measured else None
    rows[1] |= {
        "share": share, "true_change": 100 * (true_b / true_a - 1), "change": change.change if change else "",
        "change_low": change.low if change else "", "change_high": change.high if change else "",
    }  # fmt: skip
    return rows


HEADINGS = (
    "scans", "could not be told", "bias %", "95 % of errors within %", "interval holds truth %",
    "half-width %", "worst %",
)  # fmt: skip
SIZES = ((0.0, 5.6), (5.6, 9.0), (9.0, 13.0), (13.0, 40.0))
THICKNESSES = ((0.0, 1.3), (1.3, 2.5), (2.5, 9.0))


def table(rows: list[dict]) -> str:
    """Bias, 95 % limits, coverage and the worst by kind, size and slices."""
    lines = [f"| kind | diameter mm | slices mm | {' | '.join(HEADINGS)} |", "|" + "---|" * 10]
    for kind in KINDS:
        for small, large in SIZES:
            for thin, thick in THICKNESSES:
                chosen = [
                    row
                    for row in rows
                    if row["kind"] == kind
                    and small <= row["diameter_mm"] < large
                    and thin <= row["slice_mm"] < thick
                ]
                if chosen:
                    slices = sorted({row["slice_mm"] for row in chosen})
                    name = f"{kind} | {small:g} to {large:g} | {slices[0]:g} to {slices[-1]:g}"
                    lines.append(f"| {name} | {figures(chosen)} |")
    return "\n".join(lines)


def figures(rows: list[dict]) -> str:
    """The columns of HEADINGS."""
    told = [row for row in rows if row["status"] == "measured"]
    text = f"{len(rows)} | {len(rows) - len(told)}"
    if not told:
        return text + " | | | | |"
    true = np.array([row["true_mm3"] for row in told])
    found, low, high = (np.array([row[name] for row in told]) for name in VOLUMES)
    errors = 100 * (found / true - 1)
    held = 100 * np.mean((low <= true) & (true <= high))
    within, half = np.percentile(np.abs(errors), 95), 100 * np.median((high - low) / 2 / found)
    worst = errors[np.argmax(np.abs(errors))]
    return f"{text} | {errors.mean():+.1f} | {within:.0f} | {held:.0f} | {half:.0f} | {worst:+.0f}"


def goals(rows: list[dict]) -> str:
    """Solid from 6 mm in slices up to 1.25 mm, for which goals are set; and the rest."""

    def meant(row: dict) -> bool:
        fine = row["slice_mm"] <= 1.25 and row["pixel_mm"] <= 0.9
        return row["kind"] == "solid" and row["diameter_mm"] >= 5.7 and fine

    lines = []
    for name in ("goal", "rest"):
        chosen = [row for row in rows if meant(row) == (name == "goal")]
        lines += [f"{name}: {' | '.join(HEADINGS)}", f"  {figures(chosen)}"]
        for where in (ISOLATED, AT_VESSEL, AT_PLEURA):
            lines.append(f"  {where}: {figures([row for row in chosen if row['where'] == where])}")
        lines += _diameters([row for row in chosen if row["status"] == "measured"])
        lines += _pairs([row for row in chosen if row["date"] == 1 and row["change"] != ""])
    return "\n".join(lines)


def _diameters(rows: list[dict]) -> list[str]:
    if not rows:
        return []
    off = [(row["long_mm"] + row["short_mm"]) / 2 - row["true_mean_mm"] for row in rows]
    held = 100 * np.mean([row["mean_low_mm"] <= row["true_mean_mm"] <= row["mean_high_mm"] for row in rows])
    within = np.percentile(np.abs(off), 95)
    return [f"  mean diameter: bias {np.mean(off):+.2f} mm, 95 % within {within:.2f} mm, held {held:.0f} %"]


def _pairs(rows: list[dict]) -> list[str]:
    if not rows:
        return []
    held = 100 * np.mean([row["change_low"] <= row["true_change"] <= row["change_high"] for row in rows])
    lines = [f"  {len(rows)} pairs: interval of the growth holds truth {held:.0f} %"]
    for name, chosen in (
        ("stable", [row for row in rows if row["share"] == 0]),
        ("grown by 25 % or more", [row for row in rows if row["share"] >= 0.25]),
    ):
        if chosen:
            seen = 100 * np.mean([row["change_low"] > 0 for row in chosen])
            largest = max((row["change"] - row["true_change"] for row in chosen), key=abs)
            lines.append(
                f"  {len(chosen)} {name}: growth said {seen:.0f} %, largest error {largest:+.0f} points"
            )
    return lines


def read(path: Path) -> list[dict]:
    with path.open(newline="") as stream:
        return [{key: _value(value) for key, value in row.items()} for row in csv.DictReader(stream)]


def _value(text: str):
    try:
        return float(text)
    except (TypeError, ValueError):
        return text or ""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--generator", choices=("scenes", "cubes"), default="scenes")
    parser.add_argument("--seeds", help="first-last")
    parser.add_argument("--kind", choices=KINDS, help="of all nodules")
    parser.add_argument("--where", choices=(ISOLATED, AT_VESSEL, AT_PLEURA), help="of all nodules")
    parser.add_argument("--rows", type=Path, help="table of rows to write, or to go on with")
    parser.add_argument("--table", type=Path, nargs="+", help="only print the tables of these rows")
    options = parser.parse_args()
    if options.seeds:
        path = options.rows
        first, last = map(int, options.seeds.split("-"))
        done = {int(row["seed"]) for row in read(path) if row["date"] == 1} if path.exists() else set()
        for seed in (n for n in range(first, last + 1) if n not in done):
            given = {"kind": options.kind, "where": options.where}
            rows = measured(seed, options.generator, **{k: v for k, v in given.items() if v})
            new = not path.exists()
            with path.open("a", newline="") as stream:
                writer = csv.DictWriter(stream, list(rows[1]))
                if new:
                    writer.writeheader()
                writer.writerows(rows)
    rows = [row for path in options.table or [options.rows] for row in read(path)]
    print(table(rows), goals(rows), sep="\n\n")


if __name__ == "__main__":
    main()
