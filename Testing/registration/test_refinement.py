"""The refinement of both directions together, and what a smooth wall may do to it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch
from scipy import ndimage

from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.registration import instance_optimisation
from GLIDERegLib.registration.control_grid import ControlGrid
from GLIDERegLib.registration.direction import Direction
from GLIDERegLib.registration.features.intensity import packed_weight
from GLIDERegLib.registration.features.local_features import LocalFeatures
from GLIDERegLib.registration.initial_displacement import initial_displacements
from GLIDERegLib.registration.progress import Stages
from GLIDERegLib.registration.sampling import index_grid, sample_field
from GLIDERegLib.registration.working_grid import Prepared

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


def prepared(array: np.ndarray) -> Prepared:
    everywhere = np.ones(array.shape, bool)
    grid = Grid(array.shape[::-1], (4.0, 4.0, 4.0))
    return Prepared(array.astype(np.float32), everywhere, everywhere, grid)


def test_a_second_search_goes_on_from_where_the_first_had_to_end():
    """Content 24 mm away along x with a search range of 16: once reaches 16 mm, twice half as far again."""
    scene = 300 * ndimage.gaussian_filter(np.random.default_rng(4).normal(size=(40, 40, 60)), 5.0) * 90
    images = prepared(scene[:, :, 6:]), prepared(scene[:, :, :-6])
    settings = Settings.preset("default", features="local", search_range=16.0, search_stretch=1.0)
    device = torch.device("cpu")

    def found(passes: int) -> float:
        chosen = replace(settings, search_passes=passes)
        local = tuple(LocalFeatures.of_image(i, chosen, device, n == 0) for n, i in enumerate(images))
        pair = Direction(*images, local, None, (0, 1), 4.0)
        ((field, factor),), _ = initial_displacements([pair], chosen, lambda share: None, [])
        assert factor == 2
        return float(field[0, 5:-5, 5:-5, 6:-6].median()) * 4.0

    assert found(1) <= 16.0
    assert abs(found(2) - 24.0) < 2.0


def test_noise_counts_like_a_wall_unless_a_noise_weight_says_otherwise():
    array = np.random.default_rng(5).normal(0, 10, size=(24, 24, 32))
    array[:, :, 16:] += 800
    device = torch.device("cpu")

    def weights(noise: float) -> tuple[float, float]:
        """Mean weight in the noise, and at the wall."""
        settings = Settings.preset("default", features="local", noise_weight=noise)
        weight = LocalFeatures.of_image(prepared(array), settings, device, True).packed[1].weight()
        return float(weight[8:-8, 8:-8, 5:9].mean()), float(weight[8:-8, 8:-8, 15:17].mean())

    assert weights(0.0) == (1.0, 1.0)
    quiet, wall = weights(4.0)
    # V / (V + 4 V) in the noise, whose variance is the typical one.
    assert abs(quiet - 0.2) < 0.05
    assert wall > 0.95


def test_intensities_share_minds_weight_where_both_scans_show_tissues_alike_and_nowhere_else():
    array = 300 * ndimage.gaussian_filter(np.random.default_rng(6).normal(size=(20, 24, 28)), 2.0) * 20
    settings = Settings.preset("default", features="local", intensity_share=0.25)
    level, device = settings.levels[-1], torch.device("cpu")
    grid = ControlGrid(array.shape, level.node_spacing)
    rest = torch.zeros((3, *(n + 4 for n in grid.nodes)))

    def weights(moving: np.ndarray) -> tuple[float, float, float]:
        images = prepared(array), prepared(moving)
        local = LocalFeatures.of_pair(images, settings, device)
        pair = Direction(*images, local, None, (0, 1), 4.0)
        terms = instance_optimisation._terms(pair, settings, level)
        found, use = instance_optimisation._with_intensity(terms, pair, settings, grid, rest)
        assert use.share == found[0].share and (use.correlation >= 0.2) == (use.share > 0)
        assert len(found) == 1 and found[0].fixed is local[0].packed[level.feature_factor]
        return found[0].weight, found[0].share, found[0].further

    assert weights(0.5 * array + 40) == (1.0, 0.25, packed_weight(0.25))
    assert weights(-array) == (1.0, 0.0, 0.0)


def test_every_level_compares_the_brightness_of_its_voxels_or_blocks(monkeypatch):
    array = 300 * ndimage.gaussian_filter(np.random.default_rng(7).normal(size=(48, 48, 56)), 6.0) * 20
    settings = Settings.preset("default", features="local", intensity_share=0.25)
    device, shares = torch.device("cpu"), []

    def unrefined(energy_of, coefficients, *_):
        shares.append([term.share for term in energy_of.terms])
        return coefficients, []

    monkeypatch.setattr(instance_optimisation, "refine_level", unrefined)

    def refined(moving: np.ndarray) -> list[list[float]]:
        shares.clear()
        images = prepared(array), prepared(moving)
        pair = Direction(*images, LocalFeatures.of_pair(images, settings, device), None, (0, 1), 4.0)
        rest = torch.zeros((3, 12, 12, 14))
        instance_optimisation.optimise(pair, settings, Stages(device, None, None), rest, 4)
        return list(shares)

    assert refined(0.5 * array + 40) == [[0.25]] * len(settings.levels)
    assert refined(-array) == [[0.0]] * len(settings.levels)
