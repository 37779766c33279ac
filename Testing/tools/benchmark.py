"""`make benchmark`: all methods that run without a trained network, on families of data.

Generated ones (phantoms, thick slices, MR, chests of random fields), and where ../shared/data is there the
real scans warped by a known motion, the real pair in both directions, the textured phantoms and the real
scans of known truth. Settings are chosen on some families and reported on the others: see docs/evidence.md.

It takes hours. Every result is kept as soon as it is there: stopped, it goes on when it is started again, and
families, cases and methods may be run in any order and number of calls; the tables hold all that is there.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from GLIDERegLib.cli.console import progress_reporter
from GLIDERegLib.files.points import PointSet, read_points, write_points
from GLIDERegLib.studies.benchmark.about import about
from GLIDERegLib.studies.benchmark.plots import write_plots
from GLIDERegLib.studies.benchmark.run import Plan, kept_results, run_benchmark
from GLIDERegLib.studies.benchmark.tables import write_tables
from GLIDERegLib.studies.cases import Case
from GLIDERegLib.studies.datasets import find_cases, phantoms, warped_scans
from GLIDERegLib.studies.datasets.families import random_chests
from GLIDERegLib.studies.peers import choose_methods

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
REAL = SHARED / "lung_right"
ROLES = ("baseline", "followup")
# Every method propagates it 12 to 15 mm away: most likely its two marks do not correspond.
DOUBTFUL = "L035"
METHODS = ("none", "affine", "syn", "niftyreg", "convexadam", "elastix", "greedy", "plastimatch")
OURS = ("glidereg-fast", "glidereg-default", "glidereg-accurate")
REFERENCE = "glidereg-default"
TIMEOUT = 1800


def own_phantoms(data: Path) -> list[Case]:
    return phantoms(data, (0, 1), 20.0) + phantoms(data, (0,), 32.0)


def random_fields(data: Path) -> list[Case]:
    return random_chests(data, (1,), 20.0) + random_chests(data, (0,), 30.0)


def warped(data: Path) -> list[Case]:
    """The real scans warped by a known motion, without masks: they tell a method what to ignore."""
    scans = data / "scans"
    scans.mkdir(parents=True, exist_ok=True)
    for role in ROLES:
        for end in ("", "_mask"):
            name = f"3DCT_lung_{role}{end}.mha"
            if not (scans / name).exists():
                shutil.copyfile(REAL / name, scans / name)
    return [replace(case, fixed_mask=None, moving_mask=None) for case in warped_scans(scans, data)]


def real_pair(data: Path) -> list[Case]:
    """The real pair with either scan as the fixed one, without the doubtful landmark."""
    work = data / "real"
    work.mkdir(parents=True, exist_ok=True)
    for role in ROLES:
        points = read_points(REAL / f"landmarks_{role}.csv")
        kept = [n for n, label in enumerate(points.labels) if label != DOUBTFUL]
        write_points(PointSet([points.labels[n] for n in kept], points.points[kept]), work / f"{role}.csv")
    return [
        Case(
            f"real_{fixed}_fixed",
            REAL / f"3DCT_lung_{fixed}.mha",
            REAL / f"3DCT_lung_{moving}.mha",
            work / f"{fixed}.csv",
            work / f"{moving}.csv",
            family="real",
            align=True,
        )
        for fixed, moving in (ROLES, ROLES[::-1])
    ]


def generated(kind: str) -> Callable[[Path], list[Case]]:
    return lambda data: find_cases(kind, data, data)


def shared(kind: str) -> Callable[[Path], list[Case]]:
    return lambda data: find_cases(kind, SHARED / kind, data)


# By name; each finds or makes its pairs in a folder. The second half needs data beside the checkout.
FAMILIES: dict[str, Callable[[Path], list[Case]]] = {
    "phantom": own_phantoms,
    "random": random_fields,
    **{kind: generated(kind) for kind in ("thick", "mr")},
}
if REAL.is_dir():
    FAMILIES |= {"warped": warped, "real": real_pair}
FAMILIES |= {kind: shared(kind) for kind in ("textured", "known_truth") if (SHARED / kind).is_dir()}


def main(options: argparse.Namespace) -> None:
    out, plan = options.folder, Plan(threads=options.threads, timeout=TIMEOUT)
    families = names(options.families) or list(FAMILIES)
    if unknown := set(families) - set(FAMILIES):
        raise SystemExit(
            f"There is no family {', '.join(sorted(unknown))}; choose from {', '.join(FAMILIES)}."
        )
    cases = [case for family in families for case in FAMILIES[family](out / "data")]
    if wanted := names(options.cases):
        cases = [case for case in cases if case.name in wanted]
    try:
        with progress_reporter(quiet=False) as progress:
            run_benchmark(cases, choose_methods(names(options.methods)), out, plan, progress)
    finally:
        # A reader of a run that was stopped gets the tables of what it finished.
        results = kept_results(out, [case.name for case in cases], [*METHODS, *OURS], plan)
        if results.records:
            command = f"python Testing/tools/benchmark.py FOLDER --threads {plan.threads}"
            write_tables(results, out, REFERENCE, about(command, plan.threads, TIMEOUT, plan.repeats))
            write_plots(results, out)
    print((out / "table.md").read_text(encoding="utf-8"))


def names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the results go")
    parted = "names parted by commas; default: all"
    parser.add_argument("--families", default="", help=f"of {', '.join(FAMILIES)}; {parted}")
    parser.add_argument("--cases", default="", help=f"pairs of these families, {parted}")
    parser.add_argument("--methods", default=",".join([*METHODS, *OURS]), help=f"methods, {parted}")
    parser.add_argument("--threads", type=int, default=2, help="threads of each method; default: 2")
    main(parser.parse_args())
