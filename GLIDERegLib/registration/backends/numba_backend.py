"""Every step in kernels for the processor that numba compiles (`numba/`); needs numba."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from GLIDERegLib.registration.backends.numba import (
    compiling,
    convex_kernels,
    feature_kernels,
    field_kernels,
    folding_kernels,
    similarity_kernels,
    spline_kernels,
)
from GLIDERegLib.registration.backends.protocol import LANES, PLAIN_SHARES, Number, Part, Shares
from GLIDERegLib.registration.filters import grown


class NumbaBackend:
    """`Backend` for the processor."""

    name = "numba"

    def threads(self) -> int:
        return compiling.threads()

    def set_threads(self, count: int) -> None:
        compiling.set_threads(count)

    def sample(self, image: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        flat = position.reshape(3, -1).contiguous()
        values = np.empty((len(image), flat.shape[1]), np.float32)
        field_kernels.sample(image.contiguous().numpy(), flat.numpy(), values)
        return torch.from_numpy(values).view(len(image), *position.shape[1:])

    def patch_distances(
        self, padded: torch.Tensor, pairs: np.ndarray, radius: int, slices: slice
    ) -> torch.Tensor:
        shape = [length - int(pairs[..., axis].max()) for axis, length in enumerate(padded.shape)]
        distances = np.empty((len(pairs), slices.stop - slices.start, *shape[1:]), np.float32)
        feature_kernels.patch_distances(padded.numpy(), pairs, radius, slices.start, distances)
        return torch.from_numpy(distances)

    def pool(
        self, values: torch.Tensor, usable: torch.Tensor, factor: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        shape = [-(-n // factor) for n in usable.shape]
        means, share = np.empty((len(values), *shape), np.float32), np.empty(shape, np.float32)
        feature_kernels.block_means(values.numpy(), usable.numpy(), factor, means, share)
        return torch.from_numpy(means), torch.from_numpy(share)

    def pack(self, values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        packed = np.empty((*weight.shape, LANES), np.uint8)
        feature_kernels.pack_bytes(values.numpy(), weight.numpy(), packed)
        return torch.from_numpy(packed)

    def matching_cost(
        self,
        fixed: torch.Tensor,
        moving: torch.Tensor,
        fixed_weight: torch.Tensor,
        usable: torch.Tensor,
        shift: np.ndarray,
        labels: np.ndarray,
        out: torch.Tensor,
    ) -> None:
        cost = out.numpy()
        images = channels_last(fixed), channels_last(moving)
        convex_kernels.match_cost(*images, fixed_weight.numpy(), usable.numpy(), shift, labels, cost)
        convex_kernels.smooth_cost(cost)

    def coupled_argmin(
        self, cost: torch.Tensor, labels: torch.Tensor, center: torch.Tensor, coupling: float
    ) -> torch.Tensor:
        chosen = convex_kernels.coupled_argmin(
            cost.numpy(), labels.numpy(), center.numpy(), np.float32(coupling)
        )
        return torch.from_numpy(chosen)

    def spline_samples(self, coefficients: torch.Tensor, taps: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(spline_kernels.spline_samples(coefficients.numpy(), taps))

    def add_transposed(self, part: Part, taps: np.ndarray, scale: Number | float, out: torch.Tensor) -> None:
        gradient = part.gradient.numpy()
        used = np.ones(gradient.shape[1], bool) if part.used is None else part.used
        spline_kernels.add_transposed(gradient, taps, np.float32(scale), used, out.numpy())

    def ssd(
        self,
        fixed: torch.Tensor,
        moving: torch.Tensor,
        offset: tuple[int, int, int],
        ratio: int,
        start: tuple[int, int, int],
        scale: float,
        u: torch.Tensor,
        shares: Shares = PLAIN_SHARES,
    ) -> Part:
        gradient = np.empty(u.shape, np.float32)
        value, weights = similarity_kernels.ssd_and_gradient(
            fixed.numpy(), moving.numpy(), np.array(offset), ratio, np.array(start),
            np.float32(scale), u.numpy(), gradient, shares,
        )  # fmt: skip
        return Part(value, weights.sum(), torch.from_numpy(gradient), weights > 0)

    def bending_energy(self, coefficients: torch.Tensor, weight: float) -> tuple[np.float64, torch.Tensor]:
        bending = _bending(tuple(coefficients.shape[1:]))
        value, gradient = bending.value_and_gradient(coefficients.numpy(), weight)
        return np.float64(value), torch.from_numpy(gradient)

    def folding_penalty(
        self, u: torch.Tensor, spacing: float, corner: tuple[int, int, int], threshold: float
    ) -> Part:
        value, gradient, used = folding_kernels.folding_penalty(u.numpy(), spacing, corner, threshold)
        return Part(np.float64(value), np.float64(1.0), torch.from_numpy(gradient), used)

    def repaired(self, u: torch.Tensor, spacing: float, least: float, rounds: int) -> torch.Tensor:
        """Works only where something folds, which takes a fraction of the time."""
        folded = torch.zeros(u.shape[1:], dtype=torch.bool)
        everywhere = np.ones(folded.shape, bool)
        folding_kernels.find_folds(u.numpy(), spacing, least, everywhere, folded.numpy())
        if not folded.any():
            return u
        u, mixed = u.clone(), torch.empty_like(u)
        for _ in range(rounds):
            near = grown(folded, 2)
            changed = grown(near, 1)
            folding_kernels.mix(u.numpy(), near.numpy(), changed.numpy(), mixed.numpy())
            np.copyto(u.numpy(), mixed.numpy(), where=changed.numpy())
            # A corner reaches one node beyond its own.
            around = grown(changed, 1).numpy()
            folding_kernels.find_folds(u.numpy(), spacing, least, around, folded.numpy())
            if not folded.any():
                break
        return u

    def inverted(
        self,
        deformation: torch.Tensor,
        start: torch.Tensor,
        spacing: torch.Tensor,
        tolerance: float,
        most: int,
    ) -> tuple[torch.Tensor, float]:
        offset = np.empty(start.shape, np.float32)
        largest = field_kernels.invert(
            deformation.contiguous().numpy(),
            start.reshape(-1, 3).numpy(),
            spacing.numpy(),
            np.float32(tolerance),
            most,
            offset.reshape(-1, 3),
        )
        return torch.from_numpy(offset), float(largest)


def channels_last(values: torch.Tensor) -> np.ndarray:
    """Features (C, Z, Y, X) as (Z, Y, X, C) float32 with zeros up to whole registers, 16 channels each."""
    channels, *shape = values.shape
    packed = np.zeros((*shape, -(-channels // LANES) * LANES), np.float32)
    packed[..., :channels] = values.permute(1, 2, 3, 0).numpy()
    return packed


@lru_cache(maxsize=8)
def _bending(shape: tuple[int, int, int]) -> spline_kernels.BendingEnergy:
    """The stencils for coefficients (3, Z, Y, X) of a shape, worked out once a level."""
    return spline_kernels.BendingEnergy(shape)
