"""Every choice of outputs: left out, new, filled again, or unusable."""

from __future__ import annotations

import numpy as np
import pytest
from panel.support import contents

MAKE = ("makeTransform", "makeVolume", "makeNodulesInFixed", "makeNodulesInMoving")
OUTPUTS = ("outputTransform", "outputVolume", "nodulesInFixed", "nodulesInMoving")
CLASSES = (
    "vtkMRMLGridTransformNode",
    "vtkMRMLScalarVolumeNode",
    "vtkMRMLMarkupsFiducialNode",
    "vtkMRMLMarkupsFiducialNode",
)
# All, and each alone.
COMBINATIONS = [(True,) * 4, *(tuple(n == wanted for n in range(4)) for wanted in range(4))]


@pytest.fixture
def module(replay, scans, openModule):
    """The opened module with all inputs chosen."""
    module = openModule()
    node = module.logic.getParameterNode()
    for name in ("fixedVolume", "movingVolume", "fixedNodules", "movingNodules"):
        setattr(node, name, getattr(scans, name))
    return module


def dataNodes() -> dict:
    import slicer

    nodes = [
        node
        for kind in ("vtkMRMLTransformNode", "vtkMRMLVolumeNode", "vtkMRMLMarkupsNode")
        for node in slicer.util.getNodesByClass(kind)
    ]
    return {node.GetID(): node for node in nodes}


@pytest.mark.parametrize("wanted", COMBINATIONS, ids=str)
def test_what_is_left_out_is_not_made_and_a_second_run_adds_nothing(module, scans, finish, wanted):
    import slicer

    node, before, untouched = module.logic.getParameterNode(), dataNodes(), contents(scans.all)
    for name, make in zip(MAKE, wanted, strict=True):
        setattr(node, name, make)
    module.ui.applyButton.click()
    results = finish(module).results
    made = [node for ID, node in dataNodes().items() if ID not in before]
    expected = [kind for kind, make in zip(CLASSES, wanted, strict=True) if make]
    assert sorted(node.GetClassName() for node in made) == sorted(expected)
    filled = (results.transform, results.volume, results.nodulesInFixed, results.nodulesInMoving)
    assert [output is not None for output in filled] == list(wanted)
    assert tuple(getattr(node, name) for name in OUTPUTS) == filled

    total = slicer.mrmlScene.GetNumberOfNodes()
    module.ui.applyButton.click()
    again = finish(module).results
    assert (again.transform, again.volume, again.nodulesInFixed, again.nodulesInMoving) == filled
    assert slicer.mrmlScene.GetNumberOfNodes() == total
    assert contents(scans.all) == untouched


def test_without_any_output_there_is_nothing_to_apply(module):
    node = module.logic.getParameterNode()
    for name in MAKE:
        setattr(node, name, False)
    assert not module.ui.applyButton.enabled
    assert module.ui.applyButton.toolTip == module.ui.messageLabel.text == "Choose at least one output."


def test_carrying_no_nodules_is_no_output(module):
    node = module.logic.getParameterNode()
    node.makeTransform = node.makeVolume = False
    assert module.ui.applyButton.enabled
    node.fixedNodules = node.movingNodules = None
    assert not module.ui.applyButton.enabled


def test_a_second_run_replaces_what_the_outputs_hold_and_nothing_else(module, scans, finish):
    import slicer

    node = module.logic.getParameterNode()
    module.ui.applyButton.click()
    first = finish(module).results
    voxels = slicer.util.arrayFromVolume(first.volume).copy()
    places = slicer.util.arrayFromMarkupsControlPoints(first.nodulesInFixed)
    slicer.util.arrayFromVolume(first.volume)[:] = 7
    first.volume.SetName("My warped scan")
    first.nodulesInFixed.SetLocked(False)
    first.nodulesInFixed.RemoveAllControlPoints()
    slicer.mrmlScene.RemoveNode(first.transform)
    assert node.outputTransform is None
    module.ui.applyButton.click()
    second = finish(module).results
    assert second.volume is first.volume and second.volume.GetName() == "My warped scan"
    assert np.array_equal(slicer.util.arrayFromVolume(second.volume), voxels)
    assert np.allclose(slicer.util.arrayFromMarkupsControlPoints(second.nodulesInFixed), places)
    assert second.transform is node.outputTransform and second.transform.GetScene() is slicer.mrmlScene


def test_an_output_deleted_during_the_run_is_made_anew(slicerHost, replay, module, finish):
    import slicer

    node = module.logic.getParameterNode()
    node.outputVolume = chosen = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Chosen")
    replay.plan([["progress", "refinement", 0.5], ["wait"], ["result"]])
    module.ui.applyButton.click()
    slicerHost.waitUntil(lambda: module.logic.registration.stage)
    slicer.mrmlScene.RemoveNode(chosen)
    module.ui.keepButton.click()
    results = finish(module).results
    assert results.volume is not chosen and results.volume.GetScene() is slicer.mrmlScene


@pytest.mark.parametrize(
    ("output", "chosen"),
    [
        ("outputVolume", "fixedVolume"),
        ("outputVolume", "movingVolume"),
        ("nodulesInFixed", "movingNodules"),
        ("nodulesInFixed", "fixedNodules"),
        ("nodulesInMoving", "movingNodules"),
        ("nodulesInMoving", "fixedNodules"),
    ],
)
def test_an_input_is_refused_as_an_output(module, scans, nothingLeft, output, chosen):
    setattr(module.logic.getParameterNode(), output, getattr(scans, chosen))
    isRefused(module, scans, nothingLeft, getattr(scans, chosen).GetName())


def test_a_transform_that_the_run_starts_from_or_that_places_a_scan_is_refused_as_its_output(
    module, scans, nothingLeft
):
    import slicer

    node = module.logic.getParameterNode()
    grid = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", "Earlier result")
    node.outputTransform = node.initialTransform = grid
    isRefused(module, scans, nothingLeft, "Earlier result")
    node.initialTransform = None
    scans.movingVolume.SetAndObserveTransformNodeID(grid.GetID())
    isRefused(module, scans, nothingLeft, "Earlier result")


def test_one_list_cannot_be_two_outputs(module, scans, nothingLeft):
    import slicer

    node = module.logic.getParameterNode()
    both = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Both")
    node.nodulesInFixed = node.nodulesInMoving = both
    isRefused(module, scans, nothingLeft, "Both")


def isRefused(module, scans, nothingLeft, name: str) -> None:
    """Apply starts nothing, changes nothing, and says why in a sentence that names the node."""
    nodes, untouched = nothingLeft.nodes(), contents(scans.all)
    module.ui.applyButton.click()
    assert not module.logic.registration.active
    sentence = module.ui.messageLabel.text
    assert f"'{name}'" in sentence and sentence.endswith(".") and "\n" not in sentence
    nothingLeft.check(nodes)
    assert contents(scans.all) == untouched
    assert module.ui.applyButton.enabled


def test_a_damaged_result_leaves_no_half_made_node(replay, module, scans, finish, nothingLeft):
    replay.plan([["result", True]])
    nodes, untouched = nothingLeft.nodes(), contents(scans.all)
    module.ui.applyButton.click()
    assert finish(module).results is None
    assert "missing or damaged" in module.ui.messageLabel.text
    nothingLeft.check(nodes)
    assert contents(scans.all) == untouched
