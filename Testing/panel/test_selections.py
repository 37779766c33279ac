"""What is chosen stays chosen, or nothing is: nodes that go, scenes that come in, visits, tables in sight."""

from __future__ import annotations

import typing
from types import NoneType
from xml.etree import ElementTree

import numpy as np
import pytest
from host.fixtures import slicer510  # noqa: F401
from panel.support import ROOT, contents

PAGES = ("GLIDEReg", "GLIDERegCheck", "GLIDERegNodules", "GLIDERegSequence", "GLIDERegFollowUp", "GLIDERegQA")
OUTPUTS = ("outputTransform", "outputVolume", "nodulesInFixed", "nodulesInMoving")


@pytest.fixture
def module(fake, openModule):
    return openModule()


def nodeParameters(module) -> dict[str, str]:
    """Each parameter that holds a node, with the first class it may be of."""
    import slicer

    found = {}
    for name, kind in typing.get_type_hints(module.python.GLIDERegParameterNode).items():
        first = next(k for k in typing.get_args(kind) or (kind,) if k is not NoneType)
        if isinstance(first, type) and issubclass(first, slicer.vtkMRMLNode):
            found[name] = first.__name__
    return found


def boxes(module, parameter: str | None = None) -> dict:
    """The node boxes of all pages by parameter, or those of one."""
    found = {}
    for page in module.widget.pages:
        for widget in vars(page.ui).values():
            name = widget.property("SlicerParameterName")
            if widget.className() == "qMRMLNodeComboBox" and parameter in (None, name):
                found.setdefault(name, []).append(widget)
    return found


def add(kind: str, name: str):
    import slicer

    return slicer.mrmlScene.AddNewNodeByClass(kind, name)


@pytest.mark.parametrize("how", ["deleted", "hidden"])
def test_a_node_that_goes_is_no_longer_chosen_and_its_neighbour_never_is(module, how):
    import slicer

    node = module.logic.getParameterNode()
    parameters = nodeParameters(module)
    assert len(parameters) > 25 and set(boxes(module)) < set(parameters)
    for name, kind in parameters.items():
        before, chosen, after = (add(kind, f"{kind} {place}") for place in ("before", "chosen", "after"))
        setattr(node, name, chosen)
        assert all(box.currentNode() is chosen for box in boxes(module).get(name, ())), name
        untouched = {other: getattr(node, other) for other in parameters if other != name}
        if how == "deleted":
            slicer.mrmlScene.RemoveNode(chosen)
        else:
            chosen.SetHideFromEditors(True)
        assert getattr(node, name) is None, name
        assert all(box.currentNode() is None for box in boxes(module).get(name, ())), name
        # The check's and the sequence's scans follow from others, which are still nobody's.
        assert {other: getattr(node, other) for other in untouched} == untouched, name
        for neighbour in (before, after):
            slicer.mrmlScene.RemoveNode(neighbour)


def test_a_node_that_two_parameters_hold_is_chosen_by_neither_afterwards(module):
    import slicer

    node = module.logic.getParameterNode()
    add("vtkMRMLScalarVolumeNode", "neighbour")
    chosen = add("vtkMRMLScalarVolumeNode", "chosen")
    add("vtkMRMLScalarVolumeNode", "next")
    node.outputVolume = node.checkMoving = chosen
    slicer.mrmlScene.RemoveNode(chosen)
    assert (node.outputVolume, node.checkMoving) == (None, None)


