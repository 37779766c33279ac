"""The method from two volumes to a displacement field: the order of its steps, which are files of their own.

README.md beside this file lists them; steps are numbered as in docs/method.md.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from GLIDERegLib.core.settings import Settings
from GLIDERegLib.registration.backends import prepare_kernels
from GLIDERegLib.registration.direction import Direction
from GLIDERegLib.registration.evidence import continued
from GLIDERegLib.registration.features import intensity
from GLIDERegLib.registration.features.co_optimised_vae import reduce_features
from GLIDERegLib.registration.features.encoding import FeatureStore, SliceEncoder
from GLIDERegLib.registration.features.global_features import GlobalFeatures, encode_pair
from GLIDERegLib.registration.features.local_features import LocalFeatures
from GLIDERegLib.registration.features.pooled_features import cell_factor
from GLIDERegLib.registration.initial_displacement import initial_displacements
from GLIDERegLib.registration.instance_optimisation import optimise_both
from GLIDERegLib.registration.pair_inputs import PairInputs
from GLIDERegLib.registration.prealign import prealign
from GLIDERegLib.registration.progress import Stages
from GLIDERegLib.registration.result import Outcome, averaged, initial_alone, with_initial
from GLIDERegLib.registration.uncertainty import position_uncertainty
from GLIDERegLib.registration.working_grid import Prepared, prepare_pair, working_spacing

KERNELS_MESSAGE = "Preparing kernels, once per machine."


def register_pair(
    pair: PairInputs,
    settings: Settings,
    stages: Stages,
    device: torch.device,
    encoder: SliceEncoder | None = None,
    cache: FeatureStore | None = None,
) -> Outcome:
    """Registers a pair of a chest's size, in HU; `encoder` None means local features only.

    Raises InputError, Cancelled.
    """
    fixed, moving = pair.scans
    with stages.stage("pre-alignment"):
        initial = pair.initial
        if initial is None:
            initial = prealign(fixed, moving, settings.align, *pair.masks)
        stages.show(lambda: initial_alone(fixed.grid, initial))
    _await_kernels(stages, device)
    if settings.features not in ("both", "global"):
        encoder = None
    with_global = encoder is not None
    with stages.stage("working grid"):
        spacing = working_spacing(fixed.grid, settings.spacing, settings.finest_spacing, settings.most_voxels)
        images = prepare_pair(
            fixed,
            moving,
            initial,
            spacing,
            _margin_mm(settings, with_global),
            _multiple(settings, spacing, with_global),
            *pair.masks,
        )

    global_features = local_features = None
    if encoder is not None:
        with stages.stage("global features"):
            global_features = _global_features(images, settings, stages, device, encoder, cache)
        with stages.stage("reduction"):
            reduce_features(global_features, settings, stages.step)
    if settings.features != "global":
        with stages.stage("local features"):
            local_features = LocalFeatures.of_pair(images, settings, device)

    values = pair.hounsfield, pair.quiet
    directions = [Direction(*images, local_features, global_features, (0, 1), spacing, *values)]
    if settings.symmetric:
        swapped = local_features and (local_features[1], local_features[0])
        directions.append(Direction(*images[::-1], swapped, global_features, (1, 0), spacing, *values))
    warnings: list[str] = []
    with stages.stage("convex optimisation"):
        displacements, global_helps = initial_displacements(directions, settings, stages.step, warnings)
    if not global_helps:
        directions = [replace(direction, global_features=None) for direction in directions]
    uses: list[dict[int, intensity.Use]] = []
    with stages.stage("refinement"):
        fields = optimise_both(
            directions, settings, stages, displacements, lambda field: with_initial(field, initial), uses
        )
        # A second direction that ended early would only spoil the first.
        alone = not settings.symmetric or stages.ending
        slopes = directions[0], settings.slope_weight, intensity.steered(uses)
        found = fields[0]
        field = continued(found, *slopes) if alone else found
    if not alone:
        with stages.stage("symmetry"):
            found = averaged(*fields)
            field = continued(found, *slopes)
    last = tuple(use[settings.levels[-1].feature_factor] for use in uses)
    warnings += filter(None, [intensity.note(last)])
    whole = with_initial(field.faded(), initial)
    uncertainty = position_uncertainty(found, field, max(*fixed.grid.spacing, *moving.grid.spacing))
    return Outcome(whole, initial, spacing, warnings, stages.ending, last, uncertainty)


def _await_kernels(stages: Stages, device: torch.device) -> None:
    """The kernels for the processor must be compiled before the first is called; once on a machine."""
    preparation = prepare_kernels() if device.type == "cpu" else None
    if preparation is not None and preparation.needed:
        with stages.stage("kernels"):
            stages.step(0.0, KERNELS_MESSAGE)
            preparation.wait(stages.step)


def _margin_mm(settings: Settings, with_global: bool) -> float:
    """How far beyond the fixed image the searches reach."""
    local = settings.search_range * settings.search_stretch
    return max(local, settings.global_search_range if with_global else 0.0)


def _multiple(settings: Settings, spacing: float, with_global: bool) -> int:
    """Voxels that cells and blocks of all sizes fill up: by a multiple of them both working grids differ."""
    factors = [cell_factor(settings.cell_size, spacing), *(v.feature_factor for v in settings.levels)]
    if with_global:
        factors += [
            cell_factor(settings.global_cell_size, spacing),
            *(v.node_spacing for v in settings.levels),
        ]
    return math.lcm(*factors)


def _global_features(
    images: tuple[Prepared, Prepared],
    settings: Settings,
    stages: Stages,
    device: torch.device,
    encoder: SliceEncoder,
    cache: FeatureStore | None,
) -> GlobalFeatures:
    step = settings.slice_step(device.type, images[0].grid.spacing[0])
    fixed, moving = (
        replace(volume, features=volume.features.to(device))
        for volume in encode_pair(images, encoder, step, cache, stages.step, stages.cancel)
    )
    return GlobalFeatures(images, (fixed, moving), settings.seed)
