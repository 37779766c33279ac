"""What a newcomer meets in a real Slicer: samples, an own checkpoint, installing, events in between."""

from __future__ import annotations

from subprocess import CalledProcessError

import pytest
from panel.support import FINDINGS, MODULE, ONE_THREAD
from panel.test_scripting import useSmallPair

CHECKPOINT = "/models/medsam2.pt"
INCOMPLETE = {**FINDINGS, "missing": ["psutil"], "missing_optional": ["numba"]}


@pytest.fixture
def module(fake, plain, openModule):
    """The opened module with two small volumes chosen."""
    plain("Follow-up"), plain("Baseline", seed=1)
    return openModule()


def soon(slicerHost, call) -> None:
    """Calls something as soon as Slicer lets events through."""
    import qt

    timer = qt.QTimer(slicerHost.mainWindow)
    timer.setSingleShot(True)
    timer.connect("timeout()", call)
    timer.start(0)


# The samples


@pytest.mark.once
def test_the_sample_pair_s_nodules_measure_as_they_are_said_to_have_grown(slicerHost, monkeypatch):
    import slicer

    from GLIDERegLib.evaluation.growth import growth
    from GLIDERegLib.evaluation.measuring import measure_nodule
    from GLIDERegLib.evaluation.phantom import make_phantom
    from GLIDERegLib.scene.registration import sample

    made = []
    monkeypatch.setattr(
        "GLIDERegLib.evaluation.phantom.make_phantom",
        lambda *args, **kwargs: made.append(make_phantom(*args, **kwargs)) or made[-1],
    )
    pair = sample.makeSamplePair()
    assert slicer.util.arrayFromVolume(pair.fixedVolume).shape == made[0].fixed.grid.shape
    for number, least, most in ((5, 25, 100), (6, -25, 25)):
        moving = measure_nodule(made[0].moving, made[0].moving_nodules[number])
        fixed = measure_nodule(made[0].fixed, made[0].fixed_nodules[number])
        found = growth(moving.size(), fixed.size())
        assert found.low <= 100 * sample.GROWTH[number] <= found.high and least < found.change < most


@pytest.mark.parametrize("hasWindow", [True, False])
def test_the_sample_pair_is_seen_in_the_slice_views_as_soon_as_it_is_there(
    slicerHost, fake, monkeypatch, hasWindow
):
    import slicer

    pytest.importorskip("scipy")
    useSmallPair(monkeypatch)
    slicerHost.loadModule(MODULE)
    red = slicerHost.layoutManager.sliceWidget("Red").mrmlSliceNode()
    red.SetFieldOfView(5, 5, 1)
    if not hasWindow:
        monkeypatch.setattr(slicer.app.layoutManager.__self__._host, "layoutManager", None)
    slicerHost.sampleData.click("GLIDERegChestPair")
    shown = slicer.util.getNode("Chest follow-up")
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        assert composite.GetBackgroundVolumeID() == shown.GetID()
        assert composite.GetForegroundVolumeID() is None
    if hasWindow:
        assert red.GetFieldOfView()[0] > 100, "fitted"


@pytest.mark.parametrize("testing", [True, False])
def test_slicers_start_with_the_module_is_without_an_error(slicerHost, fake, testing):
    slicerHost.testing = testing
    slicerHost.loadModule(MODULE)
    assert slicerHost.uncaught == [] and slicerHost.sampleData.categories == {"GLIDE-Reg": "GLIDE-Reg"}


@pytest.mark.parametrize("testing", [True, False])
def test_the_self_test_is_skipped_with_the_reason_in_a_slicer_fresh_from_the_factory(
    slicerHost, fake, testing
):
    import unittest

    slicerHost.testing = testing
    fake.plan([], findings={**FINDINGS, "missing": ["torch", "psutil"]})
    tests = slicerHost.loadModule(MODULE).python.GLIDERegTest
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(tests).run(result)
    assert [reason for _, reason in result.skipped] == ["The Python that registers lacks torch, psutil."]
    assert result.wasSuccessful()
    tests().runTest()  # as the button Reload and Test does


def test_the_self_test_fails_where_the_registering_python_cannot_be_asked(slicerHost, fake):
    fake.plan([], findings=None)
    with pytest.raises(AssertionError, match="could not be examined"):
        slicerHost.loadModule(MODULE).python.GLIDERegTest().runTest()


