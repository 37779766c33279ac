"""DIR-Lab's two data sets: ten 4DCT and ten COPDgene pairs with 300 expert landmarks each.

Castillo et al., Phys. Med. Biol. 54:1849 (2009) and 58:2861 (2013). Sizes and spacings are those of the
data's own pages. Certain: images are raw little-endian int16, x fastest; landmarks are voxel indices x, y, z
counted from 1, the same 300 rows in both files.

By common use, not by its authors' documentation: values are HU + 1024, so 1024 is subtracted and air comes
near -1000 (-2000 outside the scanner's field of view becomes -3024); and slices run from head to feet, so
converted images keep their order and have the direction (0, 0, -1) along z. Errors in mm depend on neither.

Fixed is full inspiration (T00, iBH), moving full expiration (T50, eBH). DIR-Lab's own evaluation moves every
propagated point to the nearest voxel centre before it measures, hence `snap_to_voxels`: that favours errors
below half a voxel and must not be compared with plain errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.files.outputs import OutputFolder
from GLIDERegLib.files.volumes import write_volume
from GLIDERegLib.studies.cases import Case
from GLIDERegLib.studies.datasets.dataset import (
    DataSet,
    Shortcomings,
    make_once,
    number_rows,
    require_inside,
    require_same_number,
    signature,
    write_rows,
)

HU_OFFSET = 1024
HEAD_TO_FEET = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
# Case: (voxels in plane, slices, mm in plane); slices are 2.5 mm apart.
FOUR_D_CT_SCANS = {
    1: (256, 94, 0.97),
    2: (256, 112, 1.16),
    3: (256, 104, 1.15),
    4: (256, 99, 1.13),
    5: (256, 106, 1.10),
    6: (512, 128, 0.97),
    7: (512, 136, 0.97),
    8: (512, 128, 0.97),
    9: (512, 128, 0.97),
    10: (512, 120, 0.97),
}
COPDGENE_SCANS = {
    1: (512, 121, 0.625),
    2: (512, 102, 0.645),
    3: (512, 126, 0.652),
    4: (512, 126, 0.590),
    5: (512, 131, 0.647),
    6: (512, 119, 0.633),
    7: (512, 112, 0.625),
    8: (512, 115, 0.586),
    9: (512, 116, 0.664),
    10: (512, 135, 0.742),
}
FILES = ("fixed.mha", "moving.mha", "fixed_points.csv", "moving_points.csv")


@dataclass(frozen=True)
class _Naming:
    """How one of the data sets names its folders and files, as patterns with the case's number for {n}.

    example: names for messages, for the fixed and the moving image.
    """

    case: str
    folder: str
    image: str
    points: str
    phases: tuple[str, str]
    example: tuple[str, str]


_FOUR_D = _Naming(
    "case_{n:02d}",
    r"case{n}(pack|deploy)",
    r"case{n}_{phase}([-_]s+m?)?\.img",
    r"case{n}_(dirlab)?300_{phase}_xyz\.txt",
    ("T00", "T50"),
    ("case{n}_{phase}.img", "Case{n}_300_{phase}_xyz.txt"),
)
_COPD = _Naming(
    "copd_{n:02d}",
    r"copd{n}",
    r"copd{n}_{phase}ct\.img",
    r"copd{n}_300_{phase}_xyz_r1\.txt",
    ("iBH", "eBH"),
    ("copd{n}_{phase}CT.img", "copd{n}_300_{phase}_xyz_r1.txt"),
)


def _grid(scan: tuple[int, int, float]) -> Grid:
    in_plane, slices, spacing = scan
    return Grid((in_plane, in_plane, slices), (spacing, spacing, 2.5), (0.0, 0.0, 0.0), HEAD_TO_FEET)


def _find(title: str, naming: _Naming, scans: dict, folder: Path, work: Path) -> list[Case]:
    """The cases whose folder is there; each must be complete."""
    lacking = Shortcomings(title, folder)
    found = {}
    for n, scan in scans.items():
        pattern = re.compile(naming.folder.format(n=n), re.IGNORECASE)
        places = [path for path in sorted(folder.iterdir()) if path.is_dir() and pattern.fullmatch(path.name)]
        if places:
            found[n] = _sources(lacking, naming, n, _grid(scan), places[0])
    if not found:
        lacking.note("no folder of a case is there")
    lacking.refuse()
    cases = []
    for n, sources in found.items():
        name = naming.case.format(n=n)
        write = partial(_convert, sources=sources, grid=_grid(scans[n]))
        make_once(work / name, signature(sources), FILES, write)
        images_and_points = [work / name / file for file in FILES]
        cases.append(Case(name, *images_and_points, snap_to_voxels=True))
    return cases


def _sources(lacking: Shortcomings, naming: _Naming, n: int, grid: Grid, place: Path) -> list[Path]:
    """Fixed and moving image, fixed and moving points; what is missing or of a wrong length is noted."""
    files = sorted(path for path in place.rglob("*") if path.is_file())
    sources = []
    for pattern, example in zip((naming.image, naming.points), naming.example, strict=True):
        for phase in naming.phases:
            wanted = re.compile(pattern.format(n=n, phase=phase), re.IGNORECASE)
            matching = [path for path in files if wanted.fullmatch(path.name)]
            if matching:
                sources.append(matching[0])
            else:
                lacking.note(f"'{place.name}/{example.format(n=n, phase=phase)}' is missing")
    expected = 2 * int(np.prod(grid.size))
    for image in (path for path in sources if path.suffix.lower() == ".img"):
        if (size := image.stat().st_size) != expected:
            voxels = " x ".join(map(str, grid.size))
            lacking.note(
                f"'{place.name}/{image.name}' has {size:,} bytes instead of {expected:,} "
                f"({voxels} voxels of 2 bytes)"
            )
    return sources


def _convert(out: OutputFolder, sources: list[Path], grid: Grid) -> None:
    points = [number_rows(path) for path in sources[2:]]
    require_same_number(sources[2], points[0], sources[3], points[1])
    for path, index, name in zip(sources[2:], points, FILES[2:], strict=True):
        if not np.array_equal(index, np.rint(index)):
            raise InputError(
                f"The landmarks in '{path}' are not whole voxel indices.", "Download it again.", code="points"
            )
        where = grid.to_physical(index - 1)
        require_inside(where, grid, path)
        write_rows(where, out / name)
    for path, name in zip(sources[:2], FILES[:2], strict=True):
        values = np.fromfile(path, "<i2").reshape(grid.shape)
        # Sums in int32: the lowest values would wrap around in int16.
        hu = Volume(values.astype(np.int32) - HU_OFFSET, grid)
        write_volume(hu, out / name, np.int16)


def _finder(title: str, naming: _Naming, scans: dict) -> Callable[[Path, Path], list[Case]]:
    return partial(_find, title, naming, scans)


FOUR_D_CT = DataSet(
    "dirlab4dct",
    "DIR-Lab 4DCT",
    "From the DIR-Lab (dir-lab.com, Emory University), ten packs, access on request to its authors; cite "
    "Castillo et al. 2009.",
    """\
FOLDER/
  Case1Pack/
    Images/case1_T00_s.img, case1_T50_s.img             (or -ssm.img, or .img)
    ExtremePhases/Case1_300_T00_xyz.txt, Case1_300_T50_xyz.txt
  ...
  Case8Deploy/                                          (or Case8Pack)
    Images/case8_T00-ssm.img, ...
    extremePhases/case8_dirLab300_T00_xyz.txt, ...
  Case10Pack/""",
    _finder("DIR-Lab 4DCT", _FOUR_D, FOUR_D_CT_SCANS),
)
COPDGENE = DataSet(
    "dirlabcopd",
    "DIR-Lab COPDgene",
    "From the DIR-Lab (dir-lab.com, Emory University), ten packs, access on request to its authors; cite "
    "Castillo et al. 2013.",
    """\
FOLDER/
  copd1/                                                (files may lie one folder deeper)
    copd1_iBHCT.img, copd1_eBHCT.img
    copd1_300_iBH_xyz_r1.txt, copd1_300_eBH_xyz_r1.txt
  ...
  copd10/""",
    _finder("DIR-Lab COPDgene", _COPD, COPDGENE_SCANS),
)
