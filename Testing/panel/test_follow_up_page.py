"""The page "Follow-up": dated scans listed, registered one after the other, cancelled, saved, looked at."""

from __future__ import annotations

import csv
import importlib.util
from datetime import date

import numpy as np
import pytest
from panel.support import FLIP

DAYS = ("2022-03-10", "2023-03-10", "2024-03-10")
SCREEN_MM = 0.5
# What the report and the workbook need beside a Slicer; the second Slicer here has neither.
INSTALLED = {name: importlib.util.find_spec(name) is not None for name in ("markupsafe", "openpyxl")}


@pytest.fixture
def page(openModule):
    """Function that opens the module at this page: the module, and the page."""

    def open():
        module = openModule()
        module.widget.tabs.setCurrentIndex(4)
        return module, module.widget.pages[4]

    return open


@pytest.fixture
def dated(slicerHost, recording):
    """The recorded pair as three dated scans, moving, moving, fixed, each with its nodules in an order of its
    own under labels that tell nothing: by the day, the volume and the list.
    """
    import slicer

    pair, rng, found = np.load(recording / "pair.npz"), np.random.default_rng(1), {}
    for day, role in zip(DAYS, ("moving", "moving", "fixed"), strict=True):
        matrix = FLIP @ pair[f"{role}_matrix"]
        volume = slicer.util.addVolumeFromArray(pair[role], ijkToRAS=matrix, name=f"CT {day}")
        nodules = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", f"Nodules {day}")
        points = pair[f"{role}_nodules"] @ FLIP[:3, :3]
        for number, n in enumerate(rng.permutation(len(points)), 1):
            nodules.AddControlPoint(points[n].tolist(), f"F-{number}")
        found[day] = volume, nodules
    return found


def listed(module, made, dated, days=DAYS):
    """Adds the scans as a user does."""
    node, ui = module.logic.getParameterNode(), made.ui
    for day in days:
        node.followUpScan, node.followUpNodules = dated[day]
        ui.followUpDateEdit.text = day
        assert ui.followUpAddButton.enabled, ui.followUpAddButton.toolTip
        ui.followUpAddButton.click()
    return node


def followed(slicerHost, replay, module, made):
    replay.plan([["device", "A processor"], ["progress", "refinement", 0.5], ["result"]])
    made.ui.followUpStartButton.click()
    slicerHost.waitUntil(lambda: not made.ui.followUpStartButton.isHidden() and not module.logic.busy, 120)
    assert module.logic.followUp.study is not None, made.ui.followUpMessageLabel.text


def cells(view):
    return [
        [view.item(row, column).text() for column in range(view.columnCount)] for row in range(view.rowCount)
    ]


def test_the_button_says_what_is_missing(slicerHost, fake, page, plain):
    module, made = page()
    ui, node = made.ui, module.logic.getParameterNode()
    assert not ui.followUpStartButton.enabled
    assert "at least two scans" in ui.followUpStartButton.toolTip == ui.followUpMessageLabel.text
    assert not ui.followUpAddButton.enabled and "Choose a scan" in ui.followUpAddButton.toolTip
    node.followUpScan = plain("First")
    assert not ui.followUpAddButton.enabled and "Type the date" in ui.followUpAddButton.toolTip
    ui.followUpDateEdit.text = "2023-02-30"
    assert not ui.followUpAddButton.enabled
    ui.followUpDateEdit.text = "2023-02-28"
    ui.followUpAddButton.click()
    node.followUpScan = plain("Second", seed=2)
    assert ui.followUpDateEdit.text == ""
    ui.followUpDateEdit.text = "2023-02-28"
    ui.followUpAddButton.click()
    assert "Another scan of 2023-02-28" in ui.followUpMessageLabel.text
    ui.followUpDateEdit.text = "2022-02-28"
    ui.followUpAddButton.click()
    assert [row[:2] for row in cells(ui.followUpScansView)] == [
        ["2022-02-28", "Second"],
        ["2023-02-28", "First"],
    ]
    assert ui.followUpStartButton.enabled
    node.followUpScan = plain("Third", seed=3)
    ui.followUpDateEdit.text = "2999-02-28"
    ui.followUpAddButton.click()
    assert not ui.followUpStartButton.enabled and "2999-02-28 is yet to come" in ui.followUpMessageLabel.text


