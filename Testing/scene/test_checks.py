"""What is proposed, refused and warned of."""

from __future__ import annotations

import numpy as np
import pytest
import slicer

from GLIDERegLib.scene.registration import checks
from GLIDERegLib.scene.registration.checks import defaultVolumes, inputProblem, inputWarnings

OUTPUTS = ["transform"]


def ct(seed=0, shape=(12, 16, 20)):
    values = np.random.default_rng(seed).uniform(-1000, 400, shape)
    return values.astype(np.int16)


def shifted(x, spacing=(2.0, 2.0, 2.0)):
    matrix = np.diag([*spacing, 1.0])
    matrix[0, 3] = x
    return matrix


def place(node, transform):
    node.SetAndObserveTransformNodeID(transform.GetID())
    return node


def study(scene, volumes, date, time="120000"):
    """Puts volumes into a study of the subject hierarchy, as loading from DICOM does."""
    constants = slicer.vtkMRMLSubjectHierarchyConstants
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    item = hierarchy.CreateStudyItem(patient, "Study")
    hierarchy.SetItemAttribute(item, constants.GetDICOMStudyDateAttributeName(), date)
    hierarchy.SetItemAttribute(item, constants.GetDICOMStudyTimeAttributeName(), time)
    for node in volumes:
        hierarchy.CreateItem(item, node)


@pytest.fixture
def pair(addVolume):
    return addVolume(ct(0), shifted(0), "Follow-up"), addVolume(ct(1), shifted(5), "Baseline")


@pytest.fixture
def addMask(addVolume):
    def add(value, matrix=None):
        array = np.full((12, 16, 20), value, np.uint8)
        return addVolume(
            array, shifted(0) if matrix is None else matrix, "Lungs", "vtkMRMLLabelMapVolumeNode"
        )

    return add


def test_an_empty_scene_proposes_nothing(scene):
    assert defaultVolumes(scene) == (None, None)


def test_a_single_volume_is_proposed_as_fixed(scene, addVolume):
    node = addVolume(ct())
    assert defaultVolumes(scene) == (node, None)


def test_without_dates_the_order_of_loading_decides(scene, pair):
    assert defaultVolumes(scene) == pair


@pytest.mark.parametrize(
    ("first", "second", "swapped"), [("20240301", "20230115", False), ("20230115", "20240301", True)]
)
def test_the_newer_scan_is_fixed_whatever_the_order_of_loading(scene, pair, first, second, swapped):
    study(scene, pair[:1], first)
    study(scene, pair[1:], second)
    assert defaultVolumes(scene) == (pair[::-1] if swapped else pair)


def test_the_hour_decides_between_studies_of_one_day(scene, pair):
    study(scene, pair[:1], "20240301", "080000")
    study(scene, pair[1:], "20240301", "170000")
    assert defaultVolumes(scene) == pair[::-1]


def test_two_series_of_the_newest_study_are_not_paired_while_there_is_an_older_one(scene, addVolume):
    lung, soft, old = (addVolume(ct(n)) for n in range(3))
    study(scene, [lung, soft], "20240301")
    study(scene, [old], "20220101")
    assert defaultVolumes(scene) == (lung, old)


def test_what_cannot_be_registered_is_not_proposed(scene, addVolume, addMask):
    addMask(1)
    addVolume(np.zeros((4, 8, 8, 3), np.uint8), className="vtkMRMLVectorVolumeNode")
    addVolume(ct(shape=(1, 16, 20)))
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    addVolume(ct()).SetHideFromEditors(True)
    good = addVolume(ct(1)), addVolume(ct(2))
    assert defaultVolumes(scene) == good


def test_ct_is_proposed_before_other_images(scene, addVolume):
    magnetic = addVolume(np.abs(ct()))
    scans = addVolume(ct(1)), addVolume(ct(2))
    assert defaultVolumes(scene) == scans
    scans[1].SetHideFromEditors(True)
    assert defaultVolumes(scene) == (scans[0], magnetic)


def test_a_good_pair_has_no_problem_and_no_warning(pair, addMask):
    mask = addMask(1)
    assert inputProblem(*pair, mask, mask, OUTPUTS) is None
    assert inputWarnings(*pair, mask, mask) == []


def test_what_is_not_chosen_is_named(pair):
    fixed, moving = pair
    assert "fixed volume" in inputProblem(None, moving, None, None, OUTPUTS)
    assert "moving volume" in inputProblem(fixed, None, None, None, OUTPUTS)
    assert "output" in inputProblem(fixed, moving, None, None, [])


def test_the_same_volume_twice_may_be_registered_with_a_warning(pair):
    assert inputProblem(pair[0], pair[0], None, None, OUTPUTS) is None
    assert any("are the same" in text for text in inputWarnings(pair[0], pair[0]))


@pytest.mark.parametrize(
    ("array", "className", "words"),
    [
        (ct(shape=(1, 16, 20)), "vtkMRMLScalarVolumeNode", "one slice"),
        (np.zeros((4, 8, 8, 3), np.uint8), "vtkMRMLVectorVolumeNode", "one value per voxel"),
        (None, "vtkMRMLScalarVolumeNode", "empty"),
    ],
)
def test_a_volume_that_cannot_be_registered_is_a_problem_in_either_role(
    scene, addVolume, pair, array, className, words
):
    if array is None:
        bad = scene.AddNewNodeByClass(className, "Odd")
    else:
        bad = addVolume(array, name="Odd", className=className)
    for volumes in ((bad, pair[1]), (pair[0], bad)):
        problem = inputProblem(*volumes, None, None, OUTPUTS)
        assert words in problem and "'Odd'" in problem
    assert inputWarnings(bad, None) == []


