"""Image files of one name each, as ITK reads them, checked and in mm: NIfTI, NRRD and MetaImage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.header_places import check_place, notes, put_in_mm, unit_in_mm
from GLIDERegLib.files.headers import check_data, read_header
from GLIDERegLib.files.itk import itk_calls
from GLIDERegLib.files.nifti import SUFFIXES as NIFTI
from GLIDERegLib.files.nifti import check_nifti, place_note, read_nifti_header
from GLIDERegLib.files.nifti2 import as_nifti1

# Direction cosines from float32 headers are off by about 1e-7; up to 1e-3 (0.06 degrees) is made orthonormal.
ROUNDING, LARGEST_SKEW = 1e-6, 1e-3
DAMAGED = "{} cannot be read; the file is damaged or not of the type its name says."


def read_image(path: Path, what: str, named: str, fill: str) -> tuple[sitk.Image, tuple[str, ...]]:
    """The 3-D scalar image of a file, and what to say of how it was read.

    `what` names it in notes, `named`, with its path, in errors; `fill` is what to put in the place of NaN.
    Raises InputError for what cannot be read or registered.
    """
    if path.name.lower().endswith(NIFTI):
        image, told = _read_nifti(path, what, named, fill)
    else:
        image, told = _read_text_headed(path, what, named)
    return _as_scalar_3d(image, named), told


def _read_nifti(path: Path, what: str, named: str, fill: str) -> tuple[sitk.Image, tuple[str, ...]]:
    """The image of a NIfTI file of either version, and what to say of its place."""
    with as_nifti1(path, named) as readable:
        check_nifti(readable, named, f"Replace them by {fill}.")
        with itk_calls(DAMAGED.format(named), named=named):
            image = sitk.ReadImage(str(readable))
        flip = read_nifti_header(readable).flip
    # Notes become part of reports, which hold no path.
    note = place_note(image, flip, named).replace(named, f"The {what}")
    return image, (note,) if note else ()


def _read_text_headed(path: Path, what: str, named: str) -> tuple[sitk.Image, tuple[str, ...]]:
    """The image of an NRRD or MetaImage file, in mm, and what to say of its place."""
    fields = read_header(path)
    check_data(path, fields, named)
    check_place(path, fields, named)
    _refuse_sequence(fields, named)
    with itk_calls(DAMAGED.format(named), named=named):
        image = sitk.ReadImage(str(path))
    if fields.get("encoding", "").lower() in ("ascii", "text", "txt"):
        _check_text(path, fields, image, named)
    put_in_mm(image, unit_in_mm(path, fields, named))
    return image, notes(image, path, fields, f"The {what}")


def _check_text(path: Path, fields: dict[str, str], image: sitk.Image, named: str) -> None:
    """Raises InputError where numbers of an NRRD in text are others than those read, in a type too small."""
    told = fields.get("data file", fields.get("datafile", ""))
    if "%" in told or told.startswith("LIST"):
        return
    beside = told and told.upper() != "LOCAL"
    text = (path.parent / told).read_bytes() if beside else path.read_bytes()[int(fields[""]) :]
    read = sitk.GetArrayFromImage(image).ravel()
    numbers = [float(word) for word in text.replace(b",", b" ").split()[: read.size]]
    if not np.allclose(numbers, read, rtol=1e-6, atol=0, equal_nan=True):
        raise InputError(
            f"{named} holds numbers that its type, {fields['type']}, cannot hold.",
            "Save it in a type that can.",
            code="values",
        )


def _refuse_sequence(fields: dict[str, str], named: str) -> None:
    """Raises InputError for an NRRD that holds frames, as 3D Slicer saves a sequence, or a time axis."""
    frames = [
        int(size)
        for size, kind in zip(fields.get("sizes", "").split(), fields.get("kinds", "").split(), strict=False)
        if kind in ("list", "time")
    ]
    if frames and frames[0] > 1:
        raise InputError(
            f"{named} is a sequence of {frames[0]} frames.", "Extract one frame of it.", code="sequence"
        )


def _as_scalar_3d(image: sitk.Image, what: str) -> sitk.Image:
    """The image without single frames and rounding in its axes; InputError unless 3-D and scalar."""
    while image.GetDimension() > 3 and image.GetSize()[-1] == 1:
        image = image[..., 0]
    if image.GetDimension() > 3:
        raise InputError(
            f"{what} is {image.GetDimension()}-D (size {times(image.GetSize())}).",
            "Extract one frame of it.",
            code="not-3d",
        )
    if image.GetDimension() < 3:
        raise InputError(f"{what} is a 2-D image.", "Give a 3-D volume.", code="not-3d")
    values = image.GetNumberOfComponentsPerPixel()
    if values > 1:
        raise InputError(
            f"{what} has {values} values per voxel (colour or vectors).",
            "Give a scalar image.",
            code="values",
        )
    if "complex" in image.GetPixelIDTypeAsString():
        raise InputError(f"{what} holds complex numbers.", "Give a scalar image.", code="values")
    axes = np.reshape(image.GetDirection(), (3, 3))
    product = axes.T @ axes
    skew = np.abs(product - np.eye(3)).max()
    if not np.abs(np.diag(product) - 1).max() <= LARGEST_SKEW:
        raise InputError(
            f"{what} has directions of its axes that are not of length 1.",
            "Put the lengths into the spacing.",
            code="geometry",
        )
    if not skew <= LARGEST_SKEW:
        raise InputError(
            f"{what} has skewed axes (a sheared grid), which is not supported.",
            "Resample it to a regular grid.",
            code="geometry",
        )
    if skew > ROUNDING:
        u, _, vt = np.linalg.svd(axes)
        image.SetDirection((u @ vt).ravel().tolist())
    return image


def times(size: tuple[float, ...]) -> str:
    """Numbers of the axes as a person reads them: 512 x 512 x 300."""
    return " x ".join(f"{n:.6g}" for n in size)
