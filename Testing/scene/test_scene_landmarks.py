"""Landmarks of a check in the scene: lists, errors of the present transform, decisions, map and table."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time

import numpy as np
import pytest

ENGINE = os.environ.get("GLIDEREG_PYTHON")
LPS = (-1, -1, 1)
# RAS mm in the fixed scan; the transform's errors there, and the regions.
PLACES = np.array([(0.0, 0.0, 0.0), (20.0, 0.0, 0.0), (0.0, 24.0, 8.0), (-24.0, 0.0, -8.0)])
ERRORS = np.array([1.0, 6.0, 3.0, 0.0])
SHIFT = np.array([4.0, -3.0, 6.0])
REGIONS = ["lung", "lung", "body", "body"]


@pytest.fixture
def pair(scene, addVolume, addLinear):
    """A fixed and a moving scan, and a shift of (4, -3, 6) mm, RAS, from fixed to moving points."""
    from GLIDERegLib.scene.registration.pair import makePair

    matrix = np.diag([4.0, 4.0, 4.0, 1.0])
    matrix[:3, 3] = -46
    axis = np.linspace(-46, 46, 24)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    body = np.where(x**2 + y**2 + z**2 < 42**2, 40, -1000).astype(np.int16)
    toParent = np.eye(4)
    toParent[:3, 3] = -SHIFT
    scans = [addVolume(body, matrix, name) for name in ("Follow-up", "Baseline")]
    return makePair(*scans, addLinear(toParent, name="Shift"))


@pytest.fixture
def checked(tmp_path):
    """A folder as `glidereg check` leaves it, with these places, errors and regions."""
    from GLIDERegLib.files.points import PointSet, write_points

    labels = [f"L{n}" for n in range(4)]
    moving = PLACES + SHIFT
    moving[:, 0] += ERRORS
    columns = {"region": REGIONS, "near_pleura": [True, False, False, False]}
    for scan, points in (("fixed", PLACES), ("moving", moving)):
        write_points(PointSet(labels, points * LPS), tmp_path / f"{scan}_landmarks.csv", columns)
    regions = [("lung", 0.25), ("body", 0.5), ("within 10 mm of the pleura", 0.9)]
    report = {"regions": [{"name": name, "uncovered": share} for name, share in regions]}
    (tmp_path / "check.json").write_text(json.dumps(report), encoding="utf-8")
    return tmp_path


def table(pair):
    """Rows of numbers by region."""
    from GLIDERegLib.scene.quality.landmark_nodes import COLUMNS, regionTable

    node = regionTable(pair)
    return {
        node.GetCellText(n, 0): [float(node.GetCellText(n, c)) for c in range(1, len(COLUMNS))]
        for n in range(node.GetNumberOfRows())
    }


def mapAt(pair, point):
    """The map of errors at a world RAS point."""
    import slicer

    from GLIDERegLib.scene.mrml.geometry import ijkToWorld
    from GLIDERegLib.scene.quality.maps import LANDMARK_ERROR, findMap

    node = findMap(pair.transform, LANDMARK_ERROR)
    i, j, k = np.rint(np.linalg.inv(ijkToWorld(node)) @ [*point, 1])[:3].astype(int)
    return slicer.util.arrayFromVolume(node)[k, j, i]


def test_landmarks_come_with_the_errors_of_the_transform(pair, checked):
    from GLIDERegLib.scene.quality.landmarks import summary, takeLandmarks, worst

    found = takeLandmarks(pair, checked)
    np.testing.assert_allclose([place.error for place in found], ERRORS, atol=1e-4)
    np.testing.assert_allclose([place.fixed for place in found], PLACES, atol=1e-5)
    assert [place.label for place in worst(found, 2)] == ["L1", "L2"]
    assert found[0].regions == ("lung", "within 10 mm of the pleura")
    assert summary(found).startswith("4 landmarks: error 2.50 mm on average")
    assert table(pair)["lung"] == pytest.approx([2, 3.5, 5.75, 6, 25], rel=0.01)
    assert table(pair)["within 10 mm of the pleura"][0] == 1


def test_another_search_takes_the_place_of_the_first(pair, checked, scene):
    from GLIDERegLib.scene.quality.landmarks import takeLandmarks

    takeLandmarks(pair, checked)
    count = scene.GetNumberOfNodes()
    assert len(takeLandmarks(pair, checked)) == 4
    assert scene.GetNumberOfNodes() == count


def test_the_map_is_the_error_near_landmarks_and_hatched_elsewhere(pair, checked):
    from GLIDERegLib.scene.quality.landmarks import takeLandmarks
    from GLIDERegLib.scene.quality.maps import LANDMARK_ERROR, findMap

    takeLandmarks(pair, checked)
    assert mapAt(pair, PLACES[1]) == pytest.approx(6.0, abs=0.6)
    hatch = {mapAt(pair, (0, -30, z)) for z in np.arange(-10.0, 10.0, 2.0)}
    assert hatch == {-1, -0.5}, "in the body, far from all: stripes"
    display = findMap(pair.transform, LANDMARK_ERROR).GetScalarVolumeDisplayNode()
    assert display.GetApplyThreshold() and -1 < display.GetLowerThreshold() < -0.5


def test_a_rejected_landmark_counts_no_more_until_it_is_taken_back(pair, checked):
    from GLIDERegLib.scene.quality.landmark_nodes import CONFIRMED, REJECTED, UNDECIDED
    from GLIDERegLib.scene.quality.landmarks import decide, places, summary, takeLandmarks, worst

    (largest,) = worst(takeLandmarks(pair, checked), 1)
    found = decide(pair, largest, REJECTED)
    assert summary(found).startswith("3 landmarks: error 1.33 mm") and summary(found).endswith("1 rejected.")
    assert table(pair)["lung"][0] == 1
    assert mapAt(pair, PLACES[1]) in (-1, -0.5)
    assert places(pair)[1].decision == REJECTED and worst(found, 1)[0].label == "L1"
    assert table(pair)["lung"][-1] == 25
    found = decide(pair, found[1], UNDECIDED)
    assert mapAt(pair, PLACES[1]) == pytest.approx(6.0, abs=0.6)
    assert decide(pair, found[1], CONFIRMED)[1].decision == CONFIRMED
    assert table(pair)["lung"][0] == 2


def test_errors_follow_a_transform_that_changes(pair, checked):
    import slicer

    from GLIDERegLib.scene.quality.landmarks import refresh, takeLandmarks

    takeLandmarks(pair, checked)
    toParent = np.eye(4)
    toParent[:3, 3] = -SHIFT - (0, 0, 8)
    pair.transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(toParent))
    errors = [place.error for place in refresh(pair)]
    np.testing.assert_allclose(errors, np.hypot(ERRORS, 8), atol=1e-4)
    assert table(pair)["body"][2] > 8


def test_a_moving_scan_under_the_transform_has_the_same_errors(pair, checked):
    from GLIDERegLib.scene.quality.landmarks import takeLandmarks

    pair.moving.SetAndObserveTransformNodeID(pair.transform.GetID())
    found = takeLandmarks(pair, checked)
    np.testing.assert_allclose([place.error for place in found], ERRORS, atol=1e-4)


def test_a_saved_scene_keeps_landmarks_and_decisions(pair, checked, scene, tmp_path):
    from GLIDERegLib.scene.quality.landmark_nodes import REJECTED, pointList
    from GLIDERegLib.scene.quality.landmarks import decide, takeLandmarks

    found = decide(pair, takeLandmarks(pair, checked)[2], REJECTED)
    assert found[2].decision == REJECTED
    node = pointList(pair, "fixed")
    storage = node.CreateDefaultStorageNode()
    storage.SetFileName(str(tmp_path / "list.mrk.json"))
    assert storage.WriteData(node)
    node.RemoveAllControlPoints()
    assert storage.ReadData(node)
    assert node.GetNthControlPointDescription(2) == "body; rejected"
    assert not node.GetNthControlPointSelected(2)


def test_a_search_says_why_there_are_none_and_leaves_nothing(pair, tmp_path):
    from GLIDERegLib.scene.quality.landmarks import SceneLandmarks, places

    script = tmp_path / "python"
    script.write_text(
        '#!/bin/sh\necho \'{"message": "No place was found again.", "hint": "", "code": "x"}\' >&2; exit 2\n'
    )
    script.chmod(0o755)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    search = SceneLandmarks(str(script))
    search.start(pair, str(temporary))
    end = time.monotonic() + 30
    while search.active and time.monotonic() < end:
        assert search.poll() is None
        time.sleep(0.01)
    assert (search.failure.message, search.failure.code) == ("No place was found again.", "x")
    assert list(temporary.iterdir()) == [] and places(pair) == []


@pytest.mark.once
def test_the_engine_finds_them(scene, addVolume, addLinear, tmp_path):
    if ENGINE is None and importlib.util.find_spec("torch") is None:
        pytest.skip("needs the engine here or in the Python that GLIDEREG_PYTHON names")
    from GLIDERegLib.evaluation.phantom import make_phantom
    from GLIDERegLib.scene.quality.landmarks import SceneLandmarks
    from GLIDERegLib.scene.registration.pair import makePair

    still = make_phantom((84, 64, 72), (4.0, 4.0, 4.0), amplitude_mm=0.0, seed=5, shift_mm=(4, -3, 2))
    scans = []
    for volume in (still.fixed, still.moving):
        matrix = np.diag([*LPS, 1]) @ volume.grid.matrix
        scans.append(addVolume(volume.array, matrix, volume.name))
    toParent = np.eye(4)
    toParent[:3, 3] = (4, -3, -2)  # RAS, from moving to fixed points
    pair = makePair(*scans, addLinear(toParent))
    search = SceneLandmarks(ENGINE or sys.executable)
    search.start(pair, str(tmp_path))
    found, end = None, time.monotonic() + 600
    while found is None and not search.failure and time.monotonic() < end:
        found = search.poll()
        time.sleep(0.05)
    assert found is not None, search.failure
    assert len(found) >= 50
    assert np.median([place.error for place in found]) < 1.0
    assert list(tmp_path.iterdir()) == []
