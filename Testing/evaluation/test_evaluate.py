"""A transform is judged the same whatever tool made it: known transforms, and SimpleITK as the peer."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.evaluation.evaluate import displacement_on, evaluate_transform, warp
from GLIDERegLib.files.points import PointSet
from GLIDERegLib.files.volumes import to_sitk
from GLIDERegLib.registration.field import DisplacementField

IDENTITY = sitk.Transform(3, sitk.sitkIdentity)


@pytest.fixture(scope="module")
def phantom(small_phantom):
    return small_phantom


@pytest.fixture(scope="module")
def truth(phantom):
    """The phantom's displacement as a field transform on a 6 mm grid that reaches beyond the image."""
    grid = phantom.fixed.grid.resized((6.0,) * 3, (4,) * 3, (4,) * 3)
    return field_transform(phantom.displacement(grid.points()), grid)


@pytest.fixture(scope="module")
def report(phantom, truth):
    return evaluate_transform(
        truth,
        phantom.fixed,
        phantom.moving,
        phantom.fixed_landmarks,
        phantom.moving_landmarks,
        phantom.fixed_labels,
        phantom.moving_labels,
    )


def field_transform(vectors, grid):
    image = sitk.GetImageFromArray(np.asarray(vectors, float), isVector=True)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    return sitk.DisplacementFieldTransform(image)


def translation(*offset):
    return sitk.TranslationTransform(3, offset)


def blocks(shift=(0, 0, 0), size=(30, 28, 26), spacing=(2.0, 2.0, 2.0)):
    """A textured box in air with the label 1, moved by a shift in voxels (x, y, z)."""
    rng = np.random.default_rng(0)
    box, labels = np.full(size[::-1], -1000.0), np.zeros(size[::-1], np.uint8)
    place = tuple(slice(7 + s, 17 + s) for s in shift[::-1])
    box[place], labels[place] = rng.normal(50, 30, (10, 10, 10)), 1
    grid = Grid(size, spacing, (-30, 11, 70))
    return Volume(box, grid, "fixed"), Volume(labels, grid, "labels")


def test_true_displacement_has_almost_no_error_and_the_identity_its_full_one(phantom, report):
    error = report["target_registration_error"]
    apart = np.linalg.norm(phantom.fixed_landmarks - phantom.moving_landmarks, axis=1)
    assert error["initial"]["mean"] == pytest.approx(apart.mean())
    assert error["final"]["mean"] < 0.1
    assert error["final"]["n"] == len(error["each"]) == 300
    assert report["centre_point_matching"]["final"]["within_2_mm"] == 1
    assert report["centre_point_matching"]["initial"]["within_2_mm"] < 0.1


def test_true_displacement_improves_overlap_and_similarity(report):
    assert report["dice"]["final"]["mean"] > report["dice"]["initial"]["mean"] + 0.1
    before, after = report["similarity"]["initial"], report["similarity"]["final"]
    assert after["normalised_cross_correlation"] > before["normalised_cross_correlation"]
    assert after["mutual_information"] > before["mutual_information"]
    assert after["mean_absolute_difference"] < before["mean_absolute_difference"]


def test_true_displacement_can_be_inverted_and_does_not_fold(report):
    assert report["jacobian"]["share_not_positive"] == 0
    assert report["inverse_consistency"]["max_mm"] < 0.01
    assert report["displacement"]["max_mm"] == pytest.approx(20, rel=0.02)
    assert report["warnings"] == []


def test_report_is_json(report):
    assert json.loads(json.dumps(report, allow_nan=False))["sampling"]["spacing_mm"] == [6, 6, 6]


def test_without_a_mask_the_body_counts_and_the_air_around_it_does_not(phantom, report):
    body = phantom.fixed.array > -500
    assert report["sampling"]["region"] == "body"
    assert body.mean() < report["sampling"]["voxels"] / body.size < 0.75