def test_marks_beyond_their_scan_stop_before_anything_is_registered(slicerHost, fake, page, dated):
    module, made = page()
    ui = made.ui
    dated[DAYS[0]][1].AddControlPoint([900.0, 0.0, 0.0], "far")
    listed(module, made, dated)
    ui.followUpStartButton.click()
    assert not module.logic.busy and not ui.followUpStartButton.isHidden()
    assert "Marks of 2022-03-10 lie outside its scan: far" in ui.followUpMessageLabel.text


def test_the_frames_of_a_sequence_are_scans_dated_by_dicom_or_by_their_index(slicerHost, fake, page, plain):
    import slicer

    module, made = page()
    ui, node = made.ui, module.logic.getParameterNode()
    assert not ui.followUpFramesButton.enabled
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Visits")
    sequence.SetIndexType(sequence.TextIndex)
    volumes = plain("First"), plain("Second", seed=2), plain("Third", seed=3)
    volumes[0].SetAttribute("DICOM.StudyDate", "20220301")
    volumes[0].SetAttribute("DICOM.PatientID", "7")
    for volume, index in zip(volumes, ("a", "2023-04-01", "visit 3"), strict=True):
        sequence.SetDataNodeAtValue(volume, index)
        slicer.mrmlScene.RemoveNode(volume)
    node.followUpSequence = sequence
    ui.followUpFramesButton.click()
    assert "'visit 3' of 'Visits' has no date" in ui.followUpMessageLabel.text
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    sequence.UpdateIndexValue("visit 3", "20240501")
    for _ in range(2):
        ui.followUpFramesButton.click()
        assert [row[0] for row in cells(ui.followUpScansView)] == ["2022-03-01", "2023-04-01", "2024-05-01"]
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 3
    first = made.scanList.scans[0]
    assert first.patient.identifier == "7" and first.volume.GetImageData().GetScalarRange()
    assert first.volume.GetImageData() is sequence.GetNthDataNode(0).GetImageData()
    assert ui.followUpStartButton.enabled, ui.followUpStartButton.toolTip


def test_a_scan_in_the_list_is_changed_and_taken_out(slicerHost, fake, page, plain):
    import slicer

    module, made = page()
    ui, node = made.ui, module.logic.getParameterNode()
    first, second = plain("First"), plain("Second", seed=2)
    nodules = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Marked")
    listed(
        module,
        made,
        {"2022-01-01": (first, None), "2023-01-01": (second, nodules)},
        ("2022-01-01", "2023-01-01"),
    )
    node.followUpScan = first
    assert (ui.followUpDateEdit.text, ui.followUpAddButton.text) == ("2022-01-01", "Change scan")
    ui.followUpDateEdit.text, ui.followUpSearchedCheck.checked = "2024-01-01", True
    ui.followUpAddButton.click()
    assert cells(ui.followUpScansView) == [
        ["2023-01-01", "Second", "Marked", "no", "not yet"],
        ["2024-01-01", "First", "none", "yes", "the others' reference"],
    ]
    combo = ui.followUpReferenceCombo
    combo.setCurrentIndex(combo.findText("2023-01-01"))
    assert made.scanList.reference == 0 and node.followUpReference == "2023-01-01"
    ui.followUpScansView.selectRow(0)
    ui.followUpRemoveButton.click()
    assert [row[1] for row in cells(ui.followUpScansView)] == ["First"] and made.scanList.reference == 0
    slicer.mrmlScene.RemoveNode(first)
    made.enter()
    assert cells(ui.followUpScansView) == [] and not ui.followUpStartButton.enabled


