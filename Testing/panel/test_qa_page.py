"""The page "QA": the module notes what is looked at, numbers stand beside tolerances, a record is sealed."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

PURPOSE, REGION = "follow-up of nodules", "left lung, lower third"


@pytest.fixture
def study(slicerHost):
    import slicer
    from check_scene import makeStudy

    return SimpleNamespace(**makeStudy(slicer.mrmlScene, (30, 36, 42), 5.0))


@pytest.fixture
def opened(slicerHost, fake, openModule, study, monkeypatch):
    """The module with the study on its page Check: module, node, ui of QA, check of Check."""
    from GLIDERegLib.panel import hashing, looking

    monkeypatch.setattr(looking, "LOOK_MILLISECONDS", 50)
    # Hashed in one go, however busy the computer is.
    monkeypatch.setattr(hashing, "STEP_SECONDS", 60.0)
    module = openModule()
    node = module.logic.getParameterNode()
    node.checkTransform = study.transform
    pages = module.widget.pages
    return SimpleNamespace(module=module, node=node, page=pages[5], ui=pages[5].ui, check=pages[1])


def enter(opened):
    opened.module.widget.tabs.setCurrentIndex(1)
    opened.module.widget.tabs.setCurrentIndex(5)


def look(slicerHost, opened, mode="warped"):
    """Shows something on the page Check, long enough."""
    opened.module.widget.tabs.setCurrentIndex(1)
    combo = opened.check.ui.checkOverlayCombo
    combo.setCurrentIndex(combo.findData(mode))
    slicerHost.processEvents(0.2)
    opened.module.widget.tabs.setCurrentIndex(5)


def request(opened):
    node = opened.node
    node.qaPurpose, node.qaRegion, node.qaAccuracy, node.qaLevel = PURPOSE, REGION, 2.0, "1"
    opened.ui.qaNameEdit.text = "A. Physicist"


def column(view, number=0):
    return [view.item(row, number).text() for row in range(view.rowCount)]


def landmarks(study, errors=(1.0, 7.0)):
    """Landmarks with these errors, as a search leaves them: one in the region that matters, one elsewhere."""
    from check_scene import SHIFT

    from GLIDERegLib.scene.quality.landmark_nodes import newPointList, writeTable
    from GLIDERegLib.scene.quality.landmarks import refresh
    from GLIDERegLib.scene.registration.pair import makePair

    pair = makePair(study.fixed, study.moving, study.transform)
    lists = [newPointList(pair, scan) for scan in ("fixed", "moving")]
    for n, (error, region) in enumerate(zip(errors, (REGION, "body outside the lungs"), strict=True)):
        place = np.array([20.0 * n, 0, 0])
        for node, point in zip(lists, (place, place + SHIFT + (0, 0, error)), strict=True):
            node.SetNthControlPointDescription(node.AddControlPoint(point.tolist(), f"L{n}"), region)
    writeTable(pair, {REGION: 31.0, "body outside the lungs": 60.0}, [])
    refresh(pair)
    return pair


def test_what_stays_in_sight_is_noted_and_what_passes_is_not(slicerHost, opened):
    look(slicerHost, opened)
    combo = opened.check.ui.checkOverlayCombo
    for passing in ("subtract", ""):
        combo.setCurrentIndex(combo.findData(passing))
    slicerHost.processEvents(0.2)
    enter(opened)
    assert column(opened.ui.qaLookedView) == ["Warped scan (ordinary views)"]


def test_a_look_at_the_transform_as_it_was_counts_no_more(slicerHost, opened, study):
    import slicer

    look(slicerHost, opened)
    assert opened.ui.qaLookedView.rowCount == 1
    turn = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Moved by hand")
    turn.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.diag([-1.0, -1.0, 1.0, 1.0])))
    study.transform.SetAndObserveTransformNodeID(turn.GetID())
    enter(opened)
    assert opened.ui.qaLookedView.rowCount == 0
    study.transform.SetAndObserveTransformNodeID(None)
    enter(opened)
    assert opened.ui.qaLookedView.rowCount == 1


def test_places_that_were_visited_are_counted_among_the_worst(slicerHost, opened, study):
    landmarks(study)
    opened.module.widget.tabs.setCurrentIndex(1)
    opened.check._landmarks.refresh()
    opened.check.ui.checkNextButton.click()
    slicerHost.processEvents(0.2)
    enter(opened)
    assert column(opened.ui.qaLookedView)[-1] == "Landmark L1, error 7.0 mm"
    assert opened.ui.qaLookedLabel.text == "Worst landmarks looked at: 1 of 2."


def test_numbers_come_from_landmarks_marks_and_an_independent_transform(opened, study):
    landmarks(study)
    opened.node.checkFixedLandmarks, opened.node.checkMovingLandmarks = (
        study.fixedLandmarks,
        study.movingLandmarks,
    )
    import slicer

    back = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Back")
    from check_scene import SHIFT

    matrix = np.eye(4)
    matrix[:3, 3] = -SHIFT + (3, 0, 4)
    back.SetMatrixTransformFromParent(slicer.util.vtkMatrixFromArray(matrix))
    opened.node.checkBack = back
    enter(opened)
    told = dict(zip(column(opened.ui.qaNumbersView), column(opened.ui.qaNumbersView, 1), strict=True))
    assert told["landmark error, mean"] == "4.00 mm"
    assert told[f"landmark error, 95 % in the {REGION}"] == "1.00 mm"
    assert told[f"without a landmark in the {REGION}"] == "31.00 %"
    assert told["inverse consistency error, 95 %"] == "5.00 mm"
    assert told["error at marked points, largest"] == "0.00 mm"
    assert [opened.ui.qaRegionCombo.itemText(n) for n in range(opened.ui.qaRegionCombo.count)][0] == REGION


def test_a_rejected_landmark_is_in_no_number(opened, study):
    from GLIDERegLib.scene.quality.landmark_nodes import REJECTED
    from GLIDERegLib.scene.quality.landmarks import decide, worst

    pair = landmarks(study)
    from GLIDERegLib.scene.quality.landmarks import places

    decide(pair, worst(places(pair))[0], REJECTED)
    enter(opened)
    assert column(opened.ui.qaNumbersView, 1)[2] == "1.00 mm"


def test_a_tolerance_that_is_typed_is_the_sites_and_stays(opened, study):
    landmarks(study)
    enter(opened)
    view = opened.ui.qaNumbersView
    view.item(0, 2).setText("3.5")
    assert column(view, 3)[0] == "exceeded" and opened.ui.qaNumbersLabel.text.endswith("tolerance: 1.")
    view.item(0, 2).setText("4,5")
    assert column(view, 3)[0] == "within" and column(view, 2)[0] == "4.5"
    from GLIDERegLib.panel.qa_tables import siteTolerances

    assert siteTolerances() == {"landmark error, mean": 4.5}
    view.item(0, 2).setText("much")
    assert siteTolerances() == {} and column(view, 3)[0] == ""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"qaPurpose": ""}, "purpose"),
        ({"qaRegion": " "}, "region"),
        ({"qaAccuracy": 0.0}, "accuracy"),
        ({"qaLevel": ""}, "level"),
        ({}, "name"),
    ],
)
def test_nothing_is_sealed_while_something_is_missing(slicerHost, opened, change, says):
    look(slicerHost, opened)
    request(opened)
    for name, value in change.items():
        setattr(opened.node, name, value)
    if not change:
        opened.ui.qaNameEdit.text = ""
    opened.ui.qaSignButton.click()
    assert says in opened.ui.qaMessageLabel.text
    assert opened.ui.qaStateLabel.text == "No record yet." and not opened.ui.qaSaveButton.enabled


def test_signing_what_nobody_looked_at_is_asked_about(slicerHost, opened):
    import qt

    enter(opened)
    request(opened)
    slicerHost.dialogs.answers.append(qt.QMessageBox.Cancel)
    opened.ui.qaSignButton.click()
    assert opened.ui.qaStateLabel.text == "No record yet."
    assert "Nothing of this registration was looked at" in slicerHost.dialogs.shown[0].text


@pytest.mark.parametrize("what", ["fixed", "moving", "transform"])
def test_a_record_holds_until_a_scan_or_the_transform_changes(slicerHost, opened, study, what):
    import slicer

    landmarks(study)
    look(slicerHost, opened)
    request(opened)
    opened.ui.qaSignButton.click()
    told = opened.ui.qaMessageLabel.text
    assert "is reached where landmarks are (69 % of it): 95 % of the landmarks there are below 1.0 mm" in told
    state = opened.ui.qaStateLabel
    assert "by A. Physicist: level 1, aligned where it matters. Holds" in state.text
    study.fixed.SetName("Renamed")
    enter(opened)
    assert "Holds" in state.text
    if what == "transform":
        grid = study.transform.GetTransformFromParent().GetDisplacementGrid()
        grid.SetScalarComponentFromFloat(3, 4, 5, 0, 99.0)
        grid.Modified()
        study.transform.GetTransformFromParent().Modified()
    else:
        slicer.util.arrayFromVolume(getattr(study, what))[1, 2, 3] += 1
        slicer.util.arrayFromVolumeModified(getattr(study, what))
    enter(opened)
    assert f"Superseded: the {what} has changed since the record was made." in state.text
    assert "bold" in state.styleSheet


def test_a_record_and_what_was_looked_at_come_back_with_the_scene(slicerHost, opened, study, tmp_path):
    look(slicerHost, opened)
    request(opened)
    opened.ui.qaSignButton.click()
    slicerHost.saveScene(tmp_path / "scene.mrb")
    slicerHost.loadScene(tmp_path / "scene.mrb")
    enter(opened)
    assert "Holds" in opened.ui.qaStateLabel.text
    assert column(opened.ui.qaLookedView) == ["Warped scan (ordinary views)"]
    assert opened.ui.qaPurposeEdit.text == PURPOSE and opened.ui.qaRegionCombo.currentText == REGION
    assert opened.ui.qaLevelCombo.currentData == "1"


def test_a_record_that_was_altered_in_the_scene_is_refused(slicerHost, opened):
    import slicer

    look(slicerHost, opened)
    request(opened)
    opened.ui.qaSignButton.click()
    node = slicer.util.getNodesByClass("vtkMRMLTextNode")[-1]
    node.SetText(node.GetText().replace('"level": 1', '"level": 0'))
    enter(opened)
    assert "altered after it was sealed" in opened.ui.qaStateLabel.text
    assert not opened.ui.qaSaveButton.enabled


def test_the_record_is_written_as_json_and_page(slicerHost, opened, study, tmp_path, monkeypatch):
    from panel.support import ENGINE

    from GLIDERegLib.evaluation.record.record import read_record
    from GLIDERegLib.scene.quality.records import SceneRecord

    look(slicerHost, opened)
    request(opened)
    opened.ui.qaSignButton.click()
    import sys

    if ENGINE is None:
        pytest.importorskip("jinja2", reason="the engine's packages are not in this environment")
    opened.page._saving = SceneRecord(ENGINE or sys.executable)
    out = tmp_path / "out"
    out.mkdir()
    slicerHost.dialogs.answers.append(str(out))
    opened.ui.qaSaveButton.click()
    slicerHost.waitUntil(lambda: opened.ui.qaSaveButton.enabled, seconds=60)
    written = sorted(path.suffix for path in out.iterdir())
    assert written == [".html", ".json"], opened.ui.qaMessageLabel.text
    (data,) = out.glob("*.json")
    record = read_record(data)
    assert record.looked[0].by_tool and record.request.purpose == PURPOSE
    assert json.loads(data.read_text())["hashes"]["fixed"].startswith("scene:")
    (page,) = out.glob("*.html")
    text = page.read_text()
    assert "Warped scan (ordinary views)" in text and "seen by the program" in text and "no login" in text


def test_closing_the_scene_leaves_an_empty_page(slicerHost, opened):
    import slicer

    look(slicerHost, opened)
    slicer.mrmlScene.Clear(0)
    assert opened.ui.qaLookedView.rowCount == 0 and not opened.ui.qaSignButton.enabled
    assert "page Check" in opened.ui.qaPairLabel.text


def test_large_scans_are_compared_between_slicers_events(slicerHost, opened, study, monkeypatch):
    from GLIDERegLib.panel import hashing
    from GLIDERegLib.scene.quality import locks

    look(slicerHost, opened)
    request(opened)
    monkeypatch.setattr(hashing, "STEP_SECONDS", 0)
    monkeypatch.setattr(locks, "PIECE_BYTES", 1 << 14)
    opened.ui.qaSignButton.click()
    assert opened.ui.qaMessageLabel.text.startswith("Reading the scans")
    slicerHost.waitUntil(lambda: "Holds" in opened.ui.qaStateLabel.text, seconds=20)
    study.moving.GetImageData().Modified()
    enter(opened)
    assert opened.ui.qaStateLabel.text.startswith("Comparing") and not opened.ui.qaSignButton.enabled
    slicerHost.waitUntil(lambda: "Holds" in opened.ui.qaStateLabel.text, seconds=20)
    assert opened.ui.qaSignButton.enabled


def test_a_scan_that_changes_while_it_is_read_is_read_again(slicerHost, study, monkeypatch):
    import slicer

    from GLIDERegLib.scene.quality import locks
    from GLIDERegLib.scene.registration.pair import makePair

    pair = makePair(study.fixed, study.moving, study.transform)
    monkeypatch.setattr(locks, "PIECE_BYTES", 1 << 14)
    work = locks.locking(pair)
    next(work)
    slicer.util.arrayFromVolume(study.fixed)[0, 0, 0] += 1
    slicer.util.arrayFromVolumeModified(study.fixed)
    for _ in work:
        pass
    found = locks.locks(pair)
    monkeypatch.setattr(locks, "_known", {})
    assert locks.locks(pair) == found


def test_another_scan_while_one_is_read_gets_no_record(slicerHost, opened, study, monkeypatch):
    from GLIDERegLib.panel import hashing
    from GLIDERegLib.scene.quality import locks

    look(slicerHost, opened)
    request(opened)
    monkeypatch.setattr(hashing, "STEP_SECONDS", 0)
    monkeypatch.setattr(locks, "PIECE_BYTES", 1 << 14)
    opened.ui.qaSignButton.click()
    opened.node.checkMoving = None
    slicerHost.processEvents(0.3)
    assert opened.ui.qaStateLabel.text == "No record yet." and not opened.ui.qaSignButton.enabled


def test_what_is_typed_and_chosen_is_taken_back_step_by_step_and_done_again(opened, study):
    from GLIDERegLib.panel.qa_tables import siteTolerances

    landmarks(study)
    enter(opened)
    ui, node = opened.ui, opened.node
    assert not ui.qaUndoButton.enabled
    for text in ("f", "fo", "follow-up"):
        node.qaPurpose = text
    node.qaLevel = "3"
    ui.qaNumbersView.item(0, 2).setText("3.5")
    assert ui.qaUndoButton.toolTip.startswith("Undo: tolerance")
    told = []
    for _ in range(3):
        ui.qaUndoButton.click()
        told.append((siteTolerances(), node.qaLevel, node.qaPurpose))
    assert told == [({}, "3", "follow-up"), ({}, "", "follow-up"), ({}, "", "")]
    assert not ui.qaUndoButton.enabled and ui.qaLevelCombo.currentData == ""
    for _ in range(3):
        ui.qaRedoButton.click()
    assert (siteTolerances(), node.qaLevel, node.qaPurpose) == (
        {"landmark error, mean": 3.5},
        "3",
        "follow-up",
    )
    assert column(ui.qaNumbersView, 2)[0] == "3.5" and not ui.qaRedoButton.enabled


def test_a_record_is_withdrawn_and_kept_again_but_not_under_a_newer_one(slicerHost, opened, study):
    import slicer

    look(slicerHost, opened)
    request(opened)
    ui = opened.ui
    ui.qaSignButton.click()
    held = ui.qaStateLabel.text
    assert "Holds" in held
    ui.qaUndoButton.click()
    assert ui.qaStateLabel.text == "No record yet." and not ui.qaSaveButton.enabled
    assert "A copy that was saved stays" in ui.qaMessageLabel.text
    ui.qaRedoButton.click()
    assert ui.qaStateLabel.text == held
    # Signed by somebody else in between.
    opened.ui.qaNameEdit.text = "B. Physicist"
    ui.qaSignButton.click()
    slicer.mrmlScene.RemoveNode(slicer.util.getNodesByClass("vtkMRMLTextNode")[-1])
    ui.qaUndoButton.click()
    assert "another one" in ui.qaMessageLabel.text
    enter(opened)
    assert ui.qaStateLabel.text == held
