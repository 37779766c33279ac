"""What Slicer's node boxes, table views and segment selectors do by themselves."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

VOLUME, LABELS = "vtkMRMLScalarVolumeNode", "vtkMRMLLabelMapVolumeNode"


def add(name: str, kind: str = VOLUME):
    import slicer

    return slicer.mrmlScene.AddNewNodeByClass(kind, name)


def made(nodeTypes=(VOLUME,), scene: bool = True, **properties):
    """A box that lists these classes."""
    import slicer

    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = nodeTypes
    for name, value in properties.items():
        setattr(box, name, value)
    if scene:
        box.setMRMLScene(slicer.mrmlScene)
    return box


def told(box) -> list:
    """What currentNodeChanged says from now on, by names."""
    said = []
    box.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: said.append(node and node.GetName()))
    return said


def names(box) -> list[str]:
    return [box.nodeFromIndex(n).GetName() for n in range(box.nodeCount())]


def menu(box) -> list[str]:
    texts = [box._combo.itemText(n) for n in range(box._combo.count)]
    return texts[texts.index("") + 1 :] if "" in texts else []


def press(box, text: str) -> None:
    box._combo.activated.emit(box._combo.findText(text))


@pytest.mark.parametrize("none", [True, False])
def test_nothing_is_chosen_when_nodes_come_in_and_a_choice_is_told_by_three_signals(slicerHost, none):
    box, said = made(noneEnabled=none), []
    for signal in (
        "currentNodeChanged(vtkMRMLNode*)",
        "currentNodeChanged(bool)",
        "currentNodeIDChanged(QString)",
    ):
        box.connect(signal, said.append)
    _, two = add("one"), add("two")
    add("model", "vtkMRMLModelNode")
    assert names(box) == ["one", "two"] and box.currentNode() is None and said == []
    box.setCurrentNode(two)
    box.setCurrentNode(two)
    assert said == [two, True, two.GetID()] and box.currentNodeID == two.GetID()


@pytest.mark.parametrize("menuEntries", [True, False])
@pytest.mark.parametrize("none", [True, False])
@pytest.mark.parametrize(("gone", "then"), [("b", "c"), ("c", "b"), ("a", "b")])
def test_when_the_current_node_is_removed_the_next_one_is_current_or_else_the_last(
    slicerHost, menuEntries, none, gone, then
):
    import slicer

    box = made(noneEnabled=none, addEnabled=menuEntries, removeEnabled=menuEntries)
    nodes = {name: add(name) for name in "abc"}
    box.setCurrentNode(nodes[gone])
    said, about = told(box), []
    box.connect("nodeAboutToBeRemoved(vtkMRMLNode*)", lambda node: about.append(node.GetName()))
    slicer.mrmlScene.RemoveNode(nodes[gone])
    assert (box.currentNode(), said, about) == (nodes[then], [then], [gone])


@pytest.mark.parametrize("none", [True, False])
def test_when_the_only_node_is_removed_none_is_current(slicerHost, none):
    import slicer

    box = made(noneEnabled=none)
    box.setCurrentNode(add("only"))
    said = told(box)
    slicer.mrmlScene.RemoveNode(box.currentNode())
    assert (box.currentNode(), said) == (None, [None])


def test_hiding_the_current_node_moves_on_too_and_showing_one_above_tells_again(slicerHost):
    box = made(noneEnabled=True)
    nodes = [add(name) for name in "abc"]
    box.setCurrentNode(nodes[0])
    said = told(box)
    nodes[0].SetHideFromEditors(True)
    assert (names(box), said) == (["b", "c"], ["b"])
    nodes[0].SetHideFromEditors(False)
    assert (names(box), said) == (["a", "b", "c"], ["b", "b"])


def test_a_node_removed_above_the_current_one_has_it_told_again_and_one_below_does_not(slicerHost):
    import slicer

    box = made(noneEnabled=True)
    nodes = [add(name) for name in "abc"]
    box.setCurrentNode(nodes[1])
    said = told(box)
    slicer.mrmlScene.RemoveNode(nodes[2])
    assert said == []
    slicer.mrmlScene.RemoveNode(nodes[0])
    assert said == ["b"] and box.currentNode() is nodes[1]


def test_observers_of_ordinary_priority_come_before_the_boxes_when_a_node_goes(slicerHost):
    import slicer

    box, seen = made(noneEnabled=True), []
    nodes = [add(name) for name in "ab"]
    box.setCurrentNode(nodes[0])
    scene = slicer.mrmlScene
    tag = scene.AddObserver(scene.NodeAboutToBeRemovedEvent, lambda *_: seen.append(box.currentNode()))
    added = scene.AddObserver(scene.NodeAddedEvent, lambda *_: seen.append(box.nodeCount()))
    scene.RemoveNode(nodes[0])
    add("c")
    for observer in (tag, added):
        scene.RemoveObserver(observer)
    assert seen == [nodes[0], 2]


def test_renaming_the_current_node_is_a_change_in_5_12(slicerHost):
    box = made(noneEnabled=True)
    node = add("old")
    box.setCurrentNode(node)
    said = told(box)
    node.SetName("new")
    assert said == ["new"] and box._combo.currentText == "new"


def test_renaming_the_current_node_is_no_change_in_5_10(slicerHost, slicer510):
    box = made(noneEnabled=True)
    node = add("old")
    box.setCurrentNode(node)
    said = told(box)
    node.SetName("new")
    assert said == [] and box._combo.currentText == "new"


def test_a_node_that_the_box_does_not_list_selects_none(slicerHost):
    box = made(noneEnabled=True)
    node, stranger = add("a"), add("labels", "vtkMRMLModelNode")
    box.setCurrentNode(node)
    said = told(box)
    box.setCurrentNode(stranger)
    box.setCurrentNode(stranger)
    assert (box.currentNode(), said) == (None, [None])


@pytest.mark.parametrize(("none", "expected"), [(True, [None]), (False, [])])
def test_other_node_types_that_leave_the_current_node_out(slicerHost, none, expected):
    box = made(noneEnabled=none)
    box.setCurrentNode(add("a"))
    said = told(box)
    box.nodeTypes = ["vtkMRMLModelNode"]
    assert (box.currentNode(), said) == (None, expected)


def test_a_choice_made_before_there_is_a_scene_is_made_when_it_comes(slicerHost):
    import slicer

    nodes = [add(name) for name in "ab"]
    box = made(scene=False, noneEnabled=True)
    assert not box.enabled
    box.setCurrentNode(nodes[1])
    assert box.currentNode() is None
    said = told(box)
    box.setMRMLScene(slicer.mrmlScene)
    assert (box.enabled, box.currentNode(), said) == (True, nodes[1], ["b"])


def test_a_base_name_is_kept_for_the_classes_that_were_listed_then(slicerHost):
    import slicer

    box = slicer.qMRMLNodeComboBox()
    with pytest.warns(UserWarning, match="baseName is lost"):
        box.baseName = "Lost"
    box.nodeTypes = [VOLUME]
    assert box.baseName == ""
    box.baseName = "Warped"
    box.setMRMLScene(slicer.mrmlScene)
    assert [box.addNode().GetName() for _ in range(2)] == ["Warped", "Warped_1"]
    box.nodeTypes = ["vtkMRMLGridTransformNode"]
    assert (box.baseName, box.addNode().GetName()) == ("", "GridTransform")
    box.nodeTypes = [VOLUME]
    assert box.baseName == "Warped"


def test_the_menu_has_slicers_entries_in_its_order(slicerHost):
    box = made()
    assert menu(box) == ["Create new Volume", "Delete current Volume"]
    box.renameEnabled = box.editEnabled = True
    assert menu(box) == [
        "Rename current Volume",
        "Edit current Volume",
        "Create new Volume",
        "Create new Volume as...",
        "Delete current Volume",
    ]
    box.nodeTypes = [VOLUME, LABELS]
    box.addEnabled = False
    assert menu(box) == ["Rename current node", "Edit current node", "Delete current node"]
    box.renameEnabled = box.editEnabled = box.removeEnabled = False
    assert menu(box) == []
    assert box._combo.placeholderText == "Select a Volume"


def test_add_node_tells_that_a_user_added_it_and_the_menu_says_so_once_more(slicerHost):
    box, said = made(renameEnabled=True), []
    for name in ("nodeAddedByUser", "nodeAddedByUserAction"):
        box.connect(f"{name}(vtkMRMLNode*)", lambda node, name=name: said.append((name, node.GetName())))
    with pytest.warns(UserWarning, match="not among the node types"):
        assert box.addNode(LABELS) is None
    assert box.addNode() is box.currentNode()
    assert said == [("nodeAddedByUser", "Volume")]
    press(box, "Create new Volume")
    assert said[1:] == [("nodeAddedByUser", "Volume_1"), ("nodeAddedByUserAction", "Volume_1")]
    slicerHost.dialogs.answers += ["", "Mine"]
    press(box, "Create new Volume as...")
    press(box, "Create new Volume as...")
    assert box.nodeCount() == 3 and box.currentNode().GetName() == "Mine"
    assert said[-1] == ("nodeAddedByUserAction", "Mine")


def test_5_10_tells_twice_that_a_user_added_a_node_and_knows_no_signal_for_the_menu(slicerHost, slicer510):
    from host.pythonqt import complaints

    box, said = made(), []
    box.connect("nodeAddedByUser(vtkMRMLNode*)", lambda node: said.append(node.GetName()))
    assert not box.connect("nodeAddedByUserAction(vtkMRMLNode*)", said.append)
    complaints.clear()
    press(box, "Create new Volume")
    assert said == ["Volume", "Volume"]


def test_choosing_in_the_list_is_told_after_the_change_and_the_menu_is_no_choice(slicerHost):
    box, said = made(noneEnabled=True), []
    nodes = [add(name) for name in "ab"]
    box.connect("currentNodeChanged(bool)", lambda valid: said.append(("changed", valid)))
    box.connect(
        "nodeActivated(vtkMRMLNode*)", lambda node: said.append(("activated", node and node.GetName()))
    )
    press(box, "b")
    assert box.currentNode() is nodes[1]
    press(box, "None")
    assert said == [("changed", True), ("activated", "b"), ("changed", False), ("activated", None)]
    box.setCurrentNode(nodes[0])
    said.clear()
    press(box, "Delete current Volume")
    assert said == [("changed", True)] and names(box) == ["b"]


def test_the_filter_follows_slicers_rules(slicerHost):
    volume, labels = add("volume"), add("labels", LABELS)
    add("hidden").SetHideFromEditors(True)
    box = made()
    assert names(box) == ["volume", "labels"]
    box.hideChildNodeTypes = [LABELS]
    assert names(box) == ["volume"]
    box.showChildNodeTypes = False
    box.nodeTypes = [VOLUME, LABELS]
    assert names(box) == ["volume", "labels"]  # hideChildNodeTypes counts only with showChildNodeTypes
    box.showHidden = True
    assert names(box) == ["volume", "labels", "hidden"]
    volume.SetAttribute("role", "fixed")
    volume.SetAttribute("part", "lung")
    labels.SetAttribute("role", "fixed")
    box.addAttribute(VOLUME, "role", "moving")
    assert names(box) == ["labels"]
    box.addAttribute(VOLUME, "part")
    assert names(box) == ["volume", "labels"]  # one attribute for each type, the last
    everything = made(nodeTypes=[])
    assert {"volume", "labels"} < set(names(everything)) and everything.nodeCount() > 2


def test_the_list_stands_still_while_the_scene_closes_and_loses_its_choice_once(slicerHost):
    import slicer

    box = made(noneEnabled=True)
    nodes = [add(name) for name in "abc"]
    box.setCurrentNode(nodes[0])
    said, during = told(box), []
    scene = slicer.mrmlScene
    tag = scene.AddObserver(scene.NodeRemovedEvent, lambda *_: during.append(len(said)))
    scene.Clear(0)
    scene.RemoveObserver(tag)
    assert during and not any(during)
    assert (said, box.nodeCount(), box.currentNode()) == ([None], 0, None)


def test_importing_a_scene_fills_the_list_anew_and_leaves_nothing_selected(slicerHost, tmp_path):
    import slicer

    add("imported")
    slicerHost.saveScene(tmp_path / "scene.mrb")
    slicer.mrmlScene.Clear(0)
    box = made(noneEnabled=True)
    box.setCurrentNode(add("here"))
    said, counts = told(box), []
    scene = slicer.mrmlScene
    tag = scene.AddObserver(scene.NodeAddedEvent, lambda *_: counts.append(box.nodeCount()))
    slicerHost.loadScene(tmp_path / "scene.mrb", clear=False)
    scene.RemoveObserver(tag)
    assert counts and set(counts) == {1}
    assert (names(box), said, box.currentNode()) == (["here", "imported"], [None], None)


def test_a_box_demands_the_width_of_its_longest_name_unless_its_policy_ignores_it(slicerHost):
    import qt

    add("x" * 300)
    window, box = qt.QWidget(), made()
    layout = qt.QVBoxLayout(window)
    layout.addWidget(box)
    assert layout.totalMinimumSize().width() > 1000
    box.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)
    assert layout.totalMinimumSize().width() < 100


def test_a_batch_does_not_hold_the_list_back(slicerHost):
    import slicer

    box = made()
    slicer.mrmlScene.StartState(slicer.mrmlScene.BatchProcessState)
    add("a")
    assert box.nodeCount() == 1
    slicer.mrmlScene.EndState(slicer.mrmlScene.BatchProcessState)


@pytest.fixture
def table(slicerHost):
    """A table node of one column and two rows."""
    import vtk

    node, column = add("table", "vtkMRMLTableNode"), vtk.vtkDoubleArray()
    column.SetName("volume")
    for value in (1.5, 2.5):
        column.InsertNextValue(value)
    node.AddColumn(column)
    return node


def test_a_table_view_resizes_its_columns_whenever_it_is_given_a_node_and_not_when_that_changes(table):
    import slicer

    view, told = slicer.qMRMLTableView(), []
    view.connect("selectionChanged()", lambda: told.append(1))
    view.setMRMLTableNode(table)
    view.setColumnWidth(0, 333)
    table.GetTable().SetValue(0, 0, 7.5)
    table.Modified()
    assert (view.columnWidth(0), view.model().data(view.model().index(0, 0))) == (333, "7.5")
    view.setMRMLTableNode(table)
    assert view.columnWidth(0) != 333 and len(told) == 2


def test_a_table_view_shows_title_and_unit_and_writes_into_a_table_that_is_not_locked(table):
    import qt
    import slicer

    table.SetColumnTitle("volume", "Volume")
    table.SetColumnUnitLabel("volume", "mm3")
    view = slicer.qMRMLTableView()
    view.setMRMLTableNode(table)
    assert view.model().headerData(0, qt.Qt.Horizontal) == "Volume [mm3]"
    view.model().setData(view.model().index(1, 0), "9")
    assert table.GetTable().GetValue(1, 0).ToDouble() == 9
    table.SetLocked(True)
    assert not view.model().flags(view.model().index(1, 0)) & qt.Qt.ItemIsEditable


def test_a_segment_selector_goes_to_the_first_segment_unless_none_is_a_choice(slicerHost):
    import slicer

    node = add("segments", "vtkMRMLSegmentationNode")
    ids = [node.GetSegmentation().AddEmptySegment("", name) for name in ("lung", "tumour")]
    selector, said = slicer.qMRMLSegmentSelectorWidget(), []
    selector.setMRMLScene(slicer.mrmlScene)
    selector.connect("currentSegmentChanged(QString)", said.append)
    selector.setCurrentNode(node)
    assert selector.currentSegmentID() == ids[0] and said == [ids[0]]
    selector.setCurrentSegmentID("unknown")
    selector.setCurrentSegmentID(ids[1])
    assert said == [ids[0], ids[1]]
    node.GetSegmentation().RemoveSegment(ids[1])
    assert selector.currentSegmentID() == ids[0] and said[2:] == [ids[0]]
    other = slicer.qMRMLSegmentSelectorWidget()
    other.noneEnabled = True
    other.setMRMLScene(slicer.mrmlScene)
    other.setCurrentNode(node)
    assert other.currentSegmentID() == ""


def test_a_box_that_is_deleted_hears_nothing_more_of_the_scene(slicerHost, monkeypatch):
    """Else each test of the panel would be slower than the one before, by what Python keeps of its panel."""
    import shiboken6

    from host import observing

    kept, heard = made(), []
    shiboken6.delete(kept)
    slicerHost.reset()
    valid = shiboken6.isValid
    looked = SimpleNamespace(isValid=lambda widget: heard.append(widget is kept) or valid(widget))
    monkeypatch.setattr(observing, "shiboken6", looked)
    add("CT")
    assert not any(heard)
