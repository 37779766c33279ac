"""Step 6: instance optimisation, the joint refinement of the displacement field by Adam on control grids from
coarse to fine, and of the co-optimised VAE with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from GLIDERegLib.core.settings import Level, Settings
from GLIDERegLib.registration import energy
from GLIDERegLib.registration.adam import Adam
from GLIDERegLib.registration.backends import backend_for
from GLIDERegLib.registration.backends.protocol import Number
from GLIDERegLib.registration.control_grid import ControlGrid, to_coefficients
from GLIDERegLib.registration.coupled_convex import make_consistent
from GLIDERegLib.registration.direction import Direction
from GLIDERegLib.registration.features import intensity
from GLIDERegLib.registration.features.co_optimised_vae import CoOptimisedVae
from GLIDERegLib.registration.features.scale_agreement import LEAST_AGREEMENT, LEAST_LINEAR, scale_agreement
from GLIDERegLib.registration.field import DisplacementField
from GLIDERegLib.registration.folding import without_folds
from GLIDERegLib.registration.joint_energy import Energy, PointTerm, Term
from GLIDERegLib.registration.progress import Stages
from GLIDERegLib.registration.result import PREVIEW_MM, field_at_nodes
from GLIDERegLib.registration.unmeasured import fill_unmeasured

# What a scanner resolves: of smaller voxels, neighbours tell the same. Mean errors of landmarks on two own
# phantoms (voxels of 4 mm) at 1, 1.4, 2 and 4 mm: 0.95, 0.95, 0.97, 0.99 and 0.89, 0.89, 0.91, 0.95 mm
# (`default`).
RESOLUTION_MM = 1.4


def optimise_both(
    directions: list[Direction],
    settings: Settings,
    stages: Stages,
    initial: list[tuple[torch.Tensor, int]],
    complete: Callable[[DisplacementField], DisplacementField],
    uses: list[dict[int, intensity.Use]],
) -> list[DisplacementField]:
    """The field of each direction, or of the first alone where the user wants no more; previews show the
    first.

    initial: of each direction its initial displacement (3, Z, Y, X) in voxels at cells, and their size in
    voxels. complete: makes such a field the map that a preview shows. Between levels the two directions are
    made inverse to each other: a false match of the one seldom is one of the other, and pulls half as far at
    the next level. uses: takes what each direction did with intensities, where they were asked for, by the
    levels' working voxels per feature voxel.
    """
    runs = [
        Optimisation(direction, settings, stages, *field, complete if number == 0 else None)
        for number, (direction, field) in enumerate(zip(directions, initial, strict=True))
    ]
    total = len(runs) * sum(level.iterations for level in settings.levels)
    done = 0
    for number, level in enumerate(settings.levels):
        if number and len(runs) == 2 and settings.consistent_levels:
            _agree(*runs)
        for run in runs:
            run.level(level, _told(stages, done, level, total))
            done += level.iterations
            if stages.ending:
                return [runs[0].result()]
    uses += [run.uses for run in runs if run.uses]
    return [run.result() for run in runs]


def optimise(
    direction: Direction,
    settings: Settings,
    stages: Stages,
    initial: torch.Tensor,
    factor: int,
    points: PointTerm | None = None,
) -> DisplacementField:
    """The field of one direction alone, without previews; arguments as of `Optimisation`."""
    run = Optimisation(direction, settings, stages, initial, factor, None, points)
    total, done = sum(level.iterations for level in settings.levels), 0
    for level in settings.levels:
        if stages.ending and done:
            break
        run.level(level, _told(stages, done, level, total))
        done += level.iterations
    return run.result()


def _told(stages: Stages, done: int, level: Level, total: int) -> Callable[[float], None]:
    """Tells the share of all `total` iterations from the share of one level's, `done` before it."""
    return lambda fraction: stages.step((done + fraction * level.iterations) / total)


