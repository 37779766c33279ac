"""The memory a registration needs: the grid it is given where memory is short."""

from __future__ import annotations

import pytest

from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.files.checkpoints import CHECKPOINTS
from GLIDERegLib.registration.memory import BASE, COARSER, coarser, estimated_bytes, fitted, free_bytes

LARGE = Grid((300, 300, 300), (1.0, 1.0, 1.0))
LOCAL = Settings(features="local")


@pytest.mark.parametrize("settings", [LOCAL, Settings(features="both")])
def test_ample_memory_changes_nothing(settings):
    assert fitted(LARGE, LARGE, settings, settings.features == "both", 100e9) == (settings, None)


@pytest.mark.parametrize("free", [1.5e9, 2e9, 3e9])
def test_short_memory_gives_the_finest_grid_that_fits_and_says_so(free):
    found, warning = fitted(LARGE, LARGE, LOCAL, False, free)
    assert estimated_bytes(LARGE, LARGE, found, False) <= free + BASE
    finer = Settings(features="local", spacing=found.spacing / COARSER**1.1)
    assert estimated_bytes(LARGE, LARGE, finer, False) > free + BASE
    assert f"{found.spacing:g} mm" in warning and warning.count(". ") == 0
    assert {**found.as_dict(), "spacing": None} == LOCAL.as_dict()


def test_a_spacing_that_the_user_chose_stays_with_a_warning():
    chosen = Settings(features="local", spacing=1.0)
    found, warning = fitted(LARGE, LARGE, chosen, False, 2e9)
    assert found is chosen and "may not be enough" in warning


def test_what_no_grid_can_make_small_is_tried_on_the_coarsest():
    small = Grid((100, 100, 100), (3.0, 3.0, 3.0))
    found, warning = fitted(small, small, LOCAL, False, 0.0)
    assert found.spacing == 6.0 and "6 mm" in warning and "may not be enough even so" in warning
    found, warning = fitted(LARGE, LARGE, LOCAL, False, 1e9)
    assert 1.0 < found.spacing < 6.0 and "may not be enough even so" in warning
    thick = Grid((100, 100, 50), (8.0, 8.0, 8.0))
    found, warning = fitted(thick, thick, LOCAL, True, 0.0)
    assert found is LOCAL and "may not be enough" in warning


def test_another_try_has_less_than_half_the_voxels():
    spacing = coarser(LARGE, LOCAL).spacing
    assert spacing**-3 < 0.5
    assert coarser(LARGE, Settings(spacing=spacing)).spacing > 1.29 * spacing


def test_no_more_memory_is_free_than_the_machine_has():
    import psutil

    assert 0 < free_bytes() <= psutil.virtual_memory().total


def test_a_larger_network_needs_its_weights_and_its_tokens_more():
    """Six bytes for each further channel of 37 x 37 tokens, on slices 12 mm apart of both images."""
    small, large = (
        estimated_bytes(LARGE, LARGE, Settings(encoder=name), True)
        for name in ("dinov2_vits14_reg", "dinov2_vitl14_reg")
    )
    tokens = 6 * (1024 - 384) * 37**2 * 50
    weights = CHECKPOINTS["dinov2_vitl14_reg"].size - CHECKPOINTS["dinov2_vits14_reg"].size
    assert tokens + weights < large - small < 2 * (tokens + weights)
