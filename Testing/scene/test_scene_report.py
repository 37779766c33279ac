"""The report from the scene: its nodes as the files of a result, and the page made by another process."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from promises import within

ENGINE = os.environ.get("GLIDEREG_PYTHON")
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
MARKS = {"a": (2.0, 5.0, -8.0), "b": (-6.0, 12.0, 4.0)}


@pytest.fixture
def pair(scene, addVolume, addLinear, oblique):
    """A fixed and a moving scan, and a shift of (4, -3, 6) mm, RAS, from fixed to moving points."""
    from GLIDERegLib.scene.report.folder import ReportInputs

    axis = np.linspace(-1, 1, 24)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    chest = np.where(x**2 + y**2 + z**2 < 0.7, 40, -1000) + 5 * np.random.default_rng(0).normal(size=x.shape)
    # Around the origin, where the marks are.
    oblique[:3, 3] = -oblique[:3, :3] @ np.full(3, 11.5)
    fixed = addVolume(chest.astype(np.int16), oblique, "Follow-up")
    moving = addVolume(np.roll(chest, 1, axis=2).astype(np.int16), oblique, "Baseline")
    shift = np.eye(4)
    shift[:3, 3] = (-4, 3, -6)  # to parent: where the moving scan would be shown
    return ReportInputs(fixed, moving, addLinear(shift, name="Shift"))


@pytest.fixture
def marks(scene):
    """Function that adds a list of points, by default the marks."""

    def add(name="Nodules", points=MARKS):
        node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
        for label, point in points.items():
            node.AddControlPoint(point, label)
        return node

    return add


def written(inputs, folder):
    """Writes the inputs; returns report.json."""
    from GLIDERegLib.scene.report.folder import writeReportFolder

    folder.mkdir(exist_ok=True)
    writeReportFolder(inputs, folder)
    return json.loads((folder / "report.json").read_text("utf-8"))


def rows(path):
    lines = [line for line in path.read_text("utf-8").splitlines(keepends=True) if line[0] != "#"]
    return list(csv.DictReader(lines))


def rasPoints(path):
    return np.array([[float(row[axis]) for axis in "xyz"] for row in rows(path)]) * (-1, -1, 1)


def mapRas(transform, points):
    sign = np.array([-1.0, -1.0, 1.0])
    return [
        np.array(transform.TransformPoint((np.asarray(point) * sign).tolist())) * sign for point in points
    ]


def changed(inputs, **changes):
    from dataclasses import replace

    return replace(inputs, **changes)


@pytest.mark.parametrize("kind", ["linear", "grid", "grid stored to parent", "under another transform"])
def test_the_written_transform_is_the_nodes_map_from_fixed_to_moving(
    pair, tmp_path, addWarp, addLinear, rotation, kind
):
    import SimpleITK as sitk
    import vtk

    transform = {
        "linear": lambda: pair.transform,
        "grid": addWarp,
        "grid stored to parent": lambda: addWarp(storedFromParent=False),
        "under another transform": lambda: addWarp(parent=addLinear(rotation)),
    }[kind]()
    written(changed(pair, transform=transform), tmp_path)
    expected = vtk.vtkGeneralTransform()
    transform.GetTransformFromWorld(expected)
    # Points that land in the moving scan, which is where an inverse was sampled.
    points = [expected.GetInverse().TransformPoint(point) for point in MARKS.values()]
    found = mapRas(sitk.ReadTransform(str(tmp_path / "transform.h5")), points)
    # ITK reads a cubic grid linearly: with nodes 10 mm apart that is the larger part.
    tolerance = 1e-4 if kind == "linear" else 0.3 if kind == "grid" else 0.05
    assert np.allclose(found, list(MARKS.values()), atol=tolerance)


def test_a_moving_scan_under_the_transform_is_written_as_it_lies(pair, tmp_path):
    written(pair, tmp_path / "apart")
    pair.movingVolume.SetAndObserveTransformNodeID(pair.transform.GetID())
    written(pair, tmp_path / "under")
    for name in ("fixed.nrrd", "moving.nrrd"):
        assert (tmp_path / "apart" / name).read_bytes() == (tmp_path / "under" / name).read_bytes()
    assert pair.movingVolume.GetParentTransformNode() is pair.transform


def test_a_linear_transform_between_the_moving_scan_and_the_transform_counts(
    pair, tmp_path, addLinear, rotation
):
    import SimpleITK as sitk

    between = addLinear(rotation, parent=pair.transform)
    pair.movingVolume.SetAndObserveTransformNodeID(between.GetID())
    written(pair, tmp_path)
    image = sitk.ReadImage(str(tmp_path / "moving.nrrd"))
    corner = pair.movingVolume
    origin = LPS @ rotation @ [*corner.GetOrigin(), 1]
    assert np.allclose(image.GetOrigin(), origin[:3], atol=1e-6)


def test_volumes_are_named_as_in_the_scene_and_the_engines_report_is_kept(pair, tmp_path):
    report = written(changed(pair, engineReport={"seed": 7, "inputs": {"fixed": "gone"}}), tmp_path)
    assert report["inputs"] == {"fixed": "fixed.nrrd", "moving": "moving.nrrd"}
    assert report["names"] == {"fixed": "Follow-up", "moving": "Baseline", "transform": "Shift"}
    assert report["seed"] == 7


def test_nodules_are_where_their_lists_have_them_now(pair, marks, tmp_path):
    from nodules_scene import propagateNodules

    from GLIDERegLib.scene.registration.results import NoduleTask

    source, propagated = marks(), marks("Propagated", {})
    propagateNodules(source, pair.transform, "moving-to-fixed", pair.fixedVolume, propagated)
    propagated.SetNthControlPointPositionWorld(1, -1, -2, -3)  # the reader's correction
    task = NoduleTask(source, "moving-to-fixed", propagated)
    report = written(changed(pair, nodules=[task]), tmp_path)
    assert report["inputs"]["moving_points"] == "moving_points.csv"
    assert [row["label"] for row in rows(tmp_path / "moving_points.csv")] == ["a", "b"]
    assert np.allclose(rasPoints(tmp_path / "moving_points.csv"), list(MARKS.values()))
    found = rasPoints(tmp_path / "points_fixed.csv")
    assert np.allclose(found, [np.add(MARKS["a"], (-4, 3, -6)), (-1, -2, -3)], atol=1e-4)
    assert [row["inside_field"] for row in rows(tmp_path / "points_fixed.csv")] == ["true", "true"]


def test_nodules_that_were_never_propagated_are_propagated_now(pair, marks, tmp_path):
    from GLIDERegLib.scene.registration.results import NoduleTask

    written(changed(pair, nodules=[NoduleTask(marks(), "fixed-to-moving", marks("Empty", {}))]), tmp_path)
    expected = np.array(list(MARKS.values())) + (4, -3, 6)
    assert np.allclose(rasPoints(tmp_path / "points_moving.csv"), expected, atol=1e-4)


def test_an_empty_list_is_left_out(pair, marks, tmp_path):
    from GLIDERegLib.scene.registration.results import NoduleTask

    task = NoduleTask(marks("None", {}), "fixed-to-moving", marks("Nothing", {}))
    assert "fixed_points" not in written(changed(pair, nodules=[task]), tmp_path)["inputs"]


def table(scene, columns, name="Review"):
    import vtk

    node = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    for header, values in columns.items():
        array = vtk.vtkStringArray()
        array.SetName(header)
        for value in values:
            array.InsertNextValue(value)
        node.AddColumn(array)
    return node


def test_any_table_with_labels_is_taken_over(pair, scene, tmp_path):
    columns = {"Status": ["accepted", "unsure"], "Label": ["a", "b"], "Comment": ["", 'said "no", twice']}
    written(changed(pair, review=table(scene, columns)), tmp_path)
    assert rows(tmp_path / "review.csv") == [
        {"Status": "accepted", "Label": "a", "Comment": ""},
        {"Status": "unsure", "Label": "b", "Comment": 'said "no", twice'},
    ]


def test_the_review_tables_nodules_take_the_place_of_the_lists(pair, marks, scene, tmp_path):
    from GLIDERegLib.scene.registration.results import NoduleTask
    from GLIDERegLib.scene.review.table import Row, writeRows

    def row(label, markedIn, fixed, moving, predicted, **words):
        return Row(
            label,
            markedIn,
            fixed,
            moving,
            predicted,
            7.8,
            98.0,
            0.01,
            0.9,
            1.2,
            "no",
            "review recommended",
            "Why.",
            **words,
        )

    review = scene.AddNewNodeByClass("vtkMRMLTableNode", "Review")
    writeRows(
        review,
        [
            row("a", "moving", (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), (1.0, 2.0, 0.0), status="corrected"),
            row("a", "fixed", (7.0, 8.0, 9.0), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), comment="Grew."),
        ],
    )
    task = NoduleTask(marks(), "moving-to-fixed", marks("Propagated"))
    report = written(changed(pair, nodules=[task], review=review), tmp_path)
    assert {"fixed_points", "moving_points"} <= report["inputs"].keys()
    assert np.allclose(rasPoints(tmp_path / "moving_points.csv"), [(4, 5, 6)])
    assert np.allclose(rasPoints(tmp_path / "points_fixed.csv"), [(1, 2, 3)])
    assert np.allclose(rasPoints(tmp_path / "fixed_points.csv"), [(7, 8, 9)])
    assert rows(tmp_path / "points_moving.csv")[0]["inside_field"] == "false"
    first, second = rows(tmp_path / "review.csv")
    assert (first["Label"], first["Marked in"], first["Status"]) == ("a", "moving", "corrected")
    assert first["Corrected by (mm)"] == "3.0"
    assert (second["Comment"], second["Corrected by (mm)"]) == ("Grew.", "")
    assert first["Diameter fixed (mm)"] == "", "unknown is not zero"


def test_what_cannot_be_reported_is_refused_and_leaves_nothing(pair, marks, scene, tmp_path, addWarp):
    from GLIDERegLib.core.errors import InputError
    from GLIDERegLib.scene.registration.results import NoduleTask
    from GLIDERegLib.scene.report.run import SceneReport

    report = SceneReport(sys.executable)
    held = marks()
    held.SetAndObserveTransformNodeID(pair.transform.GetID())
    bent = addWarp(parent=pair.transform)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    for inputs, words in (
        (changed(pair, movingVolume=pair.fixedVolume), "the same"),
        (changed(pair, review=table(scene, {"Name": ["a"]})), "no column 'Label'"),
        (changed(pair, nodules=[NoduleTask(held, "moving-to-fixed", marks("Out"))]), "stands under"),
    ):
        with pytest.raises(InputError, match=words):
            report.start(inputs, tmp_path / "report.html", str(temporary))
    pair.movingVolume.SetAndObserveTransformNodeID(bent.GetID())
    with pytest.raises(InputError, match="not linear"):
        report.start(pair, tmp_path / "report.html", str(temporary))
    pair.fixedVolume.SetAndObserveTransformNodeID(pair.transform.GetID())
    with pytest.raises(InputError, match="stands under"):
        report.start(pair, tmp_path / "report.html", str(temporary))
    assert list(temporary.iterdir()) == []
    assert not report.active


def python(folder, script):
    """A program that stands in for the Python with the engine."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    path.chmod(0o755)
    return str(path)


