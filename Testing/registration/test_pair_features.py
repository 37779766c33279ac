import numpy as np
import pytest
import torch
from registration.support import NoWaiting
from scipy import ndimage

from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.registration.backends import use_backend
from GLIDERegLib.registration.control_grid import ControlGrid
from GLIDERegLib.registration.features.co_optimised_vae import displacement_reader
from GLIDERegLib.registration.features.encoding import FeatureVolume, token_grid
from GLIDERegLib.registration.features.global_features import GlobalFeatures, encode_pair
from GLIDERegLib.registration.features.local_features import LocalFeatures
from GLIDERegLib.registration.features.mind import MindSlabs, mind_ssc
from GLIDERegLib.registration.features.reduction import Reduction
from GLIDERegLib.registration.progress import CancelToken
from GLIDERegLib.registration.sampling import index_grid
from GLIDERegLib.registration.working_grid import Prepared, usable_voxels

VOXEL = 3.0
TILTED = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)
LATTICE = Grid((18, 20, 15), (VOXEL,) * 3, (-20.0, 10.0, 30.0), TILTED)


def prepared(size=LATTICE.size, offset=(0, 0, 0), weight=None, valid=None, masked=False, seed=0):
    """An image on the lattice whose first voxel is voxel `offset` (x, y, z) of the fixed one."""
    grid = Grid(size, LATTICE.spacing, tuple(LATTICE.to_physical(offset).tolist()), LATTICE.direction)
    array = np.random.default_rng(seed).normal(size=grid.shape).astype(np.float32)
    valid = np.ones(grid.shape, bool) if valid is None else valid
    weight = np.ones(grid.shape, bool) if weight is None else weight
    return Prepared(array, valid, weight & valid, grid, offset, masked)


def lattice_position(grid):
    """Positions (3, ...) along the lattice's axes, in fixed voxels, of the points of a grid."""
    return np.moveaxis(LATTICE.to_index(grid.points()), -1, 0)


IMAGES = (prepared(), prepared((26, 28, 21), offset=(-6, -3, -6)))


@pytest.fixture(scope="module")
def features():
    """Global features whose tokens hold a thirtieth of their own position in the lattice."""
    volumes = []
    for image in IMAGES:
        grid = token_grid(image.grid, 30, 10, 10, range(len(image.array)))
        volumes.append(FeatureVolume(torch.from_numpy(lattice_position(grid) / 30).float(), grid))
    features = GlobalFeatures(IMAGES, tuple(volumes), 0)
    features._maps = tuple(v.features for v in volumes)
    return features


