"""Step 3, local features of an image on the working grid: MIND, pooled for the search and packed for the
refinement, at any resolution.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from GLIDERegLib.core.geometry import triple
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.registration.features.intensity import Seen, add_intensities, add_intensities_of_blocks
from GLIDERegLib.registration.features.mind import MindSlabs
from GLIDERegLib.registration.features.pooled_features import (
    LEAST_SHARE,
    PackedFeatures,
    PooledFeatures,
    cell_factor,
    pool,
)
from GLIDERegLib.registration.working_grid import Prepared, usable_voxels

# Descriptors of fewer slices at a time would compute too much of their neighbours again.
_LEAST_SLICES = 8


@dataclass
class LocalFeatures:
    """MIND of one image, averaged over blocks of voxels: pooled to cells for the search, and packed by block
    size (in voxels) for the refinement. At full size and precision it would need three times the memory.

    with_intensity: whether the packed features hold normalised intensities beside MIND.
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
            usable = [usable_voxels(image, number == 0, reach) for number, image in enumerate(images)]
            finest = settings.levels[-1].feature_factor
            for factor in sorted(fixed.packed):
                scans = [
                    Seen(of.packed[factor], image.array, inside, image.valid)
                    for of, image, inside in zip((fixed, moving), images, usable, strict=True)
                ]
                if factor == finest:
                    add_intensities(scans, images[0].grid.spacing[0])
                else:
                    add_intensities_of_blocks(scans)
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
                    weight = (share >= LEAST_SHARE).float()
                    if confidence is not None:
                        weight *= pool(confidence[None, part], trusted[part], factor)[0][0]
                    parts[factor].append(PackedFeatures.pack(means, weight, factor).data)

        def offset(factor: int) -> tuple[int, int, int]:
            return triple(o // factor for o in image.offset)

        pooled = PooledFeatures(torch.cat(values, dim=1), torch.cat(shares), cell, offset(cell))
        packed = {f: PackedFeatures(torch.cat(data), f, offset(f)) for f, data in parts.items()}
        return cls(pooled, packed)