def test_scans_of_different_patients_stop_unless_the_reader_knows_better(slicerHost, fake, page, plain):
    module, made = page()
    volumes = plain("First"), plain("Second", seed=2)
    for volume, name in zip(volumes, ("7", "8"), strict=True):
        volume.SetAttribute("DICOM.PatientID", name)
        volume.SetAttribute("DICOM.StudyDate", f"2023010{name}")
    ui, node = made.ui, module.logic.getParameterNode()
    for volume in volumes:
        node.followUpScan = volume
        # DICOM's date is proposed.
        ui.followUpAddButton.click()
    assert not ui.followUpStartButton.enabled and not ui.followUpPatientCheck.isHidden()
    assert "2023-01-07 and 2023-01-08 are of different patients" in ui.followUpMessageLabel.text
    ui.followUpPatientCheck.checked = True
    assert ui.followUpStartButton.enabled


def test_cancel_keeps_the_registrations_that_are_done_and_the_next_run_goes_on(
    slicerHost, replay, page, dated
):
    import slicer

    module, made = page()
    listed(module, made, dated)
    run, ui = module.logic.followUp, made.ui
    replay.plan([["device", "A processor"], ["progress", "refinement", 0.5], ["pause", 1.0], ["result"]])
    ui.followUpStartButton.click()
    slicerHost.waitUntil(lambda: run.done == 1, 60)
    assert "Scan 2 of 2 (2023-03-10)" in ui.followUpProgressLabel.text
    ui.followUpStopButton.click()
    slicerHost.waitUntil(lambda: not module.logic.busy and not ui.followUpStartButton.isHidden())
    assert ui.followUpProgressLabel.text == "Cancelled; registrations that stay: 1 of 2."
    assert [row[4] for row in cells(ui.followUpScansView)] == ["yes", "not yet", "the others' reference"]
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLGridTransformNode") == 1
    followed(slicerHost, replay, module, made)
    assert run.total == 1
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLGridTransformNode") == 2


