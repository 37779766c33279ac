"""Every step in plain PyTorch, for any device: what the other backends are tested against, and what they fall
back to.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from GLIDERegLib.core.settings import CHANNELS
from GLIDERegLib.registration import energy
from GLIDERegLib.registration.backends import torch_kernels
from GLIDERegLib.registration.backends.protocol import LANES, PLAIN_SHARES, Number, Part, Shares
from GLIDERegLib.registration.filters import box_mean
from GLIDERegLib.registration.sampling import plain_sample

# Labels whose costs are smoothed at a time, and cells whose labels are compared: they bound the memory.
_LABELS, _CELLS = 64, 65536


class TorchBackend:
    """`Backend` in plain PyTorch. kernels: the module of the energy's parts and their gradients."""

    name = "torch"
    kernels = torch_kernels

    def threads(self) -> int:
        return torch.get_num_threads()

    def set_threads(self, count: int) -> None:
        torch.set_num_threads(count)

    def sample(self, image: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        return plain_sample(image, position)

    def patch_distances(
        self, padded: torch.Tensor, pairs: np.ndarray, radius: int, slices: slice
    ) -> torch.Tensor:
        shape = [length - int(pairs[..., axis].max()) for axis, length in enumerate(padded.shape)]
        low, high = max(slices.start - radius, 0), min(slices.stop + radius, shape[0])

        def moved(place: np.ndarray) -> torch.Tensor:
            z, y, x = place.tolist()
            return padded[low + z : high + z, y : y + shape[1], x : x + shape[2]]

        distances = torch.empty((len(pairs), slices.stop - slices.start, *shape[1:]), device=padded.device)
        for channel, (one, other) in enumerate(pairs):
            mean = box_mean((moved(one) - moved(other)).square_(), radius)
            distances[channel] = mean[slices.start - low : slices.stop - low]
        return distances.sub_(distances.amin(dim=0, keepdim=True))

    def pool(
        self, values: torch.Tensor, usable: torch.Tensor, factor: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        padding = [n for length in values.shape[:0:-1] for n in (0, -length % factor)]
        mask = F.pad(usable.to(torch.float32), padding)[None]
        share = F.avg_pool3d(mask, factor)[0]
        means = [
            F.avg_pool3d(F.pad(channel, padding)[None] * mask, factor)[0] / share.clamp(min=1e-6)
            for channel in values
        ]
        return torch.stack(means), share

    def pack(self, values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        data = torch.zeros((*weight.shape, LANES), dtype=torch.uint8, device=values.device)
        for channel, image in enumerate(values):
            data[..., channel] = _to_bytes(image)
        # A usable voxel keeps at least the smallest weight.
        data[..., CHANNELS] = torch.where(weight > 0, _to_bytes(weight).clamp_(min=1), 0)
        return data

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
        cost = energy.matching_cost(fixed, moving, fixed_weight, usable, shift, labels)
        for first in range(0, len(labels), _LABELS):
            part = slice(first, first + _LABELS)
            out[..., part] = box_mean(box_mean(cost[part], 1), 1).permute(1, 2, 3, 0)

    def coupled_argmin(
        self, cost: torch.Tensor, labels: torch.Tensor, center: torch.Tensor, coupling: float
    ) -> torch.Tensor:
        squares = coupling * labels.square().sum(dim=1)
        chunks = []
        for start in range(0, len(cost), _CELLS):
            part = slice(start, start + _CELLS)
            chunks.append(
                torch.addmm(cost[part] + squares, center[part], labels.T, alpha=-2 * coupling).argmin(dim=1)
            )
        return torch.cat(chunks)

    def spline_samples(self, coefficients: torch.Tensor, taps: np.ndarray) -> torch.Tensor:
        return self.kernels.spline_samples(coefficients, taps)

    def add_transposed(self, part: Part, taps: np.ndarray, scale: Number | float, out: torch.Tensor) -> None:
        spread = self.kernels.spline_samples_transposed(part.gradient, taps)
        if isinstance(scale, torch.Tensor):
            out.addcmul_(spread, scale)
        else:
            out.add_(spread, alpha=scale)

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
        return Part(*self.kernels.ssd_and_gradient(fixed, moving, offset, ratio, start, scale, u, shares))

    def bending_energy(self, coefficients: torch.Tensor, weight: float) -> tuple[torch.Tensor, torch.Tensor]:
        value, gradient = self.kernels.bending_energy(coefficients)
        return weight * value, gradient.mul_(weight)

    def folding_penalty(
        self, u: torch.Tensor, spacing: float, corner: tuple[int, int, int], threshold: float
    ) -> Part:
        value, gradient = self.kernels.folding_penalty(u, spacing, corner, threshold)
        return Part(value, value.new_ones(()), gradient)

    def repaired(self, u: torch.Tensor, spacing: float, least: float, rounds: int) -> torch.Tensor:
        folded = energy.folded_nodes(u, spacing, least)
        for _ in range(rounds):
            if not folded.any():
                break
            share = F.max_pool3d(folded.float()[None], 5, stride=1, padding=2)
            share = box_mean(share, 1)
            u = u + share * (box_mean(u, 1) - u)
            folded = energy.folded_nodes(u, spacing, least)
        return u

    def inverted(
        self,
        deformation: torch.Tensor,
        start: torch.Tensor,
        spacing: torch.Tensor,
        tolerance: float,
        most: int,
    ) -> tuple[torch.Tensor, float]:
        image, at = deformation.movedim(-1, 0), start.movedim(-1, 0)
        scale = spacing.view(3, *[1] * (at.dim() - 1))
        offset = torch.zeros_like(at)
        for iteration in range(most + 1):
            error = plain_sample(image, at + offset) + offset
            largest = float((error * scale).norm(dim=0).max())
            if largest <= tolerance or iteration == most:
                break
            offset -= error
        return offset.movedim(0, -1), largest


def _to_bytes(image: torch.Tensor) -> torch.Tensor:
    return (image * 255).round_().clamp_(0, 255).to(torch.uint8)
