"""Dark values whose noise is small are spread; values that a line takes to HU stay as they are."""

import numpy as np
import pytest

from GLIDERegLib.core.ct import in_hounsfield
from GLIDERegLib.core.even_noise import even_noise
from GLIDERegLib.core.geometry import Grid, Volume

SHAPE, NOISE_HU = (24, 80, 80), 25.0
AIR, LUNG, FAT, TISSUE = (slice(0, 20), slice(20, 40), slice(40, 50), slice(50, 80))
HU = {"air": -1000.0, "lung": -850.0, "fat": -100.0, "tissue": 40.0}
PLACES = dict(zip(HU, (AIR, LUNG, FAT, TISSUE), strict=True))


def scan(seed, numbers):
    """Bands of air, lung, fat and tissue with a CT's noise, in other numbers."""
    hu = np.random.default_rng(seed).normal(0, NOISE_HU, SHAPE)
    for name, rows in PLACES.items():
        hu[:, rows] += HU[name]
    return Volume(numbers(hu), Grid(SHAPE[::-1], (2.0,) * 3), "image")


def as_mr(hu):
    return np.interp(hu, (-1100, -900, -600, -110, 60, 400), (2, 6, 14, 80, 110, 160)).astype(np.float32)


def gamma(hu):
    return (255 * np.clip((hu + 1100) / 1500, 0, 1) ** 2.2).astype(np.float32)


def stored(hu):
    return np.clip(np.rint(hu + 1024), 0, None).astype(np.uint16)


def window(hu):
    return np.rint(255 * np.clip((hu + 1000) / 1400, 0, 1)).astype(np.uint8)


def noise(volume, name):
    return float(volume.array[:, PLACES[name]].std(axis=2).mean())


@pytest.mark.parametrize("numbers", [as_mr, gamma])
def test_dark_values_get_the_noise_of_tissue_and_the_levels_stay(numbers):
    before = [in_hounsfield(scan(seed, numbers)) for seed in (0, 1)]
    assert noise(before[0], "lung") < 0.25 * noise(before[0], "tissue")
    for volume in even_noise(*before)[:2]:
        assert volume.array.dtype == np.float32
        assert 0.35 < noise(volume, "lung") / noise(volume, "tissue") < 2
        for name in ("air", "tissue"):
            assert volume.array[:, PLACES[name]].mean() == pytest.approx(HU[name], abs=60)


@pytest.mark.parametrize("numbers", [as_mr, gamma])
def test_the_order_of_values_stays_and_both_images_get_one_curve(numbers):
    before = [in_hounsfield(scan(seed, numbers)) for seed in (0, 1)]
    after = even_noise(*before)[:2]
    given, mapped = (np.concatenate([v.array.ravel() for v in pair]) for pair in (before, after))
    order = np.argsort(given)
    assert (np.diff(mapped[order]) >= -1e-3).all()


@pytest.mark.parametrize("numbers", [stored, window, np.asarray])
def test_values_that_a_line_takes_to_hu_stay_as_they_are(numbers):
    before = [in_hounsfield(scan(seed, numbers)) for seed in (0, 1)]
    for given, volume in zip(before, even_noise(*before)[:2], strict=True):
        assert volume is given


@pytest.mark.parametrize(("noise", "quiet"), [(0.2, True), (12.0, False)])
def test_dark_noise_beyond_a_cts_is_not_quiet(noise, quiet):
    def noisy(hu):
        return as_mr(hu) + np.random.default_rng(3).normal(0, noise, SHAPE).astype(np.float32)

    assert even_noise(*(in_hounsfield(scan(seed, noisy)) for seed in (0, 1))).quiet == quiet


def test_what_was_not_measured_stays_apart():
    image = in_hounsfield(scan(0, as_mr))
    image.array[:, :5] = -2048
    for volume in even_noise(image, in_hounsfield(scan(1, as_mr)))[:2]:
        assert volume.array.min() >= -2048
    assert (even_noise(image, image)[0].array[:, :5] == -2048).all()


@pytest.mark.parametrize("array", [np.zeros(SHAPE), np.zeros((4, 4, 2)), np.full(SHAPE, -2048.0)])
def test_images_that_tell_no_noise_are_left_alone(array):
    volume = Volume(array.astype(np.float32), Grid(array.shape[::-1], (2.0,) * 3), "image")
    for found in even_noise(volume, volume)[:2]:
        np.testing.assert_array_equal(found.array, volume.array)
