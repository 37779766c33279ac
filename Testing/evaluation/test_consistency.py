"""Two ways that end apart by a known amount are told to be apart by it."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.evaluation.consistency import inverse_consistency, transitivity
from GLIDERegLib.evaluation.landmarks.names import BODY
from GLIDERegLib.evaluation.landmarks.regions import Regions

GRID = Grid((30, 30, 30), (3.0, 3.0, 3.0), (-43.5,) * 3)


@pytest.fixture
def regions():
    labels = np.full(GRID.shape, 2, np.uint8)
    labels[10:20, 10:20, 10:20] = 1
    return Regions(labels, np.zeros(GRID.shape, bool), GRID, {1: "lung, upper third", 2: BODY})


def shift(*offset):
    return sitk.TranslationTransform(3, offset)


def field(vector, grid=GRID):
    image = sitk.GetImageFromArray(np.broadcast_to(np.float64(vector), (*grid.shape, 3)), isVector=True)
    image.SetOrigin(grid.origin)
    image.SetSpacing(grid.spacing)
    return sitk.DisplacementFieldTransform(image)


def test_there_and_back_is_what_the_way_back_lacks(regions):
    report = inverse_consistency(shift(10, -4, 0), shift(-10, 4, 3), regions).report(regions)
    assert report["residual_mm"]["mean"] == pytest.approx(3.0)
    assert set(report["regions_mm"]) == {"lung, upper third", BODY}
    assert report["left_out"] == 0


def test_an_exact_inverse_leaves_nothing(regions):
    turned = sitk.Euler3DTransform((1.0, 2.0, 3.0), 0.1, -0.2, 0.3, (4.0, 5.0, 6.0))
    assert inverse_consistency(turned, turned.GetInverse(), regions).lengths.max() < 1e-9


def test_an_error_in_a_region_shows_in_that_region_alone(regions):
    vectors = np.zeros((*GRID.shape, 3))
    vectors[9:21, 9:21, 9:21] = (0, 2, 0)
    image = sitk.GetImageFromArray(vectors, isVector=True)
    image.SetOrigin(GRID.origin)
    image.SetSpacing(GRID.spacing)
    found = inverse_consistency(sitk.DisplacementFieldTransform(image), shift(0, 0, 0), regions)
    by_region = found.report(regions)["regions_mm"]
    assert by_region["lung, upper third"]["mean"] == pytest.approx(2.0)
    assert by_region[BODY]["median"] == 0


def test_round_three_scans_is_what_the_direct_way_lacks(regions):
    found = transitivity(shift(5, 0, 0), shift(0, 5, 0), shift(5, 5, 4), regions)
    np.testing.assert_allclose(found.lengths, 4.0)


def test_points_beyond_a_field_are_left_out_and_counted(regions):
    half = Grid((30, 30, 15), GRID.spacing, GRID.origin)
    found = inverse_consistency(field((0, 0, 1), half), shift(0, 0, -1), regions)
    assert 0.3 < found.left_out < 0.7
    np.testing.assert_allclose(found.lengths, 0.0, atol=1e-12)


def test_fields_of_another_place_are_refused(regions):
    with pytest.raises(InputError, match="lies within all of the fields"):
        inverse_consistency(shift(900, 0, 0), field((0, 0, 0)), regions)
