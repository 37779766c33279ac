"""A nodule that a reader outlined: its figures are those of the outline, wherever the scan's axes point."""

import numpy as np
import pytest

from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.evaluation.growth import growth
from GLIDERegLib.evaluation.measuring import measure_outline

RADII = np.array([6.0, 4.0, 5.0])
CENTER = np.array([10.0, -20.0, 30.0])
# Columns are the directions of the index axes: upright, and sagittal slices counted from the feet up.
AXES = {"axial": np.eye(3), "sagittal": np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]], float)}


def ellipsoid(axes):
    """A scan of -850 HU with an ellipsoid of 40 HU, and the ellipsoid as a box of the scan's own grid."""
    spacing = np.array([0.8, 0.8, 1.0])
    size = np.array([40, 40, 36])
    origin = CENTER - axes @ (spacing * (size - 1) / 2)
    grid = Grid(tuple(size.tolist()), tuple(spacing.tolist()), tuple(origin.tolist()), tuple(axes.ravel()))
    inside = (((grid.points() - CENTER) / RADII) ** 2).sum(axis=-1) <= 1
    scan = Volume(np.where(inside, 40, -850).astype(np.int16), grid)
    first = np.array([9, 7, 8])  # x, y, z
    box = Grid(tuple((size - first).tolist()), grid.spacing, tuple(grid.to_physical(first)), grid.direction)
    return scan, Volume(inside[first[2] :, first[1] :, first[0] :].astype(np.uint8), box)


@pytest.mark.parametrize("name", AXES)
def test_an_outline_has_the_volume_of_its_voxels_and_axial_diameters(name):
    scan, mask = ellipsoid(AXES[name])
    found = measure_outline(scan, mask, CENTER)
    assert found.status == "measured" and found.mean_hu == 40
    assert found.volume_mm3 == pytest.approx(4 / 3 * np.pi * RADII.prod(), rel=0.04)
    # The axial plane is that of x and y; half a voxel at either end.
    assert (found.long_mm, found.short_mm) == (pytest.approx(12, abs=1.0), pytest.approx(8, abs=1.0))
    assert np.allclose(found.center_mm, CENTER, atol=0.1)


def test_growth_of_outlines_has_the_interval_between_readers():
    scan, mask = ellipsoid(AXES["axial"])
    size = measure_outline(scan, mask, CENTER).size()
    assert not size.measured and "±25 %" in growth(size, size).words


@pytest.mark.parametrize("voxels", [0, 1])
def test_outlines_of_hardly_anything_are_no_error(voxels):
    scan, mask = ellipsoid(AXES["axial"])
    array = np.zeros_like(mask.array)
    array[10, 10, 10 : 10 + voxels] = 1
    found = measure_outline(scan, Volume(array, mask.grid), CENTER)
    assert found.status == ("measured" if voxels else "could not be told: its outline is empty")
    assert voxels == 0 or found.volume_mm3 == pytest.approx(0.64)
