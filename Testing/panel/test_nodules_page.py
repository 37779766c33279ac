"""The page "Nodules" in the headless host: walking, deciding, correcting, updating, saving, matching."""

from __future__ import annotations

import numpy as np
import pytest
from panel.support import ROOT

SHORTCUTS = {"Alt+N", "Alt+P", "Alt+A", "Alt+R", "Alt+U", "Alt+D", "Alt+B"}


@pytest.fixture
def study(slicerHost):
    import slicer
    from nodules_scene import makeStudy

    return makeStudy(slicer.mrmlScene)


@pytest.fixture
def open_page(slicerHost):
    """Function that makes the page on a parameter node, a new one unless given."""
    from nodules_scene import makePage

    made = []

    def open(node=None):
        made.append(makePage(ROOT, node))
        return made[-1]

    yield open
    for one in made:
        one.page.close()
        one.widget.deleteLater()


@pytest.fixture
def page(study, open_page):
    """The page with both lists chosen; the transform comes from the registration's result."""
    made = open_page()
    made.node.outputTransform = study.transform
    made.node.movingNodules, made.node.fixedNodules = study.movingNodules, study.fixedNodules
    made.page.enter()
    return made


@pytest.fixture
def reviewed(page):
    """The page with its table filled: rows a, b, c marked in the moving scan, 1, 2, 3 in the fixed one."""
    page.ui.updateButton.click()
    return page


def rows(page):
    from GLIDERegLib.scene.review.table import readRows

    return readRows(page.node.reviewTable)


def shownTexts(page, column):
    view = page.ui.reviewView
    return [view.item(n, column).text() for n in range(view.rowCount)]


def displace(study, shift):
    from nodules_scene import SHIFT, gridAround

    from GLIDERegLib.scene.mrml.arrays import gridTransform
    from GLIDERegLib.scene.registration.results import setDeformation

    setDeformation(study.transform, gridTransform(*gridAround(SHIFT + shift)))


def press(slicerHost, page, key):
    """The shortcut of these keys, as Qt would fire it."""
    import qt

    found = [s for s in page.widget.findChildren(qt.QShortcut) if s.key.toString() == key]
    assert len(found) == 1
    found[0].activated.emit()


# Filling


def test_the_page_says_what_is_missing_until_it_can_review(study, open_page):
    page = open_page()
    assert not page.ui.updateButton.enabled
    assert "transform" in page.ui.updateButton.toolTip
    page.node.checkTransform = study.transform
    assert "Choose the nodules" in page.ui.updateButton.toolTip
    page.node.movingNodules = study.movingNodules
    assert page.ui.updateButton.enabled
    assert page.ui.pairLabel.text == "Fixed scan: Follow-up. Moving scan: Baseline."


def test_a_transform_that_names_no_scans_takes_those_chosen_elsewhere(study, open_page):
    import slicer

    page = open_page()
    page.node.movingNodules = study.movingNodules
    page.node.checkTransform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Other tool")
    assert "fixed and the moving scan" in page.ui.pairLabel.text
    page.node.fixedVolume, page.node.movingVolume = study.fixed, study.moving
    assert page.ui.pairLabel.text == "Fixed scan: Follow-up. Moving scan: Baseline."
    page.ui.updateButton.click()
    assert len(rows(page)) == 3 and rows(page)[0].displacement == 0


def test_deleting_the_table_empties_the_page_and_the_next_review_makes_another(slicerHost, reviewed, study):
    import slicer

    bystander = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "Laboratory values")
    reviewed.ui.reviewView.selectRow(1)
    reviewed.ui.editButton.checked = True
    slicer.mrmlScene.RemoveNode(reviewed.node.reviewTable)
    assert reviewed.node.reviewTable is None and shownTexts(reviewed, 0) == []
    assert not reviewed.ui.editButton.checked and reviewed.node.nodulesInFixed.GetLocked()
    assert not any(
        getattr(reviewed.ui, f"{name}Button").enabled for name in ("accept", "match", "edit", "prediction")
    )
    for key in SHORTCUTS:
        press(slicerHost, reviewed, key)
    reviewed.ui.commentEdit.text = "spiculated"
    assert bystander.GetNumberOfColumns() == 0
    reviewed.ui.updateButton.click()
    assert [row.label for row in rows(reviewed)] == ["a", "b", "c", "1", "2", "3"]
    assert shownTexts(reviewed, 2) == ["not reviewed"] * 6


