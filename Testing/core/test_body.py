"""The body in a CT: phantoms whose body and lungs are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from GLIDERegLib.core.body import Body, body_mask
from GLIDERegLib.core.geometry import Grid, Volume


def thorax(size=(72, 60, 40), noise=15.0):
    """Body of 40 HU with two lungs of -850 HU in air of -1000 HU, and the masks of body and lungs."""
    z, y, x = np.meshgrid(*[np.arange(n) for n in size[::-1]], indexing="ij")
    x, y = x - (size[0] - 1) / 2, y - (size[1] - 1) / 2
    body = (x / (0.4 * size[0])) ** 2 + (y / (0.35 * size[1])) ** 2 < 1
    lungs = np.zeros(body.shape, bool)
    for side in (-1, 1):
        lungs |= ((x - side * 13) / 9) ** 2 + (y / 12) ** 2 + ((z - 20) / 17) ** 2 < 1
    array = np.where(body, 40.0, -1000.0)
    array[lungs] = -850.0
    array += np.random.default_rng(0).normal(0, noise, array.shape)
    return array.astype(np.float32), body, lungs


class TestBodyMask:
    @pytest.mark.parametrize("spacing", [1.0, 1.7, 2.0, 4.0])
    def test_keeps_body_and_lungs_and_drops_the_air_around(self, spacing):
        array, body, lungs = thorax()
        found = body_mask(array, np.ones(array.shape, bool), spacing, True)
        assert found[body].all() and found[lungs].all()
        # Dropped from where a dilation by two blocks of about 4 mm ends, a block more for their coarseness.
        far = ndimage.distance_transform_edt(~body) > 3 * max(1, round(4.0 / spacing)) + 1
        assert far.mean() > 0.02 and not found[far].any()

    @pytest.mark.parametrize("spacing", [1.0, 1.3, 2.0, 4.0])
    def test_is_dilated_alike_on_both_sides(self, spacing):
        array = np.full((48, 72, 72), -1000.0, np.float32)
        step = max(1, round(4.0 / spacing))
        body = slice(6 * step, 12 * step)
        array[:, body, body] = 40.0
        found = body_mask(
            array[:, : 18 * step, : 18 * step], np.ones((48, 18 * step, 18 * step), bool), spacing, True
        )
        along = np.flatnonzero(found[24, 9 * step])
        before, after = body.start - along.min(), along.max() - (body.stop - 1)
        assert before == after > 0

    def test_keeps_a_lung_that_the_face_of_the_image_cuts(self):
        array, body, lungs = thorax()
        cut = array[:, :, 21:-21]
        assert lungs[:, :, 21].any() and lungs[:, :, -22].any()
        found = body_mask(cut, np.ones(cut.shape, bool), 4.0, True)
        assert found[lungs[:, :, 21:-21]].all()
        assert found[body[:, :, 21:-21]].all()

    def test_keeps_a_cut_lung_that_what_was_not_measured_would_join_with_the_air(self):
        array, body, lungs = thorax(size=(72, 72, 40))
        # The scan begins inside the left lung: a sliver of it is left beside a lot of air.
        first = np.flatnonzero(lungs.any(axis=(0, 1)))[0] + 14
        valid = np.zeros(array.shape, bool)
        valid[:, :, first:] = True
        array[~valid] = -1024.0
        sliver = lungs & valid
        sliver[:, :, 36:] = False
        assert 50 < sliver.sum() < 0.05 * (valid & ~body).sum()
        found = body_mask(array, valid, 4.0, True)
        assert found[sliver].mean() > 0.95
        assert not found[:, :4].any() and not found[~valid].any()

    def test_ends_that_the_coarse_grid_does_not_divide_are_told_too(self):
        array, body, _ = thorax(size=(71, 59, 39))
        found = body_mask(array, np.ones(array.shape, bool), 1.0, True)
        assert found[body].all() and not found[:, -2:, :4].any() and not found[:, -2:, -2:].any()

    def test_is_all_that_is_valid_where_nothing_can_be_told(self):
        valid = np.random.default_rng(0).random((12, 12, 12)) > 0.3
        air = np.full(valid.shape, -1000.0, np.float32)
        assert np.array_equal(body_mask(air, valid, 4.0, True), valid)
        assert np.array_equal(body_mask(air, valid, 4.0, False), valid)

    def test_a_single_slice_is_no_obstacle(self):
        array, body, _ = thorax()
        found = body_mask(array[20:21], np.ones((1, *array.shape[1:]), bool), 1.0, True)
        assert found[0][body[20]].all() and not found[0][:4, :4].any()


def scan(spacing=(2.0, 2.0, 2.0), direction=None, noise=0.0):
    """The thorax as a volume, its body alone, and its lungs."""
    array, body, lungs = thorax(noise=noise)
    grid = Grid(array.shape[::-1], spacing, (-70.0, 12.0, 33.0), direction or Grid((1, 1, 1)).direction)
    return Volume(array, grid), body, lungs


class TestBody:
    def test_holds_lungs_and_skin_and_ends_in_the_air_around(self):
        image, body, lungs = scan(noise=20.0)
        found = Body(image).on(image.grid)
        assert found[body].all() and found[lungs].all()
        # A margin of 6 mm is two blocks of 4 mm, and a block is 2 voxels.
        far = ndimage.distance_transform_edt(~body) > 3 * 2 + 1
        assert far.mean() > 0.02 and not found[far].any()

    @pytest.mark.parametrize("degrees", [0, 20])
    @pytest.mark.parametrize("axes", ["xyz", "yzx", "zyx"])
    def test_is_read_at_points_as_on_a_grid_and_nowhere_outside(self, axes, degrees):
        image, _, _ = scan()
        turn = Rotation.from_euler("z", degrees, degrees=True).as_matrix()
        turn = turn @ np.eye(3)[["xyz".index(axis) for axis in axes]] * [1, -1, 1]
        # It reaches beyond the image along one axis.
        spacing, size = np.array([3.0, 2.5, 7.0]), (30, 24, 60)
        origin = image.grid.center + [9.0, 0.3, -4.0] - turn @ (spacing * (np.array(size) - 1) / 2)
        body, grid = Body(image), Grid.of(size, spacing, origin, tuple(turn.ravel().tolist()))
        found = body.on(grid)
        assert np.array_equal(body.at(grid.points()), found) and 0.01 < found.mean() < 0.99
        assert not body.at(image.grid.corners() + 100).any()

    @pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0), (1, 2, 0)])
    def test_does_not_depend_on_how_the_voxels_are_stored(self, order):
        """A lung cut by the first section, stored with its sections across another axis, backwards."""
        image, _, _ = scan(noise=20.0)
        cut = image.array[12:]
        grid = Grid(cut.shape[::-1], image.grid.spacing, image.grid.origin)
        stored = np.transpose(cut, order)[:, ::-1]
        # Array axis n is index axis 2 - n and LPS axis 2 - order[n].
        axes = np.stack([np.eye(3)[2 - order[2 - index]] for index in range(3)], axis=1)
        axes[:, 1] *= -1
        origin = grid.origin - 2.0 * (stored.shape[1] - 1) * axes[:, 1]
        turned = Grid(stored.shape[::-1], grid.spacing, tuple(origin.tolist()), tuple(axes.ravel().tolist()))
        assert np.allclose(np.sort(turned.corners(), axis=0), np.sort(grid.corners(), axis=0))
        again = Body(Volume(stored, turned))
        assert np.array_equal(again.at(grid.points()), Body(Volume(cut, grid)).at(grid.points()))

    def test_of_an_animal_is_found_as_a_persons_is(self):
        image, body, _ = scan((0.1, 0.1, 0.1))
        person, _, _ = scan((300 / (72 * 60 * 40) ** (1 / 3),) * 3)
        found = Body(image).on(image.grid)
        assert found[body].all() and found.mean() < 0.8
        assert np.array_equal(found, Body(person).on(person.grid))

    def test_of_an_image_on_another_scale_is_found_by_its_air(self):
        image, body, _ = scan()
        other = Volume((image.array + 1000) / 7, image.grid)
        assert np.array_equal(Body(other).on(image.grid), Body(image).on(image.grid))

    def test_is_all_of_an_image_without_air(self):
        grid = Grid((20, 20, 20), (2.0, 2.0, 2.0))
        array = np.random.default_rng(0).normal(40, 5, grid.shape).astype(np.float32)
        assert Body(Volume(array, grid)).on(grid).all()

    def test_leaves_out_what_the_scanner_did_not_measure(self):
        image, _, _ = scan()
        image.array[:, :, :20] = -3024
        found = Body(image).on(image.grid)
        assert not found[:, :, :18].any() and found[20, 30, 22:50].all()
