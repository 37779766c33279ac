"""Lungs found by the command line."""

from __future__ import annotations

import numpy as np
import pytest

from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.files.segmentations import read_segmentation
from GLIDERegLib.files.volumes import write_volume

GRID = Grid((60, 44, 40), (5.0, 5.0, 6.0))


@pytest.fixture
def chest():
    """Two lungs of 0.75 l in soft tissue; bool (z, y, x) of the right and the left one."""
    z, y, x = np.indices(GRID.shape) * np.array([6.0, 5.0, 5.0]).reshape(3, 1, 1, 1)
    body = ((x - 147.5) / 130) ** 2 + ((y - 107.5) / 90) ** 2 < 1
    lungs = [((x - c) / 40) ** 2 + ((y - 107.5) / 50) ** 2 + ((z - 117) / 90) ** 2 < 1 for c in (90, 205)]
    array = np.where(body, 40, -1000)
    array[lungs[0] | lungs[1]] = -820
    return Volume(array.astype(np.int16), GRID), lungs


def test_both_lungs_are_found_on_the_scans_own_grid(glidereg, tmp_path, chest):
    volume, lungs = chest
    write_volume(volume, tmp_path / "scan.nii.gz")
    status, said, error = glidereg("find-lungs", tmp_path / "scan.nii.gz", "-o", tmp_path / "out")
    assert (status, error) == (0, "") and said == "scan_lungs.seg.nrrd: right lung, left lung\n"
    found = read_segmentation(tmp_path / "out" / "scan_lungs.seg.nrrd")
    assert found.grid.matches(GRID, tolerance=0.01)
    for (segment, mask), true in zip(found.masks(), lungs, strict=True):
        assert 2 * (mask & true).sum() / (mask.sum() + true.sum()) > 0.9, segment.name


@pytest.mark.parametrize(("spacing", "air"), [(2.0, -1000), (10.0, -900)], ids=["small", "block in air"])
def test_a_scan_without_lungs_is_told_and_nothing_is_left(glidereg, tmp_path, spacing, air):
    array = np.full((20, 20, 20), air, np.int16)
    array[:, 3:17, 3:17] = 40
    write_volume(Volume(array, Grid((20, 20, 20), (spacing,) * 3)), tmp_path / "scan.nrrd")
    status, _, error = glidereg("find-lungs", tmp_path / "scan.nrrd", "-o", tmp_path / "out")
    assert status == 2 and "No lung was found in 'scan.nrrd'" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
