from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from host import fixtures  # noqa: E402

slicerSession, slicerHost = fixtures.slicerSession, fixtures.slicerHost


@pytest.fixture
def probe(slicerHost):
    """A small scripted module with a widget of each kind, just loaded."""
    return slicerHost.loadModule(Path(__file__).parent / "probe" / "Probe.py")
