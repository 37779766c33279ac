"""Step 5: the initial displacement field, by coupled convex optimisation on global and on local features, the
two fields composed.

The two searches are independent: the local one knows the global result only as a moving image that was
already warped by it. Both estimate where content went, so searching twice from the same position and
composing would move everything twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from GLIDERegLib.core.ct import AIR_HU
from GLIDERegLib.core.geometry import Grid, triple
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.registration.coupled_convex import register_pooled
from GLIDERegLib.registration.direction import Direction
from GLIDERegLib.registration.energy import matching_cost
from GLIDERegLib.registration.features.local_features import LocalFeatures
from GLIDERegLib.registration.features.pooled_features import PooledFeatures, cell_factor
from GLIDERegLib.registration.sampling import index_grid, sample, sample_axes
from GLIDERegLib.registration.working_grid import Prepared

# Share of the fixed cells that must meet a moving one before features can be told to agree.
LEAST_OVERLAP = 0.2
SLAB = 8  # slices that are warped at a time

Step = Callable[[float], None]
# A displacement (3, Z, Y, X) in voxels at the fixed image's cells, and their size in voxels.
Initial = tuple[torch.Tensor, int]


def initial_displacements(
    directions: list[Direction], settings: Settings, step: Step, warnings: list[str]
) -> tuple[list[Initial], bool]:
    """The initial displacement of each direction, and whether global features are of use for this pair.

    Where the local features agree less through the global search's result than as the images lie, both
    directions start from the local search alone, and `warnings` says so.
    """
    pair = directions[0]
    if pair.global_features is None:
        return _by_local_features(directions, settings, step), False
    factor = cell_factor(settings.global_cell_size, pair.spacing)
    fixed, moving = (pair.global_features.pooled(image, factor) for image in pair.order)
    found = search(
        fixed,
        moving,
        settings.global_search_range,
        pair.spacing,
        lambda f: step(f / 2),
        settings.global_coupling,
    )
    initial = [(field, factor) for field in found[: len(directions)]]
    if pair.local_features is None:
        return initial, True

    def second_half(fraction: float) -> None:
        step(0.5 + 0.5 * fraction)

    composed = _composed_with_local(directions, settings, initial, second_half)
    if composed is not None:
        return composed, True
    warnings.append("The global features led the local ones astray on this pair, so they were left out.")
    return _by_local_features(directions, settings, second_half), False


def _by_local_features(directions: list[Direction], settings: Settings, step: Step) -> list[Initial]:
    """Of local features alone, searched `search_passes` times, each time through the result so far."""
    pair, passes = directions[0], settings.search_passes
    factor = cell_factor(settings.cell_size, pair.spacing)
    pooled = _pooled(pair)
    fields = search(
        pooled[0],
        pooled[1],
        settings.search_range,
        pair.spacing,
        lambda f: step(f / passes),
        stretch=settings.search_stretch,
    )
    found = []
    for number, (direction, field) in enumerate(zip(directions, fields, strict=False)):
        for again in range(1, passes):
            warped = _seen_through(direction, (field, factor), settings)
            residual, _ = search(
                pooled[number], warped, settings.search_range / 2, pair.spacing, lambda f: None
            )
            field = compose(field, factor, residual, factor)
            step((again + (number + 1) / len(directions)) / passes)
        found.append((field, factor))
    return found


def _composed_with_local(
    directions: list[Direction], settings: Settings, initial: list[Initial], step: Step
) -> list[Initial] | None:
    """Global displacements composed with what the local search still finds; None where they make the local
    features agree less, both directions taken together.
    """
    pooled = _pooled(directions[0])
    pairs = [pooled, pooled[::-1]][: len(directions)]
    seen = [_seen_through(one, start, settings) for one, start in zip(directions, initial, strict=True)]
    through = sum(mismatch(fixed, warped) for (fixed, _), warped in zip(pairs, seen, strict=True))
    if through > sum(mismatch(fixed, moving) for fixed, moving in pairs):
        return None
    factor, found = cell_factor(settings.cell_size, directions[0].spacing), []
    for number, (direction, (fixed, _), warped, start) in enumerate(
        zip(directions, pairs, seen, initial, strict=True)
    ):

        def local_step(fraction: float, number: int = number) -> None:
            step((number + fraction) / len(directions))

        # The local search only mends what the global one left, so half its range will do.
        residual, _ = search(fixed, warped, settings.search_range / 2, direction.spacing, local_step)
        found.append((compose(*start, residual, factor), factor))
    return found


def _pooled(pair: Direction) -> tuple[PooledFeatures, PooledFeatures]:
    """Local features of the fixed and of the moving image at the search's cells."""
    if pair.local_features is None:
        raise ValueError("the pair has no local features")
    fixed, moving = pair.local_features
    return fixed.pooled, moving.pooled


def _seen_through(direction: Direction, initial: Initial, settings: Settings) -> PooledFeatures:
    """Local features of the moving image as seen through a displacement, half the search range beyond the
    fixed image.
    """
    factor = cell_factor(settings.cell_size, direction.spacing)
    margin = math.ceil(settings.search_range / 2 / direction.spacing / factor) * factor
    warped = measured_part(warp(direction.moving, direction.fixed, *initial, margin), factor)
    return LocalFeatures.of_image(warped, replace(settings, levels=()), initial[0].device, False).pooled


