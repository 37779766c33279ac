"""Spatial transforms to and from disk, and points through them in both directions.

A transform maps fixed points to moving points, LPS mm, as ITK, ANTs and Slicer's files store it.
"""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.errors import InputError, system_refusals
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.files.elastix import is_elastix, read_elastix
from GLIDERegLib.files.fields import read_field
from GLIDERegLib.files.foreign import foreign_kind, is_plain_matrix
from GLIDERegLib.files.itk import itk_calls
from GLIDERegLib.files.kinds import kind_of, refuse_mistaken
from GLIDERegLib.files.nifti import SUFFIXES as NIFTI
from GLIDERegLib.files.outputs import whole_file
from GLIDERegLib.files.points import PointSet
from GLIDERegLib.files.text_transforms import check_counts, check_text, text_kind

TRANSFORM_SUFFIXES = (".h5", ".hdf5", ".tfm", ".txt", ".mat")
WRITABLE = (".h5", ".hdf5", ".tfm", ".txt")
FIELD_SUFFIXES = (*NIFTI, ".nrrd", ".nhdr", ".mha", ".mhd")
DIRECTIONS = ("fixed-to-moving", "moving-to-fixed")
# mm; far above the rounding of float64, far below a voxel, so that a linearly interpolated field shows one
# cell's slope.
JACOBIAN_STEP = 1e-3
# Transforms of 3D Slicer's own that ITK's reader does not know, in HDF5 and in text.
FOREIGN = re.compile(rb"((?:Inverse\w+|\w*KernelTransform\w*?|\w*Oriented\w*?))_(?:double|float)_3_3")
# Nodes along each axis of a field's grid where the search for an inverse may start.
START_NODES = 12
# A choice: no registration shrinks a length to a millionth.
SINGULAR = 1e-6


@system_refusals()
def read_transform(path: str | PathLike) -> sitk.Transform:
    """Reads a 3-D ITK transform (.h5, .tfm, .txt, .mat) or a displacement field stored as a vector image.

    elastix's own parameter files are read as far as SimpleITK has their transforms, and DICOM registration
    objects of two scans. What a field's vectors mean is said in its header (see `files.fields`).
    Raises InputError when the file is missing, damaged or not such a transform.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"The transform '{path}' does not exist.", "Check the path.", code="file-missing")
    transform = _read(path)
    check_invertible(transform, f"The transform '{path}'")
    return transform


def check_invertible(transform: sitk.Transform, named: str) -> None:
    """Raises InputError where a linear part maps all of space to a plane, a line or a point."""
    for part in _parts(transform):
        if not part.IsLinear():
            continue
        ends = map_points(part, np.vstack([np.zeros(3), np.eye(3)]))
        singular = np.linalg.svd(ends[1:] - ends[0], compute_uv=False)
        if not singular[-1] > SINGULAR * max(1.0, singular[0]):
            raise InputError(
                f"{named} has a singular matrix: it maps different points to the same place, and has no "
                "inverse.",
                "Compute it again.",
                code="singular",
            )


def _read(path: Path) -> sitk.Transform:
    """What `read_transform` returns, of a file that is there."""
    if path.name.lower().endswith(FIELD_SUFFIXES):
        return read_field(path)
    if not path.name.lower().endswith(TRANSFORM_SUFFIXES):
        if kind_of(path) == "a DICOM file":
            from GLIDERegLib.files.dicom.registration_object import read_registration

            return read_registration(path).transform
        _refuse_foreign(path)
        known = ", ".join((*TRANSFORM_SUFFIXES, *FIELD_SUFFIXES, "a DICOM registration object"))
        raise InputError(
            f"The transform '{path}' is of an unknown type.", f"Give one of {known}.", code="file-type"
        )
    refuse_mistaken(path, f"The transform '{path}'")
    if path.suffix.lower() == ".txt" and is_elastix(path.read_text(encoding="utf-8", errors="replace")):
        return read_elastix(path)
    _refuse_unknown(path)
    if path.suffix.lower() in (".tfm", ".txt", ".mat"):
        check_counts(path)
    kind = text_kind(path)
    failure = f"cannot be read; it is damaged{f' or {kind} is' if kind else ' or'} not a transform ITK knows"
    try:
        with itk_calls(f"The transform '{path}' {failure}."):
            transform = sitk.ReadTransform(str(path)).Downcast()
    except KeyError as error:  # SimpleITK reads kinds of ITK's for which it has no class
        raise InputError(
            f"The transform '{path}' is of a kind that is not read here{f' ({kind})' if kind else ''}.",
            "Convert it to an affine transform or to a displacement field first.",
            code="transform",
        ) from error
    parameters = (*transform.GetParameters(), *transform.GetFixedParameters()) if transform.IsLinear() else ()
    if not np.isfinite(parameters).all():
        raise InputError(
            f"The transform '{path}' holds values that are NaN or infinite.",
            "Compute it again.",
            code="not-finite",
        )
    if transform.GetDimension() != 3:
        raise InputError(
            f"The transform '{path}' is {transform.GetDimension()}-D.", "Give a 3-D transform.", code="not-3d"
        )
    composite = isinstance(transform, sitk.CompositeTransform)
    if (
        path.suffix.lower() in (".tfm", ".txt")
        and not composite
        and path.read_bytes().count(b"\nTransform:") > 1
    ):
        # SimpleITK would return the first of them alone.
        raise InputError(
            f"The transform '{path}' holds several separate transforms.",
            "Save them as one composite.",
            code="transform",
        )
    if path.suffix.lower() in (".tfm", ".txt"):
        check_text(path, transform)
    return transform


def write_transform(transform: sitk.Transform, path: str | PathLike) -> None:
    """Writes the transform as an ITK transform file (.h5, .hdf5, .tfm or .txt); whole or not at all.

    Raises InputError for another type of file or when it cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITABLE:
        raise InputError(
            f"Cannot write the transform '{path}'.", "Name it .h5, .tfm or .txt.", code="cannot-write"
        )
    failure = f"Cannot write '{path}'.", "Check that the disk has space and the folder can be written."
    with whole_file(path) as temporary:
        with itk_calls(*failure, code="cannot-write"):
            sitk.WriteTransform(transform, str(temporary))


