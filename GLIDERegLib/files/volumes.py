"""CT volumes and masks to and from disk: NIfTI, NRRD, MetaImage and DICOM.

What a registration cannot use is refused here, in one sentence, before any time is spent on it.
"""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.errors import DependencyError, InputError, system_refusals
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.files.foreign import foreign_kind
from GLIDERegLib.files.image_files import read_image, times
from GLIDERegLib.files.itk import itk_calls
from GLIDERegLib.files.kinds import refuse_mistaken, unknown
from GLIDERegLib.files.nifti import SUFFIXES as NIFTI
from GLIDERegLib.files.nifti import is_complete
from GLIDERegLib.files.outputs import whole_file
from GLIDERegLib.files.patients import Patient

if TYPE_CHECKING:
    from GLIDERegLib.files.dicom.read import DicomInfo

READABLE = (*NIFTI, ".nrrd", ".nhdr", ".mha", ".mhd")
WRITABLE = (*NIFTI, ".nrrd", ".mha")
# A choice: atlases of the brain have up to 200 labels, an image of bytes 256 values.
MOST_LABELS = 250
BACKGROUND = "the background's value (in CT -1024)"


def to_sitk(volume: Volume) -> sitk.Image:
    """The volume as a SimpleITK image, geometry in LPS mm; bool becomes uint8, float16 float32."""
    array = volume.array
    if array.dtype in (np.bool_, np.float16):
        array = array.astype(np.uint8 if array.dtype == bool else np.float32)
    image = sitk.GetImageFromArray(array.astype(array.dtype.newbyteorder("="), copy=False))
    image.SetSpacing(volume.grid.spacing)
    image.SetOrigin(volume.grid.origin)
    image.SetDirection(volume.grid.direction)
    return image


