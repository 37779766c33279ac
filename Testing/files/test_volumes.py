import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_objects import an_object, save

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.files.patients import Patient
from GLIDERegLib.files.volumes import (
    from_sitk,
    read_labels,
    read_mask,
    read_volume,
    scan_identity,
    to_sitk,
    write_volume,
)

FORMATS = (".nii", ".nii.gz", ".nrrd", ".mha")
ROTATION = np.array(sitk.VersorTransform((0.3, -0.5, 0.7), 0.6).GetMatrix()).reshape(3, 3)
DIRECTIONS = {
    "straight": np.eye(3),
    "oblique": ROTATION,
    "feet first": np.diag([1.0, -1.0, -1.0]),
    "oblique and left-handed": ROTATION @ np.diag([1.0, 1.0, -1.0]),
}
UID = "1.2.826.0.1.3680043.8.498.1"


def a_volume(direction=ROTATION, dtype=np.int16, size=(6, 7, 8)):
    array = np.random.default_rng(0).integers(-1000, 1000, size[::-1]).astype(dtype)
    return Volume(
        array, Grid(size, (0.7, 0.8, 2.5), (-120.5, 33.25, -410.0), tuple(direction.ravel().tolist()))
    )


def refusal(path, role="fixed"):
    """The message with which read_volume refuses the path; it must be one line."""
    with pytest.raises(InputError) as refused:
        read_volume(path, role)
    message = str(refused.value)
    assert "\n" not in message and "ITK" not in message and message.endswith(".")
    assert role in message
    return message


def a_series(
    folder, places, uid=UID, axes=DIRECTIONS["straight"], shift_per_mm=(0, 0), rows=5, prefix="slice", **tags
):
    """Writes one DICOM file a place (mm along the slice normal), named so that their order tells nothing."""
    folder.mkdir(exist_ok=True)
    array = np.random.default_rng(1).integers(-1000, 1000, (len(places), rows, 6)).astype(np.int16)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number, place in enumerate(places):
        image = sitk.GetImageFromArray(array[number][None])
        image.SetSpacing((0.6, 0.9, 1.0))
        position = axes @ [place * shift_per_mm[0], place * shift_per_mm[1], place] + [10, 20, -300]
        values = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0008|0018": f"{uid}.{number + 1}",
            "0008|0060": "CT",
            "0008|103e": "Thorax",
            "0020|000d": "1.2.3",
            "0020|000e": uid,
            "0020|0032": "\\".join(f"{value:.6f}" for value in position),
            "0020|0037": "\\".join(f"{value:.6f}" for value in axes[:, :2].T.ravel()),
            "0028|1052": "0",
            "0028|1053": "1",
        }
        for key, value in {**values, **tags}.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{prefix}{(number * 7) % 10}{number}.dcm"))
        writer.Execute(image)
    return array


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_voxels_and_geometry_survive_writing_and_reading(tmp_path, suffix, direction):
    volume = a_volume(direction)
    write_volume(volume, tmp_path / f"ct{suffix}")
    back = read_volume(tmp_path / f"ct{suffix}")
    assert back.array.dtype == np.int16
    np.testing.assert_array_equal(back.array, volume.array)
    np.testing.assert_allclose(back.grid.matrix, volume.grid.matrix, atol=1e-4)
    assert back.grid.matches(volume.grid)


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_nibabel_finds_the_voxels_at_the_same_place_of_the_patient(tmp_path, direction):
    volume = a_volume(direction)
    write_volume(volume, tmp_path / "ct.nii.gz")
    image = nibabel.load(tmp_path / "ct.nii.gz")
    ras = np.diag([-1, -1, 1, 1]) @ volume.grid.matrix
    np.testing.assert_allclose(image.affine, ras, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(image.dataobj), volume.array.T)


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_an_image_written_by_nibabel_is_placed_right(tmp_path, direction):
    volume = a_volume(direction)
    nibabel.save(
        nibabel.Nifti1Image(volume.array.T, np.diag([-1, -1, 1, 1]) @ volume.grid.matrix), tmp_path / "ct.nii"
    )
    back = read_volume(tmp_path / "ct.nii")
    np.testing.assert_allclose(back.grid.matrix, volume.grid.matrix, atol=1e-3)
    np.testing.assert_array_equal(back.array, volume.array)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_the_type_of_the_voxels_is_kept(tmp_path, dtype):
    write_volume(a_volume(dtype=dtype), tmp_path / "ct.nii.gz")
    assert read_volume(tmp_path / "ct.nii.gz").array.dtype == dtype


