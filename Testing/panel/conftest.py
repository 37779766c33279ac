"""The module in the headless host, two scans in its scene, and a worker that plays what a test plans."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from host.fixtures import slicerHost, slicerSession  # noqa: F401
from panel.support import (
    ENGINE,
    HERE,
    MODULE,
    ONE_THREAD,
    ROOT,
    FakePython,
    addScans,
    runningChildren,
)


@pytest.fixture(scope="session")
def recording(tmp_path_factory) -> Path:
    """Folder of a registration by the engine alone; see recording.py."""
    if ENGINE is None and importlib.util.find_spec("torch") is None:
        pytest.skip("needs the engine here or in the Python that GLIDEREG_PYTHON names")
    folder = tmp_path_factory.mktemp("recording")
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT)}
    command = [ENGINE or sys.executable, str(HERE / "recording.py"), str(folder)]
    subprocess.run(command, check=True, env=environment, cwd=ROOT)
    return folder


@pytest.fixture
def scans(slicerHost, recording) -> SimpleNamespace:  # noqa: F811
    """fixedVolume, movingVolume, fixedNodules, movingNodules; see `addScans`."""
    return addScans(recording)


@pytest.fixture
def plain(slicerHost):  # noqa: F811
    """Function that adds a CT-like volume without any engine: 12 x 10 x 8 voxels of 9 mm."""
    import slicer

    def add(name: str, seed: int = 0, shift=(0, 0, 0), spacing=(9, 9, 9), values=(-1000, 400)):
        array = np.random.default_rng(seed).integers(*values, (8, 10, 12)).astype(np.int16)
        matrix = np.diag([*spacing, 1.0])
        matrix[:3, 3] = shift
        return slicer.util.addVolumeFromArray(array, ijkToRAS=matrix, name=name)

    return add


@pytest.fixture
def fake(tmp_path, monkeypatch) -> FakePython:
    """Registers nothing, but can say so in many ways; set before the module is loaded."""
    return _fake(tmp_path, monkeypatch, None)


@pytest.fixture
def replay(tmp_path, monkeypatch, recording) -> FakePython:
    """A fake Python that has the recorded result to give."""
    return _fake(tmp_path, monkeypatch, recording)


def _fake(folder: Path, monkeypatch, recording: Path | None) -> FakePython:
    python = FakePython(folder, recording)
    monkeypatch.setenv("GLIDEREG_PYTHON", str(python.path))
    return python


@pytest.fixture
def openModule(slicerHost):  # noqa: F811
    """Function that loads the shipped module, opens its panel and waits until the probe has answered."""

    def open():
        module = slicerHost.loadModule(MODULE)
        module.enter()
        slicerHost.waitUntil(lambda: module.ui.encoderCombo.count > 1)
        return module

    return open


@pytest.fixture
def finish(slicerHost):  # noqa: F811
    """Function that waits until a module's registration has ended; returns its SceneRegistration."""

    def finish(module, seconds: float = 60.0):
        slicerHost.waitUntil(lambda: not module.logic.registration.active, seconds)
        return module.logic.registration

    return finish


@pytest.fixture(autouse=True)
def strangers() -> set[int]:
    """Process ids of children that earlier tests left; autouse, so that no other fixture has started one."""
    return runningChildren()


@pytest.fixture
def children(strangers):
    """Function: process ids of the running children of this process that came with the test."""
    if not Path("/proc").is_dir():
        pytest.skip("looks at processes through /proc")
    return lambda: runningChildren() - strangers


@pytest.fixture
def nothingLeft(slicerHost, children):  # noqa: F811
    """nodes(): the IDs of the scene's nodes. check(nodes): asserts that there are no others, no process, and
    no temporary folder of a registration.
    """
    import slicer

    def nodeIds() -> set[str]:
        scene = slicer.mrmlScene
        return {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}

    def check(before: set[str]) -> None:
        deadline = time.monotonic() + 10
        while children() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not children()
        assert not list(Path(slicer.app.temporaryPath).glob("glidereg-*"))
        assert nodeIds() == before

    return SimpleNamespace(nodes=nodeIds, check=check)
