"""Runs that end otherwise than by themselves: cancelled, killed, failed, kept early."""

from __future__ import annotations

import os
import signal
import time
from itertools import cycle, islice

import pytest
from panel.support import MODULE, ONE_THREAD
from promises import within

STAGES = (
    "pre-alignment",
    "working grid",
    "global features",
    "reduction",
    "local features",
    "convex optimisation",
    "refinement",
    "symmetry",
    "result",
)
LONGEST_CANCEL = 3.0


@pytest.fixture
def module(fake, plain, openModule):
    """The opened module with two small volumes chosen, and a worker of which nothing is planned yet."""
    plain("Follow-up"), plain("Baseline", seed=1)
    return openModule()


def isUsable(module) -> bool:
    """Whether the panel offers the next run, and nothing of the last one."""
    ui = module.ui
    shown = not ui.applyButton.isHidden() and ui.cancelButton.isHidden() and ui.progressBar.isHidden()
    return shown and ui.applyButton.enabled


def cancelInTime(slicerHost, module, nothingLeft, nodes) -> None:
    """Presses Cancel and sees to it that nothing is left within the time that is promised."""
    start = time.monotonic()
    module.ui.cancelButton.click()
    assert not module.ui.cancelButton.enabled and not module.ui.keepButton.enabled
    slicerHost.waitUntil(lambda: not module.logic.registration.active)
    assert time.monotonic() - start < within(LONGEST_CANCEL)
    assert module.logic.registration.state.value == "cancelled"
    nothingLeft.check(nodes)
    assert module.ui.progressLabel.text == "Cancelled; nothing was changed."
    assert isUsable(module)


def test_cancel_at_every_stage_again_and_again_leaves_nothing(
    slicerHost, fake, module, nothingLeft, children
):
    nodes = nothingLeft.nodes()
    for stage in islice(cycle(STAGES), 2 * len(STAGES)):
        fake.plan([["device", "A processor"], ["progress", stage, 0.3], ["wait"], ["result"]])
        module.ui.applyButton.click()
        slicerHost.waitUntil(lambda stage=stage: module.logic.registration.stage == stage)
        assert len(children()) == 1 and not isUsable(module)
        cancelInTime(slicerHost, module, nothingLeft, nodes)


def test_cancel_before_the_worker_has_said_anything(slicerHost, fake, module, nothingLeft):
    nodes = nothingLeft.nodes()
    fake.plan([["wait"]])
    module.ui.applyButton.click()
    cancelInTime(slicerHost, module, nothingLeft, nodes)


def test_a_worker_that_heeds_nothing_is_ended_with_all_it_started(slicerHost, fake, module, nothingLeft):
    nodes = nothingLeft.nodes()
    fake.plan([["stubborn"]])
    module.ui.applyButton.click()
    slicerHost.waitUntil(lambda: module.logic.registration.stage)
    cancelInTime(slicerHost, module, nothingLeft, nodes)
    started = int((fake.folder / "child").read_text())
    slicerHost.waitUntil(lambda: not isRunning(started), seconds=2)


