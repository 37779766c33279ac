"""The DICOM buttons of the page "Check": read, written and refused, with the engine or a stand-in for it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from panel.support import ROOT

FRAMES = {"1.1": "9.0", "2.1": "9.1"}
REFUSED = json.dumps({"message": "Refused.", "hint": "", "code": "dicom-kind"})


class Database:
    """Slicer's DICOM database as far as it is asked: files and tags by SOP Instance UID."""

    def __init__(self, files):
        self.files = files

    def fileForInstance(self, uid):
        return str(self.files.get(uid, ""))

    def instanceValue(self, uid, tag):
        return {"0020,0052": FRAMES.get(uid, "")}[tag]


@pytest.fixture
def scene(slicerHost, tmp_path, monkeypatch):
    """Two scans loaded from DICOM, and a translation from the one to the other."""
    import slicer

    files = {}
    volumes = {}
    for role, uid in (("current", "1.1"), ("prior", "2.1")):
        files[uid] = tmp_path / f"{role}.dcm"
        files[uid].write_bytes(b"a slice")
        matrix = np.diag([2.0, 2.0, 3.0, 1.0])
        volumes[role] = slicer.util.addVolumeFromArray(
            np.zeros((8, 9, 10), np.int16), ijkToRAS=matrix, name=f"CT {role}"
        )
        volumes[role].SetAttribute("DICOM.instanceUIDs", f"{uid} {uid}.2")
        volumes[role].SetAttribute("DICOM.PatientID", "7")
        volumes[role].SetAttribute("DICOM.PatientName", "Doe^Jane")
    monkeypatch.setattr(slicer, "dicomDatabase", Database(files), raising=False)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "Registered")
    matrix = np.eye(4)
    matrix[:3, 3] = (5, -6, 7)
    transform.SetMatrixTransformFromParent(slicer.util.vtkMatrixFromArray(matrix))
    return SimpleNamespace(transform=transform, files=files, **volumes)