def test_writing_as_an_integer_rounds_and_clips_instead_of_wrapping(tmp_path):
    volume = a_volume(dtype=np.float32)
    volume.array[0, 0, :4] = [1.6, -1.6, 1e6, -1e6]
    write_volume(volume, tmp_path / "ct.nrrd", np.int16)
    assert read_volume(tmp_path / "ct.nrrd").array[0, 0, :4].tolist() == [2, -2, 32767, -32768]


@pytest.mark.parametrize("dtype", [bool, np.float16, ">i2"])
def test_types_simpleitk_does_not_know_are_converted(dtype):
    volume = a_volume(dtype=dtype)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(to_sitk(volume)), volume.array.astype(float))


def test_a_physical_point_has_the_same_index_in_simpleitk():
    volume = a_volume()
    point = volume.grid.to_physical([1.5, 2.25, 3.75])
    np.testing.assert_allclose(
        to_sitk(volume).TransformPhysicalPointToContinuousIndex(point), [1.5, 2.25, 3.75]
    )
    assert from_sitk(to_sitk(volume)).grid == volume.grid


def test_a_single_frame_of_a_4d_file_is_squeezed(tmp_path):
    volume = a_volume()
    sitk.WriteImage(sitk.JoinSeries([to_sitk(volume)]), str(tmp_path / "ct.nii.gz"))
    assert nibabel.load(tmp_path / "ct.nii.gz").ndim == 4
    back = read_volume(tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(back.array, volume.array)
    assert back.grid.matches(volume.grid)


def test_several_frames_colour_2d_and_complex_images_are_refused(tmp_path):
    image = to_sitk(a_volume())
    unusable = {
        "4-D": sitk.JoinSeries([image, image]),
        "values per voxel": sitk.Compose(image, image, image),
        "2-D": image[:, :, 0],
        "complex": sitk.RealAndImaginaryToComplex(*[sitk.Cast(image, sitk.sitkFloat32)] * 2),
        "only one slice": image[:, :, :1],
        "constant": image * 0 + 7,
    }
    for reason, unusable_image in unusable.items():
        sitk.WriteImage(unusable_image, str(tmp_path / "image.nrrd"))
        assert reason in refusal(tmp_path / "image.nrrd", "moving")


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_voxels_that_are_not_finite_are_counted_and_refused(tmp_path, suffix, value, dtype):
    volume = a_volume(dtype=dtype)
    volume.array[2, 3, 1:3] = value
    write_volume(volume, tmp_path / f"ct{suffix}")
    assert "2 voxels" in refusal(tmp_path / f"ct{suffix}")


def test_a_big_endian_nifti_is_read(tmp_path):
    volume = a_volume(dtype=">f4")
    nibabel.save(
        nibabel.Nifti1Image(volume.array.T, np.eye(4), nibabel.Nifti1Header(endianness=">")),
        tmp_path / "ct.nii",
    )
    np.testing.assert_array_equal(read_volume(tmp_path / "ct.nii").array, volume.array)


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty.nii.gz").touch()
    for name in ("bad.nii", "bad.nii.gz", "bad.nrrd", "bad.mha", "bad.dcm"):
        (tmp_path / name).write_bytes(b"this is no image")
        refusal(tmp_path / name)
    (tmp_path / "folder").mkdir()
    assert "does not exist" in refusal(tmp_path / "none.nii.gz")
    assert "not supported" in refusal(tmp_path / "notes.txt")
    kinds = {
        "a.zip": (b"PK\x03\x04", "a zip archive"),
        "a.mgz": (b"\x1f\x8b\x08", "a volume of FreeSurfer"),
        "a.gz": (b"\x1f\x8b\x08", "packed with gzip"),
        "a.pdf": (b"%PDF-1.4", "a PDF"),
        "a.img": (b"12345678", "Analyze"),
        "a.x": (b"", "is empty"),
    }
    for name, (start, said) in kinds.items():
        (tmp_path / name).write_bytes(start + bytes(600) if start else b"")
        assert said in refusal(tmp_path / name)
    refusal(tmp_path / "empty.nii.gz")
    assert "is empty" in refusal(tmp_path / "folder")
    (tmp_path / "folder" / "notes.txt").write_text("hello")
    assert "no DICOM" in refusal(tmp_path / "folder")


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [0.5, 0.97])
def test_a_file_that_was_cut_off_is_refused(tmp_path, suffix, share):
    path = tmp_path / f"ct{suffix}"
    write_volume(a_volume(size=(20, 20, 20)), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    refusal(path)


def test_a_packed_nifti_with_a_flipped_bit_is_refused(tmp_path):
    path = tmp_path / "ct.nii.gz"
    write_volume(a_volume(size=(20, 20, 20)), path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    refusal(path)


def skewed_nifti(path, skew, qform_code):
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[0, 1] = skew
    image = nibabel.Nifti1Image(a_volume().array.T, affine)
    image.set_qform(affine, qform_code)
    image.set_sform(affine, 1)
    nibabel.save(image, path)


@pytest.mark.parametrize("qform_code", [0, 1])
def test_a_nifti_with_skewed_axes_is_refused(tmp_path, qform_code):
    skewed_nifti(tmp_path / "ct.nii", 0.3, qform_code)
    assert "skewed" in refusal(tmp_path / "ct.nii")


def test_a_tiny_skew_is_made_orthonormal(tmp_path):
    skewed_nifti(tmp_path / "ct.nii", 1e-4, 1)
    axes = read_volume(tmp_path / "ct.nii").grid.axes
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)


def test_a_skewed_nrrd_is_refused(tmp_path):
    header = (
        "NRRD0004\ntype: uchar\ndimension: 3\nspace: left-posterior-superior\nsizes: 2 2 2\nencoding: raw\n"
    )
    header += "space directions: (1,0,0) (0.3,1,0) (0,0,1)\nspace origin: (0,0,0)\n\n"
    (tmp_path / "ct.nrrd").write_bytes(header.encode() + bytes(range(8)))
    assert "skewed" in refusal(tmp_path / "ct.nrrd")


def test_an_sform_that_contradicts_the_spacing_is_refused(tmp_path):
    image = nibabel.Nifti1Image(a_volume().array.T, np.eye(4))
    image.header["srow_x"] = [2, 0, 0, 0]
    write_raw_nifti(image, tmp_path / "ct.nii")
    assert "sform" in refusal(tmp_path / "ct.nii")


@pytest.mark.parametrize("spacing", [0.0, np.nan])
def test_a_nifti_without_a_valid_spacing_is_refused(tmp_path, spacing):
    image = nibabel.Nifti1Image(a_volume().array.T, np.eye(4))
    image.header["pixdim"][2] = spacing
    write_raw_nifti(image, tmp_path / "ct.nii")
    assert "spacing" in refusal(tmp_path / "ct.nii")


def write_raw_nifti(image, path):
    """Writes the header as it stands; nibabel.save would repair it."""
    image.header["vox_offset"] = 352
    path.write_bytes(image.header.binaryblock + bytes(4) + np.asarray(image.dataobj).tobytes(order="F"))


def test_a_mask_on_its_images_grid_is_read_as_bool(tmp_path):
    volume = a_volume()
    labels = np.zeros(volume.grid.shape, np.uint8)
    labels[2:4, 1:3], labels[5] = 1, 3
    write_volume(Volume(labels, volume.grid), tmp_path / "mask.nii.gz")
    mask = read_mask(tmp_path / "mask.nii.gz", volume.grid, "fixed")
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, labels > 0)
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.nii.gz", volume.grid), labels)


