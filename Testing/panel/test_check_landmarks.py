"""The section "Landmarks" of the page "Check": found by a stand-in for the engine, decided by buttons."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from panel.support import ROOT

# RAS mm, in the study's fixed scan, and the errors there.
PLACES = np.array([(0.0, 0.0, 0.0), (30.0, 0.0, 0.0), (0.0, 30.0, 0.0)])
ERRORS = np.array([1.0, 7.0, 2.0])


@pytest.fixture
def study(slicerHost):
    import slicer
    from check_scene import makeStudy

    return SimpleNamespace(**makeStudy(slicer.mrmlScene, (30, 36, 42), 5.0))


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """A program in the engine's place: leaves a check of three places, or waits while `hold` exists."""
    from check_scene import SHIFT

    from GLIDERegLib.files.points import PointSet, write_points

    made = tmp_path / "made"
    made.mkdir()
    moving = PLACES + SHIFT
    moving[:, 2] += ERRORS
    columns = {"region": ["lung"] * 3, "near_pleura": [False] * 3}
    for scan, points in (("fixed", PLACES), ("moving", moving)):
        write_points(PointSet(["a", "b", "c"], points * (-1, -1, 1)), made / f"{scan}_landmarks.csv", columns)
    (made / "check.json").write_text(json.dumps({"regions": [{"name": "lung", "uncovered": 0.5}]}))
    program = tmp_path / "python"
    # The last argument but for the folder's flag is the folder of the results.
    program.write_text(
        "#!/bin/sh\n"
        f'while [ -e "{tmp_path}/hold" ]; do sleep 0.05; done\n'
        'for last; do :; done\nmkdir -p "$last"\n'
        f'cp "{made}"/* "$last"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("GLIDEREG_PYTHON", str(program))
    return tmp_path


@pytest.fixture
def page(slicerHost, study, engine):
    from check_scene import makePage

    made = makePage(ROOT)
    made.page.setParameterNode(made.node)
    made.node.outputTransform = study.transform
    made.page.enter()
    yield made
    made.page.close()
    made.widget.deleteLater()


@pytest.fixture
def found(slicerHost, page):
    """The page once its landmarks are found."""
    page.ui.checkFindButton.click()
    slicerHost.waitUntil(lambda: page.ui.checkWorstView.rowCount == 3, seconds=20)
    return page


def cells(view, row):
    return [view.item(row, column).text() for column in range(4)]


def test_the_worst_places_stand_first_and_their_map_is_shown(found, study):
    from GLIDERegLib.scene.quality.maps import LANDMARK_ERROR, findMap

    ui = found.ui
    assert cells(ui.checkWorstView, 0) == ["b", "7.0 mm", "", "lung"]
    assert [ui.checkWorstView.item(row, 0).text() for row in range(3)] == ["b", "c", "a"]
    assert ui.checkFoundLabel.text.startswith("3 landmarks: error 3.33 mm on average")
    assert ui.checkOverlayCombo.currentData == LANDMARK_ERROR
    assert findMap(study.transform, LANDMARK_ERROR) is not None
    assert ui.checkRegionsView.mrmlTableNode() is not None and not ui.checkRegionsView.isHidden()


def test_a_place_that_is_selected_is_in_the_middle_of_the_views(found):
    import slicer

    found.ui.checkNextButton.click()
    (red, *_) = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    middle = slicer.util.arrayFromVTKMatrix(red.GetSliceToRAS())[:3, 3]
    np.testing.assert_allclose(middle, PLACES[1], atol=0.1)


def test_points_are_seen_where_their_own_scan_lies_as_scanned(found, study):
    import check_views

    from GLIDERegLib.scene.quality.landmark_nodes import pointList

    with check_views.layouts() as view:
        found.ui.checkLayoutButton.checked = True
        pair = found.page._pair()
        for scan, columns in (("fixed", ("Fixed", "Warped")), ("moving", ("Moving",))):
            display = pointList(pair, scan).GetDisplayNode()
            for column in ("Fixed", "Warped", "Moving"):
                shown = view(f"GLIDEReg{column}Axial").mrmlSliceNode().GetID()
                assert bool(display.IsDisplayableInView(shown)) == (column in columns)
        assert pointList(pair, "fixed").GetDisplayNode().IsDisplayableInView("vtkMRMLSliceNodeRed")
        found.ui.checkLayoutButton.checked = False


def test_the_map_of_errors_has_its_colour_scale(found):
    import check_views

    with check_views.layouts() as view:
        found.ui.checkLayoutButton.checked = True
        warped = view("GLIDERegWarpedAxial")
        warped.resize(320, 320)
        warped.grab()
        combo = found.ui.checkOverlayCombo

        def scale() -> int:
            """Different colours in the strip where a scale stands."""
            return len(np.unique(warped.grab()[100:230, 300:316].reshape(-1, 3), axis=0))

        for mode, shown in (("warped", False), ("landmarks", True)):
            combo.setCurrentIndex(combo.findData(mode))
            assert (scale() > 50) == shown
        found.ui.checkNextButton.click()
        assert scale() > 50
        found.ui.checkLayoutButton.checked = False


def test_rejecting_takes_a_place_out_of_the_numbers_and_pressing_again_takes_it_back(found):
    ui = found.ui
    ui.checkNextButton.click()
    ui.checkRejectButton.click()
    assert cells(ui.checkWorstView, 0)[2] == "rejected"
    assert ui.checkFoundLabel.text.startswith("2 landmarks: error 1.50 mm")
    ui.checkRejectButton.click()
    assert cells(ui.checkWorstView, 0)[2] == "" and ui.checkFoundLabel.text.startswith("3 landmarks")
    ui.checkConfirmButton.click()
    assert cells(ui.checkWorstView, 0)[2] == "confirmed"


def test_a_search_can_be_stopped_and_leaves_nothing(slicerHost, page, engine, study):
    from GLIDERegLib.scene.quality.landmarks import places

    (engine / "hold").touch()
    page.ui.checkFindButton.click()
    assert page.ui.checkFindButton.text == "Stop"
    page.ui.checkFindButton.click()
    assert page.ui.checkFindButton.text == "Find landmarks"
    assert page.ui.checkFoundLabel.text == "Stopped by user."
    assert places(page.page._pair()) == [] and page.ui.checkWorstView.rowCount == 0


def test_an_engine_that_fails_is_told(slicerHost, page, engine):
    program = engine / "python"
    error = {"message": "No place was found again.", "hint": "", "code": "input"}
    program.write_text(f"#!/bin/sh\necho '{json.dumps(error)}' >&2\nexit 2\n")
    page.ui.checkFindButton.click()
    label = page.ui.checkFoundLabel
    slicerHost.waitUntil(lambda: label.text == "No place was found again.", seconds=20)
    assert page.ui.checkFindButton.enabled


def test_another_pair_has_its_own_landmarks_and_the_first_ones_come_back(found, study):
    found.node.checkFixed = None
    assert found.ui.checkWorstView.rowCount == 0 and not found.ui.checkFindButton.enabled
    found.node.checkFixed = study.fixed
    assert found.ui.checkWorstView.rowCount == 3


def test_the_map_is_asked_for_before_it_is_made(page):
    from GLIDERegLib.scene.quality.maps import LANDMARK_ERROR

    combo = page.ui.checkOverlayCombo
    combo.setCurrentIndex(combo.findData(LANDMARK_ERROR))
    assert page.ui.checkWorstView.isHidden() and page.ui.checkRejectButton.isHidden()
    assert combo.currentData == "" and "Find landmarks" in page.ui.checkMessageLabel.text


def test_closing_the_page_ends_a_search(slicerHost, page, engine):
    import slicer

    (engine / "hold").touch()
    page.ui.checkFindButton.click()
    page.page.close()
    slicerHost.processEvents(0.3)
    assert not page.page._landmarks._search.active
    assert not list(Path(slicer.app.temporaryPath).glob("glidereg-*"))


def test_landmarks_that_were_deleted_do_not_disturb(found):
    import slicer

    for node in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode"):
        if node.GetAttribute("GLIDEReg.Landmarks"):
            slicer.mrmlScene.RemoveNode(node)
    found.ui.checkNextButton.click()
    found.ui.checkRejectButton.click()
    assert found.ui.checkWorstView.rowCount == 0


def test_decisions_on_landmarks_are_taken_back_and_done_again(found):
    ui = found.ui
    assert not ui.checkUndoButton.enabled
    ui.checkNextButton.click()
    ui.checkRejectButton.click()
    ui.checkConfirmButton.click()
    ui.checkNextButton.click()
    assert ui.checkUndoButton.toolTip == "Undo: landmark b confirmed (Alt+Z)"
    ui.checkUndoButton.click()
    assert cells(ui.checkWorstView, 0)[2] == "rejected" and ui.checkWorstView.currentRow() == 0
    assert ui.checkFoundLabel.text.startswith("2 landmarks")
    ui.checkUndoButton.click()
    assert cells(ui.checkWorstView, 0)[2] == "" and not ui.checkUndoButton.enabled
    assert ui.checkFoundLabel.text.startswith("3 landmarks")
    ui.checkRedoButton.click()
    ui.checkRedoButton.click()
    assert cells(ui.checkWorstView, 0)[2] == "confirmed" and not ui.checkRedoButton.enabled


def test_no_decision_survives_a_new_search_or_its_landmarks(slicerHost, found):
    import slicer

    ui = found.ui
    ui.checkNextButton.click()
    ui.checkRejectButton.click()
    ui.checkFindButton.click()
    slicerHost.waitUntil(lambda: ui.checkFindButton.text == "Find landmarks", seconds=20)
    assert not ui.checkUndoButton.enabled and cells(ui.checkWorstView, 0)[2] == ""
    ui.checkRejectButton.click()
    for node in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode"):
        if node.GetAttribute("GLIDEReg.Landmarks"):
            slicer.mrmlScene.RemoveNode(node)
    ui.checkUndoButton.click()
    assert not ui.checkUndoButton.enabled
