"""Where the slices of DICOM series lie, which series a path stands for, and what is refused."""

import gzip
import os
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_objects import AXIAL, ORIGIN, SECONDARY, UID, a_series, a_slice, an_object, hu, places, save
from pydicom.uid import RLELossless

from GLIDERegLib.core.acquisition import Acquisition
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.volumes import dicom_info, read_volume, scan_identity

TURN = np.array(sitk.VersorTransform((0.3, -0.5, 0.7), 0.6).GetMatrix()).reshape(3, 3)
ORIENTATIONS = {
    "head first": AXIAL,
    "feet first": (-1, 0, 0, 0, 1, 0),
    "prone": (-1, 0, 0, 0, -1, 0),
    "rows run up": (1, 0, 0, 0, -1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "oblique": tuple(TURN[:, :2].T.ravel()),
}


def refusal(path):
    """The message with which read_volume refuses the path; it must be one line."""
    with pytest.raises(InputError) as refused:
        read_volume(path)
    message = str(refused.value)
    assert "\n" not in message and message.endswith(".") and "--" not in message
    return message


@pytest.mark.parametrize("cosines", ORIENTATIONS.values(), ids=ORIENTATIONS)
@pytest.mark.parametrize("reverse", [False, True], ids=["with the normal", "against the normal"])
def test_every_voxel_lies_where_position_orientation_and_pixel_spacing_say(tmp_path, cosines, reverse):
    values, positions = hu(), places(6, cosines)
    if reverse:
        values, positions = values[::-1], positions[::-1]
    wrong = {"SliceThickness": "7", "SpacingBetweenSlices": "-9"}
    volume = read_volume(a_series(tmp_path / "ct", values, positions, cosines, **wrong))
    assert volume.array.dtype == np.int16
    for (i, j), k in zip([(0, 0), (3, 1), (2, 4)], [0, 3, 5], strict=True):
        point = positions[k] + 0.6 * i * np.array(cosines[:3]) + 0.9 * j * np.array(cosines[3:])
        x, y, z = volume.grid.to_index(point)
        np.testing.assert_allclose([x, y], [i, j], atol=1e-4)
        assert z == pytest.approx(round(z), abs=1e-4)
        assert volume.array[round(z), j, i] == values[k][j, i]
    assert np.linalg.det(volume.grid.axes) == pytest.approx(1)


@pytest.mark.parametrize("cosines", ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_itk_reads_a_regular_series_alike(tmp_path, cosines):
    folder = a_series(tmp_path / "ct", hu(), None, cosines)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(image))
    np.testing.assert_allclose(volume.grid.spacing, image.GetSpacing(), atol=1e-5)
    np.testing.assert_allclose(volume.grid.origin, image.GetOrigin(), atol=1e-5)
    np.testing.assert_allclose(volume.grid.direction, image.GetDirection(), atol=1e-5)


@pytest.mark.parametrize(
    "tag, place",
    [("ImagePositionPatient", 0), ("ImageOrientationPatient", 2), ("PixelSpacing", 4)],
)
def test_a_missing_tag_is_named_with_the_number_of_slices(tmp_path, tag, place):
    a_series(tmp_path / "ct", hu(), each=lambda k: {tag: None} if k in (place, 5) else {})
    assert f"no {tag} in 2 of 6 slices" in refusal(tmp_path / "ct")


@pytest.mark.parametrize(
    "tag, value",
    [
        ("ImagePositionPatient", ["nan", "0", "0"]),
        ("ImagePositionPatient", ["1e30", "0", "0"]),
        ("PixelSpacing", ["0", "0.6"]),
        ("PixelSpacing", ["-0.9", "0.6"]),
        ("PixelSpacing", ["inf", "0.6"]),
    ],
)
def test_a_value_that_is_no_length_is_named(tmp_path, tag, value):
    a_series(tmp_path / "ct", hu(), each=lambda k: {tag: value} if k == 2 else {})
    assert f"no usable {tag} in 1 of 6" in refusal(tmp_path / "ct")


def test_the_spacing_at_the_detector_is_no_substitute(tmp_path):
    a_series(tmp_path / "ct", hu(), PixelSpacing=None, ImagerPixelSpacing=["0.9", "0.6"])
    assert "no PixelSpacing in 6 of 6 slices (ImagerPixelSpacing" in refusal(tmp_path / "ct")


def test_directions_that_are_not_perpendicular_are_refused(tmp_path):
    a_series(tmp_path / "ct", hu(), ImageOrientationPatient=["1", "0", "0", "0.3", "0.954", "0"])
    assert "not of length 1 and perpendicular" in refusal(tmp_path / "ct")


@pytest.mark.parametrize("left_out, count", [([3], 1), ([1, 2, 5], 3)])
def test_a_gap_is_refused_with_its_place_and_the_slices_missing(tmp_path, left_out, count):
    keep = np.delete(np.arange(9), left_out)
    a_series(tmp_path / "ct", hu(9)[keep], places(9)[keep])
    message = refusal(tmp_path / "ct")
    assert "misses slices" in message and f"about {count}" in message and "elsewhere 2.50 mm" in message


PHASE_TAGS = {
    "TemporalPositionIdentifier": (1, 2),
    "NominalPercentageOfRespiratoryPhase": (0.0, 50.0),
    "AcquisitionTime": ("101500", "101510"),
    "TriggerTime": ("0", "400"),
    "ConvolutionKernel": ("B30f", "B70f"),
    "SeriesDescription": ("Gated 0%", "Gated 50%"),
    "AcquisitionNumber": (1, 2),
}


@pytest.mark.parametrize("tag", PHASE_TAGS)
def test_phases_in_one_series_are_listed_and_one_file_chooses_its_phase(tmp_path, tag):
    first, second = hu(6, seed=1), hu(6, seed=2)
    one, other = PHASE_TAGS[tag]
    a_series(tmp_path / "ct", first, suffix="a.dcm", **{tag: one})
    a_series(tmp_path / "ct", second, suffix="b.dcm", **{tag: other})
    message = refusal(tmp_path / "ct")
    for expected in ("same place (-300.00 mm", f"'{one}': 6 slices", f"'{other}': 6 slices"):
        assert expected in message
    for suffix, wanted in (("a", first), ("b", second)):
        file = next((tmp_path / "ct").glob(f"*{suffix}.dcm"))
        np.testing.assert_array_equal(read_volume(file).array, wanted)


def test_phases_between_each_others_slices_are_no_finer_stack(tmp_path):
    even, odd = places(6)[::2], places(6)[1::2]
    a_series(tmp_path / "ct", hu(3), even, suffix="a.dcm", TemporalPositionIdentifier=1)
    a_series(tmp_path / "ct", hu(3), odd, suffix="b.dcm", TemporalPositionIdentifier=2)
    assert "temporal position '2': 3 slices" in refusal(tmp_path / "ct")


def test_images_of_one_place_that_nothing_tells_apart_are_refused(tmp_path):
    a_series(tmp_path / "ct", hu())
    save(a_slice(hu(1, seed=4)[0], places(6)[3]), tmp_path / "ct" / "again.dcm")
    assert "same place (-292.50 mm" in refusal(tmp_path / "ct")


def test_a_copy_of_a_file_is_read_once(tmp_path):
    folder = a_series(tmp_path / "ct", hu())
    for file in list(folder.iterdir())[:2]:
        shutil.copy(file, folder / f"copy of {file.name}")
    np.testing.assert_array_equal(read_volume(folder).array, hu())


@pytest.mark.parametrize("again", [[0], [2, 5], range(6)], ids=["one", "two", "all"])
@pytest.mark.parametrize(
    "how", [{}, {"slope": 2}, {"syntax": RLELossless}], ids=["same", "rescale", "packed"]
)
def test_images_sent_again_under_other_names_are_read_once_and_told(tmp_path, again, how):
    """By their values: another rescaling or compression of the same values is the same image."""
    values, slope = hu() // 2 * 2, how.get("slope", 1)
    name = {"ContentTime": "101112", "InstanceNumber": 99}
    folder = a_series(tmp_path / "ct", values)
    for k in again:
        item = a_slice(values[k], places(6)[k], slope=slope, SOPInstanceUID=f"{UID}.7{k}", **name)
        if "syntax" in how:
            item.compress(RLELossless)
        save(item, folder / f"again{k}.dcm")
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.array, values)
    assert f"{len(again)} image" in volume.notes[0] and "read once" in volume.notes[0]