class TestGlobalFeatures:
    def expected(self, offset_cells, shape, factor):
        """Positions of the cells' centres / 30, from their place in the lattice alone."""
        first = torch.tensor(offset_cells, dtype=torch.float32).view(3, 1, 1, 1)
        return ((index_grid(shape) + first) * factor + (factor - 1) / 2) / 30

    @pytest.mark.parametrize("factor", [1, 3])
    @pytest.mark.parametrize("image", [0, 1])
    def test_cells_read_the_tokens_at_their_own_place(self, features, image, factor):
        cells = features.pooled(image, factor)
        assert cells.factor == factor
        assert cells.offset == tuple(o // factor for o in IMAGES[image].offset)
        assert cells.shape == tuple(-(-n // factor) for n in IMAGES[image].array.shape)
        expected = self.expected(cells.offset, cells.shape, factor)
        # Beyond the outer tokens' centres a map is constant.
        inside = (slice(None), slice(1, -1), *[slice(4, -4) if factor == 1 else slice(2, -2)] * 2)
        torch.testing.assert_close(cells.values[inside], expected[inside], atol=2e-3, rtol=0)

    def test_cells_between_encoded_slices_read_what_lies_between(self):
        image = IMAGES[1]
        grid = token_grid(image.grid, 30, 10, 10, range(2, 21, 4))
        assert grid.size[2] == 5 and grid.spacing[2] == pytest.approx(4 * VOXEL)
        volume = FeatureVolume(torch.from_numpy(lattice_position(grid) / 30).float(), grid)
        features = GlobalFeatures((image, image), (volume, volume), 0)
        features._maps = (volume.features, volume.features)
        cells = features.pooled(1, 1)
        expected = self.expected(cells.offset, cells.shape, 1)
        # Slices 2 to 18 of the image were encoded.
        inside = (slice(None), slice(2, 19), slice(4, -4), slice(4, -4))
        torch.testing.assert_close(cells.values[inside], expected[inside], atol=2e-3, rtol=0)
        torch.testing.assert_close(cells.values[2, :2, 5, 5], cells.values[2, 2, 5, 5].expand(2))

    @pytest.mark.parametrize("image", [0, 1])
    def test_packed_features_are_the_same_in_bytes(self, features, image):
        cells, packed = features.pooled(image, 3), features.packed(image, 3)
        assert packed.offset == cells.offset and packed.factor == 3
        expected = (0.5 + 0.2 * cells.values).clamp(0, 1)
        torch.testing.assert_close(packed.values()[:3], expected, atol=0.51 / 255, rtol=0)
        assert not packed.data[..., 3:12].any()

    def test_the_weight_of_packed_features_makes_their_ssd_that_of_the_reduced_ones(self, features):
        values = features.pooled(0, 3).values
        packed = features.packed(0, 3).values()[:3]
        ssd, packed_ssd = (float((v[..., 4:] - v[..., :-4]).square().sum()) for v in (values, packed))
        assert GlobalFeatures.packed_weight(2.0) * packed_ssd == pytest.approx(2.0 * ssd, rel=0.1)

    def test_random_cells_differ_by_two_in_the_mean_square(self):
        images = (prepared(seed=1), prepared(seed=2))
        rng = np.random.default_rng(0)
        volumes = tuple(
            FeatureVolume(
                torch.from_numpy(rng.normal(size=(20, 15, 10, 10))).float(),
                token_grid(i.grid, 20, 10, 10, range(15)),
            )
            for i in images
        )
        features = GlobalFeatures(images, volumes, 0)
        features.reduction = Reduction(features.pool, 6, False, 0)
        features.refresh()
        z, y, x = 15, 10, 10
        flat = [m.reshape(6, z * y * x) for m in features._maps]
        difference = (flat[0] - flat[1]).square().sum(dim=0).mean()
        assert float(difference) == pytest.approx(2, rel=0.05)

    def test_only_tokens_in_the_body_are_foreground(self):
        weight = np.zeros(LATTICE.shape, bool)
        weight[3:9, 4:16, 5:11] = True
        image = prepared(weight=weight)
        grid = token_grid(image.grid, 20, 10, 10, range(15))
        volume = FeatureVolume(torch.zeros(3, *grid.shape), grid)
        features = GlobalFeatures((image, prepared()), (volume, volume), 0)
        chosen = grid.points().reshape(-1, 3)[features.pool.images[0].foreground.numpy()]
        index = np.rint(LATTICE.to_index(chosen)).astype(int)
        assert weight[index[:, 2], index[:, 1], index[:, 0]].all()
        assert set(index[:, 2]) == set(range(3, 9))

    def test_cells_outside_the_body_do_not_count(self):
        weight = np.zeros(LATTICE.shape, bool)
        weight[:, :, 6:] = True
        image = prepared(weight=weight)
        grid = token_grid(image.grid, 20, 10, 10, range(15))
        volume = FeatureVolume(torch.zeros(3, *grid.shape), grid)
        features = GlobalFeatures((image, image), (volume, volume), 0)
        features._maps = (volume.features, volume.features)
        weight = features.packed(0, 3).weight()
        assert not weight[..., :2].any() and weight[1:4, 1:5, 2:5].all()


class TestEncodePair:
    def test_a_pixel_of_the_encoders_input_is_as_large_in_both_images(self):
        seen = []

        class Sides:
            name, channels = "sides", 2

            def identity(self):
                return {"name": self.name}

            def encode(self, slices, masks, progress=None, cancel=None):
                seen.append(slices.shape[-1])
                return torch.zeros(len(slices), 2, 4, 4)

        fractions = []
        volumes = encode_pair(IMAGES, Sides(), 1, None, fractions.append, CancelToken())
        assert seen == [28, 28]
        assert volumes[0].grid.spacing == pytest.approx(volumes[1].grid.spacing)
        assert fractions == [0.5, 1.0]


class TestDisplacementReader:
    def test_gives_the_field_in_mm_at_the_places_of_tokens(self):
        """The field is linear in the voxel's position, so that reading it is exact."""
        fixed = prepared()
        nodes = ControlGrid(fixed.array.shape, 2)
        matrix = torch.tensor([[0.1, 0.0, 0.05], [-0.2, 0.1, 0.0], [0.0, 0.3, 0.1]])
        field = torch.einsum("ij,jzyx->izyx", matrix, nodes.position()) + 1
        tokens = token_grid(fixed.grid, 22, 11, 11, range(15))
        index = torch.tensor([[3.0, 5.5, 7.0], [2.5, 6.0, 4.0], [1.0, 7.0, 13.0]])
        voxel = torch.from_numpy(LATTICE.to_index(tokens.to_physical(index.T.numpy())).T).float()
        # As on a graphics card, where no kernel of numba's reads the field.
        with use_backend("torch"):
            found = displacement_reader(field, nodes, fixed, tokens)(index)
            with NoWaiting():
                displacement_reader(field, nodes, fixed, tokens)(index)
        torch.testing.assert_close(found, (matrix @ voxel + 1) * VOXEL, atol=1e-3, rtol=0)


class TestLocalFeatures:
    IMAGE = prepared((12, 10, 8), offset=(-4, 2, 6))

    def features(self, usable=None, noise=4.0):
        usable = np.ones(self.IMAGE.array.shape, bool) if usable is None else usable
        return LocalFeatures.of(self.IMAGE, usable, torch.device("cpu"), 2, (1, 2), 1, 2, noise)

    def mind(self):
        image = torch.from_numpy(self.IMAGE.array)
        return mind_ssc(image), MindSlabs(image).variance()

    def confidence(self, noise=4.0):
        """Falls with the local variance to its share of the noise: a fifth at the median."""
        variance = self.mind()[1]
        return variance / (variance + noise * variance.median())

    @pytest.mark.parametrize("noise", [0.0, 1.0, 4.0])
    def test_a_voxel_weighs_its_local_variance_against_the_noise(self, noise):
        packed = self.features(noise=noise).packed[1]
        torch.testing.assert_close(packed.weight(), self.confidence(noise), atol=0.51 / 255, rtol=0)
        torch.testing.assert_close(packed.values(), self.mind()[0], atol=0.51 / 255, rtol=0)

    def test_cells_hold_the_mean_of_their_usable_voxels_and_their_share(self):
        usable = np.ones(self.IMAGE.array.shape, bool)
        usable[:, :, :1] = False
        usable[4:, 4:, 8:] = False
        cells, values = self.features(usable).pooled, self.mind()[0]
        assert cells.offset == (-2, 1, 3) and cells.factor == 2
        assert cells.weight[0, 0, 0] == 0.5 and cells.weight[0, 0, 1] == 1 and cells.weight[3, 4, 5] == 0
        torch.testing.assert_close(cells.values[:, 0, 0, 0], values[:, :2, :2, 1].mean(dim=(1, 2)))
        torch.testing.assert_close(cells.values[:, 1, 1, 1], values[:, 2:4, 2:4, 2:4].mean(dim=(1, 2, 3)))

    def test_packed_voxels_weigh_their_confidence_where_at_least_half_is_usable(self):
        usable = np.ones(self.IMAGE.array.shape, bool)
        usable[:, :, :1] = False
        usable[0, 0, 1] = False
        variance = self.mind()[1]
        typical = variance[torch.from_numpy(usable)].median()
        features = self.features(usable)
        packed = features.packed[2]
        assert packed.offset == (-2, 1, 3)
        weight = packed.weight()
        assert weight[0, 0, 0] == 0 and weight[1, 1, 0] > 0
        expected = (variance / (variance + 4 * typical))[2:4, 2:4, 4:6].mean()
        assert float(weight[1, 1, 2]) == pytest.approx(float(expected), abs=0.51 / 255)
        torch.testing.assert_close(
            packed.values(), features.pooled.values.clamp(0, 1), atol=0.51 / 255, rtol=0
        )


class TestUsableVoxels:
    def image(self, masked):
        valid = np.ones(LATTICE.shape, bool)
        valid[:, :, 14:] = False
        weight = np.zeros(LATTICE.shape, bool)
        weight[:, 6:, :] = True
        return prepared(valid=valid, weight=weight, masked=masked)

    def inner(self, reach):
        inner = np.zeros(LATTICE.shape, bool)
        inner[reach:-reach, reach:-reach, reach : 14 - reach] = True
        return inner

    @pytest.mark.parametrize("reach", [1, 2])
    def test_of_a_fixed_image_lie_in_the_body_and_off_the_border_of_the_scan(self, reach):
        image = self.image(masked=False)
        assert np.array_equal(usable_voxels(image, True, reach), image.weight & self.inner(reach))

    def test_of_a_moving_image_may_lie_outside_the_body(self):
        assert np.array_equal(usable_voxels(self.image(masked=False), False, 2), self.inner(2))

    @pytest.mark.parametrize("reach", [1, 2, 3])
    def test_of_a_scan_that_was_measured_everywhere_lie_off_its_faces(self, reach):
        whole = prepared()
        expected = ndimage.binary_erosion(whole.valid, iterations=reach)
        assert np.array_equal(usable_voxels(whole, False, reach), expected)

    def test_of_a_masked_moving_image_lie_inside_the_mask(self):
        image = self.image(masked=True)
        assert np.array_equal(usable_voxels(image, False, 2), image.weight & self.inner(2))

    def test_a_scan_too_thin_to_lose_its_border_keeps_all(self):
        thin = prepared((18, 20, 3))
        assert usable_voxels(thin, True, 2).all()
