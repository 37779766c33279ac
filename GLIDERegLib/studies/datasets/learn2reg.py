"""Learn2Reg's lung tasks, NLST and LungCT, as their dataset JSON describes them.

Hering et al., IEEE TMI 42:697 (2023). The JSON's "registration_val" lists the pairs to judge; where it is
absent or empty, "training_paired_images" does. Names of points, masks and labels follow from an image's:
imagesTr/NAME.nii.gz has landmarksTr/NAME.csv or else keypointsTr/NAME.csv, masksTr/NAME.nii.gz and
labelsTr/NAME.nii.gz. Keypoints are found by a program, landmarks by people.

Points are CSV without a header, array indices i, j, k of the NIfTI counted from 0, as in the organisers'
evaluation (MDL-UzL/L2R), which multiplies by the moving image's spacing to get mm. The organisers ignore the
origins in the headers; here points go to physical space, so "initial" errors agree where both origins are
the same.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.outputs import OutputFolder
from GLIDERegLib.studies.cases import Case
from GLIDERegLib.studies.datasets.dataset import (
    DataSet,
    Shortcomings,
    image_grid,
    make_once,
    number_rows,
    require_same_number,
    signature,
    write_rows,
)

TITLE = "Learn2Reg data set"
LISTS = ("registration_val", "training_paired_images")
POINTS = ("landmarks", "keypoints")
FILES = ("fixed_points.csv", "moving_points.csv")


def find(folder: Path, work: Path) -> list[Case]:
    """The pairs the JSON lists, with whatever points, masks and labels lie beside their images."""
    lacking = Shortcomings(TITLE, folder)
    described = sorted(folder.glob("*_dataset.json"))
    if len(described) != 1:
        lacking.note(f"it holds {counted(len(described), 'file')} named *_dataset.json instead of one")
        lacking.refuse()
    cases, points = [], []
    for fixed, moving in _pairs(described[0]):
        images = [lacking.need(folder / name) for name in (fixed, moving)]
        name = f"{_stem(images[0])}_{_stem(images[1])}"
        masks = _beside(lacking, images, "masks", ".nii.gz")
        labels = _beside(lacking, images, "labels", ".nii.gz")
        sets = (_beside(lacking, images, kind, ".csv") for kind in POINTS)
        chosen = next((pair for pair in sets if pair[0] is not None), (None, None))
        if chosen[0] is None and labels[0] is None:
            lacking.need(_place(images[0], POINTS[0], ".csv"))
        points.append((name, images, chosen))
        converted = (None, None) if chosen[0] is None else [work / name / file for file in FILES]
        cases.append(Case(name, *images, *converted, *labels, *masks))
    lacking.refuse()
    for name, images, chosen in points:
        if chosen[0] is not None:
            write = partial(_write_points, images=images, tables=chosen)
            make_once(work / name, signature([*images, *chosen]), FILES, write)
    return cases


def _pairs(path: Path) -> list[tuple[str, str]]:
    """Names of fixed and moving images, relative to the JSON."""
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        listed = next((description[key] for key in LISTS if description.get(key)), [])
        pairs = [(str(pair["fixed"]), str(pair["moving"])) for pair in listed]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"'{path}' does not list pairs of fixed and moving images as Learn2Reg does.",
            "Download it again.",
            code="data-set",
        ) from error
    if not pairs:
        raise InputError(
            f"'{path}' lists no pairs under {' or '.join(LISTS)}.",
            "Use a release that does.",
            code="data-set",
        )
    if len(set(pairs)) < len(pairs):
        raise InputError(f"'{path}' lists a pair twice.", "Remove one of the two.", code="data-set")
    return pairs


def _stem(image: Path) -> str:
    return image.name.removesuffix(".gz").removesuffix(".nii")


def _place(image: Path, kind: str, suffix: str) -> Path:
    """imagesTr/NAME.nii.gz -> masksTr/NAME.nii.gz for the kind "masks"."""
    return image.parent.with_name(image.parent.name.replace("images", kind)) / f"{_stem(image)}{suffix}"


def _beside(
    lacking: Shortcomings, images: list[Path], kind: str, suffix: str
) -> tuple[Path, Path] | tuple[None, None]:
    """The files of a kind of both images, or neither; one without the other is noted."""
    fixed, moving = (_place(image, kind, suffix) for image in images)
    if not fixed.exists() and not moving.exists():
        return None, None
    return lacking.need(fixed), lacking.need(moving)


def _write_points(out: OutputFolder, images: list[Path], tables: tuple[Path, Path]) -> None:
    index = [number_rows(table) for table in tables]
    require_same_number(tables[0], index[0], tables[1], index[1])
    for image, rows, name in zip(images, index, FILES, strict=True):
        write_rows(image_grid(image).to_physical(rows), out / name)


LEARN2REG = DataSet(
    "learn2reg",
    "Learn2Reg NLST or LungCT",
    "From the Learn2Reg challenge (learn2reg.grand-challenge.org), after registration; NLST under the terms "
    "of The Cancer Imaging Archive.",
    """\
FOLDER/
  NLST_dataset.json                                     (or LungCT_dataset.json)
  imagesTr/NLST_0101_0000.nii.gz, NLST_0101_0001.nii.gz, ...
  landmarksTr/ or keypointsTr/NLST_0101_0000.csv, ...   (voxels, no header)
  masksTr/NLST_0101_0000.nii.gz, ...                    (if any)
  labelsTr/NLST_0101_0000.nii.gz, ...                   (if any)""",
    find,
)