def test_phases_that_share_an_empty_slice_stay_phases(tmp_path):
    first, second = hu(6, seed=1), hu(6, seed=2)
    first[0] = second[0] = -1000
    a_series(tmp_path / "ct", first, suffix="a.dcm", TemporalPositionIdentifier=1)
    a_series(tmp_path / "ct", second, suffix="b.dcm", TemporalPositionIdentifier=2)
    assert "temporal position '2': 6 slices" in refusal(tmp_path / "ct")


def turned_by(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return [f"{value:.6f}" for value in (c, s, 0, -s, c, 0)]


@pytest.mark.parametrize("most", [0.14, 0.25])
def test_orientations_that_drift_are_averaged_and_told(tmp_path, most):
    drift = np.linspace(0, most, 6)
    folder = a_series(tmp_path / "ct", hu(), each=lambda k: {"ImageOrientationPatient": turned_by(drift[k])})
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.array, hu())
    turn = np.degrees(np.arctan2(volume.grid.axes[1, 0], volume.grid.axes[0, 0]))
    assert turn == pytest.approx(most / 2, abs=1e-3)
    assert f"up to {most:.2f} degrees" in " ".join(volume.notes)


def test_orientations_that_drift_by_more_than_half_a_pixel_at_a_corner_are_refused(tmp_path):
    wide = np.zeros((6, 4, 512), np.int16)
    each = [turned_by(0.25 * k / 5) for k in range(6)]
    a_series(tmp_path / "ct", wide, each=lambda k: {"ImageOrientationPatient": each[k]})
    assert "differ by up to 0.25 degrees" in refusal(tmp_path / "ct")


