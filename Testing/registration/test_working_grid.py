import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.registration.working_grid import (
    Prepared,
    is_ct,
    prepare_alone,
    prepare_pair,
    to_image,
    usable_voxels,
    working_spacing,
)

IDENTITY = sitk.Transform(3, sitk.sitkIdentity)
LATTICE = 4


def oblique_axes(seed=0, flipped=False):
    axes, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    axes[:, 0] *= np.sign(np.linalg.det(axes)) * (-1 if flipped else 1)
    return tuple(axes.ravel().tolist())


def translation(shift):
    return sitk.TranslationTransform(3, [float(s) for s in shift])


def ramp(points):
    """A linear image in HU, a CT by its values: some of it is below -300."""
    return -350.0 + points @ np.array([3.0, -2.0, 4.0])


def ramp_volume(grid, name="image"):
    return Volume(ramp(grid.points() - grid.center).astype(np.float32), grid, name)


def constant(grid, value=50.0):
    return Volume(np.full(grid.shape, value, np.float32), grid)


OBLIQUE = Grid((21, 18, 15), (1.7, 2.1, 3.3), (50.0, -80.0, 20.0), oblique_axes())
FLIPPED = Grid((21, 18, 15), (1.7, 2.1, 3.3), (50.0, -80.0, 20.0), oblique_axes(3, flipped=True))
PLAIN = Grid((20, 24, 18), (2.0, 2.0, 2.0), (-10.0, 5.0, 40.0))


class TestGrids:
    @pytest.mark.parametrize("grid", [OBLIQUE, FLIPPED, PLAIN])
    @pytest.mark.parametrize("spacing", [1.5, 2.0])
    def test_the_working_grid_covers_the_fixed_image_in_its_axes(self, grid, spacing):
        fixed, _ = prepare_pair(ramp_volume(grid), ramp_volume(grid), IDENTITY, spacing, 10.0, LATTICE)
        assert fixed.grid.spacing == (spacing,) * 3 and fixed.offset == (0, 0, 0)
        reached = fixed.grid.to_index(grid.corners())
        assert (reached >= -0.5 - 1e-5).all() and (reached <= np.asarray(fixed.grid.size) - 0.5 + 1e-5).all()
        # Axes may be swapped and turned round, but not tilted.
        assert np.allclose(np.abs(fixed.grid.axes.T @ grid.axes).round(9).sum(axis=0), 1.0)
        assert fixed.array.shape == fixed.valid.shape == fixed.weight.shape == fixed.grid.shape

    @pytest.mark.parametrize("grid", [OBLIQUE, FLIPPED])
    @pytest.mark.parametrize("lattice", [2, 4, 8])
    def test_the_moving_grid_lies_on_the_same_lattice(self, grid, lattice):
        moving = Grid((30, 30, 30), (2.0,) * 3, tuple(grid.center - 35.0))
        fixed, prepared = prepare_pair(ramp_volume(grid), ramp_volume(moving), IDENTITY, 1.5, 20.0, lattice)
        assert all(n % lattice == 0 for n in prepared.offset)
        np.testing.assert_allclose(prepared.grid.origin, fixed.grid.to_physical(np.array(prepared.offset)))
        assert prepared.grid.direction == fixed.grid.direction and prepared.grid.spacing == fixed.grid.spacing

    def test_the_moving_grid_holds_all_of_the_moving_scan_within_the_margin(self):
        shift, margin = np.array([300.0, -40.0, 7.0]), 12.0
        moving = Grid((40, 40, 12), (2.0, 2.0, 2.0), tuple(np.asarray(PLAIN.origin) + shift + [-30, -30, 10]))
        fixed, prepared = prepare_pair(
            ramp_volume(PLAIN), ramp_volume(moving), translation(shift), 1.5, margin, LATTICE
        )
        points = moving.points().reshape(-1, 3) - shift
        inside = fixed.grid.to_index(points)
        near = (
            (inside > -0.5 - margin / 1.5) & (inside < np.asarray(fixed.grid.size) - 0.5 + margin / 1.5)
        ).all(axis=1)
        assert 0 < near.sum() < len(near)
        assert prepared.grid.contains(points[near]).all()
        # ... and no more than the margin on every side, up to the lattice.
        assert (np.asarray(prepared.offset) >= -np.ceil(margin / 1.5 / LATTICE) * LATTICE).all()
        most = np.asarray(fixed.grid.size) + 2 * np.ceil(margin / 1.5 / LATTICE) * LATTICE
        assert (np.asarray(prepared.grid.size) <= most).all()

    @pytest.mark.parametrize("first", range(0, 15, 2))
    def test_a_thin_slab_is_found_wherever_it_lies(self, first):
        slab = Grid((20, 24, 2), (2.0, 2.0, 1.0), (-10.0, 5.0, 40.0 + first))
        _, moving = prepare_pair(ramp_volume(PLAIN), ramp_volume(slab), IDENTITY, 1.0, 8.0, LATTICE)
        assert moving.valid.any()

    def test_images_that_do_not_overlap_are_refused(self):
        far = Grid(PLAIN.size, PLAIN.spacing, (500.0, 0.0, 0.0))
        with pytest.raises(InputError, match="do not overlap; align them first"):
            prepare_pair(ramp_volume(PLAIN), ramp_volume(far), IDENTITY, 2.0, 20.0, LATTICE)
        back = np.asarray(far.origin) - PLAIN.origin
        prepare_pair(ramp_volume(PLAIN), ramp_volume(far), translation(back), 2.0, 20.0, LATTICE)

    def test_working_spacing_is_what_was_asked_for_or_what_image_and_memory_allow(self):
        grid = Grid((100, 100, 50), (0.7, 0.7, 2.0))
        assert working_spacing(grid, 3.0, finest=1.0, most_voxels=1e3) == 3.0
        assert working_spacing(grid, None, finest=1.0, most_voxels=1e9) == 1.0
        assert working_spacing(grid, None, finest=0.5, most_voxels=1e9) == 0.7
        coarse = working_spacing(grid, None, finest=0.5, most_voxels=1e4)
        assert np.prod(grid.extent / coarse) == pytest.approx(1e4, rel=1e-3)


