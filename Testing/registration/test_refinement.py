"""The refinement of both directions together, and what a smooth wall may do to it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from GLIDERegLib.registration import instance_optimisation
from GLIDERegLib.registration.sampling import index_grid, sample_field

SHIFT = torch.tensor((3.0, -2.0, 5.0)).view(3, 1, 1, 1)


def run(field: torch.Tensor, offset: tuple[int, int, int], spacing: int) -> SimpleNamespace:
    return SimpleNamespace(
        field=field, spacing=spacing, direction=SimpleNamespace(fixed=SimpleNamespace(offset=offset))
    )


def test_between_levels_a_false_match_of_one_direction_loses_at_least_half_its_pull():
    """A true shift, found both ways on grids that start elsewhere, with a bump of 4 voxels in one of them."""
    spacing, offset = 4, (-8, 4, 12)
    nodes = (22, 20, 24)
    middle = torch.tensor([n // 2 for n in nodes[::-1]]).view(3, 1, 1, 1)
    bump = 4 * torch.exp(-(index_grid(nodes) - middle).square().sum(dim=0) / 18)
    forward = SHIFT.expand(3, *nodes).clone()
    forward[0] += bump
    here, there = run(forward, (0, 0, 0), spacing), run(-SHIFT.expand(3, 26, 24, 28), offset, spacing)
    instance_optimisation._agree(here, there)
    wrong = (here.field - SHIFT).norm(dim=0)
    assert float(wrong.max()) <= 2.0
    start = torch.as_tensor(np.array(offset) / spacing, dtype=torch.float32).view(3, 1, 1, 1)
    missing = here.field + sample_field(there.field / spacing, here.field / spacing, -start) * spacing
    assert float(missing[:, 6:-6, 6:-6, 6:-6].norm(dim=0).max()) < 0.1