def test_each_nodule_has_one_row_and_a_click_shows_it_in_every_scan(
    slicerHost, replay, page, dated, tmp_path, monkeypatch
):
    import check_views
    import qt

    module, made = page()
    node, ui = listed(module, made, dated), made.ui
    followed(slicerHost, replay, module, made)
    number = dated[DAYS[0]][1].GetNumberOfControlPoints()
    assert ui.followUpView.rowCount == number
    assert ui.followUpProgressLabel.text == f"Nodules: {number}; scans: 3."
    for nodule in module.logic.followUp.study.nodules:
        marked = [cell.point for cell in nodule.cells if cell.mark is not None]
        assert len(marked) == 3 and all(cell.measurement.mean_mm == 7.8 for cell in nodule.cells)
        assert np.linalg.norm(marked[0] - marked[1]) < 1e-6, "two nodules of one scan are one"

    with check_views.layouts():
        lookAtAllDates(module, made, dated)

    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path), raising=False)
    ui.followUpExportButton.click()
    with (tmp_path / "nodules.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * number and {row["date"] for row in rows} == set(DAYS)
    assert (tmp_path / "growth.csv").is_file()
    said = ui.followUpMessageLabel.text
    if INSTALLED["markupsafe"]:
        page_ = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert all(day in page_ for day in DAYS) and "CT 2024" not in page_ and "report.html" in said
        workbook = INSTALLED["openpyxl"]
        assert (tmp_path / "nodules.xlsx").is_file() == workbook
        assert ("XLSX" in said and "openpyxl" in said) == (not workbook)
    else:
        assert "The report was left out: the Python package markupsafe is not installed." in said
        assert not (tmp_path / "report.html").exists()

    readTwice(ui, node)
    ui.followUpExportButton.click()
    with (tmp_path / "decisions.csv").open(newline="", encoding="utf-8") as file:
        assert [row["Reader"] for row in csv.DictReader(file)] == ["Ada", "Ben"]

    slicerHost.saveScene(tmp_path / "scene.mrb")
    shown = cells(ui.followUpView)
    node.followUpScans = node.followUpTable = node.followUpCells = None
    assert ui.followUpView.rowCount == 0
    slicerHost.loadScene(tmp_path / "scene.mrb")
    assert cells(made.ui.followUpView) == shown
    assert [row[4] for row in cells(made.ui.followUpScansView)] == ["yes", "yes", "the others' reference"]


def readTwice(ui, node):
    """Two readers decide on the first nodule; neither sees the other before both are done."""

    def columns():
        view = ui.followUpView
        headers = [view.horizontalHeaderItem(n).text() for n in range(view.columnCount)]
        return {
            headers[n]: view.item(0, n).text() for n in range(view.columnCount) if "Read by" in headers[n]
        }

    ui.followUpView.selectRow(0)
    assert not ui.followUpDecisionCombo.enabled and columns() == {}
    for name, other, decision in (("Ada", None, "grown"), ("Ben", "Ada", "unsure")):
        ui.followUpReaderEdit.text = name
        assert node.reader == name and ui.followUpDecisionCombo.enabled
        ui.followUpDecisionCombo.currentIndex = ui.followUpDecisionCombo.findData(decision)
        assert columns()[f"Read by {name}"].startswith(f"{decision} (20")
        if other:
            assert columns()[f"Read by {other}"] == "hidden until both readers are done"
        ui.followUpDoneButton.click()
    assert columns()["Read by Ada"].startswith("grown (20")
    assert columns()["Read by Ben"].startswith("unsure (20")
    assert not ui.followUpDecisionCombo.enabled and "stay" in ui.followUpReadersLabel.text


def lookAtAllDates(module, made, dated):
    """Every view on the nodule of a row, in step when one is scrolled; the layout as before at the end."""
    import slicer

    ui, layout = made.ui, slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    before = layout.GetViewArrangement()
    ui.followUpView.selectRow(1)
    assert ui.followUpDetailLabel.text.startswith("Nodule 2\n2022-03-10: ") and ui.followUpDatesButton.checked
    views = {view.GetLayoutName(): view for view in slicer.util.getNodesByClass("vtkMRMLSliceNode")}
    views = [views[f"GLIDERegDate{n}"] for n in (1, 2, 3)]
    points = [cell.point * (-1, -1, 1) for cell in module.logic.followUp.study.nodules[1].cells]
    for view, point, day in zip(views, points, DAYS, strict=True):
        assert middle(view) == pytest.approx(point, abs=SCREEN_MM)
        composite = slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(view)
        assert composite.GetBackgroundVolumeID() == dated[day][0].GetID()
        # Letters of direction and a scale bar, as in all other views.
        assert view.GetOrientationMarkerType() == view.OrientationMarkerTypeCube
        assert view.GetRulerType() == view.RulerTypeThin
    # The two prior scans are one image here, so that they stay together; the current one goes its own way.
    views[0].SetSliceOffset(views[0].GetSliceOffset() + 12.0)
    assert middle(views[1]) == pytest.approx(points[1] + [0, 0, 12.0], abs=SCREEN_MM)
    moved = middle(views[2]) - points[2]
    assert 4 < moved[2] < 20
    ui.followUpView.selectRow(0)
    assert middle(views[2]) == pytest.approx(
        module.logic.followUp.study.nodules[0].cells[2].point * (-1, -1, 1), abs=SCREEN_MM
    )
    ui.followUpDatesButton.checked = False
    assert layout.GetViewArrangement() == before
    # Fewer scans, another layout.
    ui.followUpScansView.selectRow(0)
    ui.followUpRemoveButton.click()
    ui.followUpDatesButton.checked = True
    assert layout.GetViewArrangement() != before and made.nodules.number == "1"
    ui.followUpDatesButton.checked = False
    listed(module, made, dated, DAYS[:1])


def middle(view) -> np.ndarray:
    """The point in the middle of a slice view, world RAS mm."""
    import slicer

    return slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())[:3, 3]


