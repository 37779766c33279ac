"""A study over time: every frame against the reference, nodules followed, all played in step."""

from __future__ import annotations

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
PHASES = ("0", "25", "50", "75")
SHAPE, SPACING = (8, 10, 12), 9.0
# The fake worker finds the field u(x) = STEP * phase, LPS mm, wherever it is asked.
STEP = np.array([0.08, -0.04, 0.12])
NODULES = {"a": (20.0, 30.0, 25.0), "b": (55.0, 42.0, 30.0)}
FLIP = np.array([-1.0, -1.0, 1.0])
# Reads which frame came from its first voxel, and answers as FOLDER/plan.json says.
FAKE = """
import json, sys, time
from pathlib import Path
import numpy as np
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.worker.messages import save_array

folder, request = Path(sys.argv[1]), json.loads(Path(sys.argv[-2]).read_text())
plan = json.loads((folder / "plan.json").read_text())
header, _, voxels = Path(request["moving"]).read_bytes().partition(b"\\n\\n")
array = np.frombuffer(voxels, np.int16)
phase = str(array[0])
with (folder / "asked.txt").open("a") as asked:
    asked.write(phase + " " + json.dumps(request["settings"]) + "\\n")

def tell(event, **content):
    print(json.dumps({"event": event, **content}), flush=True)

tell("device", kind="cpu", name="pretended")
tell("progress", stage="refinement", fraction=0.5, overall=0.5, message="")
if phase in plan["wait"]:
    while not Path(request["cancel_file"]).exists():
        time.sleep(0.02)
    tell("error", kind="cancelled", message="Cancelled.", hint="", code="cancelled")
    sys.exit(130)
if phase in plan["fail"]:
    tell("error", kind="input", message=plan["fail"][phase], hint="Look at it.", code="input")
    sys.exit(1)
# Each field has a size of its own, as those of the engine.
size = 4 + int(phase) // 25
grid = Grid((size,) * 3, (60.0,) * 3, (-150.0, -150.0, -50.0))
field = np.broadcast_to(np.float32(plan["step"]) * np.float32(phase), (size, size, size, 3))
output = Path(request["output"])
shape = tuple(plan["shape"])
warped = Grid(shape[::-1], (plan["spacing"],) * 3)
tell("result", transform="", kept=False,
     report={"warnings": ["Local features only."]},
     field=save_array(np.ascontiguousarray(field), grid, output / "field.npy"),
     warped=save_array(array.reshape(shape), warped, output / "warped.npy"))
"""


@pytest.fixture
def sequenceScene(scene, a_slicer_app):
    """The scene with the logic that makes browsers play."""
    import slicer

    logic = slicer.vtkSlicerSequencesLogic()
    logic.SetMRMLApplicationLogic(a_slicer_app)
    logic.SetMRMLScene(scene)
    yield scene
    scene.Clear(0)
    logic.SetMRMLScene(None)


@pytest.fixture
def study(sequenceScene):
    """A sequence of four phases with its browser; the first voxel says which phase it is."""
    return addStudy(sequenceScene, [frameArray(int(phase)) for phase in PHASES])


@pytest.fixture
def nodules(sequenceScene):
    node = sequenceScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Nodules")
    for label, point in NODULES.items():
        node.AddControlPoint(point, label)
    return node


@pytest.fixture
def plan(tmp_path):
    """Function that says what the fake worker does with which phase; returns the fake Python."""
    (tmp_path / "fake.py").write_text(FAKE, "utf-8")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path}/fake.py" "{tmp_path}" "$@"\n', "utf-8")
    python.chmod(0o755)
    (tmp_path / "temporary").mkdir()

    def write(fail=None, wait=()) -> str:
        content = {"fail": fail or {}, "wait": list(wait), "step": STEP.tolist()}
        content |= {"shape": SHAPE, "spacing": SPACING}
        (tmp_path / "plan.json").write_text(json.dumps(content), "utf-8")
        return str(python)

    return write


