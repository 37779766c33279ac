"""The method from two volumes to a displacement field, step by step in the paper's order."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk
import torch

from GLIDERegLib.core.geometry import Grid, Volume, apply_affine
from GLIDERegLib.core.settings import Level, Settings
from GLIDERegLib.registration import energy, initial_displacement
from GLIDERegLib.registration.backends import backend_for, prepare_kernels
from GLIDERegLib.registration.coupled_convex import make_consistent
from GLIDERegLib.registration.features.encoding import FeatureStore, SliceEncoder
from GLIDERegLib.registration.features.pair_features import (
    GlobalFeatures,
    LocalFeatures,
    displacement_reader,
    encode_pair,
    usable_voxels,
)
from GLIDERegLib.registration.features.pooled_features import CellFeatures
from GLIDERegLib.registration.features.reduction import Reduction, ReductionTrainer
from GLIDERegLib.registration.field import DisplacementField
from GLIDERegLib.registration.folding import without_folds
from GLIDERegLib.registration.instance_optimisation import (
    ControlGrid,
    Energy,
    PointTerm,
    Term,
    fill_unmeasured,
    refine_level,
    to_coefficients,
)
from GLIDERegLib.registration.prealign import linear_parts, prealign
from GLIDERegLib.registration.progress import Stages
from GLIDERegLib.registration.working_grid import Prepared, prepare_pair, working_spacing

# Distance of a preview's nodes: enough for the eye, and quick to hand over.
PREVIEW_MM = 6.0
# What a scanner resolves: of smaller voxels, neighbours tell the same.
RESOLUTION_MM = 1.4
KERNELS_MESSAGE = "Preparing kernels, once per machine."


@dataclass
class Direction:
    """One direction of a pair: its images and features as fixed and moving.

    wide: the global features of the pair as it was given; order: which of its images is fixed here, and which
    moving. spacing: of the working voxels, mm.
    """

    fixed: Prepared
    moving: Prepared
    local: tuple[LocalFeatures, LocalFeatures] | None
    wide: GlobalFeatures | None
    order: tuple[int, int]
    spacing: float


@dataclass
class Outcome:
    """What `register_pair` returns. displacement: fixed to moving points, all parts included. initial: the
    pre-alignment. stopped_early: the user wanted the result before its time.
    """

    displacement: DisplacementField
    initial: sitk.Transform
    spacing: float
    warnings: list[str]
    stopped_early: bool


def register_pair(
    fixed: Volume,
    moving: Volume,
    settings: Settings,
    stages: Stages,
    device: torch.device,
    encoder: SliceEncoder | None = None,
    cache: FeatureStore | None = None,
    fixed_mask: np.ndarray | None = None,
    moving_mask: np.ndarray | None = None,
    initial: sitk.Transform | None = None,
) -> Outcome:
    """Registers a pair; `encoder` None means local features only. Raises InputError, Cancelled."""
    with stages.stage("pre-alignment"):
        if initial is None:
            initial = prealign(fixed, moving, settings.align, fixed_mask, moving_mask)
        stages.show(lambda: _without_motion(fixed.grid, initial))
    _await_kernels(stages, device)
    with stages.stage("working grid"):
        spacing = working_spacing(fixed.grid, settings.spacing, settings.finest_spacing, settings.most_voxels)
        wanted = encoder is not None and settings.features in ("both", "global")
        factors = [
            initial_displacement.cell_factor(settings.cell_size, spacing),
            *(v.feature_factor for v in settings.levels),
        ]
        if wanted:
            factors += [
                initial_displacement.cell_factor(settings.global_cell_size, spacing),
                *(v.node_spacing for v in settings.levels),
            ]
        margin = max(
            settings.search_range * settings.search_stretch, settings.global_search_range if wanted else 0.0
        )
        images = prepare_pair(
            fixed, moving, initial, spacing, margin, math.lcm(*factors), fixed_mask, moving_mask
        )

    local = wide = None
    if wanted:
        with stages.stage("global features"):
            step = settings.slice_step(device.type, spacing)
            volumes = encode_pair(images, encoder, step, cache, stages.step, stages.cancel)
            volumes = tuple(replace(v, features=v.features.to(device)) for v in volumes)
            wide = GlobalFeatures(images, volumes, settings.seed)
            del volumes
        with stages.stage("reduction"):
            _reduce(wide, settings, stages)
    if settings.features != "global":
        with stages.stage("local features"):
            local = tuple(
                local_features(image, settings, device, number == 0) for number, image in enumerate(images)
            )

    directions = [Direction(*images, local, wide, (0, 1), spacing)]
    if settings.symmetric:
        directions.append(Direction(images[1], images[0], local and local[::-1], wide, (1, 0), spacing))
    warnings: list[str] = []
    with stages.stage("convex optimisation"):
        starts = _starts(directions, settings, stages, warnings)
    with stages.stage("refinement"):
        fields = _refined(directions, settings, stages, starts, lambda f: with_initial(f, initial))
    field = fields[0]
    # A second direction that ended early would only spoil the first.
    if settings.symmetric and not stages.ending:
        with stages.stage("symmetry"):
            inverse = fields[1].inverse(field.grid)
            field.vectors = 0.5 * (field.vectors + inverse.vectors)
            field.vectors = without_folds(field.vectors, field.grid)
    whole = with_initial(field.faded(), initial)
    return Outcome(whole, initial, spacing, warnings, stages.ending)


def _await_kernels(stages: Stages, device: torch.device) -> None:
    """The kernels for the processor must be compiled before the first is called; once on a machine."""
    preparation = prepare_kernels() if device.type == "cpu" else None
    if preparation is not None and preparation.needed:
        with stages.stage("kernels"):
            stages.step(0.0, KERNELS_MESSAGE)
            preparation.wait(stages.step)


def local_features(
    image: Prepared, settings: Settings, device: torch.device, is_fixed: bool
) -> LocalFeatures:
    usable = usable_voxels(image, is_fixed, settings.mind_dilation + settings.mind_radius)
    return LocalFeatures.of(
        image,
        usable,
        device,
        initial_displacement.cell_factor(settings.cell_size, image.grid.spacing[0]),
        {level.feature_factor for level in settings.levels},
        settings.mind_radius,
        settings.mind_dilation,
        settings.noise_weight,
    )


def _reduce(wide: GlobalFeatures, settings: Settings, stages: Stages) -> None:
    """Step 4 up to the refinement: PCA, which is also where a VAE starts; the static VAE is trained here and
    then frozen.
    """
    trainable = settings.reduction != "pca"
    wide.reduction = Reduction(wide.pool, settings.latent_channels, trainable, settings.seed)
    if settings.reduction == "static":
        _trainer(wide, settings).pretrain(stages.step)
    wide.refresh()


def _trainer(wide: GlobalFeatures, settings: Settings) -> ReductionTrainer:
    return ReductionTrainer(
        wide.reduction, settings.vae_learning_rate, settings.kl_weight, settings.vae_tokens, settings.seed
    )


def _starts(
    directions: list[Direction], settings: Settings, stages: Stages, warnings: list[str]
) -> list[tuple[torch.Tensor, int]]:
    """Step 5: for each direction the composed start at its fixed cells, in voxels, and their size."""
    pair = directions[0]
    factor = initial_displacement.cell_factor(settings.cell_size, pair.spacing)
    local = pair.local and [features.cells for features in pair.local]
    if pair.wide is None:
        passes = settings.search_passes
        fields = initial_displacement.search(
            *local,
            settings.search_range,
            pair.spacing,
            lambda f: stages.step(f / passes),
            stretch=settings.search_stretch,
        )
        found = []
        for number, (direction, field) in enumerate(zip(directions, fields, strict=False)):
            fixed = local[number]
            for again in range(1, passes):
                warped = _seen_through(direction, field, factor, settings)
                residual, _ = initial_displacement.search(
                    fixed, warped, settings.search_range / 2, pair.spacing, _unheard
                )
                field = initial_displacement.compose(field, factor, residual, factor)
                stages.step((again + (number + 1) / len(directions)) / passes)
            found.append((field, factor))
        return found
    wide_factor = initial_displacement.cell_factor(settings.global_cell_size, pair.spacing)
    wide = initial_displacement.search(
        *(pair.wide.cells(image, wide_factor) for image in pair.order),
        settings.global_search_range,
        pair.spacing,
        lambda f: stages.step(f / 2),
        settings.global_coupling,
    )
    if local is None:
        return [(field, wide_factor) for field in wide[: len(directions)]]
    # The local search only mends what the global one left, so half its range will do.
    search_range = settings.search_range / 2
    starts, alone = [], None
    for number, direction in enumerate(directions):
        field = wide[number]

        def step(fraction: float, number: int = number) -> None:
            stages.step(0.5 + 0.5 * (number + fraction) / len(directions))

        fixed, moving = local if number == 0 else local[::-1]
        warped = _seen_through(direction, field, wide_factor, settings)
        if initial_displacement.mismatch(fixed, warped) > initial_displacement.mismatch(fixed, moving):
            if alone is None:
                warnings.append(
                    "The global search made the local features agree less, so its result was left out of the "
                    "start."
                )
                alone = initial_displacement.search(
                    *local, settings.search_range, direction.spacing, step, stretch=settings.search_stretch
                )
            cells = alone[number]
        else:
            residual, _ = initial_displacement.search(fixed, warped, search_range, direction.spacing, step)
            cells = initial_displacement.compose(field, wide_factor, residual, factor)
        starts.append((cells, factor))
    return starts


def _seen_through(
    direction: Direction, field: torch.Tensor, field_factor: int, settings: Settings
) -> CellFeatures:
    """Local features of the moving image as seen through a cells' field (voxels), half the search range
    beyond the fixed image.
    """
    factor = initial_displacement.cell_factor(settings.cell_size, direction.spacing)
    margin = math.ceil(settings.search_range / 2 / direction.spacing / factor) * factor
    warped = initial_displacement.warp(direction.moving, direction.fixed, field, field_factor, margin)
    return local_features(warped, replace(settings, levels=()), field.device, False).cells


def _unheard(fraction: float) -> None:
    """The progress of what is too short to tell of."""


def _refined(
    directions: list[Direction],
    settings: Settings,
    stages: Stages,
    starts: list[tuple[torch.Tensor, int]],
    whole: Callable[[DisplacementField], DisplacementField],
) -> list[DisplacementField]:
    """Step 6 for each direction, until the user wants no more; previews show the first.

    Between levels the two directions are made inverse to each other: a false match of the one seldom is one
    of the other, and pulls half as far at the next level.
    """
    runs = [
        Refinement(direction, settings, stages, *begin, whole if number == 0 else None)
        for number, (direction, begin) in enumerate(zip(directions, starts, strict=True))
    ]
    total = len(runs) * sum(level.iterations for level in settings.levels)
    done = 0
    for number, level in enumerate(settings.levels):
        if number and len(runs) == 2 and settings.consistent_levels:
            _agree(*runs)
        for run in runs:
            run.level(
                level, lambda f, done=done, level=level: stages.step((done + f * level.iterations) / total)
            )
            done += level.iterations
            if stages.ending:
                return [runs[0].result()]
    return [run.result() for run in runs]


def _agree(forward: Refinement, backward: Refinement) -> None:
    """Makes the nodes' fields of both directions inverse to each other."""
    spacing = forward.spacing
    offset = np.asarray(backward.pair.fixed.offset) - np.asarray(forward.pair.fixed.offset)
    offset = torch.as_tensor(offset / spacing, dtype=torch.float32, device=forward.field.device)
    fields = make_consistent(forward.field / spacing, backward.field / spacing, offset.view(3, 1, 1, 1))
    forward.field, backward.field = (field * spacing for field in fields)