def test_a_list_that_is_deleted_while_its_points_can_be_dragged_is_propagated_anew(reviewed, study):
    import slicer

    reviewed.ui.editButton.checked = True
    gone = reviewed.node.nodulesInFixed
    slicer.mrmlScene.RemoveNode(gone)
    assert reviewed.node.nodulesInFixed is None
    reviewed.ui.updateButton.click()
    assert reviewed.node.nodulesInFixed.GetNumberOfControlPoints() == 3
    assert reviewed.node.nodulesInFixed not in (gone, study.movingNodules, study.fixedNodules)


def test_going_back_to_a_prediction_without_the_scan_says_what_is_missing(reviewed, study):
    import slicer

    reviewed.ui.reviewView.selectRow(0)
    reviewed.ui.editButton.checked = True
    reviewed.node.nodulesInFixed.SetNthControlPointPositionWorld(0, 1.0, 2.0, 3.0)
    assert reviewed.ui.predictionButton.enabled
    slicer.mrmlScene.RemoveNode(study.moving)
    reviewed.ui.predictionButton.click()
    assert "moving scan" in reviewed.ui.messageLabel.text
    assert rows(reviewed)[0].status == "corrected"


def test_reviewing_fills_the_table_node_the_list_and_the_propagated_points(reviewed):
    import slicer

    assert [row.label for row in rows(reviewed)] == ["a", "b", "c", "1", "2", "3"]
    assert shownTexts(reviewed, 0) == ["a", "b", "c", "1", "2", "3"]
    assert set(shownTexts(reviewed, 1)) == {"± 1.3 mm"}
    assert reviewed.node.reviewTable.GetName() == "Nodule review"
    for propagated, count in ((reviewed.node.nodulesInFixed, 3), (reviewed.node.nodulesInMoving, 3)):
        assert propagated.GetLocked() and propagated.GetNumberOfControlPoints() == count
    lists = slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
    reviewed.ui.updateButton.click()
    assert len(slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")) == len(lists)


def test_the_page_fits_in_400_pixels(reviewed, slicerHost, tmp_path):
    reviewed.ui.reviewView.selectRow(1)
    slicerHost.screenshot(reviewed.widget, tmp_path / "page.png", width=400)
    assert reviewed.widget.width == 400


# Walking


def test_selecting_a_row_centres_every_view_on_the_nodule(reviewed, study, slicerHost):
    import slicer

    views = {name: slicer.app.layoutManager().sliceWidget(name) for name in ("Red", "Yellow", "Green")}
    for name, view in views.items():
        volume = study.moving if name == "Green" else study.fixed
        view.mrmlSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
        view.resize(300, 200)
        view.fitSliceToBackground()
    for n in (1, 3):
        reviewed.ui.reviewView.selectRow(n)
        row = rows(reviewed)[n]
        for name, view in views.items():
            place = row.moving if name == "Green" else row.fixed
            assert np.abs(np.subtract(view.pixelOf(place), (100, 150))).max() <= 1, name
            assert view.mrmlSliceNode().GetFieldOfView()[1] == pytest.approx(80)


def test_the_details_of_the_selected_nodule_are_told(reviewed):
    reviewed.ui.reviewView.selectRow(1)
    text = reviewed.ui.detailLabel.text
    for part in (
        "b, marked in the moving scan",
        "R 25.0, P 30.0, S 12.0 mm",
        "R 33.0, P 35.0, S 15.0 mm",
        "Displacement 9.9 mm",
        "position uncertainty ± 1.3 mm",
        "local agreement 1.00",
    ):
        assert part in text
    # None of them judges a nodule, and the field's volume change is not the nodule's.
    for word in ("reliable", "round trip", "local volume", "fold"):
        assert word not in text.lower()


def test_keys_and_buttons_walk_and_decide(reviewed, slicerHost):
    view = reviewed.ui.reviewView
    press(slicerHost, reviewed, "Alt+N")
    press(slicerHost, reviewed, "Alt+N")
    assert view.currentRow() == 1
    press(slicerHost, reviewed, "Alt+A")
    reviewed.ui.nextButton.click()
    press(slicerHost, reviewed, "Alt+R")
    reviewed.ui.nextButton.click()
    reviewed.ui.unsureButton.click()
    press(slicerHost, reviewed, "Alt+P")
    assert view.currentRow() == 2
    expected = ["not reviewed", "accepted", "rejected", "unsure", "not reviewed", "not reviewed"]
    assert shownTexts(reviewed, 2) == expected
    assert [row.status for row in rows(reviewed)] == expected
    for _ in range(9):
        press(slicerHost, reviewed, "Alt+N")
    assert view.currentRow() == 5


def test_keys_work_wherever_the_focus_is_while_the_page_is_seen(reviewed, slicerHost, tmp_path):
    from PySide6 import QtCore, QtTest

    def type_alt(widget, letter):
        QtTest.QTest.keyClick(widget, getattr(QtCore.Qt, f"Key_{letter}"), QtCore.Qt.AltModifier)

    slicerHost.screenshot(reviewed.widget, tmp_path / "seen.png")
    reviewed.widget.activateWindow()
    slicerHost.processEvents(0.05)
    reviewed.ui.reviewView.selectRow(0)
    type_alt(reviewed.ui.commentEdit, "N")
    assert reviewed.ui.reviewView.currentRow() == 1
    type_alt(reviewed.ui.updateButton, "U")
    assert rows(reviewed)[1].status == "unsure"
    reviewed.widget.hide()
    type_alt(reviewed.ui.commentEdit, "A")
    assert rows(reviewed)[1].status == "unsure"


# Notes


def test_comments_and_diameters_go_into_the_table(reviewed):
    reviewed.node.daysBetween = 180.0
    reviewed.ui.reviewView.selectRow(1)
    reviewed.ui.commentEdit.text = "part solid"
    reviewed.ui.fixedDiameterBox.value = 8
    assert reviewed.ui.growthLabel.text == "Measure the nodule in both scans, or type its diameters."
    reviewed.ui.movingDiameterBox.value = 6
    assert "volume doubling time 145 days (95 % 83 to" in reviewed.ui.growthLabel.text
    row = rows(reviewed)[1]
    assert (row.comment, row.fixedDiameter, row.movingDiameter) == ("part solid", 8, 6)
    assert row.fixedDiameterFrom == "typed" and row.doublingDays == "145"
    reviewed.ui.reviewView.selectRow(2)
    assert reviewed.ui.commentEdit.text == "" and reviewed.ui.fixedDiameterBox.value == 0
    assert [row.comment for row in rows(reviewed)] == ["", "part solid", "", "", "", ""]
    reviewed.ui.updateButton.click()
    assert rows(reviewed)[1].fixedDiameter == 8 and rows(reviewed)[1].doublingDays == "145"


# Correcting


def test_points_can_be_dragged_only_while_editing(reviewed):
    propagated = reviewed.node.nodulesInFixed
    reviewed.ui.editButton.checked = True
    assert not propagated.GetLocked() and not reviewed.node.nodulesInMoving.GetLocked()
    assert propagated.GetFixedNumberOfControlPoints()
    reviewed.ui.editButton.checked = False
    assert propagated.GetLocked() and reviewed.node.nodulesInMoving.GetLocked()
    propagated.SetNthControlPointPosition(0, 5.0, 5.0, 5.0)
    assert rows(reviewed)[0].status == "not reviewed"


def test_a_dragged_point_marks_its_row_and_can_be_put_back(reviewed):
    reviewed.ui.editButton.checked = True
    reviewed.node.nodulesInFixed.SetNthControlPointPosition(1, 25.0, -30.0, 16.0)
    reviewed.node.nodulesInMoving.SetNthControlPointPosition(0, -32.0, 16.0, 39.0)
    found = rows(reviewed)
    expected = ["not reviewed", "corrected", "not reviewed", "corrected", "not reviewed", "not reviewed"]
    assert [row.status for row in found] == shownTexts(reviewed, 2) == expected
    assert found[1].fixed == (25, -30, 16) and found[1].predicted[2] == pytest.approx(12, abs=2e-3)
    assert found[3].moving == (-32, 16, 39) and found[3].predicted[2] == pytest.approx(36, abs=2e-3)
    reviewed.ui.reviewView.selectRow(1)
    assert "Corrected by 4.0 mm; predicted: R 25.0, P 30.0, S 12.0 mm" in reviewed.ui.detailLabel.text
    assert f"Displacement {found[1].displacement:.1f} mm" in reviewed.ui.detailLabel.text
    reviewed.ui.predictionButton.click()
    assert not reviewed.ui.predictionButton.enabled
    assert rows(reviewed)[1].status == "not reviewed"
    place = reviewed.node.nodulesInFixed.GetNthControlPointPositionWorld(1)
    assert place == pytest.approx((25, -30, 12), abs=2e-3)
    # The other correction stays, and so does the switch.
    assert rows(reviewed)[3].status == "corrected"
    assert not reviewed.node.nodulesInFixed.GetLocked()


def test_nothing_counts_as_dragged_after_the_transform_has_changed(reviewed, study):
    displace(study, (2, 0, 0))
    reviewed.ui.editButton.checked = True
    assert not reviewed.ui.editButton.checked and reviewed.node.nodulesInFixed.GetLocked()
    assert "have changed" in reviewed.ui.messageLabel.text


# Running again


def register_again(reviewed, study, shift):
    """What a further registration does to the scene."""
    from nodules_scene import propagateNodules

    displace(study, shift)
    node = reviewed.node
    propagateNodules(node.movingNodules, study.transform, "moving-to-fixed", study.fixed, node.nodulesInFixed)
    propagateNodules(node.fixedNodules, study.transform, "fixed-to-moving", study.fixed, node.nodulesInMoving)


@pytest.fixture
def decided(reviewed):
    """Row 1 accepted with a comment, row 2 corrected by 3 mm."""
    reviewed.ui.reviewView.selectRow(1)
    reviewed.ui.acceptButton.click()
    reviewed.ui.commentEdit.text = "solid"
    reviewed.ui.editButton.checked = True
    reviewed.node.nodulesInFixed.SetNthControlPointPosition(2, -40.0, 23.0, 33.0)
    return reviewed


def test_a_result_that_hardly_differs_keeps_all_decisions_without_a_question(decided, study, slicerHost):
    register_again(decided, study, (0.5, 0, 0))
    assert [row.status for row in rows(decided)][1:3] == ["accepted", "corrected"]
    slicerHost.waitUntil(lambda: "have changed" in decided.ui.messageLabel.text, seconds=5)
    decided.ui.updateButton.click()
    assert slicerHost.dialogs.shown == []
    assert not decided.ui.messageLabel.visible or decided.ui.messageLabel.text == ""
    found = rows(decided)
    assert [row.status for row in found][1:3] == ["accepted", "corrected"]
    assert found[1].comment == "solid" and found[2].fixed == (-40, 23, 33)
    place = decided.node.nodulesInFixed.GetNthControlPointPositionWorld(2)
    assert place == pytest.approx((-40, 23, 33))


@pytest.mark.parametrize("keep", [True, False])
def test_a_result_that_differs_asks_before_decisions_go(decided, study, slicerHost, keep):
    import qt

    register_again(decided, study, (2.5, 0, 0))
    slicerHost.dialogs.answers = [qt.QMessageBox.Yes if keep else qt.QMessageBox.No]
    decided.ui.updateButton.click()
    [asked] = slicerHost.dialogs.shown
    assert "b, c" in asked.text and "1 mm" in asked.text
    found = rows(decided)
    statuses = ["accepted", "corrected"] if keep else ["not reviewed", "not reviewed"]
    assert [row.status for row in found][1:3] == statuses
    assert found[1].comment == "solid"
    assert found[2].isCorrected == keep
    place = decided.node.nodulesInFixed.GetNthControlPointPositionWorld(2)
    assert place == pytest.approx((-40, 23, 33) if keep else (-42.5, 20, 33), abs=2e-3)


def test_a_decided_nodule_that_is_gone_stays_in_the_table_unless_the_reader_agrees(
    decided, study, slicerHost
):
    import qt

    study.movingNodules.RemoveNthControlPoint(1)
    slicerHost.dialogs.answers = [qt.QMessageBox.No]
    decided.ui.updateButton.click()
    assert "no longer in the lists: b" in slicerHost.dialogs.shown[0].text
    assert [row.label for row in rows(decided)] == ["a", "b", "c", "1", "2", "3"]
    slicerHost.dialogs.answers = [qt.QMessageBox.Yes]
    decided.ui.updateButton.click()
    assert [row.label for row in rows(decided)] == ["a", "c", "1", "2", "3"]


def test_decisions_survive_saving_and_loading_the_scene(decided, slicerHost, tmp_path, open_page):
    import slicer

    before = rows(decided)
    decided.page.setParameterNode(None)
    slicerHost.saveScene(tmp_path / "review.mrb")
    slicerHost.loadScene(tmp_path / "review.mrb")
    again = open_page(slicer.mrmlScene.GetFirstNodeByName("Nodules"))
    found = rows(again)
    for old, new in zip(before, found, strict=True):
        assert (new.label, new.status, new.comment, new.point) == (
            old.label,
            old.status,
            old.comment,
            old.point,
        )
        np.testing.assert_allclose(new.fixed, old.fixed, atol=1e-3)
        np.testing.assert_allclose(new.predicted, old.predicted, atol=1e-3)
    assert shownTexts(again, 2) == [row.status for row in before]
    again.page.enter()
    assert again.ui.messageLabel.text == ""
    again.ui.updateButton.click()
    assert slicerHost.dialogs.shown == []
    assert [row.status for row in rows(again)] == [row.status for row in before]
    assert rows(again)[2].fixed == pytest.approx((-40, 23, 33))


def test_a_closed_scene_leaves_an_empty_page(decided, slicerHost):
    import slicer

    decided.page.setParameterNode(None)
    slicer.mrmlScene.Clear(0)
    assert decided.ui.reviewView.rowCount == 0 and not decided.ui.updateButton.enabled
    assert not decided.ui.acceptButton.enabled and not decided.ui.editButton.enabled


# Two lists


def test_matching_fills_a_second_table_with_verdicts(reviewed):
    assert reviewed.node.matchDistance == 10
    reviewed.ui.matchButton.click()
    table = reviewed.node.matchTable.GetTable()
    lines = [
        [table.GetValue(row, column).ToString() for column in range(4)]
        for row in range(table.GetNumberOfRows())
    ]
    assert lines == [
        ["matched", "1", "c", "1.0"],
        ["matched", "2", "a", "1.0"],
        ["not marked in the moving scan", "3", "", ""],
        ["not marked in the fixed scan", "", "b", ""],
    ]
    assert reviewed.ui.matchLabel.text == (
        "2 matched, 1 not marked in the moving scan, 1 not marked in the fixed scan."
    )
    assert reviewed.ui.matchView.mrmlTableNode() is reviewed.node.matchTable
    reviewed.ui.matchDistanceBox.value = 0.5
    reviewed.ui.matchButton.click()
    assert reviewed.ui.matchLabel.text == ("3 not marked in the moving scan, 3 not marked in the fixed scan.")


# Whose scans, and of which day


def setStudies(study, fixed: dict, moving: dict) -> None:
    """Node attributes, as a volume from elsewhere than DICOM may propagate them."""
    for volume, attributes in ((study.fixed, fixed), (study.moving, moving)):
        for name, text in attributes.items():
            volume.SetAttribute(f"DICOM.{name}", text)


def test_dates_roles_and_the_patient_are_shown_and_the_patient_can_be_hidden(reviewed, study):
    who = {"PatientName": "Doe^Jane", "PatientID": "4711"}
    setStudies(study, {"StudyDate": "20240310", **who}, {"StudyDate": "20230310", **who})
    reviewed.ui.updateButton.click()
    reviewed.ui.reviewView.selectRow(1)
    text = reviewed.ui.pairLabel.text
    assert "Follow-up, current (2024-03-10)" in text and "Baseline, prior (2023-03-10)" in text
    assert text.endswith("Patient: Doe, Jane (ID 4711).")
    assert "marked in the prior (2023-03-10) scan" in reviewed.ui.detailLabel.text
    reviewed.ui.matchButton.click()
    assert "1 not marked in the prior (2023-03-10)" in reviewed.ui.matchLabel.text
    reviewed.ui.patientCheckBox.checked = False
    assert "Doe" not in reviewed.ui.pairLabel.text and "4711" not in reviewed.ui.pairLabel.text
    assert "prior (2023-03-10)" in reviewed.ui.pairLabel.text


@pytest.mark.parametrize("answer", [False, True])
def test_scans_of_different_patients_stop_unless_the_reader_goes_on(study, open_page, monkeypatch, answer):
    import slicer.util

    asked = []
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: asked.append(text) or answer)
    setStudies(study, {"PatientID": "1"}, {"PatientID": "2"})
    page = open_page()
    page.node.movingNodules, page.node.checkTransform = study.movingNodules, study.transform
    page.ui.updateButton.click()
    assert len(asked) == 1 and "different patients: their IDs differ" in asked[0]
    assert (page.node.reviewTable is not None) == answer
    assert ("different patients" in page.ui.messageLabel.text) == (not answer)


