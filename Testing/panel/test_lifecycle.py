"""What Slicer does to a module while it registers: other modules, closed scenes, reloads, its own exit."""

from __future__ import annotations

import sys

import pytest
from panel.support import MODULE


@pytest.fixture
def running(slicerHost, fake, plain, openModule):
    """The opened module in the middle of a run that goes on for ever."""
    plain("Follow-up"), plain("Baseline", seed=1)
    module = openModule()
    start(slicerHost, fake, module)
    return module


def start(slicerHost, fake, module) -> None:
    fake.plan([["device", "A processor"], ["progress", "refinement", 0.5], ["wait"]])
    module.ui.applyButton.click()
    slicerHost.waitUntil(lambda: module.logic.registration.stage)


@pytest.fixture
def freshLibrary():
    """Gives this process its loaded library back after a reload, which other tests hold on to."""

    def ours() -> dict:
        return {name: module for name, module in sys.modules.items() if name.split(".")[0] == "GLIDERegLib"}

    before = ours()
    yield
    for name in ours():
        del sys.modules[name]
    sys.modules.update(before)


def noProcess(slicerHost, children) -> None:
    slicerHost.waitUntil(lambda: not children(), seconds=2)


def test_other_modules_can_be_used_meanwhile_and_the_panel_tells_the_end(
    slicerHost, replay, scans, openModule, finish
):
    module = openModule()
    replay.plan([["progress", "refinement", 0.5], ["wait"], ["result"]])
    module.ui.applyButton.click()
    slicerHost.waitUntil(lambda: module.logic.registration.stage)
    module.exit()
    slicerHost.processEvents(0.5)
    module.enter()
    assert module.logic.registration.active and not module.ui.cancelButton.isHidden()
    module.exit()
    module.ui.keepButton.click()
    assert finish(module).results
    module.enter()
    assert module.ui.progressLabel.text.startswith("Registered in")
    assert module.logic.getParameterNode().outputVolume is module.logic.registration.results.volume


def test_closing_the_scene_ends_the_run_and_the_panel_can_be_used_for_the_next_scans(
    slicerHost, fake, plain, running, children, nothingLeft
):
    import slicer

    slicer.mrmlScene.Clear(0)
    noProcess(slicerHost, children)
    assert running.logic.registration.state.value == "cancelled"
    ui = running.ui
    assert not ui.applyButton.enabled and not ui.applyButton.isHidden() and ui.cancelButton.isHidden()
    nothingLeft.check(nothingLeft.nodes())
    running.exit()
    plain("Follow-up"), plain("Baseline", seed=1)
    running.enter()
    start(slicerHost, fake, running)
    assert len(children()) == 1


def test_loading_a_scene_over_a_run_ends_it(slicerHost, running, children, tmp_path):
    slicerHost.saveScene(tmp_path / "scene.mrb")
    assert running.logic.registration.active
    slicerHost.loadScene(tmp_path / "scene.mrb")
    noProcess(slicerHost, children)
    assert running.ui.applyButton.enabled


def test_deleting_a_scan_during_the_run_is_a_failure_that_is_told(
    slicerHost, replay, scans, openModule, finish, nothingLeft
):
    import slicer

    module = openModule()
    replay.plan([["progress", "refinement", 0.5], ["preview", 0], ["wait"], ["result"]])
    module.ui.applyButton.click()
    slicerHost.waitUntil(lambda: module.logic.registration.stage)
    slicer.mrmlScene.RemoveNode(scans.movingVolume)
    module.ui.keepButton.click()
    assert finish(module).results is None
    assert "no longer in the scene" in module.ui.messageLabel.text
    nothingLeft.check(nothingLeft.nodes())


@pytest.mark.parametrize("how", ["cleanup", "aboutToQuit", "quit"])
def test_leaving_slicer_ends_the_run(slicerHost, running, children, nothingLeft, how):
    import slicer

    registration = running.logic.registration
    {
        "cleanup": running.widget.cleanup,
        "aboutToQuit": slicer.app.aboutToQuit.emit,
        "quit": slicerHost.quit,
    }[how]()
    noProcess(slicerHost, children)
    assert not registration.active
    nothingLeft.check(nothingLeft.nodes())