def test_unusable_masks_are_refused(tmp_path):
    volume = a_volume()
    path = tmp_path / "mask.nii.gz"

    def mask_refusal(array, grid=volume.grid):
        write_volume(Volume(array, grid), path)
        with pytest.raises(InputError, match="moving mask") as refused:
            read_mask(path, volume.grid, "moving")
        return str(refused.value)

    ones = np.ones(volume.grid.shape, np.uint8)
    shifted = Grid(volume.grid.size, volume.grid.spacing, (-120.0, 33.25, -410.0), volume.grid.direction)
    assert "empty" in mask_refusal(ones * 0)
    assert "grid" in mask_refusal(ones[1:], Grid((6, 7, 7), volume.grid.spacing))
    assert "grid" in mask_refusal(ones, shifted)
    assert "size 6 x 7 x 7 against 6 x 7 x 8" in mask_refusal(ones[1:], Grid((6, 7, 7), volume.grid.spacing))
    assert "origin -120 x" in mask_refusal(ones, shifted)
    stretched = Grid(volume.grid.size, (0.7, 0.8, 2.6), volume.grid.origin, volume.grid.direction)
    assert "spacing 0.7 x 0.8 x 2.6 against" in mask_refusal(ones, stretched)
    assert "direction" in mask_refusal(ones, Grid(volume.grid.size, volume.grid.spacing, volume.grid.origin))
    assert "looks like an image" in mask_refusal(volume.array)
    with pytest.raises(InputError, match="looks like an image"):
        read_labels(path, volume.grid)
    assert "looks like an image" in mask_refusal(np.abs(volume.array).astype(np.int16) + 1)
    assert "whole numbers" in mask_refusal(ones * np.float32(0.5))
    assert "NaN" in mask_refusal(ones * np.float32(np.nan))


