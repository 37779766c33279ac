import numpy as np
import pytest
import SimpleITK as sitk
from transform_samples import GRID, an_affine, field_transform, inner_points, waves

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.points import PointSet
from GLIDERegLib.transforms.points import in_field, inverse_points, map_points, propagate


@pytest.mark.parametrize("turned", [False, True], ids=["alike", "turned by half"])
def test_the_inverse_of_an_affine_agrees_with_its_matrix(turned):
    matrix = (
        (-1.1, 0.2, 0.0, -0.1, -0.9, 0.05, 0.0, 0.1, 1.0)
        if turned
        else (1.1, 0.1, 0.0, -0.1, 0.9, 0.0, 0.0, 0.1, 1.0)
    )
    affine = an_affine(shift=(300.0, -200.0, 100.0), matrix=matrix)
    points = inner_points()
    inverse, residual = inverse_points(affine, points)
    np.testing.assert_allclose(inverse, map_points(affine.GetInverse(), points), atol=2e-3)
    assert residual.max() < 1e-3


def test_the_inverse_of_a_stretching_field_agrees_with_the_formula():
    """T(x) = c + s (x - c) is linear, so that the field's interpolation is exact."""
    center, scale = GRID.center, 1.5
    transform = field_transform(lambda points: (scale - 1) * (points - center))
    points = inner_points(margin=0.35)
    inverse, residual = inverse_points(transform, points)
    np.testing.assert_allclose(inverse, center + (points - center) / scale, atol=2e-3)
    assert residual.max() < 1e-3


def bump(points):
    """A shift of 40 mm that fades away from the middle; its Jacobian determinant stays above 0.3."""
    distance = np.sum((points - GRID.center) ** 2, axis=-1, keepdims=True)
    return np.array([40.0, 0.0, 0.0]) * np.exp(-distance / (2 * 35.0**2))


@pytest.mark.parametrize("offset", [None, (300.0, -200.0, 100.0)], ids=["alone", "after a large shift"])
def test_displacements_of_40_mm_are_inverted(offset):
    transform = field_transform(bump)
    if offset:
        transform = sitk.CompositeTransform([sitk.TranslationTransform(3, offset), transform])
    points = inner_points(200)
    moved = map_points(transform, points)
    assert np.linalg.norm(map_points(field_transform(bump), points) - points, axis=1).max() > 35
    inverse, residual = inverse_points(transform, moved)
    assert residual.max() < 1e-3
    np.testing.assert_allclose(inverse, points, atol=0.01)


def test_a_point_without_counterpart_keeps_its_residual():
    """The field folds onto the plane x = 0, but for a rim of half a voxel: 10 mm off is out of reach."""
    transform = field_transform(lambda points: points * np.array([-1.0, 0.0, 0.0]))
    target = GRID.center * [0, 1, 1] + [10.0, 0.0, 0.0]
    assert GRID.contains(target)
    inverse, residual = inverse_points(transform, [target])
    assert 10.0 - np.linalg.norm(GRID.spacing) / 2 < residual[0] <= 10.0
    np.testing.assert_allclose(residual, np.linalg.norm(map_points(transform, inverse) - target, axis=1))


def test_no_points_are_no_trouble():
    inverse, residual = inverse_points(field_transform(waves), np.empty((0, 3)))
    assert inverse.shape == (0, 3) and residual.shape == (0,)
    assert map_points(an_affine(), []).shape == (0, 3)


def test_points_outside_a_field_are_told_apart():
    inside, outside = GRID.center, GRID.to_physical([-0.6, 10, 10])
    field = field_transform(waves)
    assert in_field(field, [inside, outside, GRID.to_physical([-0.4, 10, 10])]).tolist() == [
        True,
        False,
        True,
    ]
    assert in_field(an_affine(), [inside, outside]).all()


def test_a_composite_is_judged_where_the_points_meet_its_field():
    """SimpleITK's composite applies the last transform first."""
    shift = sitk.TranslationTransform(3, (500.0, 0.0, 0.0))
    points = [GRID.center, GRID.center - [500.0, 0.0, 0.0]]
    field = field_transform(waves)
    assert in_field(sitk.CompositeTransform([shift, field]), points).tolist() == [True, False]
    assert in_field(sitk.CompositeTransform([field, shift]), points).tolist() == [False, True]
    shifted_twice = sitk.CompositeTransform([field, shift, field])
    assert in_field(shifted_twice, points).tolist() == [False, False]
    nested = sitk.CompositeTransform([sitk.CompositeTransform([field]), shift])
    assert in_field(nested, points).tolist() == [False, True]


def test_points_outside_a_bspline_are_told_apart():
    image = sitk.Image(20, 20, 20, sitk.sitkInt16)
    image.SetOrigin((100.0, 0.0, 0.0))
    spline = sitk.BSplineTransformInitializer(image, (4, 4, 4))
    assert in_field(spline, [[110, 10, 10], [98, 10, 10], [122, 10, 10]]).tolist() == [True, False, False]


def test_points_go_to_the_moving_image_and_back():
    transform = sitk.CompositeTransform([an_affine(), field_transform(waves)])
    points = PointSet([f"N{n}" for n in range(40)], inner_points())
    moving, there = propagate(points, transform, "fixed-to-moving")
    np.testing.assert_allclose(moving.points, map_points(transform, points.points))
    fixed, back = propagate(moving, transform, "moving-to-fixed")
    assert moving.labels == fixed.labels == points.labels
    np.testing.assert_allclose(fixed.points, points.points, atol=0.01)
    for columns in (there, back):
        assert columns["residual_mm"].max() < 0.01 and columns["inside_field"].all()


def test_points_the_transform_says_nothing_about_are_flagged():
    points = PointSet(["in", "out"], np.array([GRID.center, GRID.center + 500.0]))
    for direction in ("fixed-to-moving", "moving-to-fixed"):
        assert propagate(points, field_transform(waves), direction)[1]["inside_field"].tolist() == [
            True,
            False,
        ]
    with pytest.raises(InputError, match="sideways"):
        propagate(points, an_affine(), "sideways")
