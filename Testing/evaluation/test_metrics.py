"""Metrics against known answers and against SimpleITK."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.evaluation import metrics
from GLIDERegLib.registration.field import SLAB, jacobian_determinant


def rotation(axis, degrees):
    """3 x 3 rotation about an axis."""
    return np.reshape(sitk.VersorTransform(axis, np.radians(degrees)).GetMatrix(), (3, 3))


OBLIQUE = Grid((14, 11, 9), (1.5, 0.7, 3.0), (20, -7, 100), tuple(rotation((1.0, 2.0, -1.0), 37).ravel()))
FLIPPED = Grid((14, 11, 9), (1.5, 0.7, 3.0), (20, -7, 100), (0, 0, 1, -1, 0, 0, 0, 1, 0))


def test_target_registration_error_of_known_distances():
    reference = np.zeros((4, 3))
    displaced = np.array([[0, 0, 1], [0, 2, 0], [3, 0, 0], [0, 0, -4]], float)
    distance, summary = metrics.target_registration_error(displaced, reference)
    np.testing.assert_allclose(distance, [1, 2, 3, 4])
    assert summary["mean"] == summary["median"] == 2.5
    assert summary["std"] == pytest.approx(np.sqrt(1.25))
    assert (summary["p25"], summary["p75"], summary["max"], summary["n"]) == (1.75, 3.25, 4.0, 4)
    assert summary["p90"] == pytest.approx(3.7)
    assert summary["p95"] == pytest.approx(3.85)


@pytest.mark.parametrize("wrong", [np.zeros((3, 3)), np.zeros((4, 2)), np.full((4, 3), np.nan)])
def test_points_that_do_not_pair_are_refused(wrong):
    with pytest.raises(InputError):
        metrics.target_registration_error(wrong, np.zeros((4, 3)))


def test_centre_point_matching_counts_the_distance_itself_as_within():
    predicted = np.array([[2.0, 0, 0], [0, 5.1, 0], [0, 0, 9], [30, 0, 0]])
    shares = metrics.centre_point_matching(predicted, np.zeros((4, 3)))
    assert shares == {2: 0.25, 5: 0.25, 10: 0.75}


def test_dice_agrees_with_simpleitk():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, (2, 9, 8, 7)).astype(np.uint8)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(sitk.GetImageFromArray(a), sitk.GetImageFromArray(b))
    result = metrics.dice(a, b)
    assert result["per_label"] == {n: pytest.approx(overlap.GetDiceCoefficient(n)) for n in (1, 2, 3)}
    assert result["mean"] == pytest.approx(np.mean(list(result["per_label"].values())))


def test_dice_of_a_label_found_in_one_array_only_is_zero():
    a, b = np.zeros((2, 3, 3, 3), np.uint8)
    a[0], a[1], b[1] = 5, 2, 2
    assert metrics.dice(a, b) == {"per_label": {2: 1.0, 5: 0.0}, "mean": 0.5}


def test_dice_refuses_arrays_of_different_shape():
    with pytest.raises(InputError, match="one grid"):
        metrics.dice(np.zeros((3, 3, 3), int), np.zeros((3, 3, 4), int))


@pytest.mark.parametrize("grid", [OBLIQUE, FLIPPED], ids=["oblique", "flipped"])
def test_affine_field_has_its_determinant_at_every_voxel(grid):
    matrix = rotation((0.3, 0.1, 1.0), 20) @ np.array([[1.2, 0.1, 0], [0, 0.8, -0.2], [0.05, 0, 1.1]])
    vectors = grid.points() @ (matrix - np.eye(3)).T + [100.0, -5, 3]
    determinant = jacobian_determinant(vectors, grid)
    np.testing.assert_allclose(determinant, np.linalg.det(matrix), rtol=1e-5)


@pytest.mark.parametrize("grid", [OBLIQUE, FLIPPED], ids=["oblique", "flipped"])
def test_jacobian_determinant_agrees_with_simpleitk_inside(grid):
    vectors = np.random.default_rng(1).normal(0, 0.3, (*grid.shape, 3))
    # ITK's filter ignores the direction, so it gets the vectors in the grid's own axes.
    image = sitk.GetImageFromArray(vectors @ grid.axes, isVector=True)
    image.SetSpacing(grid.spacing)
    peer = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(image))
    inner = (slice(1, -1),) * 3
    np.testing.assert_allclose(jacobian_determinant(vectors, grid)[inner], peer[inner], atol=1e-4)


def test_jacobian_determinant_does_not_depend_on_the_slabs_it_is_computed_in():
    grid = Grid((5, 6, 3 * SLAB + 1))
    vectors = np.random.default_rng(2).normal(0, 0.2, (*grid.shape, 3))
    whole = np.stack([np.gradient(vectors, axis=a) for a in (2, 1, 0)], axis=-1) + np.eye(3)
    np.testing.assert_allclose(jacobian_determinant(vectors, grid), np.linalg.det(whole), atol=1e-5)


def test_a_single_slice_does_not_stretch_across_itself():
    grid = Grid((6, 5, 1), (2, 2, 2))
    vectors = np.zeros((*grid.shape, 3))
    vectors[..., 0] = 0.5 * grid.points()[..., 0]
    np.testing.assert_allclose(jacobian_determinant(vectors, grid), 1.5)


def test_folding_is_counted_on_the_raw_determinant():
    grid = Grid((20, 4, 4))
    x = grid.points()[..., 0]
    vectors = np.zeros((*grid.shape, 3))
    # Slope -1.5 turns space over where 5 < x < 14; central differences see the whole slope at 8 of 20 voxels.
    vectors[..., 0] = -1.5 * np.clip(x - 5, 0, 9)
    determinant = jacobian_determinant(vectors, grid)
    statistics = metrics.jacobian_statistics(determinant)
    assert statistics["min"] == pytest.approx(-0.5)
    assert statistics["share_not_positive"] == 8 / 20
    assert statistics["n"] == 320


def test_collapse_to_a_plane_counts_as_folding():
    assert metrics.jacobian_statistics(np.array([0.0, 1.0]))["share_not_positive"] == 0.5


def test_smooth_field_does_not_fold():
    grid = Grid((30, 30, 30), (2, 2, 2))
    vectors = 3 * np.sin(grid.points() / 10)
    statistics = metrics.jacobian_statistics(jacobian_determinant(vectors, grid))
    assert statistics["share_not_positive"] == 0
    assert statistics["min"] > 0.3


def test_jacobian_statistics_count_inside_the_mask_only():
    determinant = np.array([-1.0, 1.0, np.e, 1 / np.e])
    statistics = metrics.jacobian_statistics(determinant, np.array([False, True, True, True]))
    assert statistics["share_not_positive"] == 0
    assert statistics["std_log"] == pytest.approx(np.std([0, 1, -1]))


def test_a_field_that_is_not_finite_is_refused_instead_of_counted_as_smooth():
    with pytest.raises(InputError, match="finite"):
        metrics.jacobian_statistics(np.array([np.nan, 1.0]))


def test_an_empty_mask_is_refused():
    with pytest.raises(InputError, match="empty"):
        metrics.jacobian_statistics(np.ones(4), np.zeros(4, bool))


def test_correlation_ignores_a_linear_change_of_intensity_and_the_difference_does_not():
    a = np.random.default_rng(0).normal(0, 100, (8, 8, 8))
    result = metrics.similarity(a, 2 * a + 10)
    assert result["normalised_cross_correlation"] == pytest.approx(1)
    assert result["mean_absolute_difference"] == pytest.approx(np.abs(a + 10).mean())
    assert metrics.similarity(a, -a)["normalised_cross_correlation"] == pytest.approx(-1)


def test_mutual_information_is_the_entropy_of_an_image_with_itself_and_none_with_an_independent_one():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, (2, 200_000))
    assert metrics.similarity(a, a)["mutual_information"] == pytest.approx(np.log(4), abs=1e-3)
    assert metrics.similarity(a, 3 - a)["mutual_information"] == pytest.approx(np.log(4), abs=1e-3)
    assert metrics.similarity(a, b)["mutual_information"] < 1e-3


def test_similarity_counts_inside_the_mask_only():
    a = np.arange(27.0).reshape(3, 3, 3)
    b, mask = a.copy(), np.ones(a.shape, bool)
    b[0], mask[0] = 1000, False
    assert metrics.similarity(a, b, mask)["mean_absolute_difference"] == 0


def test_correlation_with_a_constant_image_is_undefined():
    assert metrics.similarity(np.arange(8.0), np.ones(8))["normalised_cross_correlation"] is None


def test_the_same_physical_field_has_the_same_determinant_on_a_turned_grid():
    straight = Grid((12, 12, 12), (2, 2, 2))
    turned = Grid((12, 12, 12), (2, 2, 2), (22, 22, 0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))
    fields = [2 * np.sin(g.points()[..., [1, 0, 2]] / 7) + 0.1 * g.points() for g in (straight, turned)]
    a, b = (jacobian_determinant(f, g) for f, g in zip(fields, (straight, turned), strict=True))
    np.testing.assert_allclose(a, b[:, ::-1, ::-1], atol=1e-5)