def test_leaving_slicer_while_the_probe_runs_ends_that(slicerHost, fake, children):
    (fake.folder / "hold").touch()
    module = slicerHost.loadModule(MODULE)
    module.enter()
    assert len(children()) == 1
    slicerHost.quit()
    noProcess(slicerHost, children)


def test_reloading_ends_the_run_and_brings_a_panel_that_works(
    slicerHost, fake, running, children, freshLibrary
):
    registration, widget = running.logic.registration, running.widget
    widget.onReload()
    noProcess(slicerHost, children)
    assert not registration.active and running.widget is not widget
    assert running.logic.registration is not registration
    slicerHost.waitUntil(lambda: running.ui.encoderCombo.count > 1)
    start(slicerHost, fake, running)
    running.ui.cancelButton.click()
    slicerHost.waitUntil(lambda: not running.logic.registration.active)
    assert running.ui.progressLabel.text == "Cancelled; nothing was changed."


def test_neither_another_click_nor_another_panel_nor_a_script_starts_a_second_job(
    slicerHost, running, children
):
    import qt
    import slicer

    from GLIDERegLib.core.errors import InputError

    (job,) = children()
    running.ui.applyButton.click()
    running.widget.panel.apply()
    parent = slicer.qMRMLWidget()
    parent.setLayout(qt.QVBoxLayout())
    # Kept, since the parameter node goes on writing into its widgets.
    running.widget.otherParent = parent
    other = running.python.GLIDERegWidget(parent)
    other.setup()
    other.enter()
    slicerHost.waitUntil(lambda: other.ui.encoderCombo.count > 1)
    other.ui.applyButton.click()
    assert "running already" in other.ui.messageLabel.text
    node = running.logic.getParameterNode()
    with pytest.raises(InputError, match="running already"):
        running.python.GLIDERegLogic().registerVolumes(node.fixedVolume, node.movingVolume)
    slicerHost.processEvents(0.3)
    assert children() == {job} and running.logic.registration.active
    running.ui.cancelButton.click()
    slicerHost.waitUntil(lambda: not running.logic.registration.active)
    assert running.ui.progressLabel.text == "Cancelled; nothing was changed."
    other.cleanup()


def test_apply_before_the_probe_has_answered_starts_one_run_as_soon_as_it_has(
    slicerHost, fake, plain, children
):
    plain("Follow-up"), plain("Baseline", seed=1)
    fake.plan([["progress", "refinement", 0.5], ["wait"]])
    module = slicerHost.loadModule(MODULE)
    module.enter()
    module.ui.applyButton.click()
    module.ui.applyButton.click()
    assert not module.ui.applyButton.enabled and module.ui.progressLabel.text
    slicerHost.waitUntil(lambda: module.logic.registration.stage)
    assert len(children()) == 1


def test_a_scripts_registration_beside_an_open_panel_is_not_taken_for_the_panels_own(
    slicerHost, replay, scans, openModule
):
    module = slicerHost.loadModule(MODULE)
    module.enter()  # its timer runs, for the probe
    replay.plan([["progress", "refinement", 0.5], ["result"]])
    results = module.logic.registerVolumes(scans.fixedVolume, scans.movingVolume)
    slicerHost.processEvents(0.3)
    node, ui = module.logic.getParameterNode(), module.ui
    assert results.volume and node.outputVolume is None
    assert not ui.applyButton.isHidden() and ui.cancelButton.isHidden()


def test_without_a_main_window_the_panel_opens_and_no_switch_of_the_views_fails(slicerHost, fake, plain):
    """As where another application shows the panel by itself."""
    from panel.test_saved_scene import registeredBy

    slicerHost.hasMainWindow = False
    scans = plain("Follow-up"), plain("Baseline", seed=1)
    module = slicerHost.loadModule(MODULE)
    module.panel.enter()
    node = module.logic.getParameterNode()
    node.checkTransform = registeredBy(*scans)
    check, followUp = (module.widget.pages[n].ui for n in (1, 4))
    for scan, day in zip(scans, ("2024-03-10", "2024-03-11"), strict=True):
        node.followUpScan = scan
        followUp.followUpDateEdit.text = day
        followUp.followUpAddButton.click()
    for index in range(len(module.widget.pages)):
        module.widget.tabs.setCurrentIndex(index)
    check.checkLayoutButton.click()
    followUp.followUpDatesButton.click()
    assert not followUp.followUpDatesButton.checked
    module.panel.exit()
