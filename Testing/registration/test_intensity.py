"""Normalised intensities: what they ignore, what they equal, and when they are left out."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from scipy import ndimage

from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.registration.features.intensity import (
    AS_MIND,
    SMOOTHING,
    WINDOWS_BLOCKS,
    WINDOWS_MM,
    Seen,
    Use,
    add_intensities,
    add_intensities_of_blocks,
    correlation,
    normalised_intensities,
    note,
    packed_weight,
    steered,
)
from GLIDERegLib.registration.features.pooled_features import PackedFeatures
from GLIDERegLib.registration.features.scale_agreement import LEAST_AGREEMENT, scale_agreement
from GLIDERegLib.registration.sampling import index_grid, sample
from GLIDERegLib.registration.working_grid import Prepared

SHAPE = (20, 24, 28)
MM = 2.0
ALL = np.ones(SHAPE, bool)


def texture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=SHAPE)
    return (ndimage.gaussian_filter(noise, 1.5) * 400 - 500).astype(np.float32)


def like(factor: int = 1) -> PackedFeatures:
    shape = tuple(-(-n // factor) for n in SHAPE)
    return PackedFeatures.pack(torch.zeros((12, *shape)), torch.ones(shape), factor)


def packed(array: np.ndarray, factor: int = 1, valid: np.ndarray = ALL) -> PackedFeatures:
    features = like(factor)
    add_intensities([Seen(features, array, ALL, valid)], MM)
    return features


def normalised(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack([found for (found,) in fine([array], [ALL])]))


def fine(arrays: list[np.ndarray], usable: list[np.ndarray]):
    """As voxels of 2 mm are read."""
    return normalised_intensities(arrays, usable, [round(window / MM) for window in WINDOWS_MM], SMOOTHING)


def test_gain_and_shift_of_a_scan_change_nothing():
    image = texture(0)
    assert torch.allclose(normalised(0.25 * image + 90), normalised(image), atol=2e-3)


def test_equals_its_definition_in_the_middle():
    image = texture(1)
    z, y, x = (n // 2 for n in SHAPE)
    smooth = ndimage.gaussian_filter(image.astype(float), SMOOTHING, truncate=3.0)
    for channel, window in zip(normalised(image), WINDOWS_MM, strict=True):
        r = round(window / MM)
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(smooth, r, mode="edge"), (2 * r + 1,) * 3)
        variance = windows.var(axis=(3, 4, 5))
        here = windows[z, y, x]
        expected = (smooth[z, y, x] - here.mean()) / np.sqrt(variance[z, y, x] + np.median(variance))
        assert float(channel[z, y, x]) == pytest.approx(expected, rel=1e-4)


def test_what_both_scans_show_has_the_same_values_whatever_else_they_show():
    """Parts of one texture of which one is half quiet: medians of their variances differ."""
    scene = texture(9)
    scene[:, :, 16:] *= 0.1
    left, whole = scene[:, :, :20].copy(), ALL[:, :, :20]
    for alone, all_ in fine([left, scene], [whole, ALL]):
        np.testing.assert_allclose(alone[:, :, :14], all_[:, :, :14], atol=1e-3)


def test_packed_weight_undoes_the_bytes_scale():
    a, b = texture(2), texture(3)
    plain = (normalised(a) - normalised(b)).square().sum(dim=0).mean()
    bytes_ = (packed(a).further() - packed(b).further()).square().sum(dim=0).mean()
    assert float(packed_weight(1.0) * bytes_) == pytest.approx(AS_MIND * float(plain), rel=0.05)


def test_is_the_mean_of_blocks_and_leaves_the_other_channels_alone():
    fine, coarse = packed(texture(4)), packed(texture(4), 2)
    blocks = fine.further().unfold(1, 2, 2).unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(4, 5, 6))
    torch.testing.assert_close(coarse.further(), blocks, rtol=0, atol=1 / 255)
    assert not coarse.values().any() and (coarse.weight() == 1).all()
    assert coarse.further().any()
    assert not coarse.known()[:2].any() and coarse.known()[3:-3, 3:-3, 3:-3].all()


def test_takes_little_more_memory_than_a_few_images():
    array = np.zeros((64, 64, 64), np.float32)
    features, usable = PackedFeatures.pack(torch.zeros(1, 64, 64, 64), torch.ones(64, 64, 64), 1), array == 0
    tracemalloc.start()
    add_intensities([Seen(features, array, usable, usable)], MM)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 7 * array.nbytes


def test_is_known_where_its_windows_see_what_was_measured():
    valid = ALL.copy()
    valid[:, :, 20:] = False
    known = packed(texture(8), valid=valid).known().numpy()
    # A window of 4 voxels to each side, and two of smoothing.
    expected = np.zeros(SHAPE, bool)
    expected[6:-6, 6:-6, 6:14] = True
    assert np.array_equal(known, expected)


class TestOfBlocks:
    """Structures below the noise of voxels, which blocks of them show."""

    shape = (64, 64, 64)

    def scans(self, *arrays: np.ndarray, valid: np.ndarray | None = None) -> list[Seen]:
        whole = np.ones(self.shape, bool)
        features = [
            PackedFeatures.pack(torch.zeros(12, 16, 16, 16), torch.ones(16, 16, 16), 4) for _ in arrays
        ]
        measured = whole if valid is None else valid
        return [Seen(f, array, whole, measured) for f, array in zip(features, arrays, strict=True)]

    def organ(self, seed: int) -> np.ndarray:
        """Differences of 5 HU over some cm, in noise of 24 HU of its own, beside a step of 400 HU."""
        rng = np.random.default_rng(40)
        faint = ndimage.gaussian_filter(rng.normal(size=self.shape), 6.0, mode="wrap")
        image = 5 * faint / faint.std() + np.random.default_rng(seed).normal(0, 24, self.shape)
        image[:, :, 52:] -= 400
        return image.astype(np.float32)

    def test_two_scans_of_a_faint_texture_agree_as_single_voxels_do_not(self):
        first, second = self.scans(self.organ(1), self.organ(2))
        add_intensities_of_blocks([first, second])
        inner = (slice(3, 13), slice(3, 13), slice(3, 9))

        def agreement(channel: int, *scans: Seen) -> float:
            values = [scan.features.further()[channel][inner].flatten().numpy() for scan in scans]
            return float(np.corrcoef(*values)[0, 1])

        # Correlations of S / (S + N): beyond a half there is more structure S than noise N.
        assert agreement(0, first, second) > 0.5 and agreement(1, first, second) > 0.5
        voxels = self.scans(self.organ(1), self.organ(2))
        add_intensities(voxels, MM)
        assert agreement(0, *voxels) < 0.5 and agreement(1, *voxels) < 0.5

    def test_equals_the_definition_on_the_means_of_blocks(self):
        scan = self.scans(self.organ(3))[0]
        add_intensities_of_blocks([scan])
        means = scan.array.reshape(16, 4, 16, 4, 16, 4).mean(axis=(1, 3, 5))
        smooth = ndimage.gaussian_filter(means.astype(float), SMOOTHING, truncate=3.0)
        for channel, r in zip(scan.features.further(), WINDOWS_BLOCKS, strict=True):
            windows = np.lib.stride_tricks.sliding_window_view(
                np.pad(smooth, r, mode="edge"), (2 * r + 1,) * 3
            )
            variance = windows.var(axis=(3, 4, 5))
            expected = (smooth - windows.mean(axis=(3, 4, 5))) / np.sqrt(
                variance + 0.02 * np.median(variance)
            )
            found = (channel.numpy() - 0.5) / 0.15
            np.testing.assert_allclose(
                found, expected.clip(-0.5 / 0.15, 0.5 / 0.15), atol=0.5 / 255 / 0.15 + 2e-3
            )

    def test_is_known_two_blocks_off_what_was_not_measured(self):
        valid = np.ones(self.shape, bool)
        valid[:, :, 41:] = False
        scan = self.scans(self.organ(4), valid=valid)[0]
        add_intensities_of_blocks([scan])
        expected = np.zeros((16, 16, 16), bool)
        expected[2:-2, 2:-2, 2:8] = True
        assert np.array_equal(scan.features.known().numpy(), expected)


class TestCorrelation:
    position = index_grid(SHAPE, torch.device("cpu"))

    def test_of_one_image_through_its_shift_is_one(self):
        image = packed(texture(5))
        shift = torch.zeros_like(self.position)
        assert correlation(image, image, self.position, shift) == pytest.approx(1.0, abs=1e-5)
        moved = PackedFeatures(image.data, 1, (3, 0, 0))
        assert correlation(image, moved, self.position, shift) < 0.2
        shift[0] = 3.0
        assert correlation(image, moved, self.position, shift) == pytest.approx(1.0, abs=1e-5)

    @pytest.mark.parametrize("factor", [1, 2])
    def test_reads_between_voxels_where_they_are_known(self, factor):
        """As a trilinear reading of all of both images, there where all of its voxels are known."""
        fixed, moving = packed(texture(9), factor), packed(texture(9), factor)
        # Off by broken numbers of voxels, as seen from the middle: nothing unknown is near.
        position = self.position[:, 9:11, 9:15, 10:18] + 0.3
        u = torch.tensor([0.9, -0.6, 0.5]).view(3, 1, 1, 1).expand_as(position)
        index = [(at - (factor - 1) / 2) / factor for at in (position, position + u)]
        values = [sample(f.further(), at) for f, at in zip((fixed, moving), index, strict=True)]
        expected = np.corrcoef(*((v - v.mean()).flatten() for v in values))[0, 1]
        assert correlation(fixed, moving, position, u) == pytest.approx(expected, abs=1e-4)

    def test_of_an_inverted_contrast_is_negative(self):
        image = texture(6)
        rest = torch.zeros_like(self.position)
        assert correlation(packed(image), packed(-image), self.position, rest) < -0.9

    def test_where_nothing_is_shared_is_zero(self):
        image = packed(texture(7))
        away = torch.full_like(self.position, 1000.0)
        assert correlation(image, image, self.position, away) == 0.0


def standard(seed: int) -> np.ndarray:
    """A texture of mean 0 and standard deviation 1."""
    image = texture(seed)
    return (image - image.mean()) / image.std()


class TestScaleAgreement:
    position = index_grid(SHAPE, torch.device("cpu"))
    rest = torch.zeros_like(position)

    @staticmethod
    def scan(array, offset=(0, 0, 0), weight=ALL):
        return Prepared(array.astype(np.float32), ALL, weight, Grid(SHAPE[::-1], (MM,) * 3), offset, False)

    def agreement(self, first, second):
        return scale_agreement(self.scan(first), self.scan(second), self.position, self.rest).scale

    def test_of_a_scan_and_its_values_on_another_scale_is_one(self):
        image = texture(0)
        found = scale_agreement(self.scan(image), self.scan(0.2 * image + 90), self.position, self.rest)
        assert found == pytest.approx((1.0, 1.0), abs=0.01)

    @pytest.mark.parametrize("noise", [0.1, 0.5, 2.0])
    def test_noise_takes_nothing_of_it(self, noise):
        image, rng = texture(2), np.random.default_rng(0)
        noisy = [image + rng.normal(0, noise * image.std(), SHAPE) for _ in range(2)]
        found = scale_agreement(*map(self.scan, noisy), self.position, self.rest)
        assert found == pytest.approx((1.0, 1 / (1 + noise**2)), abs=0.03)

    def test_nor_does_a_wrong_place(self):
        image = texture(1)
        assert self.agreement(image, np.roll(image, 3, axis=2)) > LEAST_AGREEMENT

    @pytest.mark.parametrize("curve", [np.abs, lambda v: np.abs(v - 0.5) - v / 4, np.cos])
    def test_scans_of_two_scales_do_not_agree_in_either_order(self, curve):
        image = standard(5)
        other = curve(image)
        assert self.agreement(image, other) < LEAST_AGREEMENT
        assert self.agreement(other, image) < LEAST_AGREEMENT

    def test_is_read_through_the_displacement_and_the_offset_of_the_moving_grid(self):
        image = standard(1)
        moved = self.scan(np.roll(np.abs(image), 3, axis=2), (1, 0, 0))
        shift = torch.zeros_like(self.position)
        astray = scale_agreement(self.scan(image), moved, self.position, shift).scale
        shift[0] = 4.0
        assert scale_agreement(self.scan(image), moved, self.position, shift).scale < astray

    def test_only_the_fixed_body_counts_and_nothing_shared_is_zero(self):
        image = standard(3)
        other = image.copy()
        other[:, :, :10] = 3 * np.abs(image[:, :, :10])
        body = ALL.copy()
        body[:, :, :10] = False
        assert self.agreement(image, other) < LEAST_AGREEMENT
        inside = self.scan(image, weight=body)
        assert scale_agreement(inside, self.scan(other), self.position, self.rest).scale > LEAST_AGREEMENT
        assert scale_agreement(inside, self.scan(other), self.position, self.rest + 1000) == (0.0, 0.0)


def test_what_left_intensities_out_is_told_with_its_figure():
    used, unlike, nonlinear = Use(0.5, 0.8, 0.99, 0.98), Use(0.0, 0.12), Use(0.0, 0.8, 0.7314, 0.8)
    noisy = note([Use(0.0, 0.8, 0.99, 0.9591)] * 2)
    assert "the last step, where" in noisy and "values 0.959, at least 0.975" in noisy
    assert note([]) == note([used, used]) == ""
    told = note([used, nonlinear])
    assert "in one of the two directions" in told and "explains 27 % more" in told and "at most 5 %" in told
    assert "tissues alike (correlation 0.12, at" in note([unlike]) and "directions" not in note([unlike])


def test_levels_count_as_steered_where_both_directions_were():
    used, left = Use(0.5, 0.8), Use(0.0, 0.1)
    assert steered([]) == set()
    assert steered([{4: used, 2: used, 1: left}]) == {4, 2}
    assert steered([{4: used, 2: used, 1: left}, {4: left, 2: used, 1: used}]) == {2}