class Refinement:
    """Step 6 of one direction, level by level, from the cells' field (voxels) on.

    whole: makes a residual field the map that a preview shows; None for no previews. points: what is known to
    correspond. field: (3, Z, Y, X) in voxels, at the cells, then at the nodes of the last level; its samples
    lie at first + spacing * index.
    """

    def __init__(
        self,
        pair: Direction,
        settings: Settings,
        stages: Stages,
        cells: torch.Tensor,
        factor: int,
        whole: Callable[[DisplacementField], DisplacementField] | None = None,
        points: PointTerm | None = None,
    ):
        self.pair, self.field, self.spacing = pair, cells, factor
        self._first = (factor - 1) / 2
        self._settings, self._stages, self._whole, self._points = settings, stages, whole, points
        train = pair.wide is not None and settings.reduction == "dynamic" and pair.order == (0, 1)
        self._trainer = _trainer(pair.wide, settings) if train else None
        self._begun = False

    def level(self, level: Level, step: Callable[[float], None]) -> None:
        """Refines the field on one level's nodes."""
        pair, settings, stages, trainer = self.pair, self._settings, self._stages, self._trainer
        grid = ControlGrid(pair.fixed.array.shape, level.node_spacing)
        terms = _terms(pair, settings, level)
        # The coarser the voxels, the less they tell against what is expected of any motion.
        bending_weight = settings.bending_weight * max(1.0, pair.spacing / RESOLUTION_MM)
        backend = backend_for(self.field.device)
        energy_of = Energy(
            terms, grid, bending_weight, settings.folding_weight, pair.spacing, backend, self._points
        )

        def before(iteration: int, coefficients: torch.Tensor) -> None:
            def nodes() -> torch.Tensor:
                return energy.spline_samples(coefficients, energy.NODE_TAPS)

            if self._whole is not None:
                stages.show(
                    lambda: self._whole(_to_field(nodes(), pair.fixed, level.node_spacing, PREVIEW_MM))
                )
            if trainer is None:
                return
            reader = displacement_reader(nodes(), grid, pair.fixed, pair.wide.pool.images[0].grid)
            trainer.train_with(reader, settings.global_weight)
            if (iteration + 1) % settings.vae_refresh == 0:
                pair.wide.refresh()
                energy_of.replace_terms([_global_term(pair, settings, level), *energy_of.terms[1:]])

        coefficients = to_coefficients(self.field, self._first, self.spacing, grid)
        if not self._begun:
            coefficients = fill_unmeasured(coefficients, terms, grid)
        coefficients, _ = refine_level(energy_of, coefficients, level, step, before, lambda: stages.ending)
        coefficients = fill_unmeasured(coefficients, terms, grid)
        self.field = energy.spline_samples(coefficients, energy.NODE_TAPS)
        self.spacing = level.node_spacing
        self._first = (self.spacing - 1) / 2 - self.spacing
        self._begun = True

    def result(self) -> DisplacementField:
        """The field in mm on the last level's nodes, without folds."""
        field = _to_field(self.field, self.pair.fixed, self.spacing)
        field.vectors = without_folds(field.vectors, field.grid)
        return field


