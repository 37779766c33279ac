"""Step 3, ours: what a scan's brightness itself tells, beside MIND: intensities less their neighbourhood's
mean, over its standard deviation.

The mean square of the difference of two such images is 2 - 2 LNCC, the locally normalised cross-correlation
that tools which compare intensities maximise (Cachier et al., CVIU 89:272, 2003). MIND tells how like its
surroundings a voxel is, over 10 mm where voxels have 2 mm; brightness, where both scans show tissues alike,
tells finer structures apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage

from GLIDERegLib.core.settings import CHANNELS
from GLIDERegLib.registration.features.pooled_features import (
    FURTHER,
    KNOWN,
    LEAST_SHARE,
    PackedFeatures,
    pool,
)
from GLIDERegLib.registration.features.scale_agreement import LEAST_AGREEMENT, LEAST_LINEAR

# Radii of the neighbourhoods, mm: twice a vessel of the third order and its double.
WINDOWS_MM = (4.0, 8.0)
# The same of blocks of voxels, in blocks: as many as of voxels of 2 mm.
WINDOWS_BLOCKS = (2, 4)
# Of the median variance, what is added to each where blocks of voxels are averaged, whose noise is small:
# even organs differ within by 5 HU, edges by hundreds. Chosen on textured_32 and E, where 1 and 0.1 are
# worse, and 0.002 is alike.
BLOCKS_FLOOR = 0.02
# The smoothing's standard deviation in voxels and, of fine ones, in mm: chosen on F, where 1.4 mm made
# landmarks worse, and textured_31, where none of 0.5 to 2 mm did; and how many of it the filter reaches.
SMOOTHING, SMOOTHING_MM, TRUNCATE = 0.5, 0.7, 3.0
# Makes the squared differences of both windows weigh as MIND's of twelve channels do: chosen by the error on
# textured_31 and random_0_30mm.
AS_MIND = 6.75
# Maps standard deviations of +-3.3 to a byte's range.
_BYTE_SCALE = 0.15
# Scans whose normalised intensities correlate less do not show tissues alike: MRI of two sequences, for one.
LEAST_CORRELATION = 0.2
# The share of a block from which on it counts as measured, with room for rounding.
WHOLE = 0.99


class Use(NamedTuple):
    """What one direction's last level did with intensities.

    share: part of MIND's weight that they took, 0 where they were left out. correlation: of both scans'
    normalised intensities under the field ahead of that level; least where they may count: LEAST_CORRELATION.
    agreement, linear: what `scale_agreement` told there; None for scans in HU, and where the correlation
    settled it.
    """

    share: float
    correlation: float
    agreement: float | None = None
    linear: float | None = None


def note(uses: Sequence[Use]) -> str:
    """A sentence where intensities were asked for and left out, in each direction (or the only one) or in
    one; empty otherwise.
    """
    left = [use for use in uses if use.share == 0]
    if not left:
        return ""
    use = left[0]
    where = "" if len(left) == len(uses) else " in one of the two directions"
    if use.agreement is not None and use.agreement >= LEAST_AGREEMENT:
        return (
            f"Brightness did not steer the last step{where}, where single voxels count: the scans are too "
            f"noisy for that (correlation of their values {use.linear:.3f}, at least {LEAST_LINEAR:g} is "
            "asked for)."
        )
    if use.agreement is None:
        reason = (
            f"the scans do not show tissues alike (correlation {use.correlation:.2f}, at least "
            f"{LEAST_CORRELATION:g} is asked for)"
        )
    else:
        reason = (
            "the scans' values are not of one scale (a curve explains "
            f"{100 * (1 - use.agreement):.0f} % more of the one's by the other's than a line does, at most "
            f"{100 * (1 - LEAST_AGREEMENT):.0f} % may be)"
        )
    return f"Brightness did not steer the registration{where}, MIND alone did: {reason}."


def steered(uses: Sequence[Mapping[int, Use]]) -> set[int]:
    """Working voxels per feature voxel of the levels that intensities steered in every direction; uses: of
    each direction, by that number.
    """
    return {factor for use in uses for factor in use if all(u[factor].share > 0 for u in uses)}


class Seen(NamedTuple):
    """One scan: packed features, voxels (Z, Y, X) float32, and which (bool) are usable and measured."""

    features: PackedFeatures
    array: np.ndarray
    usable: np.ndarray
    valid: np.ndarray


def normalised_intensities(
    arrays: Sequence[np.ndarray],
    usable: Sequence[np.ndarray],
    radii: Sequence[int],
    smoothing: float,
    floor: float = 1.0,
) -> Iterator[list[np.ndarray]]:
    """For each window an image (Z, Y, X) float32 of each scan: (I - mean) / sqrt(variance + V), I smoothed.

    arrays: (Z, Y, X) float32. radii, smoothing: of the windows, and the Gaussian's standard deviation, in
    voxels. V is `floor` times the mean of the scans' median variances, of usable voxels (bool), so that noise
    alone does not look like structure; of each scan its own, it would scale structures differently, which
    moves them (by 0.2 voxels where two pieces of one texture were compared).
    """
    smooth = [ndimage.gaussian_filter(array, smoothing, truncate=TRUNCATE) for array in arrays]
    for image in smooth:
        # Of squares as large as HU's, float32 would keep too little.
        image -= image.mean()
    for radius in radii:
        size = 2 * radius + 1
        images, variances, typical = [], [], []
        for image, inside in zip(smooth, usable, strict=True):
            mean = ndimage.uniform_filter(image, size, mode="nearest")
            variance = ndimage.uniform_filter(np.square(image), size, mode="nearest")
            variance -= np.square(mean)
            np.maximum(variance, 0, out=variance)
            images.append(np.subtract(image, mean, out=mean))
            variances.append(variance)
            typical.append(float(np.median(variance[inside] if inside.any() else variance)))
        for image, variance in zip(images, variances, strict=True):
            variance += max(floor * float(np.mean(typical)), 1e-12)
            image /= np.sqrt(variance, out=variance)
        yield images


def add_intensities(scans: Sequence[Seen], spacing: float) -> None:
    """Writes `normalised_intensities` of voxels of `spacing` mm as bytes into the further channels of the
    scans' features; where a window reaches beyond what the scanner measured, nothing is known.
    """
    radii = [_radius(window, spacing) for window in WINDOWS_MM]
    arrays, usable = [s.array for s in scans], [s.usable for s in scans]
    found = normalised_intensities(arrays, usable, radii, _smoothing(spacing))
    _write(scans, ([_pooled(*pair) for pair in zip(scans, images, strict=True)] for images in found))
    reach = radii[-1] + round(TRUNCATE * _smoothing(spacing))
    for scan in scans:
        whole = ndimage.minimum_filter(scan.valid.astype(np.uint8), 2 * reach + 1, mode="constant")
        share = _pooled(scan, whole.astype(np.float32))
        _write_known(scan, share > WHOLE)


def add_intensities_of_blocks(scans: Sequence[Seen]) -> None:
    """The same of the means of the features' blocks: averaged first, so that faint and large structures rise
    above the noise. Known where the smaller window sees what was measured.
    """
    factor = scans[0].features.factor
    arrays, usable = [], []
    for scan in scans:
        image = torch.from_numpy(scan.array)[None]
        (means,), measured = pool(image, torch.from_numpy(scan.valid), factor)
        arrays.append(means.numpy())
        usable.append(pool(image, torch.from_numpy(scan.usable), factor)[1].numpy() >= LEAST_SHARE)
        whole = (measured > WHOLE).numpy().astype(np.uint8)
        size = 2 * WINDOWS_BLOCKS[0] + 1
        _write_known(scan, torch.from_numpy(ndimage.minimum_filter(whole, size, mode="constant")) > 0)
    found = normalised_intensities(arrays, usable, WINDOWS_BLOCKS, SMOOTHING, BLOCKS_FLOOR)
    _write(scans, ([torch.from_numpy(image) for image in images] for images in found))


def _write(scans: Sequence[Seen], found: Iterable[Sequence[torch.Tensor]]) -> None:
    """Images of each window and scan, at the resolution of the scans' features, into the further channels."""
    for channel, images in enumerate(found, FURTHER):
        for scan, image in zip(scans, images, strict=True):
            values = image.mul(_BYTE_SCALE).add_(0.5).clamp_(0, 1).mul_(255).round_()
            scan.features.data[..., channel] = values.to(torch.uint8).to(scan.features.data.device)