class Optimisation:
    """One direction, level by level, from its initial displacement on.

    initial: (3, Z, Y, X) in voxels, at cells of `factor` voxels. complete: makes a field the map that a
    preview shows; None for no previews. points: what is known to correspond. field: in voxels, at the cells,
    then at the nodes of the last level, which are `spacing` voxels apart.
    """

    def __init__(
        self,
        direction: Direction,
        settings: Settings,
        stages: Stages,
        initial: torch.Tensor,
        factor: int,
        complete: Callable[[DisplacementField], DisplacementField] | None = None,
        points: PointTerm | None = None,
    ):
        self.direction, self.field, self.spacing = direction, initial, factor
        # Where the field's first sample lies, in voxels.
        self._first = (factor - 1) / 2
        self._settings, self._stages, self._complete, self._points = settings, stages, complete, points
        self._vae = None
        # Both directions share the features: one of them trains their reduction.
        if settings.reduction == "dynamic" and direction.order == (0, 1) and direction.global_features:
            self._vae = CoOptimisedVae(direction.global_features, settings)
        self._refined = False
        # By the working voxels per feature voxel of the levels begun; empty where they were not asked for.
        self.uses: dict[int, intensity.Use] = {}

    def level(self, level: Level, step: Callable[[float], None]) -> None:
        """Refines the field on one level's nodes."""
        direction, settings, stages = self.direction, self._settings, self._stages
        complete = self._complete
        grid = ControlGrid(direction.fixed.array.shape, level.node_spacing)
        coefficients = to_coefficients(self.field, self._first, self.spacing, grid)
        terms = _terms(direction, settings, level)
        terms, use = _with_intensity(terms, direction, settings, grid, coefficients)
        if use is not None:
            self.uses[level.feature_factor] = use
        # The coarser the voxels, the less they tell against what is expected of any motion.
        bending_weight = settings.bending_weight * max(1.0, direction.spacing / RESOLUTION_MM)
        backend = backend_for(self.field.device)
        energy_of = Energy(
            terms, grid, bending_weight, settings.folding_weight, direction.spacing, backend, self._points
        )

        def ahead(iteration: int, coefficients: torch.Tensor) -> None:
            def nodes() -> torch.Tensor:
                return energy.spline_samples(coefficients, energy.NODE_TAPS)

            if complete is not None:
                stages.show(
                    lambda: complete(field_at_nodes(nodes(), direction.fixed, level.node_spacing, PREVIEW_MM))
                )
            if self._vae is not None and self._vae.optimise(iteration, nodes(), grid, direction.fixed):
                energy_of.replace_terms([_global_term(direction, settings, level), *energy_of.terms[1:]])

        if not self._refined:
            coefficients = fill_unmeasured(coefficients, terms, grid)
        coefficients, _ = refine_level(energy_of, coefficients, level, step, ahead, lambda: stages.ending)
        coefficients = fill_unmeasured(coefficients, terms, grid)
        self.field = energy.spline_samples(coefficients, energy.NODE_TAPS)
        self.spacing = level.node_spacing
        self._first = (self.spacing - 1) / 2 - self.spacing
        self._refined = True

    def result(self) -> DisplacementField:
        """The field in mm on the last level's nodes, without folds."""
        field = field_at_nodes(self.field, self.direction.fixed, self.spacing)
        field.vectors = without_folds(field.vectors, field.grid)
        return field


def _agree(forward: Optimisation, backward: Optimisation) -> None:
    """Makes the nodes' fields of both directions inverse to each other."""
    spacing = forward.spacing
    offset = np.asarray(backward.direction.fixed.offset) - np.asarray(forward.direction.fixed.offset)
    offset = torch.as_tensor(offset / spacing, dtype=torch.float32, device=forward.field.device)
    fields = make_consistent(forward.field / spacing, backward.field / spacing, offset.view(3, 1, 1, 1))
    forward.field, backward.field = (field * spacing for field in fields)


