"""What a run of the shipped module with the real engine leaves in the scene, against the engine alone on the
same scans where they stand in the world.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from panel.support import FLIP, MODULE, ONE_THREAD, addScans, contents, worldPoints

sitk = pytest.importorskip("SimpleITK")


@pytest.fixture(scope="module")
def run(slicerSession, recording):
    """One registration by the panel: its results, and the user's nodes before and after."""
    import slicer

    host = slicerSession
    host.reset()
    scans = addScans(recording)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ONE_THREAD.items():
            patch.setenv(name, value)
        patch.setattr("GLIDERegLib.scene.registration.run.PREVIEW_SECONDS", 0.0)
        module = host.loadModule(MODULE)
        module.enter()
        node, ui = module.logic.getParameterNode(), module.ui
        node.fixedVolume, node.movingVolume = scans.fixedVolume, scans.movingVolume
        node.fixedNodules, node.movingNodules = scans.fixedNodules, scans.movingNodules
        # As the recording was made.
        node.keepNodules = False
        node.features, node.spacing, node.searchRange, node.threads = "local", 2.0, 16.0, 1
        composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        seen = SimpleNamespace(before=contents([*scans.all, *composites]), foregrounds=set(), stages=[])
        ui.applyButton.click()
        registration = module.logic.registration

        def ended() -> bool:
            seen.foregrounds |= {composite.GetForegroundVolumeID() for composite in composites}
            if registration.stage not in seen.stages:
                seen.stages.append(registration.stage)
            return registration.results is not None or registration.error is not None

        host.waitUntil(ended, seconds=240)
    assert registration.error is None
    host.processEvents(0.3)
    seen.after = contents([*scans.all, *composites])
    yield SimpleNamespace(
        host=host, module=module, scans=scans, results=registration.results, seen=seen, ui=ui, node=node
    )
    assert not host.uncaught
    host.reset()


@pytest.fixture(scope="module")
def engine(recording):
    """The engine's own result: its transform as ITK has it, the told event, the scans."""
    told = json.loads((recording / "told.json").read_text())["result"]
    return SimpleNamespace(
        transform=sitk.ReadTransform(told["transform"]), told=told, pair=np.load(recording / "pair.npz")
    )


def mapped(transform, points: np.ndarray) -> np.ndarray:
    return np.array([transform.TransformPoint(point.tolist()) for point in points])


def invertedAt(transform, points: np.ndarray) -> np.ndarray:
    """The points that the transform propagates to these, to 1e-6 mm."""
    found = points.copy()
    for _ in range(200):
        step = points - mapped(transform, found)
        found += step
        if np.abs(step).max() < 1e-6:
            return found
    raise AssertionError("the engine's transform could not be inverted")


def test_nodules_of_the_moving_scan_land_where_the_engine_puts_them(run, engine):
    wanted = invertedAt(engine.transform, engine.pair["moving_nodules"])
    assert np.linalg.norm(worldPoints(run.results.nodulesInFixed) - wanted, axis=1).max() < 0.1
    # And that is where they are, as far as voxels of 3 mm can tell.
    assert np.linalg.norm(wanted - engine.pair["fixed_nodules"], axis=1).mean() < 1.0


def test_nodules_of_the_fixed_scan_land_where_the_engine_puts_them(run, engine):
    wanted = mapped(engine.transform, engine.pair["fixed_nodules"])
    assert np.linalg.norm(worldPoints(run.results.nodulesInMoving) - wanted, axis=1).max() < 0.1


def test_the_warped_scan_is_the_engines_on_the_fixed_scans_place_in_the_world(run, engine):
    import slicer
    import vtk

    volume = run.results.volume
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    assert volume.GetParentTransformNode() is None
    assert np.abs(slicer.util.arrayFromVTKMatrix(matrix) - FLIP @ engine.pair["fixed_matrix"]).max() < 1e-6
    found, wanted = slicer.util.arrayFromVolume(volume), np.load(engine.told["warped"]["file"])
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    difference = np.abs(found.astype(float) - wanted)
    # Positions agree to rounding only: a few voxels at the moving scan's faces are in or out.
    assert np.percentile(difference, 99) <= 1
    assert np.mean(difference > 20) < 1e-3


def test_the_transform_is_stored_from_parent_and_knows_its_volumes(run):
    transform = run.results.transform
    assert not transform.GetTransformFromParent().GetInverseFlag()
    assert transform.GetNodeReference("spatialRegistrationFixed") is run.scans.fixedVolume
    assert transform.GetNodeReference("spatialRegistrationMoving") is run.scans.movingVolume
    assert transform.GetParentTransformNode() is None


def test_results_lie_beside_their_inputs_under_names_that_say_what_they_are(run):
    names = [
        node.GetName() for node in (run.results.transform, run.results.volume, run.results.nodulesInFixed)
    ]
    assert names == [
        "Transform Baseline to Follow-up",
        "Baseline warped to Follow-up",
        "Known nodules in Follow-up",
    ]


def test_the_next_run_will_update_these_results(run):
    node = run.node
    chosen = (node.outputTransform, node.outputVolume, node.nodulesInFixed, node.nodulesInMoving)
    results = run.results
    assert chosen == (results.transform, results.volume, results.nodulesInFixed, results.nodulesInMoving)


def test_nothing_of_the_users_has_changed_not_even_what_the_views_show(run):
    for identity, before in run.seen.before.items():
        assert run.seen.after[identity] == before


def test_the_moving_scan_was_seen_through_the_growing_field(run):
    import slicer

    shown = run.seen.foregrounds - {None, *run.seen.before}
    assert len(shown) == 1
    assert slicer.mrmlScene.GetNodeByID(shown.pop()) is None


def test_the_stages_went_by_and_the_end_is_told_in_plain_words(run, engine):
    # A stage that is over before the panel looks again is not seen.
    stages = [stage for stage in run.seen.stages if stage]
    assert stages == [stage for stage in engine.told["report"]["stages"] if stage in stages]
    assert "refinement" in stages and len(stages) > 2
    assert run.ui.progressLabel.text.startswith("Registered in 0:")
    assert (
        f"Nodules propagated: {2 * len(run.results.points['moving-to-fixed'])}." in run.ui.progressLabel.text
    )
    assert run.ui.applyButton.enabled
