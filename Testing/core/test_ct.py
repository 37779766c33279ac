"""Images whose numbers are not Hounsfield units register as their twins in HU do."""

import numpy as np
import pytest

import GLIDERegLib as glidereg
from GLIDERegLib.core.ct import OUTSIDE_FIELD_OF_VIEW_HU, in_hounsfield, is_ct, note
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.registration.working_grid import prepare_alone
from GLIDERegLib.transforms.points import map_points

SETTINGS = glidereg.Settings.preset("fast", features="local")
DEFAULT = glidereg.Settings.preset("default", features="local")


def from_zero(hu):
    return (np.clip(hu, -1024, None).astype(np.int32) + 1024).astype(np.uint16)


def lung_window(hu):
    return np.rint(np.clip((hu + 1350.0) / 1500, 0, 1) * 255).astype(np.uint8)


def window(hu):
    return np.rint(np.clip((hu + 1000.0) / 1400, 0, 1) * 255).astype(np.uint8)


def inverted(hu):
    return 255 - window(hu)


def unit(hu):
    return np.clip((hu + 1000.0) / 2000, 0, 1).astype(np.float64)


def thousandth(hu):
    return (hu / 1000.0).astype(np.float32)


def same(hu):
    return hu


def in_numbers(volume, numbers, name="image"):
    return Volume(numbers(volume.array), volume.grid, name)


def error_of(phantom, result):
    apart = map_points(result.transform, phantom.fixed_landmarks) - phantom.moving_landmarks
    return np.linalg.norm(apart, axis=1).mean()


@pytest.fixture(scope="module")
def error_in_hu(small_phantom):
    return error_of(small_phantom, glidereg.register(small_phantom.fixed, small_phantom.moving, SETTINGS))


# An 8-bit lung window of one scan alone cuts off what the other shows of soft tissue and bone: half a voxel.
HALF_VOXEL_MM = 3.0


@pytest.mark.parametrize(
    ("of_fixed", "of_moving"),
    [
        (from_zero, from_zero),
        (lung_window, same),
        (same, unit),
        (thousandth, thousandth),
        (inverted, inverted),
        (same, inverted),
    ],
)
def test_a_pair_in_other_numbers_registers_as_well_as_in_hounsfield_units(
    small_phantom, error_in_hu, of_fixed, of_moving
):
    fixed = in_numbers(small_phantom.fixed, of_fixed, "fixed image")
    moving = in_numbers(small_phantom.moving, of_moving, "moving image")
    result = glidereg.register(fixed, moving, SETTINGS)
    limit = HALF_VOXEL_MM if lung_window in (of_fixed, of_moving) else error_in_hu + 0.1
    assert error_of(small_phantom, result) < limit
    warnings = " ".join(result.report["warnings"])
    for numbers, role in ((of_fixed, "fixed"), (of_moving, "moving")):
        assert (f"The values of the {role} image are not Hounsfield units" in warnings) == (
            numbers is not same
        )
    assert result.warped.array.dtype == moving.array.dtype
    assert result.warped.array.max() <= moving.array.max()


@pytest.fixture(scope="module")
def error_by_default_in_hu(small_phantom):
    return error_of(small_phantom, glidereg.register(small_phantom.fixed, small_phantom.moving, DEFAULT))


@pytest.mark.parametrize("numbers", [from_zero, window])
def test_by_default_too_a_pair_in_other_numbers_registers_as_well(
    small_phantom, error_by_default_in_hu, numbers
):
    scans = [in_numbers(scan, numbers) for scan in (small_phantom.fixed, small_phantom.moving)]
    error = error_of(small_phantom, glidereg.register(*scans, DEFAULT))
    assert abs(error - error_by_default_in_hu) < 0.1


@pytest.mark.parametrize("numbers", [from_zero, lung_window, unit, thousandth, inverted])
def test_the_body_is_the_same_in_all_numbers(small_phantom, numbers):
    grid = small_phantom.fixed.grid
    twin, other = (
        prepare_alone(in_numbers(small_phantom.fixed, each), grid, None, "fixed") for each in (same, numbers)
    )
    assert np.mean(twin.weight != other.weight) < 0.01
    assert other.array.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_an_image_of_one_tissue_is_left_as_it_is_and_counts_everywhere(dtype):
    rng = np.random.default_rng(1)
    volume = Volume(rng.normal(100, 5, (20, 24, 28)).astype(dtype), Grid((28, 24, 20), (3.0,) * 3), "image")
    prepared = prepare_alone(volume, volume.grid, None, "fixed")
    assert prepared.weight.all() and prepared.array.dtype == np.float32
    assert "no air around a body" in note(volume)
    assert np.array_equal(in_hounsfield(volume).array, volume.array.astype(np.float32))


def test_stored_values_with_padding_are_no_hounsfield_units_and_the_padding_is_not_measured(small_phantom):
    array = from_zero(small_phantom.fixed.array).astype(np.int16)
    array[:, :6] = -2000
    volume = Volume(array, small_phantom.fixed.grid, "image")
    assert not is_ct(volume)
    assert (in_hounsfield(volume).array[:, :6] < OUTSIDE_FIELD_OF_VIEW_HU).all()
    assert not prepare_alone(volume, volume.grid, None, "fixed").valid[:, :6].any()


def test_a_scan_in_hounsfield_units_is_not_touched(small_phantom):
    assert in_hounsfield(small_phantom.fixed) is small_phantom.fixed
    assert note(small_phantom.fixed) is None


def soft_tissue_window(hu):
    return np.clip((hu + 160.0) * 255 / 400, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        (lambda hu: 255 - soft_tissue_window(hu), "lungs show nothing"),
        (inverted, ""),
        # Noise that reaches the lowest value here and there cuts nothing off.
        (lambda hu: np.rint(255 * (np.clip(hu + 1000, 0, 1400) / 1400) ** 0.5).astype(np.uint8), ""),
        (soft_tissue_window, "lungs show nothing"),
        (lambda hu: np.clip(hu, -160, 240), "lungs show nothing"),
        (lambda hu: np.clip((hu + 1024) * 0.3, 0, 255).astype(np.uint8), "soft tissue and bone show nothing"),
        (lung_window, ""),
        (from_zero, ""),
        (unit, ""),
        (thousandth, ""),
    ],
)
def test_what_a_window_has_cut_off_is_told(small_phantom, numbers, told):
    said = note(in_numbers(small_phantom.moving, numbers))
    assert ("inverted (air is bright)" in said) == (numbers(np.float64(-1000)) > numbers(np.float64(40)))
    assert told in said and ("show nothing" in said) == bool(told)