# Undo


def test_every_kind_of_decision_is_taken_back_and_done_again(reviewed, slicerHost):
    import slicer

    ui = reviewed.ui
    assert not ui.undoButton.enabled and ui.undoButton.toolTip == "Nothing to undo (Alt+Z)"
    before = [rows(reviewed)]
    ui.reviewView.selectRow(1)

    def drag(*place):
        dragged = reviewed.node.nodulesInFixed
        dragged.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointStartInteractionEvent)
        for part in (0.5, 1.0):
            dragged.SetNthControlPointPosition(1, *(part * np.array(place)))

    ui.editButton.checked = True
    for decide in (
        ui.acceptButton.click,
        ui.rejectButton.click,
        lambda: [setattr(ui.commentEdit, "text", text) for text in ("s", "so", "solid")],
        lambda: setattr(ui.fixedDiameterBox, "value", 8.0),
        lambda: drag(25.0, -30.0, 16.0),
        lambda: drag(25.0, -30.0, 18.0),
        ui.predictionButton.click,
    ):
        decide()
        before.append(rows(reviewed))
    ui.reviewView.selectRow(3)
    tips = []
    for state in reversed(before[:-1]):
        tips.append(ui.undoButton.toolTip)
        press(slicerHost, reviewed, "Alt+Z")
        assert rows(reviewed) == state
        assert ui.reviewView.currentRow() == 1
        place = reviewed.node.nodulesInFixed.GetNthControlPointPositionWorld(1)
        assert place == pytest.approx(state[1].fixed, abs=1e-6)
    assert tips == [
        f"Undo: nodule b: {what} (Alt+Z)"
        for what in ("back to prediction", "moved", "moved", "diameter", "comment", "rejected", "accepted")
    ]
    assert not ui.undoButton.enabled
    for state in before[1:]:
        press(slicerHost, reviewed, "Alt+Y")
        assert rows(reviewed) == state
    assert not ui.redoButton.enabled
    # Points can still be dragged, and the list says so.
    assert ui.editButton.checked and not reviewed.node.nodulesInFixed.GetLocked()