def test_after_its_outputs_are_deleted_a_run_makes_new_ones_and_leaves_the_neighbours_alone(
    replay, scans, openModule, finish
):
    import slicer

    module = openModule()
    node = module.logic.getParameterNode()
    for name in ("fixedVolume", "movingVolume", "fixedNodules", "movingNodules"):
        setattr(node, name, getattr(scans, name))
    before = slicer.util.addVolumeFromArray(np.full((4, 5, 6), 7, np.int16), name="Another patient")
    module.ui.applyButton.click()
    assert finish(module).results
    after = slicer.util.addVolumeFromArray(np.full((4, 5, 6), 8, np.int16), name="Yet another")
    others = [before, after, add("vtkMRMLGridTransformNode", "Own transform")]
    others.append(add("vtkMRMLMarkupsFiducialNode", "Own points"))
    others[-1].AddControlPoint(1, 2, 3)
    untouched = contents([*others, *scans.all])
    for name in OUTPUTS:
        slicer.mrmlScene.RemoveNode(getattr(node, name))
    assert [getattr(node, name) for name in OUTPUTS] == [None] * 4
    module.ui.applyButton.click()
    results = finish(module).results
    assert contents([*others, *scans.all]) == untouched
    made = (results.transform, results.volume, results.nodulesInFixed, results.nodulesInMoving)
    assert tuple(getattr(node, name) for name in OUTPUTS) == made and not set(made) & set(others)


def offered(box) -> set[str]:
    return {box.nodeFromIndex(n).GetName() for n in range(box.nodeCount())}


def test_every_box_offers_what_its_ui_file_says_and_its_parameter_can_hold_it(module):
    import slicer

    kinds = ("LinearTransform", "GridTransform", "BSplineTransform", "Transform", "ScalarVolume")
    kinds += ("LabelMapVolume", "VectorVolume", "Segmentation", "MarkupsFiducial", "MarkupsCurve")
    kinds += ("Sequence", "SequenceBrowser", "Table", "Model")
    nodes = {kind: add(f"vtkMRML{kind}Node", kind) for kind in kinds}
    node, number = module.logic.getParameterNode(), 0
    for page, name in zip(module.widget.pages, PAGES, strict=True):
        for widget in ElementTree.parse(ROOT / "Resources" / "UI" / f"{name}.ui").iter("widget"):
            if widget.get("class") != "qMRMLNodeComboBox":
                continue
            box = getattr(page.ui, widget.get("name"))
            alone = slicer.qMRMLNodeComboBox()
            types = widget.findall("property[@name='nodeTypes']/stringlist/string")
            alone.nodeTypes = [kind.text for kind in types]
            children = widget.find("property[@name='showChildNodeTypes']/bool")
            alone.showChildNodeTypes = children is None or children.text == "true"
            alone.setMRMLScene(slicer.mrmlScene)
            assert offered(box) == offered(alone) != set(), widget.get("name")
            for kind in offered(box):
                box.setCurrentNode(nodes[kind])
                assert getattr(node, box.property("SlicerParameterName")) is nodes[kind]
            number += 1
    assert number > 20
    transforms = {"LinearTransform", "GridTransform", "BSplineTransform", "Transform"}
    assert offered(module.ui.initialTransformSelector) == transforms


def costOfAChange(module, monkeypatch) -> tuple[int, int]:
    """How often values are read and widgets written when one number of the module's is changed."""
    from host.connectors import Connector
    from host.parameters import Parameter

    calls = {"read": 0, "write": 0}

    def counting(method, original):
        def call(*args):
            calls[method] += 1
            return original(*args)

        return call

    node = module.logic.getParameterNode()
    with monkeypatch.context() as patch:
        patch.setattr(Parameter, "read", counting("read", Parameter.read))
        patch.setattr(Connector, "write", counting("write", Connector.write))
        node.seed += 1
    return calls["read"], calls["write"]


def visitManyTimes(module, monkeypatch) -> None:
    before = costOfAChange(module, monkeypatch)
    assert min(before) > 0
    for _ in range(10):
        module.exit()
        module.enter()
    assert costOfAChange(module, monkeypatch) == before


def test_visits_make_no_change_dearer_in_5_10(slicer510, module, monkeypatch):  # noqa: F811
    visitManyTimes(module, monkeypatch)


def test_visits_make_no_change_dearer_in_5_12(module, monkeypatch):
    visitManyTimes(module, monkeypatch)