def test_the_self_test_passes_in_testing_mode(slicerHost, monkeypatch):
    pytest.importorskip("torch")
    for name, value in ONE_THREAD.items():
        monkeypatch.setenv(name, value)
    useSmallPair(monkeypatch)
    slicerHost.testing = True
    slicerHost.loadModule(MODULE).python.GLIDERegTest().runTest()
    assert slicerHost.dialogs.shown == []


# A checkpoint of one's own


def test_a_checkpoint_can_be_typed_and_emptied_again(slicerHost, module):
    ui, node = module.ui, module.logic.getParameterNode()
    line = ui.checkpointEdit.comboBox().lineEdit()
    for length in range(1, len(CHECKPOINT) + 1):
        line.setText(CHECKPOINT[:length])
        assert node.checkpoint == ui.checkpointEdit.currentPath == CHECKPOINT[:length]
    line.clear()
    assert node.checkpoint == ui.checkpointEdit.currentPath == ""


def test_a_path_that_another_module_has_stored_does_not_become_the_checkpoint(slicerHost, fake, openModule):
    import qt

    qt.QSettings().setValue("ctkPathLineEdit/", ["/elsewhere/scan.nrrd"])
    module = openModule()
    assert module.logic.getParameterNode().checkpoint == module.ui.checkpointEdit.currentPath == ""


# The preview


def test_the_preview_is_in_sight_in_views_that_were_empty_and_moves_no_other(
    slicerHost, replay, scans, openModule
):
    import slicer

    views = [slicerHost.layoutManager.sliceWidget(name) for name in ("Red", "Yellow", "Green")]
    (red, redShows), yellow, green = (
        (views[0].mrmlSliceNode(), views[0].mrmlSliceCompositeNode()),
        views[1].mrmlSliceNode(),
        views[2].mrmlSliceNode(),
    )
    for view in views:
        view.mrmlSliceCompositeNode().SetBackgroundVolumeID(None)
        view.mrmlSliceCompositeNode().SetForegroundVolumeID(None)
        view.mrmlSliceNode().SetFieldOfView(5, 5, 1)
    redShows.SetBackgroundVolumeID(scans.movingVolume.GetID())
    module = openModule()
    replay.plan([["progress", "refinement", 0.5], ["preview", 0], ["wait"]])
    module.ui.applyButton.click()
    slicerHost.waitUntil(lambda: views[1].mrmlSliceCompositeNode().GetForegroundVolumeID())
    assert red.GetFieldOfView()[0] == 5
    bounds = [0.0] * 6
    slicer.util.getNode("Follow-up").GetRASBounds(bounds)
    middle = [(bounds[2 * axis] + bounds[2 * axis + 1]) / 2 for axis in range(3)]
    for view in (yellow, green):
        assert view.GetFieldOfView()[0] > 50
        origin = [view.GetSliceToRAS().GetElement(row, 3) for row in range(3)]
        assert max(abs(a - b) for a, b in zip(origin, middle, strict=True)) < 30


# Installing


@pytest.mark.parametrize("newer", [True, False], ids=["5.12", "5.10"])
@pytest.mark.parametrize("failing", ["psutil", "numba"])
def test_what_cannot_be_installed_is_told_once_or_not_at_all(
    slicerHost, fake, plain, openModule, monkeypatch, newer, failing
):
    import qt

    plain("Follow-up"), plain("Baseline", seed=1)
    slicerHost.packaging.setPresent(newer)
    slicerHost.packaging.replacesImported = True  # a restart in between would end it halfway
    fake.plan([["wait"]], findings=INCOMPLETE)
    module = openModule()
    usesSlicersPython(monkeypatch)

    def install(requirements):
        fake.plan([["wait"]], findings={**INCOMPLETE, "missing": []})
        if failing in requirements[0]:
            raise CalledProcessError(1, "pip")

    slicerHost.packaging.install = install
    slicerHost.packaging.pip_check = lambda requirements, _seen=None: False
    slicerHost.packaging.setPresent(newer)
    slicerHost.dialogs.answers.append(qt.QMessageBox.Ok)
    module.ui.applyButton.click()
    told = [shown.text for shown in slicerHost.dialogs.shown[1:]]
    if failing == "psutil":
        (sentence,) = told
        assert "\n" not in sentence and "restart Slicer" in sentence
    else:
        assert told == []


