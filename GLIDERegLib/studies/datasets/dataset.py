"""What every adapter of a data set needs: the checks of a folder, and converted files that are made once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GLIDERegLib import __version__
from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.files.itk import itk_calls
from GLIDERegLib.files.outputs import OutputFolder, write_json
from GLIDERegLib.files.points import PointSet, write_points
from GLIDERegLib.studies.cases import Case

RECORD = "made_from.json"
NAMED_IN_FULL = 5


@dataclass(frozen=True)
class DataSet:
    """A data set that its users fetch themselves.

    source: where from, and on what terms. layout: how its folder must look, a tree as text.
    find: the cases in a folder; its second argument is a work folder for converted files.
    """

    name: str
    title: str
    source: str
    layout: str
    find: Callable[[Path, Path], list[Case]]


class Shortcomings:
    """Everything that is wrong with a folder or a list, said in one sentence at the end.

    lacking = Shortcomings("DIR-Lab 4DCT", folder)
    image = lacking.need(folder / "case1_T00.img")
    lacking.refuse()
    """

    def __init__(self, title: str, folder: Path):
        self.title, self.folder = title, folder
        self._found: list[str] = []

    def need(self, path: Path) -> Path:
        """The path itself; it is noted where nothing is there."""
        if not path.exists():
            self.note(f"'{self._short(path)}' is missing")
        return path

    def note(self, text: str) -> None:
        """Adds one shortcoming, a clause like "'a.csv' is missing"."""
        if text not in self._found:
            self._found.append(text)

    def refuse(self) -> None:
        """Raises InputError if anything was noted: the first few in full, then how many more."""
        if not self._found:
            return
        listed = "; ".join(self._found[:NAMED_IN_FULL])
        rest = len(self._found) - NAMED_IN_FULL
        raise InputError(
            f"'{self.folder}' is not a complete {self.title}: {listed}"
            f"{f'; and {rest} more' if rest > 0 else ''}.",
            "See the layout by `glidereg benchmark --list`.",
            code="option",
        )

    def _short(self, path: Path) -> Path:
        return path.relative_to(self.folder) if path.is_relative_to(self.folder) else path


def image_grid(path: Path) -> Grid:
    """The grid of an image file from its header alone; raises InputError unless it is a 3-D image."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with itk_calls(f"The header of the image '{path}' cannot be read; download or convert it again."):
        reader.ReadImageInformation()
    if reader.GetDimension() != 3:
        raise InputError(
            f"The image '{path}' is {reader.GetDimension()}-D.", "Give a 3-D volume.", code="not-3d"
        )
    return Grid(reader.GetSize(), reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection())


def number_rows(path: Path) -> np.ndarray:
    """The rows (N, 3) of a text file of three numbers a line, parted by blanks, tabs or commas.

    Lines that start with # are comments. Raises InputError naming the first line that is something else.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The points file '{path}' cannot be read.", "Download it again.", code="points"
        ) from error
    rows = []
    for number, line in enumerate(lines, 1):
        cells = line.replace(",", " ").split()
        if not cells or cells[0].startswith("#"):
            continue
        row = np.full(3, np.nan)
        with suppress(ValueError):
            row = np.array(cells, float)
        if row.shape != (3,) or not np.isfinite(row).all():
            raise InputError(
                f"Line {number} of the points file '{path}' is not three numbers: '{line}'.", code="points"
            )
        rows.append(row)
    if not rows:
        raise InputError(f"The points file '{path}' holds no points.", code="points")
    return np.array(rows)


def require_same_number(first: Path, a: np.ndarray, second: Path, b: np.ndarray) -> None:
    """Raises InputError unless both files hold equally many points (N, 3), which correspond by row."""
    if len(a) != len(b):
        raise InputError(
            f"'{first}' holds {counted(len(a), 'point')} and '{second}' {len(b)}.",
            "Corresponding files need equally many.",
            code="points",
        )


def require_inside(points: np.ndarray, grid: Grid, path: Path) -> None:
    """Raises InputError unless all points (N, 3), LPS mm, of the file `path` lie inside their image."""
    outside = np.flatnonzero(~grid.contains(points))
    if len(outside):
        raise InputError(
            f"{len(outside)} of {counted(len(points), 'point')} in '{path}' (the first: point "
            f"{outside[0] + 1}) lie outside their image.",
            "The file belongs to another image or its coordinates are not as documented.",
            code="points",
        )


def write_rows(points: np.ndarray, path: Path) -> None:
    """Writes points (N, 3), LPS mm, labelled P001, P002, ... by their row."""
    write_points(PointSet([f"P{n + 1:03d}" for n in range(len(points))], points), path)


def signature(paths: Iterable[Path]) -> dict[str, list[int]]:
    """Size and time of change of files by their path: whether what was made of them is still right."""
    files = [path.resolve() for path in paths]
    return {str(file): [file.stat().st_size, file.stat().st_mtime_ns] for file in files}


def make_once(
    folder: Path, made_from: dict, names: Iterable[str], write: Callable[[OutputFolder], None]
) -> None:
    """Has `write` fill a folder with the files `names`, unless they are there and made from the same.

    made_from: JSON-able; it is kept beside the files, with this program's version. They appear all together
    or not at all.
    """
    wanted = json.loads(json.dumps(made_from | {"version": __version__}))
    with suppress(OSError, ValueError):
        kept = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if kept == wanted and all((folder / name).is_file() for name in names):
            return
    with OutputFolder(folder) as out:
        write(out)
        write_json(wanted, out / RECORD)
