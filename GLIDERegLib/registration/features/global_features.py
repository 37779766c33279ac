"""Steps 2 and 4, global features of a pair on the working grid: encoder tokens, reduced to a few channels, at
any resolution.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from GLIDERegLib.core.geometry import Grid, Volume, triple
from GLIDERegLib.registration.features.encoding import (
    FeatureStore,
    FeatureVolume,
    SliceEncoder,
    encode_volume,
)
from GLIDERegLib.registration.features.pooled_features import (
    LEAST_SHARE,
    PackedFeatures,
    PooledFeatures,
    pool,
)
from GLIDERegLib.registration.features.reduction import Reduction, TokenPool, Tokens, between_grids
from GLIDERegLib.registration.progress import CancelToken
from GLIDERegLib.registration.sampling import sample_axes
from GLIDERegLib.registration.working_grid import Prepared, usable_voxels

# Reduced features have variances that sum to one; this maps 2.5 of them on either side of zero to a byte's
# range.
_BYTE_SCALE = 0.2


class GlobalFeatures:
    """Encoder tokens of a pair and their present reduction, read out on the working grid.

    images, volumes: the fixed and the moving one as the pair was given, and their encoder features.
    """

    def __init__(
        self, images: tuple[Prepared, Prepared], volumes: tuple[FeatureVolume, FeatureVolume], seed: int
    ):
        self.images = images
        fixed, moving = (
            Tokens.of(volume, _foreground_tokens(image, volume.grid).to(volume.features.device))
            for image, volume in zip(images, volumes, strict=True)
        )
        self.pool = TokenPool(fixed, moving, seed)
        self.reduction: Reduction | None = None
        self._maps: tuple[torch.Tensor, torch.Tensor] | None = None
        self._shares: dict[tuple[int, int], torch.Tensor] = {}

    def refresh(self) -> None:
        """Recomputes the reduced features of both images from the reduction as it is now."""
        if self.reduction is None:
            raise ValueError("the features have no reduction yet")
        self._maps = self.reduction.reduced()

    def pooled(self, image: int, factor: int) -> PooledFeatures:
        """Reduced features of image 0 or 1 at the centres of cells of `factor` voxels; differences of random
        cells have a mean square of two.
        """
        values, share, offset = self._on(image, factor)
        return PooledFeatures(values, share, factor, offset)

    def packed(self, image: int, factor: int) -> PackedFeatures:
        """The same as bytes, for blocks of `factor` voxels."""
        values, share, offset = self._on(image, factor)
        return PackedFeatures.pack(0.5 + _BYTE_SCALE * values, (share >= LEAST_SHARE).float(), factor, offset)

    @staticmethod
    def packed_weight(weight: float) -> float:
        """The weight that makes the SSD of packed features that of the reduced ones."""
        return weight / _BYTE_SCALE**2

    def _on(self, image: int, factor: int):
        if self._maps is None:
            raise ValueError("the features were not reduced yet")
        prepared, tokens, reduced = self.images[image], self.pool.images[image], self._maps[image]
        share = self._share(image, factor, reduced.device)
        grid = _cell_grid(prepared.grid, factor, triple(share.shape))
        index = torch.arange(max(share.shape), dtype=torch.float32, device=reduced.device).expand(3, -1)
        # Both grids have the same axes, so that an index along one depends on none of the others.
        positions = between_grids(grid, tokens.grid, index).flip(0)
        values = sample_axes(reduced, [p[:n] for p, n in zip(positions, share.shape, strict=True)])
        return values, share, triple(o // factor for o in prepared.offset)

    def _share(self, image: int, factor: int, device: torch.device) -> torch.Tensor:
        """The share of each cell (Z, Y, X) that is usable; the reduction does not change it."""
        if (image, factor) not in self._shares:
            usable = torch.from_numpy(usable_voxels(self.images[image], image == 0, 1)).to(device)
            self._shares[image, factor] = pool(usable[None].float(), usable, factor)[1]
        return self._shares[image, factor]


def encode_pair(
    images: tuple[Prepared, Prepared],
    encoder: SliceEncoder,
    slice_step: int,
    cache: FeatureStore | None,
    step: Callable[[float], None],
    cancel: CancelToken | None,
) -> tuple[FeatureVolume, FeatureVolume]:
    """Step 2: encoder features (channels, Z, H, W) of both images, every `slice_step`-th axial slice padded
    to a square of the same side in mm. step, cancel: of the stage.
    """
    side = max(max(image.grid.size[:2]) * image.grid.spacing[0] for image in images)
    volumes = []
    for number, image in enumerate(images):
        volume = Volume(image.array, image.grid, ("fixed", "moving")[number])

        def progress(fraction: float, done: int = number) -> None:
            step((done + fraction) / 2)

        volumes.append(
            encode_volume(volume, image.weight, encoder, side, slice_step, cache, progress, cancel)
        )
    return volumes[0], volumes[1]


def _cell_grid(grid: Grid, factor: int, shape: tuple[int, int, int]) -> Grid:
    """The centres of cells of `factor` voxels."""
    origin = grid.to_physical(np.full(3, (factor - 1) / 2))
    return Grid.of(shape[::-1], np.multiply(grid.spacing, factor), origin, grid.direction)


def _foreground_tokens(image: Prepared, tokens: Grid) -> torch.Tensor:
    """Which tokens (Z, H, W) have their centre in the body."""
    z, y, x = np.meshgrid(*[np.arange(n) for n in tokens.shape], indexing="ij")
    index = np.rint(image.grid.to_index(tokens.to_physical(np.stack([x, y, z], axis=-1)))).astype(int)
    inside = ((index >= 0) & (index < np.asarray(image.grid.size))).all(axis=-1)
    i, j, k = np.moveaxis(np.where(inside[..., None], index, 0), -1, 0)
    return torch.from_numpy(inside & image.weight[k, j, i])
