"""What all methods of a comparison get: the same two files on one grid, and the masks on it."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pooch
import SimpleITK as sitk

from GLIDERegLib.core.ct import AIR_HU, is_ct
from GLIDERegLib.core.errors import GlideRegError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.evaluation.evaluate import warp
from GLIDERegLib.files.grids import read_grid
from GLIDERegLib.files.outputs import OutputFolder, write_json
from GLIDERegLib.files.transforms import read_transform, write_transform
from GLIDERegLib.files.volumes import read_mask, read_volume, write_volume
from GLIDERegLib.registration.prealign import prealign
from GLIDERegLib.studies.cases import Case, Task

FIXED, MOVING, INITIAL, MADE_OF = "fixed.nii.gz", "moving.nii.gz", "initial.h5", "made_of.json"
# Raised when other files are written, so that older ones are made anew.
FORM = 2
GIVEN, GIVEN_MASK = "moving_as_given.nii.gz", "moving_mask_as_given.nii.gz"
MASKS = {"fixed": "fixed_mask.nii.gz", "moving": "moving_mask.nii.gz"}


def task_of(case: Case, folder: Path, own: Path, threads: int) -> Task:
    """The task of a method that works in the folder `own`, by the files that `prepare` writes to `folder`."""
    masks = {f"{role}_mask": folder / name for role, name in MASKS.items() if getattr(case, f"{role}_mask")}
    if _two_grids(case):
        masks["given"] = folder / GIVEN
        masks["given_mask"] = folder / GIVEN_MASK if case.moving_mask else None
    return Task(folder / FIXED, folder / MOVING, own, threads, **masks, case=case.name)


def _two_grids(case: Case) -> bool:
    """Whether the moving scan also goes out as it is given: on a grid of its own and not to be aligned."""
    try:
        return not (case.align or read_grid(case.fixed).matches(read_grid(case.moving, "moving")))
    # What cannot be read is told where it is prepared.
    except GlideRegError:
        return False


def made_of(case: Case) -> dict:
    """What a case is made of, JSON-able: name and SHA-256 of its files, by field, and its alignment."""
    files = {
        item.name: [[file.name, _digest(file)] for file in _files(path)]
        for item in fields(case)
        if isinstance(path := getattr(case, item.name), Path)
    }
    return {"files": files, "align": case.align}


def prepare(case: Case, folder: Path, origin: dict | None = None) -> sitk.Transform:
    """Writes a case's images and masks into `folder`, once; a later call with the same inputs reads them.

    The moving scan is resampled onto the fixed image's grid (trilinear; masks nearest neighbour), through an
    affine alignment where the case asks for one. It stays as it is where both lie on one grid already and no
    alignment is asked for. What it shows beyond the fixed image is then lost, and what it does not show looks
    like air: methods that take two grids get it as it is given, unless it had to be aligned.
    origin: `made_of(case)`, where it is known.
    Returns the initial transform, from points of the fixed scan to points of the moving scan as given, LPS
    mm: the identity unless the case asks for an alignment. A method's transform goes before it.
    Raises InputError for images or masks that cannot be used.
    """
    origin = (origin or made_of(case)) | {"form": FORM}
    if _read_origin(folder) != origin:
        _write(case, folder, origin)
    return read_transform(folder / INITIAL)


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _digest(file: Path) -> str | None:
    return pooch.file_hash(str(file)) if file.is_file() else None


def _read_origin(folder: Path) -> dict | None:
    try:
        return json.loads((folder / MADE_OF).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write(case: Case, folder: Path, origin: dict) -> None:
    volumes = {role: read_volume(getattr(case, role), role) for role in ("fixed", "moving")}
    masks = {
        role: read_mask(path, volume.grid, role) if (path := getattr(case, f"{role}_mask")) else None
        for role, volume in volumes.items()
    }
    fixed, moving = volumes["fixed"], volumes["moving"]
    given = (moving, masks["moving"])
    mode = "affine" if case.align else "none"
    initial = prealign(fixed, moving, mode, masks["fixed"], masks["moving"])
    if case.align or not moving.grid.matches(fixed.grid):
        fill = max(AIR_HU, float(moving.array.min())) if is_ct(moving) else float(moving.array.min())
        if masks["moving"] is not None:
            masks["moving"] = _resampled(masks["moving"], moving.grid, initial, fixed.grid)
        moving = warp(moving, initial, fixed.grid, fill)
    with OutputFolder(folder) as out:
        write_volume(fixed, out / FIXED)
        write_volume(Volume(moving.array, fixed.grid, moving.name), out / MOVING)
        if _two_grids(case):
            write_volume(given[0], out / GIVEN)
            if given[1] is not None:
                write_volume(Volume(given[1].astype(np.uint8), given[0].grid), out / GIVEN_MASK)
        write_transform(initial, out / INITIAL)
        for role, mask in masks.items():
            if mask is not None:
                write_volume(Volume(mask.astype(np.uint8), fixed.grid), out / MASKS[role])
        write_json(origin, out / MADE_OF)


def _resampled(mask: np.ndarray, grid: Grid, transform: sitk.Transform, onto: Grid) -> np.ndarray:
    volume = Volume(mask.astype(np.uint8), grid, "moving mask")
    return warp(volume, transform, onto, 0, sitk.sitkNearestNeighbor).array
