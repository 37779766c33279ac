"""Fixtures of the registration's tests."""

import pytest

from GLIDERegLib.registration.backends import use_backend


@pytest.fixture(params=["numba", "torch"])
def processor_backend(request):
    """Everything the test computes on the processor, by one backend after the other."""
    if request.param == "numba":
        pytest.importorskip("numba")
    with use_backend(request.param):
        yield request.param
