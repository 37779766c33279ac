"""Runs child.py and the peers as processes, and keeps what was measured as soon as it is there."""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from GLIDERegLib import api
from GLIDERegLib.core.errors import GlideRegError
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.files.outputs import write_json
from GLIDERegLib.studies.benchmark.about import stamp
from GLIDERegLib.studies.cases import Method, Task
from GLIDERegLib.studies.peers.runner import run_method
from speed import model, stages

CHILD = Path(__file__).with_name("child.py")
FIELD_MM = 330.0  # as wide as the phantom's chest
PEERS_PHANTOM = [192, 192, 160], 2.0
WARM_UP_EDGE = 48


class Failed(GlideRegError):
    """A measurement that did not come about; the message says why."""


@dataclass(frozen=True)
class Job:
    """A function of child.py as a process, of which `run_method` tells time and memory."""

    kind: str
    arguments: dict
    out: Path
    name: str = field(init=False, default="measurement")

    def missing(self) -> str | None:
        return None

    def command(self, task: Task) -> Sequence[str]:
        task.folder.mkdir(parents=True, exist_ok=True)
        place = task.folder / "job.json"
        write_json({"kind": self.kind, "arguments": self.arguments, "out": self.out}, place)
        return [sys.executable, str(CHILD), str(place)]


@dataclass(frozen=True)
class Bench:
    """What is measured, how, and where its records lie."""

    out: Path
    threads: int
    device: str
    repeats: int
    warm: set[str] = field(default_factory=set)

    def rates(self) -> dict:
        """What the machine moves and computes, see child.py."""
        return self.run("rates", device=self.device, threads=self.threads)[0]

    def run(self, kind: str, **arguments) -> tuple[dict, int]:
        """What a function of child.py returns, and the peak memory of its process, bytes."""
        job = Job(kind, arguments, self.out / "work" / "result.json")
        done = run_method(job, self._task(self.out / "work"))
        if done.status != "done":
            raise Failed(done.reason)
        return json.loads(job.out.read_text(encoding="utf-8")), done.peak_bytes

    def record(self, name: str, made_with: dict, measure: Callable[[], dict]) -> dict:
        """The record of that name, measured unless an earlier one was made with the same."""
        place = self.out / "records" / f"{name}.json"
        made_with = json.loads(json.dumps(made_with | {"threads": self.threads, "code": _code()}))
        if place.exists():
            earlier = json.loads(place.read_text(encoding="utf-8"))
            if earlier["made_with"] == made_with and earlier["status"] == "done":
                return earlier
        print(f"{name} ...", end=" ", flush=True)
        found = {"name": name, "made": stamp(), "made_with": made_with}
        try:
            found |= {"status": "done", "reason": ""} | measure()
        except Failed as error:
            found |= {"status": "failed", "reason": str(error)}
        place.parent.mkdir(parents=True, exist_ok=True)
        write_json(found, place)
        print(found["reason"] or "done", flush=True)
        return found

    def phantom(self, size: list[int], spacing: float) -> tuple[Path, dict]:
        """The folder of a phantom, made where it is not there yet, and what is known of it."""
        folder = self.out / "data" / "x".join(map(str, size))
        told = folder / "about.json"
        if not told.exists():
            folder.mkdir(parents=True, exist_ok=True)
            known, _ = self.run("phantom", folder=str(folder), size=size, spacing=spacing)
            write_json(known, told)
        return folder, json.loads(told.read_text(encoding="utf-8"))

    def registration(self, edge: int, preset: str, features: str, repeats: int) -> dict:
        """Times, memory and counted cost of the real pipeline on a working grid of edge^3 voxels."""
        # So that no measured run compiles anything: both kinds of features go through the same kernels.
        if preset not in self.warm:
            self._register(WARM_UP_EDGE, preset, "local")
            self.warm.add(preset)
        spacing = spacing_of(edge)
        runs, peaks = [], []
        for _ in range(repeats):
            found, peak = self._register(edge, preset, features)
            if found["report"]["working_spacing_mm"] != spacing:
                raise Failed("Memory ran out, and a coarser grid was taken.")
            runs.append(found)
            peaks.append(peak)
        _, known = self.phantom([edge] * 3, spacing)
        rows = stages.median_rows([stages.stage_rows(run) for run in runs])
        on_gpu = [row["device_gib"] for row in rows.values() if row["device_gib"] is not None]
        rows["whole"] |= {"gib": max(peaks) / 2**30, "device_gib": max(on_gpu, default=None)}
        return {
            "edge": edge,
            "voxels": edge**3,
            "spacing_mm": spacing,
            "body_share": known["body_share"],
            "preset": preset,
            "features": features,
            "encoder": runs[-1]["encoder"],
            "repeats": repeats,
            "seconds_each": [stages.stage_rows(run)["whole"]["seconds"] for run in runs],
            "rows": rows,
            "warnings": runs[-1]["report"]["warnings"],
        }

    def _register(self, edge: int, preset: str, features: str) -> tuple[dict, int]:
        folder, _ = self.phantom([edge] * 3, spacing_of(edge))
        return self.run(
            "register",
            folder=str(folder),
            preset=preset,
            features=features,
            spacing=spacing_of(edge),
            threads=self.threads,
            device=self.device,
            work=str(self.out / "work"),
        )

    def peer(self, method: Method) -> dict:
        """Time and memory of a whole method on the phantom that all share."""
        if reason := method.missing():
            raise Failed(reason)
        folder, _ = self.phantom(*PEERS_PHANTOM)
        task = self._task(self.out / "work" / method.name, folder)
        runs = []
        for _ in range(self.repeats):
            run = run_method(method, task)
            if run.status != "done":
                raise Failed(run.reason)
            runs.append(run)
            shutil.rmtree(task.folder, ignore_errors=True)
        seconds = statistics.median(run.seconds for run in runs)
        return stages.row(seconds, max(run.peak_bytes for run in runs) / 2**20) | {
            "version": method.version(),
            "repeats": self.repeats,
        }

    def _task(self, folder: Path, scans: Path = Path()) -> Task:
        return Task(scans / "fixed.nii.gz", scans / "moving.nii.gz", folder, self.threads)


