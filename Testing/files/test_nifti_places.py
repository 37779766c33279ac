"""Where a NIfTI file says that it lies: sform against qform, neither, units, both versions of the format."""

import gzip
import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.grids import read_grid
from GLIDERegLib.files.transforms import read_transform
from GLIDERegLib.files.volumes import read_volume
from GLIDERegLib.transforms.points import map_points

VALUES = np.random.default_rng(0).integers(-1000, 100, (9, 10, 11)).astype(np.int16)
C, S = np.cos(0.3), np.sin(0.3)
TURNED = np.array([[-3 * C, 3 * S, 0, 30], [-3 * S, -3 * C, 0, 20], [0, 0, 4, -10], [0, 0, 0, 1]])
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def shifted(mm):
    return TURNED + np.array([[0, 0, 0, mm], [0] * 4, [0] * 4, [0] * 4])


def save(path, sform, qform, kind=nibabel.Nifti1Image):
    """Each a matrix (RAS mm) and its code."""
    image = kind(VALUES, np.eye(4))
    image.header.set_zooms((3, 3, 4))
    image.set_qform(*qform)
    image.set_sform(*sform)
    nibabel.save(image, path)
    return read_volume(path)


def lies_at(volume, matrix):
    return np.allclose(volume.grid.matrix, LPS @ matrix, atol=1e-4)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("codes", [(1, 1), (1, 2), (2, 1), (4, 1), (1, 3)])
def test_two_places_in_one_header_are_told_with_the_one_taken_and_how_far_apart(tmp_path, codes, kind):
    sform, qform = TURNED, shifted(25)
    volume = save(tmp_path / "a.nii", (sform, codes[0]), (qform, codes[1]), kind)
    taken, other = ("sform", "qform") if lies_at(volume, sform) else ("qform", "sform")
    assert lies_at(volume, {"sform": sform, "qform": qform}[taken])
    [note] = volume.notes
    assert "25.0 mm apart" in note and f"the {taken} (code" in note and f"not the {other}" in note


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("flips", [[-1, 1, 1, 1], [1, -1, 1, 1], [1, 1, -1, 1]])
def test_axes_of_the_other_hand_are_one_place_where_both_say_so(tmp_path, flips, kind):
    """As dcm2niix and FSL write them: the sign of pixdim[0] is part of the qform."""
    place = TURNED @ np.diag(flips)
    volume = save(tmp_path / "a.nii", (place, 1), (place, 1), kind)
    assert volume.notes == () and np.allclose(sorted(volume.grid.spacing), [3, 3, 4])
    [note] = save(tmp_path / "b.nii", (place, 2), (place + (shifted(25) - TURNED), 1), kind).notes
    assert "25.0 mm apart" in note


def test_a_turn_between_the_two_places_is_told_by_the_farthest_corner(tmp_path):
    turned = TURNED.copy()
    turned[:3, :3] = np.diag([-3.0, -3.0, 4.0])
    [note] = save(tmp_path / "a.nii", (TURNED, 1), (turned, 2)).notes
    corners = np.array([[i, j, k, 1] for i in (0, 8) for j in (0, 9) for k in (0, 10)])
    apart = np.linalg.norm(corners @ (TURNED - turned).T, axis=1).max()
    assert f"{apart:.1f} mm apart" in note


@pytest.mark.parametrize("codes", [(1, 1), (1, 0), (0, 1), (2, 1)])
def test_one_place_needs_no_note(tmp_path, codes):
    volume = save(tmp_path / "a.nii.gz", (TURNED, codes[0]), (TURNED, codes[1]))
    assert lies_at(volume, TURNED) and volume.notes == ()


def test_no_place_is_told(tmp_path):
    [note] = save(tmp_path / "a.nii", (TURNED, 0), (TURNED, 0)).notes
    assert "does not say where it lies" in note


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_nifti_2_is_read_as_its_twin_in_nifti_1(tmp_path, name, order, dtype):
    for kind, header, folder in (
        (nibabel.Nifti1Image, nibabel.Nifti1Header, "one"),
        (nibabel.Nifti2Image, nibabel.Nifti2Header, "two"),
    ):
        (tmp_path / folder).mkdir()
        image = kind(VALUES.astype(dtype), TURNED, header(endianness=order))
        image.header.set_xyzt_units("mm")
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"something more"))
        nibabel.save(image, tmp_path / folder / name)
    one, two = (read_volume(tmp_path / folder / name) for folder in ("one", "two"))
    assert one.array.dtype == two.array.dtype and np.array_equal(one.array, two.array)
    assert one.grid == two.grid == read_grid(tmp_path / "two" / name)


