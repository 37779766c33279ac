"""Fixtures for the tests that run in the host; a conftest.py imports them (see the package's docstring)."""

from __future__ import annotations

import pytest

from . import HostUnavailable, start, version


@pytest.fixture(scope="session")
def slicerSession():
    """The host, started once; tests that need it are skipped where it cannot run."""
    try:
        return start()
    except HostUnavailable as reason:
        pytest.skip(f"the headless Slicer host {reason}")


@pytest.fixture
def slicerHost(slicerSession):
    """The host with an empty scene; an exception uncaught in a slot or an observer fails the test."""
    yield slicerSession
    # Cleaning up may raise in observers too.
    uncaught = slicerSession.reset()
    assert not uncaught, f"exceptions in slots or observers: {uncaught!r}"


@pytest.fixture
def slicer510(slicerHost, monkeypatch):
    """The host behaves as Slicer 5.10 where that differs from 5.12."""
    from .node_combo_box import qMRMLNodeComboBox

    monkeypatch.setattr(version, "number", (5, 10))
    signals = {k: v for k, v in qMRMLNodeComboBox._signatures.items() if v != "nodeAddedByUserAction"}
    monkeypatch.setattr(qMRMLNodeComboBox, "_signatures", signals)
    return slicerHost