def usesSlicersPython(monkeypatch) -> None:
    """After the probe has answered, what it lacks is what Slicer's own Python lacks."""
    from GLIDERegLib.panel import dependencies

    monkeypatch.setattr(dependencies, "_obstacle", lambda missing: None)


# Events in between


@pytest.mark.parametrize("newer", [True, False], ids=["5.12", "5.10"])
@pytest.mark.parametrize("event", ["scene closed", "panel closed", "another click"])
@pytest.mark.parametrize("moment", ["question", "pip"])
def test_what_happens_during_an_installation_is_heeded(
    slicerHost, fake, plain, openModule, monkeypatch, children, newer, event, moment
):
    import qt
    import slicer

    plain("Follow-up"), plain("Baseline", seed=1)
    fake.plan([["progress", "refinement", 0.5], ["wait"]], findings={**INCOMPLETE, "missing_optional": []})
    module = openModule()
    usesSlicersPython(monkeypatch)
    slicerHost.packaging.pip_check = lambda requirements, _seen=None: False
    slicerHost.packaging.setPresent(newer)

    def happens() -> None:
        {
            "scene closed": lambda: slicer.mrmlScene.Clear(0),
            "panel closed": module.widget.cleanup,
            "another click": module.widget.panel.apply,
        }[event]()

    def install(requirements):
        fake.plan([["progress", "refinement", 0.5], ["wait"]])
        if moment == "pip":
            happens()

    slicerHost.packaging.install = install

    def answer(dialog):
        if moment == "question":
            happens()
        return qt.QMessageBox.Ok

    slicerHost.dialogs.answers.append(answer)
    module.ui.applyButton.click()
    if event == "another click":
        slicerHost.waitUntil(lambda: module.logic.registration.active)
        slicerHost.processEvents(0.3)
        assert len(children()) == 1
    else:
        slicerHost.processEvents(0.5)
        assert not module.logic.registration.active and not children()
    assert slicerHost.uncaught == []


@pytest.mark.parametrize("event", ["scene closed", "panel closed", "another click"])
@pytest.mark.parametrize("page", ["register", "4D study"])
def test_what_happens_while_the_cursor_turns_to_waiting_is_heeded(
    slicerHost, module, fake, plain, children, event, page
):
    import slicer

    fake.plan([["progress", "refinement", 0.5], ["wait"]])
    target = module.widget.panel
    if page == "4D study":
        from panel.support import addStudy

        frames = [plain(f"Frame {n}", seed=n) for n in range(2)]
        module.logic.getParameterNode().sequence = addStudy(frames, ["0", "50"])
        target = module.widget.pages[3]
    call = {
        "scene closed": lambda: slicer.mrmlScene.Clear(0),
        "panel closed": module.widget.cleanup,
        "another click": target.apply,
    }[event]
    soon(slicerHost, call)
    target.apply()
    slicerHost.processEvents(0.5)
    assert slicerHost.uncaught == []
    if event == "another click":
        assert module.logic.busy and len(children()) == 1
    else:
        assert not module.logic.busy and not children()


def test_a_download_is_not_started_for_a_panel_that_was_closed_over_the_question(
    slicerHost, module, children
):
    import qt

    def answer(dialog):
        module.widget.cleanup()
        return qt.QMessageBox.Ok

    slicerHost.dialogs.answers.append(answer)
    module.ui.encoderCombo.setCurrentIndex(0)
    module.ui.weightsButton.click()
    slicerHost.processEvents(0.2)
    assert slicerHost.uncaught == [] and not children()


def test_numbers_that_lose_their_scene_are_not_made(slicerHost, replay, scans, openModule, finish):
    import slicer

    module = openModule()
    replay.plan([["result"]])
    module.ui.applyButton.click()
    assert finish(module).results
    module.widget.tabs.setCurrentIndex(1)
    soon(slicerHost, lambda: slicer.mrmlScene.Clear(0))
    module.widget.pages[1].measure()
    assert slicerHost.uncaught == []


def test_a_reload_in_sight_looks_again_at_what_is_installed(slicerHost, fake, openModule):
    """Slicer enters no module that it reloads; the list of encoders would stay empty."""
    module = openModule()
    module.reload()
    slicerHost.waitUntil(lambda: module.ui.encoderCombo.count > 1)