def _terms(direction: Direction, settings: Settings, level: Level) -> list[Term]:
    """The similarity terms of a level, the global one first."""
    terms = []
    if direction.global_features is not None:
        terms.append(_global_term(direction, settings, level))
    if direction.local_features is not None:
        fixed, moving = (features.packed[level.feature_factor] for features in direction.local_features)
        terms.append(Term(fixed, moving, settings.local_weight))
    return terms


def _with_intensity(
    terms: list[Term],
    direction: Direction,
    settings: Settings,
    grid: ControlGrid,
    coefficients: torch.Tensor,
) -> tuple[list[Term], intensity.Use | None]:
    """The terms, where both images show tissues alike under the field so far, and on one scale, with
    intensities, whose share is taken from the last one's weight, MIND's; and what was done.
    """
    if direction.local_features is None or not direction.local_features[0].with_intensity:
        return terms, None
    share, mind = settings.intensity_share, terms[-1]
    # Every second node: nearer ones tell next to the same.
    position = grid.position(device=coefficients.device)[:, ::2, ::2, ::2]
    u = energy.spline_samples(coefficients, energy.NODE_TAPS)[:, ::2, ::2, ::2]
    correlation = intensity.correlation(mind.fixed, mind.moving, position, u)
    if correlation < intensity.LEAST_CORRELATION:
        return terms, intensity.Use(0.0, correlation)
    agreement = None
    if not direction.one_scale:
        agreement = scale_agreement(direction.fixed, direction.moving, position, u)
        single = mind.fixed.factor == settings.levels[-1].feature_factor and not direction.quiet
        if agreement.scale < LEAST_AGREEMENT or (single and agreement.linear < LEAST_LINEAR):
            return terms, intensity.Use(0.0, correlation, *agreement)
    further = intensity.packed_weight(share * mind.weight)
    use = intensity.Use(share, correlation, *(agreement or ()))
    return [*terms[:-1], replace(mind, further=further, share=share)], use


def _global_term(direction: Direction, settings: Settings, level: Level) -> Term:
    features = direction.global_features
    if features is None:
        raise ValueError("the pair has no global features")
    # Tokens are far coarser than nodes: reading them at the nodes loses nothing.
    fixed, moving = (features.packed(image, level.node_spacing) for image in direction.order)
    return Term(fixed, moving, features.packed_weight(settings.global_weight))


def refine_level(
    energy_of: Callable[[torch.Tensor, int], tuple[Number, torch.Tensor]],
    coefficients: torch.Tensor,
    level: Level,
    step: Callable[[float], None] = lambda fraction: None,
    ahead: Callable[[int, torch.Tensor], None] = lambda iteration, coefficients: None,
    ending: Callable[[], bool] = lambda: False,
) -> tuple[torch.Tensor, list[float]]:
    """Adam on one level: the coefficients (3, nodes + 4) and the energy of every iteration.

    energy_of(coefficients, iteration): value and gradient. ahead(iteration, coefficients) runs ahead of every
    iteration: the VAE is optimised there. step(share done) is told; ending() ends the level early.
    """
    parameters = coefficients.clone()
    optimiser = Adam([parameters])
    epsilon = 0.0
    history = []
    for iteration in range(level.iterations):
        if ending():
            break
        ahead(iteration, parameters)
        value, gradient = energy_of(parameters, iteration)
        if iteration == 0:
            epsilon = level.damping * float(gradient.square().mean().sqrt()) + 1e-12
        progress = iteration / max(level.iterations - 1, 1)
        decay = level.final_rate + (1 - level.final_rate) * 0.5 * (1 + math.cos(math.pi * progress))
        optimiser.step([gradient], level.learning_rate * level.node_spacing * decay, epsilon)
        history.append(value)
        step((iteration + 1) / level.iterations)
    # Only now: to read a value is to wait for the device.
    return parameters, [float(value) for value in history]
