"""What a reader must know to repeat or to doubt a table: command, machine, versions, date."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import psutil

from GLIDERegLib import __version__
from GLIDERegLib.core.errors import WeightsError
from GLIDERegLib.files.checkpoints import CHECKPOINTS, verify

PACKAGES = ("numpy", "scipy", "SimpleITK", "torch", "numba")


def about(command: str, threads: int, timeout: float | None, repeats: int) -> dict:
    """The circumstances of a benchmark on this machine, JSON-able; timeout in seconds, memory in bytes."""
    made = stamp()
    return {
        "command": command,
        "date": made["date"],
        "machine": {
            "processor": made["processor"],
            "cores": psutil.cpu_count(logical=False),
            "threads": psutil.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
            "graphics": _graphics(),
            "system": platform.platform(),
            "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        },
        "versions": {
            "glidereg": __version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in PACKAGES},
        },
        "settings": {"threads": threads, "timeout_s": timeout, "repeats": repeats},
    }


def stamp() -> dict[str, str]:
    """When (UTC, ISO 8601) and on which processor a single result is made."""
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"date": date, "processor": _processor()}


def describe_weights(weights: str) -> str:
    """Words for the `weights` of a registration's report ("sha256:...")."""
    for entry in CHECKPOINTS.values():
        if weights == f"sha256:{entry.sha256}":
            return f"weights: {entry.name} as published"
    return f"weights: {weights}, not a published checkpoint"


def describe_checkpoint(checkpoint: Path) -> str:
    """Words for a checkpoint file: the published one it is by its SHA-256, or that it is none."""
    try:
        return f"weights: {verify(checkpoint)} as published"
    except WeightsError:
        return f"weights: {checkpoint}, not a published checkpoint"


def _processor() -> str:
    """The processor's name; Linux tells it in a file of its own, where Python has only the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _graphics() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