def test_an_empty_label_map_is_no_mask(pair, addMask):
    for masks in ((addMask(0), None), (addMask(1), addMask(0))):
        assert "is empty" in inputProblem(*pair, *masks, OUTPUTS)


def test_a_segmentation_needs_a_visible_segment_with_voxels(scene, pair):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Lungs")
    node.CreateDefaultDisplayNodes()
    assert "no segment" in inputProblem(*pair, node, None, OUTPUTS)
    name = node.GetSegmentation().AddEmptySegment("Left")
    assert "is empty" in inputProblem(*pair, node, None, OUTPUTS)

    image = slicer.vtkOrientedImageData()
    image.SetDimensions(4, 4, 4)
    image.AllocateScalars(3, 1)
    image.GetPointData().GetScalars().Fill(1)
    filled = node.AddSegmentFromBinaryLabelmapRepresentation(image, "Right")
    assert inputProblem(*pair, node, None, OUTPUTS) is None
    node.GetDisplayNode().SetSegmentVisibility(filled, False)
    assert "is empty" in inputProblem(*pair, node, None, OUTPUTS)
    node.GetDisplayNode().SetSegmentVisibility(name, False)
    assert "no segment" in inputProblem(*pair, node, None, OUTPUTS)


def warned(words, *inputs):
    found = [text for text in inputWarnings(*inputs) if words in text]
    assert len(found) <= 1
    return bool(found)


def test_a_copy_of_the_fixed_volume_is_noticed(pair, addVolume):
    assert warned("same image", pair[0], addVolume(ct(0), shifted(50)))
    assert not warned("same image", *pair)
    assert not warned("same image", pair[0], addVolume(ct(0, (12, 16, 21))))


def test_volumes_apart_in_the_world_are_told_and_transforms_count(pair, addVolume, addLinear):
    fixed = pair[0]
    far = addVolume(ct(1), shifted(500))
    assert warned("alignment will be attempted", fixed, far)
    back = addLinear(shifted(-500, (1, 1, 1)))
    assert not warned("overlap", fixed, far, None, None, back)
    assert warned("even under the initial transform", *pair, None, None, back)
    assert not warned("overlap", fixed, place(far, back))
    assert not warned("overlap", fixed, far, None, None, back)
    assert warned("overlap", fixed, place(pair[1], back))


@pytest.mark.parametrize(
    ("spacing", "unusual"),
    [
        ((0.7, 0.7, 5.0), False),
        ((0.15, 0.15, 0.5), True),
        ((2.0, 2.0, 12.0), True),
        ((0.4, 0.4, 4.5), True),
    ],
)
def test_a_spacing_unlike_ct_is_told_with_its_numbers(addVolume, spacing, unusual):
    node = addVolume(ct(), shifted(0, spacing))
    assert warned(f"x {spacing[2]:g} mm", node, None) == unusual


def test_a_scaling_parent_counts_for_the_spacing(addVolume, addLinear):
    node = place(addVolume(ct(), shifted(0)), addLinear(np.diag([10.0, 10, 10, 1])))
    assert warned("20 x 20 x 20 mm", node, None)


def test_values_that_are_not_hounsfield_units_are_told(pair, addVolume):
    shifted_up = addVolume((ct(2) + 1024).astype(np.uint16), shifted(0))
    assert warned("values of the moving volume", pair[0], shifted_up)
    assert not warned("values", *pair)


def test_parent_transforms_are_said_to_be_honoured(pair, addLinear, addWarp, rotation):
    fixed, moving = pair
    place(fixed, addLinear(rotation, name="Table"))
    place(moving, addWarp(name="Breath"))
    texts = inputWarnings(fixed, moving)
    table = next(text for text in texts if "'Table'" in text)
    breath = next(text for text in texts if "'Breath'" in text)
    assert "honoured" in table and "resampling" not in table
    assert "honoured" in breath and "resampling" in breath


def test_an_initial_transform_above_the_moving_volume_is_told(pair, addLinear, rotation):
    fixed, moving = pair
    outer = addLinear(rotation)
    place(moving, addLinear(np.eye(4), parent=outer))
    assert warned("once, not twice", fixed, moving, None, None, outer)
    assert not warned("once, not twice", fixed, moving, None, None, addLinear(rotation))


def test_a_mask_that_lies_elsewhere_is_told(pair, addMask):
    far = addMask(1, shifted(500))
    assert warned("The moving mask 'Lungs' lies outside", *pair, None, far)
    assert not warned("lies outside", *pair, addMask(1), None)


def test_a_very_large_volume_is_told(addVolume, monkeypatch):
    node = addVolume(ct())
    assert not warned("very large", node, None)
    monkeypatch.setattr(checks, "MANY_VOXELS", 12 * 16 * 20 - 1)
    assert warned("very large", node, None)