def frameArray(phase: int) -> np.ndarray:
    array = np.random.default_rng(phase).integers(-1000, 400, SHAPE).astype(np.int16)
    array[0, 0, 0] = phase
    return array


def addStudy(scene, arrays, spacing=SPACING, origin=(0.0, 0.0, 0.0), phases=PHASES):
    import slicer
    import slicer.util

    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Breathing")
    sequence.SetIndexName("phase")
    sequence.SetIndexUnit("%")
    for phase, array in zip(phases, arrays, strict=True):
        volume = slicer.vtkMRMLScalarVolumeNode()
        volume.SetName(f"Phase {phase}")
        # x and y of LPS: fields of the worker and voxels then have one frame.
        volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(placement(spacing, origin)))
        slicer.util.updateVolumeFromArray(volume, array)
        sequence.SetDataNodeAtValue(volume, phase)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    return sequence


def placement(spacing, origin) -> np.ndarray:
    matrix = np.diag([spacing, spacing, spacing, 1.0])
    matrix[:3, 3] = origin
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix


def runToEnd(run, seconds=30.0) -> None:
    end = time.monotonic() + seconds
    while run.active:
        assert time.monotonic() < end, f"still {run.state} in {run.frame}: {run.log}"
        run.poll()
        time.sleep(0.01)


def nodeIds(scene) -> set[str]:
    return {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}


def startedRun(python, inputs, tmp_path):
    from GLIDERegLib.scene.registration.run import SceneRegistration
    from GLIDERegLib.scene.sequence.run import SequenceRegistration

    run = SequenceRegistration(SceneRegistration(python))
    run.start(inputs, {"name": "fast", "seed": 3}, temporaryFolder=str(tmp_path / "temporary"))
    return run


def select(sequence, number) -> None:
    from GLIDERegLib.scene.sequence.nodes import browserOf

    browserOf(sequence).SetSelectedItemNumber(number)


def proxy(volumes, sequence):
    from GLIDERegLib.scene.sequence.nodes import browserOf

    return browserOf(volumes).GetProxyNode(sequence)


def positions(node) -> np.ndarray:
    count = node.GetNumberOfControlPoints()
    return np.array([node.GetNthControlPointPositionWorld(n) for n in range(count)])


@pytest.fixture
def finished(study, nodules, plan, tmp_path):
    """The study registered to its second frame, everything wanted, with the nodules."""
    from GLIDERegLib.scene.sequence.run import SequenceInputs

    run = startedRun(plan(), SequenceInputs(study, 1, nodules, warpedVolumes=True), tmp_path)
    runToEnd(run)
    assert run.error is None
    return run


def test_every_frame_but_the_reference_is_registered_with_the_settings(finished, tmp_path):
    asked = [line.split(" ", 1) for line in (tmp_path / "asked.txt").read_text().splitlines()]
    assert [phase for phase, _ in asked] == ["0", "50", "75"]
    assert all(json.loads(settings) == {"name": "fast", "seed": 3} for _, settings in asked)
    assert finished.overall == 1.0
    assert finished.failures == {}
    assert "Local features only." in finished.warnings
    assert len(finished.warnings) == len(set(finished.warnings))


def test_a_warning_names_the_frames_that_it_is_of_unless_these_are_all(plan, tmp_path):
    from GLIDERegLib.scene.sequence.run import SequenceRegistration

    run = SequenceRegistration(None)
    run.done = 3
    run._told = {"Local features only.": ["phase 0 %", "phase 50 %", "phase 75 %"], "Odd.": ["phase 50 %"]}
    assert run.warnings == ["Local features only.", "phase 50 %: Odd."]
    run._told = {
        "They agree less (0.95 before, 0.91 after): look.": ["phase 0 %"],
        "They agree less (0.97 before, 0.96 after): look.": ["phase 75 %"],
        "Odd (by 3).": ["phase 50 %"],
    }
    assert run.warnings == ["phase 0 %, phase 75 %: They agree less: look.", "phase 50 %: Odd (by 3)."]


