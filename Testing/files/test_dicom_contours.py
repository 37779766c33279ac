"""Segmentations as DICOM objects on the scan's own slices, read back by other means."""

import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from dicom_registrations import a_pair
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
            assert contour.ContourImageSequence[0].ReferencedSOPInstanceUID == scan.references[k][1]
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
