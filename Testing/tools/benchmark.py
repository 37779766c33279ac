"""`make benchmark`: all methods that run without a trained network, on families of data.

Generated ones (phantoms, thick slices, MR, chests of random fields), and where ../shared/data is there the
real scans warped by a known motion, the real pair in both directions, the textured phantoms and the real
scans of known truth. Started again, it goes on. Settings are chosen on some families and reported on the
others: see docs/evidence.md.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

from GLIDERegLib.cli.console import progress_reporter
from GLIDERegLib.files.points import PointSet, read_points, write_points
from GLIDERegLib.studies.benchmark.about import about
from GLIDERegLib.studies.benchmark.plots import write_plots
from GLIDERegLib.studies.benchmark.run import Plan, run_benchmark
from GLIDERegLib.studies.benchmark.tables import write_tables
from GLIDERegLib.studies.cases import Case
from GLIDERegLib.studies.datasets import find_cases, phantoms, warped_scans
from GLIDERegLib.studies.peers import choose_methods

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
REAL = SHARED / "lung_right"
ROLES = ("baseline", "followup")
# Every method propagates it 12 to 15 mm away: most likely its two marks do not correspond.
DOUBTFUL = "L035"
METHODS = ("none", "affine", "syn", "niftyreg", "convexadam", "elastix", "greedy", "plastimatch")
OURS = ("glidereg-fast", "glidereg-default", "glidereg-accurate")
REFERENCE = "glidereg-default"
PLAN = Plan(threads=2, timeout=1800)


def real_pair(work: Path) -> list[Case]:
    """The real pair with either scan as the fixed one, without the doubtful landmark."""
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


def main(out: Path, families: list[str], methods: list[str]) -> None:
    data = out / "data"
    cases = phantoms(data, (0, 1), 20.0) + phantoms(data, (0,), 32.0)
    for kind in ("thick", "mr", "random"):
        cases += find_cases(kind, data, data) if not families or kind in families else []
    for kind in ("textured", "known_truth"):
        if (SHARED / kind).is_dir():
            cases += find_cases(kind, SHARED / kind, data)
    if REAL.is_dir():
        # Without their masks, which would tell every method what to ignore.
        scans = data / "scans"
        scans.mkdir(parents=True, exist_ok=True)
        for role in ROLES:
            for end in ("", "_mask"):
                name = f"3DCT_lung_{role}{end}.mha"
                if not (scans / name).exists():
                    shutil.copyfile(REAL / name, scans / name)
        warped = warped_scans(scans, data)
        cases += [replace(case, fixed_mask=None, moving_mask=None) for case in warped]
        cases += real_pair(data / "real")
    if families:
        cases = [case for case in cases if case.family in families]
    with progress_reporter(quiet=False) as progress:
        results = run_benchmark(cases, choose_methods(methods), out, PLAN, progress)
    circumstances = about("make benchmark", PLAN.threads, PLAN.timeout, PLAN.repeats)
    write_tables(results, out, REFERENCE, circumstances)
    write_plots(results, out)
    print((out / "table.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the results go")
    names = "names parted by commas; default: all"
    parser.add_argument("--families", default="", help=f"families of data, {names}")
    parser.add_argument("--methods", default=",".join([*METHODS, *OURS]), help=f"methods, {names}")
    options = parser.parse_args()
    main(options.folder, [f for f in options.families.split(",") if f], options.methods.split(","))
