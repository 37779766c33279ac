"""Segmentations carried by the command line."""

import json

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.files.segmentations import Segment, Segmentation, read_segmentation, write_segmentation
from GLIDERegLib.files.volumes import write_volume

GRID = Grid((30, 30, 30), (2.0, 2.0, 2.0))


def test_a_segmentation_is_carried_compared_and_doubted(glidereg, tmp_path):
    labels = np.zeros(GRID.shape, np.int32)
    labels[8:20, 8:20, 8:20], labels[25, 25, 25] = 1, 2
    source = Segmentation((labels,), GRID, (Segment("Liver", 1), Segment("Nodule", 2)))
    write_segmentation(source, tmp_path / "moving.seg.nrrd")
    moved = Segmentation((np.roll(labels, -2, axis=2),), GRID, source.segments[:1])
    write_segmentation(moved, tmp_path / "other.seg.nrrd")
    write_volume(
        Volume(np.zeros((15, 30, 30), np.int16), Grid((30, 30, 15), (2.0,) * 3)), tmp_path / "f.nrrd"
    )
    sitk.WriteTransform(sitk.TranslationTransform(3, (4.0, 0.0, 0.0)), str(tmp_path / "t.tfm"))
    common = ["propagate-labels", tmp_path / "moving.seg.nrrd", "--transform", tmp_path / "t.tfm",
              "--direction", "moving-to-fixed", "-o", tmp_path / "out.seg.nrrd"]  # fmt: skip
    status, _, err = glidereg(*common)
    assert status == 2 and "grid of the fixed image is not known" in err
    status, out, err = glidereg(*common, "--fixed", tmp_path / "f.nrrd", "--report", tmp_path / "r.json")
    assert (status, err) == (0, "")
    found = read_segmentation(tmp_path / "out.seg.nrrd")
    np.testing.assert_array_equal(found.layers[0][:15], np.roll(labels, -2, axis=2)[:15])
    assert "1 segment is lost" in out and "Nodule" in out
    assert "% of 'Liver' lies outside" in out
    assert "uncertain surface: Liver" in out
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["reviewed"] is False and report["segments"][0]["before_ml"] == 12**3 * 8 / 1000
    write_volume(Volume(np.zeros(GRID.shape, np.int16), GRID), tmp_path / "g.nrrd")
    status, out, err = glidereg(*common, "--fixed", tmp_path / "g.nrrd", "--compare",
                                tmp_path / "other.seg.nrrd", "--report", tmp_path / "r.json")  # fmt: skip
    assert (status, err) == (0, "")
    compared = json.loads((tmp_path / "r.json").read_text())["compared"]
    assert compared["Liver"]["dice"] == 1 and compared["Liver"]["hausdorff_mm"] == 0
    assert "Not in the compared segmentation, so not compared: Nodule" in out
    painted = [*common, "--fixed", tmp_path / "g.nrrd", "--surfaces", tmp_path / "surfaces"]
    status, _, err = glidereg(*painted)
    assert status == 2 and "needs --compare" in err
    compare = ["--compare", tmp_path / "other.seg.nrrd", "--report", tmp_path / "r.json"]
    status, _, err = glidereg(*painted, *compare)
    assert (status, err) == (0, "")
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["surfaces"] == {"Liver": "surface_1.vtk"}
    assert any("Nodule" in doubt for doubt in report["doubts"])
    assert (tmp_path / "surfaces" / "surface_1.vtk").stat().st_size > 1000
