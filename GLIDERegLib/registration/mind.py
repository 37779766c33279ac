"""MIND-SSC: the modality-independent neighbourhood descriptor with self-similarity context.

Heinrich et al., "Towards realtime multimodal fusion for image-guided interventions using self-similarities",
MICCAI 2013.
"""

from __future__ import annotations

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
    return mind_and_variance(image, radius, dilation)[0]


def mind_and_variance(
    image: torch.Tensor, radius: int = 1, dilation: int = 2
) -> tuple[torch.Tensor, torch.Tensor]:
    """The descriptors and the local variance V (Z, Y, X) they were divided by.

    D_c is the mean over a patch of (2 radius + 1)^3 voxels of the squared difference between two of the six
    neighbours at distance `dilation` (voxels); with m = D - min_c D and V = mean_c m, clamped to [0.001,
    1000] times its mean over the image, the descriptor is exp(-m / V). Everything is padded by replication.
    """
    image = image.float()
    padded = F.pad(image[None, None], [dilation] * 6, mode="replicate")[0, 0]
    distances = _fused_distances if image.device.type == "cpu" and fused_available() else _distances
    descriptor, variance = distances(padded, image.shape, radius, dilation)
    mean = variance.mean()
    variance.clamp_(mean * 0.001, mean * 1000).clamp_(min=torch.finfo(torch.float32).tiny)
    return descriptor.div_(variance).neg_().exp_(), variance


def _distances(
    padded: torch.Tensor, shape: tuple[int, int, int], radius: int, dilation: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """m (12, Z, Y, X) of an image that was padded by `dilation`, and its mean over the channels."""

    def neighbour(index: int) -> torch.Tensor:
        start = [offset * dilation for offset in _NEIGHBOURS[index]]
        return padded[tuple(slice(s, s + n) for s, n in zip(start, shape, strict=True))]

    descriptor = torch.empty((CHANNELS, *shape), dtype=torch.float32, device=padded.device)
    for place, channel in enumerate(_PUBLISHED_ORDER):
        first, second = _PAIRS[channel]
        descriptor[place] = box_mean((neighbour(first) - neighbour(second)).square_(), radius)
    descriptor -= descriptor.amin(dim=0, keepdim=True)
    return descriptor, descriptor.mean(dim=0)


def _fused_distances(
    padded: torch.Tensor, shape: tuple[int, int, int], radius: int, dilation: int
) -> tuple[torch.Tensor, torch.Tensor]:
    from GLIDERegLib.registration.feature_kernels import patch_distances

    pairs = [[_NEIGHBOURS[end] for end in _PAIRS[channel]] for channel in _PUBLISHED_ORDER]
    descriptor, variance = np.empty((CHANNELS, *shape), np.float32), np.empty(shape, np.float32)
    patch_distances(padded.numpy(), np.array(pairs) * dilation, radius, descriptor, variance)
    return torch.from_numpy(descriptor), torch.from_numpy(variance)


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
