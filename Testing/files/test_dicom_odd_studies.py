"""New objects in studies whose scans lack tags, hold old forms or names of other scripts."""

import shutil
import subprocess
import warnings

import numpy as np
import pydicom
import pytest
from dicom_objects import UID
from dicom_registrations import TURNED_GRID, a_pair, analytic

from GLIDERegLib.files.dicom.measurement_report import MeasuredNodule, export_measurements
from GLIDERegLib.files.dicom.new_object import taken_over_doubts
from GLIDERegLib.files.dicom.registered_scans import read_scan
from GLIDERegLib.files.dicom.registration_writer import export_registration
from GLIDERegLib.files.dicom.segmentation_object import export_segmentation
from GLIDERegLib.files.dicom.structure_set import export_structure_set
from GLIDERegLib.files.segmentations import Segment, Segmentation

# Tags of the scans, and what the objects must say instead.
LACKING = {
    name: None
    for name in "PatientName PatientID PatientBirthDate PatientSex StudyID AccessionNumber StudyTime "
    "ReferringPhysicianName StudyDate".split()
}
ODD = {
    "nothing of type 2": (LACKING, dict.fromkeys(LACKING, "")),
    "Japanese in two sets": (
        {
            "SpecificCharacterSet": ["", "ISO 2022 IR 87"],
            "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
        },
        {"PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう"},
    ),
    "Latin-1": (
        {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jörg", "StudyDescription": "für"},
        {"PatientName": "Müller^Jörg", "StudyDescription": "für"},
    ),
    "ACR-NEMA's dates": (
        {"PatientBirthDate": "1950.01.31", "StudyDate": "2026.01.02", "StudyTime": "10:11:12"},
        {"PatientBirthDate": "19500131", "StudyDate": "20260102", "StudyTime": "101112"},
    ),
    "an unknown sex and date": (
        {"PatientSex": "X", "PatientBirthDate": "unknown"},
        {"PatientSex": "", "PatientBirthDate": ""},
    ),
    "a lung's side": ({"BodyPartExamined": "LUNG", "Laterality": "R"}, {}),
    "a body part and a reference point in words": (
        {"BodyPartExamined": "chest wall, left", "PositionReferenceIndicator": "where the " * 8},
        {},
    ),
    "fractions of a second, an age and comments": (
        {"StudyTime": "101112.5", "PatientAge": "076Y", "PatientComments": "x" * 200},
        {"StudyTime": "101112.5"},
    ),
    "a side of nothing": ({"Laterality": "R"}, {}),
    "a trial": (
        {
            "ClinicalTrialSponsorName": "S",
            "ClinicalTrialProtocolID": "P",
            "ClinicalTrialSubjectID": "1",
            "PatientIdentityRemoved": "YES",
            "DeidentificationMethod": "by hand",
        },
        {"ClinicalTrialSubjectID": "1", "ClinicalTrialSiteID": "", "PatientIdentityRemoved": "YES"},
    ),
}
KINDS = {
    "registration": "DeformableSpatialRegistration",
    "structures": "RTStructureSet",
    "segmentation": "Segmentation",
    "report": "Comprehensive3DSR",
}


def written(kind, fixed, moving, path):
    labels = np.zeros(fixed.grid.shape, np.int32)
    labels[8:20, 10:30, 15:40] = 1
    contours = Segmentation((labels,), fixed.grid, (Segment("Lungenflügel 肺", 1),))
    if kind in ("segmentation", "report"):
        pytest.importorskip("highdicom", reason="highdicom is not installed (make validators)")
    if kind == "registration":
        export_registration(analytic(TURNED_GRID), fixed, moving, path)
    elif kind == "structures":
        export_structure_set(contours, fixed, path)
    elif kind == "segmentation":
        export_segmentation(contours, fixed, path)
    else:
        export_measurements([MeasuredNodule("ä", tuple(fixed.grid.center), {"mean_mm": 10.0})], fixed, path)
    return pydicom.dcmread(path)


@pytest.fixture(scope="module", params=ODD)
def odd(request, tmp_path_factory):
    tags, expected = ODD[request.param]
    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folders = a_pair(tmp_path_factory.mktemp("pair"), moving=tags, **tags)
        return [read_scan(folder, "scan") for folder in folders], expected


TOO_LONG = {"AccessionNumber": "ACC-2026-000000000123", "StudyID": "STUDY 1234567890 ABC"}
INVALID = {
    "too long": TOO_LONG,
    "a tab, and two values": {"AccessionNumber": "x\ty", "StudyID": ["A", "B"]},
    "long names": {"StudyDescription": "D" * 90, "ReferringPhysicianName": "R" * 70 + "^X"},
    "a UID with zeros": {"StudyInstanceUID": UID + ".3.00"},
}


@pytest.mark.parametrize("what", INVALID)
def test_what_is_no_valid_value_is_taken_over_and_told_of(what, tmp_path):
    tags = INVALID[what]
    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fixed, moving = (read_scan(folder, "scan") for folder in a_pair(tmp_path, **tags))
    (doubt,) = taken_over_doubts(fixed)
    assert all(name in doubt for name in tags) and taken_over_doubts(moving) == []
    assert not any(str(value) in doubt for value in tags.values())
    for kind in KINDS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = written(kind, fixed, moving, tmp_path / f"{kind}.dcm")
            assert {name: data[name].value for name in tags} == tags


@pytest.mark.parametrize("kind", KINDS)
def test_an_odd_study_gets_its_objects(odd, kind, tmp_path):
    (fixed, moving), expected = odd
    path = tmp_path / "object.dcm"
    data = written(kind, fixed, moving, path)
    assert data.SpecificCharacterSet == "ISO_IR 192"
    assert {name: str(data.get(name) or "") for name in expected} == expected
    texts = [data.get("StructureSetROISequence"), data.get("SegmentSequence")]
    for name in [item.get("ROIName") or item.get("SegmentLabel") for part in texts for item in part or ()]:
        assert name == "Lungenflügel 肺"
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy of dicom3tools is not installed (make validators)")
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True)
    lines = (done.stdout + done.stderr).decode(errors="replace").splitlines()
    assert KINDS[kind] in lines
    assert [line for line in lines if line.startswith("Error")] == []
