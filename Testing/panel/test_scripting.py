"""The module from Slicer's Python console: registerVolumes, the sample data, the self-test."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest
from panel.support import FLIP, MODULE, contents, worldPoints

from GLIDERegLib.core.errors import InputError


@pytest.fixture
def logic(slicerHost, replay):
    """The module's logic without a panel."""
    return slicerHost.loadModule(MODULE).python.GLIDERegLogic()


def test_the_example_of_the_documentation_works_as_it_is_written(
    logic, replay, plain, monkeypatch, nothingLeft
):
    import slicer

    example = textwrap.dedent(type(logic).registerVolumes.__doc__.split("\n\n")[2])
    assert example.startswith("logic = GLIDERegLogic()")
    for name in ("patient1", "patient2"):
        plain(f"{name} follow-up"), plain(f"{name} baseline", seed=1)
    saved = []
    # The host has no writer of single nodes; what would be written where is enough.
    monkeypatch.setattr(slicer.util, "saveNode", lambda node, path: saved.append((node.GetName(), path)))
    exec(example, {"GLIDERegLogic": type(logic), "getNode": slicer.util.getNode, "slicer": slicer})
    assert saved == [
        (f"Transform {name} baseline to {name} follow-up", f"/data/{name}.h5")
        for name in ("patient1", "patient2")
    ]
    assert replay.request["settings"] == {"name": "fast", "features": "local"}
    nothingLeft.check(nothingLeft.nodes())


def test_it_returns_the_filled_nodes_the_points_and_the_report(logic, scans):
    untouched = contents(scans.all)
    results = logic.registerVolumes(
        scans.fixedVolume,
        scans.movingVolume,
        fixedNodulesNode=scans.fixedNodules,
        movingNodulesNode=scans.movingNodules,
    )
    for points, output in (
        (results.points["moving-to-fixed"], results.nodulesInFixed),
        (results.points["fixed-to-moving"], results.nodulesInMoving),
    ):
        told = np.array([point.result for point in points]) @ FLIP[:3, :3]
        assert (
            np.allclose(told, worldPoints(output))
            and len(points) == scans.fixedNodules.GetNumberOfControlPoints()
        )
        assert all(point.insideField and point.residual < 0.01 for point in points)
    assert results.report["features"] == "local" and results.volume.GetImageData()
    assert contents(scans.all) == untouched


def test_given_nodes_are_filled_and_false_leaves_out(logic, scans):
    import slicer

    mine = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Mine")
    results = logic.registerVolumes(scans.fixedVolume, scans.movingVolume, False, mine)
    assert results.volume is mine and mine.GetImageData().GetDimensions() == (48, 54, 36)
    assert results.transform is results.nodulesInFixed is results.nodulesInMoving is None


def test_masks_and_a_start_are_handed_on_and_settings_reach_the_worker(logic, replay, plain):
    import slicer

    fixed, moving = plain("Follow-up"), plain("Baseline", seed=1)
    mask = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Lungs")
    slicer.util.updateVolumeFromArray(mask, np.ones((8, 10, 12), np.uint8))
    start = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Start")
    logic.registerVolumes(
        fixed,
        moving,
        fixedMaskNode=mask,
        initialTransformNode=start,
        preset="accurate",
        spacing=1.5,
        device="cpu",
    )
    request = replay.request
    assert request["settings"] == {"name": "accurate", "spacing": 1.5, "device": "cpu"}
    assert request["fixed_mask"] and request["initial_transform"] and not request["moving_mask"]


def test_progress_is_told_while_it_waits(logic, replay, scans):
    replay.plan([["progress", "refinement", 0.4], ["pause", 0.5], ["progress", "result", 0.9], ["result"]])
    told = []
    logic.registerVolumes(
        scans.fixedVolume, scans.movingVolume, progressCallback=lambda *content: told.append(content)
    )
    assert ("refinement", 0.4) in told
    assert [share for _, share in told] == sorted(share for _, share in told)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("no volume", "Choose the moving volume"),
        ("empty volume", "is empty"),
        ("no outputs", "at least one output"),
        ("output is input", "choose another output"),
    ],
)
def test_inputs_that_cannot_be_used_are_refused_in_a_sentence(logic, plain, nothingLeft, bad, words):
    import slicer

    fixed, moving = plain("Follow-up"), plain("Baseline", seed=1)
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    arguments = {
        "no volume": (fixed, None),
        "empty volume": (fixed, empty),
        "no outputs": (fixed, moving, False, False),
        "output is input": (fixed, moving, True, moving),
    }[bad]
    nodes = nothingLeft.nodes()
    with pytest.raises(InputError, match=words):
        logic.registerVolumes(*arguments)
    nothingLeft.check(nodes)


