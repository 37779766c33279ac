import numpy as np
import pytest
import torch
import torch.nn.functional as F

from GLIDERegLib.core.errors import Cancelled, InputError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.registration.features.encoding import encode_volume

OBLIQUE = (0.6, -0.8, 0.0, 0.8, 0.6, 0.0, 0.0, 0.0, 1.0)


class PoolingEncoder:
    """Resizes to 64 x 64 pixels and averages 4 x 4 of them: 16 x 16 tokens of one channel."""

    name = "pooling"
    channels = 1

    def __init__(self):
        self.received = None

    def identity(self):
        return {"name": self.name}

    def encode(self, slices, masks, progress=None, cancel=None):
        if cancel is not None:
            cancel.check()
        self.received = (slices, masks)
        antialias = slices.shape[-1] > 64
        resized = F.interpolate(
            slices[:, None], (64, 64), mode="bilinear", align_corners=False, antialias=antialias
        )
        return F.avg_pool2d(resized, 4)


class DictCache(dict):
    def put(self, key, tensor):
        self[key] = tensor


def blob(size, grid, center_mm, radius_mm=9.0):
    apart = grid.points() - np.asarray(center_mm)
    return np.exp(-(apart**2).sum(-1) / (2 * radius_mm**2)).astype(np.float32)


def centroid(weights, grid):
    return (weights[..., None] * grid.points()).sum((0, 1, 2)) / weights.sum()


def everywhere(volume):
    return np.ones(volume.array.shape, bool)


@pytest.mark.parametrize("size", [(64, 64, 20), (61, 47, 21), (40, 83, 20)])
@pytest.mark.parametrize("direction", [Grid((1, 1, 1)).direction, OBLIQUE])
@pytest.mark.parametrize("side_mm", [None, 201.0])
def test_token_grid_keeps_a_blob_where_it_is(size, direction, side_mm):
    grid = Grid(size, (2.0, 2.0, 2.5), (-30.0, 17.0, 5.0), direction)
    center = grid.to_physical(np.asarray(size) * (0.55, 0.45, 0.5))
    volume = Volume(blob(size, grid, center), grid)
    encoded = encode_volume(volume, everywhere(volume), PoolingEncoder(), side_mm=side_mm)

    assert encoded.features.shape == (1, *encoded.grid.shape)
    apart = centroid(encoded.features[0].double().numpy(), encoded.grid) - centroid(
        volume.array.astype(float), grid
    )
    assert np.linalg.norm(apart) < 0.02 * encoded.grid.spacing[0]


def test_a_token_covers_the_side_divided_by_the_number_of_tokens():
    volume = Volume(np.zeros((3, 30, 50), np.float32), Grid((50, 30, 3), (2.0, 2.0, 3.0)))
    encoded = encode_volume(volume, everywhere(volume), PoolingEncoder(), side_mm=160.0)
    assert encoded.grid.size == (16, 16, 3)
    assert encoded.grid.spacing == (10.0, 10.0, 3.0)
    # 100 mm in a square of 160 mm: the square begins 30 mm before the image's face at x = -1 mm.
    assert encoded.grid.origin == pytest.approx((-1 - 30 + 5, -1 - 50 + 5, 0))


def test_ct_is_padded_with_air_and_other_images_with_their_minimum():
    grid = Grid((8, 4, 1))
    for lowest, outside in (-1000, -1024), (-3024, -1024), (3, 3):
        encoder = PoolingEncoder()
        array = np.full((1, 4, 8), 100, np.int16)
        array[0, 0, 0] = lowest
        encode_volume(Volume(array, grid), np.ones((1, 4, 8), bool), encoder)
        slices, masks = encoder.received
        assert slices.shape == (1, 8, 8)
        assert torch.all(slices[0, :2] == outside) and torch.all(slices[0, 6:] == outside)
        np.testing.assert_array_equal(slices[0, 2:6], array[0])
        assert masks[0, 2:6].all() and masks.sum() == 32