def test_a_visit_proposes_the_scans_that_have_come_meanwhile(module, plain):
    node = module.logic.getParameterNode()
    assert node.fixedVolume is None
    module.exit()
    scans = plain("Follow-up"), plain("Baseline", seed=1)
    module.enter()
    assert (node.fixedVolume, node.movingVolume) == scans


@pytest.fixture
def sceneFile(slicerHost, plain, tmp_path):
    """A saved scene of one volume "Guest" and no module's parameters."""
    import slicer

    plain("Guest", seed=5)
    slicerHost.saveScene(tmp_path / "guest.mrb")
    slicer.mrmlScene.Clear(0)
    return tmp_path / "guest.mrb"


def test_adding_a_scene_leaves_what_is_chosen_and_shows_it(sceneFile, slicerHost, module, plain):
    import slicer

    node = module.logic.getParameterNode()
    node.fixedVolume, node.movingVolume = plain("Follow-up"), plain("Baseline", seed=1)
    node.checkFixed, node.fixedMask = node.fixedVolume, add("vtkMRMLLabelMapVolumeNode", "Lung")
    before = {name: getattr(node, name) for name in nodeParameters(module)}
    slicerHost.loadScene(sceneFile, clear=False)
    assert slicer.util.getNode("Guest")
    node = module.logic.getParameterNode()
    assert {name: getattr(node, name) for name in before} == before
    for name, found in boxes(module).items():
        assert all(box.currentNode() is before[name] for box in found), name
    module.ui.movingSelector.setCurrentNode(slicer.util.getNode("Guest"))
    assert node.movingVolume.GetName() == "Guest"


def test_loading_a_scene_shows_on_every_page_what_was_chosen_in_it(slicerHost, module, plain, tmp_path):
    node, chosen = module.logic.getParameterNode(), {}
    for name, kind in nodeParameters(module).items():
        if name in boxes(module):
            chosen[name] = plain(name) if kind == "vtkMRMLScalarVolumeNode" else add(kind, name)
            setattr(node, name, chosen[name])
    names = {name: getattr(node, name).GetName() for name in chosen}
    slicerHost.saveScene(tmp_path / "scene.mrb")
    slicerHost.loadScene(tmp_path / "scene.mrb")
    node = module.logic.getParameterNode()
    assert {name: getattr(node, name).GetName() for name in names} == names
    for name, found in boxes(module).items():
        assert [box.currentNode().GetName() for box in found] == [names[name]] * len(found), name


def test_a_run_that_ends_while_a_scene_comes_in_is_told_afterwards(
    slicerHost, replay, scans, openModule, finish
):
    import slicer

    module, scene = openModule(), slicer.mrmlScene
    node = module.logic.getParameterNode()
    node.fixedVolume, node.movingVolume = scans.fixedVolume, scans.movingVolume
    module.ui.applyButton.click()
    scene.StartState(scene.ImportState)
    slicerHost.processEvents(1.0)
    assert module.logic.registration.results is None
    scene.EndState(scene.ImportState)
    results = finish(module).results
    assert results.volume is module.logic.getParameterNode().outputVolume
    assert module.ui.progressLabel.text.startswith("Registered in")


@pytest.mark.parametrize(
    ("page", "view", "parameter"),
    [(1, "checkTableView", "checkTable"), (2, "matchView", "matchTable"), (3, "tracksView", "sequenceTable")],
)
def test_column_widths_that_the_user_has_drawn_stay_when_a_parameter_changes(module, page, view, parameter):
    import slicer

    node, view = module.logic.getParameterNode(), getattr(module.widget.pages[page].ui, view)
    table = add("vtkMRMLTableNode", "numbers")
    slicer.util.updateTableFromArray(table, np.ones(3), "value")
    setattr(node, parameter, table)
    assert view.mrmlTableNode() is table
    view.setColumnWidth(0, 321)
    node.seed = 5
    module.exit()
    module.enter()
    assert view.columnWidth(0) == 321
    slicer.mrmlScene.RemoveNode(table)
    assert view.mrmlTableNode() is None
