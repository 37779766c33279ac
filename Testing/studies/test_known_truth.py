"""A scan warped by a known motion: the truth is exact, sound, and is what the moving image shows."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.evaluation.evaluate import evaluate_transform
from GLIDERegLib.files.transforms import read_transform
from GLIDERegLib.files.volumes import read_mask, read_volume, to_sitk
from GLIDERegLib.registration.field import jacobian_determinant
from GLIDERegLib.studies.datasets.known_truth import STEEPEST, Motion, warp_real, write_field
from GLIDERegLib.transforms.points import map_points

TURNED = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)
GRID = Grid((56, 50, 60), (4.0, 4.5, 3.5), (-60.0, 20.0, -300.0), TURNED)
CORNERS = np.array([[-100.0, -80, -110], [100, 90, 120]])


@pytest.fixture(scope="module")
def scan():
    """Smooth soft tissue, about 100 HU apart over some 30 mm, on an anisotropic grid turned about z."""
    noise = np.random.default_rng(0).standard_normal(GRID.shape).astype(np.float32)
    smooth = ndimage.gaussian_filter(noise, np.divide(12.0, GRID.spacing[::-1]))
    return Volume((smooth * (100 / smooth.std())).astype(np.float32), GRID, "scan")


@pytest.fixture(scope="module")
def mask():
    """An ellipsoid in the middle of the scan."""
    away = (GRID.points() - GRID.center) / (70, 70, 75)
    return np.linalg.norm(away, axis=-1) < 1


@pytest.fixture(scope="module")
def warped(scan, mask):
    return warp_real(scan, seed=3, amplitude_mm=16.0, mask=mask, noise_hu=0.0)


@pytest.mark.parametrize("seed", range(4))
def test_the_truth_after_its_inverse_leads_back(seed):
    motion = Motion(CORNERS, 20.0, seed)
    grid = Grid((21, 19, 23), (14.0, 13.0, 15.0), (-140.0, -120.0, -160.0))
    back = motion.inverse_on(grid).astype(float)
    assert np.abs(back + motion.displacement(back) - grid.points()).max() < 0.01
    points = np.random.default_rng(seed).uniform(-150, 150, (200, 3))
    there = points + motion.displacement(points)
    np.testing.assert_allclose(motion.inverse(there), points, atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_the_motion_never_folds_and_is_nowhere_steeper_than_it_says(seed):
    motion = Motion(CORNERS, 20.0, seed)
    grid = Grid((61, 55, 63), (6.0, 6.0, 6.0), (-180.0, -165.0, -190.0))
    determinant = jacobian_determinant(motion.displacement(grid.points()), grid)
    assert motion.steepest <= STEEPEST
    # Central differences over 12 mm only average the slope.
    assert determinant.min() >= (1 - motion.steepest) ** 3 - 0.01
    assert determinant.min() > 0


def test_the_gradient_is_that_of_the_displacement():
    motion = Motion(CORNERS, 20.0, 1)
    points = np.random.default_rng(1).uniform(-100, 100, (50, 3))
    step = 0.01
    numerical = np.stack(
        [
            (motion.displacement(points + step * e) - motion.displacement(points - step * e)) / (2 * step)
            for e in np.eye(3)
        ],
        axis=-1,
    )
    np.testing.assert_allclose(motion.gradient(points), numerical, atol=1e-7)


@pytest.mark.parametrize("amplitude", [5.0, 20.0])
def test_the_largest_displacement_in_the_region_is_the_amplitude(amplitude):
    motion = Motion(CORNERS, amplitude, 2)
    points = np.random.default_rng(2).uniform(*CORNERS, (50000, 3))
    largest = np.linalg.norm(motion.displacement(points), axis=1).max()
    assert largest == pytest.approx(amplitude, rel=0.02)


def test_the_lower_part_goes_towards_the_feet():
    motion = Motion(CORNERS, 20.0, 0)
    assert motion.displacement(np.array([0.0, 5.0, -64.0]))[2] < -10


def test_a_motion_that_could_fold_so_small_a_region_is_refused_with_one_that_does_not():
    with pytest.raises(InputError, match="choose at most (\\d+) mm") as refused:
        Motion(CORNERS / 2, 60.0, 0)
    most = float(str(refused.value).split("at most ")[1].split(" ")[0])
    assert Motion(CORNERS / 2, most - 1, 0).steepest <= STEEPEST


def test_the_moving_image_shows_the_scan_where_the_truth_puts_it(scan, warped, tmp_path):
    write_field(warped.motion.displacement, warped.truth_grid, tmp_path / "truth.mha")
    truth = read_transform(tmp_path / "truth.mha")
    # SimpleITK reads the moving image at the truth of every fixed voxel: the scan itself must come back.
    back = sitk.Resample(to_sitk(warped.moving), to_sitk(scan), truth, sitk.sitkBSpline, -9999.0)
    restored = sitk.GetArrayFromImage(back)
    inner = np.zeros(GRID.shape, bool)
    inner[8:-8, 8:-8, 8:-8] = True
    difference = (restored - scan.array)[inner & (restored > -2000)]
    unmoved = sitk.Resample(to_sitk(warped.moving), to_sitk(scan), sitk.Transform(), sitk.sitkBSpline, 0.0)
    before = np.abs(sitk.GetArrayFromImage(unmoved) - scan.array)[inner].mean()
    assert np.abs(difference).mean() < 0.02 * before
    assert np.abs(difference).max() < 5


def test_the_written_truth_is_the_motion_everywhere(warped, tmp_path):
    write_field(warped.motion.displacement, warped.truth_grid, tmp_path / "truth.mha")
    truth = read_transform(tmp_path / "truth.mha")
    index = np.random.default_rng(5).uniform(-0.4, np.subtract(GRID.size, 0.6), (500, 3))
    points = GRID.to_physical(index)
    error = map_points(truth, points) - points - warped.motion.displacement(points)
    assert np.linalg.norm(error, axis=1).max() < 0.01


def test_points_lie_in_the_mask_away_from_all_faces_and_move_by_the_truth(warped, mask):
    fixed, moving = warped.fixed_points, warped.moving_points
    assert fixed.shape == (300, 3)
    np.testing.assert_allclose(moving, fixed + warped.motion.displacement(fixed), atol=1e-9)
    i, j, k = np.rint(GRID.to_index(fixed)).astype(int).T
    assert mask[k, j, i].all()
    for grid, points in ((GRID, fixed), (warped.moving.grid, moving)):
        index = grid.to_index(points)
        assert ((index + 0.5) * grid.spacing >= 8 - 1e-6).all()
        assert ((np.array(grid.size) - 0.5 - index) * grid.spacing >= 8 - 1e-6).all()


def test_the_moving_mask_is_the_mask_moved(warped, mask):
    inside = warped.moving_mask[
        tuple(np.rint(warped.moving.grid.to_index(warped.moving_points)).astype(int).T[::-1])
    ]
    assert inside.mean() > 0.95
    back = warped.motion.inverse(warped.moving.grid.points()[warped.moving_mask])
    i, j, k = np.rint(GRID.to_index(back)).astype(int).T
    assert mask[k, j, i].mean() > 0.99


def test_the_evaluation_finds_no_error_in_the_truth(scan, mask, warped, tmp_path):
    write_field(warped.motion.displacement, warped.truth_grid, tmp_path / "truth.mha")
    report = evaluate_transform(
        read_transform(tmp_path / "truth.mha"),
        scan,
        warped.moving,
        warped.fixed_points,
        warped.moving_points,
        mask=Volume(mask.astype(np.uint8), GRID),
    )
    error = report["target_registration_error"]
    assert error["initial"]["max"] > 10
    assert error["final"]["max"] < 0.01
    assert report["jacobian"]["share_not_positive"] == 0


def test_noise_is_added_to_the_moving_image_as_strong_as_stated(scan, mask, warped):
    noisy = warp_real(scan, seed=3, amplitude_mm=16.0, mask=mask, noise_hu=20.0)
    within = np.abs(warped.moving.array) < 150  # where no value is clipped
    added = (noisy.moving.array - warped.moving.array)[within]
    assert added.std() == pytest.approx(20, rel=0.03)
    assert abs(added.mean()) < 0.5
    np.testing.assert_array_equal(noisy.fixed_points, warped.fixed_points)


def test_no_voxel_of_the_moving_image_lies_on_one_of_the_fixed_lattice(warped):
    apart = np.mod(GRID.to_index(np.array(warped.moving.grid.origin)), 1)
    assert (apart > 0.25).all()
    assert (apart < 0.75).all()


def test_a_seed_makes_the_same_pair_again_and_another_another(scan, mask, warped):
    again = warp_real(scan, seed=3, amplitude_mm=16.0, mask=mask, noise_hu=0.0)
    np.testing.assert_array_equal(again.moving.array, warped.moving.array)
    other = warp_real(scan, seed=4, amplitude_mm=16.0, mask=mask, noise_hu=0.0)
    shared = other.motion.displacement(warped.fixed_points) - warped.motion.displacement(warped.fixed_points)
    assert np.linalg.norm(shared, axis=1).mean() > 1


def test_without_a_mask_points_lie_in_the_body_and_integer_scans_stay_integer(small_phantom):
    warped = warp_real(small_phantom.fixed, seed=0, amplitude_mm=20.0)
    assert warped.moving_mask is None
    assert warped.moving.array.dtype == small_phantom.fixed.array.dtype
    i, j, k = np.rint(small_phantom.fixed.grid.to_index(warped.fixed_points)).astype(int).T
    # What bears no label in the body is fat and muscle; a voxel of 6 mm at an edge is mixed of both sides.
    inside = (small_phantom.fixed_labels.array > 0) | (small_phantom.fixed.array > -300)
    assert ndimage.binary_dilation(inside)[k, j, i].mean() > 0.98


def test_what_lies_outside_the_scanners_field_of_view_does_not_ring(mask):
    array = np.full(GRID.shape, 40, np.int16)
    array[:, :8] = -2048
    moving = warp_real(Volume(array, GRID), 0, 10.0, mask, noise_hu=0.0).moving.array
    assert moving.min() >= -1024
    assert moving.max() <= 40


@pytest.mark.parametrize("amplitude", [0.0, -3.0])
def test_an_amplitude_that_moves_nothing_is_refused(scan, mask, amplitude):
    with pytest.raises(InputError, match="more than 0 mm"):
        warp_real(scan, 0, amplitude, mask)


def test_a_region_at_the_face_of_the_scan_gives_no_points(scan):
    mask = np.zeros(GRID.shape, bool)
    mask[:, :, 0] = True
    with pytest.raises(InputError, match="8 mm inside"):
        warp_real(scan, 0, 3.0, mask)


def test_a_real_scan_is_warped_as_well(shared_data, tmp_path):
    folder = shared_data / "lung_right"
    real = read_volume(folder / "3DCT_lung_baseline.mha")
    inside = read_mask(folder / "3DCT_lung_baseline_mask.mha", real.grid)
    warped = warp_real(real, 0, 16.0, inside)
    write_field(warped.motion.displacement, warped.truth_grid, tmp_path / "truth.mha")
    lung = Volume(inside.astype(np.uint8), real.grid)
    truth = read_transform(tmp_path / "truth.mha")
    report = evaluate_transform(
        truth, real, warped.moving, warped.fixed_points, warped.moving_points, mask=lung
    )
    assert report["target_registration_error"]["final"]["max"] < 0.01
    assert (
        report["similarity"]["final"]["normalised_cross_correlation"]
        > report["similarity"]["initial"]["normalised_cross_correlation"] + 0.1
    )