def refine(
    pair: Direction,
    settings: Settings,
    stages: Stages,
    cells: torch.Tensor,
    factor: int,
    step: Callable[[float], None],
    whole: Callable[[DisplacementField], DisplacementField] | None = None,
    points: PointTerm | None = None,
) -> DisplacementField:
    """Step 6 of one direction alone on all levels, arguments as of `Refinement`."""
    run = Refinement(pair, settings, stages, cells, factor, whole, points)
    total, done = sum(level.iterations for level in settings.levels), 0
    for level in settings.levels:
        if stages.ending and done:
            break
        run.level(level, lambda f, done=done, level=level: step((done + f * level.iterations) / total))
        done += level.iterations
    return run.result()


def _terms(pair: Direction, settings: Settings, level: Level) -> list[Term]:
    """The similarities of a level, the global one first."""
    terms = [_global_term(pair, settings, level)] if pair.wide is not None else []
    if pair.local is not None:
        fixed, moving = (features.packed[level.feature_factor] for features in pair.local)
        terms.append(Term(fixed, moving, settings.local_weight))
    return terms


def _global_term(pair: Direction, settings: Settings, level: Level) -> Term:
    # Tokens are far coarser than nodes: reading them at the nodes loses nothing.
    fixed, moving = (pair.wide.packed(image, level.node_spacing) for image in pair.order)
    return Term(fixed, moving, pair.wide.packed_weight(settings.global_weight))


