"""The section "Measure" of the page "Nodules": both original scans, outlines, corrections, undo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from panel.support import FLIP, ROOT, addLinear

SHIFT = np.array([8.0, -5.0, 3.0])
GROWN = 0.6


@pytest.fixture(scope="module")
def phantoms():
    """A solid nodule of 9 mm, and the same grown by 60 % in the next scan."""
    from GLIDERegLib.evaluation.nodule_phantom import Scene, scan_of

    scene = Scene(9, spacing=(0.8, 0.8, 1.0), seed=105)
    return scan_of(scene), scan_of(scene.grown(GROWN))


@pytest.fixture
def study(slicerHost, phantoms):
    """Baseline and follow-up of the nodule, under turned beds, the transform between them, and a list of
    marks of the baseline: the nodule, and a place in the lung beside it.
    """
    import slicer
    from nodules_scene import addPoints, gridAround

    from GLIDERegLib.scene.mrml.arrays import gridTransform
    from GLIDERegLib.scene.registration.results import setDeformation, setRegistrationReferences

    scene, volumes, centers = slicer.mrmlScene, [], []
    for name, truth, place, angle in zip(
        ("Baseline", "Follow-up"), phantoms, (SHIFT, np.zeros(3)), (0, 90), strict=True
    ):
        grid = truth.volume.grid
        world = FLIP @ grid.matrix
        world[:3, 3] += place - (FLIP[:3, :3] @ truth.center_mm)
        bed = addLinear(f"Bed, {name}", angle, 2, (10, 20, 30))
        toLocal = np.linalg.inv(slicer.util.arrayFromTransformMatrix(bed))
        volume = slicer.util.addVolumeFromArray(truth.volume.array, ijkToRAS=toLocal @ world, name=name)
        volume.SetAndObserveTransformNodeID(bed.GetID())
        volumes.append(volume)
        centers.append(place)
    moving, fixed = volumes
    fixed.SetAttribute("DICOM.StudyDate", "20240310")
    moving.SetAttribute("DICOM.StudyDate", "20230310")
    transform = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "Transform")
    setDeformation(transform, gridTransform(*gridAround(SHIFT)))
    setRegistrationReferences(transform, fixed, moving)
    marks = {"n": SHIFT + (0.5, 0, 0), "lung": SHIFT + (0, 0, 13)}
    return fixed, moving, transform, addPoints(scene, "Marks", marks)


@pytest.fixture
def layouts(slicerHost):
    """The scene has a layout node; first of a test's fixtures, so that the page has given the views back."""
    import check_views

    with check_views.layouts() as view:
        yield view


@pytest.fixture
def page(slicerHost, study):
    """The page with the table filled and the nodule selected."""
    from nodules_scene import makePage

    made = makePage(ROOT)
    made.node.outputTransform, made.node.movingNodules = study[2], study[3]
    made.page.enter()
    made.ui.updateButton.click()
    made.ui.reviewView.selectRow(0)
    yield made
    made.page.close()
    made.widget.deleteLater()


def measured(slicerHost, page, button="measureButton"):
    """Presses a button and waits for what it measures, by scan."""
    from GLIDERegLib.scene.review.measurements import readMeasurements

    getattr(page.ui, button).click()
    slicerHost.waitUntil(lambda: not page.page._measure._timer.active, 60)
    return {(one.label, one.scan): one for one in readMeasurements(page.node.measureTable)}


def outline(volume, segment=0):
    """Of a measured nodule: its segment, the mask, and the world RAS mm of its voxels."""
    from GLIDERegLib.scene.mrml.geometry import applyMatrix, ijkToWorld
    from GLIDERegLib.scene.review.measured_segments import maskOf, segmentationOf

    node = segmentationOf(volume)
    segmentId = node.GetSegmentation().GetNthSegmentID(segment)
    mask, first = maskOf(node, segmentId)
    index = np.argwhere(mask)[:, ::-1] + first
    return node, segmentId, mask, applyMatrix(ijkToWorld(volume), index)