@pytest.mark.parametrize("name", ["ct.png", "ct", "none/ct.nii.gz"])
def test_a_volume_that_cannot_be_written_leaves_nothing_behind(tmp_path, name):
    with pytest.raises(InputError, match="Cannot write"):
        write_volume(a_volume(), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "axes", [np.eye(3), ROTATION, np.diag([1.0, -1.0, -1.0])], ids=["straight", "oblique", "prone"]
)
def test_a_dicom_folder_is_stacked_by_the_positions_of_its_slices(tmp_path, axes):
    places = [0.0, 2.5, 5.0, 7.5, 10.0]
    array = a_series(tmp_path / "ct", places[::-1], axes=axes)
    (tmp_path / "ct" / "notes.txt").write_text("not DICOM")
    volume = read_volume(tmp_path / "ct")
    np.testing.assert_array_equal(volume.array, array[::-1])
    np.testing.assert_allclose(volume.grid.spacing, (0.6, 0.9, 2.5), atol=1e-5)
    np.testing.assert_allclose(volume.grid.axes, axes, atol=1e-5)
    np.testing.assert_allclose(volume.grid.origin, (10, 20, -300), atol=1e-5)


def test_one_file_stands_for_its_series_and_several_series_in_a_folder_are_listed(tmp_path):
    wanted = a_series(tmp_path / "ct", [0, 2, 4], uid=UID + ".1", prefix="a")
    a_series(tmp_path / "ct", [0, 2, 4, 6], uid=UID + ".2", prefix="b")
    message = refusal(tmp_path / "ct")
    for expected in ("2 DICOM series", "'Thorax', 3 slices", "'Thorax', 4 slices", UID + ".1", UID + ".2"):
        assert expected in message
    volume = read_volume(next((tmp_path / "ct").glob("a*.dcm")))
    np.testing.assert_array_equal(volume.array, wanted)


def test_a_series_with_missing_slices_is_refused_with_the_place_of_the_gap(tmp_path):
    a_series(tmp_path / "ct", [0, 2, 4, 8, 10, 12])
    message = refusal(tmp_path / "ct")
    assert "-296.00 and -292.00 mm" in message and "gap is 4.00 mm, elsewhere 2.00 mm" in message


def test_rounded_slice_positions_are_no_gap(tmp_path):
    a_series(tmp_path / "ct", np.round(np.arange(12) * 0.625, 2))
    assert read_volume(tmp_path / "ct").grid.spacing[2] == pytest.approx(0.625, abs=0.002)


