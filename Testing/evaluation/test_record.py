"""A record holds as long as nothing it speaks of changes, and says so when something did."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta, timezone

import pytest
from dicom_objects import a_series, hu

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.evaluation.record.numbers import Number, numbers_of
from GLIDERegLib.evaluation.record.page import page
from GLIDERegLib.evaluation.record.record import (
    Look,
    Request,
    State,
    file_hash,
    make_record,
    read_record,
    state,
    write_record,
)

CHECK = {
    "error_mm": {"final": {"mean": 1.0, "p95": 2.5, "max": 6.0}},
    "regions": [
        {"name": "left lung, lower third", "error_mm": {"p95": 3.5}, "uncovered": 0.31},
        {"name": "left lung, upper third", "error_mm": None, "uncovered": 1.0},
    ],
}


@pytest.fixture
def files(tmp_path):
    """A fixed file, a moving folder as DICOM comes in, and a transform."""
    (tmp_path / "fixed.nii").write_bytes(b"fixed")
    (tmp_path / "series").mkdir()
    for number in range(3):
        (tmp_path / "series" / f"{number}.dcm").write_bytes(bytes([number]))
    (tmp_path / "transform.h5").write_bytes(b"transform")
    return {
        "fixed": tmp_path / "fixed.nii",
        "moving": tmp_path / "series",
        "transform": tmp_path / "transform.h5",
    }


def record_of(files, **changes):
    given = {
        "request": Request("follow-up", "left lung, lower third", 3.0),
        "looked": [Look("linked views", True, "2026-11-26T10:00:00+00:00"), Look("base of the left lung")],
        "numbers": numbers_of([CHECK], {"landmark error, 95 %": 3.0}),
        "level": 1,
        "text": "<b>good</b> & clear",
        "name": "A. Physicist",
        "files": files,
    }
    return make_record(**{**given, **changes})


def test_a_record_comes_back_from_its_file_as_it_was(files, tmp_path):
    record = record_of(files)
    write_record(record, tmp_path / "record.json")
    assert read_record(tmp_path / "record.json") == record
    assert str(state(record, files)).startswith("Holds")


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data["decision"].update(level=0),
        lambda data: data["decision"].update(name="Somebody Else"),
        lambda data: data["numbers"][0].update(value=0.1),
        lambda data: data["numbers"].pop(),
        lambda data: data["looked"].append({"what": "everything", "by_tool": True, "when": ""}),
        lambda data: data["hashes"].update(transform="0" * 64),
        lambda data: data.update(seal="0" * 64),
        lambda data: data.update(approved=True),
        lambda data: data["request"].update(accuracy_mm=30.0),
    ],
)
def test_an_altered_record_is_refused(files, tmp_path, change):
    path = tmp_path / "record.json"
    write_record(record_of(files), path)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(InputError) as refused:
        read_record(path)
    assert refused.value.code == "record-tampered"


@pytest.mark.parametrize("name", ['"decision": ', '"level": ', '"value": '])
def test_a_record_that_says_something_twice_is_refused(files, tmp_path, name):
    """Readers of JSON differ in which of the two they take, and the seal knows of one."""
    path = tmp_path / "record.json"
    write_record(record_of(files), path)
    text = path.read_text()
    path.write_text(text.replace(name, f"{name}0, {name}", 1))
    with pytest.raises(InputError):
        read_record(path)


def test_the_order_of_its_names_is_nothing_of_a_record(files, tmp_path):
    path = tmp_path / "record.json"
    record = record_of(files)
    write_record(record, path)
    data = json.loads(path.read_text())
    path.write_text(json.dumps(dict(sorted(data.items(), reverse=True))))
    assert read_record(path) == record


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "glidereg-record-1"}', "not json", "[" * 100_000]
)
def test_what_is_no_record_is_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match="is no record"):
        read_record(tmp_path / "x.json")


def test_a_record_is_superseded_by_any_change_of_scan_or_transform(files):
    record = record_of(files)
    files["transform"].write_bytes(b"transform again")
    assert state(record, files) == State(["transform"], [])
    (files["moving"] / "1.dcm").rename(files["moving"] / "9.dcm")
    now = state(record, files)
    assert str(now) == "Superseded: the moving and the transform have changed since the record was made."
    assert str(now) in page(record, now)


def test_what_is_not_given_is_not_said_to_hold(files):
    now = state(record_of(files), {"fixed": files["fixed"]})
    assert not now.superseded
    assert str(now) == "Unaltered; the moving and the transform not compared."


def test_the_layer_below_the_pleura_is_named_in_words_and_may_be_what_matters(files):
    layer = {"name": "within 10 mm of the pleura", "error_mm": {"p95": 2.5}, "uncovered": 0.4}
    numbers = numbers_of([{**CHECK, "regions": [layer]}], {})
    assert numbers[-1].name == "without a landmark in the lung within 10 mm of the pleura"
    record = record_of(files, request=Request("dose", layer["name"], 3.0), numbers=numbers)
    assert record.reached.startswith("3 mm in the lung within 10 mm of the pleura is reached where landmarks")


def test_the_hash_of_a_file_is_that_of_sha256sum(files):
    assert file_hash(files["fixed"]) == hashlib.sha256(b"fixed").hexdigest()


ELASTIX = """(Transform "TranslationTransform")
(NumberOfParameters 3)
(TransformParameters {x} 0 0)
(InitialTransformParameterFileName "{initial}")
(HowToCombineTransforms "Compose")
(FixedImageDimension 3)
(MovingImageDimension 3)
"""


def a_header(folder):
    (folder / "a scan.raw").write_bytes(b"voxels")
    (folder / "scan.mhd").write_text("NDims = 3\nElementDataFile = a scan.raw\n")
    return folder / "scan.mhd", folder / "a scan.raw"


def pieces(folder):
    for number in range(3):
        (folder / f"s{number:02}.raw").write_bytes(b"voxels")
    (folder / "scan.nhdr").write_text("NRRD0004\ndata file: s%02d.raw 0 2 1\n")
    return folder / "scan.nhdr", folder / "s01.raw"


def two_of_nifti(folder):
    for end in ("hdr", "img"):
        (folder / f"scan.{end}").write_bytes(b"voxels")
    return folder / "scan.img", folder / "scan.hdr"


def a_chain(folder):
    for number, initial in enumerate(("NoInitialTransform", "t0.txt", "t1.txt")):
        (folder / f"t{number}.txt").write_text(ELASTIX.format(x=number, initial=initial))
    return folder / "t2.txt", folder / "t0.txt"


def a_slice(folder):
    a_series(folder, hu())
    first, *_, last = sorted(folder.iterdir())
    return first, last


@pytest.mark.parametrize("made", [a_header, pieces, two_of_nifti, a_chain, a_slice])
def test_what_is_read_with_a_file_is_locked_with_it(files, tmp_path, made):
    (tmp_path / "of").mkdir()
    file, part = made(tmp_path / "of")
    (tmp_path / "of" / "beside.bin").write_bytes(b"another file")
    locked = {**files, "transform": file}
    record = record_of(locked)
    (tmp_path / "of" / "beside.bin").write_bytes(b"that changes")
    assert not state(record, locked).superseded
    part.write_bytes(part.read_bytes() + b"\n")
    assert state(record, locked).changed == ["transform"]


def test_numbers_stand_beside_the_sites_own_tolerances():
    tolerances = {"landmark error, mean": 0.5, "without a landmark, anywhere": 50}
    by_name = {number.name: number for number in numbers_of([CHECK], tolerances)}
    assert by_name["landmark error, mean"].within is False
    assert by_name["without a landmark in the left lung, lower third"].within is True
    assert by_name["without a landmark in the left lung, upper third"].within is False
    assert by_name["landmark error, 95 %"].within is None
    assert by_name["landmark error, 95 % in the left lung, upper third"].value is None


def test_a_tolerance_of_no_number_is_refused_with_the_names_there_are():
    with pytest.raises(InputError, match="landmark error, mean"):
        numbers_of([CHECK], {"lanmark error": 1.0})


@pytest.mark.parametrize("most", ["abc", None, True, float("nan"), float("inf"), [1]])
def test_a_tolerance_that_is_no_number_is_refused(most):
    with pytest.raises(InputError, match="is no number"):
        numbers_of([CHECK], {"landmark error, mean": most})


@pytest.mark.parametrize(
    "report",
    [
        {"error_mm": 1, "regions": 2},
        {"error_mm": {"final": {}}, "regions": []},
        {"residual_mm": {"p95": 1}},
        {"compared": [1]},
        {"jacobian": {}, "dice": [2]},
    ],
)
def test_a_damaged_report_is_refused(report):
    with pytest.raises(InputError, match="report"):
        numbers_of([report], {})


def test_whether_the_accuracy_wanted_is_reached_is_said_in_words(files):
    assert record_of(files).reached == (
        "3 mm in the left lung, lower third is not reached where landmarks are (69 % of it): 95 % of the "
        "landmarks there are below 3.5 mm; the rest is not known."
    )
    empty = record_of(files, request=Request("x", "left lung, upper third", 3.0))
    assert empty.reached.endswith("is not known: no landmark lies there.")


def test_the_page_escapes_text_and_says_that_a_name_is_no_login(files):
    text = page(record_of(files), State([], []))
    assert "&lt;b&gt;good&lt;/b&gt; &amp; clear" in text and "<b>good" not in text
    assert "A typed name is no login" in text
    assert text.count("seen by the program") == 1 and text.count(">stated<") == 1
    assert "Superseded" not in text


def test_the_time_is_that_of_the_clock_in_utc(files):
    east = datetime(2026, 11, 26, 1, 30, tzinfo=timezone(timedelta(hours=5)))
    assert record_of(files, now=east).decision.time == "2026-11-25T20:30:00+00:00"


@pytest.mark.parametrize(
    "wrong",
    [{"level": 5}, {"level": -1}, {"name": "  "}, {"request": Request("x", "y", float("nan"))}],
)
def test_a_record_without_a_decision_is_not_made(files, wrong):
    with pytest.raises(InputError):
        record_of(files, **wrong)


def test_a_number_without_a_tolerance_is_neither_within_nor_beyond():
    assert Number("x", 1.0, "mm").within is None
    assert Number("x", 1.0, "mm", 1.0).within is True


@pytest.mark.parametrize(("least", "within"), [(0.4, True), (0.1, False), (-0.2, False)])
def test_a_field_that_nearly_folds_breaks_its_tolerance(least, within):
    report = {"jacobian": {"share_not_positive": 0.0, "min": least}}
    name = "1 - least Jacobian determinant"
    found = {number.name: number for number in numbers_of([report], {name: 0.8})}
    assert found[name].within is within