def test_a_nodule_is_measured_in_each_original_scan_and_outlined_there(slicerHost, page, study, phantoms):
    fixed, moving = study[:2]
    assert page.ui.growthLabel.text.startswith("Measure the nodule")
    found = measured(slicerHost, page)
    assert set(found) == {("n", "fixed"), ("n", "moving")}
    for scan, truth in zip(("moving", "fixed"), phantoms, strict=True):
        one = found["n", scan]
        assert one.status == "measured" and one.attenuation == "solid"
        assert one.volumeLow < truth.volume_mm3 < one.volumeHigh
    for volume, name, place in ((moving, "prior (2023-03-10)", SHIFT), (fixed, "current (2024-03-10)", 0)):
        node, segmentId, mask, points = outline(volume)
        assert np.linalg.norm(points.mean(axis=0) - place) < 0.6
        assert node.GetName() == f"Measured nodules, {name}"
        assert node.GetSegmentation().GetSegment(segmentId).GetName() == f"n, {name}, measured"
        assert not node.GetDisplayNode().GetVisibility2DFill()
    growth = page.ui.growthLabel.text
    assert "Measured volume +" in growth and "Measured diameter +" in growth and "Lung-RADS" in growth
    assert "95 %" in page.ui.detailLabel.text and "mm³" in page.ui.detailLabel.text
    assert page.ui.reviewView.item(0, 3).text().count("→") == 1
    assert "*" not in page.ui.reviewView.item(0, 3).text()


def test_each_outline_is_shown_where_its_scan_is(slicerHost, layouts, page, study):
    import slicer

    fixed, moving = study[:2]
    measured(slicerHost, page)
    assert page.ui.sideBySideButton.checked
    shown = {}
    for volume in (fixed, moving):
        display = outline(volume)[0].GetDisplayNode()
        views = [display.GetNthViewNodeID(n) for n in range(display.GetNumberOfViewNodeIDs())]
        shown[volume] = {slicer.mrmlScene.GetNodeByID(view).GetLayoutName() for view in views}
        assert display.GetVisibility()
    assert shown[moving] == {"GLIDERegDate1"} and "GLIDERegDate2" in shown[fixed]
    assert not shown[moving] & shown[fixed]
    page.ui.sideBySideButton.click()
    assert not outline(moving)[0].GetDisplayNode().GetVisibility()


def test_scrolling_one_scan_brings_the_other_to_the_same_anatomy(slicerHost, layouts, page, study):
    import slicer

    page.ui.sideBySideButton.click()
    nodes = {n.GetLayoutName(): n for n in slicer.util.getNodesByClass("vtkMRMLSliceNode")}
    prior, current = nodes["GLIDERegDate1"], nodes["GLIDERegDate2"]
    places = [node.GetSliceToRAS().GetElement(2, 3) for node in (prior, current)]
    assert places == pytest.approx([SHIFT[2], 0], abs=0.01)
    prior.SetSliceOffset(prior.GetSliceOffset() + 4)
    assert current.GetSliceToRAS().GetElement(2, 3) == pytest.approx(4, abs=0.01)


def test_larger_marks_the_outline_as_the_readers_and_undo_takes_it_back(slicerHost, page, study):
    fixed = study[0]
    before = measured(slicerHost, page)["n", "fixed"]
    mask = outline(fixed)[2]
    page.ui.measureScanCombo.currentIndex = page.ui.measureScanCombo.findData("fixed")
    after = measured(slicerHost, page, "largerButton")
    assert after["n", "fixed"].volume > 1.1 * before.volume and after["n", "fixed"].step == 1
    assert after["n", "moving"].source == "measured"
    assert outline(fixed)[2].sum() > mask.sum()
    assert "*" in page.ui.reviewView.item(0, 3).text()
    assert "corrected by the reader: 1 x 0.35 mm larger" in page.ui.detailLabel.text
    # What the reader has corrected stays when all are measured.
    assert measured(slicerHost, page, "measureAllButton")["n", "fixed"] == after["n", "fixed"]
    while page.ui.measureUndoButton.enabled:
        undone = measured(slicerHost, page, "measureUndoButton")
        if undone.get(("n", "fixed")) == before:
            assert np.array_equal(outline(fixed)[2], mask)
            break
    else:
        pytest.fail("the first measurement did not come back")


