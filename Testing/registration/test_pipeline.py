"""The whole method on pairs whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy import ndimage

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.registration.backends import use_backend
from GLIDERegLib.registration.field import DisplacementField
from GLIDERegLib.registration.pair_inputs import PairInputs
from GLIDERegLib.registration.pipeline import register_pair
from GLIDERegLib.registration.progress import Stages
from GLIDERegLib.registration.result import Outcome

VOXEL = 5.0  # mm, of the phantom
FOUND = VOXEL / 3  # mm, mean landmark error of a registration that worked
CPU = torch.device("cpu")
FAST = Settings.preset("fast", features="local")
SHIFT = 8


def solve(fixed: Volume, moving: Volume, settings: Settings | None = None, **given) -> Outcome:
    settings = settings or Settings.preset("default", features="local")
    return register_pair(PairInputs(fixed, moving, **given), settings, Stages(CPU, None, None), CPU)


def landmark_errors(outcome: Outcome, fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
    return np.linalg.norm(outcome.displacement.transform_points(fixed) - moving, axis=1)


@pytest.fixture(scope="module")
def phantom(chest):
    assert chest.fixed.grid.spacing == (VOXEL,) * 3
    return chest


@pytest.fixture(scope="module")
def outcome(phantom) -> Outcome:
    """Of the preset "default"."""
    return solve(phantom.fixed, phantom.moving)


@pytest.fixture(scope="module")
def fast(phantom) -> Outcome:
    """Of the preset "fast"."""
    return solve(phantom.fixed, phantom.moving, FAST)


def test_intensities_beside_mind_bring_landmarks_closer(phantom, outcome):
    settings = Settings.preset("default", features="local", intensity_share=0.0)
    without = solve(phantom.fixed, phantom.moving, settings)
    marks = phantom.fixed_landmarks, phantom.moving_landmarks
    gain = landmark_errors(without, *marks) - landmark_errors(outcome, *marks)
    # More than chance: the mean gain against its standard error.
    assert gain.mean() > 3 * gain.std() / np.sqrt(len(gain))


class TestShift:
    """A shift of eight voxels is found as eight voxels, not as 8 (N - 1) / N, and not less at the faces."""

    @pytest.mark.parametrize("size", [(48, 48, 48), (64, 64, 64), (53, 61, 47)])
    def test_everywhere_but_where_content_left(self, size):
        error = self.error(size)
        # 8 (N - 1) / N would be 0.08 to 0.17 short everywhere; at a corner bending may leave a tenth.
        assert error.mean() <= 0.02
        assert error.max() <= 0.1

    def error(self, size: tuple[int, int, int]) -> np.ndarray:
        """Largest component of the error in voxels, (z, y, x), without the strip whose content left."""
        scene = texture(np.random.default_rng(sum(size)), [n + SHIFT for n in size[::-1]])
        # A fixed voxel x shows what the moving image has at x + 8 along the first axis.
        z, y, x = size[::-1]
        moving = Volume(scene[:z, :y, :x], Grid(size))
        fixed = Volume(scene[:z, :y, SHIFT : SHIFT + x], Grid(size))
        field = solve(fixed, moving, Settings.preset("default", features="local", align="none")).displacement
        return np.abs(field.at(fixed.grid.points()) - (SHIFT, 0, 0)).max(axis=-1)[:, :, : x - SHIFT]


class TestGeometry:
    """The same anatomy under another geometry gives the same physical displacement."""

    @pytest.mark.parametrize("flips", [(False, False, True), (True, True, False)])
    def test_flipped_and_feet_first(self, phantom, fast, flips):
        self.check_same(phantom, fast, *(flipped(v, flips) for v in (phantom.fixed, phantom.moving)))

    def test_axes_in_another_order(self, phantom, fast):
        self.check_same(phantom, fast, reordered(phantom.fixed), phantom.moving)

    def check_same(self, phantom, fast, fixed, moving):
        points = phantom.fixed_landmarks
        assert landmark_errors(fast, points, phantom.moving_landmarks).mean() < FOUND
        apart = solve(fixed, moving, FAST).displacement.at(points) - fast.displacement.at(points)
        assert np.linalg.norm(apart, axis=1).mean() <= 0.3

    def test_the_whole_scene_rotated_and_moved(self, phantom):
        as_it_lies = replace(FAST, align="none")
        reference = solve(phantom.fixed, phantom.moving, as_it_lies).displacement
        reference = reference.transform_points(phantom.fixed_landmarks)
        motion = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.3, -0.2, 0.4, (150.0, -80.0, 900.0))
        fixed, moving = (carried(v, motion) for v in (phantom.fixed, phantom.moving))
        outcome = solve(fixed, moving, as_it_lies)
        here = np.array([motion.TransformPoint(p) for p in phantom.fixed_landmarks.tolist()])
        back = motion.GetInverse()
        found = np.array(
            [back.TransformPoint(p) for p in outcome.displacement.transform_points(here).tolist()]
        )
        assert np.linalg.norm(found - reference, axis=1).mean() <= 0.3

    def test_anisotropic_oblique_moving_scan_on_a_shifted_origin(self, phantom, fast):
        motion = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.1, 0.05, -0.15, (4.0, -7.0, 5.0))
        axes = np.asarray(motion.GetMatrix()).reshape(3, 3)
        size, spacing = np.array((120, 130, 64)), np.array((3.3, 3.1, 5.5))
        origin = phantom.moving.grid.center - axes @ ((size - 1) / 2 * spacing)
        grid = Grid(
            tuple(size.tolist()),
            tuple(spacing.tolist()),
            tuple(origin.tolist()),
            tuple(axes.ravel().tolist()),
        )
        found = solve(phantom.fixed, resampled(phantom.moving, grid), FAST).displacement
        errors = np.linalg.norm(
            found.transform_points(phantom.fixed_landmarks) - phantom.moving_landmarks, axis=1
        )
        straight = landmark_errors(fast, phantom.fixed_landmarks, phantom.moving_landmarks)
        assert errors.mean() <= straight.mean() + 0.3


class TestStart:
    def test_scans_far_apart_need_no_option(self, phantom):
        far = replace(phantom.moving, grid=replace(phantom.moving.grid, origin=(800.0, -500.0, 1200.0)))
        offset = np.asarray(far.grid.origin) - phantom.moving.grid.origin
        errors = landmark_errors(
            solve(phantom.fixed, far, FAST), phantom.fixed_landmarks, phantom.moving_landmarks + offset
        )
        assert errors.mean() < FOUND

    def test_scans_far_apart_are_refused_when_they_must_stay(self, phantom):
        far = replace(phantom.moving, grid=replace(phantom.moving.grid, origin=(800.0, -500.0, 1200.0)))
        with pytest.raises(InputError, match="do not overlap"):
            solve(phantom.fixed, far, Settings.preset("default", features="local", align="none"))

    def test_an_initial_transform_composes(self, phantom):
        initial = sitk.TranslationTransform(3, (0.0, 0.0, -12.0))
        outcome = solve(phantom.fixed, phantom.moving, initial=initial)
        assert landmark_errors(outcome, phantom.fixed_landmarks, phantom.moving_landmarks).mean() < FOUND
        beyond = np.array([[0.0, 0.0, 5000.0]])
        assert np.allclose(outcome.displacement.at(beyond), [[0.0, 0.0, -12.0]])

    def test_a_curved_initial_transform_composes(self, phantom):
        grid = phantom.fixed.grid.resized((16.0,) * 3, (2,) * 3, (2,) * 3)
        half = 0.5 * phantom.displacement(grid.points()).astype(np.float32)
        outcome = solve(phantom.fixed, phantom.moving, initial=DisplacementField(half, grid).to_sitk())
        assert landmark_errors(outcome, phantom.fixed_landmarks, phantom.moving_landmarks).mean() < FOUND


class TestResult:
    def test_the_landmarks_are_found(self, phantom, outcome):
        assert landmark_errors(outcome, phantom.fixed_landmarks, phantom.moving_landmarks).mean() < FOUND

    def test_nothing_folds(self, outcome, fast):
        for field in (outcome.displacement, fast.displacement):
            assert (field.jacobian_determinant() > 0).all()

    def test_the_same_seed_gives_the_same_bits(self, phantom, outcome):
        again = solve(phantom.fixed, phantom.moving).displacement.vectors
        assert np.array_equal(again, outcome.displacement.vectors)

    def test_plain_pytorch_alone_gives_the_same_field(self, phantom, fast, monkeypatch):
        """Nothing of numba's is called on the way: every step has its equal in plain PyTorch."""
        pytest.importorskip("numba")
        from GLIDERegLib.registration.backends import backend_for
        from GLIDERegLib.registration.backends.numba.compiling import Kernel

        assert backend_for(CPU).name == "numba"
        monkeypatch.setattr(Kernel, "__call__", lambda *_: pytest.fail("a kernel of numba's was called"))
        with use_backend("torch"):
            plain = solve(phantom.fixed, phantom.moving, FAST)
            found, again = (result.displacement.at(phantom.fixed_landmarks) for result in (fast, plain))
        assert np.linalg.norm(found, axis=1).mean() > VOXEL
        assert np.linalg.norm(found - again, axis=1).mean() < VOXEL / 20

    def test_both_directions_agree_when_symmetric(self, phantom, fast):
        points = phantom.fixed_landmarks

        def round_trip(there: Outcome, back: Outcome) -> float:
            returned = back.displacement.transform_points(there.displacement.transform_points(points))
            return np.linalg.norm(returned - points, axis=1).mean()

        without = round_trip(fast, solve(phantom.moving, phantom.fixed, FAST))
        both = replace(FAST, symmetric=True)
        there, back = (
            solve(*pair, both) for pair in ((phantom.fixed, phantom.moving), (phantom.moving, phantom.fixed))
        )
        assert round_trip(there, back) < 0.7 * without

    def test_a_mask_shuts_out_what_must_not_count(self, phantom):
        spoiled = phantom.moving.array.copy()
        spoiled[:, :, :30] = np.random.default_rng(0).integers(-1000, 1000, spoiled[:, :, :30].shape)
        moving_mask = np.ones(spoiled.shape, bool)
        moving_mask[:, :, :34] = False
        away = phantom.moving.grid.to_index(phantom.moving_landmarks)[:, 0] > 46
        outcome = solve(
            phantom.fixed,
            replace(phantom.moving, array=spoiled),
            Settings.preset("default", features="local", align="none"),
            moving_mask=moving_mask,
        )
        assert (
            landmark_errors(outcome, phantom.fixed_landmarks, phantom.moving_landmarks)[away].mean() < FOUND
        )