def waitFor(report, seconds=60.0):
    end = time.monotonic() + seconds
    while report.active:
        assert time.monotonic() < end, "still making the report"
        if page := report.poll():
            return page
        time.sleep(0.01)
    return None


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (
            """echo '{"message": "Disk full.", "hint": "Free some.", "code": "disk-full"}' >&2; exit 2""",
            ("disk-full", "Disk full", "free some"),
        ),
        (
            'echo "ModuleNotFoundError: No module named torch" >&2; exit 1',
            ("dependency", "cannot be loaded (ModuleNotFoundError: No module named torch)"),
        ),
        ('echo "ValueError: odd" >&2; exit 1', ("internal", "unexpectedly (exit status 1). ValueError: odd")),
        ("exit 3", ("internal", "exit status 3")),
    ],
    ids=["said why", "package absent", "crashed", "said nothing"],
)
def test_where_there_is_no_report_it_says_why(pair, tmp_path, script, words):
    from GLIDERegLib.scene.report.run import SceneReport

    temporary = tmp_path / "temporary"
    temporary.mkdir()
    report = SceneReport(python(tmp_path, script))
    report.start(pair, tmp_path / "report.html", str(temporary))
    assert waitFor(report) is None
    code, *words = words
    assert report.failure.code == code
    assert all(word in str(report.failure) for word in words)
    assert list(temporary.iterdir()) == []