def _write_known(scan: Seen, known: torch.Tensor) -> None:
    scan.features.data[..., KNOWN] = known.to(torch.uint8).mul_(255).to(scan.features.data.device)


def _pooled(scan: Seen, image: np.ndarray) -> torch.Tensor:
    """An image at the resolution of the scan's features."""
    (values,), _ = pool(torch.from_numpy(image)[None], torch.from_numpy(scan.usable), scan.features.factor)
    return values


def _smoothing(spacing: float) -> float:
    """In voxels of `spacing` mm."""
    return max(SMOOTHING, SMOOTHING_MM / spacing)


def _radius(window: float, spacing: float) -> int:
    """Of a window of so many mm, in voxels of `spacing` mm."""
    return max(1, round(window / spacing))


def packed_weight(weight: float) -> float:
    """The weight that makes the SSD of their bytes `AS_MIND` times that of the normalised intensities."""
    return AS_MIND * weight / _BYTE_SCALE**2


def correlation(
    fixed: PackedFeatures, moving: PackedFeatures, position: torch.Tensor, displacement: torch.Tensor
) -> float:
    """Pearson's coefficient of both images' values where x and x + u are known; 0 where nothing is.

    position, displacement: x and u (3, ...), working voxels of the fixed image.
    """
    read = [_at(image, at, fixed) for image, at in ((fixed, position), (moving, position + displacement))]
    both = read[0][1] & read[1][1]
    if both.sum() < 2:
        return 0.0
    first, second = (values[:, both].flatten() - values[:, both].mean() for values, _ in read)
    return float((first * second).sum() / (first.norm() * second.norm()).clamp(min=1e-12))