def test_transforms_have_the_index_values_of_the_volumes_and_map_the_reference_to_each_frame(finished, study):
    transforms = finished.results.transforms
    assert [transforms.GetNthIndexValue(n) for n in range(4)] == list(PHASES)
    assert (transforms.GetIndexName(), transforms.GetIndexUnit()) == ("phase", "%")
    for n, phase in enumerate((0, 0, 50, 75)):
        node = transforms.GetNthDataNode(n)
        assert node.GetClassName() == "vtkMRMLGridTransformNode"
        stored = node.GetTransformFromParent()
        assert not stored.GetInverseFlag()
        moved = np.subtract(stored.TransformPoint(NODULES["a"]), NODULES["a"])
        assert np.allclose(moved, STEP * FLIP * phase, atol=1e-4)


def test_the_browser_plays_transforms_volumes_and_tracks_in_step(finished, study):
    import slicer.util

    results = finished.results
    transform, warped, tracks, shown = (
        proxy(study, sequence) for sequence in (results.transforms, results.warped, results.tracks, study)
    )
    for n, phase in ((3, 75), (0, 0), (1, 0), (2, 50)):
        select(study, n)
        shift = STEP * FLIP * phase
        point = NODULES["b"]
        assert np.allclose(transform.GetTransformFromParent().TransformPoint(point) - shift, point, atol=1e-4)
        assert np.allclose(positions(tracks) - shift, list(NODULES.values()), atol=1e-4)
        assert slicer.util.arrayFromVolume(warped)[0, 0, 0] == int(PHASES[n])
        assert slicer.util.arrayFromVolume(shown)[0, 0, 0] == int(PHASES[n])
    assert transform.GetNodeReference(transform.GetFixedNodeReferenceRole()) is results.reference
    assert transform.GetNodeReference(transform.GetMovingNodeReferenceRole()) is shown
    assert slicer.util.arrayFromVolume(results.reference)[0, 0, 0] == 25


def test_the_table_holds_every_nodule_in_every_frame(finished):
    import slicer.util

    table = finished.results.table.GetTable()
    columns = {table.GetColumnName(c): table.GetColumn(c) for c in range(table.GetNumberOfColumns())}
    rows = table.GetNumberOfRows()
    assert rows == 8
    labels = [columns["Label"].GetValue(row) for row in range(rows)]
    assert labels == ["a", "b"] * 4
    phases = np.array([columns["phase (%)"].GetValue(row) for row in range(rows)])
    assert phases.tolist() == [0, 0, 25, 25, 50, 50, 75, 75]
    found = np.array([[columns[f"{axis} (mm)"].GetValue(row) for axis in "RAS"] for row in range(rows)])
    moved = np.where(phases == 25, 0, phases)
    assert np.allclose(
        found, np.tile(list(NODULES.values()), (4, 1)) + np.outer(moved, STEP * FLIP), atol=1e-4
    )
    displacement = slicer.util.arrayFromTableColumn(finished.results.table, "Displacement (mm)")
    assert np.allclose(displacement, np.linalg.norm(STEP) * moved, atol=1e-4)


def test_the_plot_shows_displacement_over_phase(finished):
    import slicer.util

    chart = finished.results.chart
    assert (chart.GetXAxisTitle(), chart.GetYAxisTitle()) == ("phase (%)", "Displacement (mm)")
    assert chart.GetNumberOfPlotSeriesNodes() == 2
    for n, label in enumerate(NODULES):
        series = chart.GetNthPlotSeriesNode(n)
        assert (series.GetName(), series.GetXColumnName(), series.GetYColumnName()) == (
            label,
            "phase (%)",
            label,
        )
        drawn = series.GetTableNode()
        assert slicer.util.arrayFromTableColumn(drawn, "phase (%)").tolist() == [0, 25, 50, 75]
        expected = np.linalg.norm(STEP) * np.array([0, 0, 50, 75])
        assert np.allclose(slicer.util.arrayFromTableColumn(drawn, label), expected, atol=1e-4)


