"""Steps 2 to 4: local (MIND) and global (encoder, reduced) features of a pair at any resolution of the
working grid, and the pair as one direction of a registration sees it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from GLIDERegLib.core.geometry import Grid, Volume, triple
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.registration.features.encoding import (
    FeatureStore,
    FeatureVolume,
    SliceEncoder,
    encode_volume,
)
from GLIDERegLib.registration.features.intensity import Seen, add_intensities
from GLIDERegLib.registration.features.mind import MindSlabs
from GLIDERegLib.registration.features.pooled_features import (
    PackedFeatures,
    PooledFeatures,
    cell_factor,
    pool,
)
from GLIDERegLib.registration.features.reduction import Reduction, TokenPool, Tokens, between_grids
from GLIDERegLib.registration.progress import CancelToken
from GLIDERegLib.registration.sampling import sample_axes
from GLIDERegLib.registration.working_grid import Prepared

# Reduced features have variances that sum to one; this maps 2.5 of them on either side of zero to a byte's
# range.
_BYTE_SCALE = 0.2
# A cell or feature voxel counts where at least half of its voxels do.
_LEAST_SHARE = 0.5
# Descriptors of fewer slices at a time would compute too much of their neighbours again.
_LEAST_SLICES = 8


@dataclass
class LocalFeatures:
    """MIND of one image, averaged over blocks of voxels: pooled to cells for the search, and packed by block
    size (in voxels) for the refinement. At full size and precision it would need three times the memory.

    with_intensity: whether the last level's packed features hold normalised intensities beside MIND.
    """

    pooled: PooledFeatures
    packed: dict[int, PackedFeatures]
    with_intensity: bool = False

    @classmethod
    def of_pair(
        cls, images: tuple[Prepared, Prepared], settings: Settings, device: torch.device
    ) -> tuple[LocalFeatures, LocalFeatures]:
        """Of the fixed and the moving image, with normalised intensities where the settings ask for them."""
        fixed, moving = (
            cls.of_image(image, settings, device, number == 0) for number, image in enumerate(images)
        )
        if settings.intensity_share > 0:
            reach = settings.mind_dilation + settings.mind_radius
            factor = settings.levels[-1].feature_factor
            scans = [
                Seen(of.packed[factor], image.array, usable_voxels(image, number == 0, reach), image.valid)
                for number, (of, image) in enumerate(zip((fixed, moving), images, strict=True))
            ]
            add_intensities(scans, images[0].grid.spacing[0])
            fixed.with_intensity = moving.with_intensity = True
        return fixed, moving

    @classmethod
    def of_image(
        cls, image: Prepared, settings: Settings, device: torch.device, is_fixed: bool
    ) -> LocalFeatures:
        """As the settings ask for, for all their levels."""
        usable = usable_voxels(image, is_fixed, settings.mind_dilation + settings.mind_radius)
        spacing = image.grid.spacing[0]
        found = cls.of(
            image,
            usable,
            device,
            cell_factor(settings.cell_size, spacing),
            {level.feature_factor for level in settings.levels},
            settings.mind_radius,
            settings.mind_dilation,
            settings.noise_weight,
        )
        return found

    @classmethod
    def of(
        cls,
        image: Prepared,
        usable: np.ndarray,
        device: torch.device,
        cell: int,
        factors: Iterable[int],
        radius: int,
        dilation: int,
        noise: float,
    ) -> LocalFeatures:
        """usable: bool (Z, Y, X), where descriptors can be trusted. cell, factors: sizes in voxels of the
        search's cells and of the refinement's blocks. radius, dilation: of MIND, in voxels.

        A packed voxel's weight is V / (V + noise * median V), V the local variance: where there is only
        noise, noise must not steer.
        """
        array, trusted = torch.from_numpy(image.array).to(device), torch.from_numpy(usable).to(device)
        blocks = sorted({cell, *factors})
        multiple = math.lcm(*blocks)
        slabs = MindSlabs(array, radius, dilation, multiple * -(-_LEAST_SLICES // multiple))
        confidence = None
        if noise > 0:
            variance = slabs.variance()
            typical = variance[trusted].median() if trusted.any() else variance.median()
            confidence = variance / (variance + noise * typical)
        values, shares = [], []
        parts: dict[int, list[torch.Tensor]] = {factor: [] for factor in factors}
        for first, descriptors in slabs:
            part = slice(first, first + descriptors.shape[1])
            for factor in blocks:
                means, share = pool(descriptors, trusted[part], factor)
                if factor == cell:
                    values.append(means)
                    shares.append(share)
                if factor in parts:
                    weight = (share >= _LEAST_SHARE).float()
                    if confidence is not None:
                        weight *= pool(confidence[None, part], trusted[part], factor)[0][0]
                    parts[factor].append(PackedFeatures.pack(means, weight, factor).data)

        def offset(factor: int) -> tuple[int, int, int]:
            return triple(o // factor for o in image.offset)

        pooled = PooledFeatures(torch.cat(values, dim=1), torch.cat(shares), cell, offset(cell))
        packed = {f: PackedFeatures(torch.cat(data), f, offset(f)) for f, data in parts.items()}
        return cls(pooled, packed)


def usable_voxels(image: Prepared, is_fixed: bool, reach: int) -> np.ndarray:
    """Where similarity is measured: inside the mask (the fixed image's: inside the body), `reach` voxels off
    the scan's border.

    Nearer to the border a descriptor sees values that the scanner never measured. Scans too thin for that
    keep all.
    """
    allowed = image.weight if is_fixed or image.masked else image.valid
    # Most scans were measured everywhere, and an erosion takes longer than all else here.
    if image.valid.all():
        inner = np.zeros_like(image.valid)
        inner[(slice(reach, -reach),) * 3] = True
    else:
        inner = ndimage.binary_erosion(image.valid, iterations=reach)
    usable = allowed & inner
    return usable if usable.sum() > 0.25 * allowed.sum() else allowed


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
        return PackedFeatures.pack(
            0.5 + _BYTE_SCALE * values, (share >= _LEAST_SHARE).float(), factor, offset
        )

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


@dataclass
class Direction:
    """One direction of a pair: its images and features as fixed and moving.

    local_features: of the fixed and the moving image; None without. global_features: those of the pair as it
    was given; None without. order: which of its images is fixed here, and which moving. spacing: of the
    working voxels, mm. one_scale: whether both scans are known to have one scale of values, as HU.
    """

    fixed: Prepared
    moving: Prepared
    local_features: tuple[LocalFeatures, LocalFeatures] | None
    global_features: GlobalFeatures | None
    order: tuple[int, int]
    spacing: float
    one_scale: bool = True


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
