"""The section "Contours": segments propagated both ways, compared, painted, written as DICOM."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from panel.support import ENGINE, contents


@pytest.fixture
def study(slicerHost):
    import slicer
    from check_scene import makeStudy

    return SimpleNamespace(**makeStudy(slicer.mrmlScene, (30, 36, 42), 5.0))


@pytest.fixture
def opened(slicerHost, fake, openModule, study, monkeypatch):
    """The module at its page QA: node, ui, page."""
    module = openModule()
    node = module.logic.getParameterNode()
    node.checkTransform = study.transform
    module.widget.tabs.setCurrentIndex(5)
    page = module.widget.pages[5]
    return SimpleNamespace(node=node, page=page, ui=page.ui)


@pytest.fixture
def engine(opened):
    """The page with the engine itself in place of the stand-in."""
    from GLIDERegLib.scene.quality.contours import SceneContours, SceneLungs

    if ENGINE is None:
        pytest.importorskip("torch", reason="the engine's packages are not in this environment")
    python = ENGINE or sys.executable
    section = opened.page._contours
    section._contours, section._lungs = SceneContours(python), SceneLungs(python)
    return opened


def propagate(slicerHost, opened):
    opened.ui.qaPropagateButton.click()
    assert opened.ui.qaPropagateButton.text == "Stop", opened.ui.qaContoursLabel.text
    slicerHost.waitUntil(lambda: opened.ui.qaPropagateButton.text == "Propagate", seconds=60)


def rows(view):
    return [[view.item(r, c).text() for c in range(view.columnCount)] for r in range(view.rowCount)]


def column(view, number=0):
    return [row[number] for row in rows(view)]


@pytest.mark.parametrize("origin", ["fixed", "moving"])
def test_segments_go_where_they_belong_and_are_compared_there(slicerHost, engine, study, origin):
    import slicer
    import vtk

    from GLIDERegLib.scene.quality.structures import structures

    goal = {"fixed": "moving", "moving": "fixed"}[origin]
    before = contents(study.all)
    engine.node.qaSegmentation = getattr(study, f"{origin}Structures")
    engine.node.qaOther = getattr(study, f"{goal}Structures")
    combo = engine.ui.qaDirectionCombo
    combo.setCurrentIndex(combo.findData(f"{origin}-to-{goal}"))
    propagate(slicerHost, engine)
    found = rows(engine.ui.qaSegmentsView)
    assert [row[0] for row in found] == ["Ball", "Bar"]
    for row in found:
        volumes = row[1].split(" \u2192 ")
        assert float(volumes[0]) > 10 and volumes[0] == volumes[1] and row[2:] == ["0.00"] * 3 + ["1.00"]
    made = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[-1]
    name = getattr(study, f"{origin}Structures").GetName()
    assert made.GetName() == f"{name} propagated to {goal.title()}, not reviewed"
    assert made.GetAttribute("GLIDEReg.Reviewed") == "no"
    boxes = [
        [segment.box().mean(axis=0) for segment in structures(node, vtk.vtkTransform()).values()]
        for node in (made, getattr(study, f"{goal}Structures"))
    ]
    np.testing.assert_allclose(*boxes, atol=0.01)
    assert contents(study.all) == before
    surfaces = slicer.util.getNodesByClass("vtkMRMLModelNode")
    painted = [node for node in surfaces if node.GetName().startswith("Distances of")]
    titles = [f"Distances of {segment} in {goal.title()}" for segment in ("Ball", "Bar")]
    assert [node.GetName() for node in painted] == titles
    assert painted[0].GetDisplayNode().GetScalarVisibility()
    bounds = np.zeros(6)
    painted[0].GetRASBounds(bounds)
    from check_scene import SHIFT

    middle = SHIFT if goal == "moving" else np.zeros(3)
    np.testing.assert_allclose((bounds[::2] + bounds[1::2]) / 2, middle, atol=0.5)


@pytest.mark.once
def test_only_selected_segments_go_and_what_is_wrong_is_measured(slicerHost, engine, study):
    import slicer
    from check_scene import SHIFT, makeSegments

    shape, spacing = (30, 36, 42), 5.0
    k, j, i = (spacing * (index - (n - 1) / 2) for index, n in zip(np.indices(shape), shape, strict=True))
    matrix = np.diag([spacing] * 3 + [1.0])
    matrix[:3, 3] = [-spacing * (n - 1) / 2 for n in shape[::-1]]
    matrix[:3, 3] += SHIFT
    # One voxel off.
    wrong = (i - 5) ** 2 + j**2 + k**2 < 30**2
    engine.node.qaSegmentation = study.fixedStructures
    engine.node.qaOther = makeSegments(slicer.mrmlScene, "Drawn", {"Ball": wrong}, matrix)
    engine.ui.qaSegmentsView.selectRow(0)
    engine.page.enter()
    propagate(slicerHost, engine)
    found = rows(engine.ui.qaSegmentsView)
    assert found[1][1:] == [""] * 5
    # Along the shift the two balls lie 5 mm apart, and half of that on average over the sphere.
    assert abs(float(found[0][4]) - 5) < 0.5 and abs(float(found[0][2]) - 2.5) < 0.5
    told = dict(zip(column(engine.ui.qaNumbersView), column(engine.ui.qaNumbersView, 1), strict=True))
    assert told["Hausdorff distance of Ball"] == f"{found[0][4]} mm"
    # Of another transform they say nothing.
    stored = study.transform.GetTransformFromParent()
    stored.GetDisplacementGrid().SetScalarComponentFromFloat(3, 4, 5, 0, 9.0)
    stored.GetDisplacementGrid().Modified()
    stored.Modified()
    engine.page.enter()
    assert engine.ui.qaNumbersView.rowCount == 0


def test_segments_that_overlap_all_arrive_and_organs_that_slide_are_named(slicerHost, engine, study):
    import slicer
    from check_scene import makeSegments

    inside = np.zeros((30, 36, 42), bool)
    inside[10:20, 10:20, 10:20] = True
    matrix = np.diag([5.0, 5.0, 5.0, 1.0])
    matrix[:3, 3] = [-102.5, -87.5, -72.5]
    arrays = {"Liver": inside, "Lesion": inside & (np.indices(inside.shape)[0] < 15)}
    engine.node.qaSegmentation = makeSegments(slicer.mrmlScene, "Drawn", arrays, matrix)
    propagate(slicerHost, engine)
    assert column(engine.ui.qaSegmentsView, 1) == ["125 \u2192 125", "62.50 \u2192 62.50"]
    assert "slide along their neighbours have an uncertain surface: Liver." in engine.ui.qaContoursLabel.text
    assert "Review it before use." in engine.ui.qaContoursLabel.text


def test_a_segment_of_the_other_scan_is_told(slicerHost, opened, study):
    import slicer
    from check_scene import makeSegments

    matrix = np.diag([5.0, 5.0, 5.0, 1.0])
    matrix[:3, 3] = 900
    far = makeSegments(slicer.mrmlScene, "Far", {"Ball": np.ones((4, 4, 4), bool)}, matrix)
    opened.node.qaSegmentation = far
    opened.ui.qaPropagateButton.click()
    assert "'Ball' holds no voxel of the scan 'Fixed'" in opened.ui.qaContoursLabel.text
    assert opened.ui.qaPropagateButton.text == "Propagate"


def test_nothing_can_be_pressed_without_a_registration_or_a_segmentation(opened, study):
    ui = opened.ui
    assert not ui.qaPropagateButton.enabled and ui.qaLungsButton.enabled and not ui.qaSegButton.enabled
    opened.node.qaSegmentation = study.fixedStructures
    assert ui.qaPropagateButton.enabled and ui.qaSegButton.enabled
    assert [ui.qaDirectionCombo.itemText(n) for n in range(2)] == [
        "Fixed \u2192 Moving",
        "Moving \u2192 Fixed",
    ]
    opened.node.checkMoving = None
    assert not ui.qaPropagateButton.enabled and not ui.qaLungsButton.enabled and not ui.qaSegButton.enabled


def test_lungs_are_found_in_both_scans_and_say_that_nobody_reviewed_them(slicerHost, engine, study):
    import slicer

    shape = (30, 36, 42)
    k, j, i = (5.0 * (index - (n - 1) / 2) for index, n in zip(np.indices(shape), shape, strict=True))
    for volume in (study.fixed, study.moving):
        slicer.util.arrayFromVolume(volume)[i**2 + j**2 + k**2 < 45**2] = -800
        slicer.util.arrayFromVolumeModified(volume)
    engine.ui.qaLungsButton.click()
    slicerHost.waitUntil(lambda: engine.ui.qaLungsButton.text == "Find lungs", seconds=60)
    names = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")]
    assert {f"Lungs of {scan}, found automatically, not reviewed" for scan in ("Fixed", "Moving")} < set(
        names
    )
    assert "as masks on the page Register" in engine.ui.qaContoursLabel.text


def test_stopping_leaves_nothing(slicerHost, opened, study, tmp_path):
    import slicer

    from GLIDERegLib.scene.quality.contours import SceneContours

    program = tmp_path / "slow"
    program.write_text("#!/bin/sh\nsleep 60\n")
    program.chmod(0o755)
    opened.page._contours._contours = SceneContours(str(program))
    opened.node.qaSegmentation = study.fixedStructures
    opened.ui.qaPropagateButton.click()
    assert opened.ui.qaPropagateButton.text == "Stop"
    opened.ui.qaPropagateButton.click()
    assert opened.ui.qaContoursLabel.text == "Stopped by user."
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 2
    assert not list(Path(slicer.app.temporaryPath).glob("glidereg-*"))


@pytest.fixture
def dicom(slicerHost, tmp_path, monkeypatch, fake, openModule):
    """The page with two scans that lie in DICOM files, a segment in the fixed one, and the engine."""
    pytest.importorskip("pydicom", reason="the engine's packages are not in this environment")
    pytest.importorskip("torch", reason="the engine's packages are not in this environment")
    import slicer
    from check_scene import makeSegments
    from dicom_registrations import a_pair
    from panel.test_check_dicom import FRAMES, Database

    from GLIDERegLib.files.dicom.registered_scans import read_scan
    from GLIDERegLib.files.volumes import read_volume
    from GLIDERegLib.scene.mrml.geometry import matrixFromGrid

    folders = a_pair(tmp_path)
    scans = [read_scan(folder, "scan") for folder in folders]
    volumes, files, matrices = [], {}, []
    for folder, scan, name in zip(folders, scans, ("CT current", "CT prior"), strict=True):
        grid = {"size": scan.grid.size, "spacing": scan.grid.spacing, "origin": scan.grid.origin,
                "direction": scan.grid.direction}  # fmt: skip
        matrices.append(matrixFromGrid(grid))
        array = read_volume(folder, "scan").array
        volumes.append(slicer.util.addVolumeFromArray(array, ijkToRAS=matrices[-1], name=name))
        volumes[-1].SetAttribute("DICOM.instanceUIDs", " ".join(scan.info.sop_instance_uids))
        volumes[-1].SetAttribute("DICOM.PatientName", "Doe^Jane")
        files |= dict(zip(scan.info.sop_instance_uids, scan.info.files, strict=True))
        FRAMES.update(dict.fromkeys(scan.info.sop_instance_uids, scan.info.frame_of_reference_uid))
    monkeypatch.setattr(slicer, "dicomDatabase", Database(files), raising=False)
    mask = np.zeros(scans[0].grid.shape, bool)
    n = np.array(mask.shape)
    mask[tuple(slice(a, b) for a, b in zip(n // 4, n // 4 + n // 2, strict=True))] = True
    segmentation = makeSegments(slicer.mrmlScene, "Drawn", {"Organ": mask}, matrices[0])
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Registered")
    module = openModule()
    node = module.logic.getParameterNode()
    node.checkTransform, node.checkFixed, node.checkMoving = transform, *volumes
    node.qaSegmentation = segmentation
    module.widget.tabs.setCurrentIndex(5)
    from GLIDERegLib.scene.quality.contour_export import SceneContourExport

    page = module.widget.pages[5]
    page._contours._dicom._export = SceneContourExport(ENGINE or sys.executable)
    return SimpleNamespace(ui=page.ui, node=node, mask=mask, scan=scans[0], volumes=volumes)


def test_patient_and_frame_are_shown_before_contours_are_written(slicerHost, dicom):
    import qt

    slicerHost.dialogs.answers.append(qt.QMessageBox.Cancel)
    dicom.ui.qaStructButton.click()
    (shown,) = slicerHost.dialogs.shown
    for text in ("Doe, Jane", "CT current", dicom.scan.info.frame_of_reference_uid, "Organ", "not approved"):
        assert text in shown.text


def test_contours_are_written_as_a_structure_set_on_the_scans_slices(slicerHost, dicom, tmp_path):
    import pydicom
    import qt

    out = tmp_path / "out"
    out.mkdir()
    for expected in ("structures.dcm", "structures-2.dcm"):
        slicerHost.dialogs.answers += [qt.QMessageBox.Ok, str(out)]
        dicom.ui.qaStructButton.click()
        slicerHost.waitUntil(lambda: dicom.ui.qaStructButton.enabled, seconds=60)
        assert dicom.ui.qaContoursLabel.text == f"Written: {out / expected}"
    data = pydicom.dcmread(out / "structures.dcm")
    assert data.StructureSetROISequence[0].ROIName == "Organ" and data.ApprovalStatus == "UNAPPROVED"
    used = {
        image.ReferencedSOPInstanceUID
        for contour in data.ROIContourSequence[0].ContourSequence
        for image in contour.ContourImageSequence
    }
    planes = np.flatnonzero(dicom.mask.any(axis=(1, 2)))
    assert used == {dicom.scan.info.sop_instance_uids[k] for k in planes}


def test_contours_are_written_as_a_segmentation_bit_by_bit(slicerHost, dicom, tmp_path):
    pytest.importorskip("highdicom", reason="comes with `make validators`")
    import pydicom
    import qt

    out = tmp_path / "out"
    out.mkdir()
    slicerHost.dialogs.answers += [qt.QMessageBox.Ok, str(out)]
    dicom.ui.qaSegButton.click()
    slicerHost.waitUntil(lambda: dicom.ui.qaSegButton.enabled, seconds=60)
    assert dicom.ui.qaContoursLabel.text == f"Written: {out / 'segmentation.dcm'}"
    data = pydicom.dcmread(out / "segmentation.dcm")
    assert data.pixel_array.sum() == dicom.mask.sum() and data.SegmentSequence[0].SegmentLabel == "Organ"


def test_a_segmentation_without_its_package_is_told_in_the_panels_words(slicerHost, dicom, monkeypatch):
    import qt

    from GLIDERegLib.panel import dependencies

    monkeypatch.delenv("GLIDEREG_PYTHON")
    monkeypatch.setattr(dependencies.importlib.util, "find_spec", lambda name: None)
    slicerHost.dialogs.answers.append(qt.QMessageBox.Cancel)
    dicom.ui.qaSegButton.click()
    (shown,) = slicerHost.dialogs.shown
    assert "highdicom: about 5 MB" in shown.text
    assert "RTSTRUCT does not" in dicom.ui.qaContoursLabel.text and "pip" not in dicom.ui.qaContoursLabel.text


def test_contours_of_a_scan_that_is_no_dicom_are_refused_before_a_question(slicerHost, opened, study):
    opened.node.qaSegmentation = study.fixedStructures
    opened.ui.qaSegButton.click()
    assert "does not come from DICOM" in opened.ui.qaContoursLabel.text
    assert slicerHost.dialogs.shown == []
