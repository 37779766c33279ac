"""The parameter node wrapper stores, checks and binds parameters as Slicer's does."""

from __future__ import annotations

import numpy as np
import pytest


def add_volume(name="CT", shape=(8, 9, 10), value=0):
    import slicer

    return slicer.util.addVolumeFromArray(np.full(shape, value, np.int16), name=name)


def test_parameters_and_widgets_follow_each_other(slicerHost, probe):
    volume = add_volume()
    shown, values = probe.ui, probe.widget.parameters
    assert (shown.spacingSlider.value, shown.stepsBox.value, shown.previewBox.checked) == (1.5, 7, True)
    assert (shown.deviceBox.currentText, shown.speedBox.currentText) == ("auto", "fast")
    assert shown.maskSelector.nodeTypes == ("vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode")
    assert (shown.spacingSlider.minimum, shown.stepsBox.maximum) == (0.5, 100)
    shown.spacingSlider.value = 2.5
    shown.deviceBox.currentIndex = 1
    shown.speedBox.currentIndex = 0
    shown.previewBox.checked = False
    shown.checkpointEdit.currentPath = "/w/x.pt"
    shown.volumeSelector.setCurrentNode(volume)
    assert (values.spacing, values.device, values.speed.name) == (2.5, "cpu", "SLOW")
    assert (values.preview, str(values.checkpoint), values.volume) == (False, "/w/x.pt", volume)
    values.steps = 50
    values.volume = None
    assert (shown.stepsBox.value, shown.volumeSelector.currentNode()) == (50, None)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("spacing", 9.0, ValueError),
        ("spacing", "1", TypeError),
        ("device", "cuda", ValueError),
        ("steps", None, ValueError),
        ("steps", 1.5, TypeError),
        ("volume", "vtkMRMLScalarVolumeNode1", TypeError),
    ],
)
def test_a_parameter_refuses_what_it_cannot_hold(probe, name, value, error):
    with pytest.raises(error):
        setattr(probe.widget.parameters, name, value)


def test_what_slicers_parameter_node_cannot_do_fails_here_too(slicerHost):
    import qt
    import slicer
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    with pytest.raises(TypeError, match="serializer"):
        parameterNodeWrapper(type("Bad", (), {"__annotations__": {"seed": int | None}}))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    abstract = parameterNodeWrapper(type("Any", (), {"__annotations__": {"mask": slicer.vtkMRMLNode}}))(node)
    with pytest.raises(TypeError, match="abstract"):
        abstract.connectParametersToGui({"mask": slicer.qMRMLNodeComboBox()})
    text = parameterNodeWrapper(type("Text", (), {"__annotations__": {"text": str}}))(node)
    with pytest.raises(RuntimeError, match="Choice"):
        text.connectParametersToGui({"text": qt.QComboBox()})
    with pytest.raises(ValueError, match="nothing"):
        text.setValue("nothing", 1)


def test_a_saved_scene_brings_back_parameters_and_nodes(slicerHost, probe, tmp_path):
    import slicer

    values = probe.widget.parameters
    voxels = np.arange(8 * 9 * 10, dtype=np.int16).reshape(8, 9, 10)
    values.volume = slicer.util.addVolumeFromArray(voxels, name="CT")
    values.mask = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "mask")
    values.seed, values.spacing, values.speed = 11, 3.25, probe.python.Speed.SLOW
    slicerHost.saveScene(tmp_path / "scene.mrb")
    slicer.mrmlScene.Clear(0)
    fresh = probe.logic.getParameterNode()
    assert (fresh.volume, fresh.mask, fresh.seed, fresh.spacing) == (None, None, None, 1.5)
    slicerHost.loadScene(tmp_path / "scene.mrb")
    again = probe.logic.getParameterNode()
    assert np.array_equal(slicer.util.arrayFromVolume(again.volume), voxels)
    assert again.mask.GetName() == "mask"
    assert (again.seed, again.spacing, again.speed.name) == (11, 3.25, "SLOW")


def test_parameters_are_stored_under_slicers_names(probe):
    values = probe.widget.parameters
    node = values.parameterNode
    volume = add_volume()
    values.volume, values.seed = volume, 4
    assert node.GetNodeReferenceID("volume") == volume.GetID()
    assert (node.GetParameter("seed_0"), node.GetParameter("speed"), node.GetParameter("preview")) == (
        "4",
        "FAST",
        "True",
    )
    assert node.GetParameter("mask_2") == "True"  # None is the third type of the union
