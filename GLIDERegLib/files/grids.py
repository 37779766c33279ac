"""Where the voxels of a file are, from its header alone."""

from __future__ import annotations

from contextlib import nullcontext
from os import PathLike
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.errors import InputError, system_refusals
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.files.header_places import check_place, unit_in_mm
from GLIDERegLib.files.headers import read_header
from GLIDERegLib.files.itk import itk_calls
from GLIDERegLib.files.nifti import SUFFIXES as NIFTI
from GLIDERegLib.files.nifti2 import as_nifti1
from GLIDERegLib.files.volumes import READABLE, has_suffix, is_dicom, load_dicom


@system_refusals()
def read_grid(path: str | PathLike, role: str = "fixed") -> Grid:
    """The grid of the image that `read_volume` would read there; of a file that it would refuse, perhaps.

    Raises InputError for what has no such header.
    """
    path, what = Path(path), f"{role} image"
    if not path.exists():
        raise InputError(f"The {what} '{path}' does not exist", "Check the path.", code="file-missing")
    if not (path.is_file() and has_suffix(path, READABLE)) and is_dicom(path):
        return load_dicom().read_grid(path, what)
    named = f"The header of the {what} '{path}'"
    reader = sitk.ImageFileReader()
    nifti = has_suffix(path, NIFTI)
    with (
        as_nifti1(path, named) if nifti else nullcontext(path) as readable,
        itk_calls(f"{named} cannot be read."),
    ):
        reader.SetFileName(str(readable))
        reader.ReadImageInformation()
    size, spacing, origin = reader.GetSize(), reader.GetSpacing(), reader.GetOrigin()
    n = len(size)
    if n < 3 or 0 in spacing[:3]:
        raise InputError(f"{named} tells of no 3-D image", "Give a 3-D volume.", code="not-3d")
    unit = 1.0
    if not nifti:
        fields = read_header(path)
        check_place(path, fields, named)
        unit = unit_in_mm(path, fields, named)
    # A negative spacing turns its axis round, as when ITK reads the whole image.
    axes = np.reshape(reader.GetDirection(), (n, n))[:3, :3] * np.sign(spacing[:3])
    return Grid.of(size[:3], unit * np.abs(spacing[:3]), unit * np.array(origin[:3]), axes.ravel())
