"""Landmarks are found where the truth says, and planted errors are found by them."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.evaluation.landmarks.between import COVERED_MM, expected_error
from GLIDERegLib.evaluation.landmarks.check import Check
from GLIDERegLib.evaluation.landmarks.correlation import Picture, correlations, peak
from GLIDERegLib.evaluation.landmarks.errors import Errors, error_map, errors_of
from GLIDERegLib.evaluation.landmarks.guide import Guide
from GLIDERegLib.evaluation.landmarks.keypoints import find_keypoints, find_smaller
from GLIDERegLib.evaluation.landmarks.matching import Landmarks, find_landmarks, without_outliers
from GLIDERegLib.evaluation.landmarks.names import BODY, NEAR_PLEURA
from GLIDERegLib.evaluation.landmarks.refinement import refine
from GLIDERegLib.evaluation.landmarks.regions import Regions, find_regions
from GLIDERegLib.evaluation.phantom import make_phantom
from GLIDERegLib.files.transforms import read_transform
from GLIDERegLib.files.volumes import read_volume
from GLIDERegLib.transforms.points import map_points

IDENTITY = sitk.Transform(3, sitk.sitkIdentity)


@pytest.fixture(scope="module")
def phantom():
    return make_phantom((112, 84, 100), (3.0, 3.0, 3.0), amplitude_mm=15.0, seed=7)


@pytest.fixture(scope="module")
def regions(phantom):
    return find_regions(phantom.fixed)


@pytest.fixture(scope="module")
def landmarks(phantom, regions):
    return find_landmarks(phantom.fixed, phantom.moving, 80, regions)


def wrong_by(phantom, landmarks, centre, size_mm, width_mm, rng):
    """The errors of a transform that is the truth but for an error of `size_mm` at a place, in any direction,
    that fades with the distance (Gaussian): found at the landmarks, and true there.
    """
    away = rng.standard_normal(3)
    away *= size_mm / np.linalg.norm(away)
    fading = np.exp(-0.5 * np.sum((landmarks.fixed - centre) ** 2, axis=1) / width_mm**2)
    true = fading[:, None] * away
    vectors = landmarks.fixed + phantom.displacement(landmarks.fixed) + true - landmarks.moving
    lengths = np.linalg.norm(vectors, axis=1)
    return Errors(landmarks, vectors, lengths, lengths, []), np.linalg.norm(true, axis=1)


def test_landmarks_lie_where_the_truth_has_them(phantom, landmarks):
    truth = landmarks.fixed + phantom.displacement(landmarks.fixed)
    off = np.linalg.norm(landmarks.moving - truth, axis=1)
    assert len(landmarks) >= 60
    assert np.mean(off < 3.0) >= 0.95
    # They moved: places that stay where they are would be easy.
    assert np.median(np.linalg.norm(landmarks.moving - landmarks.fixed, axis=1)) > 3.0


def test_landmarks_are_spread_over_the_lungs_and_the_layer_below_the_pleura(landmarks):
    thirds = {name for name in landmarks.regions if name != BODY}
    assert len(thirds) >= 5
    assert landmarks.near_pleura.sum() >= 10


def test_a_planted_error_of_4_mm_is_found_wherever_a_landmark_tells(phantom, regions, landmarks):
    rng = np.random.default_rng(1)
    points = regions.grid.points()[regions.lungs()]
    right, _ = wrong_by(phantom, landmarks, points[0], 0.0, 20.0, rng)
    before = expected_error(landmarks.fixed, right.lengths, points)
    told = points[np.isfinite(before)]
    found = []
    for place in told[rng.choice(len(told), 400)]:
        wrong, _ = wrong_by(phantom, landmarks, place, 4.0, 20.0, rng)
        found.append(expected_error(landmarks.fixed, wrong.lengths, place[None])[0])
    assert np.mean(np.array(found) > 2.0) >= 0.95
    # And hardly anywhere without it.
    assert np.mean(before[np.isfinite(before)] > 2.0) <= 0.05


def test_found_errors_grow_as_true_ones_do(phantom, landmarks):
    rng = np.random.default_rng(2)
    pairs = [
        wrong_by(phantom, landmarks, centre, size, 30.0, rng)
        for size in (4.0, 8.0, 12.0)
        for centre in phantom.fixed_landmarks[rng.choice(300, 10, replace=False)]
    ]
    found = np.concatenate([errors.lengths for errors, _ in pairs])
    true = np.concatenate([true for _, true in pairs])
    # Less than a voxel cannot be told from none.
    large = true > landmarks.voxel_mm
    slope = np.polyfit(true[large], found[large], 1)[0]
    assert 0.9 <= slope <= 1.1


def test_errors_are_those_of_the_transform_at_the_landmarks(landmarks, regions):
    away = sitk.TranslationTransform(3, (1.0, -2.0, 0.5))
    errors = errors_of(away, landmarks, regions)
    expected = np.linalg.norm(landmarks.fixed + (1.0, -2.0, 0.5) - landmarks.moving, axis=1)
    np.testing.assert_allclose(errors.lengths, expected)
    told = {region.name: region for region in errors.regions}
    assert sum(region.n for name, region in told.items() if name != NEAR_PLEURA) == len(landmarks)
    assert told[NEAR_PLEURA].n == landmarks.near_pleura.sum()


def test_two_scans_that_show_nothing_alike_have_no_landmarks():
    grid = Grid((40, 40, 40), (3.0, 3.0, 3.0))
    scans = []
    for seed, name in ((0, "fixed"), (1, "moving")):
        hu = np.random.default_rng(seed).normal(-300, 100, grid.shape)
        scans.append(Volume(hu.astype(np.int16), grid, name))
    with pytest.raises(InputError) as refused:
        find_landmarks(*scans, 20)
    assert refused.value.code == "no-landmarks"


def test_lungs_are_named_by_the_patients_sides_and_parted_in_thirds(phantom, regions):
    labels = phantom.fixed_labels
    for label, side in ((1, "left"), (2, "right")):
        voxels = np.argwhere(labels.array == label)[::50, ::-1]
        names = regions.at(labels.grid.to_physical(voxels))
        assert np.mean([side in name for name in names]) > 0.9
    heights = {}
    for name, mask in regions.masks().items():
        layers = np.flatnonzero(mask.any(axis=(1, 2)))
        heights[name] = (layers[0], layers[-1])
    low, middle, high = (heights[f"left lung, {third} third"] for third in ("lower", "middle", "upper"))
    assert low[1] + 1 == middle[0] and middle[1] + 1 == high[0]
    assert np.ptp([b - a for a, b in (low, middle, high)]) <= 1


def ball_regions(radius_mm: float) -> Regions:
    grid = Grid((41, 41, 41), (3.0, 3.0, 3.0), (-60.0,) * 3)
    inside = np.linalg.norm(grid.points(), axis=-1) <= radius_mm
    return Regions(inside.astype(np.uint8), np.zeros(inside.shape, bool), grid, {1: "lung"})


def one_landmark(regions: Regions, error=(3.0, 0.0, 0.0)):
    point = np.zeros((1, 3))
    pair = Landmarks(point, point - error, np.ones(1), ["lung"], np.zeros(1, bool), 1.0, 1)
    return errors_of(IDENTITY, pair, regions)


def test_coverage_is_the_share_of_a_region_that_a_landmark_is_near_to():
    errors = one_landmark(ball_regions(30.0))
    (region,) = errors.regions
    assert region.uncovered == pytest.approx(1 - (COVERED_MM / 30.0) ** 3, abs=0.02)
    assert region.sentence == f"No landmark in {100 * region.uncovered:.0f} % of the lung."


def test_the_map_says_the_error_near_a_landmark_and_nothing_far_from_all():
    regions = ball_regions(30.0)
    told = error_map(one_landmark(regions), regions)
    distance = np.linalg.norm(regions.grid.points(), axis=-1)
    np.testing.assert_allclose(told.array[distance <= COVERED_MM], 3.0, rtol=1e-6)
    assert np.isnan(told.array[distance > COVERED_MM]).all()


def test_a_region_without_a_landmark_is_named():
    regions = ball_regions(30.0)
    both = Regions(regions.labels, regions.labels > 0, regions.grid, regions.names)
    errors = one_landmark(both)
    near = next(region for region in errors.regions if region.name == NEAR_PLEURA)
    assert near.n == 0 and near.error is None
    assert near.sentence == f"No landmark in the lung {NEAR_PLEURA}: nothing is known of it."


def test_the_report_names_the_worst_place():
    regions = ball_regions(20.0)
    check = Check(one_landmark(regions, (0.0, 0.0, 5.0)), error_map(one_landmark(regions), regions))
    (worst,) = check.report["worst"]
    assert worst["error_mm"] == pytest.approx(5.0) and worst["region"] == "lung"
    np.testing.assert_allclose(worst["vector_mm"], (0, 0, 5))
    assert check.summary.startswith("1 landmark: error 5.00 mm on average")


def test_a_keypoint_lies_where_two_rods_cross_and_none_along_a_rod():
    grid = Grid((48, 48, 48), (1.5, 1.5, 1.5), (-35.25,) * 3)
    points = grid.points()
    hu = np.full(grid.shape, -850.0)
    for axis in (0, 1):
        across = np.delete(points, axis, axis=-1)
        hu = np.maximum(hu, 900 * np.exp(-0.5 * np.sum(across**2, axis=-1) / 2.0**2) - 850)
    regions = Regions(np.ones(grid.shape, np.uint8), np.zeros(grid.shape, bool), grid, {1: "lung"})
    found = find_keypoints(Volume(hu.astype(np.float32), grid, "fixed"), regions, 1, 0)
    # Within the rods' widths of where they cross; they are 70 mm long.
    assert np.linalg.norm(found[0]) <= 6.0


def test_smaller_structures_are_looked_for_away_from_what_was_matched_and_first_where_nothing_was():
    grid = Grid((56, 40, 40), (1.5, 1.5, 1.5), (-41.25, -29.25, -29.25))
    places = np.stack(np.meshgrid([-28, -14, 0, 14, 28], [-9, 9], [-9, 9]), axis=-1).reshape(-1, 3)
    points, hu = grid.points(), np.full(grid.shape, -850.0)
    for place in places:
        hu += 600 * np.exp(-0.5 * np.sum((points - place) ** 2, axis=-1) / 1.5**2)
    regions = Regions(np.ones(grid.shape, np.uint8), np.zeros(grid.shape, bool), grid, {1: "lung"})
    matched = places[places[:, 0] < 0].astype(float)
    tried = np.concatenate([matched, [[14.0, 9.0, 9.0]]])
    found = find_smaller(Volume(hu.astype(np.float32), grid, "fixed"), regions, tried, matched, 15.0, 100)
    nearest = np.linalg.norm(found[:, None] - matched, axis=-1).min(axis=1)
    far = nearest > 15.0
    assert nearest.min() > 4.0 and far.sum() >= 4 and (np.diff(far.astype(int)) <= 0).all()
    assert np.linalg.norm(found - tried[-1], axis=1).min() > 2.0
    # The balls that nobody tried are among them.
    for ball in places[places[:, 0] == 28]:
        assert np.linalg.norm(found - ball, axis=1).min() < 2.0


def test_correlation_is_that_of_numpy_at_every_shift():
    rng = np.random.default_rng(0)
    patches, blocks = rng.normal(0, 100, (2, 5, 5, 5)), rng.normal(50, 80, (2, 9, 9, 9))
    ours = correlations(patches.astype(np.float32), blocks.astype(np.float32))
    assert ours.shape == (2, 5, 5, 5)
    for n, k, j, i in ((0, 0, 0, 0), (0, 4, 2, 1), (1, 3, 0, 4)):
        window = blocks[n, k : k + 5, j : j + 5, i : i + 5]
        expected = np.corrcoef(patches[n].ravel(), window.ravel())[0, 1]
        assert ours[n, k, j, i] == pytest.approx(expected, abs=1e-4)


def test_a_rib_that_moves_like_the_lung_beside_it_is_an_outlier():
    rng = np.random.default_rng(0)
    points = rng.uniform(-60, 60, (160, 3))
    lungs = points[:, 0] < 0
    matched = points + np.where(lungs[:, None], (0, 0, 36.0), 0.0) + rng.normal(0, 0.5, (160, 3))
    rib = np.flatnonzero(~lungs)[np.argmin(points[~lungs, 0])]
    matched[rib] += (0, 0, 36)
    start = Guide(np.eye(3), np.zeros(3), points[:0], points[:0], np.zeros(0))
    confidence = without_outliers(points, matched, np.ones(160), start, lungs)
    assert confidence[rib] == 0
    assert np.delete(confidence, rib).mean() > 0.95


def test_what_shows_nothing_correlates_with_nothing():
    flat, block = np.full((1, 5, 5, 5), 40.0), np.random.default_rng(0).normal(0, 100, (1, 9, 9, 9))
    assert not correlations(flat, block).any()


def test_a_peak_is_read_between_samples():
    k, j, i = np.meshgrid(*[np.arange(-6, 7)] * 3, indexing="ij")
    at, height = peak(0.9 * np.exp(-((k - 1.0) ** 2 + (j + 2.3) ** 2 + (i - 0.4) ** 2) / 8))
    np.testing.assert_allclose(at, (0.4, -2.3, 1.0), atol=0.05)
    assert height == pytest.approx(0.9, abs=0.05)


def texture(points: np.ndarray) -> np.ndarray:
    """Waves of several directions and lengths, HU, at points (..., 3) in mm."""
    rng = np.random.default_rng(3)
    waves = rng.normal(0, 0.25, (30, 3))
    return 60 * np.cos(points @ waves.T + rng.uniform(0, 6, 30)).sum(axis=-1)


def test_a_patch_that_moved_and_was_stretched_is_found_to_a_tenth_of_a_voxel_in_other_brightness():
    grid = Grid((41, 41, 41), (1.5,) * 3, (-30.0,) * 3)
    rng = np.random.default_rng(0)
    stretch = np.eye(3) + rng.uniform(-0.12, 0.12, (3, 3))
    shift = np.array([2.0, -1.1, 0.7])
    back = np.linalg.inv(stretch)
    here = Picture((texture(grid.points())).astype(np.float32), grid)
    there = Picture((0.7 * texture((grid.points() - shift) @ back.T) + 100).astype(np.float32), grid)
    points = rng.uniform(-6, 6, (5, 3))
    exact = points @ stretch.T + shift
    start = exact + rng.uniform(-1.2, 1.2, (5, 3))
    found = refine(here, there, points, start, np.broadcast_to(np.eye(3), (5, 3, 3)), 6, 1.5)
    assert np.linalg.norm(start - exact, axis=1).min() > 0.5
    assert np.linalg.norm(found.matched - exact, axis=1).max() < 0.15
    np.testing.assert_allclose(found.shapes, np.broadcast_to(stretch, (5, 3, 3)), atol=0.04)
    assert found.alike.min() > 0.98


def test_a_match_along_a_rod_is_less_sure_than_one_at_a_ball_and_nothing_is_found_in_nothing():
    grid = Grid((41, 41, 41), (1.5,) * 3, (-30.0,) * 3)
    rng = np.random.default_rng(0)
    x, y, z = np.moveaxis(grid.points(), -1, 0)
    unsure = []
    for squares in (x**2 + y**2, x**2 + y**2 + z**2):
        seen = 800 * np.exp(-squares / 2 / 3.0**2)
        pictures = [Picture((seen + rng.normal(0, 20, seen.shape)).astype(np.float32), grid) for _ in "ab"]
        found = refine(*pictures, np.zeros((1, 3)), np.zeros((1, 3)), np.eye(3)[None], 6, 1.5)
        unsure.append(found.unsure[0])
    assert unsure[0] > 3 * unsure[1]
    empty = Picture(np.zeros(grid.shape, np.float32), grid)
    flat = refine(empty, empty, np.zeros((1, 3)), np.ones((1, 3)), np.eye(3)[None], 6, 1.5)
    assert flat.alike[0] == 0 and np.isfinite(flat.matched).all()


def test_landmarks_of_a_pair_of_another_hand_are_right_within_a_voxel(shared_data):
    folder = shared_data / "known_truth" / "G"
    scans = [read_volume(folder / f"{role}.nii.gz", role) for role in ("fixed", "moving")]
    found = find_landmarks(*scans, 120)
    truth = map_points(read_transform(folder / "truth.nii.gz"), found.fixed)
    inside = np.array([region != BODY for region in found.regions])
    off = np.linalg.norm(found.moving - truth, axis=1)
    assert np.mean(off[inside] < found.voxel_mm) >= 0.95