def test_what_is_drawn_in_the_segment_editor_is_measured_and_told_in_the_report(
    slicerHost, page, study, tmp_path
):
    import slicer

    from GLIDERegLib.scene.report.folder import ReportInputs, writeReportFolder
    from GLIDERegLib.scene.review.measured_segments import _image, maskOf
    from GLIDERegLib.scene.review.measurements import readMeasurements

    fixed, moving, transform, _ = study
    before = measured(slicerHost, page)
    page.ui.measureScanCombo.currentIndex = page.ui.measureScanCombo.findData("moving")
    page.ui.measureEditButton.click()
    editor = slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
    node, segmentId, mask, _ = outline(moving)
    assert (editor.GetSegmentationNode(), editor.GetSourceVolumeNode()) == (node, moving)
    assert editor.GetSelectedSegmentID() == segmentId
    assert slicer.util.mainWindow().moduleSelector().selectedModule == "SegmentEditor"
    first = maskOf(node, segmentId)[1]
    drawn = np.concatenate([mask, mask[..., -1:]], axis=2)
    # As every effect of the Segment Editor writes what it has drawn.
    slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(
        _image(drawn, first, moving), node, segmentId
    )

    def edited():
        found = {(one.label, one.scan): one for one in readMeasurements(page.node.measureTable)}
        return found["n", "moving"].source == "outlined by the reader" and found

    slicerHost.waitUntil(edited)
    one = edited()["n", "moving"]
    assert one.volume == pytest.approx(drawn.sum() * 0.64) and one.volumeLow is None
    assert edited()["n", "fixed"] == before["n", "fixed"]
    # The reader's drawing stays as it was drawn.
    assert np.array_equal(maskOf(node, segmentId)[0].sum(), drawn.sum())
    assert "±25 %" in page.ui.growthLabel.text
    folder = tmp_path / "report"
    folder.mkdir()
    writeReportFolder(ReportInputs(fixed, moving, transform, review=page.node.reviewTable), folder)
    assert "outlined by the reader" in (folder / "review.csv").read_text(encoding="utf-8")
    slicer.util.selectModule("")


def test_a_place_without_a_nodule_says_why_and_can_be_drawn(slicerHost, page, study):
    page.ui.reviewView.selectRow(1)
    found = measured(slicerHost, page)
    assert found["lung", "moving"].status.startswith("could not be told: ")
    assert "could not be told: " in page.ui.detailLabel.text
    assert page.ui.reviewView.item(1, 3).text() == ""
    page.ui.measureEditButton.click()
    import slicer

    editor = slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
    segment = editor.GetSegmentationNode().GetSegmentation().GetSegment(editor.GetSelectedSegmentID())
    assert segment.GetName().startswith("lung, current")
    slicer.util.selectModule("")


def test_a_saved_measurement_is_there_again(slicerHost, page, study):
    from nodules_scene import makePage

    measured(slicerHost, page)
    words = page.ui.growthLabel.text
    page.page.setParameterNode(None)
    again = makePage(ROOT, page.node.parameterNode)
    again.page.enter()
    again.ui.reviewView.selectRow(0)
    assert again.ui.growthLabel.text == words
    again.ui.updateButton.click()
    again.ui.reviewView.selectRow(0)
    assert again.ui.growthLabel.text == words
    again.page.close()
    again.widget.deleteLater()


def test_the_part_of_a_scan_around_a_nodule_gives_what_all_of_it_gives(phantoms):
    from GLIDERegLib.core.geometry import Grid, Volume
    from GLIDERegLib.evaluation.measuring import measure_nodule
    from GLIDERegLib.scene.review.measuring import near

    truth = phantoms[0]
    # A wider scan: lung that goes on beyond.
    wide = np.pad(truth.volume.array, 80, mode="reflect")
    grid = truth.volume.grid
    origin = tuple(grid.to_physical(np.array([-80, -80, -80])).tolist())
    scan = Volume(wide, Grid(wide.shape[::-1], grid.spacing, origin, grid.direction))
    part = near(scan, truth.center_mm[None])
    assert part.array.size < 0.7 * scan.array.size
    one, other = (measure_nodule(volume, truth.center_mm) for volume in (scan, part))
    assert replace(one, mask=None).volume_mm3 == pytest.approx(other.volume_mm3)
    assert (one.long_mm, one.status) == (pytest.approx(other.long_mm), other.status)


def test_the_readers_type_and_solid_part_are_kept(slicerHost, page):
    from GLIDERegLib.scene.review.table import readRows

    ui = page.ui
    ui.noduleTypeCombo.currentIndex = ui.noduleTypeCombo.findData("part-solid")
    ui.fixedSolidBox.value = 4.5
    row = readRows(page.node.reviewTable)[0]
    assert (row.noduleType, row.fixedSolidPart, row.movingSolidPart) == ("part-solid", 4.5, 0)
    ui.updateButton.click()
    assert readRows(page.node.reviewTable)[0].noduleType == "part-solid"
