"""What lies around a round field of view is told from air, and ordinary scans stay as they are."""

from __future__ import annotations

import numpy as np
import pytest

from GLIDERegLib.core.field_of_view import NOT_MEASURED_HU, without_surroundings
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.evaluation.phantom import make_phantom

RADIUS_MM = 110.0


@pytest.fixture(scope="module")
def scan():
    return make_phantom((112, 84, 40), (3.0, 3.0, 3.0), seed=7).fixed


def beyond(grid: Grid, radius_mm: float) -> np.ndarray:
    """Bool (z, y, x): outside of an upright cylinder in the middle of the grid."""
    x, y, _ = np.moveaxis(grid.points() - grid.center, -1, 0)
    return np.hypot(x, y) > radius_mm


def around(scan: Volume, outside: np.ndarray, value: float) -> Volume:
    return Volume(np.where(outside, np.int16(value), scan.array), scan.grid, "fixed image")


@pytest.mark.parametrize("value", [-1000, -1024, 0])
@pytest.mark.parametrize("order", ["as scanned", "sagittal sections first", "half its sections empty"])
def test_surroundings_of_a_cylinder_that_cuts_the_body_are_marked_and_nothing_else(scan, value, order):
    outside = beyond(scan.grid, RADIUS_MM)
    if order == "half its sections empty":
        outside[:8] = outside[-8:] = True
    cut = around(scan, outside, value)
    if order == "sagittal sections first":
        size, spacing = np.roll(cut.grid.size, 1), np.roll(cut.grid.spacing, 1)
        turned = Grid(
            tuple(size), tuple(spacing), cut.grid.origin, tuple(np.roll(np.eye(3), 1, axis=1).ravel())
        )
        outside = outside.transpose(1, 2, 0)
        cut = Volume(cut.array.transpose(1, 2, 0), turned, "fixed image")
    marked, said = without_surroundings(cut)
    assert said.startswith("The fixed image shows the inside of a round field of view")
    # Tissue of that very value may be taken along where the circle cuts it.
    told = ~outside & (cut.array != value)
    np.testing.assert_array_equal(marked.array[told], cut.array[told])
    assert np.mean(marked.array[~outside] == cut.array[~outside]) > 0.999
    # All but the voxels that the circle cuts through.
    assert np.mean(marked.array[outside] == NOT_MEASURED_HU) > 0.98


def test_air_and_circles_drawn_in_the_air_are_what_they_were(scan):
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 15, scan.array.shape)
    wide = beyond(scan.grid, 175.0)
    body = scan.array > -900
    ordinary = {
        "as made": scan.array,
        "noisy air": scan.array + noise,
        "noisy air, cut off at -1024": np.clip(scan.array + noise, -1024, None),
        "air without noise": np.where(body, scan.array, -1000),
        "a body cut out": np.where(body, scan.array + noise, -1024),
        **{
            f"a circle of {v}": np.where(wide, v, scan.array + noise) for v in (-1000, -1024, -2000, -3024, 0)
        },
    }
    for what, array in ordinary.items():
        given = Volume(array.astype(np.int16), scan.grid, what)
        assert without_surroundings(given) == (given, ""), what


def test_a_cylinder_that_says_already_what_was_not_measured_and_a_cut_out_square_stay(scan):
    given = around(scan, beyond(scan.grid, RADIUS_MM), -2048)
    assert without_surroundings(given)[0] is given
    x, y, _ = np.moveaxis(np.abs(scan.grid.points() - scan.grid.center), -1, 0)
    square = around(scan, np.maximum(x, y) > 90, -1000)
    assert without_surroundings(square)[0] is square