def test_no_temporary_node_or_file_is_left_and_the_users_nodes_stay(finished, study, nodules, tmp_path):
    import slicer
    import slicer.util

    assert list((tmp_path / "temporary").iterdir()) == []
    hidden = [
        node.GetName()
        for node in slicer.util.getNodesByClass("vtkMRMLTransformableNode")
        if node.GetHideFromEditors()
    ]
    assert hidden == []
    assert len(slicer.util.getNodesByClass("vtkMRMLTransformNode")) == 1
    for n, phase in enumerate(PHASES):
        kept = slicer.util.arrayFromVolume(study.GetNthDataNode(n))
        assert np.array_equal(kept, frameArray(int(phase)))
    assert np.allclose(positions(nodules), list(NODULES.values()))


def test_the_transforms_are_the_same_after_saving_and_loading_the_scene(
    finished, sequenceScene, tmp_path, a_slicer_app
):
    import slicer
    import slicer.util

    # Reading a .mrb file goes through these two.
    remote, data = slicer.vtkMRMLRemoteIOLogic(), slicer.vtkDataIOManagerLogic()
    (tmp_path / "cache").mkdir()
    remote.GetCacheManager().SetRemoteCacheDirectory(str(tmp_path / "cache"))
    for logic in (remote, data):
        logic.SetMRMLScene(sequenceScene)
        logic.SetMRMLApplicationLogic(a_slicer_app)
    data.SetAndObserveDataIOManager(remote.GetDataIOManager())
    remote.AddDataIOToScene()
    name = finished.results.transforms.GetName()
    # Whatever the fields' grids: the file for transforms of one grid keeps neither class nor interpolation.
    assert finished.results.transforms.GetStorageNode().GetClassName() == "vtkMRMLSequenceStorageNode"
    assert sequenceScene.WriteToMRB(str(tmp_path / "scene.mrb"), None)
    assert sequenceScene.ReadFromMRB(str(tmp_path / "scene.mrb"), True, None)
    remote.RemoveDataIOFromScene()

    sequences = {node.GetName(): node for node in slicer.util.getNodesByClass("vtkMRMLSequenceNode")}
    volumes, transforms = sequences["Breathing"], sequences[name]
    assert [transforms.GetNthIndexValue(n) for n in range(4)] == list(PHASES)
    shown = proxy(volumes, transforms)
    for n, phase in ((3, 75), (0, 0), (1, 0), (2, 50)):
        select(volumes, n)
        stored = shown.GetTransformFromParent()
        assert stored.GetInterpolationMode() == 2, "no longer cubic"
        moved = np.subtract(stored.TransformPoint(NODULES["a"]), NODULES["a"])
        assert np.allclose(moved, STEP * FLIP * phase, atol=1e-4)


def test_a_frame_that_fails_is_recorded_and_the_others_go_on(study, nodules, plan, tmp_path):
    from GLIDERegLib.scene.sequence.run import SequenceInputs

    python = plan(fail={"50": "The moving image is too dark."})
    run = startedRun(python, SequenceInputs(study, 0, nodules), tmp_path)
    runToEnd(run)
    assert run.state.value == "done"
    assert {frame: (e.message, e.hint) for frame, e in run.failures.items()} == {
        "50": ("The moving image is too dark.", "Look at it.")
    }
    transforms = run.results.transforms
    assert [transforms.GetNthIndexValue(n) for n in range(transforms.GetNumberOfDataNodes())] == [
        "0",
        "25",
        "75",
    ]
    tracks = proxy(study, run.results.tracks)
    select(study, 3)
    assert len(positions(tracks)) == 2
    select(study, 2)
    assert len(positions(tracks)) == 0, "nodules of another frame are shown"
    point = proxy(study, transforms).GetTransformFromParent().TransformPoint(NODULES["a"])
    assert np.allclose(point, NODULES["a"]), "the transform of another frame is shown"
    # And looking at it adds nothing.
    assert transforms.GetNumberOfDataNodes() == 3
    assert run.results.warped is None


