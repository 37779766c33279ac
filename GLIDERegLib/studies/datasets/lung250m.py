"""Lung250M-4B: inspiration and expiration CT of the lungs at 1 mm, with manual landmarks.

Falta et al., NeurIPS 2023; files as the repository multimodallearning/Lung250M-4B names them.

Certain from its README and code: `_1` is inspiration and fixed, `_2` expiration and moving; cases 104 to 113,
the DIR-Lab COPDgene pairs, are the test set, and their images must be made by the repository's
data_curation/process_copd.py from DIR-Lab's files; `lms_validation.pth` is a dictionary from the case's
number as text to a tensor (N, 6), fixed x, y, z then moving x, y, z, in voxels of the cropped images.

Not certain: whether voxels are counted from 0 or from a half, since the repository's own evaluation samples
them half a voxel off. They are taken as indices counted from 0; since both images share the convention, only
the place where a smooth field is read changes. Errors are measured in mm between physical points; the
published "initial" row holds voxels of the crops, and agrees where both files have the same origin.
"""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path

import numpy as np
import torch

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.outputs import OutputFolder
from GLIDERegLib.studies.cases import Case
from GLIDERegLib.studies.datasets.dataset import (
    DataSet,
    Shortcomings,
    image_grid,
    make_once,
    signature,
    write_rows,
)

TITLE = "Lung250M-4B"
LANDMARKS = ("lms_validation.pth", "evaluation/lms_validation.pth")
FILES = ("fixed_points.csv", "moving_points.csv")


def find(folder: Path, work: Path) -> list[Case]:
    """Every case with landmarks of which any file is there; each must be complete."""
    lacking = Shortcomings(TITLE, folder)
    present = [folder / name for name in LANDMARKS if (folder / name).is_file()]
    if not present:
        lacking.need(folder / LANDMARKS[0])
        lacking.refuse()
    landmarks = _landmarks(present[0])
    found = {}
    for number in sorted(landmarks):
        files = [_file(folder / kind, number, scan) for scan in (1, 2) for kind in ("imagesTs", "masksTs")]
        if any(path.exists() for path in files):
            found[number] = [lacking.need(path) for path in files]
    if not found:
        lacking.note("'imagesTs' holds none of the cases with landmarks, like 'case_104_1.nii.gz'")
    lacking.refuse()
    cases = []
    for number, (fixed, fixed_mask, moving, moving_mask) in found.items():
        name = f"case_{number:03d}"
        write = partial(_write_points, images=(fixed, moving), index=landmarks[number])
        make_once(work / name, signature([present[0], fixed, moving]), FILES, write)
        points = (work / name / FILES[0], work / name / FILES[1])
        cases.append(Case(name, fixed, moving, *points, fixed_mask=fixed_mask, moving_mask=moving_mask))
    return cases


def _file(folder: Path, number: int, scan: int) -> Path:
    """A scan's file: `case_104_1.nii.gz` as the code reads it, or `104_1.nii.gz` as the README lists it."""
    short = folder / f"{number:03d}_{scan}.nii.gz"
    return short if short.exists() else folder / f"case_{number:03d}_{scan}.nii.gz"


def _landmarks(path: Path) -> dict[int, np.ndarray]:
    """Landmarks (N, 6) in voxels by the case's number."""
    damaged = f"'{path}' is damaged or does not hold landmarks as Lung250M-4B does; download it again."
    try:
        tables = torch.load(path, map_location="cpu", weights_only=True)
        landmarks = {int(key): np.asarray(table, float) for key, table in tables.items()}
    except (OSError, RuntimeError, ValueError, TypeError, AttributeError, EOFError) as error:
        raise InputError(damaged) from error
    except pickle.UnpicklingError as error:
        raise InputError(
            f"'{path}' holds more than tensors and is not opened.", "Download it again.", code="data-set"
        ) from error
    if not landmarks or any(table.ndim != 2 or table.shape[1] != 6 for table in landmarks.values()):
        raise InputError(damaged)
    return landmarks


def _write_points(out: OutputFolder, images: tuple[Path, Path], index: np.ndarray) -> None:
    for image, part, name in zip(images, (index[:, :3], index[:, 3:]), FILES, strict=True):
        write_rows(image_grid(image).to_physical(part), out / name)


LUNG250M = DataSet(
    "lung250m",
    TITLE,
    "The repository multimodallearning/Lung250M-4B links to the images and masks (most under CC-BY) and "
    "holds the landmarks; its scripts make the images of the test cases 104 to 113 from DIR-Lab COPDgene.",
    """\
FOLDER/
  imagesTs/case_104_1.nii.gz, case_104_2.nii.gz, ...    (_1 inspiration, _2 expiration)
  masksTs/case_104_1.nii.gz, case_104_2.nii.gz, ...
  lms_validation.pth                                    (or evaluation/lms_validation.pth)""",
    find,
)
