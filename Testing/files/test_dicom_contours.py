"""Segmentations as DICOM objects on the scan's own slices, read back by other means."""

import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from dicom_objects import ENHANCED_CT, group, hu, multiframe, places, save
from dicom_registrations import PEOPLE, STUDY, TURNED, a_pair
from matplotlib.path import Path as Outline

from GLIDERegLib.core.errors import DependencyError, InputError
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.files.dicom import segmentation_object
from GLIDERegLib.files.dicom.registered_scans import read_scan
from GLIDERegLib.files.dicom.segmentation_object import export_segmentation
from GLIDERegLib.files.dicom.structure_set import export_structure_set
from GLIDERegLib.files.segmentations import Segment, Segmentation


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A series turned by 20 degrees, 60 x 40 x 30 voxels."""
    return read_scan(a_pair(tmp_path_factory.mktemp("pair"))[0], "scan")


@pytest.fixture(scope="module")
def segmentation(scan):
    """A shell with an island inside its hole, a bar that touches the scan's edge, and an empty segment."""
    points = (scan.grid.points() - scan.grid.center) @ scan.grid.axes
    length = np.linalg.norm(points / (1, 1, 1.5), axis=-1)
    labels = np.zeros(scan.grid.shape, np.int32)
    labels[(length < 16) & (length > 9)] = 1
    labels[length < 3] = 1
    labels[:, :6, :] = 4
    segments = Segment("Shell", 1, 0, {"Color": "1 0.5 0"}), Segment("Bar", 4), Segment("Empty", 9)
    return Segmentation((labels,), scan.grid, segments)


def validated(path, kind):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy of dicom3tools is not installed (make validators)")
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True)
    lines = (done.stdout + done.stderr).splitlines()
    assert kind in lines
    assert [line for line in lines if line.startswith("Error")] == []


@pytest.fixture(scope="module")
def structure_set(segmentation, scan, tmp_path_factory):
    path = tmp_path_factory.mktemp("object") / "contours.dcm"
    export_structure_set(segmentation, scan, path)
    return path


def test_contours_on_the_original_slices_enclose_the_same_voxels(structure_set, segmentation, scan):
    data = pydicom.dcmread(structure_set)
    assert [roi.ROIName for roi in data.StructureSetROISequence] == ["Shell", "Bar", "Empty"]
    assert data.ApprovalStatus == "UNAPPROVED" and data.StudyInstanceUID == scan.info.study_uid
    assert list(data.ROIContourSequence[0].ROIDisplayColor) == [255, 128, 0]
    j, i = np.indices(scan.grid.shape[1:])
    centres = np.column_stack([i.ravel(), j.ravel()])
    for item, segment in zip(data.ROIContourSequence, segmentation.segments, strict=True):
        drawn = np.zeros(scan.grid.shape, bool)
        for contour in item.get("ContourSequence", ()):
            index = scan.grid.to_index(np.reshape([float(v) for v in contour.ContourData], (-1, 3)))
            (k,) = set(np.rint(index[:, 2]).astype(int))
            assert np.abs(index[:, 2] - k).max() < 1e-3
            assert contour.ContourImageSequence[0].ReferencedSOPInstanceUID == scan.slices[k].sop_instance
            assert contour.NumberOfContourPoints == len(index)
            # Each contour turns a pixel inside out, as an even-odd rule does.
            drawn[k] ^= Outline(index[:, :2]).contains_points(centres).reshape(drawn.shape[1:])
        mask = segmentation.mask(segment)
        overlap = 2 * (drawn & mask).sum() / max(1, drawn.sum() + mask.sum())
        assert overlap >= 0.99 or not mask.any() and not drawn.any()


def test_the_structure_set_is_valid(structure_set):
    validated(structure_set, "RTStructureSet")


def test_a_dicom_segmentation_is_equal_bit_by_bit(segmentation, scan, tmp_path):
    pytest.importorskip("highdicom", reason="highdicom is not installed (make validators)")
    path = tmp_path / "segmentation.dcm"
    export_segmentation(segmentation, scan, path)
    data = pydicom.dcmread(path)
    assert [item.SegmentLabel for item in data.SegmentSequence] == ["Shell", "Bar", "Empty"]
    assert data.FrameOfReferenceUID == scan.info.frame_of_reference_uid
    found = np.zeros((3, *scan.grid.shape), bool)
    for frame, where in zip(data.pixel_array, data.PerFrameFunctionalGroupsSequence, strict=True):
        position = [float(v) for v in where.PlanePositionSequence[0].ImagePositionPatient]
        number = where.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        i, j, k = scan.grid.to_index(np.array(position))
        assert max(abs(i), abs(j), abs(k - round(k))) < 1e-3
        found[number - 1, round(k)] = frame
    for plane, segment in zip(found, segmentation.segments, strict=True):
        np.testing.assert_array_equal(plane, segmentation.mask(segment))
    validated(path, "Segmentation")


