"""Scans whose names and headers mislead: read right, or refused with the reason that is the reason."""

from __future__ import annotations

import gzip

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.volumes import read_volume

VALUES = np.random.default_rng(0).integers(-1000, 100, (9, 10, 11)).astype(np.int16)
META = b"NDims = 3\nDimSize = %s\nElementType = MET_SHORT\nElementDataFile = "
AFFINE = np.array([[-3.0, 0, 0, 30], [0, -3, 0, 20], [0, 0, 3, -10], [0, 0, 0, 1]])


def packed_bytes(kind=nibabel.Nifti1Image):
    return kind(VALUES, AFFINE).to_bytes()


def refusal(path):
    with pytest.raises(InputError) as refused:
        read_volume(path)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("unit, factor", [("mm", 1), ("meter", 1e-3), ("micron", 1e3), ("unknown", 1)])
@pytest.mark.parametrize("codes", [(1, 1), (1, 0), (0, 1)])
def test_nifti_in_every_unit_is_read_in_mm(tmp_path, unit, factor, codes):
    affine = AFFINE.copy()
    affine[:3] *= factor
    image = nibabel.Nifti1Image(VALUES, affine)
    image.header.set_xyzt_units(unit)
    image.set_sform(affine, codes[0])
    image.set_qform(affine, codes[1])
    nibabel.save(image, tmp_path / "a.nii.gz")
    grid = read_volume(tmp_path / "a.nii.gz").grid
    np.testing.assert_allclose(grid.spacing, 3, rtol=1e-5)
    np.testing.assert_allclose(grid.origin, (-30, -20, -10), rtol=1e-5)


@pytest.mark.parametrize("unit, factor", [("mm", 1), ("m", 1000), ("um", 1e-3), ("cm", 10)])
def test_nrrd_in_every_unit_is_read_in_mm(tmp_path, unit, factor):
    write_nrrd(tmp_path / "a.nrrd", f'space units: "{unit}" "{unit}" "{unit}"')
    grid = read_volume(tmp_path / "a.nrrd").grid
    np.testing.assert_allclose(grid.spacing, 5 * factor)
    np.testing.assert_allclose(grid.origin, np.array([1, 2, 3]) * factor)


def write_nrrd(path, *lines, sizes="11 10 9", kinds="domain domain domain", values=VALUES):
    header = [
        "NRRD0005", "type: short", f"dimension: {len(sizes.split())}", "space: left-posterior-superior",
        f"sizes: {sizes}", "space directions: (5,0,0) (0,5,0) (0,0,5)", f"kinds: {kinds}", "endian: little",
        "encoding: raw", "space origin: (1,2,3)", *lines,
    ]  # fmt: skip
    path.write_bytes("\n".join([*header, "", ""]).encode() + values.astype("<i2").tobytes())


def test_nrrd_in_strange_units_is_refused(tmp_path):
    write_nrrd(tmp_path / "a.nrrd", 'space units: "mm" "mm" "s"')
    assert "space units" in refusal(tmp_path / "a.nrrd")


def test_an_unpacked_nifti_named_gz_is_read(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(packed_bytes())
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").array, VALUES.T)


@pytest.mark.parametrize(
    "name, content, said",
    [
        (
            "a.nii",
            gzip.compress(packed_bytes(), mtime=0),
            "packed with gzip, whatever its name says; name it .nii.gz",
        ),
        ("a.nii", packed_bytes(nibabel.Nifti2Image)[:600], "incomplete"),
        ("a.nii", packed_bytes(nibabel.Nifti2Image)[:100], "incomplete"),
        ("a.nii.gz", gzip.compress(packed_bytes(nibabel.Nifti2Image), mtime=0)[:-200], "incomplete"),
        ("a.nii.gz", b"", "empty"),
        ("a.nrrd", b"", "empty"),
        ("a.nii.gz", b"<!DOCTYPE html><html>", "web page"),
        ("a.mha", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        ("a.nii.gz", b"PK\x03\x04" + bytes(400), "zip archive"),
        ("a.nrrd", bytes(128) + b"DICM" + bytes(400), "DICOM"),
        ("a.nii", b"NRRD0004\ntype: short\n", "NRRD"),
        ("a.nii.gz", gzip.compress(packed_bytes(), mtime=0)[:-200], "incomplete"),
        ("a.mhd", META % b"9 9 9" + b"a.raw\n", "a.raw"),
        ("a.mha", META % b"90000 90000 90000" + b"LOCAL\n",
         "1,458,000,000,000,000 bytes"),
    ],
)  # fmt: skip
def test_the_reason_told_is_the_reason(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    assert said in refusal(tmp_path / name)


def test_a_sequence_of_slicer_is_refused_with_its_frames(tmp_path):
    values = np.repeat(VALUES[..., None], 10, -1)
    write_nrrd(tmp_path / "a.seq.nrrd", sizes="10 11 10 9", kinds="list domain domain domain", values=values)
    text = (tmp_path / "a.seq.nrrd").read_bytes().replace(b"directions: (5", b"directions: none (5")
    (tmp_path / "a.seq.nrrd").write_bytes(text)
    assert "sequence of 10 frames" in refusal(tmp_path / "a.seq.nrrd")


def test_a_detached_nrrd_is_read_and_its_missing_voxels_are_named(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(VALUES), str(tmp_path / "a.nhdr"))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nhdr").array, VALUES)
    next(tmp_path.glob("a.raw*")).unlink()
    assert "a.raw" in refusal(tmp_path / "a.nhdr")
