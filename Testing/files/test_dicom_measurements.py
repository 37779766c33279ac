"""A table of measured nodules as a structured report, read back tag by tag."""

import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from dicom_registrations import a_pair

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.dicom.measurement_report import export_measurements, read_measurements, read_tracking
from GLIDERegLib.files.dicom.registered_scans import read_scan

HEADER = "label,x,y,z,volume_mm3,volume_low_mm3,volume_high_mm3,long_mm,short_mm,mean_mm,status\n"


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    return read_scan(a_pair(tmp_path_factory.mktemp("pair"))[0], "scan")


@pytest.fixture
def table(scan, tmp_path):
    """Two nodules and one that was not measured."""
    x, y, z = scan.grid.center
    rows = [
        f"A,{x},{y},{z},523.6,470.12,580.9,10.21,9.8,10.0,measured",
        f"B,{x + 4},{y},{z},65.45,50,80.25,5.5,4.5,5,measured",
        f"C,{x},{y + 4},{z},,,,,,,no nodule",
    ]
    path = tmp_path / "nodules.csv"
    path.write_text(HEADER + "\n".join(rows) + "\n")
    return path


def items(content, code):
    """All content items of a concept, however deep."""
    for item in content:
        name = item.get("ConceptNameCodeSequence")
        if name and name[0].CodeValue == code:
            yield item
        yield from items(item.get("ContentSequence") or (), code)


def numbers(group):
    found = {}
    for item in group.ContentSequence:
        if item.ValueType == "NUM":
            derived = [
                part.ConceptCodeSequence[0].CodeMeaning.split()[0]
                for part in item.get("ContentSequence") or ()
                if part.ValueType == "CODE"
            ]
            value = item.MeasuredValueSequence[0]
            key = (item.ConceptNameCodeSequence[0].CodeMeaning, *derived)
            found[key] = (float(value.NumericValue), value.MeasurementUnitsCodeSequence[0].CodeValue)
    return found


@pytest.fixture
def report(table, scan, tmp_path):
    pytest.importorskip("highdicom", reason="highdicom is not installed (make validators)")
    path = tmp_path / "report.dcm"
    uids = export_measurements(read_measurements(table), scan, path)
    return path, uids


def test_the_numbers_are_those_of_the_table_each_with_its_nodule_and_place(report, scan):
    path, uids = report
    data = pydicom.dcmread(path)
    groups = list(items(data.ContentSequence, "125007"))
    assert len(groups) == 2 and (data.CompletionFlag, data.VerificationFlag) == ("PARTIAL", "UNVERIFIED")
    assert data.StudyInstanceUID == scan.info.study_uid
    first = numbers(groups[0])
    assert first == {
        ("Volume",): (523.6, "mm3"),
        ("Volume", "Lower"): (470.12, "mm3"),
        ("Volume", "Upper"): (580.9, "mm3"),
        ("Long axis",): (10.21, "mm"),
        ("Short axis",): (9.8, "mm"),
        ("Diameter", "Mean"): (10.0, "mm"),
    }
    (uid,) = items(groups[0].ContentSequence, "112040")
    assert uid.UID == uids["A"]
    (place,) = items(groups[0].ContentSequence, "121231")
    np.testing.assert_allclose(place.GraphicData, scan.grid.center, atol=1e-3)
    assert place.ReferencedFrameOfReferenceUID == scan.info.frame_of_reference_uid


def test_the_report_is_valid(report):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy of dicom3tools is not installed (make validators)")
    done = subprocess.run(["dciodvfy", "-new", str(report[0])], capture_output=True, text=True)
    lines = (done.stdout + done.stderr).splitlines()
    assert "Comprehensive3DSR" in lines
    assert [line for line in lines if line.startswith("Error")] == []


def test_a_nodule_keeps_its_tracking_uid_on_the_next_date(report, scan, table, tmp_path):
    path, uids = report
    assert read_tracking(path, scan) == uids and len(set(uids.values())) == 2
    later = tmp_path / "later.csv"
    later.write_text(table.read_text().replace("\nB,", "\nD,"))
    again = export_measurements(read_measurements(later), scan, tmp_path / "2.dcm", read_tracking(path, scan))
    assert again["A"] == uids["A"] and again["D"] not in uids.values()
    other = read_scan(a_pair(tmp_path / "other", PatientID="8")[0], "scan")
    with pytest.raises(InputError, match="different patients"):
        read_tracking(path, other)


def test_tables_of_another_kind_are_refused(tmp_path):
    (tmp_path / "points.csv").write_text("label,x,y,z\na,1,2,3\n")
    with pytest.raises(InputError, match="holds no measurement"):
        read_measurements(tmp_path / "points.csv")
    (tmp_path / "other.csv").write_text("name,value\na,1\n")
    with pytest.raises(InputError, match="is no table of measured nodules"):
        read_measurements(tmp_path / "other.csv")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("A,1,2,3,nan,,,,,,measured", "is no table of measured nodules"),
        ("A,1,2,3,inf,,,,,,measured", "is no table of measured nodules"),
        (",1,2,3,5,,,,,,measured", "a nodule without one"),
    ],
)
def test_what_a_report_cannot_hold_is_refused(tmp_path, row, said):
    (tmp_path / "nodules.csv").write_text(HEADER + row + "\n")
    with pytest.raises(InputError, match=said):
        read_measurements(tmp_path / "nodules.csv")
