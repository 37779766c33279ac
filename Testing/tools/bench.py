"""`make bench`: seconds and memory of every stage at growing sizes, beside what the machine could do at best.

Writes speed.json and speed.md into a folder. Started again with the same folder, it goes on with what is
missing; other code, settings or devices are measured anew. See speed/__init__.py.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil  # noqa: E402
from speed.runs import FIELD_MM, Bench, better, with_floors  # noqa: E402
from speed.tables import document  # noqa: E402

from GLIDERegLib.api import choose_device  # noqa: E402
from GLIDERegLib.core.errors import GlideRegError, InputError  # noqa: E402
from GLIDERegLib.files.outputs import whole_file, write_json  # noqa: E402
from GLIDERegLib.studies.benchmark.about import about  # noqa: E402
from GLIDERegLib.studies.peers import choose_methods  # noqa: E402

PEERS = ("glidereg-fast", "glidereg-default", "convexadam", "greedy")
# Preset and features, and the edges of their grids; both features are SAM2's network with seeded weights.
# At multiples of 40 the search's cells, whole voxels near 8 mm, are the same in mm: its cost goes with the
# inverse sixth power of their edge.
RUNS = {
    "default-local": (120, 160, 240, 400),
    "fast-local": (120, 160, 240, 400),
    "default-both": (120, 160),
}
SMALLEST = 32
REPEATED_VOXELS = 2e6  # larger grids run once


def main(arguments: list[str]) -> None:
    options = _options(arguments)
    if choose_device(options.device).type not in ("cpu", "cuda"):
        raise InputError("Only the processor and CUDA GPUs can be measured: choose --device cpu or cuda.")
    bench = Bench(options.out, options.threads, options.device, options.repeats)
    command = shlex.join(["python", "Testing/tools/bench.py", *arguments])
    circumstances = about(command, options.threads, None, options.repeats)
    rates = bench.rates()
    where = {"device": rates["graphics"] or circumstances["machine"]["processor"]}
    runs = []
    for name in options.runs:
        preset, features = name.split("-")
        for edge in options.sizes or RUNS[name]:
            repeats = options.repeats if edge**3 <= REPEATED_VOXELS else 1
            measured = bench.record(
                f"{name}-{edge}",
                where | {"repeats": repeats},
                lambda what=(edge, preset, features, repeats): bench.registration(*what),
            )
            runs.append(measured)
    peers = []
    for method in [] if options.no_peers else choose_methods(list(PEERS)):
        made_with = where | {"version": method.version(), "repeats": options.repeats}
        peers.append(bench.record(method.name, made_with, lambda method=method: bench.peer(method)))
    rates = better(rates, bench.rates())
    runs = [with_floors(run, rates) if run["status"] == "done" else run for run in runs]
    results = {"about": circumstances, "rates": rates, "field_mm": FIELD_MM, "runs": runs, "peers": peers}
    write_json(results, options.out / "speed.json")
    with whole_file(options.out / "speed.md") as temporary:
        temporary.write_text(document(results), encoding="utf-8")
    print(f"\nResults in {options.out}: speed.json, speed.md")


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description="Speed and memory, stage by stage.")
    add = parser.add_argument
    add("out", type=Path, metavar="DIR", help="folder for the results")
    text = f"preset and features, parted by commas; default: {','.join(RUNS)}, both with seeded SAM2 weights"
    add("--runs", type=_runs, default=list(RUNS), metavar="LIST", help=text)
    sizes = "; ".join(f"{name} {', '.join(map(str, edges))}" for name, edges in RUNS.items())
    add("--sizes", type=_sizes, metavar="LIST", help=f"voxels along an axis; default: {sizes}")
    text = f"runs of each, for the median, up to {REPEATED_VOXELS:.0g} voxels; default: 3"
    add("--repeats", type=_positive, default=3, metavar="N", help=text)
    cores = psutil.cpu_count(logical=False) or 1
    add("--threads", type=_positive, default=cores, metavar="N", help=f"default: all cores, {cores}")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:N; default: auto")
    add("--no-peers", action="store_true", help="leave the other methods out")
    return parser.parse_args(arguments)


def _sizes(text: str) -> list[int]:
    edges = sorted({_positive(part) for part in text.split(",")})
    if edges[0] < SMALLEST:
        raise argparse.ArgumentTypeError(f"sizes below {SMALLEST} are too small for the method")
    return edges


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1 on")
    return int(text)


def _runs(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in RUNS]:
        raise argparse.ArgumentTypeError(f"there is no '{unknown[0]}'; choose from {', '.join(RUNS)}")
    return names


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except GlideRegError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Stopped; the same command goes on from there.")
