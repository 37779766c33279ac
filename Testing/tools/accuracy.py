"""One configuration on chosen pairs, a row each: what a change of the method does to its accuracy.

    python Testing/tools/accuracy.py textured_32 G phantom_0_32mm --set bending_weight=30 --json results.json

Pairs are those of ../shared/data by their folder's name, the real pair (`real`, `real_reverse`), and the
generated ones as `make benchmark` names them. Runs inside this process; nothing but the table is written.
"""

from __future__ import annotations

import argparse
import ast
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.api import register
from GLIDERegLib.core.body import Body
from GLIDERegLib.core.settings import Level, Settings
from GLIDERegLib.evaluation.metrics import target_registration_error
from GLIDERegLib.files.pairing import match_labels
from GLIDERegLib.files.points import read_points
from GLIDERegLib.files.transforms import read_transform
from GLIDERegLib.files.volumes import read_mask, read_volume
from GLIDERegLib.registration.memory import estimated_bytes
from GLIDERegLib.studies.benchmark.truth import Smoothness, regions_of, truth_error
from GLIDERegLib.studies.cases import Case
from GLIDERegLib.studies.datasets import find_cases, phantoms
from GLIDERegLib.studies.datasets.families import random_chests
from GLIDERegLib.transforms.points import map_points

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
ROLES = ("baseline", "followup")
# Its two marks do not correspond: every method propagates it 12 to 15 mm away.
DOUBTFUL = "L035"
FAR_MM = 5.0
COLUMNS = ("mean", "median", "p95", "worst", "> 5 mm", "lung p95", "body", "SD log J (truth)", "CPU s")


def real_pair(fixed: str, moving: str) -> Case:
    """One direction of the real pair, as it is: the method aligns it."""
    place = SHARED / "lung_right"
    scans = [place / f"3DCT_lung_{role}.mha" for role in (fixed, moving)]
    return Case("real", *scans, *(place / f"landmarks_{role}.csv" for role in (fixed, moving)))


def case_of(name: str, work: Path) -> Case:
    """A pair by its name; generated ones are made in `work` once. Raises SystemExit for a name unknown."""
    kind, *rest = name.split("_")
    if kind == "real":
        return real_pair(*(ROLES[::-1] if rest else ROLES))
    for folder, family in (("textured", "textured"), ("known_truth", "known_truth")):
        if (SHARED / folder / name).is_dir():
            return find_cases(family, SHARED / folder / name, work)[0]
    if kind in ("phantom", "random") and len(rest) == 2:
        make: Callable = phantoms if kind == "phantom" else random_chests
        return make(work, (int(rest[0]),), float(rest[1].removesuffix("mm")))[0]
    if kind in ("thick", "mr"):
        return next(case for case in find_cases(kind, work, work) if case.name == name)
    raise SystemExit(f"There is no pair '{name}'.")


def settings_of(preset: str, changes: list[str]) -> Settings:
    """A preset with NAME=VALUE changes, values as Python writes them; a level is its values in brackets."""
    values = {}
    for change in changes:
        name, _, text = change.partition("=")
        try:
            values[name] = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            values[name] = text
    if "levels" in values:
        values["levels"] = tuple(Level(*level) for level in values["levels"])
    return Settings.preset(preset, **{"features": "local", "threads": 1, **values})


def measure(case: Case, settings: Settings) -> dict:
    """Registers a pair and judges it; lengths in mm, JSON-able."""
    fixed, moving = read_volume(case.fixed, "fixed"), read_volume(case.moving, "moving")
    begin = time.process_time()
    transform = register(fixed, moving, settings).transform
    row = {
        "seconds": time.process_time() - begin,
        # Of the whole process: of a pair only where it is the first.
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "estimate_gb": estimated_bytes(fixed.grid, moving.grid, settings, False) / 1e9,
    }
    points = [read_points(path) for path in (case.fixed_points, case.moving_points)]
    kept = [n for n in match_labels(*(p.labels for p in points)).rows if points[0].labels[n[0]] != DOUBTFUL]
    start, goal = (p.points[[n[side] for n in kept]] for side, p in enumerate(points))
    errors, summary = target_registration_error(map_points(transform, start), goal)
    row |= {name: summary[key] for name, key in zip(COLUMNS, ("mean", "median", "p95", "max"), strict=False)}
    row["> 5 mm"] = float((errors > FAR_MM).mean())
    row["worst_points"] = start[np.argsort(-errors)[:10]].round(1).tolist()
    if case.truth:
        row |= _against_truth(case, fixed, transform)
    return row


def _against_truth(case: Case, fixed, transform: sitk.Transform) -> dict:
    grid, truth = fixed.grid, read_transform(case.truth)
    scored = read_mask(case.scored, grid, "fixed") > 0 if case.scored else Body(fixed).on(grid)
    lungs = read_mask(case.lungs, grid, "fixed") > 0 if case.lungs else None
    regions = regions_of(grid, scored, lungs)
    error = {name: truth_error(transform, truth, grid, inside)["final"] for name, inside in regions.items()}
    smooth = Smoothness(truth, grid, regions)(transform)
    where = "lungs" if "lungs" in regions else "body"
    return {
        "body": error["body"]["mean"],
        "lung p95": error["lungs"]["p95"] if lungs is not None else None,
        "lung": error["lungs"]["mean"] if lungs is not None else None,
        "sd": smooth[where]["std_log"],
        "sd_truth": smooth[where]["truth_std_log"],
    }


def line(name: str, row: dict) -> str:
    """The row as Markdown."""

    def number(key: str) -> str:
        return "" if row.get(key) is None else f"{row[key]:.2f}"

    smooth = f"{row['sd']:.3f} ({row['sd_truth']:.3f})" if "sd" in row else ""
    cells = [number(key) for key in ("mean", "median", "p95", "worst")]
    cells += [
        f"{100 * row['> 5 mm']:.1f} %",
        number("lung p95"),
        number("body"),
        smooth,
        f"{row['seconds']:.0f}",
    ]
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pairs", nargs="+")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--json", type=Path, help="one line is added for each pair")
    options = parser.parse_args()
    settings = settings_of(options.preset, options.set)
    work = Path(gettempdir()) / "glidereg-accuracy"
    print("| pair | " + " | ".join(COLUMNS) + " |\n" + "|---" * (len(COLUMNS) + 1) + "|", flush=True)
    for name in options.pairs:
        row = measure(case_of(name, work), settings)
        print(line(name, row), flush=True)
        if options.json:
            with options.json.open("a", encoding="utf-8") as file:
                file.write(
                    json.dumps({"pair": name, "preset": options.preset, "set": options.set} | row) + "\n"
                )


if __name__ == "__main__":
    main()