def map_points(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    """Fixed points (N, 3) to moving points (N, 3), LPS mm."""
    points = np.asarray(points, float).reshape(-1, 3)
    return np.array([transform.TransformPoint(point) for point in points.tolist()]).reshape(-1, 3)


def inverse_points(
    transform: sitk.Transform, points: np.ndarray, tolerance_mm: float = 1e-3, iterations: int = 50
) -> tuple[np.ndarray, np.ndarray]:
    """Fixed points x (N, 3) with T(x) = y for moving points y (N, 3), and the residual |T(x) - y| (N), mm.

    Needs the forward map T alone: Newton's method with a finite-difference Jacobian and step halving, started
    at the closest of several candidates. Where T folds or leaves y out, the best point found is returned and
    its residual tells; a residual above `tolerance_mm` means that y has no exact counterpart. All in LPS mm.
    """
    target = np.asarray(points, float).reshape(-1, 3)
    best = _closest_start(transform, target)
    error = map_points(transform, best) - target
    residual = np.linalg.norm(error, axis=1)
    active = residual > tolerance_mm
    for _ in range(iterations):
        index = np.flatnonzero(active)
        if not len(index):
            break
        newton = np.einsum("nij,nj->ni", np.linalg.pinv(_jacobian(transform, best[index])), error[index])
        improved = np.zeros(len(index), bool)
        # The error itself, a damped fixed-point step, serves where Newton's direction does not help.
        for step in (newton, newton / 2, newton / 4, newton / 16, error[index], error[index] / 4):
            rest = np.flatnonzero(~improved)
            if not len(rest):
                break
            trial = best[index[rest]] - step[rest]
            trial_error = map_points(transform, trial) - target[index[rest]]
            better = np.linalg.norm(trial_error, axis=1) < residual[index[rest]]
            chosen = index[rest[better]]
            best[chosen], error[chosen] = trial[better], trial_error[better]
            residual[chosen] = np.linalg.norm(error[chosen], axis=1)
            improved[rest[better]] = True
        active[index] = improved & (residual[index] > tolerance_mm)
    return best, residual


def in_field(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    """True (N) where fixed points (N, 3), LPS mm, lie in the domain of every displacement field or B-spline.

    Outside of it ITK applies no displacement. All True for a transform that has no such part.
    """
    points = np.asarray(points, float).reshape(-1, 3)
    inside = np.ones(len(points), bool)
    for part in _parts(transform):
        domain = _domain(part)
        if domain is not None:
            inside &= domain.contains(points)
        points = map_points(part, points)
    return inside


def field_grid(transform: sitk.Transform) -> Grid | None:
    """The grid of the displacement field that fixed points meet first, if they meet one before anything
    else.
    """
    first = _parts(transform)[0]
    return _domain(first) if isinstance(first, sitk.DisplacementFieldTransform) else None


def propagate(
    points: PointSet,
    transform: sitk.Transform,
    direction: str,
    fixed: Grid | None = None,
    moving: Grid | None = None,
) -> tuple[PointSet, dict[str, np.ndarray]]:
    """Propagates points "fixed-to-moving" through the transform or "moving-to-fixed" through its inverse.

    fixed, moving: where the images' voxels are, if that is known. Returns the points and columns with one
    value per point: residual_mm, the distance (mm) between a given point and itself after going there and
    back; inside_field, whether the transform is defined there (see `in_field`) and the fixed image reaches
    there; with `moving`, inside_moving: whether the moving image does.
    Raises InputError for another direction.
    """
    if direction not in DIRECTIONS:
        raise InputError(
            f"The direction '{direction}' is unknown.",
            f"Use {DIRECTIONS[0]} or {DIRECTIONS[1]}.",
            code="setting",
        )
    given = np.asarray(points.points, float)
    if direction == "moving-to-fixed":
        mapped, residual = inverse_points(transform, given)
        inside = in_field(transform, mapped)
    else:
        mapped = map_points(transform, given)
        back, _ = inverse_points(transform, mapped)
        residual = np.linalg.norm(back - given, axis=1)
        inside = in_field(transform, given)
    in_fixed, in_moving = (given, mapped) if direction == "fixed-to-moving" else (mapped, given)
    if fixed is not None:
        inside = inside & fixed.contains(in_fixed)
    columns = {"residual_mm": residual, "inside_field": inside}
    if moving is not None:
        columns["inside_moving"] = moving.contains(in_moving)
    return PointSet(list(points.labels), mapped), columns


def _refuse_unknown(path: Path) -> None:
    """Raises InputError, with its name, for a transform that Slicer writes and ITK does not read, and for one
    of another program.
    """
    names = {match.decode() for match in FOREIGN.findall(path.read_bytes())}
    if names:
        raise InputError(
            f"The transform '{path}' holds 3D Slicer's {', '.join(sorted(names))}, which is not read here.",
            "Convert it to a grid transform (displacement field) first.",
            code="slicer-transform",
            names=sorted(names),
        )
    if path.suffix.lower() not in (".h5", ".hdf5"):
        _refuse_foreign(path)


def _refuse_foreign(path: Path) -> None:
    """Raises InputError, with what it is, for a file of another program that is known here by sight."""
    named = f"The transform '{path}'"
    kind = kind_of(path)
    if kind == "":
        raise InputError(f"{named} is empty.", "Copy or download it again.", code="file-empty")
    if foreign := foreign_kind(path):
        raise InputError(
            f"{named} is {foreign}, which is not read here.",
            "Give a transform of ITK, or a displacement field in LPS mm.",
            code="transform-foreign",
            kind=foreign,
        )
    if is_plain_matrix(path):
        raise InputError(
            f"{named} is a plain matrix without its convention, as FSL's FLIRT, NiftyReg's reg_aladin, "
            "greedy and MRtrix write it.",
            "Convert it to an ITK transform.",
            code="plain-matrix",
        )
    if kind is not None and not path.name.lower().endswith(TRANSFORM_SUFFIXES):
        packed = "archive" in kind or "packed" in kind
        raise InputError(
            f"{named} is {kind}, which is not read here.",
            "Unpack it first." if packed else "Give a transform.",
            code="file-kind",
        )


def _parts(transform: sitk.Transform) -> list[sitk.Transform]:
    """The transform's elementary parts in the order in which a point goes through them."""
    transform = transform.Downcast()
    # A linear one is a part as a whole: SimpleITK shows ANTs' MatrixOffsetTransformBase as a composite of
    # itself, without end.
    if not isinstance(transform, sitk.CompositeTransform) or transform.IsLinear():
        return [transform]
    # ITK applies the transform that was added last first.
    nested = [transform.GetNthTransform(n) for n in reversed(range(transform.GetNumberOfTransforms()))]
    return [part for item in nested for part in _parts(item)]


def _domain(part: sitk.Transform) -> Grid | None:
    """The box in which a displacement field or B-spline is defined, as a grid; None for other transforms."""
    if isinstance(part, sitk.DisplacementFieldTransform):
        field = part.GetDisplacementField()
        return Grid(field.GetSize(), field.GetSpacing(), field.GetOrigin(), field.GetDirection())
    if isinstance(part, sitk.BSplineTransform):
        size, direction = part.GetTransformDomainMeshSize(), part.GetTransformDomainDirection()
        spacing = np.asarray(part.GetTransformDomainPhysicalDimensions()) / size
        first = np.asarray(part.GetTransformDomainOrigin()) + np.reshape(direction, (3, 3)) @ (spacing / 2)
        return Grid(size, tuple(spacing.tolist()), tuple(first.tolist()), direction)
    return None


def _closest_start(transform: sitk.Transform, target: np.ndarray) -> np.ndarray:
    """Of y, y - u(y) and the nodes of a field, the x (N, 3) whose image T(x) is closest to y (N, 3)."""
    image = map_points(transform, target)
    start, distance = target.copy(), np.linalg.norm(image - target, axis=1)
    own = 2 * target - image
    candidates = [(own, map_points(transform, own))]
    domains = [domain for part in _parts(transform) if (domain := _domain(part)) is not None]
    if domains:
        low, high = -0.5 + 1e-6, np.asarray(domains[0].size) - 0.5 - 1e-6
        axes = [np.linspace(low, end, START_NODES) for end in high]
        nodes = domains[0].to_physical(np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 3))
        images = map_points(transform, nodes)
        nearest = np.array([np.sum((images - point) ** 2, axis=1).argmin() for point in target], int)
        candidates.append((nodes[nearest], images[nearest]))
    for candidate, image in candidates:
        apart = np.linalg.norm(image - target, axis=1)
        closer = apart < distance
        start[closer], distance[closer] = candidate[closer], apart[closer]
    return start


def _jacobian(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    """Central differences of the transform at points (N, 3): (N, 3, 3), rows are components of T."""
    steps = np.eye(3) * JACOBIAN_STEP
    differences = [
        map_points(transform, points + step) - map_points(transform, points - step) for step in steps
    ]
    return np.stack(differences, axis=-1) / (2 * JACOBIAN_STEP)
