"""Nodules marked in a baseline and a follow-up scan, as in the NLST follow-ups of the GLIDE-Reg paper.

A CSV with one nodule a line: pair, fixed, moving, label, fixed_x, fixed_y, fixed_z, moving_x, moving_y,
moving_z. Coordinates are centres in LPS mm; paths are relative to the CSV. Lines of equal `pair` are nodules
of one pair of scans and name the same two files. Its points go to `work` as two CSV files. The scans were
taken at different times on different tables, so they are aligned affinely first.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.outputs import OutputFolder
from GLIDERegLib.files.points import PointSet, write_points
from GLIDERegLib.files.tables import read_table
from GLIDERegLib.studies.cases import Case
from GLIDERegLib.studies.datasets.dataset import DataSet, Shortcomings, make_once
from GLIDERegLib.studies.datasets.pairs import SAFE_NAME, table_in

CENTRES = tuple(tuple(f"{image}_{axis}" for axis in "xyz") for image in ("fixed", "moving"))
COLUMNS = ("pair", "fixed", "moving", "label", *CENTRES[0], *CENTRES[1])
FILES = ("fixed_nodules.csv", "moving_nodules.csv")


def find(folder: Path, work: Path) -> list[Case]:
    """One case for each pair of scans, with the centres of all its nodules as points."""
    path = table_in(folder, "nodules.csv")
    pairs: dict[str, list[tuple[int, dict]]] = {}
    for number, row in read_table(path, COLUMNS, COLUMNS):
        pairs.setdefault(row["pair"], []).append((number, row))
    lacking = Shortcomings("list of nodules", path)
    cases, nodules = [], []
    for name, rows in pairs.items():
        nodules.append(_nodules(name, rows, path))
        images = [path.parent / rows[0][1][role] for role in ("fixed", "moving")]
        for image in images:
            lacking.need(image)
        cases.append(Case(name, *images, *(work / name / file for file in FILES), align=True))
    lacking.refuse()
    for case, (labels, centres) in zip(cases, nodules, strict=True):
        made_from = {"labels": labels, "centres": centres.tolist()}
        make_once(work / case.name, made_from, FILES, partial(_write, labels=labels, centres=centres))
    return cases


def _nodules(name: str, rows: list[tuple[int, dict]], path: Path) -> tuple[list[str], np.ndarray]:
    """Labels (N) and centres (2, N, 3) in the fixed and the moving image, LPS mm."""
    first_number, first = rows[0]
    if not SAFE_NAME.fullmatch(name):
        raise InputError(
            f"The pair '{name}' in line {first_number} of '{path}' cannot be a file's name.", code="option"
        )
    labels = []
    for number, row in rows:
        if (row["fixed"], row["moving"]) != (first["fixed"], first["moving"]):
            raise InputError(
                f"Lines {first_number} and {number} of '{path}' name different scans for the pair '{name}'.",
                code="option",
            )
        if row["label"] in labels:
            raise InputError(
                f"Line {number} of '{path}' repeats the label '{row['label']}' in the pair '{name}'.",
                code="labels",
            )
        labels.append(row["label"])
    centres = [[_centre(row, columns, number, path) for number, row in rows] for columns in CENTRES]
    return labels, np.array(centres)


def _centre(row: dict, columns: tuple[str, ...], number: int, path: Path) -> list[float]:
    try:
        centre = [float(row[column]) for column in columns]
    except ValueError:
        centre = [np.nan]
    if not np.isfinite(centre).all():
        raise InputError(
            f"Line {number} of '{path}' has no three numbers under {', '.join(columns)}.", code="option"
        )
    return centre


def _write(out: OutputFolder, labels: list[str], centres: np.ndarray) -> None:
    for points, name in zip(centres, FILES, strict=True):
        write_points(PointSet(labels, points), out / name)


NODULES = DataSet(
    "nodules",
    "Nodules in follow-up scans",
    "Your own list; NLST scans come from The Cancer Imaging Archive (doi 10.7937/TCIA.HMQ8-J677) under a "
    "data use agreement, their nodule centres from readers of your own.",
    """\
FOLDER/                                                 (or the CSV file itself)
  nodules.csv   pair,fixed,moving,label,fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z
                (LPS mm; several lines a pair; paths relative to it)""",
    find,
)