@pytest.mark.parametrize(
    ("foreground", "step", "expected"),
    [
        ((2, 4), 1, [2, 3, 4]),
        ((1, 9), 4, [1, 5, 9]),
        ((1, 11), 4, [2, 6, 10]),  # two left over, one for each end
        ((5, 7), 9, [6]),
        ((6, 6), 3, [6]),
    ],
)
def test_evenly_spaced_slices_of_the_foreground_are_encoded_where_they_are(foreground, step, expected):
    grid = Grid((16, 16, 13), (2.0, 2.0, 2.5), (-30.0, 17.0, 5.0), OBLIQUE)
    volume = Volume(np.tile(np.arange(13.0, dtype=np.float32)[:, None, None], (1, 16, 16)), grid)
    mask = np.zeros(volume.array.shape, bool)
    mask[list(foreground), 3, 5] = True
    encoded = encode_volume(volume, mask, PoolingEncoder(), slice_step=step)
    assert encoded.features[0].mean((1, 2)).tolist() == expected
    assert encoded.grid.size == (16, 16, len(expected))
    heights = grid.to_index(encoded.grid.points()[:, 0, 0])[:, 2]
    np.testing.assert_allclose(heights, expected, atol=1e-9)


def test_a_cached_volume_is_not_encoded_again_and_a_changed_one_is():
    rng = np.random.default_rng(0)
    volume = Volume(rng.normal(size=(4, 16, 16)).astype(np.float32), Grid((16, 16, 4)))
    cache = DictCache()
    first = encode_volume(volume, everywhere(volume), PoolingEncoder(), cache=cache)
    again = PoolingEncoder()
    second = encode_volume(volume, everywhere(volume), again, cache=cache)
    assert again.received is None
    assert torch.equal(first.features, second.features)

    changed = volume.array.copy()
    changed[2, 5, 5] += 1
    variants = [
        dict(volume=Volume(changed, volume.grid)),
        dict(side_mm=20.0),
        dict(slice_step=2),
        dict(mask=np.tri(16, dtype=bool)[None].repeat(4, 0)),
    ]
    for count, variant in enumerate(variants, start=2):
        encode_volume(
            **{
                "volume": volume,
                "mask": everywhere(volume),
                "encoder": PoolingEncoder(),
                "cache": cache,
                **variant,
            }
        )
        assert len(cache) == count

    other = PoolingEncoder()
    other.identity = lambda: {"name": "pooling", "weights": "other"}
    encode_volume(volume, everywhere(volume), other, cache=cache)
    assert other.received is not None


def test_cancel_stops_and_caches_nothing():
    class Stop:
        def check(self):
            raise Cancelled("stopped")

    volume = Volume(np.zeros((2, 16, 16), np.float32), Grid((16, 16, 2)))
    cache = DictCache()
    with pytest.raises(Cancelled):
        encode_volume(volume, everywhere(volume), PoolingEncoder(), cache=cache, cancel=Stop())
    assert not cache


@pytest.mark.parametrize(
    ("mask_shape", "foreground", "spacing", "side_mm", "message"),
    [
        ((2, 16, 16), False, (1.0, 1.0, 1.0), None, "empty"),
        ((2, 16, 15), True, (1.0, 1.0, 1.0), None, "shape"),
        ((2, 16, 16), True, (1.0, 1.2, 1.0), None, "square pixels"),
        ((2, 16, 16), True, (1.0, 1.0, 1.0), 15.0, "too short"),
    ],
)
def test_impossible_input_is_refused_in_one_sentence(mask_shape, foreground, spacing, side_mm, message):
    volume = Volume(np.zeros((2, 16, 16), np.float32), Grid((16, 16, 2), spacing), "fixed.nii.gz")
    with pytest.raises(InputError, match=message) as refused:
        encode_volume(volume, np.full(mask_shape, foreground), PoolingEncoder(), side_mm=side_mm)
    assert "fixed.nii.gz" in str(refused.value) and "\n" not in str(refused.value)
