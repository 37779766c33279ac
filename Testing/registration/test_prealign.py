import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.evaluation.phantom import make_phantom
from GLIDERegLib.registration import prealign as module
from GLIDERegLib.registration.prealign import SPACING_MM, linear_parts, prealign, to_affine


@pytest.fixture(scope="module")
def still():
    """Two scans of one chest that does not breathe: placed elsewhere, the truth is the placement."""
    return make_phantom(size=(56, 48, 48), spacing=(6.0, 6.0, 6.0), amplitude_mm=0.0)


@pytest.fixture(scope="module")
def breathing():
    return make_phantom(size=(56, 48, 48), spacing=(6.0, 6.0, 6.0), amplitude_mm=20.0)


def placed(volume, matrix, shift):
    """The same voxels in a space turned (and stretched) about the centre and shifted; the map of points."""
    grid = volume.grid
    axes = matrix @ grid.axes
    scale = np.linalg.norm(axes, axis=0)
    offset = grid.center + shift - matrix @ grid.center
    origin = matrix @ np.asarray(grid.origin) + offset
    spacing = tuple((np.asarray(grid.spacing) * scale).tolist())
    moved = Grid(grid.size, spacing, tuple(origin.tolist()), tuple((axes / scale).ravel().tolist()))
    return Volume(volume.array, moved, volume.name), lambda points: points @ matrix.T + offset


def turn(degrees, axis):
    return Rotation.from_rotvec(
        np.deg2rad(degrees) * np.asarray(axis, float) / np.linalg.norm(axis)
    ).as_matrix()


def crop(volume, z=slice(None), y=slice(None), x=slice(None)):
    first = volume.grid.to_physical(np.array([x.start or 0, y.start or 0, z.start or 0]))
    array = np.ascontiguousarray(volume.array[z, y, x])
    grid = Grid(array.shape[::-1], volume.grid.spacing, tuple(first.tolist()), volume.grid.direction)
    return Volume(array, grid, volume.name)


def errors(transform, points, expected):
    mapped = np.array([transform.TransformPoint(p) for p in points.tolist()])
    return np.linalg.norm(mapped - expected, axis=1)


def score(fixed, moving, transform):
    pair = module._coarse(fixed, None, "fixed"), module._coarse(moving, None, "moving")
    images = [module.to_image(p.array, p.grid) for p in pair]
    masks = [module.to_image(p.weight.astype(np.uint8), p.grid) for p in pair]
    return module._mutual_information(images, masks, transform), module._best_translation(images, masks)


def test_none_is_the_identity_and_center_moves_centre_onto_centre(still):
    moving, _ = placed(still.moving, turn(30, (1, 2, 3)), np.array([50.0, 60.0, -70.0]))
    point = (1.0, 2.0, 3.0)
    assert prealign(still.fixed, moving, "none").TransformPoint(point) == point
    center = prealign(still.fixed, moving, "center")
    np.testing.assert_allclose(center.TransformPoint(still.fixed.grid.center.tolist()), moving.grid.center)
    np.testing.assert_allclose(linear_parts(center)[0], np.eye(3))


@pytest.mark.parametrize("shift", [(200.0, -200.0, 200.0), (0.0, 0.0, -200.0), (-7.0, 11.0, 3.0)])
def test_a_translation_is_found_to_a_fraction_of_a_millimetre(still, shift):
    moving, truth = placed(still.moving, np.eye(3), np.array(shift))
    found = prealign(still.fixed, moving, "rigid")
    assert errors(found, still.fixed_landmarks, truth(still.fixed_landmarks)).max() < 0.5


@pytest.mark.parametrize(
    ("degrees", "axis", "shift"),
    [
        (10, (0, 0, 1), (0.0, 0.0, 0.0)),
        (-10, (1, 0.3, 0), (40.0, -30.0, 90.0)),
        (12, (0.2, 1, 0.5), (-80.0, 60.0, 150.0)),
    ],
)
def test_a_rotation_of_ten_degrees_is_found_well_within_a_coarse_voxel(still, degrees, axis, shift):
    moving, truth = placed(still.moving, turn(degrees, axis), np.array(shift))
    found = prealign(still.fixed, moving, "rigid")
    assert errors(found, still.fixed_landmarks, truth(still.fixed_landmarks)).max() < 0.2 * SPACING_MM
    matrix, _ = linear_parts(found)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-9)