def test_several_stacks_in_one_series_are_described_and_one_file_chooses(tmp_path):
    axial, coronal = hu(6, seed=1), hu(4, seed=2)
    a_series(tmp_path / "ct", axial, suffix="a.dcm")
    a_series(tmp_path / "ct", coronal, None, ORIENTATIONS["coronal"], suffix="b.dcm")
    message = refusal(tmp_path / "ct")
    assert "6 axial of 4 x 5 pixels of 0.6 x 0.9 mm" in message and "4 coronal" in message
    np.testing.assert_array_equal(read_volume(next((tmp_path / "ct").glob("*b.dcm"))).array, coronal)


@pytest.mark.parametrize("tag", ["PatientID", "FrameOfReferenceUID", "StudyInstanceUID"])
def test_slices_of_two_patients_studies_or_frames_are_no_scan(tmp_path, tag):
    a_series(tmp_path / "ct", hu(), each=lambda k: {tag: "1.2.1" if k < 5 else "1.2.2"})
    assert "mixes slices of 2" in refusal(tmp_path / "ct")


def test_a_tilted_gantry_is_refused_in_degrees_and_shifted_slices_by_their_shift(tmp_path):
    positions = places(6)
    positions[:, 1] -= np.tan(np.radians(12)) * (positions[:, 2] - positions[0, 2])
    a_series(tmp_path / "tilted", hu(), positions)
    assert "tilted gantry (12.0 degrees)" in refusal(tmp_path / "tilted")
    positions = places(6)
    positions[3, 0] += 4
    a_series(tmp_path / "shifted", hu(), positions)
    assert "shifted sideways by up to 4.0 mm" in refusal(tmp_path / "shifted")


