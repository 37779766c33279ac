"""Reading images and fields between voxels, in voxel units."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F

from GLIDERegLib.core.geometry import triple
from GLIDERegLib.registration.backends import backend_for

# Positions from which on threads save time: fewer are read within what it takes to start one.
_WORTH_THREADS = 20000


@lru_cache(maxsize=256)
def constants(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """Numbers (N,) float32 on a device, sent there once: sending waits for what it still does."""
    return torch.tensor(values, dtype=torch.float32, device=device)


def index_grid(shape: tuple[int, int, int], device: torch.device | str = "cpu") -> torch.Tensor:
    """Voxel indices (3, Z, Y, X) float32, components x, y, z."""
    axes = [torch.arange(n, dtype=torch.float32, device=device) for n in shape]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x, y, z])


def sample(image: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    """Trilinear values of image (C, Z, Y, X) at voxel positions (3, ...), components x, y, z; constant beyond
    the faces.
    """
    if image.requires_grad or position.requires_grad:
        return plain_sample(image, position)
    return backend_for(image.device).sample(image, position)


def plain_sample(image: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    """As `sample`, in PyTorch on any device, with gradients.

    grid_sample with align_corners=True maps [-1, 1] onto voxel centres 0 to N - 1, hence 2 / (N - 1).
    """
    size = constants(tuple(image.shape[:0:-1]), position.device)
    scale = 2.0 / (size - 1).clamp(min=1)
    flat = position.reshape(3, -1)
    count = flat.shape[1]
    # On a processor grid_sample runs one thread per batch item: the positions are dealt out to as many items.
    batch = torch.get_num_threads() if image.device.type == "cpu" and count > _WORTH_THREADS else 1
    padded = F.pad(flat, (0, -count % batch)) if count % batch else flat
    normalised = (padded.T * scale - 1.0).reshape(batch, 1, 1, -1, 3)
    images = image[None].expand(batch, *image.shape)
    values = F.grid_sample(images, normalised, mode="bilinear", padding_mode="border", align_corners=True)
    values = values.reshape(batch, image.shape[0], -1).transpose(0, 1).reshape(image.shape[0], -1)[:, :count]
    return values.reshape(image.shape[0], *position.shape[1:])


def sample_axes(image: torch.Tensor, positions: Sequence[torch.Tensor]) -> torch.Tensor:
    """As `sample`, at all combinations of positions along z, y and x: (C, len(z), len(y), len(x)), as three
    small matrix products.
    """
    for axis, position in enumerate(positions, start=1):
        last = image.shape[axis] - 1
        nodes = torch.arange(last + 1, dtype=position.dtype, device=position.device)
        weights = (1 - (position.clamp(0, last)[:, None] - nodes).abs()).clamp(min=0)
        image = (image.movedim(axis, -1) @ weights.T).movedim(-1, axis)
    return image.contiguous()


def sample_field(field: torch.Tensor, displacement: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    """field (3, ...) read at x + displacement(x) + offset for every voxel x of `displacement`; both in
    voxels.
    """
    position = index_grid(triple(displacement.shape[1:]), displacement.device) + displacement + offset
    return sample(field, position)
