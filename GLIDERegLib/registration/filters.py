"""Filters over cubes of voxels in plain PyTorch: means of images, and growing or pooling of masks."""

from __future__ import annotations

from functools import reduce

import torch
import torch.nn.functional as F


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


def any_in_blocks(mask: torch.Tensor, size: int) -> torch.Tensor:
    """Whether anything of a bool image (Z, Y, X) is true in each block of size^3 voxels, ragged ones too."""
    mask = F.pad(mask, [n for length in mask.shape[::-1] for n in (0, -length % size)])
    for axis in range(3):
        mask = reduce(torch.logical_or, mask.unflatten(axis, (-1, size)).unbind(axis + 1))
    return mask


def grown(mask: torch.Tensor, reach: int) -> torch.Tensor:
    """A bool image (Z, Y, X), true within `reach` voxels along each axis of where it was: grown by a cube."""
    for axis in range(3):
        wider = mask.clone()
        length = mask.shape[axis]
        for shift in range(1, min(reach, length - 1) + 1):
            wider.narrow(axis, shift, length - shift).logical_or_(mask.narrow(axis, 0, length - shift))
            wider.narrow(axis, 0, length - shift).logical_or_(mask.narrow(axis, shift, length - shift))
        mask = wider
    return mask
