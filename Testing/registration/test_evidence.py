"""Where scans do not tell: what both have in common, the least slopes between what is known, and how far the
result may be from the truth there.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.registration.direction import Direction
from GLIDERegLib.registration.evidence import continued, least_slope, precision, structure
from GLIDERegLib.registration.features.local_features import LocalFeatures
from GLIDERegLib.registration.features.pooled_features import FURTHER, KNOWN, PackedFeatures, PooledFeatures
from GLIDERegLib.registration.field import DisplacementField
from GLIDERegLib.registration.uncertainty import position_uncertainty
from GLIDERegLib.registration.working_grid import Prepared

pytestmark = pytest.mark.usefixtures("processor_backend")

SHAPE = (24, 28, 32)
MM = 4.0
GRID = Grid.of(SHAPE[::-1], (MM,) * 3, (0.0, 0.0, 0.0))


def features(seed: int, axes: tuple[int, ...] = (0, 1, 2)) -> torch.Tensor:
    """Twelve smooth channels (12, Z, Y, X) in [0, 1] that change along some axes (z, y, x) only."""
    sigma = [1.5 if axis in axes else 1e3 for axis in range(3)]
    rng = np.random.default_rng(seed)
    shape = [n if axis in axes else 1 for axis, n in enumerate(SHAPE)]
    found = np.stack([ndimage.gaussian_filter(rng.normal(size=shape), sigma, mode="wrap") for _ in range(12)])
    found = np.broadcast_to(found / found.std(), (12, *SHAPE))
    return torch.from_numpy((0.5 + 0.12 * found).astype(np.float32))


def packed(values: torch.Tensor) -> PackedFeatures:
    return PackedFeatures.pack(values.contiguous(), torch.ones(SHAPE), 1)


def field(u: np.ndarray | float) -> DisplacementField:
    """Displacements (Z, Y, X, 3) in mm at the voxels."""
    return DisplacementField(np.broadcast_to(np.float32(u), (*SHAPE, 3)).astype(np.float32), GRID)


class TestLeastSlope:
    def certainty(self, shape: tuple[int, int, int], value: float) -> torch.Tensor:
        found = torch.zeros(6, *shape)
        found[:3] = value
        return found

    def test_between_what_is_known_the_field_is_straight(self):
        """The one harmonic field between two planes that hold still."""
        shape = (31, 3, 4)
        certainty, u = self.certainty(shape, 0.0), torch.zeros(3, *shape)
        certainty[:3, :6] = certainty[:3, 25:] = 1e4
        u[:, :6], u[:, 25:] = 1.0, 3.0
        u[:, 6:25] = torch.randn(3, 19, 3, 4, generator=torch.Generator().manual_seed(0))
        found = least_slope(u, certainty, 1.0)
        line = 1 + 2 * (torch.arange(31.0) - 5).clamp(0, 20) / 20
        torch.testing.assert_close(found, line.view(1, -1, 1, 1).expand_as(u), atol=1e-2, rtol=0)

    @pytest.mark.parametrize("ratio", [0.04, 0.5])
    def test_beside_a_step_it_decays_as_the_screened_solution(self, ratio):
        """v_k-1 - (2 + P / w) v_k + v_k+1 = -(P / w) u_k: powers of r with r + 1 / r = 2 + P / w."""
        shape = (80, 2, 2)
        u = torch.zeros(3, *shape)
        u[:, 40:] = 1.0
        found = least_slope(u, self.certainty(shape, ratio * 0.7), 0.7).numpy()
        r = 1 + ratio / 2 - np.sqrt(ratio + ratio**2 / 4)
        expected = r ** np.arange(1, 26) * r**-0.5 / (r**0.5 + r**-0.5)
        np.testing.assert_allclose(found[2, 39:14:-1, 1, 0], expected, atol=2e-3)
        np.testing.assert_allclose(1 - found[2, 40:65, 1, 0], expected, atol=2e-3)

    def test_what_is_told_of_one_direction_only_stays_there_only(self):
        shape = (25, 5, 5)
        certainty, u = self.certainty(shape, 0.0), torch.zeros(3, *shape)
        certainty[:3, 0] = certainty[:3, -1] = 1e4
        # A wall with the normal (0, 1, 1): along x and along (0, 1, -1) it slides untold.
        certainty[[1, 2, 5], 12] = 1e3
        u[:, 12] = torch.tensor([4.0, 3.0, 1.0]).view(3, 1, 1)
        middle = least_slope(u, certainty, 1.0)[:, 12, 2, 2]
        torch.testing.assert_close(middle, torch.tensor([0.0, 2.0, 2.0]), atol=0.05, rtol=0)


class TestStructure:
    def test_noise_of_two_scans_is_none(self):
        shared, own = structure(packed(features(1)), packed(features(2)), field(0.0), GRID)
        inner = (slice(None), *[slice(2, -2)] * 3)
        assert float(shared[inner].mean(dim=(1, 2, 3)).abs().max()) < 0.05 * float(own[0, :3].mean())

    def test_what_changes_along_one_axis_tells_of_that_axis_alone(self):
        layers = packed(features(3, axes=(1,)))
        shared, own = structure(layers, layers, field(0.0), GRID)
        torch.testing.assert_close(shared, own[0])
        assert float(shared[1, 2:-2, 2:-2, 2:-2].mean()) > 1e-3
        assert float(shared[[0, 2, 3, 4, 5]].abs().max()) < 1e-6

    def test_is_seen_through_the_field(self):
        values = features(4)
        moved = packed(values.roll((1, -2, 3), dims=(1, 2, 3)))
        right = structure(packed(values), moved, field([3 * MM, -2 * MM, 1 * MM]), GRID)
        wrong = structure(packed(values), moved, field(0.0), GRID)
        inner = (slice(3), *[slice(3, -3)] * 3)
        torch.testing.assert_close(right[0][inner], right[1][0][inner], atol=1e-4, rtol=0)
        assert float(wrong[0][inner].mean().abs()) < 0.1 * float(right[0][inner].mean())

    def test_precision_rises_with_the_share_in_common_and_is_never_negative(self):
        own = torch.zeros(2, 6, 1, 1, 4)
        own[:, :3] = 1.0
        shared = torch.zeros(6, 1, 1, 4)
        shared[0] = torch.tensor([0.4, 0.2, 0.9, -0.5])
        found = precision(shared, own, 0.4)
        # Of what is shared, the fourth power of share / 0.4, sixteen times at most.
        expected = torch.tensor([0.4, 0.2 / 16, 0.9 * 16, 0.0])
        torch.testing.assert_close(found[0, 0, 0], expected, atol=1e-5, rtol=1e-4)
        assert float(found[1:].abs().max()) < 1e-5


def direction(fixed: torch.Tensor, moving: torch.Tensor) -> Direction:
    ones = np.ones(SHAPE, bool)
    image = Prepared(np.zeros(SHAPE, np.float32), ones, ones, GRID)
    pooled = PooledFeatures(torch.zeros(12, 1, 1, 1), torch.ones(1, 1, 1), 2)
    both = [LocalFeatures(pooled, {1: packed(values)}) for values in (fixed, moving)]
    return Direction(image, image, (both[0], both[1]), None, (0, 1), MM)


def test_a_field_is_mended_where_scans_hold_noise_and_stays_where_they_agree():
    """Texture around a core of noise, all moved by 6 mm, found wrong by 5 mm amid the noise."""
    texture, noise, other = features(5), features(6), features(7)
    true = np.array([0.0, 0.0, 6.0])
    even = np.zeros(SHAPE, bool)
    even[6:18, 6:22, 8:24] = True
    amid = torch.from_numpy(even)
    shifted = torch.from_numpy(ndimage.shift(texture.numpy(), (0, 6.0 / MM, 0, 0), order=3, mode="nearest"))
    pair = direction(torch.where(amid, noise, texture), torch.where(amid, other, shifted))
    bump = ndimage.gaussian_filter(even.astype(np.float32), 2.0)[..., None] * np.array([3.0, 0.0, -4.0])
    before = field(true + bump)
    after = continued(before, pair, 0.05)

    def error(found: DisplacementField, inside: np.ndarray) -> float:
        return float(np.linalg.norm(found.vectors - true, axis=-1)[inside].mean())

    core = ndimage.binary_erosion(even, iterations=2)
    assert error(before, core) > 4.0 and error(after, core) < 0.6 * error(before, core)
    outside = ~ndimage.binary_dilation(even, iterations=4)
    assert error(after, outside) < 0.1


def test_what_brightness_alone_tells_stays_where_it_steered():
    """A field found right, with a bump that MIND, noise in both scans, does not tell."""
    z, y, x = np.meshgrid(*(np.linspace(-2, 2, n) for n in SHAPE), indexing="ij")
    found = field(4 * np.exp(-(x**2) - y**2 - z**2)[..., None] * np.array([1.0, 0.0, 0.0]))
    texture = features(12)[:2].numpy()
    places = np.indices(SHAPE).astype(float)
    # The moving image m with m(x + u(x)) = f(x), to first order in u: the bump is wide.
    places[2] -= found.vectors[..., 0] / MM
    moved = np.stack([ndimage.map_coordinates(image, places, order=3, mode="wrap") for image in texture])
    pair = direction(features(10), features(11))
    for image, values in zip(pair.local_features, (texture, moved), strict=True):
        voxels = image.packed[1].data
        voxels[..., FURTHER:KNOWN] = torch.from_numpy(np.moveaxis(values, 0, -1).clip(0, 1) * 255).round()
        voxels[..., KNOWN] = 255
    change = [
        np.abs(continued(found, pair, 0.05, steered).vectors - found.vectors).max() for steered in ((), {1})
    ]
    assert change[0] > 2.0
    assert change[1] < 0.5


def test_without_a_weight_or_local_features_or_on_large_voxels_nothing_changes():
    pair = direction(features(8), features(9))
    given = field(np.random.default_rng(0).normal(size=(*SHAPE, 3)))
    assert continued(given, pair, 0.0) is given
    assert continued(given, replace(pair, spacing=8.0), 0.05) is given
    assert continued(given, replace(pair, local_features=None), 0.05) is given


EVEN = np.zeros(SHAPE, bool)
EVEN[6:18, 6:22, 8:24] = True
CORE = ndimage.binary_erosion(EVEN, iterations=2)
AROUND = ~ndimage.binary_dilation(EVEN, iterations=4)
BUMP = ndimage.gaussian_filter(EVEN.astype(np.float32), 2.0)[..., None]


def radius(pair, found) -> np.ndarray:
    """Of a registration that found a field (mm), its voxels those of the scans."""
    return position_uncertainty(found, continued(found, pair, 0.05), MM).array


class TestUncertainty:
    def test_an_error_planted_where_scans_hold_noise_is_covered_and_nothing_is_doubted_elsewhere(self):
        texture, amid = features(5), torch.from_numpy(EVEN)
        pair = direction(torch.where(amid, features(6), texture), torch.where(amid, features(7), texture))
        error = BUMP * np.array([3.0, 0.0, -4.0])
        told = radius(pair, field(error))
        assert np.all(told[CORE] >= np.linalg.norm(error, axis=-1)[CORE])
        assert told[CORE].min() > 4 * told[AROUND].mean()

    def test_what_changes_along_one_axis_is_doubted_across_it_only(self):
        layers = features(3, axes=(1,))
        across, along = (
            radius(direction(layers, layers), field(BUMP * 0.5 * np.eye(3)[axis]))[CORE].mean()
            for axis in (0, 1)
        )
        assert across > 2 * along

    def test_more_noise_is_more_doubt(self):
        texture, found = features(5), field(BUMP * np.array([0.0, 0.5, 0.5]))
        told = []
        for share in (0.0, 0.5, 0.9):
            scans = [(1 - share) * texture + share * features(seed) for seed in (6, 7)]
            told.append(radius(direction(*scans), found)[CORE].mean())
        assert told[0] < told[1] < told[2]

    def test_no_place_is_known_better_than_half_a_voxel(self):
        texture = features(5)
        assert radius(direction(texture, texture), field(0.0)).min() == MM / 2

    def test_nothing_is_told_where_the_field_was_not_continued(self):
        pair = replace(direction(features(8), features(9)), local_features=None)
        given = field(1.0)
        assert position_uncertainty(given, continued(given, pair, 0.05), MM) is None