class TestIntensities:
    @pytest.mark.parametrize(
        ("grid", "spacing"), [(OBLIQUE, 1.5), (FLIPPED, 1.0), (PLAIN, 2.0), (PLAIN, 3.0)]
    )
    def test_a_linear_image_stays_linear_in_the_interior(self, grid, spacing):
        prepared = prepare_alone(ramp_volume(grid), grid.resized((spacing,) * 3), None, "fixed")
        expected = ramp(prepared.grid.points() - grid.center)
        index = grid.to_index(prepared.grid.points())
        inner = ((index > 4) & (index < np.asarray(grid.size) - 5)).all(axis=-1)
        assert inner.sum() > 50
        np.testing.assert_allclose(prepared.array[inner], expected[inner], atol=1.5)

    def test_the_moving_image_is_read_through_the_initial_transform(self):
        moving = Grid((44, 44, 44), (2.0,) * 3, (-250.0, 60.0, -30.0), oblique_axes(5))
        turn = sitk.Euler3DTransform(
            PLAIN.center.tolist(), 0.2, -0.1, 0.3, (moving.center - PLAIN.center).tolist()
        )
        _, prepared = prepare_pair(ramp_volume(PLAIN), ramp_volume(moving), turn, 1.5, 6.0, LATTICE)
        points = prepared.grid.points().reshape(-1, 3)
        mapped = np.array([turn.TransformPoint(p) for p in points.tolist()])
        index = moving.to_index(mapped)
        inner = ((index > 4) & (index < np.asarray(moving.size) - 5)).all(axis=1)
        assert inner.sum() > 1000
        expected = ramp(mapped[inner] - moving.center)
        np.testing.assert_allclose(prepared.array.ravel()[inner], expected, atol=0.5)
        assert prepared.valid.ravel()[inner].all()

    @pytest.mark.parametrize("axes", ["as they are", "swapped and flipped"])
    def test_where_voxel_falls_on_voxel_values_are_kept_as_they_are(self, axes):
        rng = np.random.default_rng(0)
        direction = (1.0, 0, 0, 0, 1, 0, 0, 0, 1) if axes == "as they are" else (0.0, 0, 1, -1, 0, 0, 0, 1, 0)
        grid = Grid((17, 18, 19), (2.0,) * 3, (-9.0, 7.0, 31.0), direction)
        moving = Volume(rng.uniform(-900, 900, grid.shape).astype(np.float32), grid)
        fixed = constant(Grid((20, 24, 18), (2.0,) * 3, (-11.0, -3.0, 27.0)))
        _, prepared = prepare_pair(fixed, moving, IDENTITY, 2.0, 12.0, LATTICE)
        index = np.rint(prepared.grid.to_index(grid.points())).astype(int)
        k, j, i = np.moveaxis(index[..., ::-1], -1, 0)
        inside = ((index >= 0) & (index < np.asarray(prepared.grid.size))).all(axis=-1)
        assert inside.mean() > 0.8 and prepared.valid[k[inside], j[inside], i[inside]].all()
        np.testing.assert_array_equal(prepared.array[k[inside], j[inside], i[inside]], moving.array[inside])

    def test_values_outside_the_field_of_view_are_clipped_and_not_valid(self):
        array = np.full(PLAIN.shape, 40.0, np.float32)
        array[:, :6] = -3024.0
        array[:, 6:12] = -1400.0
        array[0, 20, 10] = 9000.0
        prepared = prepare_alone(Volume(array, PLAIN), PLAIN, None, "fixed")
        assert not prepared.valid[:, :6].any() and prepared.valid[:, 6:].all()
        assert prepared.array.min() == -1024.0 and prepared.array.max() <= 3071.0
        assert not prepared.weight[:, :6].any()
        assert prepared.array[10, 9, 10] == pytest.approx(-1024.0, abs=1.0)

    def test_beyond_the_scan_nothing_is_valid(self):
        wide = Grid(tuple(n + 6 for n in PLAIN.size), PLAIN.spacing, tuple(np.asarray(PLAIN.origin) - 6.0))
        prepared = prepare_alone(ramp_volume(PLAIN), wide, None, "fixed")
        expected = np.zeros(wide.shape, bool)
        expected[3:-3, 3:-3, 3:-3] = True
        assert np.array_equal(prepared.valid, expected)

    def test_detail_too_fine_for_the_working_grid_is_smoothed_away_not_folded_into_it(self):
        grid = Grid((96, 32, 32), (1.0,) * 3)
        wave = -400.0 + 100.0 * np.sin(2 * np.pi * np.arange(96) / 5.0)
        prepared = prepare_alone(constant(grid), grid.resized((4.0,) * 3), None, "fixed")
        assert prepared.array.std() < 1e-3
        volume = Volume(np.broadcast_to(wave, grid.shape).astype(np.float32), grid)
        prepared = prepare_alone(volume, grid.resized((4.0,) * 3), None, "fixed")
        assert prepared.array[:, :, 2:-2].std() < 0.2 * wave.std()

    def test_what_is_not_a_ct_is_clipped_to_its_own_percentiles_and_valid_everywhere(self):
        array = np.random.default_rng(0).uniform(0, 1000, PLAIN.shape).astype(np.float32)
        array[0, 0, 0] = 1e6
        volume = Volume(array, PLAIN)
        assert not is_ct(volume)
        prepared = prepare_alone(volume, PLAIN, None, "fixed")
        assert prepared.valid.all() and prepared.weight.all()
        assert prepared.array.max() <= 1000.0

    def test_integer_images_come_out_as_floats(self):
        volume = ramp_volume(PLAIN)
        integers = Volume(volume.array.astype(np.int16), PLAIN)
        prepared = prepare_alone(integers, PLAIN, None, "fixed")
        assert prepared.array.dtype == np.float32
        np.testing.assert_allclose(prepared.array, integers.array, atol=1e-2)

    def test_to_image_keeps_values_and_geometry(self):
        image = to_image(ramp_volume(OBLIQUE).array, OBLIQUE)
        at = image.TransformIndexToPhysicalPoint((3, 4, 5))
        np.testing.assert_allclose(at, OBLIQUE.points()[5, 4, 3])
        assert image[3, 4, 5] == pytest.approx(ramp(np.array(at) - OBLIQUE.center), rel=1e-5)


