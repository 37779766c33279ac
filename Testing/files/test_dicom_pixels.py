"""What the stored values of DICOM slices mean: rescale, sign, overlays, padding, colour, compression."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_objects import (
    CT,
    a_series,
    a_slice,
    an_object,
    group,
    hu,
    multiframe,
    places,
    save,
    with_pixels,
)
from pydicom.encaps import encapsulate
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.volumes import dicom_info, read_volume


def refusal(path):
    with pytest.raises(InputError) as refused:
        read_volume(path)
    message = str(refused.value)
    assert "\n" not in message and message.endswith(".")
    return message


def stored_series(folder, cells, each=lambda k: {}, **tags):
    """Cells (slices, rows, columns) as they are to lie in the files; without rescale unless given."""
    for k, (plane, position) in enumerate(zip(cells, places(len(cells)), strict=True)):
        plain = {"RescaleSlope": None, "RescaleIntercept": None}
        data = a_slice(np.zeros((2, 2)), position, intercept=0, **{**plain, **tags, **each(k)})
        save(with_pixels(data, plane), folder / f"{k:03}.dcm")
    return folder


def test_every_slice_has_its_own_rescale(tmp_path):
    pairs = [(1, -1024), (1, 0), (2, -1000), (1, -1000), (4, -2048), (1, -1024)]
    values = hu() // 4 * 4
    values[1] = abs(values[1])
    for k, plane in enumerate(values):
        slope, intercept = pairs[k]
        save(a_slice(plane, places(6)[k], slope=slope, intercept=intercept), tmp_path / "ct" / f"{k}.dcm")
    volume = read_volume(tmp_path / "ct")
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, values)


def test_a_broken_slope_gives_floats_and_a_wide_range_wider_integers(tmp_path):
    cells = np.random.default_rng(1).integers(0, 4000, (4, 3, 5)).astype(np.uint16)
    rescale = {"RescaleSlope": "0.25", "RescaleIntercept": "-3.5"}
    stored_series(tmp_path / "pet", cells, Modality="PT", **rescale)
    np.testing.assert_allclose(read_volume(tmp_path / "pet").array, cells * 0.25 - 3.5)
    cells[2] += 60000 - 4000
    wide = read_volume(stored_series(tmp_path / "wide", cells, Modality="MR")).array
    assert wide.dtype == np.int32
    np.testing.assert_array_equal(wide, cells)


@pytest.mark.parametrize("lacking", ["RescaleSlope", "RescaleIntercept"])
def test_slices_without_rescale_among_others_are_refused(tmp_path, lacking):
    a_series(tmp_path / "ct", hu(), each=lambda k: {lacking: None} if k in (1, 3) else {})
    assert f"no {lacking} in 2 of 6" in refusal(tmp_path / "ct")


def test_a_slope_of_zero_is_refused(tmp_path):
    a_series(tmp_path / "ct", hu(), each=lambda k: {"RescaleSlope": "0"} if k == 1 else {})
    assert "RescaleSlope of 0" in refusal(tmp_path / "ct")


def test_inverted_display_leaves_hu_and_turns_grey_values(tmp_path):
    a_series(tmp_path / "ct", hu(), PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_volume(tmp_path / "ct").array, hu())
    for read in (dicom_info, read_volume):
        assert any("MONOCHROME1" in note for note in read(tmp_path / "ct").notes)
    cells = np.random.default_rng(2).integers(0, 4096, (4, 3, 5)).astype(np.uint16)
    tags = {"Modality": "OT", "PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11}
    stored_series(tmp_path / "grey", cells, **tags)
    np.testing.assert_array_equal(read_volume(tmp_path / "grey").array, 4095 - cells.astype(int))


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("stored, high", [(12, 11), (12, 15), (10, 12), (16, 15)])
def test_only_the_stored_bits_count_and_their_sign(tmp_path, signed, stored, high):
    low, top = (-(1 << stored - 1), 1 << stored - 1) if signed else (0, 1 << stored)
    values = np.random.default_rng(3).integers(low, top, (4, 3, 5))
    values[0, 0, :2] = low, top - 1
    shift = high + 1 - stored
    inside = (values & ((1 << stored) - 1)) << shift
    overlay = np.random.default_rng(4).integers(0, 1 << 16, values.shape)
    cells = (overlay & ~(((1 << stored) - 1) << shift) | inside).astype(np.uint16)
    tags = {"BitsStored": stored, "HighBit": high, "PixelRepresentation": int(signed), "Modality": "MR"}
    np.testing.assert_array_equal(read_volume(stored_series(tmp_path / "x", cells, **tags)).array, values)


def test_sign_and_bits_may_differ_from_slice_to_slice(tmp_path):
    values = np.clip(hu(), -900, 900)
    cells = (values + 1024).astype(np.uint16)
    cells[1::2] = values[1::2].view(np.uint16) & 0xFFF

    def each(k):
        odd = k % 2
        bits = {"BitsStored": 12, "HighBit": 11} if odd else {}
        return {
            "PixelRepresentation": odd,
            "RescaleSlope": "1",
            "RescaleIntercept": "0" if odd else "-1024",
        } | bits

    np.testing.assert_array_equal(read_volume(stored_series(tmp_path / "ct", cells, each)).array, values)


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4"])
@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_all_integers_in_every_byte_order(tmp_path, kind, syntax):
    dtype = np.dtype(kind)
    limits = np.iinfo(kind)
    top = min(limits.max, 2**31 - 1)
    cells = np.random.default_rng(5).integers(limits.min, top, (4, 3, 5), dtype, endpoint=True)
    bits = 8 * dtype.itemsize
    tags = {"BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1, "Modality": "MR"}
    tags |= {"PixelRepresentation": int(dtype.kind == "i"), "syntax": syntax}
    stored_series(tmp_path / "mr", cells, **tags)
    np.testing.assert_array_equal(read_volume(tmp_path / "mr").array, cells)


def test_bytes_in_swapped_words_are_unswapped(tmp_path):
    cells = np.random.default_rng(6).integers(0, 255, (4, 3, 5)).astype(np.uint8)
    for k, plane in enumerate(cells):
        data = an_object(
            syntax=ExplicitVRBigEndian,
            BitsAllocated=8,
            BitsStored=8,
            HighBit=7,
            Modality="MR",
            ImagePositionPatient=["0", "0", str(k)],
            ImageOrientationPatient=list("100010"),
            PixelSpacing=["1", "1"],
        )
        data.Rows, data.Columns = plane.shape
        padded = np.append(plane.ravel(), np.uint8(0))
        data.PixelData = padded.reshape(-1, 2)[:, ::-1].tobytes()
        data["PixelData"].VR = "OW"
        save(data, tmp_path / "mr" / f"{k}.dcm")
    np.testing.assert_array_equal(read_volume(tmp_path / "mr").array, cells)


@pytest.mark.parametrize("name, kind", [("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")])
def test_pixels_that_are_floats(tmp_path, name, kind):
    cells = np.random.default_rng(7).normal(0, 300, (4, 3, 5)).astype(kind)
    for k, plane in enumerate(cells):
        data = a_slice(np.zeros((3, 5)), places(4)[k], intercept=0, RescaleSlope=None, RescaleIntercept=None)
        del data.PixelData
        data.BitsAllocated = 8 * plane.dtype.itemsize
        del data.BitsStored, data.HighBit, data.PixelRepresentation
        setattr(data, name, plane.tobytes())
        save(data, tmp_path / "x" / f"{k}.dcm")
    np.testing.assert_allclose(read_volume(tmp_path / "x").array, cells, rtol=1e-6)


def test_what_was_not_measured_is_air_in_ct_and_the_lowest_value_elsewhere(tmp_path):
    values = hu(4, 6, 6)
    outside = np.zeros(values.shape, bool)
    outside[:, 0], outside[1, :, 5] = True, True
    cells = (values + 1024).astype(np.int16)
    cells[outside] = 3000  # would be bone
    tags = {"PixelRepresentation": 1, "RescaleSlope": "1", "RescaleIntercept": "-1024"}
    folder = stored_series(tmp_path / "ct", cells.view(np.uint16), PixelPaddingValue=3000, **tags)
    np.testing.assert_array_equal(read_volume(folder).array, np.where(outside, -1024, values))
    cells[outside] = -2000  # HU -3024
    folder = stored_series(tmp_path / "low", cells.view(np.uint16), PixelPaddingValue=-2000, **tags)
    np.testing.assert_array_equal(read_volume(folder).array, np.where(outside, -1024, values))
    cells = np.random.default_rng(8).integers(50, 900, values.shape).astype(np.uint16)
    cells[outside] = np.random.default_rng(9).integers(1000, 1010, outside.sum())
    limits = {"PixelPaddingValue": 1009, "PixelPaddingRangeLimit": 1000}
    folder = stored_series(tmp_path / "mr", cells, Modality="MR", **limits)
    np.testing.assert_array_equal(read_volume(folder).array, np.where(outside, cells[~outside].min(), cells))


def test_padding_outside_the_stored_bits_is_seen(tmp_path):
    values = hu(4, 6, 6)
    cells = (values + 1024).astype(np.uint16)
    cells[:, 0] = 63536  # -2000 in 16 bits, of which 12 count
    tags = {"BitsStored": 12, "HighBit": 11, "RescaleSlope": "1", "RescaleIntercept": "-1024"}
    folder = stored_series(tmp_path / "ct", cells, PixelPaddingValue=63536, **tags)
    values[:, 0] = -1024
    np.testing.assert_array_equal(read_volume(folder).array, values)


def test_a_modality_lut_maps_stored_values(tmp_path):
    table = (np.arange(256) ** 2 // 20).astype(np.uint16)
    cells = np.random.default_rng(10).integers(0, 300, (4, 3, 5)).astype(np.uint16)
    for k, plane in enumerate(cells):
        lut = group(LUTDescriptor=[256, 10, 16], LUTData=table.tolist(), ModalityLUTType="OD")
        data = a_slice(np.zeros((3, 5)), places(4)[k], intercept=0, RescaleSlope=None, RescaleIntercept=None)
        data.ModalityLUTSequence = lut
        lut[0]["LUTDescriptor"].VR = "US"
        lut[0]["LUTData"].VR = "US"
        save(with_pixels(data, plane), tmp_path / "x" / f"{k}.dcm")
    expected = table[np.clip(cells.astype(int) - 10, 0, 255)]
    np.testing.assert_array_equal(read_volume(tmp_path / "x").array, expected)


@pytest.mark.parametrize("tag", ["BitsStored", "PixelRepresentation"])
def test_pixels_without_a_tag_they_need_are_refused(tmp_path, tag):
    a_series(tmp_path / "ct", hu(), each=lambda k: {tag: None} if k > 3 else {})
    assert f"no {tag} in 2 of 6 slices" in refusal(tmp_path / "ct")


@pytest.mark.parametrize(
    "tags, word",
    [
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "RGB"),
        ({"BitsAllocated": 12}, "12 bits"),
        ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, "1 bits"),
        ({"BitsStored": 20}, "20 bits"),
        ({"HighBit": 3}, "bit 3"),
    ],
)
def test_colour_and_other_pixels_are_refused_by_name(tmp_path, tags, word):
    assert word in refusal(a_series(tmp_path / "ct", hu(), **tags))


def test_pixels_that_are_cut_off_or_never_were_there_are_refused_before_memory_is_taken(tmp_path):
    folder = a_series(tmp_path / "cut", hu())
    file = folder / "im000.dcm"
    file.write_bytes(file.read_bytes()[:-10])
    assert "pixels of the file 'im000.dcm' are cut off, 30 of 40 bytes" in refusal(folder)
    data = multiframe(hu(), places(6))
    data.Rows = data.Columns = 65000
    save(data, tmp_path / "huge.dcm")
    assert "240 of 50700000000 bytes" in refusal(tmp_path / "huge.dcm")


CODECS = {"JPEG lossless": "JPEG", "JPEG 2000": "JPEG2000"}


def packed(values, compressor, folder):
    """A file of one slice that GDCM compressed without loss."""
    writer = sitk.ImageFileWriter()
    image = sitk.GetImageFromArray(values)
    image.SetMetaData("0008|0016", CT)
    writer.SetFileName(str(folder / "packed.dcm"))
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    writer.Execute(image)
    return pydicom.dcmread(folder / "packed.dcm")


@pytest.mark.parametrize("compressor", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("bits, signed", [(16, False), (16, True), (12, False)])
def test_compressed_slices_keep_values_and_every_rescale(tmp_path, compressor, bits, signed):
    values = hu(4, 16, 16)
    values = np.clip(values, -1000, 1500)
    for k, plane in enumerate(values):
        cells = plane if signed else (plane + 1024 + k).astype(np.uint16)
        source = packed(cells[None], compressor, tmp_path)
        assert source.file_meta.TransferSyntaxUID.is_compressed
        data = a_slice(plane, places(4)[k], intercept=0 if signed else -1024 - k)
        data.file_meta.TransferSyntaxUID = source.file_meta.TransferSyntaxUID
        data.PixelRepresentation = int(signed)
        data.BitsStored, data.HighBit = bits, bits - 1
        data.PixelData = source.PixelData
        data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
        save(data, tmp_path / "ct" / f"{k}.dcm")
    np.testing.assert_array_equal(read_volume(tmp_path / "ct").array, values)


@pytest.mark.skipif(int(pydicom.__version__.split(".")[0]) < 3, reason="pydicom 2 packs RLE otherwise")
@pytest.mark.parametrize("stored, high", [(16, 15), (12, 11)])
def test_rle_with_overlay_bits(tmp_path, stored, high):
    from pydicom.uid import RLELossless

    values = np.clip(hu(4, 16, 16), -1000, 1500)
    for k, plane in enumerate(values):
        data = a_slice(plane, places(4)[k], BitsStored=stored, HighBit=high)
        cells = (plane + 1024).astype(np.uint16)
        if stored == 12:
            cells |= np.uint16(0xA000)
        with_pixels(data, cells)
        data.BitsStored, data.HighBit = 16, 15
        data.compress(RLELossless, generate_instance_uid=False)
        data.BitsStored, data.HighBit = stored, high
        save(data, tmp_path / "ct" / f"{k}.dcm")
    np.testing.assert_array_equal(read_volume(tmp_path / "ct").array, values)


# np.arange(30) * 97 % 1500 as 6 rows of uint16, packed by CharLS (pyjpegls).
JPEG_LS = (
    "ffd8fff7000b0b0006000501011100ffda000801010000000080840840857e000000054044c05f011000000015"
    "2f174b8603c8007f4108000000003fb40000000ab69b25f3c8d86bb58bc0ffd9"
)


@pytest.mark.parametrize("signed, bits", [(0, 16), (1, 16), (1, 11)])
def test_jpeg_ls_is_read_with_the_sign_of_the_tags(tmp_path, signed, bits):
    cells = (np.arange(30) * 97 % 1500).reshape(6, 5)
    half, whole = 1 << bits - 1, 1 << bits
    values = (cells + half) % whole - half if signed else cells
    for k in range(3):
        tags = {"BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": signed, "Modality": "MR"}
        data = a_slice(np.zeros((6, 5)), places(3)[k], intercept=0, slope=k + 1, **tags)
        data.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.80")
        data.PixelData = encapsulate([bytes.fromhex(JPEG_LS)])
        data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
        save(data, tmp_path / f"{k}.dcm")
    array = read_volume(tmp_path).array
    for k in range(3):
        np.testing.assert_array_equal(array[k], values * (k + 1))


def test_a_damaged_compressed_slice_is_refused_by_name(tmp_path):
    values = hu(4, 16, 16)
    for k, plane in enumerate(values):
        source = packed((plane + 1024).astype(np.uint16)[None], "JPEG2000", tmp_path)
        data = a_slice(plane, places(4)[k], sop=CT)
        data.file_meta.TransferSyntaxUID = source.file_meta.TransferSyntaxUID
        stream = source.PixelData
        data.PixelData = stream if k != 2 else stream[:40] + bytes(len(stream) - 40)
        data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
        save(data, tmp_path / "ct" / f"{k}.dcm")
    assert "'2.dcm' (compressed as JPEG 2000" in refusal(tmp_path / "ct")
