"""Registrations and contours as DICOM objects from the command line."""

import numpy as np
import pydicom
from dicom_registrations import CLOSE_MM, TURNED_GRID, a_pair, analytic, check, mapped, points_of, results_of

from GLIDERegLib.files.dicom.registered_scans import read_scan
from GLIDERegLib.files.segmentations import Segment, Segmentation, write_segmentation
from GLIDERegLib.files.transforms import read_transform
from GLIDERegLib.files.volumes import read_volume
from GLIDERegLib.transforms.points import map_points


def test_the_command_line_writes_and_reads_back(glidereg, tmp_path):
    pair = a_pair(tmp_path)
    scans = [read_scan(path, "scan") for path in pair]
    points = points_of(scans[0])
    moving = read_volume(pair[1], "moving")
    results = results_of(tmp_path / "results", scans[0].grid, moving, analytic(TURNED_GRID))
    paths = ["--fixed-dicom", pair[0], "--moving-dicom", pair[1]]
    status, out, err = glidereg("export-dicom", results, *paths, "--keep-grid", "-o", tmp_path / "reg.dcm")
    assert (status, err) == (0, "")
    assert scans[0].info.frame_of_reference_uid in out and "Warning" not in out
    check(tmp_path / "reg.dcm", scans, points)
    status, out, err = glidereg("import-dicom", tmp_path / "reg.dcm", "-o", tmp_path / "back.h5")
    assert (status, err) == (0, "") and out.index(scans[0].info.series_uid) < out.index(
        scans[1].info.series_uid
    )
    apart = map_points(read_transform(tmp_path / "back.h5"), points) - mapped(points)
    assert np.linalg.norm(apart, axis=1).max() <= CLOSE_MM
    assert "Doe" not in out and "Jane" not in out
    swapped = ["--fixed-dicom", pair[1], "--moving-dicom", pair[0]]
    status, _, err = glidereg("export-dicom", results, *swapped, "-o", tmp_path / "wrong.dcm")
    assert status == 2 and "not the fixed scan" in err and not (tmp_path / "wrong.dcm").exists()


def test_contours_are_written_from_a_segmentation_file(glidereg, tmp_path):
    folder = a_pair(tmp_path)[0]
    grid = read_scan(folder, "scan").grid
    labels = np.zeros(grid.shape, np.int32)
    labels[5:9, 10:20, 10:30] = 3
    write_segmentation(Segmentation((labels,), grid, (Segment("Nodule", 3),)), tmp_path / "a.seg.nrrd")
    common = ["export-contours", tmp_path / "a.seg.nrrd", "--dicom", folder, "--type", "rtstruct"]
    status, out, err = glidereg(*common, "-o", tmp_path / "out.dcm")
    assert (status, err) == (0, "") and "1 segment, not approved: Nodule" in out
    data = pydicom.dcmread(tmp_path / "out.dcm")
    assert len(data.ROIContourSequence[0].ContourSequence) == 4
