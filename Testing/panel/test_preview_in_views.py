"""The moving scan in the slice views while it refines, and everything as before afterwards."""

from __future__ import annotations

import pytest
from panel.support import contents


@pytest.fixture
def views(scans):
    """The composite nodes of the slice views, showing what a user put there."""
    import slicer

    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert len(composites) == 3
    for composite in composites:
        composite.SetBackgroundVolumeID(scans.movingVolume.GetID())
        composite.SetForegroundVolumeID(None)
        composite.SetForegroundOpacity(0.25)
    return composites


def test_previews_are_shown_over_the_fixed_scan_and_leave_no_trace(
    slicerHost, replay, scans, views, openModule, nothingLeft
):
    module = openModule()
    module.logic.getParameterNode().preview = True
    before, nodes = contents([*scans.all, *views]), nothingLeft.nodes()
    replay.plan([["progress", "refinement", 0.5], ["preview", 0], ["preview", 1], ["wait"]])
    module.ui.applyButton.click()
    slicerHost.waitUntil(lambda: views[0].GetForegroundVolumeID())
    for view in views:
        shown = slicerHost.scene.GetNodeByID(view.GetForegroundVolumeID())
        assert shown.GetName() == "Registration preview" and shown.GetHideFromEditors()
        assert view.GetBackgroundVolumeID() == scans.fixedVolume.GetID()
    module.ui.cancelButton.click()
    slicerHost.waitUntil(lambda: not module.logic.registration.active)
    assert contents([*scans.all, *views]) == before
    nothingLeft.check(nodes)


def test_previews_that_are_not_wanted_are_neither_asked_for_nor_shown(
    slicerHost, replay, views, openModule, finish
):
    module = openModule()
    module.ui.previewCheck.checked = False
    before = contents(views)
    replay.plan([["preview", 0], ["progress", "refinement", 0.5], ["wait"], ["result"]])
    module.ui.applyButton.click()
    slicerHost.waitUntil(lambda: module.logic.registration.stage)
    assert replay.request["preview_seconds"] is None and contents(views) == before
    module.ui.keepButton.click()
    assert finish(module).results


def test_a_preview_that_was_replaced_before_it_was_read_is_passed_over(
    slicerHost, replay, views, openModule, finish
):
    module = openModule()
    replay.plan([["preview", 0], ["lose"], ["progress", "refinement", 0.5], ["wait"], ["result"]])
    module.ui.applyButton.click()
    slicerHost.waitUntil(lambda: module.logic.registration.stage)
    assert not views[0].GetForegroundVolumeID()
    module.ui.keepButton.click()
    assert finish(module).results
