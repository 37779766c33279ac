"""A worker that was started ahead registers again; it goes with the scene, the module and Slicer."""

from __future__ import annotations

import pytest
from panel.support import MODULE, ONE_THREAD

pytestmark = pytest.mark.once


@pytest.fixture
def module(slicerHost, scans, children, monkeypatch):
    """The opened module with two scans, quick settings, and a real worker that waits."""
    for name, value in ONE_THREAD.items():
        monkeypatch.setenv(name, value)
    module = slicerHost.loadModule(MODULE)
    module.enter()
    node = module.logic.getParameterNode()
    node.preset, node.features, node.align, node.threads = "fast", "local", "none", 1
    slicerHost.waitUntil(lambda: module.ui.encoderCombo.count > 1 and len(children()) == 1, seconds=120)
    return module


def test_two_runs_have_one_process_which_was_there_before(slicerHost, module, children, finish):
    (waiting,) = children()
    for _ in range(2):
        module.ui.applyButton.click()
        assert finish(module, 120).results
        assert children() == {waiting}


@pytest.mark.parametrize("how", ["scene", "cleanup", "quit"])
def test_a_waiting_worker_goes_with(slicerHost, module, children, how):
    import slicer

    assert len(children()) == 1
    {
        "scene": lambda: slicer.mrmlScene.Clear(0),
        "cleanup": module.widget.cleanup,
        "quit": slicerHost.quit,
    }[how]()
    slicerHost.waitUntil(lambda: not children(), seconds=2)


def test_a_cancelled_worker_is_not_taken_again(slicerHost, module, children, finish):
    (waiting,) = children()
    module.ui.applyButton.click()
    module.ui.cancelButton.click()
    slicerHost.waitUntil(lambda: not module.logic.registration.active)
    assert module.logic.registration.state.value == "cancelled" and not children()
    module.ui.applyButton.click()
    assert finish(module, 120).results
    assert waiting not in children()
