"""Measuring a nodule from one click: the truth of generated scans, and no number where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.core.points import PointSet
from GLIDERegLib.evaluation.measuring import GROUND_GLASS, PART_SOLID, SOLID, measure, measure_nodule
from GLIDERegLib.evaluation.measuring.interval import volume_interval
from GLIDERegLib.evaluation.measuring.keeping import nodules_to_keep
from GLIDERegLib.evaluation.measuring.partial_volume import Content
from GLIDERegLib.evaluation.measuring.patch import cut
from GLIDERegLib.evaluation.nodule_phantom import AT_PLEURA, AT_VESSEL, ISOLATED, SOLID_HU, Scene, scan_of


@pytest.fixture(scope="module")
def isolated():
    return scan_of(Scene(8, "solid", ISOLATED, (0.8, 0.8, 1.25), seed=101))


def lung(shape=(40, 40, 40), spacing=(1.0, 1.0, 1.0), noise=20):
    rng = np.random.default_rng(3)
    array = (-850 + noise * rng.standard_normal(shape)).astype(np.int16)
    return Volume(array, Grid(shape[::-1], spacing))


# Limits: the goal for solid nodules of at least 6 mm in slices of at most 1.25 mm is 25 % for 95 of 100.
@pytest.mark.parametrize(
    ("kind", "where", "diameter", "slice_mm", "limit", "attenuation"),
    [
        ("solid", ISOLATED, 6, 1.0, 0.25, SOLID),
        ("solid", AT_VESSEL, 8, 1.25, 0.25, SOLID),
        ("solid", AT_PLEURA, 10, 1.25, 0.25, SOLID),
        ("part-solid", ISOLATED, 12, 1.0, 0.25, PART_SOLID),
        ("ground glass", ISOLATED, 10, 1.25, 0.25, GROUND_GLASS),
    ],
)
def test_a_nodule_has_the_size_it_was_made_with(kind, where, diameter, slice_mm, limit, attenuation):
    truth = scan_of(Scene(diameter, kind, where, (0.7, 0.7, slice_mm), seed=102))
    found = measure_nodule(truth.volume, truth.center_mm)
    assert found.status == "measured" and found.attenuation == attenuation
    assert found.volume_mm3 == pytest.approx(truth.volume_mm3, rel=limit)
    assert found.volume_low_mm3 < found.volume_mm3 < found.volume_high_mm3
    # A third of the volume's limit, and a quarter of a pixel at either end.
    for diameter, true in ((found.long_mm, truth.long_mm), (found.short_mm, truth.short_mm)):
        assert diameter == pytest.approx(true, rel=limit / 3, abs=0.35)
    assert found.touches_pleura == (where == AT_PLEURA)
    if attenuation == SOLID:
        # The middle's, as made within 25 HU: the mean of all voxels is some 200 HU lower.
        assert found.mean_hu == pytest.approx(SOLID_HU, abs=60)
    assert np.linalg.norm(np.subtract(found.center_mm, truth.center_mm)) < diameter / 4


def test_the_same_nodule_on_turned_and_flipped_axes_has_the_same_size_and_place(isolated):
    grid, array = isolated.volume.grid, isolated.volume.array
    # Stored as (y, z, x), y backwards.
    turned = np.ascontiguousarray(array[:, ::-1, :].transpose(1, 0, 2))
    axes = grid.axes[:, [0, 2, 1]] * [1, 1, -1]
    origin = grid.to_physical([0, grid.size[1] - 1, 0])
    size, spacing = (tuple(np.asarray(values)[[0, 2, 1]].tolist()) for values in (grid.size, grid.spacing))
    other = Volume(turned, Grid(size, spacing, tuple(origin.tolist()), tuple(axes.ravel().tolist())))
    a, b = (measure_nodule(volume, isolated.center_mm) for volume in (isolated.volume, other))
    assert b.volume_mm3 == pytest.approx(a.volume_mm3, rel=1e-3)
    assert (b.long_mm, b.short_mm) == pytest.approx((a.long_mm, a.short_mm), abs=0.01)
    assert b.center_mm == pytest.approx(a.center_mm, abs=0.01)
    places = [
        {tuple(np.round(m.grid.to_physical(index[::-1]), 2)) for index in np.argwhere(m.array)}
        for m in (a.mask, b.mask)
    ]
    assert places[0] == places[1] and len(places[0]) > 100


def test_the_mask_lies_on_the_scans_own_voxels_around_the_nodule(isolated):
    mask = measure_nodule(isolated.volume, isolated.center_mm).mask
    first = isolated.volume.grid.to_index(mask.grid.origin)
    assert np.allclose(first, np.rint(first), atol=1e-6) and mask.grid.spacing == isolated.volume.grid.spacing
    volume = mask.array.sum() * np.prod(mask.grid.spacing)
    assert volume == pytest.approx(isolated.volume_mm3, rel=0.1)


def test_a_click_beside_the_middle_measures_the_same(isolated):
    sizes = [
        measure_nodule(isolated.volume, isolated.center_mm + offset).volume_mm3
        for offset in ((0, 0, 0), (2, 0, 0), (0, -2, 1))
    ]
    assert np.ptp(sizes) < 0.01 * sizes[0]


def test_larger_and_smaller_move_the_boundary_and_all_sizes_with_it(isolated):
    smaller, found, larger = (
        measure_nodule(isolated.volume, isolated.center_mm, step=step) for step in (-1, 0, 1)
    )
    assert smaller.volume_mm3 < found.volume_mm3 < larger.volume_mm3
    assert smaller.long_mm < found.long_mm < larger.long_mm
    assert larger.volume_low_mm3 < larger.volume_mm3 < larger.volume_high_mm3 and larger.step == 1
    # A shell of 0.35 mm around a sphere of this volume.
    radius = (3 * found.volume_mm3 / 4 / np.pi) ** (1 / 3)
    shell = 4 / 3 * np.pi * ((radius + 0.35) ** 3 - radius**3)
    assert larger.volume_mm3 - found.volume_mm3 == pytest.approx(shell, rel=0.3)


def test_where_there_is_no_nodule_there_is_no_number():
    found = measure_nodule(lung(), (20, 20, 20))
    assert found.status == "could not be told: nothing here is denser than the lung around it"
    assert found.volume_mm3 is None and found.mask is None and found.mean_mm is None


def test_a_vessel_is_no_nodule():
    scan = lung()
    scan.array[:, 18:22, 18:22] = 40
    found = measure_nodule(scan, (19.5, 19.5, 20))
    assert not found.measured and found.volume_mm3 is None


def test_a_place_in_the_wall_has_no_number():
    scan = lung((60, 60, 60))
    scan.array[:, :30] = 30
    assert measure_nodule(scan, (30, 24, 30)).status == (
        "could not be told: this place is in the chest wall or the mediastinum"
    )


def test_what_lies_beside_the_click_is_not_taken_for_what_was_pointed_at():
    scan = lung()
    z, y, x = np.indices(scan.array.shape)
    scan.array[(z - 20) ** 2 + (y - 20) ** 2 + (x - 20) ** 2 < 36] = 30
    # From its middle along the diagonal: 2 mm and 4.5 mm from its surface.
    near, far = (np.full(3, 20 + (6 + beside) / np.sqrt(3)) for beside in (2, 4.5))
    assert measure_nodule(scan, near).measured
    assert "more than 3 mm from this place" in measure_nodule(scan, far).status


def on_a_wall(wall, center, radius, ribs=False):
    """A scan of 1 mm voxels, 50 mm wide, of a ball of 35 HU and a wall (mm beneath its surface at points z,
    y, x), and the ball's volume outside of that. ribs: the wall is bone from 2 mm beneath its surface.
    """
    fine = (np.arange(150) + 0.5) / 3 - 0.5
    points = np.stack(np.meshgrid(fine, fine, fine, indexing="ij"))
    depth = wall(*points)
    ball = (np.linalg.norm(points - np.reshape(center, (3, 1, 1, 1)), axis=0) < radius) & (depth <= 0)
    tissue = np.where(ribs & (depth > 2), 400.0, 35.0)
    hu = ndimage.gaussian_filter(np.where(depth > 0, tissue, np.where(ball, 35.0, -850.0)), (0.9, 1.5, 1.5))
    image = hu.reshape(50, 3, 50, 3, 50, 3).mean(axis=(1, 3, 5))
    image += np.random.default_rng(8).normal(0, 10, image.shape)
    return Volume(image.astype(np.int16), Grid((50, 50, 50), (1.0, 1.0, 1.0)), "scan"), ball.sum() / 27


def test_bone_beneath_the_pleura_takes_nothing_from_a_nodule_on_it():
    def wall(z, y, x):
        return 16 + 0.004 * (y - 25) ** 2 - x

    scan, true = on_a_wall(wall, (25, 25, 18), 5.0, ribs=True)
    found = measure_nodule(scan, (19.0, 25.5, 24.5))
    # While the wall was a step to one level, bone made it 5 % smaller than muscle did.
    assert found.touches_pleura and found.volume_mm3 == pytest.approx(true, rel=0.02)
    assert found.volume_low_mm3 < true < found.volume_high_mm3


def test_in_a_corner_of_the_lung_a_nodule_is_not_told_from_the_second_wall():
    def corner(z, y, x):
        return np.maximum(16 - x, 14 - z)

    scan, _ = on_a_wall(corner, (16, 25, 18), 5.0)
    assert "two surfaces of the lung meet" in measure_nodule(scan, (19.0, 25.0, 18.0)).status
    # Away from the other wall it is told.
    scan, true = on_a_wall(corner, (32, 25, 18), 5.0)
    assert measure_nodule(scan, (19.0, 25.0, 32.0)).volume_mm3 == pytest.approx(true, rel=0.1)


def test_what_is_cut_off_by_the_scans_edge_has_no_number():
    scan = lung()
    z, y, x = np.indices(scan.array.shape)
    scan.array[(z - 1) ** 2 + (y - 20) ** 2 + (x - 20) ** 2 < 36] = 30
    assert not measure_nodule(scan, (20, 20, 2)).measured


@pytest.mark.parametrize("filled", [-2048, -1024, 0])
def test_a_nodule_that_the_field_of_view_cuts_off_has_no_number(isolated, filled):
    grid = isolated.volume.grid
    middle = int(grid.to_index(isolated.center_mm)[0])

    def cut_at(column):
        array = isolated.volume.array.copy()
        array[:, :, column:] = filled
        return measure_nodule(Volume(array, grid), isolated.center_mm)

    assert cut_at(middle + 1).status == (
        "could not be told: it ends where the scan was not measured, at the edge of the field of view"
    )
    # 10 voxels of 0.8 mm from its middle, 4 mm from its surface, it is whole.
    assert cut_at(middle + 10).volume_mm3 == pytest.approx(isolated.volume_mm3, rel=0.1)


def test_what_may_as_well_be_half_or_twice_as_large_has_no_number(isolated, monkeypatch):
    monkeypatch.setattr(measure, "volume_interval", lambda *_: (100.0, 410.0))
    found = measure_nodule(isolated.volume, isolated.center_mm)
    assert found.volume_mm3 is None and "anything from 100 to 410 mm³ (95 %)" in found.status


def test_a_place_outside_the_scan_is_said():
    assert measure_nodule(lung(), (20, 20, 90)).status == "could not be told: it lies outside the scan"


def test_a_scan_that_is_not_in_hounsfield_units_is_refused():
    scan = lung()
    shifted = Volume((scan.array + 1024).astype(np.int16), scan.grid, "scan")
    with pytest.raises(InputError, match="not Hounsfield units"):
        measure_nodule(shifted, (20, 20, 20))


@pytest.mark.parametrize(
    ("point", "cube"), [((1, 2), 40), ((1, 2, np.nan), 40), ((1, 2, 3), 5), ((1, 2, 3), np.nan)]
)
def test_impossible_points_and_cubes_are_refused(point, cube):
    with pytest.raises(InputError, match="must be"):
        measure_nodule(lung(), point, cube_mm=cube)


@pytest.mark.parametrize(
    ("attenuation", "halo", "attached", "wider"),
    [
        (SOLID, 0.06, 0.0, True),
        (SOLID, None, 0.06, True),
        (SOLID, -0.1, 0.3, False),
        (PART_SOLID, 0.4, 0.06, False),
    ],
)
def test_what_is_seen_beyond_the_boundary_only_raises_the_upper_end(
    isolated, attenuation, halo, attached, wider
):
    patch = cut(isolated.volume, isolated.center_mm, 24)

    def ends(halo, attached):
        found = Content(250.0, np.ones(1), 1.0, 200.0, 0.0, 0.02, attached, 30.0, attenuation, halo)
        return volume_interval(patch, found, 250.0, 0.01, 0.0, 880.0)

    (low, high), (lower, higher) = ends(None, 0.0), ends(halo, attached)
    # A vessel's own term is a tenth of a per cent here.
    assert lower == pytest.approx(low, rel=0.01) and (higher > 1.03 * high) == wider


def test_the_interval_of_ground_glass_on_a_vessel_holds_it():
    # A vessel has four times its contrast: where it is cut counts as much more. Of those that showed it.
    spacing = (0.633, 0.633, 1.0)
    scene = Scene(10.461390, GROUND_GLASS, AT_VESSEL, spacing, 0.3907323, 0.0, 24.89948, seed=11206)
    truth = scan_of(scene)
    found = measure_nodule(truth.volume, truth.center_mm)
    assert found.attenuation == GROUND_GLASS and found.touches_vessel
    assert abs(found.volume_mm3 / truth.volume_mm3 - 1) > 0.04
    assert found.volume_low_mm3 < truth.volume_mm3 < found.volume_high_mm3


def test_uneven_lung_and_a_vessel_widen_the_interval_of_ground_glass_more_than_of_a_solid_nodule():
    patch = cut(
        Volume(np.full((40, 40, 40), -850, np.int16), Grid((40,) * 3, (1.0,) * 3), "scan"), (20,) * 3, 24
    )

    def width(attenuation, contrast, attached=0.0, uneven=0.0):
        found = Content(500.0, np.ones(1), 1.0, 500.0, uneven, 0.01, attached, contrast - 850, attenuation)
        low, high = volume_interval(patch, found, 500.0, 0.01, 0.0, contrast)
        return float(np.log(500.0 / low))

    for change in ({"attached": 0.1}, {"uneven": 5.0}):
        faint = width(GROUND_GLASS, 230.0, **change) - width(GROUND_GLASS, 230.0)
        solid = width(SOLID, 880.0, **change) - width(SOLID, 880.0)
        assert faint > 0.01 and faint > 3 * solid


def test_a_nodule_that_cannot_be_told_and_is_kept_rigid_is_named_by_its_label(isolated):
    aside = isolated.center_mm + [0, 0, 15.0]
    marks = PointSet(["n7", "n9", "n8"], np.stack([isolated.center_mm + 500, isolated.center_mm, aside]))
    masks, balls, sentences = nodules_to_keep(isolated.volume, marks)
    assert len(masks) == len(balls) == 2 and len(sentences) == 1
    assert sentences[0].startswith("Nodule 'n8' of the scan could not be told: ")
    empty = Volume(np.full_like(isolated.volume.array, -850), isolated.volume.grid, "fixed image")
    same = PointSet(["n7", "", "n7"], np.stack([isolated.center_mm] * 3))
    assert nodules_to_keep(empty, same)[2][0].startswith(
        "Nodules 'n7 (point 1)', '2', 'n7 (point 3)' of the fixed image could not be told"
    )
