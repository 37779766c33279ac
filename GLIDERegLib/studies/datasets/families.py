"""Generated families beside the phantom: another generator, thick slices, and values that are not HU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage

from GLIDERegLib.core.geometry import Volume
from GLIDERegLib.evaluation.demo import write_pair
from GLIDERegLib.evaluation.phantom import LABELS, Phantom, make_phantom
from GLIDERegLib.files.outputs import OutputFolder
from GLIDERegLib.files.points import PointSet, write_points
from GLIDERegLib.files.volumes import write_volume
from GLIDERegLib.studies.cases import Case
from GLIDERegLib.studies.datasets.dataset import DataSet, make_once
from GLIDERegLib.studies.datasets.generated import AMPLITUDE_MM, PHANTOM_FILES, TRUTH
from GLIDERegLib.studies.datasets.known_truth import write_field, write_vectors
from GLIDERegLib.studies.datasets.random_chest import make_random_chest

LUNGS = "fixed_lungs.nii.gz"
CHEST_FILES = {
    "fixed": "fixed.nii.gz",
    "moving": "moving.nii.gz",
    "fixed_points": "fixed_points.csv",
    "moving_points": "moving_points.csv",
    "truth": TRUTH,
    "lungs": LUNGS,
}
# Voxels (x, y, z) and mm: phases of a 4D CT as POPI's, and a liver-and-chest MR as of 4D-MRI.
THICK = ((77, 56, 60), (5.0, 5.0, 6.0), 20.0)
MR = ((160, 120, 76), (2.0, 2.0, 4.0), 15.0)
# HU to signal of a T1-like, fat-bright sequence: air and lung dark, bone dark, fat bright.
MR_HU = (-1100, -900, -600, -110, -60, 30, 60, 200, 400)
MR_SIGNAL = (2, 6, 14, 190, 150, 95, 110, 140, 25)
MR_NOISE, MR_BIAS = 5.0, 0.25


def random_chests(
    work: Path, seeds: Sequence[int] = (0, 1), amplitude_mm: float = AMPLITUDE_MM
) -> list[Case]:
    """Pairs of `make_random_chest`, one for each seed."""
    cases = []
    for seed in seeds:
        place = work / f"random_{seed}_{amplitude_mm:g}mm"
        settings = {"seed": int(seed), "amplitude_mm": float(amplitude_mm)}
        write = partial(_write_chest, seed=int(seed), amplitude=float(amplitude_mm))
        make_once(place, settings, CHEST_FILES.values(), write)
        files = {role: place / name for role, name in CHEST_FILES.items()}
        cases.append(Case(place.name, **files, family="random"))
    return cases


def thick_phantoms(work: Path, seeds: Sequence[int] = (0, 1)) -> list[Case]:
    """The phantom in voxels of 5 x 5 x 6 mm."""
    return _phantoms(work, "thick", seeds, *THICK, convert=lambda phantom, seed: phantom)


def mr_phantoms(work: Path, seeds: Sequence[int] = (0, 1)) -> list[Case]:
    """The phantom's anatomy as 0-based 8-bit MR: signal by tissue, a coil's shading and noise in each
    scan."""
    return _phantoms(work, "mr", seeds, *MR, convert=_as_mr)


def _phantoms(work: Path, family: str, seeds, size, spacing, amplitude: float, convert) -> list[Case]:
    cases = []
    files = PHANTOM_FILES | {"lungs": LUNGS}
    for seed in seeds:
        place = work / f"{family}_{seed}"
        settings = {"seed": int(seed), "amplitude_mm": amplitude, "size": size, "spacing_mm": spacing}

        def write(out: OutputFolder, seed: int = int(seed)) -> None:
            phantom = make_phantom(size, spacing, amplitude, seed)
            grid = phantom.fixed.grid
            write_pair(convert(phantom, seed), out)
            write_field(phantom.displacement, grid, out / TRUTH)
            inside = np.isin(phantom.fixed_labels.array, _lung_labels())
            write_volume(Volume(inside.astype(np.uint8), grid, "lungs"), out / LUNGS)

        make_once(place, settings, files.values(), write)
        made = {role: place / name for role, name in files.items()}
        cases.append(Case(place.name, **made, family=family, structures=tuple(LABELS.items())))
    return cases


def _lung_labels() -> list[int]:
    """Both lungs with the vessels and nodules inside them."""
    inside = ("lung_left", "lung_right", "lung_vessels", "nodules")
    return [value for value, name in LABELS.items() if name in inside]


def _as_mr(phantom: Phantom, seed: int) -> Phantom:
    def scan(volume: Volume, number: int) -> Volume:
        rng = np.random.default_rng([seed, 21, number])
        signal = np.interp(volume.array, MR_HU, MR_SIGNAL)
        shading = ndimage.zoom(rng.standard_normal((3, 3, 3)), [n / 3 for n in signal.shape], order=3)
        shading = 1 + MR_BIAS * shading / np.abs(shading).max()
        # Magnitude of a complex signal: Rice's distribution.
        real, imaginary = rng.normal(0, MR_NOISE, (2, *signal.shape))
        magnitude = np.hypot(signal * shading + real, imaginary)
        return Volume(np.clip(np.rint(magnitude), 0, 255).astype(np.uint8), volume.grid, volume.name)

    return replace(phantom, fixed=scan(phantom.fixed, 0), moving=scan(phantom.moving, 1))


def _write_chest(out: OutputFolder, seed: int, amplitude: float) -> None:
    pair = make_random_chest(amplitude_mm=amplitude, seed=seed)
    write_volume(pair.fixed, out / CHEST_FILES["fixed"])
    write_volume(pair.moving, out / CHEST_FILES["moving"])
    write_volume(Volume(pair.lungs.astype(np.uint8), pair.fixed.grid, "lungs"), out / LUNGS)
    labels = [f"P{n + 1:03d}" for n in range(len(pair.fixed_points))]
    write_points(PointSet(labels, pair.fixed_points), out / CHEST_FILES["fixed_points"])
    write_points(PointSet(labels, pair.moving_points), out / CHEST_FILES["moving_points"])
    write_vectors(pair.displacement, pair.truth_grid, out / TRUTH)


def _generated(name: str, title: str, source: str, find) -> DataSet:
    return DataSet(name, title, source, "(no folder)", lambda _folder, work: find(work))


RANDOM = _generated(
    "random",
    "Chests of random fields, truth known",
    "Generated by the program, with other anatomy, texture, motion and noise than the phantom's.",
    random_chests,
)
THICK_SLICES = _generated(
    "thick", "The phantom in voxels of 5 x 5 x 6 mm", "Generated by the program.", thick_phantoms
)
MR_LIKE = _generated(
    "mr", "The phantom as 0-based 8-bit MR", "Generated by the program; no HU in it.", mr_phantoms
)
