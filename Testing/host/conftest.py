from __future__ import annotations

from pathlib import Path

import pytest

from host import fixtures

slicerSession, slicerHost = fixtures.slicerSession, fixtures.slicerHost
slicer510 = fixtures.slicer510


@pytest.fixture
def probe(slicerHost):
    """A small scripted module with a widget of each kind, just loaded."""
    return slicerHost.loadModule(Path(__file__).parent / "probe" / "Probe.py")
