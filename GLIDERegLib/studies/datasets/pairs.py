"""Any pairs of scans, listed in a CSV whose columns are the fields of `Case`.

    name,fixed,moving,fixed_points,moving_points,align
    anna,anna/2023.nii.gz,anna/2024.nii.gz,anna/2023.csv,anna/2024.csv,yes

name, fixed and moving are required, all other fields may be absent or empty. Paths are relative to the CSV;
an image may be a folder of DICOM slices. align and snap_to_voxels are yes or no. structures names label
values: `1=lung;2=heart`. family is a word of yours, by which the tables are parted.
"""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.tables import read_table
from GLIDERegLib.studies.cases import Case
from GLIDERegLib.studies.datasets.dataset import DataSet, Shortcomings

COLUMNS = tuple(field.name for field in fields(Case))
REQUIRED = ("name", "fixed", "moving")
SWITCHES = ("align", "snap_to_voxels")
FILES = tuple(name for name in COLUMNS if name not in ("name", "family", "structures", *SWITCHES))
TOGETHER = (("fixed_points", "moving_points"), ("fixed_labels", "moving_labels"))
YES, NO = ("yes", "true", "1"), ("no", "false", "0", "")
SAFE_NAME = re.compile(r"[\w-]([\w .-]*[\w-])?")


def read_pairs(path: Path, check_files: bool = True) -> list[Case]:
    """The pairs of scans a CSV lists.

    check_files: whether every file must be there. Without it a missing file fails only its own pair, later.
    Raises InputError, naming the line, for unknown or missing columns, empty required cells, names that occur
    twice or cannot be a file's name, and points or labels of one image alone.
    """
    path = Path(path)
    cases, lines = [], {}
    for number, row in read_table(path, REQUIRED, COLUMNS):
        case = _case(row, path.parent, f"line {number} of '{path}'")
        # Some file systems do not tell capitals from small letters.
        first = lines.setdefault(case.name.casefold(), number)
        if first != number:
            raise InputError(
                f"Lines {first} and {number} of '{path}' have the same name '{case.name}'.", code="option"
            )
        cases.append(case)
    if check_files:
        lacking = Shortcomings("list of pairs", path)
        for case in cases:
            for field in FILES:
                if (file := getattr(case, field)) is not None and not file.exists():
                    lacking.note(f"'{file}' of the pair '{case.name}' is missing")
        lacking.refuse()
    return cases


def _case(row: dict[str, str], folder: Path, where: str) -> Case:
    if not SAFE_NAME.fullmatch(row["name"]):
        raise InputError(
            f"The name '{row['name']}' in {where} cannot be a file's name.",
            "Use letters, digits, . _ and -.",
            code="data-set",
        )
    files = {name: folder / row[name] for name in FILES if row.get(name)}
    for first, second in TOGETHER:
        if (first in files) != (second in files):
            raise InputError(f"Give {first} and {second} both or neither in {where}.", code="setting")
    switches = {name: _switch(row.get(name, ""), name, where) for name in SWITCHES}
    structures = _structures(row.get("structures", ""), where)
    return Case(row["name"], **files, family=row.get("family", ""), structures=structures, **switches)


def _switch(text: str, name: str, where: str) -> bool:
    if text.lower() not in YES + NO:
        raise InputError(f"'{text}' under {name} in {where} is neither yes nor no.", code="setting")
    return text.lower() in YES


def _structures(text: str, where: str) -> tuple[tuple[int, str], ...]:
    """`1=lung;2=heart` as ((1, "lung"), (2, "heart"))."""
    named = [part.split("=", 1) for part in text.split(";") if part.strip()]
    try:
        return tuple((int(value), name.strip()) for value, name in named)
    except ValueError:
        raise InputError(
            f"'{text}' under structures in {where} is not like 1=lung;2=heart.", code="option"
        ) from None


def table_in(folder: Path, name: str) -> Path:
    """The CSV itself, or the one of this name in the folder; raises InputError where it is not there."""
    path = folder if folder.is_file() else folder / name
    if not path.is_file():
        raise InputError(
            f"There is no list '{path}'.",
            f"Give a CSV file or a folder that holds {name}.",
            code="file-missing",
        )
    return path


def _find(folder: Path, work: Path) -> list[Case]:
    return read_pairs(table_in(folder, "pairs.csv"))


PAIRS = DataSet(
    "pairs",
    "Your own pairs of scans",
    "Any scans you have; nothing is fetched.",
    """\
FOLDER/                                                 (or the CSV file itself)
  pairs.csv     name,fixed,moving[,fixed_points,moving_points,fixed_labels,moving_labels,fixed_mask,
                moving_mask,truth,scored,lungs,family,structures,align,snap_to_voxels], paths relative
                to it""",
    _find,
)
