"""The phantom's truth is exact: every other accuracy figure of the project rests on it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.evaluation.breathing import Breathing
from GLIDERegLib.evaluation.phantom import LABELS, make_phantom
from GLIDERegLib.evaluation.thorax import grow_tree

SMALL = {"size": (64, 64, 56), "spacing": (6.0, 6.0, 6.0)}


@pytest.fixture(scope="module")
def phantom(small_phantom):
    return small_phantom


def read(volume, points, order=1):
    """Values of a volume at LPS points (N, 3)."""
    index = volume.grid.to_index(points).T[::-1]
    return ndimage.map_coordinates(volume.array.astype(float), index, order=order, mode="nearest")


def jacobian(deformation, points, step=0.01):
    """Determinant of d(x + u)/dx by fine central differences."""
    columns = [
        (deformation.displacement(points + step * e) - deformation.displacement(points - step * e))
        / (2 * step)
        for e in np.eye(3)
    ]
    return np.linalg.det(np.stack(columns, axis=-1) + np.eye(3))


@pytest.mark.parametrize("amplitude", [20, 32])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_deformation_does_not_fold(amplitude, seed):
    axis = np.arange(-195, 196, 10.0)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    assert jacobian(Breathing(amplitude, (0, 0, 0), seed), points).min() > 0.2


def test_largest_displacement_is_the_amplitude(phantom):
    points = phantom.fixed.grid.points()
    assert np.linalg.norm(phantom.displacement(points), axis=-1).max() == pytest.approx(20, rel=0.01)


def test_diaphragm_moves_down_the_front_of_the_chest_out_and_the_spine_little(phantom):
    dome, front, spine = phantom.displacement(np.array([[-70, 8, -36], [0, -95, 0], [0, 80, 0]], float))
    assert dome[2] < -14
    assert front[1] < -2
    assert np.linalg.norm(spine) < 6


def test_inverse_on_a_grid_is_within_a_hundredth_of_a_millimetre():
    deformation = Breathing(32.0, (5, -3, 8), 4)
    grid = Grid((33, 30, 29), (9.0, 10.0, 11.0), (-140, -145, -150))
    back = deformation.inverse_on(grid).astype(float)
    assert np.abs(back + deformation.displacement(back) - grid.points()).max() < 0.01


def test_float32_points_keep_their_type_and_agree_with_float64():
    points = np.random.default_rng(0).uniform(-150, 150, (1000, 3))
    deformation = Breathing(20.0, (1, 2, 3), 0)
    single = deformation.displacement(points.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, deformation.displacement(points), atol=1e-3)


def test_landmarks_and_nodules_correspond_exactly(phantom):
    for fixed, moving in (
        (phantom.fixed_landmarks, phantom.moving_landmarks),
        (phantom.fixed_nodules, phantom.moving_nodules),
    ):
        np.testing.assert_allclose(moving, fixed + phantom.displacement(fixed), atol=1e-9)
    assert len(phantom.fixed_landmarks) == 300
    assert len(phantom.fixed_nodules) == len(phantom.nodule_labels) == 8


def test_landmarks_lie_inside_both_images(phantom):
    assert phantom.fixed.grid.contains(phantom.fixed_landmarks).all()
    assert phantom.moving.grid.contains(phantom.moving_landmarks).all()


def test_each_nodule_grows_by_its_own_share_and_stays_a_ball():
    shares = [0.0, 0.0, 0.0, 0.0, 0.0, 0.6, 0.0, 1.0]
    pair = make_phantom((88, 64, 80), (3.0, 3.0, 3.0), amplitude_mm=15, nodule_growth=shares)
    for number in (4, 5, 6, 7):
        sizes = []
        for labels, points in (
            (pair.moving_labels, pair.moving_nodules),
            (pair.fixed_labels, pair.fixed_nodules),
        ):
            away = np.linalg.norm(labels.grid.points() - points[number], axis=-1)
            sizes.append(((labels.array == 8) & (away < 14)).sum())
        assert sizes[1] / sizes[0] == pytest.approx(1 + shares[number], rel=0.12)


def test_most_landmarks_lie_in_the_lungs_on_brighter_structures():
    phantom = make_phantom((112, 84, 90), (3.0, 3.0, 3.0))
    names = read(phantom.fixed_labels, phantom.fixed_landmarks, order=0).astype(int)
    in_lung = np.isin(names, (1, 2, 6, 7, 8))
    assert in_lung.mean() > 0.8
    vessel = np.isin(names, (1, 2, 7))
    parenchyma = np.median(phantom.fixed.array[phantom.fixed_labels.array == 1])
    assert (read(phantom.fixed, phantom.fixed_landmarks[vessel]) > parenchyma + 100).mean() > 0.9


def test_true_displacement_aligns_the_images_and_no_displacement_does_not(phantom):
    points = phantom.fixed.grid.points()
    inside = phantom.fixed_labels.array > 0
    fixed = phantom.fixed.array[inside].astype(float)
    aligned = read(phantom.moving, (points + phantom.displacement(points))[inside])
    unaligned = phantom.moving.array[inside]
    assert np.abs(aligned - fixed).mean() < 0.6 * np.abs(unaligned - fixed).mean()
    assert np.corrcoef(aligned, fixed)[0, 1] > 0.97


def test_true_displacement_carries_labels_up_to_the_voxel_size(phantom):
    points = phantom.fixed.grid.points()
    warped = read(phantom.moving_labels, (points + phantom.displacement(points)).reshape(-1, 3), order=0)
    fixed = phantom.fixed_labels.array.ravel()
    for label in (1, 2, 3, 5):
        overlap = (
            2
            * np.sum((warped == label) & (fixed == label))
            / (np.sum(warped == label) + np.sum(fixed == label))
        )
        assert overlap > 0.93, LABELS[label]


def test_nodules_are_where_their_centres_say_in_both_scans():
    phantom = make_phantom((112, 84, 90), (3.0, 3.0, 3.0), amplitude_mm=30)
    assert (read(phantom.fixed_labels, phantom.fixed_nodules, order=0) == 8).all()
    assert (read(phantom.moving_labels, phantom.moving_nodules, order=0) == 8).all()


def test_every_organ_is_present_in_both_scans(phantom):
    for labels in (phantom.fixed_labels, phantom.moving_labels):
        assert set(np.unique(labels.array)) == {0, *LABELS}


def test_left_lung_lies_at_positive_x(phantom):
    x = phantom.fixed.grid.points()[..., 0]
    assert (x[phantom.fixed_labels.array == 1] > 0).all()
    assert (x[phantom.fixed_labels.array == 2] < 0).all()


def test_without_amplitude_the_scans_differ_only_by_noise():
    phantom = make_phantom(**SMALL, amplitude_mm=0.0)
    difference = (phantom.fixed.array.astype(float) - phantom.moving.array)[8:-8, 20:-20, 20:-20]
    assert abs(difference.mean()) < 1
    assert difference.std() == pytest.approx(25 * np.sqrt(2), rel=0.05)
    np.testing.assert_array_equal(phantom.fixed_labels.array, phantom.moving_labels.array)
    np.testing.assert_array_equal(phantom.fixed_landmarks, phantom.moving_landmarks)


def test_lung_gets_thinner_with_the_breath(phantom):
    means = [
        volume.array[np.isin(labels.array, (1, 2))].mean()
        for volume, labels in ((phantom.fixed, phantom.fixed_labels), (phantom.moving, phantom.moving_labels))
    ]
    assert means[1] < means[0] - 15


def test_shift_moves_the_whole_scan_and_its_truth(phantom):
    shift = np.array([12.0, -30.0, 55.0])
    shifted = make_phantom(**SMALL, shift_mm=tuple(shift))
    np.testing.assert_allclose(shifted.moving.grid.origin, phantom.moving.grid.origin + shift)
    assert np.abs(shifted.moving.array - phantom.moving.array.astype(float)).max() <= 1
    np.testing.assert_allclose(shifted.moving_landmarks, phantom.moving_landmarks + shift)
    assert shifted.displacement(np.zeros(3)) == pytest.approx(phantom.displacement(np.zeros(3)) + shift)


def test_same_seed_gives_the_same_pair(phantom):
    again = make_phantom(**SMALL)
    np.testing.assert_array_equal(again.fixed.array, phantom.fixed.array)
    np.testing.assert_array_equal(again.moving.array, phantom.moving.array)
    np.testing.assert_array_equal(again.moving_landmarks, phantom.moving_landmarks)


def test_another_seed_gives_another_patient_and_another_breath(phantom):
    other = make_phantom(**SMALL, seed=1)
    vessels = phantom.fixed_labels.array == 7, other.fixed_labels.array == 7
    assert 2 * (vessels[0] & vessels[1]).sum() / (vessels[0].sum() + vessels[1].sum()) < 0.5
    points = phantom.fixed_landmarks
    apart = np.linalg.norm(phantom.displacement(points) - other.displacement(points), axis=1)
    assert apart.mean() > 1


def test_tree_reaches_every_target_and_follows_murrays_law():
    targets = np.random.default_rng(0).uniform(-50, 50, (60, 3))
    tree = grow_tree(targets, np.zeros(3), 0.8, np.random.default_rng(1))
    ends = tree.capsules.end
    assert all(np.linalg.norm(ends - target, axis=1).min() == 0 for target in targets)
    for node, radius in zip(tree.branchings, tree.branching_radii, strict=True):
        children = tree.capsules.start_radius[(tree.capsules.start == node).all(axis=1)]
        assert len(children) == 2
        assert (children**3).sum() == pytest.approx(radius**3)


@pytest.mark.parametrize("options", [{"amplitude_mm": 60}, {"amplitude_mm": -1}, {"size": (4, 64, 64)}])
def test_impossible_requests_are_refused(options):
    with pytest.raises(InputError):
        make_phantom(**{**SMALL, **options})
