"""Pairs made here whose truth is known everywhere: phantoms, and real scans warped by a known motion."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Volume
from GLIDERegLib.evaluation.demo import write_pair
from GLIDERegLib.evaluation.phantom import LABELS, make_phantom
from GLIDERegLib.files.outputs import OutputFolder
from GLIDERegLib.files.points import PointSet, write_points
from GLIDERegLib.files.volumes import READABLE, read_mask, read_volume, write_volume
from GLIDERegLib.studies.cases import Case
from GLIDERegLib.studies.datasets.dataset import DataSet, make_once, signature
from GLIDERegLib.studies.datasets.known_truth import warp_real, write_field

AMPLITUDE_MM = 20.0
SEEDS = (0, 1, 2)
TRUTH = "truth.mha"
PHANTOM_FILES = {
    "fixed": "fixed.nii.gz",
    "moving": "moving.nii.gz",
    "fixed_points": "fixed_landmarks.csv",
    "moving_points": "moving_landmarks.csv",
    "fixed_labels": "fixed_labels.nii.gz",
    "moving_labels": "moving_labels.nii.gz",
    "truth": TRUTH,
}
WARPED_FILES = {
    "moving": "moving.nii.gz",
    "fixed_points": "fixed_points.csv",
    "moving_points": "moving_points.csv",
    "truth": TRUTH,
}
MASK_FILE = {"moving_mask": "moving_mask.nii.gz"}


def phantoms(
    work: Path,
    seeds: Sequence[int] = SEEDS,
    amplitude_mm: float | Sequence[float] = AMPLITUDE_MM,
    size: tuple[int, int, int] = (192, 192, 160),
    spacing: float = 2.0,
) -> list[Case]:
    """Generated chests, one case for each seed and amplitude (mm), with landmarks, labels and the truth.

    size, spacing: voxels along x, y, z and mm of both images. The truth is the exact deformation at the fixed
    image's voxel centres; between them it is linear (off by 0.013 mm at the worst landmark of seed 0, 20 mm).
    Everything is written to `work` once and reused. Raises InputError as `make_phantom` does.
    """
    cases = []
    for amplitude in np.atleast_1d(np.asarray(amplitude_mm, float)).tolist():
        for seed in seeds:
            name = f"phantom_{seed}_{amplitude:g}mm"
            settings = {"seed": int(seed), "amplitude_mm": amplitude, "size": size, "spacing_mm": spacing}
            write = partial(_write_phantom, amplitude=amplitude, seed=int(seed), size=size, spacing=spacing)
            make_once(work / name, settings, PHANTOM_FILES.values(), write)
            files = {role: work / name / file for role, file in PHANTOM_FILES.items()}
            cases.append(Case(name, **files, family="phantom", structures=tuple(LABELS.items())))
    return cases


def _write_phantom(out: OutputFolder, amplitude: float, seed: int, size, spacing: float) -> None:
    phantom = make_phantom(size, (spacing,) * 3, amplitude, seed)
    write_pair(phantom, out)
    write_field(phantom.displacement, phantom.fixed.grid, out / TRUTH)


def warped_scans(
    folder: Path, work: Path, seeds: Sequence[int] = SEEDS[:1], amplitude_mm: float = AMPLITUDE_MM
) -> list[Case]:
    """Every scan of a folder as the fixed image, with moving images that `warp_real` makes of it.

    NAME_mask.EXT beside NAME.EXT is its mask: the motion is laid out for it, points lie in it, and it is the
    case's mask. Without it the body is taken, and the case has no mask.
    Raises InputError where there is no scan, a mask does not fit, or a scan is too small for the amplitude.
    """
    scans = _scans(folder) if folder.is_dir() else []
    if not scans:
        raise InputError(
            f"There are no scans in the folder '{folder}'.",
            f"Put {', '.join(READABLE)} files into it.",
            code="data-set",
        )
    cases = []
    for name, scan, mask in scans:
        sources, made = ([scan], WARPED_FILES) if mask is None else ([scan, mask], WARPED_FILES | MASK_FILE)
        for seed in seeds:
            place = work / f"{name}_{seed}_{amplitude_mm:g}mm"
            settings = signature(sources) | {"seed": int(seed), "amplitude_mm": float(amplitude_mm)}
            write = partial(_write_warped, scan=scan, mask=mask, seed=int(seed), amplitude=amplitude_mm)
            make_once(place, settings, made.values(), write)
            files = {role: place / file for role, file in made.items()}
            cases.append(Case(place.name, scan, fixed_mask=mask, family="warped", **files))
    return cases


def _scans(folder: Path) -> list[tuple[str, Path, Path | None]]:
    """Name, image and mask (None where there is none) of every scan in a folder."""
    stems: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        suffix = next((end for end in READABLE if path.name.lower().endswith(end)), None)
        if suffix and path.is_file():
            stem = path.name[: -len(suffix)]
            if stem in stems:
                raise InputError(
                    f"'{stems[stem]}' and '{path}' have the same name.",
                    "Rename one of them.",
                    code="data-set",
                )
            stems[stem] = path
    return [(s, path, stems.get(f"{s}_mask")) for s, path in stems.items() if not s.endswith("_mask")]


def _write_warped(out: OutputFolder, scan: Path, mask: Path | None, seed: int, amplitude: float) -> None:
    volume = read_volume(scan)
    inside = None if mask is None else read_mask(mask, volume.grid)
    warped = warp_real(volume, seed, amplitude, inside)
    write_volume(warped.moving, out / WARPED_FILES["moving"])
    if warped.moving_mask is not None:
        moving_mask = Volume(warped.moving_mask, warped.moving.grid, "moving mask")
        write_volume(moving_mask, out / MASK_FILE["moving_mask"])
    labels = [f"P{n + 1:03d}" for n in range(len(warped.fixed_points))]
    write_points(PointSet(labels, warped.fixed_points), out / WARPED_FILES["fixed_points"])
    write_points(PointSet(labels, warped.moving_points), out / WARPED_FILES["moving_points"])
    write_field(warped.motion.displacement, warped.truth_grid, out / TRUTH)


PHANTOM = DataSet(
    "phantom",
    "Generated chests with known truth",
    "Generated by the program from seeds 0, 1 and 2 with a breath of 20 mm; nothing is fetched.",
    "(no folder)",
    lambda _folder, work: phantoms(work),
)
WARPED = DataSet(
    "warped",
    "Real scans warped by a known motion",
    "Any CT scans you have; the second scan of each pair is made from the first.",
    f"""\
FOLDER/
  NAME.nii.gz                                           (or {", ".join(READABLE[2:])})
  NAME_mask.nii.gz                                      (if any: where the motion and the points lie)""",
    warped_scans,
)
