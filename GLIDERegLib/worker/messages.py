"""What the two processes say to each other: the request, the events, and images as files with their grids.

The job writes the request as JSON; the child answers with events, one JSON object a line on its standard
output:

    device    kind ("cpu", "cuda:0"), name
    progress  stage, fraction (of the stage), overall (of the whole run, never falling), message
    preview   number, field (the registration so far); the files of the two newest are kept
    result    field, warped, transform (path of an ITK transform), report, kept (an intermediate result)
    error     kind (one of ERROR_KINDS), message (what is wrong), hint (what to do), code (the library's)
    ready     no more of this run; the child stays for the next request, whose path it reads from its
              standard input, as JSON on a line

`field` and `warped` are entries made by `save_array`. A field is (z, y, x, 3) float32: displacement in mm,
LPS, from fixed to moving points.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.files.pair_files import PairFiles

NUMBER = (int, float)
EVENTS: dict[str, dict[str, Any]] = {
    "device": {"kind": str, "name": str},
    "progress": {"stage": str, "fraction": NUMBER, "overall": NUMBER, "message": str},
    "preview": {"number": int, "field": dict},
    "result": {"field": dict, "warped": dict, "transform": str, "report": dict, "kept": bool},
    "error": {"kind": str, "message": str, "hint": str, "code": str},
    "ready": {},
}
ERROR_KINDS = ("input", "memory", "weights", "dependency", "cancelled", "internal")
# The child's argument that lets it stay for more requests, and its exit status where it left without one.
STAY = "--stay"
LEFT_IDLE = 75
OUT_OF_MEMORY = ("out of memory", "bad_alloc", "can't allocate memory", "Failed to allocate memory")
MEMORY_HINT = "Close other programs, or choose the preset fast, a coarser working spacing or another device."
INTERNAL_HINT = "Start it again; if it happens again, report the log to the developers."
DEPENDENCY_HINT = "Install the Python packages of this module, then start again."


@dataclass(frozen=True)
class Request:
    """One registration to do.

    fixed, moving, masks: paths of images in world coordinates. initial_transform: path of an ITK transform
    from fixed to moving points. present_transform: the same of a registration that is to be corrected; then
    corresponding_points, {"fixed": [[x, y, z], ...], "moving": [...]} in LPS mm, say where it should lead.
    fixed_nodules, moving_nodules: paths of points, LPS mm, one in each nodule that is to keep its size.
    settings: "name" of a preset and changes to it, as keywords of `Settings.preset`. output: existing folder
    for the child's files. cancel_file, keep_file: when one appears, the child stops, or ends early with the
    present result. preview_seconds: least time between two previews; None for no previews.
    """

    fixed: str
    moving: str
    output: str
    cancel_file: str
    keep_file: str
    fixed_mask: str | None = None
    moving_mask: str | None = None
    initial_transform: str | None = None
    present_transform: str | None = None
    corresponding_points: dict[str, list[list[float]]] | None = None
    fixed_nodules: str | None = None
    moving_nodules: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    preview_seconds: float | None = None

    def files(self) -> PairFiles:
        """The files of what is to be registered."""
        names = ("fixed_mask", "moving_mask", "initial_transform", "fixed_nodules", "moving_nodules")
        given = {name: Path(path) for name in names if (path := getattr(self, name))}
        return PairFiles(Path(self.fixed), Path(self.moving), **given)

    def write(self, path: str | PathLike) -> None:
        """Writes the request as JSON (UTF-8)."""
        Path(path).write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")

    @classmethod
    def read(cls, path: str | PathLike) -> Request:
        """Reads a written request; raises InputError for a file that is none."""
        try:
            return cls(**json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"'{path}' is no request for a registration ({error}).",
                "Write it again.",
                code="file-damaged",
            ) from error


def parse_event(line: bytes) -> dict[str, Any] | None:
    """The event that a line of standard output holds; None where it is something else."""
    try:
        event = json.loads(line)
        keys = EVENTS[event["event"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return event if all(isinstance(event.get(key), kind) for key, kind in keys.items()) else None


def error_event(kind: str, message: str, hint: str, code: str = "") -> dict[str, Any]:
    """An error as the child would tell it; the code is the kind where the library gave none."""
    return {"event": "error", "kind": kind, "message": message, "hint": hint, "code": code or kind}


def is_out_of_memory(text: str) -> bool:
    """True where an error's text says that memory ran out, on whatever device."""
    return any(sign in text for sign in OUT_OF_MEMORY)


def save_array(array: np.ndarray, grid: Grid, path: str | PathLike) -> dict[str, Any]:
    """Writes an array (z, y, x) or (z, y, x, 3) as .npy and returns what an event tells of it.

    The entry holds "file", and "size", "spacing" (mm), "origin" (LPS mm) and "direction" (9, by rows) of the
    grid. The file appears under its name only when it is whole.
    """
    path = Path(path).absolute()
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.save(file, array, allow_pickle=False)
    os.replace(partial, path)
    geometry = {
        name: np.asarray(getattr(grid, name)).tolist() for name in ("size", "spacing", "origin", "direction")
    }
    return {"file": str(path), **geometry}


def load_array(entry: dict[str, Any]) -> tuple[np.ndarray, Grid]:
    """The array of an entry and its grid (LPS mm); raises OSError where the file is no longer there."""
    grid = Grid(*(tuple(entry[name]) for name in ("size", "spacing", "origin", "direction")))
    return np.load(entry["file"], allow_pickle=False), grid
