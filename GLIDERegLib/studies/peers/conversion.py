"""What other tools write, as a transform from fixed to moving points in LPS mm.

Every tool has its own units, axes and order of components. Each convention here is named, written down, and
tested against a known transform on an oblique, anisotropic grid.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.files.itk import itk_calls
from GLIDERegLib.files.nifti import SUFFIXES as NIFTI
from GLIDERegLib.files.nifti import check_nifti
from GLIDERegLib.files.transforms import read_transform
from GLIDERegLib.registration.field import DisplacementField

CONVENTIONS = {
    "transform": "what `glidereg evaluate` reads: an ITK transform, or a vector image in LPS mm",
    "mm-lps": "displacements in mm, components left, posterior, superior",
    "mm-ras": "displacements in mm, components right, anterior, superior",
    "voxels-xyz": "displacements in voxels of the fixed image, components along its 1st, 2nd, 3rd axis",
    "voxels-zyx": "displacements in voxels of the fixed image, components along its 3rd, 2nd, 1st axis",
    "deeds": "deedsBCV's _displacements.dat, written without an affine matrix (-A)",
}
# NIfTI intent of displacements, in RAS by its standard; ITK turns them to LPS while it reads.
DISPLACEMENT_INTENT = "1006"


def read_result(path: Path, convention: str, grid: Grid) -> sitk.Transform:
    """The transform, fixed to moving points (LPS mm), in a file of one of the `CONVENTIONS`.

    grid: the fixed image's. The vector at a fixed voxel points to where the moving image is read; a voxel is
    one of the fixed image's, also where the field is coarser. The first axis of a file runs fastest. A field
    with vector pixels in mm lies where its file says. Any other (X x Y x Z x 3, with single axes anywhere, or
    3 x X x Y x Z) covers the fixed image, whatever its header says: if it is coarser, the outer faces of both
    coincide, as `torch.nn.functional.interpolate(align_corners=False)` makes them.
    Raises InputError where the file is missing, damaged or not of that convention.
    """
    if convention not in CONVENTIONS:
        raise InputError(
            f"The convention '{convention}' is unknown.",
            f"Use one of {', '.join(CONVENTIONS)}.",
            code="setting",
        )
    if convention == "transform":
        return read_transform(path)
    if not path.is_file():
        raise InputError(f"There is no result '{path}'.", "See the log beside it.", code="file-missing")
    if convention == "deeds":
        return _deeds(path, grid)
    vectors, place, intent = _read_vectors(path)
    if convention == "mm-ras" and intent != DISPLACEMENT_INTENT:
        vectors = vectors * (-1, -1, 1)
    if convention.startswith("mm") and place is not None:
        return _transform(vectors, place)
    if convention == "voxels-zyx":
        vectors = vectors[..., ::-1]
    if convention.startswith("voxels"):
        vectors = vectors @ grid.matrix[:3, :3].T
    return _transform(vectors, _covering(grid, vectors.shape[:3], path))


def _read_vectors(path: Path) -> tuple[np.ndarray, Grid | None, str]:
    """Vectors (z, y, x, 3), their grid where they are a 3-D vector image, and NIfTI's intent code."""
    what = f"The displacement field '{path}'"
    if path.name.lower().endswith(NIFTI):
        check_nifti(path, what, "Compute it again.")
    with itk_calls(f"{what} cannot be read; it is damaged or of a type that ITK does not know."):
        image = sitk.ReadImage(str(path))
    intent = image.GetMetaData("intent_code") if image.HasMetaDataKey("intent_code") else ""
    array = sitk.GetArrayFromImage(image).astype(float)
    place = None
    if image.GetNumberOfComponentsPerPixel() == 1:
        array = np.squeeze(array)
        # ITK's arrays have the file's first axis last.
        array = np.moveaxis(array, 0, -1) if array.ndim == 4 and array.shape[0] == 3 else array
    elif image.GetDimension() == 3:
        place = Grid(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    else:
        array = array.reshape([n for n in array.shape[:-1] if n > 1] + [array.shape[-1]])
    if array.ndim != 4 or array.shape[-1] != 3:
        raise InputError(
            f"{what} does not hold three values for each voxel.",
            "Write it as X x Y x Z x 3.",
            code="values",
        )
    if not np.isfinite(array).all():
        raise InputError(
            f"{what} holds values that are NaN or infinite.", "Compute it again.", code="not-finite"
        )
    return array, place, intent


def _covering(grid: Grid, shape: tuple[int, ...], path: Path) -> Grid:
    """A grid of another shape (z, y, x) over the same box."""
    factor = np.array(grid.size) / np.array(shape[::-1])
    if factor.max() > 1.2 * factor.min() or factor.min() < 0.99:
        raise InputError(
            f"The field '{path}' has {shape[::-1]} voxels, which does not fit the fixed image's {grid.size}.",
            code="grid-differs",
        )
    spacing = np.asarray(grid.spacing) * factor
    return Grid(
        tuple(int(n) for n in shape[::-1]),
        tuple(spacing.tolist()),
        tuple(grid.to_physical((factor - 1) / 2).tolist()),
        grid.direction,
    )


def _deeds(path: Path, grid: Grid) -> sitk.Transform:
    """deedsBCV's control points, as its own `upsampleDeformationsCL` and `warpAffine` read them.

    Three volumes of float32, first axis fastest, in voxels along the 2nd, the 1st and the 3rd axis. A node
    lies on each (size / nodes)-th voxel, the first on the first voxel; beyond the last the field is constant.
    """
    values = np.fromfile(path, np.float32).astype(float)
    step = round((3 * np.prod(grid.size) / max(len(values), 1)) ** (1 / 3))
    nodes = np.asarray(grid.size) // max(step, 1)
    if len(values) != 3 * np.prod(nodes) or not len(values):
        raise InputError(
            f"'{path}' does not fit the fixed image's {grid.size} voxels; is it from deedsBCV?",
            code="grid-differs",
        )
    if not np.isfinite(values).all():
        raise InputError(
            f"'{path}' holds values that are NaN or infinite.", "Run deedsBCV again.", code="not-finite"
        )
    second, first, third = values.reshape(3, *nodes[::-1])
    vectors = np.stack([first, second, third], axis=-1) @ grid.matrix[:3, :3].T
    # ITK's field would end half a node beyond the last one, before the image does.
    vectors = np.pad(vectors, [(0, 1)] * 3 + [(0, 0)], mode="edge")
    spacing = np.asarray(grid.spacing) * grid.size / nodes
    size = tuple(int(n) + 1 for n in nodes)
    return _transform(vectors, Grid(size, tuple(spacing.tolist()), grid.origin, grid.direction))


def _transform(vectors: np.ndarray, grid: Grid) -> sitk.Transform:
    return DisplacementField(vectors, grid).to_sitk()
