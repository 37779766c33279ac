"""The page "Check" in the headless host: its switches, and everything as before once they are put back."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import numpy as np
import pytest
from panel.support import ROOT, addLinear, contents

UI = ROOT / "Resources" / "UI" / "GLIDERegCheck.ui"
SHAPE, SPACING = (30, 36, 42), 5.0
MODES = ("warped", "fade", "flicker", "subtract", "displacement", "jacobian", "difference")


@pytest.fixture
def study(slicerHost):
    """Two scans, the moving one shifted by (6, -9, 3) mm and under a transform of its own; a transform that
    says so, with the volumes it registers; structures and landmarks.
    """
    import slicer
    from check_scene import makeStudy

    return SimpleNamespace(**makeStudy(slicer.mrmlScene, SHAPE, SPACING))


@pytest.fixture
def page(slicerHost, study):
    """The page with its widgets, its parameter node, and the function view(name) of its own views."""
    import check_views
    import slicer
    from check_scene import makePage

    with check_views.layouts() as view:
        made = makePage(ROOT)
        made.page.setParameterNode(made.node)
        made.node.outputTransform = study.transform
        made.page.enter()
        made.view = view
        made.layoutNode = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        yield made
        made.page.close()
        made.widget.deleteLater()


def choose(combo, value):
    combo.setCurrentIndex(combo.findData(value))


def look(nodes):
    """What the views show and how, and what a user sees of nodes."""
    import slicer

    kinds = ("vtkMRMLSliceCompositeNode", "vtkMRMLCrosshairNode")
    views = [n for kind in kinds for n in slicer.util.getNodesByClass(kind)]
    return contents([*nodes, *[n for n in views if "GLIDEReg" not in n.GetID()]])


def nodeIds():
    import slicer

    scene = slicer.mrmlScene
    found = {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}
    return {node for node in found if "GLIDEReg" not in node}


def test_a_result_of_the_registration_is_what_is_checked_with_the_volumes_it_names(page, study):
    assert page.node.checkTransform is study.transform
    assert (page.node.checkFixed, page.node.checkMoving) == (study.fixed, study.moving)
    assert page.ui.checkMeasureButton.enabled and page.ui.checkMessageLabel.isHidden()


def test_what_is_missing_is_said_and_nothing_can_be_pressed(page):
    page.node.checkMoving = None
    assert "Select the fixed and the moving scan" in page.ui.checkMessageLabel.text
    assert not page.ui.checkMeasureButton.enabled and not page.ui.checkLayoutButton.enabled


@pytest.mark.parametrize("mode", MODES)
def test_every_way_of_looking_is_switched_on_and_off_again_without_a_trace(page, study, mode):
    import slicer

    if mode in MODES[4:]:
        page.ui.checkMeasureButton.click()
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    composites[0].SetForegroundVolumeID(study.moving.GetID())
    composites[0].SetForegroundOpacity(0.25)
    before, nodes = look(study.all), nodeIds()
    choose(page.ui.checkOverlayCombo, mode)
    for composite in composites:
        assert composite.GetBackgroundVolumeID() == study.fixed.GetID()
        assert composite.GetForegroundVolumeID() not in (None, study.moving.GetID())
    page.ui.checkBeforeCheck.checked = True
    page.ui.checkBeforeCheck.checked = False
    choose(page.ui.checkOverlayCombo, "")
    assert look(study.all) == before
    page.page.close()
    assert look(study.all) == before and nodeIds() == nodes


@pytest.mark.parametrize("drawing", ["grid", "arrows", "contours"])
def test_drawings_and_outlines_leave_displays_as_they_were(page, study, drawing):
    before, nodes = look(study.all), nodeIds()
    page.node.checkFixedStructures = study.fixedStructures
    choose(page.ui.checkDrawingCombo, drawing)
    page.ui.checkOutlineCheck.checked = True
    display = study.transform.GetDisplayNode()
    assert display.GetVisibility() and display.GetVisibility2D() and display.GetRegionNode() is study.fixed
    page.ui.checkSpacingSlider.value = 20
    assert display.GetGridSpacingMm() == display.GetGlyphSpacingMm() == 20
    shown = study.fixedStructures.GetDisplayNode()
    assert shown.GetVisibility2DOutline() and not shown.GetVisibility2DFill()
    choose(page.ui.checkDrawingCombo, "")
    page.ui.checkOutlineCheck.checked = False
    assert look(study.all) == before and nodeIds() == nodes


def test_flicker_shows_and_hides_the_warped_scan_until_it_is_switched_off(slicerHost, page):
    import slicer

    composite = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
    choose(page.ui.checkOverlayCombo, "flicker")
    seen = set()

    def both():
        seen.add(composite.GetForegroundOpacity())
        return seen == {0.0, 1.0}

    slicerHost.waitUntil(both, seconds=10)
    choose(page.ui.checkOverlayCombo, "fade")
    page.ui.checkOpacitySlider.value = 30
    assert composite.GetForegroundOpacity() == pytest.approx(0.3)
    slicerHost.processEvents(0.7)
    assert composite.GetForegroundOpacity() == pytest.approx(0.3)


def test_the_side_by_side_layout_leaves_the_users_own_and_comes_back_to_it(page, study):
    arrangement = page.layoutNode.GetViewArrangement()
    choose(page.ui.checkLayoutCombo, "All")
    # Views that Slicer has made once stay in the scene.
    page.ui.checkLayoutButton.checked = True
    page.page.close()
    page.page.setParameterNode(page.node)
    before, nodes = look(study.all), nodeIds()
    choose(page.ui.checkLayoutCombo, "All")
    page.ui.checkLayoutButton.checked = True
    assert page.layoutNode.GetViewArrangement() == 7314
    for orientation in ("Axial", "Coronal", "Sagittal"):
        shown = {
            column: page.view(f"GLIDEReg{column}{orientation}").mrmlSliceCompositeNode()
            for column in ("Fixed", "Warped", "Moving")
        }
        assert shown["Fixed"].GetBackgroundVolumeID() == study.fixed.GetID()
        assert shown["Moving"].GetBackgroundVolumeID() == study.moving.GetID()
        assert shown["Warped"].GetForegroundOpacity() == 1.0
        assert page.view(f"GLIDERegFixed{orientation}").mrmlSliceNode().GetOrientation() == orientation
        for column in shown:
            view = page.view(f"GLIDEReg{column}{orientation}").mrmlSliceNode()
            assert view.GetOrientationMarkerType() == view.OrientationMarkerTypeCube
            assert view.GetRulerType() == view.RulerTypeThin
    # The user's own views were not touched meanwhile.
    assert [v for k, v in look(study.all).items() if "Composite" in k] == [
        v for k, v in before.items() if "Composite" in k
    ]
    page.ui.checkLayoutButton.checked = False
    choose(page.ui.checkOverlayCombo, "")
    assert page.layoutNode.GetViewArrangement() == arrangement
    page.page.close()
    assert look(study.all) == before and nodeIds() == nodes


def test_fixed_and_warped_views_move_together_and_moving_ones_do_not(page):
    page.ui.checkLayoutButton.checked = True
    groups = [
        page.view(f"GLIDEReg{column}Axial").mrmlSliceNode().GetViewGroup()
        for column in ("Fixed", "Warped", "Moving")
    ]
    assert groups[0] == groups[1] != groups[2]
    page.ui.checkFollowCheck.checked = False
    fixed, warped, moving = (page.view(f"GLIDEReg{c}Axial") for c in ("Fixed", "Warped", "Moving"))
    still = moving.mrmlSliceNode().GetSliceOffset()
    offset = fixed.mrmlSliceNode().GetSliceOffset() + 12
    fixed.sliceLogic().StartSliceOffsetInteraction()
    fixed.sliceLogic().SetSliceOffset(offset)
    fixed.sliceLogic().EndSliceOffsetInteraction()
    assert warped.mrmlSliceNode().GetSliceOffset() == pytest.approx(offset)
    assert moving.mrmlSliceNode().GetSliceOffset() == still


def test_numbers_appear_in_the_table_with_maps_in_a_folder_and_once_only(page, study):
    import slicer

    node = page.node
    node.checkFixedStructures, node.checkMovingStructures = study.fixedStructures, study.movingStructures
    node.checkFixedLandmarks, node.checkMovingLandmarks = study.fixedLandmarks, study.movingLandmarks
    before = contents(study.all)
    page.ui.checkMeasureButton.click()
    table = node.checkTable.GetTable()
    rows = {
        (table.GetValue(n, 0).ToString(), table.GetValue(n, 1).ToString()): table.GetValue(n, 2).ToDouble()
        for n in range(table.GetNumberOfRows())
    }
    assert rows["Landmark error, mean, after", "2 landmarks"] < 0.1
    assert rows["Landmark error, mean, before", "2 landmarks"] == pytest.approx(np.sqrt(126), abs=0.1)
    assert rows["Dice overlap, after", "Ball"] > 0.97
    assert rows["Displacement, median", "Fixed structures"] == pytest.approx(np.sqrt(126), abs=0.1)
    assert ("Jacobian determinant, minimum", "body") in rows
    assert page.ui.checkTableView.model().rowCount() == table.GetNumberOfRows()
    assert contents(study.all) == before
    count = len(nodeIds())
    page.ui.checkMeasureButton.click()
    assert len(nodeIds()) == count
    assert len(slicer.util.getNodesByClass("vtkMRMLTableNode")) == 1


def test_inverse_consistency_is_offered_only_with_an_independent_transform_back(page, study):
    import slicer

    combo = page.ui.checkOverlayCombo
    assert combo.findData("consistency") < 0
    page.node.checkBack = addLinear("Exchanged", 0, 0, (6, -9, 3))
    choose(combo, "consistency")
    composite = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
    shown = slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID())
    assert shown.GetName().startswith("Inverse consistency error")
    page.node.checkBack = None
    assert combo.findData("consistency") < 0 and combo.currentData == ""


def test_what_cannot_be_compared_is_said_and_the_rest_is_measured(page, study):
    page.node.checkFixedLandmarks = study.fixedLandmarks
    page.node.checkMovingLandmarks = study.strangers
    page.ui.checkMeasureButton.click()
    assert "share no label" in page.ui.checkMessageLabel.text and not page.ui.checkMessageLabel.isHidden()
    assert page.node.checkTable.GetTable().GetNumberOfRows() > 10


def test_maps_of_a_transform_that_has_changed_since_are_said_to_be_out_of_date(page, study):
    message = page.ui.checkMessageLabel
    study.transform.TransformModified()
    assert message.isHidden()
    page.ui.checkMeasureButton.click()
    study.transform.TransformModified()
    assert "has changed" in message.text and not message.isHidden()
    choose(page.ui.checkDrawingCombo, "grid")
    assert "has changed" in message.text
    page.ui.checkMeasureButton.click()
    assert message.isHidden()


def test_a_map_that_is_asked_for_is_made_first(page, study):
    choose(page.ui.checkOverlayCombo, "jacobian")
    from GLIDERegLib.scene.quality.maps import findMap

    assert findMap(study.transform, "jacobian") is not None
    assert page.ui.checkOverlayCombo.currentData == "jacobian"


def test_the_page_stays_as_it_is_when_the_module_is_entered_again(page):
    page.ui.checkLayoutButton.checked = True
    page.page.setParameterNode(type(page.node)(page.node.parameterNode))
    page.page.enter()
    assert page.ui.checkLayoutButton.checked and page.layoutNode.GetViewArrangement() == 7311


def test_a_layout_that_the_user_has_chosen_meanwhile_stays(page):
    page.ui.checkLayoutButton.checked = True
    page.layoutNode.SetViewArrangement(page.layoutNode.SlicerLayoutOneUpRedSliceView)
    page.ui.checkLayoutButton.checked = False
    assert page.layoutNode.GetViewArrangement() == page.layoutNode.SlicerLayoutOneUpRedSliceView


@pytest.mark.parametrize("gone", ["fixed", "moving"])
def test_a_scan_that_is_deleted_ends_what_shows_it(page, study, gone, slicerHost):
    import slicer

    nodes = nodeIds()
    page.ui.checkLayoutButton.checked = True
    choose(page.ui.checkOverlayCombo, "flicker")
    slicer.mrmlScene.RemoveNode(getattr(study, gone))
    slicerHost.processEvents(0.6)
    assert not page.ui.checkLayoutButton.checked and not page.ui.checkLayoutButton.enabled
    assert not {node for node in nodeIds() - nodes if "MarkupsFiducial" in node or "Volume" in node}


def test_another_transform_or_none_gives_the_views_back(page, study, slicerHost):
    import slicer

    before = look([study.fixed, study.moving])
    page.ui.checkLayoutButton.checked = True
    choose(page.ui.checkDrawingCombo, "grid")
    slicer.mrmlScene.RemoveNode(study.transform)
    assert page.node.checkTransform is None
    assert page.layoutNode.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    assert look([study.fixed, study.moving]) == before
    assert not page.ui.checkLayoutButton.checked and page.ui.checkDrawingCombo.currentData == ""


def test_closing_the_scene_ends_everything(page, study, slicerHost):
    import slicer

    page.ui.checkLayoutButton.checked = True
    choose(page.ui.checkOverlayCombo, "flicker")
    page.page.setParameterNode(None)
    slicer.mrmlScene.Clear(0)
    slicerHost.processEvents(0.7)
    assert page.ui.checkOverlayCombo.currentData == "" and not page.ui.checkLayoutButton.checked


def test_segments_are_offered_by_name_and_kept_by_id(page, study):
    combo = page.ui.checkSegmentCombo
    assert not combo.enabled
    page.node.checkFixedStructures = study.fixedStructures
    assert [combo.itemText(n) for n in range(combo.count)] == ["All structures together", "Ball", "Bar"]
    combo.setCurrentIndex(2)
    assert page.node.checkSegment == combo.itemData(2) != ""
    page.node.checkFixedStructures = None
    assert page.node.checkSegment == ""


def test_every_input_says_what_it_is_for_and_the_page_fits_400_pixels(page, slicerHost, tmp_path):
    import qt

    root = ElementTree.parse(UI).getroot()
    names = {"qMRMLNodeComboBox", "QComboBox", "QCheckBox", "QPushButton", "ctkSliderWidget"}
    for widget in root.iter("widget"):
        if widget.get("class") in names:
            assert [p for p in widget.iter("property") if p.get("name") == "toolTip"], widget.get("name")
        if widget.get("class") == "QComboBox":
            policy = widget.find("property[@name='sizeAdjustPolicy']/enum").text
            assert policy == "QComboBox::AdjustToMinimumContentsLengthWithIcon"
    slicerHost.screenshot(page.widget, tmp_path / "page.png", width=400)
    assert qt.QImage(str(tmp_path / "page.png")).width() == 400
    assert page.widget.minimumSizeHint.width() <= 400


def test_every_selector_gets_the_scene(page):
    root = ElementTree.parse(UI).getroot()
    receivers = {c.find("receiver").text for c in root.iter("connection")}
    wanted = {w.get("name") for w in root.iter("widget") if re.match("qMRML(Node|Table)", w.get("class"))}
    assert receivers == wanted and len(wanted) == 12


def test_a_check_that_is_closed_while_its_views_are_laid_out_stays_closed(slicerHost, page):
    import qt

    before = page.layoutNode.GetViewArrangement()
    timer = qt.QTimer(page.widget)
    timer.setSingleShot(True)
    timer.connect("timeout()", page.page.close)
    timer.start(0)
    page.ui.checkLayoutButton.checked = True
    slicerHost.processEvents(0.1)
    assert page.layoutNode.GetViewArrangement() == before
    assert page.page._look.views is None and slicerHost.uncaught == []
