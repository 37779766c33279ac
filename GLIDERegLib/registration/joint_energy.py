"""Step 6, what is minimised: the similarity of both kinds of features, the bending energy, and what keeps the
field from folding, as a function of the spline coefficients.

Its parts are formulas of `energy.py`, computed by a backend.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from GLIDERegLib.core.geometry import triple
from GLIDERegLib.registration import energy
from GLIDERegLib.registration.backends.protocol import Backend, Number
from GLIDERegLib.registration.control_grid import ControlGrid
from GLIDERegLib.registration.features.pooled_features import PackedFeatures

# Jacobian determinants below this cost energy, a choice: lung tissue rarely shrinks to less than a third, and
# what breath does must cost nothing. On the own phantom (least determinant 0.61) 0.1, 0.3 and 0.5 give the
# same mean error of landmarks within 0.001 mm.
FOLDING_THRESHOLD = 0.3
# Every which iteration it is asked, with as many times the weight, each time at the next corner. At every one
# of them random_0's and the own phantom's errors were the same (0.52 and 0.26 mm), for more time.
FOLDING_EVERY = 2


@dataclass
class Term:
    """One similarity: fixed and moving features at a level's resolution, and the weight of their mean SSD;
    further: that of the further channels, normalised intensities, of which `share` says how much they take
    from the weight where they are known.
    """

    fixed: PackedFeatures
    moving: PackedFeatures
    weight: float
    further: float = 0.0
    share: float = 0.0


@dataclass(frozen=True)
class PointTerm:
    """Points that are known to correspond: weight times the sum of their squared distances from targets.

    positions, targets: (N, 3), x, y, z in working voxels: where a point is, and the displacement it should
    have.
    """

    positions: np.ndarray
    targets: np.ndarray
    weight: float

    def on(
        self, grid: ControlGrid, device: torch.device
    ) -> Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        """Value and gradient as a function of the spline coefficients (3, nodes + 4) on a grid."""
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
        self._points = None if points is None else points.on(grid, terms[0].fixed.data.device)
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
            shares = ((1 - term.share) * term.weight, term.further, term.weight)
            ssd = backend.ssd(term.fixed.data, term.moving.data, offset, ratio, start, scale, u, shares)
            weight = 1 / _at_least_one(ssd.weight)
            total = total + weight * ssd.value
            backend.add_transposed(ssd, taps, weight, gradient)
        if self.folding_scale and iteration % FOLDING_EVERY == 0:
            u = backend.spline_samples(coefficients, energy.NODE_TAPS)
            corner = energy.CORNERS[iteration // FOLDING_EVERY % 8]
            folding = backend.folding_penalty(u, self.grid.spacing, corner, FOLDING_THRESHOLD)
            scale = FOLDING_EVERY * self.folding_scale
            total = total + scale * folding.value
            backend.add_transposed(folding, energy.NODE_TAPS, scale, gradient)
        if self._points is not None:
            value, pull = self._points(coefficients)
            total, gradient = value + total, gradient.add_(pull)
        return total, gradient

    def _sampling(
        self, term: Term, iteration: int
    ) -> tuple[int, tuple[int, int, int], tuple[int, int, int], np.ndarray]:
        ratio = self.grid.spacing // term.fixed.factor
        phase, taps = self.phases[ratio][iteration % ratio**3]
        start = triple(p - ratio for p in phase)
        offset = (np.asarray(term.moving.offset) - np.asarray(term.fixed.offset))[::-1]
        return ratio, start, triple(offset), taps


def _at_least_one(weight: Number) -> Number:
    """The sum of weights to divide by; on a card without a wait for it."""
    return weight.clamp(min=1.0) if isinstance(weight, torch.Tensor) else max(weight, np.float64(1.0))
