"""One measurement in a process of its own: python child.py JOB.json, the result goes to the job's `out`.

The job's `kind` names a function here; the other keys are its arguments.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from GLIDERegLib.processes.loading import THREAD_VARIABLES

# As the command line does; they are read when torch and NumPy are loaded.
os.environ.update({**THREAD_VARIABLES, **os.environ})

import numpy as np
import torch

from GLIDERegLib import api
from GLIDERegLib.core.body import body_mask
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.evaluation.phantom import make_phantom
from GLIDERegLib.files.outputs import write_json
from GLIDERegLib.files.transforms import write_transform
from GLIDERegLib.files.volumes import read_volume, write_volume
from GLIDERegLib.registration.features.slice_network import half_is_faster

ARRAY_FLOATS = {"cpu": 2**26, "cuda": 2**28}  # 256 MB and 1 GB: larger than any cache
MATRIX = {"cpu": 2048, "cuda": 8192}
TRIES = 5


def phantom(folder: str, size: list[int], spacing: float) -> dict:
    """Writes a phantom's two scans; which share of the fixed one is body."""
    pair = make_phantom(tuple(size), (spacing,) * 3)
    for volume in (pair.fixed, pair.moving):
        write_volume(volume, Path(folder) / f"{volume.name}.nii.gz")
    array = pair.fixed.array.astype(np.float32)
    body = body_mask(array, np.ones(array.shape, bool), spacing, ct=True)
    return {"body_share": float(body.mean())}


def rates(device: str, threads: int) -> dict:
    """Bytes a second of a copy (2 arrays) and a triad (3 arrays), as STREAM counts them, and operations a
    second of a matrix product in float32 and in the encoder's own precision; the best of some tries.
    """
    torch.set_num_threads(threads)
    chosen = api.choose_device(device)
    count, edge = ARRAY_FLOATS[chosen.type], MATRIX[chosen.type]
    a, b, c = (torch.ones(count, device=chosen) for _ in range(3))
    copy = 2 * a.nbytes / _quickest(lambda: a.copy_(b), chosen)
    triad = 3 * a.nbytes / _quickest(lambda: torch.add(b, c, alpha=3.0, out=a), chosen)

    def product(kind: torch.dtype) -> float:
        x, y, z = (torch.ones(edge, edge, device=chosen, dtype=kind) for _ in range(3))
        return 2 * edge**3 / _quickest(lambda: torch.mm(x, y, out=z), chosen)

    single = product(torch.float32)
    graphics = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else None
    return {
        "device": chosen.type,
        "graphics": graphics,
        "copy_bytes_per_s": copy,
        "triad_bytes_per_s": triad,
        "operations_per_s": single,
        "encoder_operations_per_s": product(torch.bfloat16) if half_is_faster(chosen) else single,
    }


def register(
    folder: str, preset: str, features: str, spacing: float, threads: int, device: str, work: str
) -> dict:
    """Reads the scans of `folder`, registers them on a grid of `spacing` mm and writes the results into
    `work`; seconds of all of it, and the registration's own report.

    With features "both" the encoder is the real SAM2 network with seeded weights, for time and memory only.
    """
    # Nothing is remembered between runs, and nothing is left in the user's cache.
    api.FeatureCache = lambda: None
    settings = Settings.preset(preset, spacing=spacing, features=features, threads=threads, device=device)
    chosen = api.choose_device(device)
    torch.zeros(1, device=chosen)  # the start of a GPU is no stage
    encoder = _encoder(settings, chosen) if features == "both" else None
    seconds: dict[str, float] = {}
    events: list[tuple[float, float]] = []

    def note(progress) -> None:
        if progress.stage == "refinement":
            events.append((progress.fraction, time.perf_counter()))

    with _timed(seconds, "read"):
        fixed, moving = (read_volume(Path(folder) / f"{n}.nii.gz", n) for n in ("fixed", "moving"))
    result = api.register(fixed, moving, settings, encoder=encoder, progress=note)
    with _timed(seconds, "write"):
        write_transform(result.transform, Path(work) / "transform.h5")
        write_volume(result.warped, Path(work) / "warped.nii.gz")
    with _timed(seconds, "warping"):
        api.warp_moving(fixed, moving, result.transform)
    for name in ("transform.h5", "warped.nii.gz"):
        (Path(work) / name).unlink()
    return {
        "seconds": seconds,
        "report": result.report,
        "refinement_events": events,
        "encoder": encoder and _cost_of(encoder),
    }


def _encoder(settings: Settings, device: torch.device):
    """The seeded SAM2 encoder, which counts the slices it sees."""
    from GLIDERegLib.registration.features.sam2 import Sam2Encoder

    class Counting(Sam2Encoder):
        slices = 0

        def encode(self, slices, *others):
            self.slices += len(slices)
            return super().encode(slices, *others)

    size = settings.slice_size(device.type)
    return Counting(settings.encoder, seed=0, input_size=size, device=device)


def _cost_of(encoder) -> dict:
    """What the encoder did, with the operations of one slice as PyTorch counts them without computing."""
    from torch.utils.flop_counter import FlopCounterMode

    image_encoder = encoder.model.to("meta").image_encoder
    size = encoder.input_size
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        image_encoder(torch.empty(1, 3, size, size, device="meta"))
    return {
        "weights": encoder.weights,
        "slices": encoder.slices,
        "batch": encoder.batch_size,
        "input_size": size,
        "operations_per_slice": counter.get_total_flops(),
        "weight_bytes": sum(p.numel() for p in image_encoder.parameters()) * (2 if encoder.half else 4),
    }


class _timed:
    """Adds the seconds inside to a dictionary."""

    def __init__(self, seconds: dict[str, float], name: str):
        self.seconds, self.name = seconds, name

    def __enter__(self) -> None:
        self.begin = time.perf_counter()

    def __exit__(self, *exception) -> None:
        self.seconds[self.name] = time.perf_counter() - self.begin


def _quickest(action: Callable[[], object], device: torch.device) -> float:
    """Seconds of the quickest of some tries, after one to warm up."""
    times = []
    for _ in range(1 + TRIES):
        begin = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - begin)
    return min(times[1:])


if __name__ == "__main__":
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    kinds = {"phantom": phantom, "rates": rates, "register": register}
    write_json(kinds[job.pop("kind")](**job.pop("arguments")), job["out"])
