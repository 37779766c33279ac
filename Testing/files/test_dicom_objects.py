"""DICOM objects that are no scan: refused by name, and passed over beside a scan."""

import numpy as np
import pytest
from dicom_objects import AXIAL, ORIGIN, SECONDARY, UID, a_series, an_object, hu, multiframe, places, save
from dicom_objects import with_pixels as with_cells

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.dicom.object_kinds import MODALITIES
from GLIDERegLib.files.volumes import read_volume

STORAGE = "1.2.840.10008.5.1.4.1.1."
DOSE, SEGMENTATION = f"{STORAGE}481.2", f"{STORAGE}66.4"
WITHOUT_PIXELS = {
    "481.5": ("RTPLAN", "a radiotherapy plan (RTPLAN)"),
    "481.8": ("RTPLAN", "a radiotherapy plan (RTPLAN)"),
    "481.3": ("RTSTRUCT", "a radiotherapy structure set (RTSTRUCT)"),
    "11.1": ("PR", "a presentation state (PR)"),
    "88.22": ("SR", "a structured report (SR)"),
    "88.59": ("KO", "a key object selection (KO)"),
    "66.1": ("REG", "a registration (REG)"),
    "104.1": ("DOC", "an encapsulated document"),
    "9.1.1": ("ECG", "a waveform"),
}


def a_dose(folder, planes=6):
    """A dose as planning systems write it: frames by offsets along the normal, 32 bits, a scaling."""
    data = an_object(
        DOSE,
        Modality="RTDOSE",
        SeriesInstanceUID=UID + ".1.7",
        NumberOfFrames=planes,
        ImagePositionPatient=list(ORIGIN),
        ImageOrientationPatient=list(AXIAL),
        PixelSpacing=["0.9", "0.6"],
        GridFrameOffsetVector=[2.5 * k for k in range(planes)],
        DoseGridScaling="0.001",
        BitsAllocated=32,
        BitsStored=32,
        HighBit=31,
    )
    cells = np.random.default_rng(0).integers(0, 60000, (planes, 5, 4)).astype(np.uint32)
    save(with_cells(data, cells), folder / "dose.dcm")
    return folder / "dose.dcm"


def a_segmentation(folder):
    data = multiframe(hu(), places(6), sop=SEGMENTATION, Modality="SEG", SeriesInstanceUID=UID + ".1.8")
    save(data, folder / "seg.dcm")
    return folder / "seg.dcm"


def refusal(path):
    with pytest.raises(InputError) as refused:
        read_volume(path, "fixed")
    return str(refused.value)


@pytest.mark.parametrize(
    ("make", "named"), [(a_dose, "a radiotherapy dose (RTDOSE)"), (a_segmentation, "a segmentation (SEG)")]
)
def test_an_object_with_planes_that_are_no_scan_is_refused_by_name(tmp_path, make, named):
    path = make(tmp_path)
    assert f"'{path}' of the fixed image is {named}, no scan" in refusal(path)
    assert f"holds no scan, but {named}" in refusal(tmp_path)


@pytest.mark.parametrize("kind", WITHOUT_PIXELS)
def test_an_object_without_planes_is_refused_by_name(tmp_path, kind):
    modality, named = WITHOUT_PIXELS[kind]
    save(an_object(f"{STORAGE}{kind}", Modality=modality), tmp_path / "a.dcm")
    assert f"is {named}, no scan" in refusal(tmp_path / "a.dcm")
    assert f"holds no scan, but {named}" in refusal(tmp_path)


@pytest.mark.parametrize("modality", ["RTPLAN", "RTSTRUCT", "PR", "SR", "KO", "DOC"])
def test_an_object_of_an_unknown_class_is_told_by_its_modality(tmp_path, modality):
    save(an_object("1.2.3.4", Modality=modality), tmp_path / "a.dcm")
    assert f"is {MODALITIES[modality]}, no scan" in refusal(tmp_path / "a.dcm")


def test_beside_a_scan_such_objects_are_passed_over(tmp_path):
    values = hu()
    a_series(tmp_path, values)
    a_dose(tmp_path), a_segmentation(tmp_path)
    save(an_object(f"{STORAGE}88.22", Modality="SR", SeriesInstanceUID=UID + ".1.9"), tmp_path / "sr.dcm")
    np.testing.assert_array_equal(read_volume(tmp_path).array, values)
    np.testing.assert_array_equal(read_volume(sorted(tmp_path.glob("im*"))[0]).array, values)


def test_a_secondary_capture_without_a_place_is_refused_by_name_and_one_with_a_place_is_noted(tmp_path):
    values = hu()
    bare = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"))
    a_series(tmp_path / "bare", values, sop=SECONDARY, each=lambda k: bare)
    assert "is a secondary capture" in refusal(tmp_path / "bare")
    volume = read_volume(a_series(tmp_path / "placed", values, sop=SECONDARY))
    np.testing.assert_array_equal(volume.array, values)
    assert any("secondary capture" in note for note in volume.notes)