def isRunning(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.once
@pytest.mark.parametrize("stage", ["", "convex optimisation", "refinement"])
def test_the_real_worker_is_gone_in_time_too(slicerHost, scans, nothingLeft, monkeypatch, stage):
    for name, value in ONE_THREAD.items():
        monkeypatch.setenv(name, value)
    module = slicerHost.loadModule(MODULE)
    module.enter()
    node = module.logic.getParameterNode()
    node.preset, node.features, node.align, node.threads = "paper", "local", "none", 1
    slicerHost.waitUntil(lambda: module.ui.encoderCombo.count > 1, seconds=120)
    nodes = nothingLeft.nodes()
    module.ui.applyButton.click()
    slicerHost.waitUntil(lambda: module.logic.registration.stage == stage, seconds=120)
    cancelInTime(slicerHost, module, nothingLeft, nodes)


def test_a_killed_worker_is_one_clear_sentence_and_a_usable_panel(
    slicerHost, fake, module, nothingLeft, children
):
    nodes = nothingLeft.nodes()
    fake.plan([["progress", "refinement", 0.5], ["stubborn"]])
    module.ui.applyButton.click()
    slicerHost.waitUntil(lambda: module.logic.registration.stage)
    (worker,) = children()
    os.kill(worker, signal.SIGKILL)
    slicerHost.waitUntil(lambda: not module.logic.registration.active)
    said = module.ui.messageLabel.text
    assert "memory ran out" in said and "Close other programs" in said and "\n" not in said
    assert isUsable(module)
    nothingLeft.check(nodes)
    fake.plan([["progress", "refinement", 0.5], ["wait"]])
    module.ui.applyButton.click()
    slicerHost.waitUntil(lambda: module.logic.registration.stage)
    assert module.ui.messageLabel.text != said


@pytest.mark.parametrize(
    ("kind", "message", "hint"),
    [
        ("input", "The moving image holds values that are no numbers.", "Check the file."),
        ("memory", "There is not enough memory for these images and settings.", "Choose the preset fast."),
        ("weights", "The checkpoint is damaged.", "Download it again."),
        ("dependency", "The package torch cannot be loaded.", "Install the packages."),
        ("internal", "The registration failed unexpectedly.", ""),
    ],
)
def test_a_failure_is_told_with_its_way_out(slicerHost, fake, module, nothingLeft, kind, message, hint):
    from GLIDERegLib.panel.remedies import worded

    nodes = nothingLeft.nodes()
    fake.plan(
        [["progress", "refinement", 0.5], ["say", "Traceback: details"], ["error", kind, message, hint]]
    )
    module.ui.applyButton.click()
    slicerHost.waitUntil(lambda: not module.logic.registration.active)
    assert module.ui.messageLabel.text == worded(message, hint, kind)
    assert "Traceback: details" in module.ui.logText.plainText
    assert module.ui.progressLabel.text == "" and isUsable(module)
    nothingLeft.check(nodes)


def test_a_worker_that_only_prints_and_leaves_is_told_as_a_failure(slicerHost, fake, module, nothingLeft):
    nodes = nothingLeft.nodes()
    fake.plan([["say", "something strange"]])
    module.ui.applyButton.click()
    slicerHost.waitUntil(lambda: not module.logic.registration.active)
    assert "ended unexpectedly" in module.ui.messageLabel.text and isUsable(module)
    nothingLeft.check(nodes)


def test_a_python_that_cannot_be_started_is_one_sentence(slicerHost, fake, module, nothingLeft):
    nodes = nothingLeft.nodes()
    fake.path.unlink()
    module.ui.applyButton.click()
    # The worker that was started ahead may be leaving just now.
    slicerHost.waitUntil(lambda: not module.logic.registration.active)
    assert "cannot be started" in module.ui.messageLabel.text and isUsable(module)
    nothingLeft.check(nodes)


def test_stop_and_keep_ends_with_the_result_so_far_and_says_so(slicerHost, replay, scans, openModule, finish):
    module = openModule()
    replay.plan([["device", "A processor"], ["progress", "refinement", 0.5], ["wait"], ["result"]])
    module.ui.applyButton.click()
    slicerHost.waitUntil(lambda: module.logic.registration.stage)
    module.ui.keepButton.click()
    assert not module.ui.keepButton.enabled and module.ui.cancelButton.enabled
    module.logic.getParameterNode().seed = 5
    assert not module.ui.keepButton.enabled, "a change of a setting must not offer it once more"
    assert finish(module).results.transform
    assert "Stopped by user" in module.ui.progressLabel.text and "A processor" in module.ui.progressLabel.text
    assert isUsable(module)
    replay.plan([["result"]])
    module.ui.applyButton.click()
    assert finish(module).results and "Stopped by user" not in module.ui.progressLabel.text
