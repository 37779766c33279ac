"""Multi-frame DICOM objects: the place, phase and rescale of every frame from its functional groups."""

import numpy as np
import pytest
from dicom_objects import (
    UID,
    WORD_SECONDARY,
    an_object,
    group,
    hu,
    multiframe,
    places,
    save,
    with_pixels,
)

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.volumes import read_volume

ENHANCED_MR, LEGACY_CT = "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.2.2"
OBLIQUE = (0.8, 0.6, 0, 0, 0, -1)


def refusal(path):
    with pytest.raises(InputError) as refused:
        read_volume(path)
    message = str(refused.value)
    assert "\n" not in message and message.endswith(".")
    return message


@pytest.mark.parametrize("sop", ["1.2.840.10008.5.1.4.1.1.2.1", LEGACY_CT, ENHANCED_MR, WORD_SECONDARY])
@pytest.mark.parametrize("order", ["in order", "backwards", "shuffled"])
def test_frames_are_placed_by_their_positions(tmp_path, sop, order):
    values, positions = hu(), places(6, OBLIQUE)
    turn = {"in order": np.arange(6), "backwards": np.arange(6)[::-1]}.get(order)
    turn = np.random.default_rng(0).permutation(6) if turn is None else turn
    save(multiframe(values[turn], positions[turn], OBLIQUE, sop), tmp_path / "a.dcm")
    for path in (tmp_path, tmp_path / "a.dcm"):
        volume = read_volume(path)
        np.testing.assert_array_equal(volume.array, values)
        np.testing.assert_allclose(volume.grid.spacing, (0.6, 0.9, 2.5), atol=1e-5)
        np.testing.assert_allclose(volume.grid.origin, positions[0], atol=1e-5)
        np.testing.assert_allclose(volume.grid.axes[:, 0], OBLIQUE[:3], atol=1e-6)


def test_every_frame_has_its_own_rescale(tmp_path):
    values = hu() // 4 * 4
    pairs = [(1, -1024), (2, -1000), (4, -2048), (1, -1000), (2, -1024), (1, -2000)]
    save(multiframe(values, places(6), rescale=lambda k: pairs[k]), tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_volume(tmp_path).array, values)


def test_frames_split_over_several_objects_of_a_series_are_one_scan(tmp_path):
    values, positions = hu(), places(6)
    for name, part in (("z", slice(0, 3)), ("a", slice(3, 6))):
        save(multiframe(values[part], positions[part]), tmp_path / f"{name}.dcm")
    np.testing.assert_array_equal(read_volume(tmp_path).array, values)


def test_a_missing_frame_and_a_missing_position_are_refused(tmp_path):
    keep = np.delete(np.arange(8), 4)
    save(multiframe(hu(8)[keep], places(8)[keep]), tmp_path / "gap.dcm")
    assert "about 1" in refusal(tmp_path / "gap.dcm")
    data = multiframe(hu(), places(6), SeriesInstanceUID=UID + ".8")
    del data.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence
    save(data, tmp_path / "place.dcm")
    assert "no ImagePositionPatient in 1 of 6 slices" in refusal(tmp_path / "place.dcm")
    data = multiframe(hu(), places(6), SeriesInstanceUID=UID + ".9")
    del data.PerFrameFunctionalGroupsSequence[-2:]
    save(data, tmp_path / "fewer.dcm")
    assert "6 frames" in (message := refusal(tmp_path / "fewer.dcm")) and "positions of 4" in message


def test_frames_of_which_nothing_says_the_place_are_refused(tmp_path):
    tags = {"ImagePositionPatient": ["0", "0", "0"], "ImageOrientationPatient": list("100010")}
    data = an_object(WORD_SECONDARY, NumberOfFrames=6, PixelSpacing=["1", "1"], **tags)
    data.SpacingBetweenSlices = "3"
    save(with_pixels(data, hu().view(np.uint16)), tmp_path / "a.dcm")
    assert "positions of none" in refusal(tmp_path / "a.dcm")


PHASES = {
    "temporal position": lambda t: {"FrameContentSequence": group(TemporalPositionIndex=t + 1)},
    "stack": lambda t: {"FrameContentSequence": group(StackID=f"S{t}")},
    "cardiac phase": lambda t: {
        "CardiacSynchronizationSequence": group(NominalPercentageOfCardiacPhase=40.0 * t)
    },
    "respiratory phase": lambda t: {
        "RespiratorySynchronizationSequence": group(NominalPercentageOfRespiratoryPhase=50.0 * t)
    },
    "tube voltage": lambda t: {"CTXRayDetailsSequence": group(KVP=80.0 + 60 * t)},
    "frame type": lambda t: {
        "MRImageFrameTypeSequence": group(FrameType=["ORIGINAL", "FAT WATER".split()[t]])
    },
    "comment": lambda t: {"FrameContentSequence": group(FrameComments=f"echo {t}")},
    "b-value": lambda t: {"MRDiffusionSequence": group(DiffusionBValue=500.0 * t)},
}


@pytest.mark.parametrize("name", PHASES)
def test_phases_in_one_object_are_listed(tmp_path, name):
    values = np.concatenate([hu(5, seed=1), hu(5, seed=2)])
    positions = np.concatenate([places(5), places(5)])
    save(multiframe(values, positions, frame=lambda k: PHASES[name](k // 5)), tmp_path / "a.dcm")
    message = refusal(tmp_path)
    assert "same place" in message and f"2 images of the volume, by {name}" in message
    assert message.count("5 slices") == 2


def test_stacks_apart_in_one_object_are_listed_and_not_taken_for_a_gap(tmp_path):
    positions = np.concatenate([places(5), places(5) + [0, 0, 40]])
    save(multiframe(hu(10), positions, frame=lambda k: PHASES["stack"](k // 5)), tmp_path / "a.dcm")
    message = refusal(tmp_path)
    assert "2 images of the volume, by stack" in message and "misses" not in message


def test_stacks_that_continue_each_other_are_one_scan(tmp_path):
    save(multiframe(hu(10), places(10), frame=lambda k: PHASES["stack"](k // 5)), tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_volume(tmp_path).array, hu(10))


def test_one_object_a_phase_is_chosen_by_its_file(tmp_path):
    for t in range(3):
        data = multiframe(hu(5, seed=t), places(5), frame=lambda k, t=t: PHASES["temporal position"](t))
        save(data, tmp_path / f"{t}.dcm")
    assert "temporal position '3': 5 slices" in refusal(tmp_path)
    np.testing.assert_array_equal(read_volume(tmp_path / "1.dcm").array, hu(5, seed=1))


def test_orientation_and_spacing_that_differ_between_frames_are_several_stacks(tmp_path):
    turned = {"PlaneOrientationSequence": group(ImageOrientationPatient=["0", "1", "0", "0", "0", "-1"])}
    data = multiframe(hu(), places(6), frame=lambda k: turned if k > 2 else {})
    save(data, tmp_path / "a.dcm")
    assert "3 axial" in refusal(tmp_path) and "3 sagittal" in refusal(tmp_path)
