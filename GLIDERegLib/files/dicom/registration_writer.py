"""A registration as a DICOM Deformable Spatial Registration (PS3.3 A.39.2), a new series in the fixed study.

Its own frame of reference is the fixed scan's and the source the moving scan's; all is folded into one grid
of vectors between identity matrices, so that a reader needs no more than to look a vector up.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset

from GLIDERegLib.core.errors import InputError, system_refusals
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.files.dicom.new_object import new_object, references, series_item, write_object
from GLIDERegLib.files.dicom.registered_scans import ScanSeries, check_pair
from GLIDERegLib.files.dicom.registration_items import DEFORMABLE
from GLIDERegLib.files.dicom.registration_object import is_of, read_registration
from GLIDERegLib.files.dicom.vector_grid import decimals, grid_for, grid_item, sampled
from GLIDERegLib.files.outputs import whole_file
from GLIDERegLib.transforms.points import field_grid, map_points

# Points of the fixed scan at which what was written is compared with what was to be written.
CHECKED = 2000


@dataclass(frozen=True)
class Written:
    """What was written: its grid, the scans, and how far its map is from the transform, mm, at worst."""

    grid: Grid
    fixed: ScanSeries
    moving: ScanSeries
    largest_difference_mm: float


@system_refusals()
def export_registration(
    transform: sitk.Transform,
    fixed: ScanSeries,
    moving: ScanSeries,
    path: str | os.PathLike,
    keep_grid: bool = False,
) -> Written:
    """Writes the object, reads it back and compares it with the transform (fixed to moving points, LPS mm).

    The grid runs along the patient's axes, every 2 to 3 mm (see `vector_grid.grid_for`), or is with keep_grid
    the displacement field's own, turned or not.
    Raises InputError for scans that do not go together, for a transform whose grid cannot be kept, and where
    the file cannot be written.
    """
    check_pair(fixed, moving)
    own = field_grid(transform)
    if keep_grid:
        if own is None or np.linalg.det(own.upright().axes) < 0:
            raise InputError(
                "The transform is no displacement field, and has no grid of its own to keep",
                "Have a grid chosen.",
                code="field-kind",
            )
        grid = own.upright()
    else:
        grid = grid_for(fixed.grid, own)
    data = registration_dataset(sampled(transform, grid), grid, fixed, moving)
    with whole_file(path) as temporary:
        write_object(data, temporary)
        back = read_registration(temporary, fixed.info, moving.info)
        if not (is_of(back.fixed, fixed.info) and is_of(back.moving, moving.info)):
            raise AssertionError("the object refers to the scans it was made of")
        points = _points_in(fixed.grid)
        apart = map_points(back.transform, points) - map_points(transform, points)
    return Written(grid, fixed, moving, float(np.linalg.norm(apart, axis=1).max()))


def registration_dataset(vectors: np.ndarray, grid: Grid, fixed: ScanSeries, moving: ScanSeries) -> Dataset:
    """The object: vectors (z, y, x, 3), mm, at the nodes of a right-handed grid, fixed to moving, LPS."""
    data = new_object(DEFORMABLE, fixed, "REG", "GLIDE-Reg deformable registration")
    # No one is asked for a laterality in the chest, as of a lung.
    if data.BodyPartExamined in ("", None, "LUNG"):
        data.BodyPartExamined = "CHEST"
    data.FrameOfReferenceUID = fixed.info.frame_of_reference_uid
    data.DeviceSerialNumber = "none"
    data.ContentDate, data.ContentTime = data.SeriesDate, data.SeriesTime
    data.InstanceNumber, data.ContentLabel, data.ContentCreatorName = 1, "GLIDEREG", ""
    data.ContentDescription = "Fixed (this study) to moving (source frame of reference)"

    item = Dataset()
    item.SourceFrameOfReferenceUID = moving.info.frame_of_reference_uid
    item.ReferencedImageSequence = references(moving)
    item.RegistrationTypeCodeSequence = [Dataset()]
    code = item.RegistrationTypeCodeSequence[0]
    code.CodeValue, code.CodingSchemeDesignator = "125024", "DCM"
    code.CodeMeaning = "Image Content-based Alignment"
    item.DeformableRegistrationGridSequence = [grid_item(vectors, grid)]
    item.PreDeformationMatrixRegistrationSequence = [_identity()]
    item.PostDeformationMatrixRegistrationSequence = [_identity()]
    data.DeformableRegistrationSequence = [item]

    data.ReferencedSeriesSequence = [series_item(fixed)]
    if moving.info.study_uid == fixed.info.study_uid:
        data.ReferencedSeriesSequence.append(series_item(moving))
    else:
        study = Dataset()
        study.StudyInstanceUID = moving.info.study_uid
        study.ReferencedSeriesSequence = [series_item(moving)]
        data.StudiesContainingOtherReferencedInstancesSequence = [study]
    return data


def _identity() -> Dataset:
    item = Dataset()
    item.FrameOfReferenceTransformationMatrixType = "RIGID"
    item.FrameOfReferenceTransformationMatrix = decimals(np.eye(4).ravel())
    return item


def _points_in(grid: Grid) -> np.ndarray:
    """Places anywhere in a scan, between the centres of its outer voxels, (N, 3) LPS mm."""
    share = np.random.default_rng(0).random((CHECKED, 3))
    return grid.to_physical(share * (np.asarray(grid.size) - 1))