@pytest.mark.parametrize("same_series", [True, False])
def test_localizers_and_screenshots_beside_the_scan_do_not_matter(tmp_path, same_series):
    folder = a_series(tmp_path / "ct", hu())
    uid = UID + (".1.1" if same_series else ".9")
    scout = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    for name, cosines in (("s1", ORIENTATIONS["coronal"]), ("s2", ORIENTATIONS["sagittal"])):
        data = a_slice(hu(1, 9, 8)[0], ORIGIN, cosines, SeriesInstanceUID=uid, ImageType=scout)
        save(data, folder / f"{name}.dcm")
    shot = an_object(
        SECONDARY,
        SeriesInstanceUID=uid,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        Rows=2,
        Columns=2,
    )
    shot.BitsAllocated = shot.BitsStored = 8
    shot.HighBit, shot.PlanarConfiguration, shot.PixelData = 7, 0, bytes(12)
    shot["PixelData"].VR = "OB"
    save(shot, folder / "shot.dcm")
    np.testing.assert_array_equal(read_volume(folder).array, hu())


def test_nested_folders_are_searched_and_several_series_listed(tmp_path):
    root = tmp_path / "export"
    tags = {"SeriesDescription": "Lung\n1.0", "StudyDate": "20240310"}
    a_series(root / "p" / "s1" / "deep", hu(6, seed=1), suffix="", **tags)
    np.testing.assert_array_equal(read_volume(root).array, hu(6, seed=1))
    a_series(root / "p" / "s2", hu(4, seed=2), SeriesInstanceUID=UID + ".7", StudyDate="20250102")
    message = refusal(root)
    for part in (
        "2 DICOM series",
        "'Lung 1.0', 6 slices, 2024-03-10, in 'p/s1/deep'",
        "4 slices, 2025-01-02",
    ):
        assert part in message
    np.testing.assert_array_equal(read_volume(root / "p" / "s2").array, hu(4, seed=2))
    file = next((root / "p" / "s1" / "deep").iterdir())
    np.testing.assert_array_equal(read_volume(file).array, hu(6, seed=1))


def test_what_is_no_dicom_and_links_that_loop_do_not_matter(tmp_path):
    folder = a_series(tmp_path / "ct", hu())
    for name in ("Thumbs.db", ".DS_Store", "._im000.dcm", "README.txt", "report.pdf", "empty.txt"):
        (folder / name).write_bytes(b"" if name.startswith("empty") else os.urandom(300))
    os.symlink(folder, folder / "loop")
    os.symlink(tmp_path, folder / "up")
    os.symlink(folder / "nowhere", folder / "broken")
    os.mkfifo(folder / "pipe")
    directory = an_object("1.2.840.10008.1.3.10", Modality=None)
    save(directory, folder / "DICOMDIR")
    for path in (folder, folder / "DICOMDIR"):
        np.testing.assert_array_equal(read_volume(path).array, hu())


@pytest.mark.parametrize("bare", [False, True], ids=["no preamble", "the data set alone"])
def test_files_without_preamble_and_extension_are_read(tmp_path, bare):
    folder = a_series(tmp_path / "ct", hu(), suffix="")
    for file in folder.iterdir():
        data = file.read_bytes()
        group_length = int.from_bytes(data[140:144], "little")
        file.write_bytes(data[144 + group_length if bare else 132 :])
    np.testing.assert_array_equal(read_volume(folder).array, hu())


@pytest.mark.parametrize("content", [b"", b"no dicom"], ids=["empty", "text"])
def test_a_slice_that_was_overwritten_is_refused_by_name(tmp_path, content):
    folder = a_series(tmp_path / "ct", hu())
    last = folder / "im000.dcm"
    last.write_bytes(content)
    assert "im000.dcm" in refusal(folder)


def test_a_series_uid_for_each_file_is_said(tmp_path):
    a_series(tmp_path / "ct", hu(), each=lambda k: {"SeriesInstanceUID": f"{UID}.{k + 1}"})
    assert "SeriesInstanceUID differs from file to file" in refusal(tmp_path / "ct")