def test_where_every_frame_fails_the_run_fails_and_leaves_nothing(study, plan, tmp_path, sequenceScene):
    from GLIDERegLib.scene.sequence.run import SequenceInputs

    before = nodeIds(sequenceScene)
    run = startedRun(plan(fail=dict.fromkeys(PHASES, "No.")), SequenceInputs(study), tmp_path)
    runToEnd(run)
    assert (run.state.value, run.results) == ("failed", None)
    assert (run.error.message, run.error.hint) == ("No.", "Look at it.")
    assert list(run.failures) == ["25", "50", "75"]
    assert nodeIds(sequenceScene) == before
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_frame_that_cannot_be_used_is_a_failure_of_that_frame_only(study, plan, tmp_path):
    from GLIDERegLib.scene.sequence.run import SequenceInputs

    study.GetNthDataNode(1).SetAndObserveImageData(None)
    run = startedRun(plan(), SequenceInputs(study), tmp_path)
    runToEnd(run)
    assert list(run.failures) == ["25"]
    assert "empty" in run.failures["25"].message
    assert run.results.transforms.GetNumberOfDataNodes() == 3


@pytest.mark.parametrize("phase", ["25", "75"], ids=["in the first frame", "in a later frame"])
def test_cancelling_ends_soon_and_keeps_the_frames_that_are_done(
    study, nodules, plan, tmp_path, sequenceScene, phase
):
    from GLIDERegLib.scene.sequence.run import SequenceInputs

    before = nodeIds(sequenceScene)
    run = startedRun(plan(wait=[phase]), SequenceInputs(study, 0, nodules), tmp_path)
    end = time.monotonic() + 20
    while not (run.frame == f"phase {phase} %" and run.stage) and time.monotonic() < end:
        run.poll()
        time.sleep(0.01)
    assert run.frame == f"phase {phase} %"
    assert 0 < run.overall < 1
    run.cancel()
    start = time.monotonic()
    runToEnd(run)
    assert time.monotonic() - start < within(3)
    assert (run.state.value, run.error) == ("cancelled", None)
    if phase == "25":
        assert run.results is None and nodeIds(sequenceScene) == before
    else:
        # The reference and the frames of 25 and 50 %.
        assert run.results.transforms.GetNumberOfDataNodes() == 3
        assert {frame: e.message for frame, e in run.failures.items()} == {"75": "Stopped by user."}
    assert list((tmp_path / "temporary").iterdir()) == []


def test_closing_kills_at_once_and_another_run_can_start(study, plan, tmp_path, sequenceScene):
    from GLIDERegLib.scene.sequence.run import SequenceInputs

    before = nodeIds(sequenceScene)
    run = startedRun(plan(wait=["25"]), SequenceInputs(study), tmp_path)
    run.close()
    assert nodeIds(sequenceScene) == before
    plan()
    run.start(SequenceInputs(study), {"name": "fast"}, temporaryFolder=str(tmp_path / "temporary"))
    runToEnd(run)
    assert run.results.transforms.GetNumberOfDataNodes() == 4


def test_a_sequence_under_a_linear_transform_is_registered_where_it_stands(
    study, nodules, plan, tmp_path, addLinear
):
    import slicer
    import slicer.util

    from GLIDERegLib.scene.sequence.nodes import shownVolume
    from GLIDERegLib.scene.sequence.run import SequenceInputs

    shift = np.eye(4)
    shift[:3, 3] = (5, -7, 11)
    shownVolume(study).SetAndObserveTransformNodeID(addLinear(shift).GetID())
    run = startedRun(plan(), SequenceInputs(study, 0, nodules), tmp_path)
    runToEnd(run)
    matrix = slicer.util.vtkMatrixFromArray(np.eye(4))
    run.results.reference.GetIJKToRASMatrix(matrix)
    expected = shift @ placement(SPACING, (0, 0, 0))
    assert np.allclose(slicer.util.arrayFromVTKMatrix(matrix), expected)
    assert run.results.reference.GetParentTransformNode() is None


