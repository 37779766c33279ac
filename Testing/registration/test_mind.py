import itertools

import numpy as np
import pytest
import torch

from GLIDERegLib.registration.features.mind import CHANNELS, MindSlabs, mind_ssc

pytestmark = pytest.mark.usefixtures("processor_backend")

SIX_NEIGHBOURS = ((-1, 0, 0), (0, 0, -1), (0, -1, 0), (0, 0, 1), (1, 0, 0), (0, 1, 0))
PUBLISHED_ORDER = [6, 8, 1, 11, 2, 10, 0, 7, 9, 4, 5, 3]


def direct_mind(image, radius, dilation):
    """The published formula, voxel by voxel: (12, Z, Y, X) and the clamped variance."""
    shape = np.array(image.shape)

    def clamped(position):
        return tuple(np.clip(position, 0, shape - 1))

    pairs = [
        (i, j)
        for i in range(6)
        for j in range(i)
        if np.sum((np.array(SIX_NEIGHBOURS[i]) - SIX_NEIGHBOURS[j]) ** 2) == 2
    ]
    assert len(pairs) == 12
    squared = np.empty((12, *shape))
    for channel, (i, j) in enumerate(pairs):
        for x in np.ndindex(*shape):
            a = image[clamped(x + dilation * np.array(SIX_NEIGHBOURS[i]))]
            b = image[clamped(x + dilation * np.array(SIX_NEIGHBOURS[j]))]
            squared[(channel, *x)] = (a - b) ** 2
    patch = list(itertools.product(range(-radius, radius + 1), repeat=3))
    distance = np.empty_like(squared)
    for x in np.ndindex(*shape):
        where = tuple(np.array([clamped(np.add(x, p)) for p in patch]).T)
        distance[(slice(None), *x)] = squared[(slice(None), *where)].mean(axis=1)
    distance -= distance.min(axis=0)
    variance = distance.mean(axis=0)
    variance = np.clip(variance, 0.001 * variance.mean(), 1000 * variance.mean())
    return np.exp(-distance / variance)[PUBLISHED_ORDER], variance


def random_image(shape, seed=0):
    return np.random.default_rng(seed).normal(0, 100, shape).astype(np.float32)


@pytest.mark.parametrize("slices", [1, 2, 4, 9])
@pytest.mark.parametrize(("radius", "dilation"), [(1, 1), (1, 2), (2, 2), (2, 1), (1, 3)])
def test_mind_is_the_published_formula_whatever_the_slabs(radius, dilation, slices):
    image = random_image((6, 7, 5))
    image[:, 5:] = 30.0
    image[0, 0, 0] = 5000.0
    expected, variance = direct_mind(image.astype(float), radius, dilation)
    slabs = MindSlabs(torch.from_numpy(image), radius, dilation, slices)
    first, values = zip(*((first, part.clone()) for first, part in slabs), strict=True)
    assert list(first) == list(range(0, 6, slices))
    np.testing.assert_allclose(torch.cat(values, dim=1), expected, atol=2e-5)
    np.testing.assert_allclose(slabs.variance(), variance, rtol=1e-4)


def test_the_variance_is_clamped_where_the_image_is_flat():
    image = np.zeros((24, 24, 24), np.float32)
    image[:6] = random_image((6, 24, 24))
    variance = MindSlabs(torch.from_numpy(image)).variance()
    flat = variance[-4:]
    assert torch.all(flat == flat[0, 0, 0]) and float(flat[0, 0, 0]) > 0
    # The clamp is relative to the mean before clamping, which the few clamped voxels hardly change.
    assert float(flat[0, 0, 0]) == pytest.approx(0.001 * float(variance.mean()), rel=1e-2)


def test_the_clamp_of_many_slabs_hardly_differs_from_that_of_all():
    """Of more than eight slabs every fourth tells the mean; where only others hold something, all do."""
    image = torch.from_numpy(random_image((40, 12, 12)))
    image[:, 6:] = 7.0
    many, one = (MindSlabs(image, slices=slices).variance() for slices in (2, 40))
    assert float(many[20, 11, 11]) == pytest.approx(float(one[20, 11, 11]), rel=0.1)
    torch.testing.assert_close(many[:, :3], one[:, :3])
    image[:] = 7.0
    image[:1] = torch.from_numpy(random_image((1, 12, 12)))
    assert float(MindSlabs(image, slices=1).variance()[-1].min()) > 0


def test_one_channel_is_one_everywhere_and_all_lie_in_the_half_open_unit_interval():
    values = mind_ssc(torch.from_numpy(random_image((9, 10, 11))))
    assert values.shape == (CHANNELS, 9, 10, 11) and values.dtype == torch.float32
    assert torch.all(values.amax(dim=0) == 1.0)
    assert float(values.min()) > 0.0


@pytest.mark.parametrize(("scale", "shift"), [(3.0, 0.0), (1.0, 500.0), (-0.25, 40.0)])
def test_a_linear_change_of_intensity_changes_nothing(scale, shift):
    image = torch.from_numpy(random_image((8, 9, 10)))
    torch.testing.assert_close(mind_ssc(scale * image + shift), mind_ssc(image), atol=1e-3, rtol=0)


def test_a_constant_image_gives_ones():
    assert torch.all(mind_ssc(torch.full((6, 6, 6), -1000.0)) == 1.0)


def test_the_descriptor_moves_with_the_image():
    image = torch.from_numpy(random_image((14, 15, 16)))
    moved = torch.roll(image, (2, -1, 3), (0, 1, 2))
    expected = torch.roll(mind_ssc(image), (2, -1, 3), (1, 2, 3))
    inner = (slice(None), slice(6, 10), slice(5, 9), slice(7, 11))
    # Only the global mean of the variance, which the clamp uses, could differ.
    torch.testing.assert_close(mind_ssc(moved)[inner], expected[inner], atol=1e-5, rtol=0)


def test_integer_images_are_accepted():
    image = random_image((6, 6, 6)).astype(np.int16)
    torch.testing.assert_close(mind_ssc(torch.from_numpy(image)), mind_ssc(torch.from_numpy(image).float()))
