"""Step 3, local features, MIND-SSC: the modality-independent neighbourhood descriptor with self-similarity
context.

Heinrich et al., "Towards realtime multimodal fusion for image-guided interventions using self-similarities",
MICCAI 2013.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from GLIDERegLib.registration.backends import backend_for

# Pairs of the six-neighbourhood at squared distance 2.
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
# Of the pairs above, those of the published code.
_PUBLISHED_ORDER = (6, 8, 1, 11, 2, 10, 0, 7, 9, 4, 5, 3)
# Of more slabs than these, every so many-th tells the mean of V.
_LEAST_SLABS, _EVERY = 8, 4


def mind_ssc(image: torch.Tensor, radius: int = 1, dilation: int = 2) -> torch.Tensor:
    """Descriptors of an image (Z, Y, X): (12, Z, Y, X) float32 in (0, 1]."""
    return torch.cat([part for _, part in MindSlabs(image, radius, dilation)], dim=1)


class MindSlabs:
    """MIND of an image (Z, Y, X), some slices at a time: all of it takes twelve times the image's memory.

    D_c is the mean over a patch of (2 radius + 1)^3 voxels of the squared difference between two of the six
    neighbours at distance `dilation` (voxels); with m = D - min_c D and V = mean_c m, clamped to [0.001,
    1000] times its mean over the image, the descriptor is exp(-m / V). Everything is padded by replication.
    Of an image of more than eight slabs every fourth one tells that mean, in a fraction of the time.

    Iterating yields the first slice and the descriptors (12, n, Y, X) of each slab, in order.
    """

    def __init__(self, image: torch.Tensor, radius: int = 1, dilation: int = 2, slices: int = 8):
        self._radius, self._slices, self._count = radius, slices, len(image)
        image = image.float()
        self._padded = F.pad(image[None, None], [dilation] * 6, mode="replicate")[0, 0]
        pairs = [[_NEIGHBOURS[end] for end in _PAIRS[channel]] for channel in _PUBLISHED_ORDER]
        self._pairs = np.array(pairs) * dilation
        self._backend = backend_for(image.device)
        slabs = list(self._slabs())
        mean = self._mean(slabs[_EVERY // 2 :: _EVERY] if len(slabs) > _LEAST_SLABS else slabs)
        # Sparse slabs of a scan that is empty but for some slices may tell nothing.
        mean = mean if mean > 0 else self._mean(slabs)
        self._limits = mean * 0.001, mean * 1000

    def __iter__(self) -> Iterator[tuple[int, torch.Tensor]]:
        for slab in self._slabs():
            distances = self._distances(slab)
            yield slab.start, distances.div_(self._clamped(distances)).neg_().exp_()

    def variance(self) -> torch.Tensor:
        """V (Z, Y, X)."""
        return torch.cat([self._clamped(self._distances(slab)) for slab in self._slabs()])

    def _mean(self, slabs: list[slice]) -> torch.Tensor:
        """Of V over some slabs."""
        means = [self._distances(slab).mean() for slab in slabs]
        sizes = torch.tensor([float(slab.stop - slab.start) for slab in slabs], device=means[0].device)
        return (torch.stack(means) * sizes).sum() / sizes.sum()

    def _clamped(self, distances: torch.Tensor) -> torch.Tensor:
        """V of some slices from their m."""
        variance = distances.mean(dim=0).clamp_(*self._limits)
        return variance.clamp_(min=torch.finfo(torch.float32).tiny)

    def _slabs(self) -> Iterator[slice]:
        count, step = self._count, self._slices
        return (slice(n, min(n + step, count)) for n in range(0, count, step))

    def _distances(self, slab: slice) -> torch.Tensor:
        """m (12, n, Y, X) of some slices."""
        return self._backend.patch_distances(self._padded, self._pairs, self._radius, slab)
