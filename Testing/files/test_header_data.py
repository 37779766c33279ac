"""Voxels beside or behind a header that tells of others: no voxel is taken from elsewhere without a word."""

import bz2
import gzip
import struct
import zlib

import nibabel
import numpy as np
import pytest

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.volumes import read_volume

VALUES = np.random.default_rng(0).integers(-1000, 400, (4, 5, 6)).astype("<i2")
RAW = VALUES.tobytes()
PACKED = zlib.compress(RAW)
SLICES = {f"s{n:02d}.raw": VALUES[n].tobytes() for n in range(4)}
NAMES = "\n".join(SLICES) + "\n"


def meta(folder, told="LOCAL", data=b"", *lines, **beside):
    """A MetaImage whose voxels are `data`, or in the file that it names."""
    head = ("ObjectType = Image", "NDims = 3", "DimSize = 6 5 4", "ElementType = MET_SHORT", *lines)
    path = folder / "a.mhd"
    path.write_bytes(
        "\n".join((*head, "ElementSpacing = 2 2 3", f"ElementDataFile = {told}", "")).encode() + data
    )
    for name, content in beside.items():
        (folder / name).write_bytes(content)
    return path


def nrrd(folder, *lines, data=b"", **beside):
    place = (
        "space: left-posterior-superior",
        "space directions: (2,0,0) (0,2,0) (0,0,3)",
        "space origin: (1,2,3)",
    )
    head = (
        "NRRD0004",
        "type: int16",
        "dimension: 3",
        *place,
        "sizes: 6 5 4",
        "endian: little",
        *lines,
        "",
        "",
    )
    (folder / "a.nrrd").write_bytes("\n".join(head).encode() + data)
    for name, content in beside.items():
        (folder / name).write_bytes(content)
    return folder / "a.nrrd"


def refusal(path):
    with pytest.raises(InputError) as caught:
        read_volume(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def packed(size=None):
    return ("CompressedData = True", *([] if size is None else [f"CompressedDataSize = {size}"]))


@pytest.mark.parametrize(
    "make",
    [
        lambda d: meta(d, "LOCAL", PACKED, *packed(len(PACKED))),
        lambda d: meta(d, "LOCAL", gzip.compress(RAW), *packed(len(gzip.compress(RAW)))),
        lambda d: meta(d, "a.zraw", b"", *packed(), **{"a.zraw": PACKED}),
        lambda d: meta(d, "a.raw", b"", "HeaderSize = 77", **{"a.raw": bytes(77) + RAW}),
        lambda d: meta(d, "a.raw", b"", "HeaderSize = -1", **{"a.raw": bytes(77) + RAW}),
        lambda d: meta(d, "LOCAL", RAW + b"\n"),
        lambda d: meta(d, "LIST", NAMES.encode(), **SLICES),
        lambda d: meta(d, "LIST 2", NAMES.encode(), **SLICES),
        lambda d: meta(d, "s%02d.raw 0 3 1", **SLICES),
        lambda d: nrrd(d, "encoding: raw", "byte skip: 9", data=bytes(9) + RAW),
        lambda d: nrrd(d, "encoding: raw", "byte skip: -1", data=bytes(999) + RAW),
        lambda d: nrrd(d, "encoding: raw", "line skip: 2", data=b"x\nx\n" + RAW),
        lambda d: nrrd(d, "encoding: ascii", data=" ".join(map(str, VALUES.ravel())).encode()),
    ],
)
def test_voxels_are_found_where_the_header_says(tmp_path, make):
    np.testing.assert_array_equal(read_volume(make(tmp_path)).array, VALUES)


@pytest.mark.parametrize(
    ("data", "size", "said"),
    [
        (PACKED, None, "CompressedDataSize"),
        (PACKED, 50, "do not unpack"),
        (PACKED, len(PACKED) + 3, "do not unpack"),
        (PACKED[:-20], len(PACKED), "do not unpack"),
        (PACKED[:-4] + b"abcd", len(PACKED), "do not unpack"),
        (zlib.compress(RAW[:-40]), len(zlib.compress(RAW[:-40])), "do not unpack"),
        (zlib.compress(RAW + RAW), len(zlib.compress(RAW + RAW)), "do not unpack"),
        (RAW, len(RAW), "do not unpack"),
    ],
)
def test_packed_voxels_that_do_not_unpack_to_the_volume_are_refused(tmp_path, data, size, said):
    assert said in refusal(meta(tmp_path, "LOCAL", data, *packed(size)))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda d: meta(d, "LIST", NAMES[:-8].encode(), **SLICES), "names fewer files"),
        (lambda d: meta(d, "LIST", (NAMES + "s00.raw\n").encode(), **SLICES), "names more files"),
        (
            lambda d: meta(d, "LIST", NAMES.replace("s03", "s13").encode(), **SLICES),
            "'s13.raw', which",
        ),
        (lambda d: meta(d, "LIST", NAMES.encode(), **{**SLICES, "s01.raw": b"x"}), "'s01.raw' is too short"),
        (lambda d: meta(d, "LIST x", NAMES.encode(), **SLICES), "does not say which files"),
        (lambda d: meta(d, "s%02d.raw 0 2 1", **SLICES), "names fewer files"),
        (lambda d: meta(d, "s%02d.raw 1 4 1", **SLICES), "'s04.raw', which is not"),
        (lambda d: meta(d, "s%02d.raw 0 3 0", **SLICES), "does not say which files"),
        (lambda d: meta(d, "s%02d.raw 0 999999999 1", **SLICES), "names more files"),
    ],
)
def test_a_list_of_files_that_is_not_the_volume_is_refused(tmp_path, make, said):
    assert said in refusal(make(tmp_path))