def test_accepting_twice_is_one_decision(reviewed):
    reviewed.ui.reviewView.selectRow(0)
    reviewed.ui.acceptButton.click()
    reviewed.ui.acceptButton.click()
    reviewed.ui.undoButton.click()
    assert rows(reviewed)[0].status == "not reviewed" and not reviewed.ui.undoButton.enabled


def test_undoing_a_decision_leaves_what_was_measured_since(reviewed):
    from dataclasses import replace

    from GLIDERegLib.scene.review.table import writeRows

    page = reviewed.page
    reviewed.ui.reviewView.selectRow(0)
    reviewed.ui.acceptButton.click()
    page._rows[0] = replace(page._rows[0], growth="+10 %")
    writeRows(reviewed.node.reviewTable, page._rows)
    reviewed.ui.undoButton.click()
    assert (rows(reviewed)[0].status, rows(reviewed)[0].growth) == ("not reviewed", "+10 %")


@pytest.mark.parametrize("how", ["update", "table", "scene"])
def test_nothing_is_undone_in_another_table(reviewed, how):
    import slicer

    reviewed.ui.reviewView.selectRow(0)
    reviewed.ui.acceptButton.click()
    assert reviewed.ui.undoButton.enabled
    if how == "update":
        reviewed.ui.updateButton.click()
        assert rows(reviewed)[0].status == "accepted"
    elif how == "table":
        slicer.mrmlScene.RemoveNode(reviewed.node.reviewTable)
    else:
        reviewed.page.setParameterNode(None)
        slicer.mrmlScene.Clear(0)
    assert not reviewed.ui.undoButton.enabled and not reviewed.ui.redoButton.enabled
    reviewed.ui.undoButton.click()


