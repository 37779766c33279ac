"""MIND-SSC: the modality-independent neighbourhood descriptor with self-similarity context.

Heinrich et al., "Towards realtime multimodal fusion for image-guided interventions using self-similarities",
MICCAI 2013.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from GLIDERegLib.registration.energy import fused_available

CHANNELS = 12

# The six neighbours of a voxel (z, y, x) and the twelve pairs of them at squared distance 2, in the order of
# Heinrich's code.
_NEIGHBOURS = ((0, 1, 1), (1, 1, 0), (1, 0, 1), (1, 1, 2), (2, 1, 1), (1, 2, 1))
_PAIRS = tuple(
    (first, second)
    for first in range(6)
    for second in range(first)
    if sum((a - b) ** 2 for a, b in zip(_NEIGHBOURS[first], _NEIGHBOURS[second], strict=True)) == 2
)
_PUBLISHED_ORDER = (6, 8, 1, 11, 2, 10, 0, 7, 9, 4, 5, 3)


def mind_ssc(image: torch.Tensor, radius: int = 1, dilation: int = 2) -> torch.Tensor:
    """Descriptors of an image (Z, Y, X): (12, Z, Y, X) float32 in (0, 1]."""
    return torch.cat([part for _, part in MindSlabs(image, radius, dilation)], dim=1)


class MindSlabs:
    """MIND of an image (Z, Y, X), some slices at a time: all of it takes twelve times the image's memory.

    D_c is the mean over a patch of (2 radius + 1)^3 voxels of the squared difference between two of the six
    neighbours at distance `dilation` (voxels); with m = D - min_c D and V = mean_c m, clamped to [0.001,
    1000] times its mean over the image, the descriptor is exp(-m / V). Everything is padded by replication.

    variance: V (Z, Y, X). Iterating yields the first slice and the descriptors (12, n, Y, X) of each slab, in
    order.
    """

    def __init__(self, image: torch.Tensor, radius: int = 1, dilation: int = 2, slices: int = 8):
        self._radius, self._dilation, self._slices = radius, dilation, slices
        image = image.float()
        self._padded = F.pad(image[None, None], [dilation] * 6, mode="replicate")[0, 0]
        self._fused = image.device.type == "cpu" and fused_available()
        self.variance = torch.empty_like(image)
        for slab in self._slabs():
            self.variance[slab] = self._distances(slab).mean(dim=0)
        mean = self.variance.mean()
        self.variance.clamp_(mean * 0.001, mean * 1000).clamp_(min=torch.finfo(torch.float32).tiny)

    def __iter__(self) -> Iterator[tuple[int, torch.Tensor]]:
        for slab in self._slabs():
            yield slab.start, self._distances(slab).div_(self.variance[slab]).neg_().exp_()

    def _slabs(self) -> Iterator[slice]:
        count = len(self.variance)
        return (slice(n, min(n + self._slices, count)) for n in range(0, count, self._slices))

    def _distances(self, slab: slice) -> torch.Tensor:
        """m (12, n, Y, X) of some slices."""
        if self._fused:
            from GLIDERegLib.registration.backends.numba.feature_kernels import patch_distances

            pairs = [[_NEIGHBOURS[end] for end in _PAIRS[channel]] for channel in _PUBLISHED_ORDER]
            distances = np.empty((CHANNELS, slab.stop - slab.start, *self.variance.shape[1:]), np.float32)
            patch_distances(
                self._padded.numpy(), np.array(pairs) * self._dilation, self._radius, slab.start, distances
            )
            return torch.from_numpy(distances)
        low = max(slab.start - self._radius, 0)
        high = min(slab.stop + self._radius, len(self.variance))
        shape = (high - low, *self.variance.shape[1:])

        def neighbour(index: int) -> torch.Tensor:
            z, y, x = (offset * self._dilation for offset in _NEIGHBOURS[index])
            return self._padded[low + z : low + z + shape[0], y : y + shape[1], x : x + shape[2]]

        distances = torch.empty((CHANNELS, slab.stop - slab.start, *shape[1:]), device=self._padded.device)
        for place, channel in enumerate(_PUBLISHED_ORDER):
            first, second = _PAIRS[channel]
            mean = box_mean((neighbour(first) - neighbour(second)).square_(), self._radius)
            distances[place] = mean[slab.start - low : slab.stop - low]
        return distances.sub_(distances.amin(dim=0, keepdim=True))


def box_mean(image: torch.Tensor, radius: int) -> torch.Tensor:
    """Mean over a (2 radius + 1)^3 box of an image (..., Z, Y, X), padded by replication; separable."""
    for axis in (-3, -2, -1):
        length = image.shape[axis]
        edge = [image.narrow(axis, 0, 1), image.narrow(axis, length - 1, 1)]
        padded = torch.cat([edge[0]] * radius + [image] + [edge[1]] * radius, dim=axis)
        total = padded.narrow(axis, 0, length).clone()
        for shift in range(1, 2 * radius + 1):
            total += padded.narrow(axis, shift, length)
        image = total.div_(2 * radius + 1)
    return image
