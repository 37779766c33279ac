"""Doubts about a transform and about points: each said where it is due, and not elsewhere."""

import numpy as np
import pytest
import SimpleITK as sitk

from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.evaluation.doubts import OUTSIDE_SHARE, direction_doubt, outside_doubt, same_points_doubt
from GLIDERegLib.evaluation.evaluate import evaluate_transform
from GLIDERegLib.files.points import PointSet

# As of a scan of 300 mm beside the scanner's axis.
GRID = Grid((50, 50, 40), (6.0, 6.0, 6.0), (40.0, 60.0, -900.0))
INSIDE = GRID.to_physical(np.random.default_rng(0).uniform(5, 35, (12, 3)))
RAS = np.array([-1.0, -1.0, 1.0])


@pytest.mark.parametrize(
    "points, said",
    [
        (INSIDE * RAS, "inside it where they are meant in RAS: check"),
        (GRID.to_index(INSIDE), "inside it where they are meant in voxels: check"),
        (INSIDE / 10, "inside it where they are meant in cm: check"),
        (INSIDE + 5000, "12 of 12 fixed points lie outside the fixed image: check whether they belong"),
        (np.vstack([INSIDE, INSIDE[:2] + 5000]), "2 of 14 fixed points lie outside the fixed image."),
    ],
)
def test_points_outside_their_image_are_told_with_how_else_they_fit(points, said):
    assert said in outside_doubt(points, GRID, "fixed")


def test_points_inside_their_image_and_a_few_outside_where_these_are_named_elsewhere_are_not_told():
    assert outside_doubt(INSIDE, GRID, "fixed") == ""
    assert outside_doubt(np.vstack([INSIDE, INSIDE[:2] + 5000]), GRID, "fixed", OUTSIDE_SHARE) == ""


def test_a_transform_that_leads_the_other_way_is_told_by_the_points():
    shift = np.array([10.0, 0.0, 5.0])
    there, back = (sitk.TranslationTransform(3, tuple(sign * shift)) for sign in (1, -1))
    assert direction_doubt(there, INSIDE, INSIDE + shift) == ""
    assert "0.0 mm the other way" in direction_doubt(back, INSIDE, INSIDE + shift)
    assert "another coordinate system" in direction_doubt(there, INSIDE, INSIDE * RAS)


def test_one_list_given_twice_is_told():
    assert "given twice" in same_points_doubt(INSIDE, INSIDE.copy())
    assert same_points_doubt(INSIDE, INSIDE + 0.1) == same_points_doubt(INSIDE[:0], INSIDE[:0]) == ""


def pair(shift_voxels=3):
    """A textured box in air and the same moved along x, with the transform that says so, fixed to moving."""
    texture = np.random.default_rng(1).normal(0, 150, (20, 24, 20)).astype(np.float32)
    arrays = [np.full(GRID.shape, -1000, np.float32) for _ in range(2)]
    for array, start in zip(arrays, (12, 12 + shift_voxels), strict=True):
        array[10:30, 12:36, start : start + 20] = texture
    fixed, moving = (
        Volume(array, GRID, name) for array, name in zip(arrays, ("fixed image", "moving image"), strict=True)
    )
    return fixed, moving, 6.0 * shift_voxels


def test_evaluate_tells_of_a_transform_that_is_reversed_mirrors_or_leads_away():
    fixed, moving, shift = pair()
    mirror = sitk.AffineTransform(3)
    mirror.SetMatrix((-1.0, 0, 0, 0, 1, 0, 0, 0, 1))
    mirror.SetCenter(GRID.center.tolist())
    cases = {
        "": sitk.TranslationTransform(3, (shift, 0, 0)),
        "agree less": sitk.TranslationTransform(3, (-shift, 0, 0)),
        "mirrors": mirror,
        "leads to nothing": sitk.TranslationTransform(3, (5000.0, 0, 0)),
    }
    for said, transform in cases.items():
        warnings = evaluate_transform(transform, fixed, moving)["warnings"]
        assert any(said in warning for warning in warnings) if said else warnings == []


def test_evaluate_tells_of_points_that_were_read_in_another_system():
    fixed, moving, shift = pair()
    here, there = (PointSet([f"{n}" for n in range(12)], p) for p in (INSIDE, (INSIDE + [shift, 0, 0]) * RAS))
    transform = sitk.TranslationTransform(3, (shift, 0, 0))
    warnings = evaluate_transform(transform, fixed, moving, here, there)["warnings"]
    assert any("moving points lie outside the moving image" in w and "RAS" in w for w in warnings)