def test_a_place_stays_corrected_where_the_scan_is_gone_and_the_reason_is_told(reviewed, study):
    import slicer

    reviewed.ui.editButton.checked = True
    reviewed.node.nodulesInFixed.SetNthControlPointPosition(0, 1.0, 2.0, 3.0)
    slicer.mrmlScene.RemoveNode(study.moving)
    reviewed.ui.undoButton.click()
    assert rows(reviewed)[0].status == "corrected" and reviewed.ui.undoButton.enabled
    assert "moving scan" in reviewed.ui.messageLabel.text


def test_the_report_is_made_where_the_user_says_and_opened(
    slicerHost, open_page, study, tmp_path, monkeypatch
):
    import qt

    program = tmp_path / "python"
    program.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\necho made > "$2"\n', "utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("GLIDEREG_PYTHON", str(program))
    opened: list[str] = []
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    made = open_page()
    made.node.outputTransform = study.transform
    made.node.movingNodules, made.node.fixedNodules = study.movingNodules, study.fixedNodules
    made.page.enter()
    ui = made.ui
    ui.reportButton.click()
    assert "Review nodules" in ui.reportLabel.text and not slicerHost.dialogs.shown
    ui.updateButton.click()
    slicerHost.dialogs.answers.append("")
    ui.reportButton.click()
    assert ui.reportButton.enabled and not opened
    # Named without the ending, which not every system's dialog adds.
    slicerHost.dialogs.answers.append(str(tmp_path / "result"))
    ui.reportButton.click()
    assert not ui.reportButton.enabled
    slicerHost.waitUntil(lambda: ui.reportButton.enabled, seconds=20)
    page = tmp_path / "result.html"
    assert ui.reportLabel.text == f"Report: {page}" and opened == [str(page)]
    assert page.read_text("utf-8") == "made\n"