@pytest.mark.parametrize(
    "make",
    [
        lambda d: meta(d, "a.raw", **{"a.raw": bytes(8) + RAW}),
        lambda d: meta(d, "a.raw", b"", "HeaderSize = 8", **{"a.raw": bytes(20) + RAW}),
        lambda d: meta(d, "LOCAL", RAW + RAW[:60]),
        lambda d: nrrd(d, "encoding: raw", "data file: a.raw", **{"a.raw": bytes(8) + RAW}),
        lambda d: nrrd(d, "encoding: raw", data=RAW + RAW[:60]),
        lambda d: nrrd(d, "encoding: raw", "byte skip: 2", data=bytes(20) + RAW),
    ],
)
def test_more_bytes_than_the_sizes_tell_of_are_refused(tmp_path, make):
    assert "its sizes, its type, or where the voxels begin" in refusal(make(tmp_path))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda d: nrrd(d, "encoding: bzip2", data=bz2.compress(RAW)), "packs its voxels with bzip2"),
        (lambda d: nrrd(d, "encoding: gzip", data=gzip.compress(RAW)[:-30]), "cut off"),
        (lambda d: nrrd(d, "encoding: gzip", data=gzip.compress(RAW)[:-8] + bytes(8)), "damaged"),
        (lambda d: nrrd(d, "encoding: ascii", data=b"1 2 3"), "cut off, or no numbers"),
        (lambda d: nrrd(d, "encoding: ascii", data=b"70000 " + b"1 " * 119), "its type, int16, cannot hold"),
        (lambda d: nrrd(d, "encoding: ascii", data=b"0.5 " + b"1 " * 119), "its type, int16, cannot hold"),
        (lambda d: meta(d, "LOCAL", b"1 " * 120, "BinaryData = False"), "keeps its voxels as text"),
    ],
)
def test_voxels_that_cannot_be_had_are_refused_with_the_reason(tmp_path, make, said):
    told = refusal(make(tmp_path))
    assert said in told and "header is wrong" not in told


def nifti(path, *changes):
    nibabel.save(nibabel.Nifti1Image(VALUES.T.copy(), np.diag([2.0, 2, 3, 1])), path)
    content = bytearray(path.read_bytes())
    for form, place, *values in changes:
        struct.pack_into("<" + form, content, place, *values)
    path.write_bytes(content)
    return path


QFORM_ALONE = ("hh", 252, 1, 0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([("f", 80, -2.0)], "negative voxel spacing"),
        ([("f", 88, -3.0), QFORM_ALONE], "negative voxel spacing"),
        ([("f", 268, np.nan), QFORM_ALONE], "origin that is NaN"),
        ([("2f", 112, 1.0, np.nan)], "a scale of its values that is none"),
        ([("2f", 112, 1.0, np.inf)], "a scale of its values that is none"),
        ([("2f", 112, 1e-30, 0.0)], "a scale of its values that is none"),
        ([("4s", 344, b"xxxx")], "does not bear NIfTI's mark"),
        ([("f", 108, 352.5)], "vox_offset 352.5"),
    ],
)
def test_a_nifti_header_that_readers_take_differently_is_refused(tmp_path, changes, said):
    assert said in refusal(nifti(tmp_path / "a.nii", *changes))


def test_a_file_is_cut_off_whatever_bitpix_says(tmp_path):
    path = nifti(tmp_path / "a.nii", ("h", 72, 8))
    np.testing.assert_array_equal(read_volume(path).array, VALUES)
    path.write_bytes(path.read_bytes()[:-20])
    assert "incomplete" in refusal(path)


@pytest.mark.parametrize("slope", [0.0, np.nan, np.inf])
def test_a_slope_that_is_none_leaves_the_values_as_in_nibabel(tmp_path, slope):
    path = nifti(tmp_path / "a.nii", ("2f", 112, slope, 0.0))
    np.testing.assert_array_equal(read_volume(path).array, nibabel.load(path).get_fdata().T)
