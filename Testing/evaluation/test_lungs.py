"""Lungs are found by what they are, and nothing that is as dark is taken for one."""

from __future__ import annotations

import numpy as np
import pytest

from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.evaluation.lungs import ALONE, LEFT, RIGHT, find_lungs
from GLIDERegLib.files.volumes import read_volume

GRID = Grid((64, 48, 52), (5.0, 5.0, 5.0), (-157.5, -117.5, -127.5))


def ellipsoid(center, radii):
    away = (GRID.points() - np.asarray(center)) / np.asarray(radii)
    return np.sum(away**2, axis=-1) < 1


def chest(**parts):
    """A body in air with parts (bool arrays) of a lung's density, or of pure air where their name says so."""
    hu = np.where(ellipsoid((0, 0, 0), (150, 105, 400)), 40.0, -1000.0)
    for name, part in parts.items():
        hu[part] = -1000 if name.startswith("air") else -820
    noise = np.random.default_rng(0).normal(0, 15, GRID.shape)
    return Volume((hu + noise).astype(np.int16), GRID, "fixed")


def lung(side, inner=15.0, height=90.0):
    """A lung-sized ellipsoid whose inner end lies `inner` mm from the middle; side: 1 left, -1 right."""
    return ellipsoid((side * (inner + 50), 0, 0), (50, 70, height))


def parts(volume):
    """Label masks on the volume's grid by name."""
    found = find_lungs(volume)
    on = found.on(GRID)
    return {name: on == label for label, name in found.names.items()}


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize("inner", [15.0, -1.0], ids=["apart", "touching"])
def test_both_lungs_are_found_on_the_patients_sides(inner):
    left, right = lung(1, inner), lung(-1, inner)
    found = parts(chest(left=left, right=right))
    assert set(found) == {RIGHT, LEFT}
    assert dice(found[LEFT], left & ~right) > 0.92 and dice(found[RIGHT], right & ~left) > 0.92


def test_vessels_and_a_nodule_belong_to_the_lung():
    left, right = lung(1), lung(-1)
    nodule = ellipsoid((65, 0, 0), (8, 8, 8))
    found = parts(chest(left=left & ~nodule, right=right))
    assert found[LEFT][nodule].all()


def test_the_windpipe_and_a_stomachs_gas_are_no_lung():
    left, right = lung(1, 20.0, 70.0), lung(-1, 20.0, 70.0)
    x, y, z = np.moveaxis(GRID.points(), -1, 0)
    windpipe = (x**2 + y**2 < 11**2) & (z > -20)
    gas = ellipsoid((40, 0, -108), (40, 30, 19))
    found = parts(chest(left=left, right=right, air_windpipe=windpipe, air_gas=gas))
    assert not any(mask[windpipe].any() or mask[gas].any() for mask in found.values())


def test_a_lung_alone_is_not_said_to_be_of_a_side():
    only = lung(1)
    found = parts(chest(only=only))
    assert set(found) == {ALONE} and dice(found[ALONE], only) > 0.92


def test_a_scan_without_lungs_has_none():
    assert parts(chest()) == {}


def block(size, center, air):
    """A block of tissue in air of some HU: no person."""
    inside = np.all(np.abs(GRID.points() - np.asarray(center)) < np.asarray(size) / 2, axis=-1)
    hu = np.where(inside, 40.0, air) + np.random.default_rng(1).normal(0, 15, GRID.shape)
    return Volume(hu.astype(np.int16), GRID, "fixed")


@pytest.mark.parametrize("air", [-1000, -960, -900, -800], ids="air {}".format)
@pytest.mark.parametrize("center", [(0, 0, 0), (-90, 0, 0)], ids=["in the middle", "at a side"])
@pytest.mark.parametrize(
    "size", [(60, 60, 60), (120, 120, 120), (140, 600, 600)], ids=["small", "large", "wall"]
)
def test_the_air_beside_a_block_is_no_lung(size, center, air):
    assert parts(block(size, center, air)) == {}


@pytest.mark.parametrize("air", [-1000, -850])
def test_the_air_between_two_walls_is_no_lung(air):
    x = GRID.points()[..., 0]
    hu = np.where(np.abs(x) > 100, 40.0, air) + np.random.default_rng(1).normal(0, 15, GRID.shape)
    assert parts(Volume(hu.astype(np.int16), GRID, "fixed")) == {}


def test_a_box_of_air_and_an_organ_full_of_gas_are_no_lungs():
    assert parts(chest(air_box=ellipsoid((0, 0, 0), (120, 80, 90)))) == {}


def test_a_lung_whose_outer_side_is_cut_off_by_the_scans_face_is_found():
    whole = chest(left=lung(1), right=lung(-1))
    cut = 44  # columns: the left lung's outermost 2 cm and the wall beside it are left out
    size = (cut, *GRID.size[1:])
    found = find_lungs(Volume(whole.array[..., :cut].copy(), Grid(size, GRID.spacing, GRID.origin), "fixed"))
    assert set(found.names.values()) == {RIGHT, LEFT}


@pytest.mark.parametrize("scan", ["baseline", "followup"])
def test_one_cropped_lung_of_a_real_scan_is_found(shared_data, scan):
    folder = shared_data / "lung_right"
    volume = read_volume(folder / f"3DCT_lung_{scan}.mha", "scan")
    mask = read_volume(folder / f"3DCT_lung_{scan}_mask.mha", "mask").array > 0
    found = find_lungs(volume)
    assert list(found.names.values()) == [ALONE]
    assert dice(found.on(volume.grid) > 0, mask) > 0.92


def test_a_small_field_of_view_that_cuts_a_lung_on_all_sides_shows_a_lung(shared_data):
    folder = shared_data / "lung_right"
    volume = read_volume(folder / "3DCT_lung_baseline.mha", "scan")
    mask = read_volume(folder / "3DCT_lung_baseline_mask.mha", "mask").array > 0
    nx, ny, nz = volume.grid.size
    inner = (
        slice(None),
        slice(round(0.15 * ny), round(0.85 * ny)),
        slice(round(0.15 * nx), round(0.85 * nx)),
    )
    array, mask = volume.array[inner].copy(), mask[inner]
    size = array.shape[::-1]
    grid = Grid(size, volume.grid.spacing, volume.grid.origin, volume.grid.direction)
    found = find_lungs(Volume(array, grid, "fixed"))
    assert list(found.names.values()) == [ALONE] and dice(found.on(grid) > 0, mask) > 0.9
