"""Displacement fields in image files, which say in their headers whose vectors they hold.

All become one map: fixed points to moving points, LPS mm. What each program writes:
ITK, ANTs, greedy, plastimatch: displacements in LPS mm (NIfTI: intent 1007). NIfTI intent 1006: RAS mm.
Slicer: "displacement field type" in NRRD, `resampling` (fixed to moving) or `modeling` (moving to fixed).
NiftyReg (reg-lib/cpu/_reg_maths.h): intent name NREG_TRANS and the kind in intent_p1, RAS mm; a cubic
B-spline by its control points.
SPM (spm_deformations): intent name Mapping, positions in RAS mm. FSL: intents 2006 to 2018.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.files.header_places import check_place, unit_in_mm
from GLIDERegLib.files.headers import check_data, is_nrrd, read_header
from GLIDERegLib.files.itk import itk_calls
from GLIDERegLib.files.kinds import refuse_mistaken
from GLIDERegLib.files.nifti import SUFFIXES as NIFTI
from GLIDERegLib.files.nifti import NiftiHeader, check_nifti, read_nifti_header
from GLIDERegLib.files.nifti2 import as_nifti1
from GLIDERegLib.registration.field import DisplacementField

RAS = np.array([-1.0, -1.0, 1.0])
DISPLACEMENTS, POSITIONS, POINTSET, VECTOR = "displacements", "positions", 1006, 1007
# Where the nodes of a uniform cubic B-spline go; its value at a node is an average of the nodes about.
CONTROL_POINTS, SPLINE_NODES = "control points of a cubic B-spline", 4
NIFTYREG = {
    0: POSITIONS,
    1: DISPLACEMENTS,
    2: CONTROL_POINTS,
    3: "a velocity field",
    4: "a velocity field",
    5: "control points of a velocity field",
    6: "control points of a linear spline",
}
# Names that say no more than that there are vectors.
PLAIN = ("", "vector", "vectors", "displacement", "displacements", "displacement field", "disp", "warp")
# Words of a header's description by which programs tell of vectors of their own.
DESCRIPTIONS = {
    "velocity": "a velocity field",
    "flow": "a flow field, as SPM's DARTEL writes it",
    "3dqwarp": "a warp of AFNI",
    "3dnwarp": "a warp of AFNI",
}
# An affine fit of the vectors over the points this near to a turn of the points themselves means positions.
LIKE_POSITIONS = 0.3
# Of the spread of the nodes' indices, the distance (root mean square) of vectors that are such indices.
LIKE_INDICES = 0.2
# mm; an inverse that is further from the exact one somewhere means a field that folds.
INVERSE_RESIDUAL = 0.1


def read_field(path: Path) -> sitk.Transform:
    """The map of a vector image, fixed to moving points in LPS mm; outside its grid nothing is displaced.

    Raises InputError for what is no such image, is damaged, or holds vectors of a kind not read here.
    """
    named = f"The displacement field '{path}'"
    image, kind, ras, inverted = _read_image(path, named)
    vectors = sitk.GetArrayFromImage(image).astype(np.float64)
    if not np.isfinite(vectors).all():
        raise InputError(
            f"{named} holds values that are NaN or infinite.", "Compute it again.", code="not-finite"
        )
    grid = Grid(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    if ras:
        vectors *= RAS
    if kind in (POSITIONS, CONTROL_POINTS):
        vectors -= grid.points()
    elif _look_like_positions(vectors, grid) or _look_like_indices(vectors):
        raise InputError(
            f"{named} seems to hold positions (where each voxel goes, in mm, voxels or shares of the image), "
            "not displacements.",
            "Save displacements in LPS mm.",
            code="field-kind",
        )
    if kind == CONTROL_POINTS:
        return _spline(vectors, image, named)
    if inverted:
        return _inverse(DisplacementField(vectors.astype(np.float32), grid), named)
    return DisplacementField(vectors, grid).to_sitk()


def _read_image(path: Path, named: str) -> tuple[sitk.Image, str | int, bool, bool]:
    """A vector image as it is stored, and what its header says: of which kind its vectors are, whether they
    are RAS, and whether they lead from moving to fixed points.
    """
    refuse_mistaken(path, named)
    nifti = path.name.lower().endswith(NIFTI)
    kind, ras, inverted = DISPLACEMENTS, False, False
    with as_nifti1(path, named) if nifti else nullcontext(path) as readable:
        if nifti:
            check_nifti(readable, named, "Compute it again.")
            kind, ras = _nifti_kind(read_nifti_header(readable), named)
        else:
            fields = read_header(path)
            check_data(path, fields, named)
            check_place(path, fields, named)
            if unit_in_mm(path, fields, named) != 1.0:
                raise InputError(f"{named} is not in mm.", "Save it in mm.", code="units")
            inverted = is_nrrd(path) and _is_modeling(fields, named)
        failure = f"The transform '{path}' cannot be read; it is damaged or not a transform ITK knows."
        with itk_calls(failure, named=named):
            image = sitk.ReadImage(str(readable))
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 3:
        raise InputError(
            f"'{path}' is no displacement field.",
            "Give a 3-D image of three values (LPS mm) a voxel, in NIfTI of intent 1007 (vector).",
            code="not-3d",
        )
    if "unsigned" in image.GetPixelIDTypeAsString():
        raise InputError(
            f"{named} holds values without a sign, as a colour picture does.",
            "Give displacements in LPS mm.",
            code="field-kind",
        )
    return image, kind, ras, inverted


def _inverse(field: DisplacementField, named: str) -> sitk.Transform:
    """The inverse of a field that maps moving to fixed points."""
    inverse = field.inverse()
    unsolved = inverse.residual_mm is None or not inverse.residual_mm <= INVERSE_RESIDUAL
    if unsolved or field.jacobian_determinant().min() <= 0:
        raise InputError(
            f"{named} maps moving to fixed points (displacement field type: modeling) and folds, so that "
            "it has no inverse.",
            "Save it as a transform for resampling.",
            code="field-kind",
        )
    return inverse.to_sitk()


def _spline(vectors: np.ndarray, image: sitk.Image, named: str) -> sitk.Transform:
    """The B-spline of displacements (z, y, x, 3) of control points on an image's grid.

    As in ITK, NiftyReg's basis of a node is centred on it; a linear part of what the nodes do is exact.
    """
    if min(image.GetSize()) < SPLINE_NODES:
        raise InputError(
            f"{named} has too few control points for a cubic B-spline.", "Save it again.", code="transform"
        )
    parts = [sitk.GetImageFromArray(vectors[..., axis]) for axis in range(3)]
    for part in parts:
        part.CopyInformation(image)
    return sitk.BSplineTransform(parts, 3)


def _nifti_kind(header: NiftiHeader, named: str) -> tuple[str, bool]:
    """DISPLACEMENTS or POSITIONS, and whether they are RAS once ITK has read them (it turns intent 1006)."""
    name = header.intent_name
    kind, ras = DISPLACEMENTS, False
    if 2001 <= header.intent <= 2018:
        raise _of_kind(named, "a warp of FSL (FNIRT or TOPUP), in FSL's own coordinates")
    if name.upper().startswith("NREG"):
        if name != "NREG_TRANS" or header.intent != VECTOR:
            raise _of_kind(named, f"a file of NiftyReg named {name}")
        kind, ras = NIFTYREG.get(int(header.intent_p1), f"a file of unknown kind {header.intent_p1:g}"), True
        if kind not in (POSITIONS, DISPLACEMENTS, CONTROL_POINTS):
            raise _of_kind(named, f"{kind} of NiftyReg")
    elif name.lower() == "mapping" or header.description.lower().startswith("deformation"):
        kind, ras = POSITIONS, header.intent != POINTSET
    elif name.lower() not in PLAIN:
        raise _of_kind(named, f"vectors of another kind, named '{name}'")
    elif told := [kind for word, kind in DESCRIPTIONS.items() if word in header.description.lower()]:
        raise _of_kind(named, told[0])
    if header.intent in (POINTSET, VECTOR) and header.unit != 1.0:
        raise InputError(
            f"{named} is not in mm but says units of {header.unit:g} mm.", "Save it in mm.", code="units"
        )
    return kind, ras


def _is_modeling(fields: dict[str, str], named: str) -> bool:
    """Whether an NRRD maps moving to fixed points; InputError where it says neither, or is not in LPS mm."""
    kind = fields.get("displacement field type", "resampling").lower()
    if kind not in ("resampling", "modeling"):
        raise _of_kind(named, f"a field of the type '{kind}'")
    space = fields.get("space", "left-posterior-superior").lower()
    if space not in ("left-posterior-superior", "lps"):
        raise InputError(
            f"{named} is in the space '{space}', and does not say whether its vectors are too.",
            "Save it in left-posterior-superior (LPS).",
            code="field-space",
        )
    if frame := fields.get("measurement frame"):
        try:
            matrix = [float(n) for n in frame.replace("(", " ").replace(")", " ").replace(",", " ").split()]
        except ValueError:
            matrix = []
        if not np.array_equal(matrix, np.eye(3).ravel()):
            raise _of_kind(named, "vectors in a measurement frame of their own")
    return kind == "modeling"


def _look_like_positions(vectors: np.ndarray, grid: Grid) -> bool:
    """True where vectors (z, y, x, 3) are an affine map of the points near the identity, in LPS or RAS.

    Displacements would have to double all lengths for the one, and fold for the other.
    """
    steps = tuple(slice(None, None, max(1, n // 16)) for n in grid.shape)
    points, values = (array[steps].reshape(-1, 3) for array in (grid.points(), vectors))
    points = points - points.mean(axis=0)
    slope = np.linalg.lstsq(points, values - values.mean(axis=0), rcond=None)[0].T
    return any(np.abs(slope - np.diag(turn)).max() < LIKE_POSITIONS for turn in (np.ones(3), RAS))


def _look_like_indices(vectors: np.ndarray) -> bool:
    """True where vectors (z, y, x, 3) are next to the indices of their nodes, or these scaled to 0 to 1 or -1
    to 1.
    """
    last = np.maximum(np.array(vectors.shape[2::-1]) - 1, 1)
    steps = tuple(slice(None, None, max(1, n // 16)) for n in vectors.shape[:3])
    index = np.stack(np.meshgrid(*map(np.arange, vectors.shape[:3]), indexing="ij")[::-1], axis=-1)[steps]
    for nodes in (index, index / last, 2 * index / last - 1):
        with np.errstate(over="ignore"):  # of a damaged file's numbers
            apart = np.sqrt(np.mean((vectors[steps] - nodes) ** 2, axis=(0, 1, 2)))
        if (apart < LIKE_INDICES * nodes.std(axis=(0, 1, 2))).all():
            return True
    return False


def _of_kind(named: str, kind: str) -> InputError:
    return InputError(
        f"{named} is {kind}, which is not read here.",
        "Convert it to displacements in LPS mm with the program that made it.",
        code="field-kind",
        kind=kind,
    )
