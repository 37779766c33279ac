"""Spatial transforms to and from disk.

A transform maps fixed points to moving points, LPS mm, as ITK, ANTs and Slicer's files store it.
"""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.errors import InputError, system_refusals
from GLIDERegLib.files.elastix import is_elastix, read_elastix
from GLIDERegLib.files.fields import read_field
from GLIDERegLib.files.foreign import foreign_kind, is_plain_matrix
from GLIDERegLib.files.itk import itk_calls
from GLIDERegLib.files.kinds import kind_of, refuse_mistaken
from GLIDERegLib.files.nifti import SUFFIXES as NIFTI
from GLIDERegLib.files.outputs import whole_file
from GLIDERegLib.files.text_transforms import check_counts, check_text, text_kind
from GLIDERegLib.transforms.points import inverse_points, map_points, parts, propagate

# The last three under the name by which scripts written for 0.1.0 import them; see `transforms.points`.
__all__ = [
    "check_invertible",
    "read_transform",
    "write_transform",
    "inverse_points",
    "map_points",
    "propagate",
]

TRANSFORM_SUFFIXES = (".h5", ".hdf5", ".tfm", ".txt", ".mat")
WRITABLE = (".h5", ".hdf5", ".tfm", ".txt")
FIELD_SUFFIXES = (*NIFTI, ".nrrd", ".nhdr", ".mha", ".mhd")
# Transforms of 3D Slicer's own that ITK's reader does not know, in HDF5 and in text.
FOREIGN = re.compile(rb"((?:Inverse\w+|\w*KernelTransform\w*?|\w*Oriented\w*?))_(?:double|float)_3_3")
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
    for part in parts(transform):
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