def test_a_python_that_is_missing_is_told_at_once(pair, tmp_path):
    from GLIDERegLib.core.errors import InputError
    from GLIDERegLib.scene.report.run import SceneReport

    with pytest.raises(InputError, match="cannot be made"):
        SceneReport(str(tmp_path / "no python")).start(pair, tmp_path / "report.html", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_closing_ends_the_process_and_removes_its_files(pair, tmp_path):
    from GLIDERegLib.core.errors import InputError
    from GLIDERegLib.scene.report.run import SceneReport

    temporary = tmp_path / "temporary"
    temporary.mkdir()
    report = SceneReport(python(tmp_path, f'echo $$ > "{tmp_path}/pid"; exec sleep 600'))
    report.start(pair, tmp_path / "report.html", str(temporary))
    with pytest.raises(InputError, match="already"):
        report.start(pair, tmp_path / "report.html", str(temporary))
    end = time.monotonic() + 10
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        assert time.monotonic() < end
        time.sleep(0.01)
    report.close()
    assert not Path(f"/proc/{int((tmp_path / 'pid').read_text())}").exists()
    assert list(temporary.iterdir()) == []
    assert (report.active, report.poll()) == (False, None)


@pytest.mark.once
def test_the_engine_makes_the_page_while_the_scene_goes_on(pair, marks, scene, tmp_path):
    if ENGINE is None and importlib.util.find_spec("torch") is None:
        pytest.skip("needs the engine here or in the Python that GLIDEREG_PYTHON names")
    from GLIDERegLib.scene.registration.results import NoduleTask
    from GLIDERegLib.scene.report.run import SceneReport

    temporary = tmp_path / "temporary"
    temporary.mkdir()
    task = NoduleTask(marks(), "moving-to-fixed", marks("Propagated", {}))
    review = table(scene, {"Label": ["a"], "Status": ["accepted"], "Comment": ["Kept <as> it is"]})
    report = SceneReport(ENGINE or sys.executable)
    page = tmp_path / "Report of today.html"
    start = time.monotonic()
    report.start(changed(pair, nodules=[task], review=review), page, str(temporary))
    assert time.monotonic() - start < within(1)
    assert report.poll() is None and report.active
    assert waitFor(report) == page
    assert report.failure is None
    text = page.read_text("utf-8")
    for name in ("Follow-up", "Baseline", "Shift"):
        assert name not in text, "names of nodes may hold a patient's name"
    for words in ("how it was made", "Kept &lt;as&gt; it is"):
        assert words in text
    assert text.count("data:image/png;base64,") == 1 + 2 * 4
    assert [row["Status"] for row in rows(tmp_path / "Report of today_nodules.csv")] == ["accepted", ""]
    assert list(temporary.iterdir()) == []