def test_what_is_no_sequence_of_scans_is_refused(study, nodules, plan, tmp_path, sequenceScene, addWarp):
    from GLIDERegLib.core.errors import InputError
    from GLIDERegLib.scene.registration.run import SceneRegistration
    from GLIDERegLib.scene.sequence.nodes import shownVolume
    from GLIDERegLib.scene.sequence.run import SequenceInputs, SequenceRegistration

    python = plan()
    single = addStudy(sequenceScene, [frameArray(0)], phases=["0"])
    points = sequenceScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Points")
    for value in "12":
        points.SetDataNodeAtValue(nodules, value)
    alone = sequenceScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Alone")
    for value in "12":
        alone.SetDataNodeAtValue(study.GetNthDataNode(0), value)
    before = nodeIds(sequenceScene)
    run = SequenceRegistration(SceneRegistration(python))
    for inputs, words in (
        (SequenceInputs(single), "has 1 frame"),
        (SequenceInputs(points), "more than volumes"),
        (SequenceInputs(study, 4), "no frame number 5"),
        (SequenceInputs(alone), "no browser"),
    ):
        with pytest.raises(InputError, match=words):
            run.start(inputs, {"name": "fast"})
    shownVolume(study).SetAndObserveTransformNodeID(addWarp().GetID())
    with pytest.raises(InputError, match="not linear"):
        run.start(SequenceInputs(study), {"name": "fast"})
    assert len(nodeIds(sequenceScene)) == len(before) + 1
    assert not run.active


def test_labels_that_occur_twice_get_lines_of_their_own(study, plan, tmp_path, sequenceScene):
    from GLIDERegLib.scene.sequence.run import SequenceInputs

    twins = sequenceScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Twins")
    for point in NODULES.values():
        twins.AddControlPoint(point, "same")
    run = startedRun(plan(), SequenceInputs(study, 0, twins), tmp_path)
    runToEnd(run)
    chart = run.results.chart
    names = [chart.GetNthPlotSeriesNode(n).GetYColumnName() for n in range(2)]
    assert names == ["same", "same (2)"]


@pytest.mark.once
def test_two_frames_of_a_breathing_chest_by_the_engine(sequenceScene, tmp_path):
    """Follows nodules of a generated chest, whose motion is known, more than half of the way."""
    pytest.importorskip("scipy")
    if ENGINE is None and importlib.util.find_spec("torch") is None:
        pytest.skip("needs the engine here or in the Python that GLIDEREG_PYTHON names")
    from GLIDERegLib.evaluation.phantom import make_phantom
    from GLIDERegLib.scene.registration.run import SceneRegistration
    from GLIDERegLib.scene.sequence.run import SequenceInputs, SequenceRegistration

    phantom = make_phantom((40, 40, 36), (8.0, 8.0, 8.0))
    study = addStudy(
        sequenceScene,
        [phantom.fixed.array, phantom.moving.array],
        8.0,
        phantom.fixed.grid.origin,
        ("0", "50"),
    )
    nodules = sequenceScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Nodules")
    for point, label in zip(phantom.fixed_nodules * FLIP, phantom.nodule_labels, strict=True):
        nodules.AddControlPoint(point.tolist(), label)
    run = SequenceRegistration(SceneRegistration(ENGINE or sys.executable))
    (tmp_path / "temporary").mkdir()
    settings = {"name": "fast", "features": "local", "device": "cpu", "threads": 1}
    run.start(SequenceInputs(study, 0, nodules), settings, temporaryFolder=str(tmp_path / "temporary"))
    runToEnd(run, 120)
    assert run.failures == {}
    select(study, 1)
    truth = phantom.moving_nodules * FLIP
    error = np.linalg.norm(positions(proxy(study, run.results.tracks)) - truth, axis=1).mean()
    before = np.linalg.norm((phantom.fixed_nodules - phantom.moving_nodules), axis=1).mean()
    assert error < 0.5 * before
    assert list(Path(tmp_path / "temporary").iterdir()) == []