@pytest.mark.parametrize("k", [0, 5])
def test_an_outer_slice_with_another_series_uid_is_not_left_out_unsaid(tmp_path, k):
    uid = {"SeriesInstanceUID": UID + ".1.7"}
    folder = a_series(tmp_path / "ct", hu(), each=lambda n: uid if n == k else {})
    assert "is continued by the file" in refusal(folder)
    assert "is continued by the file" in refusal(
        next(f for f in folder.iterdir() if f"{k}.dcm" not in f.name)
    )


def test_what_the_tags_say_of_the_scan_is_told(tmp_path):
    folder = a_series(
        tmp_path / "ct",
        hu(),
        PatientName="Müller^Jörg",
        SpecificCharacterSet="ISO_IR 192",
        PatientID="4711",
        PatientBirthDate="19500203",
        StudyDate="20240310",
        AcquisitionDate="20240311",
        SeriesDescription="Lung",
        ConvolutionKernel="B70f",
        SliceThickness="1.25",
        ContrastBolusAgent="Iopromide",
    )
    info = dicom_info(folder)
    assert (info.patient.name, info.patient.identifier) == ("Müller^Jörg", "4711")
    assert (info.birth_date, info.study_date, info.acquisition_date) == (
        "1950-02-03",
        "2024-03-10",
        "2024-03-11",
    )
    assert (info.description, info.kernel, info.slice_thickness) == ("Lung", "B70f", 1.25)
    assert info.frame_of_reference_uid == UID + ".1.2" and len(set(info.sop_instance_uids)) == 6
    assert read_volume(folder).acquisition == Acquisition("B70f", 1.25, True)
    patient, date = scan_identity(folder)
    assert patient == info.patient and date == "2024-03-10"
    assert dicom_info(tmp_path / "none.nii") is None


def test_slices_of_two_modalities_are_no_scan(tmp_path):
    a_series(tmp_path / "ct", hu(), each=lambda k: {"Modality": "PT"} if k == 3 else {})
    assert "2 modalities" in refusal(tmp_path / "ct")


def test_a_ct_in_another_unit_than_hu_is_told(tmp_path):
    assert "US (RescaleType)" in read_volume(a_series(tmp_path / "a", hu(), RescaleType="US")).notes[0]
    assert read_volume(a_series(tmp_path / "b", hu(), RescaleType="HU")).notes == ()


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("scan.dcm", b"\xff\xd8\xff\xe0" + bytes(300), "'scan.dcm' in the folder"),
        ("scan.dcm", b"\xff\xd8\xff\xe0" + bytes(300), "is a JPEG picture"),
    ],
)
def test_a_picture_named_as_a_slice_is_told_for_what_it_is(tmp_path, name, content, said):
    a_series(tmp_path / "ct", hu())
    (tmp_path / "ct" / name).write_bytes(content)
    message = refusal(tmp_path / "ct")
    assert said in message and "damaged" not in message


@pytest.mark.parametrize("name, said", [("a.dcm.gz", "packed with gzip"), ("a.nii.gz", "is NIfTI")])
def test_a_folder_of_other_files_is_told_by_what_they_are(tmp_path, name, said):
    (tmp_path / name).write_bytes(gzip.compress(bytes(1000)))
    assert said in refusal(tmp_path)


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ({"ManufacturerModelName": "On-Board Imager"}, True),
        ({"ManufacturerModelName": "XVI"}, True),
        ({"SeriesDescription": "kV_CBCT_01a"}, True),
        ({"SeriesDescription": "Thorax XVII, before TrueBeauty"}, False),
        ({"ManufacturerModelName": "Brilliance Big Bore", "SeriesDescription": "Planning"}, False),
    ],
)
def test_a_cone_beam_ct_is_told_of(tmp_path, tags, told):
    notes = read_volume(a_series(tmp_path, hu(), **tags)).notes
    assert any("cone-beam CT" in note for note in notes) == told