def test_an_affine_map_is_found_where_a_rigid_one_cannot_follow(still):
    matrix = turn(5, (0, 0, 1)) @ np.diag([1.08, 0.94, 1.05])
    moving, truth = placed(still.moving, matrix, np.array([10.0, -20.0, 60.0]))
    expected = truth(still.fixed_landmarks)
    rigid = errors(prealign(still.fixed, moving, "rigid"), still.fixed_landmarks, expected)
    affine = errors(prealign(still.fixed, moving, "affine"), still.fixed_landmarks, expected)
    assert affine.mean() < 0.5 * SPACING_MM and affine.mean() < 0.5 * rigid.mean()


def test_scans_of_parts_of_the_body_are_laid_onto_each_other(still):
    shift = np.array([15.0, -25.0, 170.0])
    moved, truth = placed(still.moving, np.eye(3), shift)
    moving = crop(moved, z=slice(20, 46), x=slice(4, 40))
    fixed = crop(still.fixed, z=slice(6, 36), y=slice(4, 44))
    found = prealign(fixed, moving, "rigid")
    assert errors(found, still.fixed_landmarks, truth(still.fixed_landmarks)).mean() < 0.5 * SPACING_MM


def test_breathing_is_not_made_worse_than_by_the_best_start(breathing):
    moving, truth = placed(breathing.moving, turn(6, (1, 0, 0)), np.array([0.0, 30.0, -60.0]))
    starts = [sitk.Transform(3, sitk.sitkIdentity), prealign(breathing.fixed, moving, "center")]
    starts.append(score(breathing.fixed, moving, starts[0])[1])
    best = min(score(breathing.fixed, moving, start)[0] for start in starts)
    rigid = prealign(breathing.fixed, moving, "rigid")
    found = score(breathing.fixed, moving, rigid)[0]
    assert found < best < 0
    expected = truth(breathing.moving_landmarks)
    reached = errors(rigid, breathing.fixed_landmarks, expected).mean()
    assert reached < min(errors(start, breathing.fixed_landmarks, expected).mean() for start in starts)


def test_a_breath_within_one_grid_leaves_scans_as_they_lie(breathing):
    """The spine did not move: a transform that follows the lungs half-way would take it along."""
    point = breathing.fixed.grid.center.tolist()
    found = prealign(breathing.fixed, breathing.moving, "rigid")
    assert found.TransformPoint(point) == tuple(point)
    grid = breathing.moving.grid
    last = (0.0, 0.0, (grid.size[2] - 1) * grid.spacing[2])
    axes = grid.axes * (1.0, 1.0, -1.0)
    flipped = Grid(grid.size, grid.spacing, tuple(np.add(grid.origin, last)), tuple(axes.ravel().tolist()))
    upside_down = Volume(np.ascontiguousarray(breathing.moving.array[::-1]), flipped, "moving")
    assert prealign(breathing.fixed, upside_down, "rigid").TransformPoint(point) == tuple(point)
    # Of another grid nothing is known, and what fits best is taken.
    cut = crop(breathing.moving, z=slice(1, None))
    assert 2.0 < np.linalg.norm(
        np.subtract(prealign(breathing.fixed, cut, "rigid").TransformPoint(point), point)
    )


def test_a_patient_who_lay_elsewhere_is_aligned_though_the_grid_is_one(still):
    moved, truth = placed(still.moving, turn(4, (0, 0, 1)), np.array([12.0, -6.0, 18.0]))
    image = module.to_image(moved.array, moved.grid)
    same = sitk.Resample(
        image, module.to_image(still.fixed.array, still.fixed.grid), sitk.Transform(), sitk.sitkLinear, -1000
    )
    moving = Volume(sitk.GetArrayFromImage(same), still.fixed.grid, "moving")
    found = prealign(still.fixed, moving, "rigid")
    assert errors(found, still.fixed_landmarks, truth(still.fixed_landmarks)).max() < 0.5 * SPACING_MM