def from_sitk(image: sitk.Image, name: str = "image") -> Volume:
    """A 3-D scalar SimpleITK image as a Volume: array (z, y, x) of the same type, geometry in LPS mm."""
    grid = Grid(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    return Volume(sitk.GetArrayFromImage(image), grid, name)


@system_refusals()
def read_volume(path: str | PathLike, role: str = "fixed") -> Volume:
    """Reads a NIfTI, NRRD or MetaImage file, a folder with one DICOM series, or the series of one DICOM file.

    Returns the array (z, y, x) in the file's own integer or float type, with its grid in LPS mm; rotated and
    flipped (left-handed) axes are kept. `role` ("fixed", "moving") names the image in messages.
    Raises InputError for everything that cannot be read or registered.
    """
    volume = _read(Path(path), f"{role} image")
    check_volume(volume)
    return volume


def check_volume(volume: Volume) -> None:
    """Raises InputError unless the volume is 3-D, finite, not constant and has a usable geometry."""
    grid, what = volume.grid, f"The {volume.name}"
    if min(grid.size) < 2:
        raise InputError(
            f"{what} has only one slice along an axis (size {times(grid.size)}).",
            "Give a 3-D volume.",
            code="not-3d",
        )
    if not np.all(np.isfinite(grid.matrix)) or min(grid.spacing) <= 0:
        raise InputError(
            f"{what} has a spacing, origin or direction that is zero or not finite.",
            "Mend its header.",
            code="not-finite",
        )
    if np.issubdtype(volume.array.dtype, np.floating):
        bad = volume.array.size - int(np.isfinite(volume.array).sum())
        if bad:
            raise InputError(
                f"{what} holds {counted(bad, 'voxel that is', 'voxels that are')} NaN or infinite.",
                f"Replace them by {BACKGROUND}.",
                code="not-finite",
            )
    if volume.array.min() == volume.array.max():
        raise InputError(
            f"{what} is constant (every voxel is {volume.array.min()}), so that there is nothing to align.",
            "Choose another image.",
            code="values",
        )


@system_refusals()
def read_labels(path: str | PathLike, grid: Grid, role: str = "fixed") -> np.ndarray:
    """Reads a label map that lies on `grid` (its image's grid): whole numbers, int32, (z, y, x).

    Raises InputError when the grids differ, a value is not a whole number, or the values are those of an
    image.
    """
    volume = _read(Path(path), f"{role} label map")
    labels = _labels_on(volume, grid)
    if (count := len(np.unique(labels))) > MOST_LABELS:
        raise InputError(
            f"The {role} label map '{path}' looks like an image: it has {count} different values.",
            "Give one that numbers structures.",
            code="values",
        )
    return labels


@system_refusals()
def read_mask(path: str | PathLike, grid: Grid, role: str = "fixed") -> np.ndarray:
    """Reads a mask that lies on `grid` (its image's grid): True where the file is not zero, bool (z, y, x).

    Raises InputError when the grids differ, a value is not a whole number, no voxel is inside, or the values
    are those of an image.
    """
    volume = _read(Path(path), f"{role} mask")
    labels = _labels_on(volume, grid)
    mask = labels != 0
    values = np.unique(labels)
    if values[0] < 0 or len(values) > MOST_LABELS or (mask.all() and len(values) > 1):
        raise InputError(
            f"The {role} mask '{path}' looks like an image, not like a mask: its values are {values[0]} to "
            f"{values[-1]}, and it counts wherever it is not zero.",
            "Give one that is 0 outside the region to register.",
            code="mask",
        )
    if not mask.any():
        raise InputError(
            f"The {role} mask '{path}' is empty.",
            "Draw the region to register or leave the mask out.",
            code="mask",
        )
    return mask


def write_volume(volume: Volume, path: str | PathLike, dtype: np.dtype | type | None = None) -> None:
    """Writes the volume as .nii, .nii.gz, .nrrd or .mha by the name of `path`; whole or not at all.

    dtype: type to store, the array's own by default; an integer type rounds and clips.
    Raises InputError for another type of file or when the file cannot be written.
    """
    path = Path(path)
    if not has_suffix(path, WRITABLE):
        raise InputError(
            f"Cannot write '{path}'.", f"Name the volume {_any_of(WRITABLE)}.", code="cannot-write"
        )
    image = to_sitk(Volume(_cast(volume.array, dtype), volume.grid))
    failure = f"Cannot write '{path}'.", "Check that the disk has space and the folder can be written."
    with whole_file(path) as temporary:
        with itk_calls(*failure, code="cannot-write"):
            sitk.WriteImage(image, str(temporary), useCompression=True)
        # ITK does not report a full disk while it writes NIfTI.
        if has_suffix(path, NIFTI) and not is_complete(temporary):
            raise InputError(*failure, code="cannot-write")


def _cast(array: np.ndarray, dtype: np.dtype | type | None) -> np.ndarray:
    """The array in another type; integers are rounded and clipped instead of wrapped."""
    if dtype is None or np.dtype(dtype) == array.dtype:
        return array
    if np.issubdtype(dtype, np.integer) and array.dtype != bool:
        limits = np.iinfo(dtype)
        array = np.clip(np.rint(array), limits.min, limits.max)
    return array.astype(dtype)


def _labels_on(volume: Volume, grid: Grid) -> np.ndarray:
    if not volume.grid.matches(grid, tolerance=0.01):
        raise InputError(
            f"The {volume.name} does not lie on its image's grid ({_apart(volume.grid, grid)}).",
            "Resample it onto the image.",
            code="geometry",
        )
    return as_labels(volume.array, f"The {volume.name}")


def as_labels(array: np.ndarray, named: str) -> np.ndarray:
    """Labels as int32; raises InputError, which begins with `named`, unless they are whole numbers of that
    size.
    """
    if not (np.issubdtype(array.dtype, np.integer) or np.array_equal(array, np.rint(array))):
        raise InputError(
            f"{named} holds values that are not whole numbers.", "Threshold it first.", code="values"
        )
    limits = np.iinfo(np.int32)
    if array.size and not (array.min() >= limits.min and array.max() <= limits.max):
        raise InputError(
            f"{named} holds values that are too large for labels ({array.min():g} to {array.max():g}).",
            "Number its structures from 1 on.",
            code="values",
        )
    return array.astype(np.int32)


def _read(path: Path, what: str) -> Volume:
    """Any supported file or folder as a Volume whose geometry ITK and the file agree on."""
    if not path.exists():
        raise InputError(f"The {what} '{path}' does not exist.", "Check the path.", code="file-missing")
    named = f"The {what} '{path}'"
    if path.is_file() and has_suffix(path, READABLE):
        refuse_mistaken(path, named)
        # What stands for nothing is 0 in a mask, the background in an image.
        fill = "0" if what.endswith(("mask", "label map")) else BACKGROUND
        image, told = read_image(path, what, named, fill)
    elif is_dicom(path):
        array, grid, notes, acquisition = load_dicom().read_dicom(path, what)
        return Volume(array, grid, what, notes, acquisition)
    else:
        if foreign := foreign_kind(path):
            raise InputError(
                f"{named} is {foreign}, which is not read here.",
                f"Convert it to {_any_of(READABLE)}.",
                code="file-kind",
            )
        raise unknown(path, named, f"{_any_of(READABLE)} or DICOM")
    return replace(from_sitk(image, what), notes=told)


def is_dicom(path: Path) -> bool:
    return path.is_dir() or load_dicom().is_dicom_file(path)


def load_dicom() -> ModuleType:
    """The reader of DICOM, loaded when it is needed: other files are read without pydicom."""
    try:
        from GLIDERegLib.files.dicom import read
    except ImportError as error:
        raise DependencyError(
            f"DICOM cannot be read without the Python package pydicom ({error})", "Install pydicom."
        ) from error
    return read


def scan_identity(path: str | PathLike, role: str = "fixed") -> tuple[Patient, str]:
    """Whose scan a file or folder is, and its study's date (YYYY-MM-DD); empty where it is not DICOM.

    Raises InputError for a DICOM series that cannot be read.
    """
    path = Path(path)
    if not path.exists() or has_suffix(path, READABLE) or not is_dicom(path):
        return Patient(), ""
    return load_dicom().read_identity(path, f"{role} image")


def dicom_info(path: str | PathLike, role: str = "fixed") -> DicomInfo | None:
    """What the tags say of the DICOM series that `read_volume` reads there; None where it is not DICOM.

    Raises InputError as `read_volume` does for a series that is no regular stack; no pixels are read.
    """
    path = Path(path)
    if not path.exists() or has_suffix(path, READABLE) or not is_dicom(path):
        return None
    return load_dicom().read_info(path, f"{role} image")


def _apart(one: Grid, other: Grid) -> str:
    """The first thing in which two grids differ, in words."""
    for what in ("size", "spacing", "origin"):
        a, b = getattr(one, what), getattr(other, what)
        if not np.allclose(a, b, rtol=1e-4, atol=0.01 * min(other.spacing) if what == "origin" else 0):
            return f"{what} {times(a)} against {times(b)}"
    return "another direction of its axes"


def has_suffix(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.name.lower().endswith(suffixes)


def _any_of(suffixes: tuple[str, ...]) -> str:
    return ", ".join(suffixes[:-1]) + " or " + suffixes[-1]