def columnsOf(tableNode) -> dict[str, list]:
    table = tableNode.GetTable()
    names = [table.GetColumnName(c) for c in range(table.GetNumberOfColumns())]
    return {n: [table.GetValueByName(r, n) for r in range(table.GetNumberOfRows())] for n in names}


def test_the_amplitude_is_peak_to_peak_along_the_axes_of_the_body(study, sequenceScene, plan, tmp_path):
    from GLIDERegLib.scene.sequence.run import SequenceInputs

    nodules = sequenceScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Nodules")
    for label, point in {"a": (-20, -30, 25), "b": (-55, -42, 30), "beyond the scan": (55, 42, 30)}.items():
        nodules.AddControlPoint(np.array(point, float), label)
    finished = startedRun(plan(), SequenceInputs(study, 1, nodules), tmp_path)
    runToEnd(finished)
    columns = columnsOf(finished.results.amplitude)
    assert [value.ToString() for value in columns["Place"]][:3] == ["a", "b", "beyond the scan"]
    # The second frame is the reference, where nothing has moved: from phase 0 to 75.
    expected = [*(75 * np.abs(STEP)), 75 * np.linalg.norm(STEP)]
    headers = ("LR", "AP", "SI", "3D")
    found = [[value.ToDouble() for value in columns[f"{header} (mm)"]][:2] for header in headers]
    assert np.allclose(found, np.array(expected)[:, None], atol=0.006)
    assert [value.ToDouble() for value in columns["Frames"]][:3] == [4, 4, 0]
    assert np.isnan(columns["3D (mm)"][2].ToDouble())
    assert finished.results.amplitude.GetName() == "Amplitude in Breathing"


def test_the_amplitude_of_the_lungs_is_what_95_percent_of_their_places_do_not_exceed(scene, addVolume):
    import vtk

    from GLIDERegLib.scene.sequence.amplitude import LUNGS, lungPoints, makeAmplitude

    voxels = np.full((40, 40, 40), 40, np.int16)
    voxels[4:36, 6:34, 6:34] = -800
    # Bowel gas, which is no lung.
    voxels[1:3, 6:10, 6:10] = -900
    chest = addVolume(voxels, placement(4.0, (0.0, 0.0, 0.0)), "Chest")
    still, breath = vtk.vtkTransform(), vtk.vtkTransform()
    breath.Scale(1.0, 1.0, 1.2)
    lungs = lungPoints(chest)
    assert len(lungs) == 32 * 28 * 28
    table = makeAmplitude("Amplitude", chest, [still, breath], {})
    columns = columnsOf(table)
    assert [value.ToString() for value in columns["Place"]] == [LUNGS]
    assert columns["LR (mm)"][0].ToDouble() == 0
    expected = np.percentile(0.2 * np.abs(lungs[:, 2]), 95)
    assert columns["SI (mm)"][0].ToDouble() == pytest.approx(expected, abs=0.006)
    assert columns["Frames"][0].ToDouble() == 2


def test_without_nodules_and_without_lungs_there_is_no_amplitude(scene, addVolume):
    import vtk

    from GLIDERegLib.scene.sequence.amplitude import makeAmplitude

    tissue = addVolume(np.full((10, 10, 10), 40, np.int16), placement(4.0, (0.0, 0.0, 0.0)), "Tissue")
    assert makeAmplitude("Amplitude", tissue, [vtk.vtkTransform()] * 2, {}) is None
    assert scene.GetFirstNodeByName("Amplitude") is None
