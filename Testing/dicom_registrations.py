"""Pairs of DICOM series with a known map between them, and what must hold of the object registering them."""

from __future__ import annotations

import json

import numpy as np
import pydicom
import SimpleITK as sitk
from dicom_objects import UID, a_series, hu, places

from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.evaluation.evaluate import warp
from GLIDERegLib.files.dicom.registration_object import read_registration
from GLIDERegLib.files.transforms import write_transform
from GLIDERegLib.files.volumes import write_volume
from GLIDERegLib.transforms.points import map_points

TWENTY = np.radians(20)
TURNED = tuple(
    np.array([[np.cos(TWENTY), -np.sin(TWENTY), 0], [np.sin(TWENTY), np.cos(TWENTY), 0], [0, 0, 1.0]]).ravel()
)
CLOSE_MM = 0.01
PEOPLE = {"PatientName": "Doe^Jane", "PatientID": "7", "PatientBirthDate": "19500101", "PatientSex": "F"}
STUDY = {"StudyTime": "101112", "StudyID": "1", "AccessionNumber": "A1", "ReferringPhysicianName": "Roe^R"}
# Attributes of type 1 of the object itself and of its item (PS3.3 A.39.2, C.20.3, C.7.5.2, table 10-12).
TYPE_1 = (
    "SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID Modality FrameOfReferenceUID ContentDate "
    "ContentTime InstanceNumber ContentLabel Manufacturer ManufacturerModelName DeviceSerialNumber "
    "SoftwareVersions DeformableRegistrationSequence"
).split()
ITEM_TYPE_1 = ["SourceFrameOfReferenceUID", "ReferencedImageSequence", "DeformableRegistrationGridSequence"]


def mapped(points):
    """The analytic map: a shift, a turn and slow waves whose second derivative leaves 0.005 mm to a grid."""
    x, y, z = (np.asarray(points, float) - (0, 20, -280)).T
    turn, k = 0.05, 2 * np.pi / 250
    u = np.stack([4 + turn * y + 2 * np.sin(k * z), -3 - turn * x + 2 * np.sin(k * x), 6 + np.cos(k * y)], -1)
    return points + u


def analytic(grid):
    """The analytic map as a displacement field on a grid."""
    image = sitk.GetImageFromArray(
        mapped(grid.points().reshape(-1, 3)).reshape(*grid.shape, 3) - grid.points()
    )
    image = sitk.Cast(image, sitk.sitkVectorFloat64)
    image.SetSpacing(grid.spacing), image.SetOrigin(grid.origin), image.SetDirection(grid.direction)
    return sitk.DisplacementFieldTransform(image)


def a_pair(folder, moving=None, **fixed):
    """Two series of one patient in studies and frames of reference of their own."""
    cosines = tuple(np.reshape(TURNED, (3, 3))[:, :2].T.ravel())
    sides = {
        "fixed": {"StudyInstanceUID": UID + ".3", "SeriesInstanceUID": UID + ".3.1", **fixed},
        "moving": {"StudyInstanceUID": UID + ".4", "SeriesInstanceUID": UID + ".4.1", **(moving or {})},
    }
    scans = []
    for number, (role, tags) in enumerate(sides.items()):
        frame = {"FrameOfReferenceUID": f"{UID}.9.{number}", "StudyDate": f"2026010{number + 1}"}
        tags = {**PEOPLE, **STUDY, **frame, **tags}
        positions = places(30, cosines if role == "fixed" else (1, 0, 0, 0, 1, 0), origin=(-30, -10, -320))
        scans.append(a_series(folder / role, hu(30, 40, 60), positions, cosines if role == "fixed" else
                              (1, 0, 0, 0, 1, 0), **tags))  # fmt: skip
    return scans


TURNED_GRID = Grid((34, 28, 32), (2.0, 2.5, 3.0), (-40.0, -20.0, -325.0), TURNED)


def points_of(scan):
    """500 places anywhere in a scan, LPS mm."""
    share = np.random.default_rng(1).random((500, 3))
    return scan.grid.to_physical(share * (np.asarray(scan.grid.size) - 1))


def check(path, scans, points):
    """All that must hold of the object, without another program; each mutation below fails one of these."""
    data = pydicom.dcmread(path)
    fixed, moving = scans
    lacking = [name for name in TYPE_1 if not data.get(name)]
    assert lacking == [], "type 1"
    item = data.DeformableRegistrationSequence[0]
    assert [name for name in ITEM_TYPE_1 if not item.get(name)] == [], "type 1 of the item"
    assert len(data.ContentLabel) <= 16 and data.ContentLabel.isupper()
    uids = [data.SOPInstanceUID, data.SeriesInstanceUID, data.StudyInstanceUID, data.FrameOfReferenceUID]
    uids += [item.SourceFrameOfReferenceUID, fixed.info.series_uid, moving.info.series_uid]
    assert len({*uids}) == len(uids), "UIDs"
    assert (data.FrameOfReferenceUID, item.SourceFrameOfReferenceUID) == tuple(
        scan.info.frame_of_reference_uid for scan in scans
    )
    source = [image.ReferencedSOPInstanceUID for image in item.ReferencedImageSequence]
    assert sorted(source) == sorted(moving.info.sop_instance_uids), "references"
    own = data.ReferencedSeriesSequence[0]
    listed = [image.ReferencedSOPInstanceUID for image in own.ReferencedInstanceSequence]
    assert (own.SeriesInstanceUID, len(data.ReferencedSeriesSequence)) == (fixed.info.series_uid, 1)
    assert sorted(listed) == sorted(fixed.info.sop_instance_uids), "references"
    other = data.StudiesContainingOtherReferencedInstancesSequence[0]
    assert other.StudyInstanceUID == moving.info.study_uid
    assert other.ReferencedSeriesSequence[0].SeriesInstanceUID == moving.info.series_uid
    grid = item.DeformableRegistrationGridSequence[0]
    assert len(grid.VectorGridData) == 12 * np.prod(grid.GridDimensions), "length of the vectors"
    for sequence in (item.PreDeformationMatrixRegistrationSequence,
                     item.PostDeformationMatrixRegistrationSequence):  # fmt: skip
        assert list(sequence[0].FrameOfReferenceTransformationMatrix) == list(np.eye(4).ravel())
    found = read_registration(path, fixed.info, moving.info)
    apart = np.linalg.norm(map_points(found.transform, points) - mapped(points), axis=1)
    assert apart.max() <= CLOSE_MM, "points"
    return found


def results_of(folder, fixed, moving, transform):
    """What `register` leaves of a moving volume and a fixed grid, as far as it tells the scans."""
    folder.mkdir()
    images = {
        role: {"size": grid.size, "spacing_mm": grid.spacing}
        for role, grid in (("fixed", fixed), ("moving", moving.grid))
    }
    (folder / "report.json").write_text(json.dumps({"images": images}))
    write_volume(warp(moving, transform, fixed, -1000), folder / "warped.nii.gz")
    write_transform(transform, folder / "transform.h5")
    return folder