def test_the_curve_shows_volumes_with_their_interval(slicerHost):
    import slicer

    from GLIDERegLib.scene.follow_up.curve import SERIES, drawCurve
    from GLIDERegLib.scene.follow_up.results import Spot

    spots = [
        Spot(date(2022, 1, 1), "measured", (0, 0, 0), "", (100.0, 80.0, 125.0)),
        Spot(date(2022, 7, 1), "not marked", (0, 0, 0), ""),
        Spot(date(2023, 1, 1), "measured", (0, 0, 0), "", (200.0, 160.0, 250.0)),
    ]
    chart = drawCurve(None, "1", spots)
    assert chart.GetNumberOfPlotSeriesNodes() == len(SERIES) and "2 of 3 dates" in chart.GetTitle()
    points, bars = plotted(chart)
    assert points == [[0, 100], [365, 200]]
    # Down to the low end, up to the high one, a cap at each, and on from the value.
    cap = 0.015 * 365
    assert bars[0] == bars[9] == [0, 100] and bars[10] == bars[19] == [365, 200]
    assert bars[1:9] == [[x, y] for y in (80, 125) for x in (0, -cap, cap, 0)]
    assert {y for _, y in bars[11:19]} == {160, 250}
    assert drawCurve(chart, "2", spots[:1]) is chart and len(plotted(chart)[1]) == 10
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLPlotSeriesNode") == len(SERIES)
    # A chart of the version before, with three lines of one table.
    chart.AddAndObservePlotSeriesNodeID(chart.GetNthPlotSeriesNodeID(0))
    assert len(plotted(drawCurve(chart, "1", spots))) == len(SERIES)


def plotted(chart):
    """The points of every series."""
    tables = [
        chart.GetNthPlotSeriesNode(n).GetTableNode().GetTable()
        for n in range(chart.GetNumberOfPlotSeriesNodes())
    ]
    return [
        [[table.GetValue(r, c).ToDouble() for c in (0, 1)] for r in range(table.GetNumberOfRows())]
        for table in tables
    ]


@pytest.mark.once
def test_an_error_is_told_with_the_remedy_of_the_panel(slicerHost, fake, page, plain):
    module, made = page()
    ui = made.ui
    listed(
        module,
        made,
        {"2022-01-01": (plain("First"), None), "2023-01-01": (plain("Second", seed=2), None)},
        ("2022-01-01", "2023-01-01"),
    )
    fake.plan([["progress", "refinement", 0.5], ["error", "memory", "There is no room.", "Use --spacing."]])
    ui.followUpStartButton.click()
    slicerHost.waitUntil(lambda: "no room" in ui.followUpMessageLabel.text)
    assert "coarser Working resolution under Advanced" in ui.followUpMessageLabel.text
    assert "--spacing" not in ui.followUpMessageLabel.text


@pytest.mark.parametrize("keep", [True, False])
def test_marked_nodules_keep_their_size_unless_the_reader_says_otherwise(slicerHost, fake, page, dated, keep):
    module, made = page()
    node = listed(module, made, dated, DAYS[1:])
    assert node.keepNodules
    node.keepNodules = keep
    fake.plan([["progress", "refinement", 0.5], ["wait"]])
    made.ui.followUpStartButton.click()
    slicerHost.waitUntil(lambda: module.logic.followUp.stage)
    for role in ("fixed", "moving"):
        assert (fake.request[f"{role}_nodules"] is not None) == keep
    made.cancel()
    slicerHost.waitUntil(lambda: not module.logic.followUp.active)


