import numpy as np
import pytest
import torch
from scipy import ndimage

from GLIDERegLib.registration.backends import use_backend
from GLIDERegLib.registration.sampling import index_grid, sample, sample_axes, sample_field


def random_image(shape, channels=2, seed=0):
    return torch.randn((channels, *shape), generator=torch.Generator().manual_seed(seed))


def test_index_grid_has_components_x_y_z_on_axes_z_y_x():
    index = index_grid((2, 3, 4))
    assert index.shape == (3, 2, 3, 4) and index.dtype == torch.float32
    assert index[:, 1, 2, 3].tolist() == [3.0, 2.0, 1.0]
    assert index[:, 1, 0, 2].tolist() == [2.0, 0.0, 1.0]


@pytest.mark.parametrize("shape", [(5, 6, 7), (1, 6, 7), (5, 1, 1)])
def test_voxels_are_read_back_exactly_at_their_indices(shape):
    image = random_image(shape)
    torch.testing.assert_close(sample(image, index_grid(shape)), image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_values_between_voxels_and_beyond_the_faces_are_those_of_scipy(backend):
    pytest.importorskip(backend)
    image = random_image((9, 10, 11))
    position = torch.from_numpy(np.random.default_rng(1).uniform(-4, 15, (3, 500)).astype(np.float32))
    expected = [
        ndimage.map_coordinates(c, position.flip(0).double().numpy(), order=1, mode="nearest")
        for c in image.double().numpy()
    ]
    with use_backend(backend):
        result = sample(image, position)
        # What is no number must not lead out of the image's memory.
        assert sample(image, torch.full((3, 5), torch.nan)).shape == (2, 5)
    assert result.shape == (2, 500)
    np.testing.assert_allclose(result, np.stack(expected), atol=1e-5)


def test_a_shift_is_not_shortened_on_long_axes():
    """The mistake of other tools, 2 / N for 2 / (N - 1), would read 0.5 voxels off here."""
    image = torch.arange(300.0).expand(1, 3, 3, 300)
    at = torch.tensor([[150.25], [1.0], [1.0]])
    assert float(sample(image, at)) == pytest.approx(150.25, abs=1e-3)


@pytest.mark.parametrize("shape", [(9, 10, 11), (1, 4, 5)])
def test_values_at_all_combinations_of_positions_are_those_one_by_one(shape):
    image = random_image(shape)
    axes = [torch.from_numpy(np.random.default_rng(n).uniform(-3, 14, 4 + n)).float() for n in range(3)]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    expected = sample(image, torch.stack([x, y, z]))
    found = sample_axes(image, axes)
    assert found.is_contiguous()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_shape_follows_the_positions():
    image = random_image((4, 5, 6), channels=3)
    assert sample(image, torch.zeros(3, 2, 7)).shape == (3, 2, 7)
    assert sample(image, torch.zeros(3, 8, 9, 10)).shape == (3, 8, 9, 10)
    assert sample(image, torch.zeros(3, 0)).shape == (3, 0)


def test_gradient_by_position_is_the_slope_of_the_image():
    slopes = torch.tensor([2.0, -3.0, 0.5])
    image = torch.einsum("a,azyx->zyx", slopes, index_grid((6, 7, 8)))[None]
    position = torch.tensor([[2.3, 4.6], [3.1, 1.2], [1.7, 3.9]], requires_grad=True)
    (gradient,) = torch.autograd.grad(sample(image, position).sum(), position)
    torch.testing.assert_close(gradient, slopes[:, None].expand(3, 2), atol=1e-4, rtol=0)


def test_a_field_is_read_where_the_displacement_and_the_offset_lead():
    field = index_grid((8, 9, 10)) * 0.1
    displacement = torch.zeros((3, 4, 5, 6))
    displacement[0], displacement[1], displacement[2] = 0.5, 1.25, -0.75
    offset = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1)
    expected = (index_grid((4, 5, 6)) + displacement + offset) * 0.1
    torch.testing.assert_close(sample_field(field, displacement, offset), expected, atol=1e-5, rtol=0)
