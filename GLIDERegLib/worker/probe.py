"""What this Python has for registrations: `python -m GLIDERegLib.worker.probe` prints one JSON object.

python           version
missing          packages that every registration needs and that cannot be imported
missing_global   the same for global features; missing_optional: for more speed
versions         of the packages that are there
devices          name ("cuda:0", "mps", "cpu") and label, best first; default: the one `auto` takes
checkpoints      name, size_bytes, present, license
"""

from __future__ import annotations

import os
import platform
import sys
from importlib import import_module, metadata
from typing import Any

from GLIDERegLib.core.counting import counted
from GLIDERegLib.worker.channel import Channel

# Names to import, and their distribution's where it differs.
NEEDED = ("torch", "numpy", "scipy", "SimpleITK", "pydicom", "psutil", "pooch", "requests")
GLOBAL = ("sam2", "hydra", "omegaconf", "iopath", "tqdm", "PIL")
OPTIONAL = ("numba",)
DISTRIBUTIONS = {"hydra": "hydra-core", "PIL": "pillow"}


def probe() -> dict[str, Any]:
    """Imports what registrations import and says what is there; raises nothing."""
    versions = {
        name: version for name in NEEDED + GLOBAL + OPTIONAL if (version := _version(name)) is not None
    }
    devices = device_names() if "torch" in versions else ["cpu"]
    return {
        "python": platform.python_version(),
        "missing": [name for name in NEEDED if name not in versions],
        "missing_global": [name for name in GLOBAL if name not in versions],
        "missing_optional": [name for name in OPTIONAL if name not in versions],
        "versions": versions,
        "devices": [{"name": name, "label": device_label(name)} for name in devices],
        "default": "cuda:0" if "cuda:0" in devices else "cpu",
        "checkpoints": _checkpoints() if {"pooch", "requests"} <= versions.keys() else [],
    }


def device_names() -> list[str]:
    """The devices torch can use, graphics cards first."""
    import torch

    names = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [*names, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def device_label(name: str) -> str:
    """A device's name for people: its model, and its memory as far as that can be told."""
    kind, _, number = name.partition(":")
    if kind == "cuda":
        return _cuda_label(int(number or 0))
    return f"CPU ({counted(os.cpu_count() or 1, 'thread')}{_memory()})" if kind == "cpu" else "Apple GPU"


def _cuda_label(number: int) -> str:
    import torch

    model = torch.cuda.get_device_name(number)
    try:
        free, total = (size / 2**30 for size in torch.cuda.mem_get_info(number))
    except RuntimeError:  # no memory left even to ask
        return model
    return f"{model} ({free:.1f} of {total:.1f} GB free)"


def _memory() -> str:
    try:
        import psutil
    except Exception:  # as in `_version`
        return ""
    return f", {psutil.virtual_memory().total / 2**30:.0f} GB"


def _version(name: str) -> str | None:
    """Version of a package that can be imported, None for others; why not goes to standard error."""
    try:
        module = import_module(name)
    except Exception as error:  # half-installed packages raise anything
        print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
        return None
    try:
        return metadata.version(DISTRIBUTIONS.get(name, name))
    except metadata.PackageNotFoundError:
        return str(getattr(module, "__version__", "unknown"))


def _checkpoints() -> list[dict[str, Any]]:
    """Those of SAM2: the panel installs what they need, and only that."""
    from GLIDERegLib.files.checkpoints import CHECKPOINTS, find

    return [
        {
            "name": entry.name,
            "size_bytes": entry.size,
            "present": find(entry.name) is not None,
            "license": entry.licence,
        }
        for entry in CHECKPOINTS.values()
        if entry.name.startswith("sam2")
    ]


if __name__ == "__main__":
    # Libraries print while they are imported.
    channel = Channel()
    channel.send(probe())
