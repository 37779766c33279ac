"""Step 6: joint refinement of the displacement with Adam, from coarse to fine control grids.

Minimises  sum over terms of weight * mean SSD  +  lambda * bending energy  over the coefficients of a cubic
B-spline field.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from GLIDERegLib.core.settings import Level
from GLIDERegLib.registration import energy
from GLIDERegLib.registration.adam import Adam
from GLIDERegLib.registration.backends.protocol import Backend, Number
from GLIDERegLib.registration.features.pooled_features import PackedFeatures
from GLIDERegLib.registration.filters import any_in_blocks, grown
from GLIDERegLib.registration.sampling import index_grid, sample

# Jacobian determinants below this cost energy; lung tissue rarely shrinks to less than a third.
FOLDING_THRESHOLD = 0.3


@dataclass
class Term:
    """One similarity: fixed and moving features at a level's resolution, and the weight of their mean SSD."""

    fixed: PackedFeatures
    moving: PackedFeatures
    weight: float


@dataclass(frozen=True)
class PointTerm:
    """Points that are known to correspond: weight times the sum of their squared distances from targets.

    positions, targets: (N, 3), x, y, z in working voxels: where a point is, and the displacement it should
    have.
    """

    positions: np.ndarray
    targets: np.ndarray
    weight: float

    def on(self, grid: ControlGrid, device) -> Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        """Value and gradient as a function of the spline coefficients on a grid."""
        at = torch.as_tensor(self.positions, dtype=torch.float32, device=device)
        at = (at - (grid.spacing - 1) / 2) / grid.spacing + 1
        base = at.floor()
        # Coefficients reach two nodes beyond the nodes, and a cubic spline uses four on each axis.
        taps = torch.arange(4, device=device)
        distance = (at - base)[..., None] + 1 - taps
        near, far = 2 / 3 - distance**2 + distance.abs() ** 3 / 2, (2 - distance.abs()).clamp(min=0) ** 3 / 6
        x, y, z = torch.where(distance.abs() < 1, near, far).unbind(1)
        weights = torch.einsum("nk,nj,ni->nkji", z, y, x).flatten(1)
        size = [n + 4 for n in grid.nodes]
        i, j, k = ((base.long() + 1)[..., None] + taps).unbind(1)
        index = (k[:, :, None, None] * size[1] + j[:, None, :, None]) * size[2] + i[:, None, None, :]
        index = index.flatten(1)
        targets = torch.as_tensor(self.targets.T.copy(), dtype=torch.float32, device=device)

        def value_and_gradient(coefficients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            flat = coefficients.flatten(1)
            missing = (flat[:, index] * weights).sum(-1) - targets
            spread = 2 * self.weight * missing[..., None] * weights
            gradient = torch.zeros_like(flat)
            if flat.device.type == "cuda":
                # index_add_ adds in any order there, index_put_ in that of the indices.
                for row, values in zip(gradient, spread, strict=True):
                    row.index_put_((index,), values, accumulate=True)
            else:
                gradient.index_add_(1, index.flatten(), spread.flatten(1))
            return self.weight * missing.square().sum(), gradient.view_as(coefficients)

        return value_and_gradient


@dataclass(frozen=True)
class ControlGrid:
    """Nodes of one axis order (z, y, x) over a working grid of `shape` voxels: one node beyond the image on
    every side.
    """

    shape: tuple[int, int, int]
    spacing: int

    @property
    def nodes(self) -> tuple[int, int, int]:
        return tuple(-(-n // self.spacing) + 2 for n in self.shape)

    def position(self, reach: int = 0, device="cpu") -> torch.Tensor:
        """Working-voxel positions (3, Z, Y, X), components x, y, z, of the nodes and `reach` more on every
        side.
        """
        shape = tuple(n + 2 * reach for n in self.nodes)
        return (index_grid(shape, device) - 1 - reach) * self.spacing + (self.spacing - 1) / 2


def to_coefficients(field: torch.Tensor, first: float, step: float, grid: ControlGrid) -> torch.Tensor:
    """Coefficients on `grid` of a field (3, ...) in voxels whose samples lie at first + step * index;
    constant beyond them.
    """
    position = (grid.position(reach=2, device=field.device) - first) / step
    return sample(field, position)


class Energy:
    """Value and gradient of the energy with respect to the spline coefficients (3, nodes + 4), in working
    voxels: sum over terms of weight * mean SSD + bending_weight * mean squared second derivatives (1/mm^2)
    + folding_weight * mean lack of the Jacobian determinant, squared, + the points' distances.

    voxel_mm: size of a working voxel. backend: what computes it.
    """

    def __init__(
        self,
        terms: list[Term],
        grid: ControlGrid,
        bending_weight: float,
        folding_weight: float,
        voxel_mm: float,
        backend: Backend,
        points: PointTerm | None = None,
    ):
        self.terms, self.grid, self.backend = terms, grid, backend
        self._points = points and points.on(grid, terms[0].fixed.data.device)
        ratios = {grid.spacing // term.fixed.factor for term in terms}
        self.phases = {ratio: energy.phases(ratio) for ratio in ratios}
        # Squared second derivatives of mm displacements, in 1/mm^2, averaged over the nodes.
        self.bending_scale = bending_weight / (grid.spacing**4 * voxel_mm**2 * math.prod(grid.nodes))
        self.folding_scale = folding_weight / math.prod(grid.nodes)

    def replace_terms(self, terms: list[Term]) -> None:
        """Goes on with other features of the same resolutions."""
        self.terms = terms

    def __call__(self, coefficients: torch.Tensor, iteration: int) -> tuple[Number, torch.Tensor]:
        """The energy at one phase of the samples, and its gradient."""
        coefficients, backend = coefficients.detach(), self.backend
        total, gradient = backend.bending_energy(coefficients, self.bending_scale)
        for term in self.terms:
            ratio, start, offset, taps = self._sampling(term, iteration)
            u = backend.spline_samples(coefficients, taps)
            scale = 1.0 / term.fixed.factor
            ssd = backend.ssd(term.fixed.data, term.moving.data, offset, ratio, start, scale, u)
            weight = term.weight / ssd.weight.clip(1.0)
            total = total + weight * ssd.value
            backend.add_transposed(ssd, taps, weight, gradient)
        if self.folding_scale:
            u = backend.spline_samples(coefficients, energy.NODE_TAPS)
            corner = energy.CORNERS[iteration % 8]
            folding = backend.folding_penalty(u, self.grid.spacing, corner, FOLDING_THRESHOLD)
            total = total + self.folding_scale * folding.value
            backend.add_transposed(folding, energy.NODE_TAPS, self.folding_scale, gradient)
        if self._points is not None:
            value, pull = self._points(coefficients)
            total, gradient = value + total, gradient.add_(pull)
        return total, gradient

    def _sampling(self, term: Term, iteration: int):
        ratio = self.grid.spacing // term.fixed.factor
        phase, taps = self.phases[ratio][iteration % ratio**3]
        start = tuple(p - ratio for p in phase)
        offset = (np.asarray(term.moving.offset) - np.asarray(term.fixed.offset))[::-1]
        return ratio, start, tuple(int(n) for n in offset), taps


def fill_unmeasured(
    coefficients: torch.Tensor, terms: list[Term], grid: ControlGrid, iterations: int = 10
) -> torch.Tensor:
    """Coefficients whose unmeasured nodes continue the measured ones with the least slope, by conjugate
    gradients from a coarse-to-fine start.

    At nodes without samples (the image's rim, where descriptors see beyond the scan, and what has no
    counterpart in the moving image) only the bending energy acts: Adam creeps there, and bending would
    continue every slope without end.
    """
    measured = F.pad(_measured(coefficients, terms, grid), [2] * 6)
    if measured.all() or not measured.any():
        return coefficients
    free = (~measured).to(coefficients.dtype)

    def slope(field: torch.Tensor) -> torch.Tensor:
        """Half the gradient of the sum of squared first differences, at the free nodes."""
        gradient = torch.zeros_like(field)
        for axis in (1, 2, 3):
            difference = field.diff(dim=axis)
            gradient.narrow(axis, 1, difference.shape[axis]).add_(difference)
            gradient.narrow(axis, 0, difference.shape[axis]).sub_(difference)
        return gradient.mul_(free)

    solution = _spread(coefficients, measured)
    residual = -slope(solution)
    direction, norm = residual.clone(), residual.square().sum()
    for _ in range(iterations):
        curvature = slope(direction)
        step = norm / (direction * curvature).sum().clamp(min=1e-30)
        solution += step * direction
        residual -= step * curvature
        previous, norm = norm, residual.square().sum()
        direction = residual + norm / previous.clamp(min=1e-30) * direction
    return solution


def _spread(field: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """A field (3, Z, Y, X) whose unknown nodes continue the known ones: means over ever larger blocks."""
    if known.all():
        return field
    if min(known.shape) < 2:
        mean = (field * known).sum(dim=(1, 2, 3), keepdim=True) / known.sum()
        return torch.where(known, field, mean)
    share = F.avg_pool3d(known.to(field.dtype)[None], 2, ceil_mode=True)
    mean = F.avg_pool3d(field * known, 2, ceil_mode=True) / share.clamp(min=1e-6)
    coarse = _spread(mean, share[0] > 0)
    z, y, x = known.shape
    continued = F.interpolate(coarse[None], scale_factor=2, mode="trilinear")[0, :, :z, :y, :x]
    return torch.where(known, field, continued)


def _measured(coefficients: torch.Tensor, terms: list[Term], grid: ControlGrid) -> torch.Tensor:
    """Nodes (Z, Y, X), bool, in whose block some fixed sample has a usable moving one."""
    device = coefficients.device
    displaced = grid.position(device=device) + energy.spline_samples(coefficients, energy.NODE_TAPS)
    measured = torch.zeros(grid.nodes, dtype=torch.bool, device=device)
    for term in terms:
        factor = term.fixed.factor
        ratio = grid.spacing // factor
        blocks = any_in_blocks(term.fixed.usable(), ratio)
        inner = tuple(slice(1, n + 1) for n in blocks.shape)
        usable = grown(term.moving.usable(), ratio // 2).float()[None].to(device)
        offset = torch.tensor(term.moving.offset, device=device) - torch.tensor(
            term.fixed.offset, device=device
        )
        position = (displaced - (factor - 1) / 2) / factor - offset.view(3, 1, 1, 1)
        last = torch.tensor(usable.shape[:0:-1], device=device).view(3, 1, 1, 1) - 1
        # A block reaches half its width beyond its node.
        reach = ratio / 2
        inside = ((position >= -reach) & (position <= last + reach)).all(dim=0)
        counterpart = inside & (sample(usable, position)[0] > 0)
        measured[inner] |= blocks.to(device) & counterpart[inner]
    return measured


def refine_level(
    energy_of: Callable[[torch.Tensor, int], tuple[Number, torch.Tensor]],
    coefficients: torch.Tensor,
    level: Level,
    step: Callable[[float], None] = lambda fraction: None,
    before: Callable[[int, torch.Tensor], None] = lambda iteration, coefficients: None,
    ending: Callable[[], bool] = lambda: False,
) -> tuple[torch.Tensor, list[float]]:
    """Adam on one level; `before` runs ahead of every iteration (the dynamic reduction trains there), and
    `ending` ends it before its time.
    """
    parameters = coefficients.clone()
    optimiser = Adam([parameters])
    epsilon = 0.0
    history = []
    for iteration in range(level.iterations):
        if ending():
            break
        before(iteration, parameters)
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