def texture(rng: np.random.Generator, shape: list[int]) -> np.ndarray:
    """Structures of several sizes, as anatomy has them."""
    scales = [ndimage.gaussian_filter(rng.standard_normal(shape), sigma) for sigma in (1.2, 2.5, 5.0)]
    return (100 * sum(scale / scale.std() for scale in scales)).astype(np.float32)


def flipped(volume: Volume, flips: tuple[bool, bool, bool]) -> Volume:
    """The same image with its x, y, z index axes turned round."""
    array = volume.array[tuple(slice(None, None, -1 if f else None) for f in flips[::-1])]
    first = [n - 1 if f else 0 for n, f in zip(volume.grid.size, flips, strict=True)]
    axes = volume.grid.axes * [-1 if f else 1 for f in flips]
    origin = volume.grid.to_physical(np.array(first))
    grid = replace(volume.grid, origin=tuple(origin.tolist()), direction=tuple(axes.ravel().tolist()))
    return Volume(np.ascontiguousarray(array), grid)


def reordered(volume: Volume) -> Volume:
    """The same image stored with its index axes in the order z, x, y."""
    order = [2, 0, 1]
    grid = volume.grid
    axes = grid.axes[:, order]
    array = np.ascontiguousarray(volume.array.transpose([2 - a for a in order[::-1]]))
    size, spacing = ([values[a] for a in order] for values in (grid.size, grid.spacing))
    return Volume(array, Grid(tuple(size), tuple(spacing), grid.origin, tuple(axes.ravel().tolist())))


def carried(volume: Volume, motion: sitk.Transform) -> Volume:
    """The same image moved rigidly: new origin and direction, the same voxels."""
    axes = np.asarray(motion.GetMatrix()).reshape(3, 3) @ volume.grid.axes
    origin = motion.TransformPoint(volume.grid.origin)
    return Volume(volume.array, replace(volume.grid, origin=origin, direction=tuple(axes.ravel().tolist())))


def resampled(volume: Volume, grid: Grid) -> Volume:
    index = np.moveaxis(volume.grid.to_index(grid.points())[..., ::-1], -1, 0)
    return Volume(
        ndimage.map_coordinates(volume.array.astype(np.float32), index, order=1, cval=-1000.0), grid
    )