@pytest.fixture
def engine(tmp_path, monkeypatch, slicerHost):
    """A program in the engine's place: keeps what it was given, and imports what is prepared."""
    import slicer

    made, given = tmp_path / "made", tmp_path / "given"
    made.mkdir()
    node = slicer.vtkMRMLTransformNode()
    matrix = np.eye(4)
    matrix[:3, 3] = (1, 2, 3)
    node.SetMatrixTransformFromParent(slicer.util.vtkMatrixFromArray(matrix))
    storage = slicer.vtkMRMLTransformStorageNode()
    storage.SetFileName(str(made / "transform.h5"))
    assert storage.WriteData(node)
    report = {
        "kind": "Spatial Registration",
        "label": "RIGID",
        "fixed": {"frame": "9.1", "study": "", "series": "", "images": []},
        "moving": {"frame": "9.0", "study": "", "series": "3.3", "images": ["1.1.2", "5"]},
        "notes": [],
    }
    (made / "object.json").write_text(json.dumps(report))
    program = tmp_path / "python"
    program.write_text(
        "#!/bin/sh\n"
        f'echo "$@" > "{tmp_path}/arguments"\n'
        f"if [ -e '{tmp_path}/fail' ]; then echo '{REFUSED}' >&2; exit 2; fi\n"
        '[ "$3" = --json-errors ] && shift\n'
        'case "$3" in\n'
        f'import-dicom) cp "{made}/transform.h5" "$6"; cp "{made}/object.json" "$8";;\n'
        f'export-dicom) cp -r "$4" "{given}"; for last; do :; done; echo written > "$last";;\n'
        "esac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("GLIDEREG_PYTHON", str(program))
    return SimpleNamespace(folder=tmp_path, given=given)


def makePage(scene):
    from check_scene import makePage

    made = makePage(ROOT)
    made.page.setParameterNode(made.node)
    made.node.checkTransform = scene.transform
    made.node.checkFixed, made.node.checkMoving = scene.current, scene.prior
    return made


@pytest.fixture
def page(slicerHost, scene, engine):
    made = makePage(scene)
    yield made
    made.page.close()
    made.widget.deleteLater()


def test_the_direction_is_an_arrow_between_the_names(page, scene):
    assert page.ui.checkDirectionLabel.text == "CT current \u2192 CT prior"
    page.node.checkFixed, page.node.checkMoving = scene.prior, scene.current
    assert page.ui.checkDirectionLabel.text == "CT prior \u2192 CT current"
    page.node.checkMoving = None
    assert page.ui.checkDirectionLabel.text == "" and not page.ui.checkSendButton.enabled


def test_patient_and_frames_are_shown_before_anything_is_written(slicerHost, page, engine):
    import qt

    slicerHost.dialogs.answers.append(qt.QMessageBox.Cancel)
    page.ui.checkSendButton.click()
    (shown,) = slicerHost.dialogs.shown
    for text in ("Doe, Jane (ID 7)", "CT current \u2192 CT prior", "9.0", "9.1"):
        assert text in shown.text
    assert not (engine.folder / "arguments").exists()


def test_an_object_is_written_of_the_transform_and_where_the_scans_lie(slicerHost, page, scene, engine):
    import qt
    import slicer

    out = engine.folder / "out.dcm"
    slicerHost.dialogs.answers += [qt.QMessageBox.Ok, str(out)]
    page.ui.checkSendButton.click()
    assert not page.ui.checkSendButton.enabled
    slicerHost.waitUntil(lambda: page.ui.checkSendButton.enabled, seconds=20)
    assert page.ui.checkDicomLabel.text == f"Written: {out}" and out.read_text() == "written\n"
    words = (engine.folder / "arguments").read_text().split()
    assert words[words.index("--fixed-dicom") + 1] == str(scene.files["1.1"])
    assert words[words.index("--moving-dicom") + 1] == str(scene.files["2.1"])
    image = json.loads((engine.given / "report.json").read_text())["images"]["fixed"]
    assert (image["size"], image["spacing_mm"]) == ([10, 9, 8], [2, 2, 3])
    node = slicer.vtkMRMLTransformNode()
    storage = slicer.vtkMRMLTransformStorageNode()
    storage.SetFileName(str(engine.given / "transform.h5"))
    assert storage.ReadData(node)
    assert node.GetTransformFromParent().TransformPoint(0, 0, 0) == pytest.approx((5, -6, 7))


def test_a_file_named_without_its_ending_gets_it_and_replaces_nothing_unasked(slicerHost, page, engine):
    import qt
    import slicer

    out = engine.folder / "out.dcm"
    slicerHost.dialogs.answers += [qt.QMessageBox.Ok, str(out.with_suffix(""))]
    page.ui.checkSendButton.click()
    slicerHost.waitUntil(lambda: page.ui.checkSendButton.enabled, seconds=20)
    assert page.ui.checkDicomLabel.text == f"Written: {out}" and out.read_text() == "written\n"
    begins = slicerHost.dialogs.shown[-1].directory
    assert begins == str(Path(slicer.app.defaultScenePath) / "registration.dcm")
    out.write_text("mine\n")
    slicer.mrmlScene.SetRootDirectory(str(engine.folder))
    slicerHost.dialogs.answers += [qt.QMessageBox.Ok, str(out.with_suffix("")), qt.QMessageBox.No]
    page.ui.checkSendButton.click()
    assert page.ui.checkSendButton.enabled and out.read_text() == "mine\n"
    assert str(out) in slicerHost.dialogs.shown[-1].text
    assert slicerHost.dialogs.shown[-2].directory == str(engine.folder / "registration.dcm")


@pytest.mark.parametrize("fault", ["no DICOM", "file gone", "no frame", "moved", "other patient"])
def test_scans_that_no_object_may_join_are_refused_before_a_question(slicerHost, page, scene, engine, fault):
    import slicer

    if fault == "no DICOM":
        scene.prior.RemoveAttribute("DICOM.instanceUIDs")
        says = "does not come from DICOM"
    elif fault == "file gone":
        scene.files["2.1"].unlink()
        says = "not in Slicer's DICOM database any more"
    elif fault == "no frame":
        scene.prior.SetAttribute("DICOM.instanceUIDs", "3.1")
        scene.files["3.1"] = scene.files["2.1"]
        says = "no Frame of Reference UID"
    elif fault == "moved":
        parent = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        scene.current.SetAndObserveTransformNodeID(parent.GetID())
        says = "stands under a transform"
    else:
        scene.prior.SetAttribute("DICOM.PatientID", "8")
        says = "different patients"
    page.ui.checkSendButton.click()
    assert says in page.ui.checkDicomLabel.text
    assert slicerHost.dialogs.shown == [] and not (engine.folder / "arguments").exists()


def test_in_a_slicer_without_its_dicom_module_the_files_are_said_to_be_missing(
    slicerHost, page, scene, engine, monkeypatch
):
    import slicer

    monkeypatch.delattr(slicer, "dicomDatabase")
    page.ui.checkSendButton.click()
    assert "not in Slicer's DICOM database" in page.ui.checkDicomLabel.text
    assert slicerHost.dialogs.shown == []


def test_an_imported_object_is_checked_with_the_scans_it_is_of(slicerHost, page, scene, engine):
    slicerHost.dialogs.answers.append(str(engine.folder / "object.dcm"))
    page.ui.checkImportButton.click()
    slicerHost.waitUntil(lambda: page.ui.checkImportButton.enabled, seconds=20)
    node = page.node.checkTransform
    assert node.GetName() == "RIGID"
    assert node.GetTransformFromParent().TransformPoint(0, 0, 0) == pytest.approx((1, 2, 3))
    # By an image of the one, by the other's frame of reference: the way round that the object says.
    assert (page.node.checkFixed, page.node.checkMoving) == (scene.prior, scene.current)
    assert page.ui.checkDirectionLabel.text == "CT prior \u2192 CT current"


def test_a_scan_that_is_not_loaded_is_named_and_a_refusal_is_shown(slicerHost, page, scene, engine):
    scene.current.SetAttribute("DICOM.instanceUIDs", "8.8")
    slicerHost.dialogs.answers.append(str(engine.folder / "object.dcm"))
    page.ui.checkImportButton.click()
    slicerHost.waitUntil(lambda: page.ui.checkImportButton.enabled, seconds=20)
    assert "The moving scan is not loaded (series 3.3)" in page.ui.checkDicomLabel.text
    (engine.folder / "fail").touch()
    slicerHost.dialogs.answers.append(str(engine.folder / "object.dcm"))
    page.ui.checkImportButton.click()
    slicerHost.waitUntil(lambda: page.ui.checkImportButton.enabled, seconds=20)
    assert page.ui.checkDicomLabel.text == "Refused."


@pytest.mark.once
def test_through_dicom_and_back_with_the_engine_itself(slicerHost, tmp_path, monkeypatch):
    pytest.importorskip("pydicom", reason="the engine's packages are not in this environment")
    pytest.importorskip("torch", reason="the engine's packages are not in this environment")
    import qt
    import SimpleITK as sitk
    import slicer
    from dicom_registrations import CLOSE_MM, TURNED_GRID, a_pair, analytic, check, points_of
    from dicom_registrations import mapped as truth

    from GLIDERegLib.files.dicom.registered_scans import read_scan
    from GLIDERegLib.files.volumes import read_volume
    from GLIDERegLib.scene.mrml.arrays import gridTransform
    from GLIDERegLib.scene.mrml.geometry import mapPoints, matrixFromGrid, pointsToLps, pointsToRas

    folders = a_pair(tmp_path)
    found = [read_scan(folder, "scan") for folder in folders]
    volumes, files = [], {}
    for folder, scan, name in zip(folders, found, ("CT current", "CT prior"), strict=True):
        grid = {"size": scan.grid.size, "spacing": scan.grid.spacing, "origin": scan.grid.origin,
                "direction": scan.grid.direction}  # fmt: skip
        array = read_volume(folder, "scan").array
        volumes.append(slicer.util.addVolumeFromArray(array, ijkToRAS=matrixFromGrid(grid), name=name))
        volumes[-1].SetAttribute("DICOM.instanceUIDs", " ".join(scan.info.sop_instance_uids))
        files |= dict(zip(scan.info.sop_instance_uids, scan.info.files, strict=True))
        FRAMES.update(dict.fromkeys(scan.info.sop_instance_uids, scan.info.frame_of_reference_uid))
    monkeypatch.setattr(slicer, "dicomDatabase", Database(files), raising=False)
    monkeypatch.setenv("GLIDEREG_PYTHON", sys.executable)
    vectors = sitk.GetArrayFromImage(analytic(TURNED_GRID).GetDisplacementField()).astype(np.float32)
    nodes = {"size": TURNED_GRID.size, "spacing": TURNED_GRID.spacing, "origin": TURNED_GRID.origin,
             "direction": TURNED_GRID.direction}  # fmt: skip
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", "Registered")
    transform.SetAndObserveTransformFromParent(gridTransform(vectors, nodes))
    made = makePage(SimpleNamespace(transform=transform, current=volumes[0], prior=volumes[1]))
    out = tmp_path / "registration.dcm"
    slicerHost.dialogs.answers += [qt.QMessageBox.Ok, str(out)]
    made.ui.checkSendButton.click()
    slicerHost.waitUntil(lambda: made.ui.checkSendButton.enabled, seconds=60)
    assert made.ui.checkDicomLabel.text == f"Written: {out}"
    points = points_of(found[0])
    check(out, found, points)
    slicerHost.dialogs.answers.append(str(out))
    made.ui.checkImportButton.click()
    slicerHost.waitUntil(lambda: made.ui.checkImportButton.enabled, seconds=60)
    node = made.node.checkTransform
    assert node is not transform and (made.node.checkFixed, made.node.checkMoving) == tuple(volumes)
    mapped = pointsToLps(mapPoints(node.GetTransformFromParent(), pointsToRas(points)))
    assert np.linalg.norm(mapped - truth(points), axis=1).max() <= CLOSE_MM
    made.page.close()
    made.widget.deleteLater()