def spacing_of(edge: int) -> float:
    """Voxel size in mm at which `edge` voxels span the field; exact in the single precision of NIfTI."""
    return round(FIELD_MM / edge * 1024) / 1024


def better(*rates: dict) -> dict:
    """The best of each rate that was measured: what else a machine does only lowers them."""
    return rates[0] | {key: max(r[key] for r in rates) for key in rates[0] if key.endswith("per_s")}


def with_floors(run: dict, rates: dict) -> dict:
    """A finished run with the counted cost of its stages as "model": bytes, operations, the seconds they take
    at the rates, and these as a share of the measured ones.
    """
    settings = Settings.preset(run["preset"], features=run["features"])
    shape = (run["edge"],) * 3
    costs = model.costs(model.Run(shape, run["spacing_mm"], run["body_share"], settings, run["encoder"]))
    memory = max(rates["copy_bytes_per_s"], rates["triad_bytes_per_s"])
    # In the whole, everything may be as quick as the encoder: a floor must not be too high.
    own = {name: rates["encoder_operations_per_s"] for name in ("global features", "whole") if run["encoder"]}
    counted = {}
    for name, cost in costs.items():
        floor = cost.floor_seconds(memory, own.get(name, rates["operations_per_s"]))
        seconds = run["rows"][name]["seconds"]
        counted[name] = asdict(cost) | {"floor_s": floor, "share": floor / seconds if seconds else None}
    return run | {"model": counted}


def _code() -> str:
    """A digest of what is measured and of what measures: other code is measured anew."""
    digest = hashlib.sha256()
    library = Path(api.__file__).parents[1]
    parts = [CHILD, Path(stages.__file__)]
    for folder in ("api", "registration", "files"):
        parts += library.glob(f"{folder}/*.py")
    for path in sorted(parts):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