def test_dice_agrees_with_simpleitk_on_warped_labels(phantom, truth, report):
    fixed, moving = to_sitk(phantom.fixed_labels), to_sitk(phantom.moving_labels)
    warped = sitk.Resample(moving, fixed, truth, sitk.sitkNearestNeighbor, 0)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(fixed, warped)
    for label, value in report["dice"]["final"]["per_label"].items():
        assert value == pytest.approx(overlap.GetDiceCoefficient(label))


def test_known_shift_is_recovered_exactly():
    (fixed, fixed_labels), (moving, moving_labels) = blocks(), blocks(shift=(3, -2, 4))
    points = fixed.grid.to_physical(np.array([[8, 9, 10], [15, 12, 9]]))
    result = evaluate_transform(
        translation(6, -4, 8),
        fixed,
        moving,
        points,
        points + [6, -4, 8],
        fixed_labels,
        moving_labels,
        fixed_labels,
    )
    assert result["target_registration_error"]["final"]["max"] == pytest.approx(0, abs=1e-9)
    assert result["target_registration_error"]["initial"]["max"] == pytest.approx(np.sqrt(116))
    assert result["dice"]["final"]["mean"] == 1
    assert result["similarity"]["final"]["mean_absolute_difference"] == pytest.approx(0, abs=1e-3)
    assert result["jacobian"]["min"] == pytest.approx(1)
    assert result["displacement"]["mean_mm"] == pytest.approx(np.sqrt(116))
    assert result["sampling"]["region"] == "mask"
    assert result["sampling"]["voxels"] == 1000


def test_composite_of_two_shifts_is_the_sum_of_both():
    (fixed, labels), (moving, moving_labels) = blocks(), blocks(shift=(3, -2, 4))
    grid = fixed.grid.resized((10.0,) * 3, (6,) * 3, (6,) * 3)
    field = field_transform(np.broadcast_to([6.0, 0, 0], (*grid.shape, 3)), grid)
    composite = sitk.CompositeTransform([field, translation(0, -4, 8)])
    result = evaluate_transform(
        composite, fixed, moving, fixed_labels=labels, moving_labels=moving_labels, mask=labels
    )
    assert result["dice"]["final"]["mean"] == 1
    assert result["inverse_consistency"]["max_mm"] < 0.01
    assert "target_registration_error" not in result


def test_order_of_a_composite_is_itks():
    fixed, _ = blocks()
    scale = sitk.AffineTransform(3)
    scale.Scale(1.1)
    composite = sitk.CompositeTransform([translation(5, 0, 0), scale])
    expected = np.array([composite.TransformPoint(p) for p in fixed.grid.points().reshape(-1, 3).tolist()])
    vectors = displacement_on(composite, fixed.grid).reshape(-1, 3)
    np.testing.assert_allclose(vectors, expected - fixed.grid.points().reshape(-1, 3), atol=1e-9)


def test_affine_transform_has_its_determinant_on_an_oblique_anisotropic_grid():
    axes = np.reshape(sitk.VersorTransform((1, 2, 3), 0.6).GetMatrix(), (3, 3))
    grid = Grid((12, 10, 8), (1.0, 2.0, 3.5), (5, 6, 7), tuple(axes.ravel().tolist()))
    image = Volume(np.random.default_rng(0).normal(0, 100, grid.shape), grid)
    affine = sitk.AffineTransform(3)
    affine.SetMatrix((1.1, 0.2, 0, 0, 0.9, 0.1, 0, 0, 1.2))
    result = evaluate_transform(affine, image, image)
    determinant = np.linalg.det(np.reshape(affine.GetMatrix(), (3, 3)))
    assert result["jacobian"]["min"] == pytest.approx(determinant, rel=1e-4)
    assert result["jacobian"]["max"] == pytest.approx(determinant, rel=1e-4)