def _to_field(
    nodes: torch.Tensor, fixed: Prepared, spacing: int, finest_mm: float = 0.0
) -> DisplacementField:
    """A field in voxels at the nodes of a control grid, as physical vectors in mm at every node, or at so few
    that they stand `finest_mm` apart.
    """
    voxel = fixed.grid.spacing[0]
    every = max(1, round(finest_mm / (voxel * spacing)))
    nodes = nodes[:, ::every, ::every, ::every]
    # Nodes stand in the middle of blocks of voxels, the first one a block before the image.
    grid = fixed.grid.resized((voxel * spacing * every,) * 3)
    origin = fixed.grid.to_physical(np.full(3, (spacing - 1) / 2 - spacing))
    grid = replace(grid, size=tuple(nodes.shape[:0:-1]), origin=tuple(origin.tolist()))
    vectors = nodes.permute(1, 2, 3, 0).cpu().numpy() * voxel @ fixed.grid.axes.T.astype(np.float32)
    return DisplacementField(np.ascontiguousarray(vectors), grid)


def _without_motion(grid: Grid, initial: sitk.Transform) -> DisplacementField:
    """The initial transform alone, as a field over a grid."""
    grid = grid.resized((PREVIEW_MM,) * 3, (1,) * 3, (1,) * 3)
    return with_initial(DisplacementField(np.zeros((*grid.shape, 3), np.float32), grid), initial)


def with_initial(field: DisplacementField, initial: sitk.Transform) -> DisplacementField:
    """The residual field followed by the initial transform; beyond the field only the latter acts."""
    if not initial.IsLinear():
        both = sitk.CompositeTransform([initial, field.to_sitk()])
        return DisplacementField.of_transform(both, field.grid)
    background = np.eye(4)
    background[:3, :3], background[:3, 3] = linear_parts(initial)
    points = field.grid.points()
    vectors = apply_affine(background, points + field.vectors) - points
    return DisplacementField(vectors.astype(np.float32), field.grid, background)
