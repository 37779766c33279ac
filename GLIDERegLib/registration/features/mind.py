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
        self._radius, self._slices = radius, slices
        image = image.float()
        self._padded = F.pad(image[None, None], [dilation] * 6, mode="replicate")[0, 0]
        pairs = [[_NEIGHBOURS[end] for end in _PAIRS[channel]] for channel in _PUBLISHED_ORDER]
        self._pairs = np.array(pairs) * dilation
        self._backend = backend_for(image.device)
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
        return self._backend.patch_distances(self._padded, self._pairs, self._radius, slab)
