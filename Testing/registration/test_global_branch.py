"""The global features earn their place: what is too far away for local search is found through them.

The encoder is made for the test. It mixes the slices' anatomy non-linearly into 256 channels with noise, as
coarse as SAM2's tokens. It says nothing about SAM2, only about what the method does with such features.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from registration.support import AnatomyEncoder

from GLIDERegLib.core.settings import Settings
from GLIDERegLib.evaluation.phantom import make_phantom
from GLIDERegLib.registration.pair_inputs import PairInputs
from GLIDERegLib.registration.pipeline import register_pair
from GLIDERegLib.registration.progress import Stages


@pytest.fixture(scope="module")
def far_pair():
    """A breath of 20 mm and a shift of 107 mm, further than the local search and refinement reach."""
    return make_phantom(
        size=(64, 64, 56), spacing=(6.0, 6.0, 6.0), amplitude_mm=20.0, seed=5, shift_mm=(50.0, -30.0, 90.0)
    )


def median_error(pair, **changes) -> float:
    cpu = torch.device("cpu")
    # Stretched along the body, the local search would come near this shift by itself.
    settings = Settings.preset("fast", align="none", search_stretch=1.0, **changes)
    encoder = None if settings.features == "local" else AnatomyEncoder(32, 0.3, settings.seed)
    given = PairInputs(pair.fixed, pair.moving)
    outcome = register_pair(given, settings, Stages(cpu, None, None), cpu, encoder)
    errors = outcome.displacement.transform_points(pair.fixed_landmarks) - pair.moving_landmarks
    return float(np.median(np.linalg.norm(errors, axis=1)))


def test_local_features_alone_fail(far_pair):
    assert median_error(far_pair, features="local") > 20


@pytest.mark.parametrize("reduction", ["pca", "static", "dynamic"])
def test_both_features_succeed_with_every_reduction(far_pair, reduction):
    assert median_error(far_pair, features="both", reduction=reduction) < 4  # two thirds of a voxel


def test_global_features_alone_come_close(far_pair):
    assert median_error(far_pair, features="global", reduction="pca") < 16  # about a token and a half