class TestMasks:
    @pytest.mark.parametrize(
        ("dtype", "value"),
        [(bool, 1), (np.uint8, 255), (np.int16, 1), (np.uint16, 256), (np.int32, 65536), (np.float32, 0.5)],
    )
    def test_similarity_counts_in_the_mask_only(self, dtype, value):
        mask = np.zeros(PLAIN.shape, dtype)
        mask[4:9, 5:12, 6:14] = value
        fixed, moving = prepare_pair(
            ramp_volume(PLAIN), ramp_volume(PLAIN), translation((2, 0, 0)), 2.0, 8.0, LATTICE, mask, mask
        )
        assert np.array_equal(fixed.weight, mask > 0) and fixed.valid.all()
        x, y, z = moving.offset
        ours = np.argwhere(moving.weight)[:, ::-1] + [x, y, z]
        # Moving voxel i lies at fixed i - 1: a shift of one voxel along x.
        assert np.array_equal(ours, np.argwhere(mask > 0)[:, ::-1] - [1, 0, 0])

    def test_a_mask_that_lies_outside_the_overlap_is_refused(self):
        mask = np.zeros(PLAIN.shape, bool)
        mask[:, :, -3:] = True
        with pytest.raises(InputError, match="moving mask covers nothing"):
            prepare_pair(
                ramp_volume(PLAIN),
                ramp_volume(PLAIN),
                translation((-30, 0, 0)),
                2.0,
                4.0,
                LATTICE,
                None,
                mask,
            )

    def test_an_empty_mask_is_refused(self):
        with pytest.raises(InputError, match="fixed mask covers nothing"):
            prepare_alone(ramp_volume(PLAIN), PLAIN, np.zeros(PLAIN.shape, bool), "fixed")

    def test_a_mask_of_another_size_is_refused(self):
        with pytest.raises(InputError, match="fixed mask and the fixed image differ in size"):
            prepare_alone(ramp_volume(PLAIN), PLAIN, np.ones((18, 24, 19), bool), "fixed")


@pytest.mark.parametrize("measured", [None, (slice(0, 13), slice(3, 18), slice(2, 19))])
def test_usable_voxels_keep_off_what_was_not_measured_as_far_as_a_descriptor_reaches(measured):
    valid = np.ones((16, 18, 19), bool)
    if measured:
        valid = np.zeros_like(valid)
        valid[measured] = True
        valid[4, 8, 8] = False
    grid = Grid(valid.shape[::-1], (1.0,) * 3)
    image = Prepared(valid.astype(np.float32), valid, valid, grid)
    expected = ndimage.binary_erosion(valid, iterations=2) if measured else np.pad(valid[2:-2, 2:-2, 2:-2], 2)
    np.testing.assert_array_equal(usable_voxels(image, True, 2), expected)