def test_folding_transform_is_found_out():
    fixed, labels = blocks()
    x = fixed.grid.points()[..., 0]
    vectors = np.zeros((*fixed.grid.shape, 3))
    vectors[..., 0] = 6 * np.sin(x / 2)
    result = evaluate_transform(field_transform(vectors, fixed.grid), fixed, fixed, mask=labels)
    assert result["jacobian"]["share_not_positive"] > 0.2
    assert result["jacobian"]["min"] < -0.3
    assert result["inverse_consistency"]["max_mm"] > 1


def test_a_fold_between_the_samples_shows_at_the_field_s_own_nodes(phantom):
    grid = phantom.fixed.grid.resized((3.0,) * 3)
    vectors = np.zeros((*grid.shape, 3), np.float32)
    middle = tuple(n // 2 for n in grid.shape)
    vectors[(*middle, 0)] = 9.0
    nodes = DisplacementField(vectors, grid)
    given = [
        evaluate_transform(nodes.to_sitk(), phantom.fixed, phantom.moving, sampling_mm=20.0, nodes=n)
        for n in (None, nodes)
    ]
    coarse, fine = (report.pop("jacobian") for report in given)
    # Beside the one displaced node, central differences of 9 mm in 6 mm make 1 - 1.5.
    assert coarse["min"] > 0 and fine["min"] == pytest.approx(-0.5, abs=1e-5)
    assert fine["sampling_mm"] == [3.0, 3.0, 3.0]
    assert given[0] == given[1]


def test_given_inverse_is_judged_by_its_round_trip():
    fixed, _ = blocks()
    right = evaluate_transform(translation(3, 0, 0), fixed, fixed, inverse_transform=translation(-3, 0, 0))
    wrong = evaluate_transform(translation(3, 0, 0), fixed, fixed, inverse_transform=translation(-1, 0, 0))
    assert right["inverse_consistency"]["max_mm"] == pytest.approx(0, abs=1e-9)
    assert wrong["inverse_consistency"]["mean_mm"] == pytest.approx(2)
    assert wrong["inverse_consistency"]["method"] == "given inverse"


def test_points_are_matched_by_label_and_leftovers_are_named():
    fixed, _ = blocks()
    a = PointSet(["b", "a", "only here"], np.array([[0, 0, 80], [5, 20, 90], [1, 1, 1]], float))
    b = PointSet(["a", "elsewhere", "b"], np.array([[5, 20, 92], [9, 9, 9], [0, 0, 82]], float))
    result = evaluate_transform(translation(0, 0, 2), fixed, fixed, a, b)
    assert result["target_registration_error"]["final"]["max"] == pytest.approx(0)
    assert [row["label"] for row in result["target_registration_error"]["each"]] == ["b", "a"]
    assert result["points"] == {
        "matched_by": "label",
        "n": 2,
        "repeated": [],
        "only_fixed": ["only here"],
        "only_moving": ["elsewhere"],
    }


def test_a_doubled_label_leaves_the_sound_ones_paired_and_is_told():
    fixed, _ = blocks()
    points = np.array([[0, 0, 80], [5, 20, 90], [-5, 10, 85]], float)
    a, b = PointSet(["A", "B", "C"], points), PointSet(["C", "A", "A"], points[[2, 0, 1]])
    result = evaluate_transform(IDENTITY, fixed, fixed, a, b)
    assert result["points"] == {
        "matched_by": "label",
        "n": 1,
        "repeated": ["A"],
        "only_fixed": ["B"],
        "only_moving": [],
    }
    assert result["target_registration_error"]["final"]["mean"] == 0
    assert any("more than once" in text and "A" in text for text in result["warnings"])
    assert any("1 fixed point has no partner" in text and "B" in text for text in result["warnings"])


def test_labels_that_are_shared_but_never_unique_are_refused():
    fixed, _ = blocks()
    points = np.array([[0, 0, 80], [5, 20, 90], [-5, 10, 85]], float)
    a, b = PointSet(["A", "A", "B"], points), PointSet(["B", "B", "A"], points)
    with pytest.raises(InputError, match="unique label"):
        evaluate_transform(IDENTITY, fixed, fixed, a, b)


def test_points_that_slicer_numbered_are_matched_by_their_numbers_and_that_is_told():
    fixed, _ = blocks()
    a = PointSet(["F-1", "F-2"], np.array([[0, 0, 80], [5, 20, 90]], float))
    b = PointSet(["M-1", "M-2"], a.points + [0, 0, 3])
    result = evaluate_transform(IDENTITY, fixed, fixed, a, b)
    assert result["points"]["matched_by"] == "order"
    assert any("paired by the numbers" in text for text in result["warnings"])
    assert result["target_registration_error"]["final"]["mean"] == pytest.approx(3)


def test_large_images_are_sampled_and_the_report_says_so():
    grid = Grid((240, 240, 60), (0.7, 0.7, 3.0))
    image = Volume(np.random.default_rng(0).normal(0, 50, grid.shape).astype(np.float32), grid)
    sampling = evaluate_transform(IDENTITY, image, image)["sampling"]
    assert sampling["every_nth_voxel"] == [2, 2, 1]
    assert sampling["spacing_mm"] == pytest.approx([1.4, 1.4, 3.0])
    assert sampling["size"] == [120, 120, 60]


def test_voxels_outside_the_scanners_field_of_view_count_as_air():
    fixed, labels = blocks()
    padded = Volume(np.where(labels.array > 0, fixed.array, -3024), fixed.grid, "moving")
    whole = Volume(np.ones(fixed.grid.shape, np.uint8), fixed.grid)
    result = evaluate_transform(IDENTITY, fixed, padded, mask=whole)
    assert result["similarity"]["final"]["mean_absolute_difference"] < 25


def test_field_that_does_not_cover_the_image_is_warned_about():
    fixed, _ = blocks()
    whole = Volume(np.ones(fixed.grid.shape, np.uint8), fixed.grid)
    half = Grid((15, 28, 26), fixed.grid.spacing, fixed.grid.origin)
    result = evaluate_transform(field_transform(np.zeros((*half.shape, 3)), half), fixed, fixed, mask=whole)
    assert "leaves out" in result["warnings"][0]
    share = float(result["warnings"][0].split(" %")[0].split()[-1])
    assert share == pytest.approx(50, abs=5)


def test_warp_agrees_with_simpleitk_and_keeps_the_type(phantom, truth):
    warped = warp(phantom.moving, truth, phantom.fixed.grid, -1024)
    peer = sitk.Resample(to_sitk(phantom.moving), to_sitk(phantom.fixed), truth, sitk.sitkLinear, -1024)
    np.testing.assert_array_equal(warped.array, sitk.GetArrayFromImage(peer))
    assert warped.array.dtype == np.int16


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"fixed_points": np.zeros((3, 3))}, "both images"),
        ({"fixed_points": np.zeros((3, 3)), "moving_points": np.zeros((4, 3))}, "cannot be matched"),
        ({"fixed_labels": blocks()[1]}, "both images"),
        ({"mask": blocks(spacing=(1.0, 2.0, 2.0))[1]}, "fixed image's grid"),
        ({"mask": Volume(np.zeros((26, 28, 30)), blocks()[0].grid)}, "empty"),
    ],
)
def test_input_that_does_not_fit_is_refused_in_one_sentence(wrong, message):
    fixed, _ = blocks()
    with pytest.raises(InputError, match=message):
        evaluate_transform(IDENTITY, fixed, fixed, **wrong)


def test_two_dimensional_transform_is_refused():
    fixed, _ = blocks()
    with pytest.raises(InputError, match="2-D"):
        evaluate_transform(sitk.Transform(2, sitk.sitkIdentity), fixed, fixed)


def test_what_was_noted_on_reading_is_warned_of():
    fixed, _ = blocks()
    moving = Volume(fixed.array, fixed.grid, "moving", ("It was turned.",))
    assert "It was turned." in evaluate_transform(IDENTITY, fixed, moving)["warnings"]