def test_a_segmentation_on_another_grid_or_without_the_package_is_refused(
    segmentation, scan, tmp_path, monkeypatch
):
    other = Segmentation((np.ones((3, 4, 5), np.int32),), Grid((5, 4, 3)), (Segment("x", 1),))
    with pytest.raises(InputError, match="does not lie on the DICOM scan's grid"):
        export_structure_set(other, scan, tmp_path / "x.dcm")
    monkeypatch.setitem(__import__("sys").modules, "highdicom", None)
    with pytest.raises(DependencyError, match="without the Python package highdicom"):
        segmentation_object.export_segmentation(segmentation, scan, tmp_path / "x.dcm")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module", params=["one object", "two objects, shuffled", "beside scout frames"])
def frames(request, tmp_path_factory):
    """The scan as frames of multi-frame objects, and for each of its slices the object and the frame."""
    folder, cosines = tmp_path_factory.mktemp("frames"), tuple(np.reshape(TURNED, (3, 3))[:, :2].T.ravel())
    values, positions = hu(30, 40, 60), places(30, cosines, origin=(-30, -10, -320))
    order = np.arange(30)
    if request.param != "one object":
        order = np.random.default_rng(0).permutation(30)
    parts = np.split(order, [17]) if request.param == "two objects, shuffled" else [order]
    where = {}
    for number, part in enumerate(parts):
        planes, at, scouts = values[part], positions[part], 0
        if request.param == "beside scout frames":
            planes, at, scouts = np.concatenate([values[:1], planes]), np.concatenate([positions[:1], at]), 1
        tags = {**PEOPLE, **STUDY, "PatientID": "7", "StudyDate": "20260101"}
        data = multiframe(planes, at, cosines, **tags)
        for _ in range(scouts):
            steep = group(ImageOrientationPatient=["0", "1", "0", "0", "0", "-1"])
            data.PerFrameFunctionalGroupsSequence[0].PlaneOrientationSequence = steep
        save(data, folder / f"{number}.dcm")
        for frame, k in enumerate(part, 1 + scouts):
            where[int(k)] = (data.SOPInstanceUID, frame)
    return read_scan(folder, "scan"), where


def test_contours_of_a_multi_frame_scan_refer_to_the_frame_that_shows_their_slice(
    frames, segmentation, structure_set, tmp_path
):
    scan, where = frames
    export_structure_set(on(segmentation, scan), scan, tmp_path / "contours.dcm")
    data, single = (pydicom.dcmread(path) for path in (tmp_path / "contours.dcm", structure_set))
    for item, alike in zip(data.ROIContourSequence, single.ROIContourSequence, strict=True):
        pairs = zip(item.get("ContourSequence", ()), alike.get("ContourSequence", ()), strict=True)
        for contour, same in pairs:
            points, expected = (np.reshape(c.ContourData, (-1, 3)).astype(float) for c in (contour, same))
            np.testing.assert_allclose(points, expected, atol=1e-3)
            (image,) = contour.ContourImageSequence
            k = round(float(scan.grid.to_index(points[0])[2]))
            assert image.ReferencedSOPClassUID == ENHANCED_CT
            assert (image.ReferencedSOPInstanceUID, image.ReferencedFrameNumber) == where[k]
    check_objects(data.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
                  .RTReferencedSeriesSequence[0].ContourImageSequence, where)  # fmt: skip
    validated(tmp_path / "contours.dcm", "RTStructureSet")


def test_a_segmentation_of_a_multi_frame_scan_is_equal_bit_by_bit_and_refers_to_frames(
    frames, segmentation, tmp_path
):
    highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed (make validators)")
    scan, where = frames
    export_segmentation(on(segmentation, scan), scan, tmp_path / "seg.dcm")
    data = highdicom.seg.segread(tmp_path / "seg.dcm")
    check_objects(data.SourceImageSequence, where)
    check_objects(data.ReferencedSeriesSequence[0].ReferencedInstanceSequence, where)
    found = np.zeros((3, *scan.grid.shape), bool)
    for plane, group_ in zip(data.pixel_array, data.PerFrameFunctionalGroupsSequence, strict=True):
        at = scan.grid.to_index(np.array(group_.PlanePositionSequence[0].ImagePositionPatient, float))
        np.testing.assert_allclose(at, (0, 0, k := round(at[2])), atol=1e-3)
        (image,) = group_.DerivationImageSequence[0].SourceImageSequence
        assert (image.ReferencedSOPInstanceUID, image.ReferencedFrameNumber) == where[k]
        found[group_.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1, k] = plane
    for plane, segment in zip(found, segmentation.segments, strict=True):
        np.testing.assert_array_equal(plane, segmentation.mask(segment))
    validated(tmp_path / "seg.dcm", "Segmentation")


def on(segmentation, scan):
    """The segmentation on the same grid as another scan has it, whose origin is rounded."""
    return Segmentation(segmentation.layers, scan.grid, segmentation.segments)


def check_objects(images, where):
    """References to whole objects, each once; with frames where one has others, too."""
    uids = [image.ReferencedSOPInstanceUID for image in images]
    assert sorted(uids) == sorted({uid for uid, _ in where.values()})
    for image in images:
        used = sorted(frame for uid, frame in where.values() if uid == image.ReferencedSOPInstanceUID)
        assert image.get("ReferencedFrameNumber") in ((None,) if used[0] == 1 else (used,))
