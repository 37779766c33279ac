"""Dates, roles and patients of the two scans, from subject hierarchy or the nodes' attributes."""

from __future__ import annotations

import pytest

slicer = pytest.importorskip("slicer")
pytest.importorskip("slicer.util")
from nodules_scene import makeStudy  # noqa: E402

from GLIDERegLib.files.patients import Patient, different_patients  # noqa: E402
from GLIDERegLib.scene.registration.identity import (  # noqa: E402
    Scans,
    describePair,
    describeStudy,
    identityOf,
    patientMismatch,
    scanNames,
    sequenceMismatch,
)
from GLIDERegLib.scene.registration.pair import Pair  # noqa: E402


@pytest.fixture
def pair(scene):
    study = makeStudy(scene)
    return Pair(study.fixed, study.moving, study.transform)


def into_study(volume, date, patientId="", patientName=""):
    """The volume below a patient and a study, as Slicer's DICOM import puts it."""
    scene = volume.GetScene()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    constants = slicer.vtkMRMLSubjectHierarchyConstants
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "P")
    hierarchy.SetItemAttribute(patient, constants.GetDICOMPatientIDAttributeName(), patientId)
    hierarchy.SetItemAttribute(patient, constants.GetDICOMPatientNameAttributeName(), patientName)
    visit = hierarchy.CreateStudyItem(patient, date)
    hierarchy.SetItemAttribute(visit, constants.GetDICOMStudyDateAttributeName(), date)
    item = hierarchy.GetItemByDataNode(volume) or hierarchy.CreateItem(visit, volume)
    hierarchy.SetItemParent(item, visit)


def test_the_dicom_study_tells_patient_and_date(pair):
    into_study(pair.fixed, "20240310", "4711", "Doe^Jane")
    found = identityOf(pair.fixed)
    assert found.patient == Patient("4711", "Doe^Jane") and found.date.isoformat() == "2024-03-10"
    assert str(found.patient) == "Doe, Jane (ID 4711)"
    assert identityOf(pair.moving).date is None and str(identityOf(pair.moving).patient) == ""


@pytest.mark.parametrize(
    ("fixed", "moving", "days", "expected"),
    [
        ("20240310", "20230310", None, ("current (2024-03-10)", "prior (2023-03-10)")),
        ("20230310", "20240310", None, ("prior (2023-03-10)", "current (2024-03-10)")),
        ("", "", 90, ("current", "prior")),
        ("", "", -90, ("prior", "current")),
        ("", "", None, ("fixed", "moving")),
        ("20240310", "", None, ("fixed (2024-03-10)", "moving")),
        ("20240310", "20240310", None, ("fixed (2024-03-10)", "moving (2024-03-10)")),
        ("someday", "", None, ("fixed", "moving")),
    ],
)
def test_current_is_the_later_scan_whichever_is_fixed(pair, fixed, moving, days, expected):
    for volume, text in ((pair.fixed, fixed), (pair.moving, moving)):
        volume.SetAttribute("DICOM.StudyDate", text)
    assert tuple(scanNames(pair, days).values()) == expected


def test_the_patient_is_told_only_where_wanted(pair):
    for volume in (pair.fixed, pair.moving):
        into_study(volume, "20240310", "4711", "Doe^Jane")
    assert "Doe" in describePair(pair) and "4711" in describePair(pair)
    assert "Doe" not in describePair(pair, showPatient=False)
    assert "2024-03-10" in describePair(pair, showPatient=False)


@pytest.mark.parametrize(
    ("first", "second", "differ"),
    [
        (Patient("1", "A"), Patient("2", "A"), True),
        (Patient("1", "A"), Patient("1", "B"), False),
        (Patient("", "Doe^Jane"), Patient("7", "DOE JANE"), False),
        (Patient("", "Doe^Jane"), Patient("7", "Roe^Jane"), True),
        (Patient(), Patient("7", "Roe^Jane"), False),
        (Patient(" 007 "), Patient("007"), False),
    ],
)
def test_ids_decide_and_names_only_where_an_id_is_missing(first, second, differ):
    reason = different_patients(first, second)
    assert bool(reason) == differ
    for secret in (first.name, second.name, "007"):
        assert not secret or secret not in reason


def test_a_mismatch_is_seen_in_the_scene(pair):
    into_study(pair.fixed, "20240310", "1")
    assert patientMismatch((pair.fixed, pair.moving)) == ""
    into_study(pair.moving, "20230310", "2")
    assert "different patients" in patientMismatch((pair.fixed, pair.moving))
    assert patientMismatch((pair.fixed, None)) == ""


def test_the_two_scans_can_be_told_of_before_there_is_a_transform(pair):
    into_study(pair.fixed, "20240310", "4711", "Doe^Jane")
    into_study(pair.moving, "20230310", "4711", "Doe^Jane")
    text = describePair(Scans(pair.fixed, pair.moving))
    assert "current (2024-03-10)" in text and "prior (2023-03-10)" in text
    assert text == describePair(pair)


def test_a_study_says_its_date_and_its_patient_only_where_wanted(pair):
    into_study(pair.fixed, "20240310", "4711", "Doe^Jane")
    assert describeStudy(pair.fixed) == "Study of 2024-03-10. Patient: Doe, Jane (ID 4711)."
    assert describeStudy(pair.fixed, showPatient=False) == "Study of 2024-03-10."
    assert describeStudy(pair.moving) == describeStudy(None) == ""


def test_frames_of_two_patients_are_noticed(scene):
    volumes, frame = scene.AddNewNodeByClass("vtkMRMLSequenceNode"), slicer.vtkMRMLScalarVolumeNode()
    for n, identifier in enumerate(("4711", "4711", "")):
        frame.SetAttribute("DICOM.PatientID", identifier)
        volumes.SetDataNodeAtValue(frame, str(n))
    assert sequenceMismatch(volumes) == ""
    frame.SetAttribute("DICOM.PatientID", "0815")
    volumes.SetDataNodeAtValue(frame, "3")
    assert "frames are of different patients" in sequenceMismatch(volumes)