def _at(
    image: PackedFeatures, position: torch.Tensor, fixed: PackedFeatures
) -> tuple[torch.Tensor, torch.Tensor]:
    """The further channels (2, N) at working voxels (3, ...) of the fixed image, trilinear, and whether all
    eight voxels around know them (N,). Reads these alone: to make floats of all bytes takes longer.
    """
    offset = torch.tensor(image.offset, device=position.device) - torch.tensor(
        fixed.offset, device=position.device
    )
    index = (position.flatten(1) - (image.factor - 1) / 2) / image.factor - offset[:, None]
    last = torch.tensor(image.data.shape[2::-1], device=position.device)[:, None] - 1
    known = ((index >= 0) & (index <= last)).all(dim=0)
    low = index.clamp(min=0).minimum((last - 1).clamp(min=0)).long()
    values = torch.zeros((2, index.shape[1]), device=position.device)
    height, width = image.data.shape[1:3]
    voxels = image.data.view(-1, image.data.shape[3])
    for corner in itertools.product((0, 1), repeat=3):
        step = torch.tensor(corner, device=position.device)[:, None]
        share = (1 - (index - low - step).abs()).clamp(min=0).prod(dim=0)
        x, y, z = (low + step).minimum(last)
        voxel = voxels.index_select(0, (z * height + y) * width + x)
        values += share * voxel[:, FURTHER:KNOWN].T.float() / 255
        known &= (voxel[:, CHANNELS] > 0) & (voxel[:, KNOWN] > 0) | (share == 0)
    return values, known