def measured_part(image: Prepared, multiple: int) -> Prepared:
    """The box of an image in which anything was measured, cut a multiple of so many voxels off each face:
    descriptors of what is beyond take time, and no search may use them.
    """
    box = []
    for axis in range(3):
        at = np.flatnonzero(image.valid.any(axis=tuple(a for a in range(3) if a != axis)))
        low, high = (int(at[0]), int(at[-1]) + 1) if len(at) else (0, 1)
        box.append(slice(low // multiple * multiple, -(-high // multiple) * multiple))
    array, valid, weight = (
        np.ascontiguousarray(a[tuple(box)]) for a in (image.array, image.valid, image.weight)
    )
    first = [s.start for s in box[::-1]]
    old = image.grid
    grid = Grid.of(array.shape[::-1], old.spacing, old.to_physical(np.asarray(first)), old.direction)
    offset = triple(o + n for o, n in zip(image.offset, first, strict=True))
    return replace(image, array=array, valid=valid, weight=weight, grid=grid, offset=offset)


def search(
    fixed: PooledFeatures,
    moving: PooledFeatures,
    range_mm: float,
    spacing: float,
    step: Step,
    cost_weight: float = 1.0,
    stretch: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Displacements (3, Z, Y, X) in voxels at the fixed and at the moving cells, inverse to each other; the
    search ball's radius is `range_mm`, and `stretch` times that along z.

    cost_weight multiplies the feature differences against the coupling.
    """
    if cost_weight != 1.0:
        fixed, moving = (replace(f, values=f.values * cost_weight**0.5) for f in (fixed, moving))
    reach = range_mm / (fixed.factor * spacing)
    forward, backward = register_pooled(fixed, moving, (reach, reach, stretch * reach), step)
    return forward * fixed.factor, backward * fixed.factor


def mismatch(fixed: PooledFeatures, moving: PooledFeatures) -> float:
    """Mean squared feature difference of the cells as they lie; infinite where hardly any fixed cell meets a
    moving one.
    """
    shift = np.asarray(fixed.offset) - np.asarray(moving.offset)
    rest = np.zeros((1, 3), int)
    usable = moving.weight > 0.5
    here = matching_cost(fixed.values, moving.values, fixed.weight, usable, shift, rest)[0]
    # Features that differ everywhere cost something wherever two cells meet; the real ones may agree exactly.
    zeros, ones = torch.zeros_like(fixed.values[:1]), torch.ones_like(moving.values[:1])
    met = matching_cost(zeros, ones, fixed.weight, usable, shift, rest)[0] > 0
    if met.sum() < LEAST_OVERLAP * (fixed.weight > 0).sum():
        return float("inf")
    return float(here[met].sum() / fixed.weight[met].sum())


def read_field(field: torch.Tensor, factor: int, position: torch.Tensor) -> torch.Tensor:
    """A displacement (3, Z, Y, X) in voxels at cells of `factor` voxels, read at voxel positions (3, ...);
    constant beyond the outer cells.
    """
    return sample(field, (position - (factor - 1) / 2) / factor)


def compose(outer: torch.Tensor, outer_factor: int, inner: torch.Tensor, factor: int) -> torch.Tensor:
    """The displacement u with x + u(x) = y + outer(y), y = x + inner(x), at the cells of `inner`, which are
    `factor` voxels wide, those of `outer` `outer_factor`; displacements (3, Z, Y, X) in voxels.
    """
    centers = index_grid(triple(inner.shape[1:]), inner.device) * factor + (factor - 1) / 2
    return inner + read_field(outer, outer_factor, centers + inner)


def warp(moving: Prepared, fixed: Prepared, field: torch.Tensor, factor: int, margin: int) -> Prepared:
    """The moving image seen through a displacement (3, Z, Y, X) in voxels at the fixed image's cells of
    `factor` voxels, on the fixed grid and `margin` voxels around.
    """
    device = field.device
    channels = [moving.array, moving.valid, moving.weight] if moving.masked else [moving.array, moving.valid]
    image = torch.from_numpy(np.stack(channels)).to(device)
    shape = tuple(n + 2 * margin for n in fixed.array.shape)
    offset = np.subtract(moving.offset, fixed.offset)
    offset = torch.as_tensor(offset, dtype=torch.float32, device=device).view(3, 1, 1, 1)
    size = torch.tensor(moving.array.shape[::-1], device=device).view(3, 1, 1, 1)
    at = [torch.arange(n, dtype=torch.float32, device=device) - margin for n in shape]
    z, y, x = ((position - (factor - 1) / 2) / factor for position in at)
    values = np.empty(shape, np.float32)
    usable = np.empty(shape, bool)
    wanted = np.empty(shape, bool) if moving.masked else usable
    for first in range(0, shape[0], SLAB):
        # Slab by slab: positions of a whole volume would need more memory than the volume.
        slab = slice(first, min(first + SLAB, shape[0]))
        position = index_grid((slab.stop - first, *shape[1:]), device) - margin
        position[2] += first
        position += sample_axes(field, (z[slab], y, x)) - offset
        inside = ((position >= -0.5) & (position <= size - 0.5)).all(dim=0)
        value, valid, *mask = sample(image, position)
        values[slab] = torch.where(inside, value, AIR_HU).cpu().numpy()
        usable[slab] = (inside & (valid > 0.5)).cpu().numpy()
        for weight in mask:
            wanted[slab] = usable[slab] & (weight > 0.5).cpu().numpy()
    grid = fixed.grid.resized(fixed.grid.spacing, (margin,) * 3, (margin,) * 3)
    offset = tuple(o - margin for o in fixed.offset)
    return replace(moving, array=values, valid=usable, weight=wanted, grid=grid, offset=offset, masked=True)