@pytest.mark.parametrize("unit, factor", [("mm", 1.0), ("meter", 1e-3), ("micron", 1e3)])
def test_units_of_nifti_2_count(tmp_path, unit, factor):
    image = nibabel.Nifti2Image(VALUES, np.diag([factor, factor, factor, 1]) @ TURNED)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "a.nii")
    assert lies_at(read_volume(tmp_path / "a.nii"), TURNED)


def test_a_scaled_nifti_2_is_scaled(tmp_path):
    image = nibabel.Nifti2Image(VALUES, TURNED)
    image.header.set_slope_inter(2.0, -1024.0)
    nibabel.save(image, tmp_path / "a.nii")
    expected = np.asarray(nibabel.load(tmp_path / "a.nii").get_fdata()).T
    assert np.allclose(read_volume(tmp_path / "a.nii").array, expected)


def test_a_field_in_nifti_2_is_read(tmp_path):
    vectors = np.full((6, 6, 6, 3), (1.0, -2.0, 3.0))
    field = sitk.GetImageFromArray(vectors, isVector=True)
    field.SetSpacing([5.0] * 3)
    sitk.WriteImage(field, str(tmp_path / "one.nii"))
    stored = nibabel.load(tmp_path / "one.nii")
    two = nibabel.Nifti2Image(np.asarray(stored.dataobj), stored.affine)
    two.header.set_intent("vector")
    nibabel.save(two, tmp_path / "two.nii")
    point = np.array([[10.0, 10, 10]])
    expected = map_points(read_transform(tmp_path / "one.nii"), point)
    assert np.allclose(map_points(read_transform(tmp_path / "two.nii"), point), expected)
    assert np.allclose(expected - point, [[1, -2, 3]])


def test_a_nifti_2_with_an_axis_that_is_too_long_is_refused(tmp_path):
    image = nibabel.Nifti2Image(np.zeros((40000, 2, 2), np.uint8), np.eye(4))
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(InputError, match="40000 voxels"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("quaternion", [(1.0, 1.0, 1.0), (np.nan, 0.0, 0.0)])
def test_a_qform_that_is_no_rotation_is_refused(tmp_path, quaternion):
    save(tmp_path / "a.nii", (TURNED, 0), (TURNED, 1))
    data = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<3f", data, 256, *quaternion)
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(InputError, match="no rotation"):
        read_volume(tmp_path / "a.nii")


def test_half_a_turn_whose_quaternion_was_rounded_is_read(tmp_path):
    half = np.diag([3.0, -3.0, 4.0, 1.0])
    half[:3, :3] = TURNED[:3, :3] @ np.diag([1.0, -1.0, -1.0])
    assert lies_at(save(tmp_path / "a.nii", (half, 0), (half, 1)), half)


@pytest.mark.parametrize("slope, offset, given", [(2.0, -5.0, lambda v: 2 * v - 5), (0.0, 0.0, lambda v: v)])
def test_values_are_scaled_as_the_header_says(tmp_path, slope, offset, given):
    np.testing.assert_allclose(scaled(tmp_path, slope, offset).array, given(VALUES.T.astype(float)))


def test_an_offset_without_a_slope_is_refused(tmp_path):
    with pytest.raises(InputError, match="scl_inter 5"):
        scaled(tmp_path, 0.0, 5.0)


def scaled(folder, slope, offset):
    save(folder / "a.nii", (TURNED, 1), (TURNED, 1))
    data = bytearray((folder / "a.nii").read_bytes())
    struct.pack_into("<2f", data, 112, slope, offset)
    (folder / "a.nii").write_bytes(data)
    return read_volume(folder / "a.nii")


def test_voxels_that_begin_within_the_header_are_refused(tmp_path):
    save(tmp_path / "a.nii", (TURNED, 1), (TURNED, 1))
    data = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<f", data, 108, 0.0)
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(InputError, match="begin within its header"):
        read_volume(tmp_path / "a.nii")


def test_a_unit_that_is_none_is_told(tmp_path):
    save(tmp_path / "a.nii", (TURNED, 1), (TURNED, 1))
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[123] = 7
    (tmp_path / "a.nii").write_bytes(data)
    assert "unknown unit of length (code 7)" in read_volume(tmp_path / "a.nii").notes[0]


def test_a_file_that_was_packed_twice_is_told(tmp_path):
    save(tmp_path / "a.nii", (TURNED, 1), (TURNED, 1))
    packed = gzip.compress(gzip.compress((tmp_path / "a.nii").read_bytes()))
    (tmp_path / "b.nii.gz").write_bytes(packed)
    with pytest.raises(InputError, match="gzip twice"):
        read_volume(tmp_path / "b.nii.gz")
