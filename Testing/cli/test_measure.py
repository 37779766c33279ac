"""`glidereg measure`: a table of nodules, whole or not at all."""

import csv
import shutil

import numpy as np
import pytest

from GLIDERegLib.core.geometry import Volume
from GLIDERegLib.evaluation.nodule_phantom import Scene, scan_of
from GLIDERegLib.files.points import PointSet, read_points, write_points
from GLIDERegLib.files.segmentations import read_segmentation
from GLIDERegLib.files.volumes import write_volume

COLUMNS = "label,x,y,z,volume_mm3,volume_low_mm3,volume_high_mm3,long_mm,short_mm,mean_mm,status".split(",")


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A scan of one nodule of 8 mm, a point in it and one in the lung beside it; folder and truth."""
    folder = tmp_path_factory.mktemp("scan")
    truth = scan_of(Scene(8, spacing=(0.8, 0.8, 1.25), seed=103))
    write_volume(truth.volume, folder / "scan.nii.gz")
    points = np.stack([truth.center_mm, truth.center_mm + (0, 0, 13)])
    write_points(PointSet(["nodule", "lung"], points), folder / "points.csv")
    return folder, truth


def rows(path):
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines))


def test_the_table_holds_sizes_with_intervals_and_says_what_could_not_be_told(glidereg, scan, tmp_path):
    folder, truth = scan
    out = tmp_path / "sizes.csv"
    status, output, errors = glidereg(
        "measure", folder / "scan.nii.gz", "--points", folder / "points.csv", "-o", out
    )
    assert (status, errors) == (0, "") and "2 points, 1 measured" in output
    nodule, lung = rows(out)
    assert list(nodule)[: len(COLUMNS)] == COLUMNS
    assert float(nodule["volume_mm3"]) == pytest.approx(truth.volume_mm3, rel=0.25)
    assert float(nodule["volume_low_mm3"]) < float(nodule["volume_mm3"]) < float(nodule["volume_high_mm3"])
    mean = (float(nodule["long_mm"]) + float(nodule["short_mm"])) / 2
    assert float(nodule["mean_mm"]) == pytest.approx(mean, abs=0.06)
    assert (nodule["status"], nodule["attenuation"]) == ("measured", "solid")
    assert lung["status"].startswith("could not be told: ") and lung["volume_mm3"] == ""
    # The table is a points file in LPS, too.
    assert np.allclose(read_points(out).points[0], truth.center_mm, atol=1e-5)


def test_points_in_ras_are_measured_where_they_are(glidereg, scan, tmp_path):
    folder, truth = scan
    x, y, z = truth.center_mm * (-1, -1, 1)
    (tmp_path / "p.csv").write_text(f"# CoordinateSystem = RAS\nlabel,x,y,z\nn,{x},{y},{z}\n")
    out = tmp_path / "sizes.csv"
    answer = glidereg("measure", folder / "scan.nii.gz", "--points", tmp_path / "p.csv", "-o", out, "--quiet")
    assert answer == (0, "", "") and rows(out)[0]["status"] == "measured"


def test_two_points_in_one_nodule_are_said_to_be_one(glidereg, scan, tmp_path):
    folder, truth = scan
    clicks = truth.center_mm + np.array([(0, 0, 0), (0, 0, 13), (1.5, 0, 0)])
    write_points(PointSet(["n", "lung", "n"], clicks), tmp_path / "p.csv")
    call = ("measure", folder / "scan.nii.gz", "--points", tmp_path / "p.csv", "-o", tmp_path / "out.csv")
    status, output, _ = glidereg(*call)
    assert status == 0 and "'n (point 3)' lies in the same nodule as 'n (point 1)'" in output
    assert [row["same_nodule_as"] for row in rows(tmp_path / "out.csv")] == ["", "", "n (point 1)"]


def test_points_of_another_coordinate_system_are_told_by_where_they_would_fit(glidereg, scan, tmp_path):
    folder, truth = scan
    x, y, z = truth.volume.grid.to_index(truth.center_mm)
    (tmp_path / "p.csv").write_text(f"label,x,y,z\nn,{x},{y},{z}\n")
    call = ("measure", folder / "scan.nii.gz", "--points", tmp_path / "p.csv", "-o", tmp_path / "out.csv")
    status, output, _ = glidereg(*call)
    assert status == 0 and "inside it where they are meant in voxels" in output


@pytest.mark.parametrize("fault", ["not in HU", "warped", "no points", "another ending", "its own input"])
def test_what_cannot_be_measured_leaves_no_table(glidereg, scan, tmp_path, fault):
    folder, truth = scan
    image, points, out = folder / "scan.nii.gz", folder / "points.csv", tmp_path / "sizes.csv"
    if fault == "not in HU":
        image = tmp_path / "shifted.nii.gz"
        write_volume(Volume(truth.volume.array + 1024, truth.volume.grid), image)
    elif fault == "warped":
        image = tmp_path / "warped.nii.gz"
        shutil.copy(folder / "scan.nii.gz", image)
        (tmp_path / "report.json").write_text("{}")
    elif fault == "no points":
        points = tmp_path / "points.csv"
        points.write_text("label,x,y,z\n")
    elif fault == "another ending":
        out = tmp_path / "sizes.xlsx"
    else:
        points = shutil.copy(points, tmp_path / "points.csv")
        out = points
    before = sorted((path.name, path.read_bytes()) for path in tmp_path.iterdir())
    status, output, errors = glidereg("measure", image, "--points", points, "-o", out)
    assert (status, output) == (2, "") and errors.count("\n") == 1
    assert sorted((path.name, path.read_bytes()) for path in tmp_path.iterdir()) == before


def test_outlines_lie_in_the_nodules_and_steps_make_them_larger(glidereg, scan, tmp_path):
    folder, truth = scan
    points = tmp_path / "points.csv"
    # Two clicks into one nodule: outlines that overlap.
    clicks = np.stack([truth.center_mm, truth.center_mm + (1, 0, 0), truth.center_mm + (0, 0, 13)])
    write_points(PointSet(["a", "a again", "lung"], clicks), points)
    volumes = []
    for step in (0, 2):
        out, masks = tmp_path / f"{step}.csv", tmp_path / f"{step}.seg.nrrd"
        call = ("measure", folder / "scan.nii.gz", "--points", points, "-o", out, "--masks", masks)
        assert glidereg(*call, "--step", step, "--quiet") == (0, "", "")
        found = read_segmentation(masks)
        assert [segment.name for segment in found.segments] == ["1. a", "2. a again"]
        for (_, mask), row in zip(found.masks(), rows(out), strict=False):
            places = found.grid.to_physical(np.argwhere(mask)[:, ::-1])
            assert np.linalg.norm(places.mean(axis=0) - truth.center_mm) < 0.8
            voxels = mask.sum() * np.prod(found.grid.spacing)
            assert voxels == pytest.approx(float(row["volume_mm3"]), rel=0.3)
        volumes.append(float(rows(out)[0]["volume_mm3"]))
    assert volumes[1] > 1.2 * volumes[0]