def test_a_readers_own_decisions_are_taken_back_and_nobody_elses(slicerHost, fake, page):
    import slicer

    from GLIDERegLib.scene.follow_up.decisions import readDecisions
    from GLIDERegLib.scene.review.table import setColumns

    module, made = page()
    ui, node = made.ui, module.logic.getParameterNode()
    node.followUpTable = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "Nodules")
    setColumns(node.followUpTable, [("Nodule", ["1", "2"]), ("2024-03-10", ["8 mm", "9 mm"])], set())
    made.nodules.show(node)
    combo, undo, redo = ui.followUpDecisionCombo, ui.followUpUndoButton, ui.followUpRedoButton

    def decide(row, decision):
        ui.followUpView.selectRow(row)
        combo.setCurrentIndex(combo.findData(decision))

    def told():
        return [(one.reader, one.nodule, one.decision) for one in readDecisions(node.followUpDecisions)]

    ui.followUpReaderEdit.text = "Ada"
    assert not undo.enabled and not redo.enabled
    decide(0, "grown")
    decide(0, "unsure")
    decide(1, "shrunk")
    when = readDecisions(node.followUpDecisions)
    ui.followUpDoneButton.click()
    assert undo.toolTip == "Undo: all nodules read (Alt+Z)"
    ui.followUpView.selectRow(0)
    undo.click()
    assert readDecisions(node.followUpDecisions) == when and ui.followUpDoneButton.enabled
    undo.click()
    assert told() == [("Ada", "1", "unsure")] and ui.followUpView.currentRow() == 1
    assert combo.currentData == "" and redo.toolTip == "Redo: nodule 2 shrunk (Alt+Y)"
    undo.click()
    assert told() == [("Ada", "1", "grown")] and combo.currentData == "grown"
    redo.click()
    assert told() == [("Ada", "1", "unsure")]
    ui.followUpReaderEdit.text = "Ben"
    assert not undo.enabled and not redo.enabled
    decide(0, "grown")
    ui.followUpDoneButton.click()
    ui.followUpReaderEdit.text = "Ada"
    decide(0, "grown")
    assert undo.enabled
    ui.followUpDoneButton.click()
    # Both are done and see each other: decisions stay.
    assert not undo.enabled and not combo.enabled


def test_a_study_is_read_by_keys_alone(slicerHost, fake, page):
    import slicer

    from GLIDERegLib.panel.keys import FOLLOW_UP, KEYS
    from GLIDERegLib.scene.follow_up.decisions import isDone, readDecisions
    from GLIDERegLib.scene.review.table import setColumns

    module, made = page()
    ui, node = made.ui, module.logic.getParameterNode()
    node.followUpTable = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "Nodules")
    setColumns(node.followUpTable, [("Nodule", list("12345"))], set())
    made.nodules.show(node)
    actions = [key.action for key in KEYS if key.page == FOLLOW_UP]

    def press(action):
        made.keys.shortcuts[actions.index(action)].activated.emit()

    press("grown")
    assert node.followUpDecisions is None, "nobody reads yet"
    ui.followUpReaderEdit.text = "Ada"
    for action in ("grown", "unchanged", "shrunk", "none", "unsure"):
        press("next")
        press(action)
    press("undo")
    press("redo")
    press("done")
    decisions = readDecisions(node.followUpDecisions)
    told = {one.nodule: one.decision for one in decisions if one.nodule}
    assert told == {"1": "grown", "2": "unchanged", "3": "shrunk", "4": "no nodule", "5": "unsure"}
    assert isDone(decisions, "Ada")


def test_decisions_that_were_changed_in_the_table_are_not_overwritten_by_undo(slicerHost, fake, page):
    import slicer

    from GLIDERegLib.scene.review.table import setColumns

    module, made = page()
    ui, node = made.ui, module.logic.getParameterNode()
    node.followUpTable = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "Nodules")
    setColumns(node.followUpTable, [("Nodule", ["1"])], set())
    made.nodules.show(node)
    ui.followUpReaderEdit.text = "Ada"
    ui.followUpView.selectRow(0)
    ui.followUpDecisionCombo.setCurrentIndex(ui.followUpDecisionCombo.findData("grown"))
    node.followUpDecisions.GetTable().GetColumn(2).SetValue(0, "shrunk")
    ui.followUpUndoButton.click()
    assert "changed elsewhere" in ui.followUpMessageLabel.text
    assert node.followUpDecisions.GetTable().GetColumn(2).GetValue(0) == "shrunk"