def test_an_optimisation_that_leads_astray_is_not_taken(still, monkeypatch):
    astray = to_affine(np.eye(3), np.array([60.0, 0.0, 0.0]))
    monkeypatch.setattr(module, "_optimise", lambda *arguments: astray)
    found = prealign(still.fixed, still.moving, "affine")
    assert errors(found, still.fixed_landmarks, still.moving_landmarks).mean() < 1.0


def test_masks_lead_to_the_part_they_name(still):
    """The lungs moved 18 mm up within a body that stayed."""
    labels = still.fixed_labels.array
    lungs, bones = np.isin(labels, (1, 2, 7, 8)), labels == 4
    volume, moved = still.moving.array, np.roll(lungs, 3, axis=0)
    array = np.where(moved, np.roll(volume, 3, axis=0), np.where(lungs, 40, volume))
    array[bones] = volume[bones]
    moving = Volume(array, still.moving.grid, "moving")
    center = still.fixed.grid.to_physical(np.argwhere(lungs).mean(axis=0)[::-1])
    for fixed_mask, moving_mask, expected in ((lungs, moved, 18.0), (bones, bones, 0.0)):
        found = prealign(still.fixed, moving, "rigid", fixed_mask, moving_mask)
        shift = np.array(found.TransformPoint(center.tolist())) - center
        np.testing.assert_allclose(shift, [0, 0, expected], atol=3.0)


@pytest.mark.parametrize("mode", ["rigid", "affine"])
def test_the_same_scans_give_the_same_bits(breathing, mode):
    fixed, moving = (
        crop(breathing.fixed, z=slice(10, 34)),
        crop(breathing.moving, z=slice(12, 38), y=slice(4, 40)),
    )
    first, second = (linear_parts(prealign(fixed, moving, mode)) for _ in range(2))
    assert np.array_equal(first[0], second[0]) and np.array_equal(first[1], second[1])
    assert not np.array_equal(first[0], np.eye(3))


@pytest.mark.parametrize("thickness", [1.0, 2.0, 6.0])
def test_scans_thinner_than_a_coarse_voxel_do_not_fail(still, thickness):
    grid = still.fixed.grid
    thin = Grid((*grid.size[:2], 2), (*grid.spacing[:2], thickness / 2), grid.origin, grid.direction)
    fixed = Volume(still.fixed.array[20:22], thin, "fixed")
    found = prealign(fixed, fixed, "rigid")
    center = fixed.grid.center.tolist()
    np.testing.assert_allclose(found.TransformPoint(center), center, atol=1.0)


def test_the_coarse_grid_is_upright_and_centred_on_the_scan():
    grid = Grid((31, 22, 9), (2.0, 3.0, 1.1), (10.0, 20.0, 30.0), tuple(turn(33, (1, 2, 3)).ravel()))
    coarse = module._upright(grid)
    assert coarse.direction == Grid((1, 1, 1)).direction and coarse.spacing == (SPACING_MM,) * 3
    assert coarse.contains(grid.corners()).all()
    np.testing.assert_allclose(coarse.center, grid.center)


def test_linear_parts_and_to_affine_are_inverse_to_each_other():
    matrix, offset = turn(20, (1, 1, 0)) * 1.1, np.array([4.0, -5.0, 6.0])
    euler = sitk.Euler3DTransform((10.0, 20.0, 30.0), 0.1, 0.2, 0.3, (1.0, 2.0, 3.0))
    for transform in (to_affine(matrix, offset), euler):
        again = to_affine(*linear_parts(transform))
        for point in np.random.default_rng(0).normal(0, 100, (5, 3)).tolist():
            np.testing.assert_allclose(
                again.TransformPoint(point), transform.TransformPoint(point), atol=1e-9
            )
    np.testing.assert_allclose(linear_parts(to_affine(matrix, offset))[0], matrix)
