"""The POPI-model and folders like it: phases of a 4D CT as MetaImage, landmarks as text in mm.

Vandemeulebroucke et al., ICCR 2007 (POPI-model) and Med. Phys. 38:166 (2011) (six more patients). A patient's
folder, or folders inside it, hold NN.mhd (or NN-P.mhd) and NN.pts (or NN-Landmarks.txt, also NN.txt), NN the
phase in percent. Phase 00 is fixed; moving is the most distant phase that has both files: 50, else 60,
else 40 and so on.

Landmarks are taken as ITK's physical coordinates of the MetaImage beside them, x, y, z in mm, one a line; the
text of the POPI-model starts with a comment line. Points that lie outside their image are refused, since then
the text and the header of the image do not speak of the same coordinates.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from GLIDERegLib.files.outputs import OutputFolder
from GLIDERegLib.studies.cases import Case
from GLIDERegLib.studies.datasets.dataset import (
    DataSet,
    Shortcomings,
    image_grid,
    make_once,
    number_rows,
    require_inside,
    require_same_number,
    signature,
    write_rows,
)

TITLE = "POPI-model"
IMAGE = re.compile(r"(\d0)([-_]P)?\.mhd", re.IGNORECASE)
POINTS = re.compile(r"(\d0)([-_]Landmarks)?\.(pts|txt)", re.IGNORECASE)
FIXED_PHASE = "00"
MOVING_PHASES = ("50", "60", "40", "70", "30", "80", "20", "90", "10")
FILES = ("fixed_points.csv", "moving_points.csv")


def find(folder: Path, work: Path) -> list[Case]:
    """A case for each patient's folder, or one for the folder itself where it holds phases directly."""
    lacking = Shortcomings(TITLE, folder)
    found = {}
    for patient in _patients(folder):
        images, points = _phases(patient, IMAGE), _phases(patient, POINTS)
        if FIXED_PHASE not in images:
            lacking.note(f"'{patient.name}' has no image of phase {FIXED_PHASE} ('{FIXED_PHASE}.mhd')")
        if FIXED_PHASE not in points:
            lacking.note(f"'{patient.name}' has no landmarks of phase {FIXED_PHASE} ('{FIXED_PHASE}.pts')")
        moving = next((phase for phase in MOVING_PHASES if phase in images and phase in points), None)
        if moving is None:
            lacking.note(f"'{patient.name}' has no other phase with both an image and landmarks")
        found[patient.resolve().name] = (images, points, moving)
    if not found:
        lacking.note("it holds no phases named like 00.mhd")
    lacking.refuse()
    cases = []
    for name, (images, points, moving) in found.items():
        scans = [images[FIXED_PHASE], images[moving]]
        tables = [points[FIXED_PHASE], points[moving]]
        write = partial(_write_points, scans=scans, tables=tables)
        make_once(work / name, signature([*scans, *tables]), FILES, write)
        cases.append(Case(name, *scans, *(work / name / file for file in FILES)))
    return cases


def _patients(folder: Path) -> list[Path]:
    """Folders of a patient each: with images and points, else the folder itself, else those with images."""
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    with_images = [path for path in inner if _phases(path, IMAGE)]
    if any(_phases(path, POINTS) for path in with_images) or not _phases(folder, IMAGE):
        return with_images
    return [folder]


def _phases(folder: Path, pattern: re.Pattern) -> dict[str, Path]:
    """Files by their phase, in the folder or one below."""
    files = [*folder.glob("*"), *folder.glob("*/*")]
    return {match[1]: path for path in sorted(files) if (match := pattern.fullmatch(path.name))}


def _write_points(out: OutputFolder, scans: list[Path], tables: list[Path]) -> None:
    points = [number_rows(table) for table in tables]
    require_same_number(tables[0], points[0], tables[1], points[1])
    for scan, table, rows, name in zip(scans, tables, points, FILES, strict=True):
        require_inside(rows, image_grid(scan), table)
        write_rows(rows, out / name)


POPI = DataSet(
    "popi",
    TITLE,
    "From CREATIS and the Centre Léon Bérard, Lyon (creatis.insa-lyon.fr/rio/popi-model), freely available; "
    "cite Vandemeulebroucke et al.",
    """\
FOLDER/
  PATIENT/mhd/00.mhd, 50.mhd, ... and PATIENT/pts/00.pts, 50.pts, ...
or, for the POPI-model itself,
FOLDER/
  meta/00-P.mhd, 50-P.mhd, ... and landmarks/00-Landmarks.txt, 50-Landmarks.txt, ...""",
    find,
)
