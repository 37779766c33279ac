"""Step 2, global features: a slice encoder applied to a volume, and where its tokens are in space.

Every axial slice that shows the body goes through a 2-D encoder; the slices stack to a
feature volume.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from GLIDERegLib.core.ct import AIR_HU
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume


class CancelToken(Protocol):
    """What tells an encoder that the user asked to stop."""

    def check(self) -> None:
        """Raises `Cancelled` once the user asked to stop."""


class SliceEncoder(Protocol):
    """Turns square axial slices into token maps."""

    name: str
    channels: int

    def identity(self) -> dict:
        """All that the features depend on beside the slices, JSON-able; for cache key and report."""

    def encode(
        self,
        slices: torch.Tensor,
        masks: torch.Tensor,
        progress: Callable[[float], None] | None = None,
        cancel: CancelToken | None = None,
    ) -> torch.Tensor:
        """Tokens (Z, channels, h, w) of slices (Z, S, S), float32 HU in order; their foreground is bool.

        The tokens tile the slice: token (row i, column j) is centred (i + 0.5) S / h pixels below its upper
        edge and (j + 0.5) S / w pixels right of its left edge.
        """


class FeatureStore(Protocol):
    """A place that may remember token maps, such as `files.feature_cache.FeatureCache`."""

    def get(self, key: str) -> torch.Tensor | None:
        """The tokens (Z, channels, h, w) under a `feature_key`; None where they are not kept."""

    def put(self, key: str, tensor: torch.Tensor) -> None:
        """Keeps tokens (Z, channels, h, w), or does not."""


@dataclass
class FeatureVolume:
    """Features (C, Z, H, W) and the grid of their token centres (LPS mm, size (W, H, Z))."""

    features: torch.Tensor
    grid: Grid


def encode_volume(
    volume: Volume,
    mask: np.ndarray,
    encoder: SliceEncoder,
    side_mm: float | None = None,
    slice_step: int = 1,
    cache: FeatureStore | None = None,
    progress: Callable[[float], None] | None = None,
    cancel: CancelToken | None = None,
) -> FeatureVolume:
    """Features of a volume whose in-plane spacing is isotropic.

    mask: foreground, bool (z, y, x). Only slices between the first and the last with foreground are encoded.
    side_mm: side of the square each slice is padded to, rounded up to whole voxels; give both images of a
    pair the same value so that a pixel of the encoder's input is as large in both. Default: the longer
    in-plane side of this volume.
    slice_step: encode every n-th of them, so that what is left over is shared between both ends.
    progress: called with the fraction done. cancel: its `check()` is called between batches and may raise
    `Cancelled`.

    Returns features of the encoded slices in the encoder's precision; a token covers side_mm / w mm. Raises
    InputError for an empty or ill-fitting mask, an anisotropic slice, and a side shorter than the slice.
    """
    if mask.shape != volume.array.shape:
        raise InputError(
            f"The mask of {volume.name} has shape {mask.shape}, not the image's {volume.array.shape}.",
            code="mask",
        )
    foreground = np.flatnonzero(mask.any(axis=(1, 2)))
    if not len(foreground):
        raise InputError(
            f"The mask of {volume.name} is empty.", "Give a mask that covers the body.", code="mask"
        )
    side = _side_in_voxels(volume, side_mm)
    first, last, step = int(foreground[0]), int(foreground[-1]), max(int(slice_step), 1)
    encoded = np.arange(first + (last - first) % step // 2, last + 1, step)
    slices, masks = _square_slices(volume, mask, encoded, side)

    key = feature_key(encoder.identity(), slices, masks) if cache is not None else ""
    tokens = cache.get(key) if cache is not None else None
    if tokens is None or tokens.shape[:2] != (len(encoded), encoder.channels):
        tokens = encoder.encode(slices, masks, progress, cancel)
        if cache is not None:
            cache.put(key, tokens)
    if progress is not None:
        progress(1.0)
    height, width = tokens.shape[2:]
    return FeatureVolume(
        tokens.permute(1, 0, 2, 3), token_grid(volume.grid, side, width, height, encoded.tolist())
    )


def token_grid(grid: Grid, side: int, width: int, height: int, slices: Sequence[int]) -> Grid:
    """Grid of the centres of width x height tokens that tile a slice once padded to `side` voxels, for evenly
    spaced slices.
    """
    step = slices[1] - slices[0] if len(slices) > 1 else 1
    per_token = np.array([side / width, side / height, step])
    corner = np.array([-0.5 - _margin(grid.size[0], side), -0.5 - _margin(grid.size[1], side)])
    origin = grid.to_physical(np.append(corner + per_token[:2] / 2, slices[0]))
    spacing = per_token * np.asarray(grid.spacing)
    return Grid.of((width, height, len(slices)), spacing, origin, grid.direction)


def feature_key(identity: dict, slices: torch.Tensor, masks: torch.Tensor) -> str:
    """SHA-256 of all that an encoder's output depends on: its identity and exactly what it is given."""
    digest = hashlib.sha256(json.dumps([identity, list(slices.shape)], sort_keys=True).encode())
    for array in (slices.numpy(), np.packbits(masks.numpy())):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _side_in_voxels(volume: Volume, side_mm: float | None) -> int:
    x, y = volume.grid.spacing[:2]
    if abs(x - y) > 1e-3 * x:
        raise InputError(
            f"The slices of {volume.name} have pixels of {x:g} x {y:g} mm.",
            "Resample them to square pixels.",
            code="geometry",
        )
    longer = max(volume.grid.size[:2])
    if side_mm is None:
        return longer
    side = int(np.ceil(side_mm / x - 1e-6))
    if side < longer:
        raise InputError(
            f"A side of {side_mm:g} mm is too short for {volume.name}, which is {longer * x:g} mm wide.",
            code="setting",
        )
    return side


def _margin(size: int, side: int) -> int:
    """Padding in voxels before the first voxel of an axis; the end gets the odd one."""
    return (side - size) // 2


def _square_slices(
    volume: Volume, mask: np.ndarray, chosen: np.ndarray, side: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The chosen slices in the middle of squares: (Z, side, side) float32 and bool."""
    lowest = float(volume.array.min())
    # Only CT goes far below zero; a CT cropped inside the body is still surrounded by air.
    outside = AIR_HU if lowest < -200 else lowest
    slices = np.full((len(chosen), side, side), outside, np.float32)
    masks = np.zeros(slices.shape, bool)
    rows, columns = volume.array.shape[1:]
    top, left = _margin(rows, side), _margin(columns, side)
    slices[:, top : top + rows, left : left + columns] = volume.array[chosen]
    masks[:, top : top + rows, left : left + columns] = mask[chosen]
    return torch.from_numpy(slices), torch.from_numpy(masks)