def test_a_failure_of_the_worker_is_an_error_with_its_way_out(logic, replay, scans, nothingLeft):
    replay.plan([["error", "memory", "There is not enough memory.", "Choose the preset fast."]])
    nodes = nothingLeft.nodes()
    with pytest.raises(RuntimeError, match=r"^There is not enough memory\. Choose the preset fast\.$"):
        logic.registerVolumes(scans.fixedVolume, scans.movingVolume)
    nothingLeft.check(nodes)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_interrupting_it_leaves_nothing_and_the_next_call_works(logic, replay, scans, nothingLeft, error):
    replay.plan([["progress", "refinement", 0.4], ["wait"]])
    nodes = nothingLeft.nodes()

    def interrupt(stage, overall) -> None:
        if stage:
            raise error

    with pytest.raises(error):
        logic.registerVolumes(scans.fixedVolume, scans.movingVolume, progressCallback=interrupt)
    nothingLeft.check(nodes)
    replay.plan([["result"]])
    assert logic.registerVolumes(scans.fixedVolume, scans.movingVolume).volume


def test_a_scene_closed_meanwhile_ends_the_call_with_an_error(slicerHost, logic, replay, scans, children):
    import slicer

    slicerHost.loaded[-1].enter()
    replay.plan([["progress", "refinement", 0.4], ["wait"]])
    with pytest.raises(RuntimeError, match="cancelled"):
        logic.registerVolumes(
            scans.fixedVolume,
            scans.movingVolume,
            progressCallback=lambda stage, overall: slicer.mrmlScene.Clear(0) if stage else None,
        )
    slicerHost.waitUntil(lambda: not children(), seconds=5)


@pytest.mark.parametrize("categories", [True, False], ids=["Slicer 5.12", "Slicer 5.10"])
def test_the_sample_pair_is_listed_once_slicer_has_started_and_needs_no_network(
    slicerHost, fake, monkeypatch, categories
):
    slicerHost.sampleData.install(categories=categories)
    slicerHost.loadModule(MODULE)
    ((category, source),) = slicerHost.sampleData.sources
    assert source.sampleName == "GLIDERegChestPair" and category == "GLIDE-Reg"
    assert slicerHost.sampleData.categories == ({"GLIDE-Reg": "GLIDE-Reg"} if categories else {})
    with open(source.thumbnailFileName, "rb") as file:
        assert file.read(4) == b"\x89PNG"
    pytest.importorskip("scipy")
    useSmallPair(monkeypatch)
    nodes = source.customDownloader(source)
    assert [node.GetClassName() for node in nodes] == ["vtkMRMLScalarVolumeNode"] * 2 + [
        "vtkMRMLMarkupsFiducialNode"
    ] * 2
    assert nodes[0].GetName() == source.nodeNames[0] and nodes[2].GetNumberOfControlPoints() > 3
    module = slicerHost.loaded[-1]
    module.enter()
    node = module.logic.getParameterNode()
    assert (node.fixedVolume, node.movingVolume) == tuple(nodes[:2])


def useSmallPair(monkeypatch) -> None:
    from GLIDERegLib.scene.registration import sample

    monkeypatch.setattr(sample, "SIZE", (64, 64, 56))
    monkeypatch.setattr(sample, "SPACING_MM", 6.0)


@pytest.mark.once
def test_a_4d_study_is_registered_frame_by_frame(slicerHost):
    import slicer

    from GLIDERegLib.evaluation.phantom import make_phantom
    from GLIDERegLib.scene.registration.sample import addPair

    logic = slicerHost.loadModule(MODULE).python.GLIDERegLogic()
    pair = addPair(make_phantom((40, 40, 36), (8.0, 8.0, 8.0)))
    study = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "4DCT")
    for phase, volume in (("0", pair.fixedVolume), ("50", pair.movingVolume)):
        study.SetDataNodeAtValue(volume, phase)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Phases")
    browser.SetAndObserveMasterSequenceNodeID(study.GetID())
    told = []
    results = logic.registerSequence(
        study,
        nodulesNode=pair.fixedNodules,
        preset="fast",
        features="local",
        threads=1,
        progressCallback=lambda stage, overall: told.append(overall),
    )
    assert results.transforms.GetNumberOfDataNodes() == 2
    assert told and told == sorted(told)
    with pytest.raises(InputError):
        logic.registerSequence(study, referenceFrame=7)
