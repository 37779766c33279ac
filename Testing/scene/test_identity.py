"""Dates, roles and patients of the two scans, from subject hierarchy or the nodes' attributes."""

from __future__ import annotations

import pytest

slicer = pytest.importorskip("slicer")
pytest.importorskip("slicer.util")
from nodules_scene import makeStudy  # noqa: E402

from GLIDERegLib.files.patients import Patient, different_patients  # noqa: E402
from GLIDERegLib.scene.registration.identity import describePair, identityOf, patientMismatch, scanNames  # noqa: E402
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
