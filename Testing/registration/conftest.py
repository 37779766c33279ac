"""Fixtures of the registration's tests."""

import pytest

from GLIDERegLib.registration.backends import use_backend


@pytest.fixture(scope="session")
def chest():
    """A whole chest that breathes by 20 mm, in voxels of 5 mm with little air around."""
    from GLIDERegLib.evaluation.phantom import make_phantom

    return make_phantom((72, 56, 64), (5.0, 5.0, 5.0), amplitude_mm=20.0, seed=2)


@pytest.fixture(params=["numba", "torch"])
def processor_backend(request):
    """Everything the test computes on the processor, by one backend after the other."""
    if request.param == "numba":
        pytest.importorskip("numba")
    with use_backend(request.param):
        yield request.param