def test_a_tilted_gantry_is_refused_with_its_angle(tmp_path):
    a_series(tmp_path / "ct", [0, 2, 4, 6], shift_per_mm=(0, np.tan(np.radians(15))))
    assert "tilted gantry (15.0 degrees)" in refusal(tmp_path / "ct")


def test_series_that_are_no_single_stack_are_refused(tmp_path):
    a_series(tmp_path / "phases", [0, 0, 2, 2, 4, 4])
    assert "same place (-300.00 mm" in refusal(tmp_path / "phases")
    a_series(tmp_path / "sizes", [0, 2, 4], prefix="a")
    a_series(tmp_path / "sizes", [6, 8], rows=9, prefix="b")
    assert "mixes slices" in refusal(tmp_path / "sizes")
    a_series(tmp_path / "turned", [0, 2, 4], prefix="a")
    a_series(tmp_path / "turned", [0], axes=ROTATION, prefix="b")
    assert "mixes slices" in refusal(tmp_path / "turned")
    a_series(tmp_path / "scout", [0])
    assert "only one slice" in refusal(tmp_path / "scout")
    a_series(tmp_path / "unplaced", [0, 2])
    for file in (tmp_path / "unplaced").iterdir():
        file.write_bytes(
            file.read_bytes().replace(b"\x20\0\x32\0", b"\x20\0\x33\0")
        )  # drops the position's tag
    assert "no ImagePositionPatient in 2 of 2 slices" in refusal(tmp_path / "unplaced")


def test_dicom_objects_without_pixels_do_not_count_as_series(tmp_path):
    array = a_series(tmp_path / "ct", [0, 2, 4])
    plan = an_object("1.2.840.10008.5.1.4.1.1.481.5", Modality="RTPLAN", SeriesInstanceUID=UID + ".9")
    save(plan, tmp_path / "ct" / "plan.dcm")
    np.testing.assert_array_equal(read_volume(tmp_path / "ct").array, array)


@pytest.mark.parametrize("missing_bytes", [1, 40])
def test_a_cut_off_dicom_file_is_refused_by_name(tmp_path, missing_bytes):
    a_series(tmp_path / "ct", [0, 2, 4])
    file = sorted((tmp_path / "ct").iterdir())[1]
    file.write_bytes(file.read_bytes()[:-missing_bytes])
    assert file.name in refusal(tmp_path / "ct")


def test_a_multi_frame_dicom_file_is_read(tmp_path):
    array = np.arange(6 * 5 * 4, dtype=np.uint16).reshape(6, 5, 4)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.5, 0.5, 3.0))
    image.SetOrigin((1.0, 2.0, 3.0))
    image.SetMetaData("0008|0016", "1.2.840.10008.5.1.4.1.1.2.1")
    image.SetMetaData("0008|0060", "CT")
    sitk.WriteImage(image, str(tmp_path / "enhanced.dcm"))
    volume = read_volume(tmp_path / "enhanced.dcm")
    np.testing.assert_array_equal(volume.array, array)
    assert volume.grid.spacing == (0.5, 0.5, 3.0) and volume.grid.origin == (1.0, 2.0, 3.0)


def test_a_dicom_series_tells_whose_scan_it_is_and_of_which_day(tmp_path):
    tags = {"0010|0010": "Doe^Jane", "0010|0020": "4711", "0008|0020": "20240310"}
    a_series(tmp_path / "ct", [0, 2, 4], **tags)
    expected = (Patient("4711", "Doe^Jane"), "2024-03-10")
    assert scan_identity(tmp_path / "ct") == expected
    assert scan_identity(next((tmp_path / "ct").glob("*.dcm"))) == expected
    a_series(tmp_path / "unnamed", [0, 2, 4], **{"0010|0010": "", "0010|0020": "", "0008|0020": ""})
    assert scan_identity(tmp_path / "unnamed") == (Patient(), "")
    write_volume(a_volume(), tmp_path / "ct.nii.gz")
    assert scan_identity(tmp_path / "ct.nii.gz") == scan_identity(tmp_path / "none") == (Patient(), "")
