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
        parameterNodeWrapper(type("Bad", (), {"__annotations__": {"seed": complex}}))
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
    import slicer

    values = probe.widget.parameters
    node = values.parameterNode
    volume, mask = add_volume(), slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "mask")
    assert node.GetParameter("mask.2") == "True"  # None is the third type of the union
    values.volume, values.seed, values.mask = volume, 4, mask
    assert (node.GetNodeReferenceID("volume"), node.GetNodeReferenceID("mask.1")) == (
        volume.GetID(),
        mask.GetID(),
    )
    assert [node.GetParameter(name) for name in ("seed.0", "speed", "preview")] == ["4", "FAST", "True"]
    assert not node.HasParameter("mask.2") and not node.HasParameter("seed.1")
    values.mask = None
    assert node.GetNodeReferenceID("mask.1") is None and not node.HasParameter("mask.1")


def test_a_removed_node_is_none_for_its_parameter(probe):
    import slicer

    values = probe.logic.getParameterNode()  # bound to no box, which would put its neighbour there
    probe.widget.parameters.disconnectGui(0)
    values.volume = add_volume()
    slicer.mrmlScene.RemoveNode(values.volume)
    assert values.volume is None


def test_the_neighbour_that_a_bound_box_moves_on_to_becomes_the_parameters_value(probe):
    import slicer

    values = probe.widget.parameters
    values.volume, neighbour = add_volume("a"), add_volume("b")
    slicer.mrmlScene.RemoveNode(values.volume)
    assert values.volume is neighbour


def test_values_are_cached_until_the_node_changes(probe, monkeypatch):
    from host.parameters import Parameter

    values, read, original = probe.widget.parameters, [], Parameter.read
    monkeypatch.setattr(Parameter, "read", lambda self, node: read.append(self.name) or original(self, node))
    assert values.isCached("spacing") and values.spacing == 1.5 and read == []
    values.spacing = 1.5
    assert read == ["spacing"]  # the node stays as it is
    values.spacing = 2.0
    assert sorted(set(read)) == sorted(values.allParameters)


@pytest.fixture
def bindings(slicerHost):
    """Function: a wrapper of one parameter "number", and a double spin box of two decimals for it."""
    from typing import Annotated

    import qt
    import slicer
    from slicer.parameterNodeWrapper import Decimals, WithinRange, parameterNodeWrapper

    kind = Annotated[float, WithinRange(0, 10), Decimals(1)]
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    cls = parameterNodeWrapper(type("Numbers", (), {"__annotations__": {"number": kind}}))
    return cls(node), qt.QDoubleSpinBox()


def test_connecting_gives_tags_from_zero_that_cut_a_widget_off_again(bindings):
    values, box = bindings
    assert [values.connectParametersToGui({"number": box}) for _ in range(2)] == [0, 1]
    values.disconnectGui(0)
    box.value = 3
    assert values.number == 3
    values.disconnectGui(1)
    values.disconnectGui(1)
    box.value = 4
    assert values.number == 3
    values.number = 5
    assert box.value == 4


def test_a_widget_that_rounds_while_it_is_connected_does_not_write_back(bindings):
    values, box = bindings
    values.number = 1.234
    values.connectParametersToGui({"number": box})
    assert (values.number, box.value, box.decimals) == (1.234, 1.2, 1)


def test_what_the_validator_refuses_stays_in_the_widget(slicerHost, bindings):
    values, box = bindings
    values.connectParametersToGui({"number": box})
    box.maximum = 20
    box.value = 15
    assert (values.number, box.value) == (0.0, 15)
    assert isinstance(slicerHost.uncaught.pop(), ValueError)


def costOfVisits(values, box, monkeypatch, visits: int) -> int:
    """Values read at one change, after so many bindings that were undone, each of its own wrapper."""
    from host.parameters import Parameter

    for _ in range(visits):
        wrapper = type(values)(values.parameterNode)
        wrapper.disconnectGui(wrapper.connectParametersToGui({"number": box}))
    del wrapper
    read, original = [], Parameter.read
    monkeypatch.setattr(Parameter, "read", lambda self, node: read.append(self.name) or original(self, node))
    values.parameterNode.SetParameter("number", "7")
    return len(read)


def test_a_disconnected_gui_costs_nothing_in_5_12(bindings, monkeypatch):
    assert costOfVisits(*bindings, monkeypatch, visits=20) == 1


def test_a_disconnected_gui_leaves_its_observers_behind_in_5_10(bindings, slicer510, monkeypatch):
    assert costOfVisits(*bindings, monkeypatch, visits=20) == 21


def test_only_the_widgets_that_slicer_knows_for_a_type_can_be_bound(slicerHost):
    from pathlib import Path
    from typing import Annotated

    import ctk
    import qt
    import slicer
    from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

    percent = Annotated[float, WithinRange(0, 100)]
    count = Annotated[int, WithinRange(0, 9)]
    word = Annotated[str, Choice(["a", "b"])]
    kinds = {"percent": percent, "count": count, "free": float, "word": word, "text": str, "path": Path}
    cls = parameterNodeWrapper(type("Many", (), {"__annotations__": {**kinds, "on": bool}, "word": "b"}))
    values = cls(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))

    class Own(qt.QCheckBox):
        pass

    for name, widget in (
        ("percent", ctk.ctkSliderWidget()),
        ("percent", slicer.qMRMLSliderWidget()),
        ("count", qt.QDoubleSpinBox()),
        ("word", ctk.ctkComboBox()),
        ("text", qt.QLabel()),
        ("on", qt.QCheckBox()),
    ):
        values.connectParametersToGui({name: widget})
    for name, widget in (
        ("text", ctk.ctkPathLineEdit()),
        ("on", Own()),
        ("free", ctk.ctkSliderWidget()),
        ("free", qt.QSpinBox()),
        ("path", qt.QLineEdit()),
    ):
        with pytest.raises(RuntimeError):
            values.connectParametersToGui({name: widget})
    values.parameterNode.SetParameter("word", "c")  # as from a newer scene: printed, the widgets stay
    assert {type(error) for error in slicerHost.uncaught} == {ValueError}
    slicerHost.uncaught.clear()
