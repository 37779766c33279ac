"""What a scan's brightness itself tells, beside MIND: intensities less their neighbourhood's mean, over its
standard deviation.

The mean square of the difference of two such images is 2 - 2 LNCC, the locally normalised cross-correlation
that tools which compare intensities maximise (Cachier et al., CVIU 89:272, 2003). MIND tells how like its
surroundings a voxel is, over 10 mm where voxels have 2 mm; brightness, where both scans show tissues alike,
tells finer structures apart.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy import ndimage

from GLIDERegLib.registration.features.pooled_features import FURTHER, KNOWN, PackedFeatures, pool
from GLIDERegLib.registration.sampling import sample

# Radii of the neighbourhoods, mm: twice a vessel of the third order and its double.
WINDOWS_MM = (4.0, 8.0)
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


def normalised_intensity(array: np.ndarray, usable: np.ndarray, spacing: float) -> Iterator[np.ndarray]:
    """For each window one image (Z, Y, X) float32: (I - mean) / sqrt(variance + V), I smoothed.

    array: (Z, Y, X) float32, voxels of `spacing` mm. V is the median variance of the usable voxels (bool), so
    that noise alone does not look like structure.
    """
    smooth = ndimage.gaussian_filter(array, _smoothing(spacing), truncate=TRUNCATE)
    # Of squares as large as HU's, float32 would keep too little.
    smooth -= smooth.mean()
    for window in WINDOWS_MM:
        size = 2 * _radius(window, spacing) + 1
        variance = ndimage.uniform_filter(np.square(smooth), size, mode="nearest")
        values = ndimage.uniform_filter(smooth, size, mode="nearest")
        variance -= np.square(values)
        np.maximum(variance, 0, out=variance)
        np.subtract(smooth, values, out=values)
        variance += np.median(variance[usable] if usable.any() else variance)
        values /= np.sqrt(np.maximum(variance, 1e-12, out=variance), out=variance)
        yield values


def add_intensity(
    features: PackedFeatures, array: np.ndarray, usable: np.ndarray, valid: np.ndarray, spacing: float
) -> None:
    """Writes `normalised_intensity` as bytes into the further channels of an image's features.

    valid: bool (Z, Y, X), what the scanner measured: where a window reaches beyond it, nothing is known.
    """
    inside = torch.from_numpy(usable)
    for channel, image in enumerate(normalised_intensity(array, usable, spacing), FURTHER):
        (values,), _ = pool(torch.from_numpy(image)[None], inside, features.factor)
        values = values.mul_(_BYTE_SCALE).add_(0.5).clamp_(0, 1).mul_(255).round_()
        features.data[..., channel] = values.to(torch.uint8).to(features.data.device)
    reach = _radius(WINDOWS_MM[-1], spacing) + round(TRUNCATE * _smoothing(spacing))
    whole = ndimage.minimum_filter(valid.astype(np.uint8), 2 * reach + 1, mode="constant")
    (share,), _ = pool(torch.from_numpy(whole.astype(np.float32))[None], inside, features.factor)
    features.data[..., KNOWN] = (share > 0.99).to(torch.uint8).mul_(255).to(features.data.device)


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
    read = []
    for image, at in ((fixed, position), (moving, position + displacement)):
        offset = torch.tensor(image.offset, device=at.device) - torch.tensor(fixed.offset, device=at.device)
        index = (at - (image.factor - 1) / 2) / image.factor - offset.view(3, *[1] * (at.dim() - 1))
        last = torch.tensor(image.data.shape[2::-1], device=at.device).view(3, *[1] * (at.dim() - 1)) - 1
        known = ((index >= 0) & (index <= last)).all(dim=0)
        known &= sample((image.usable() & image.known()).float()[None], index)[0] > 0.99
        read.append((sample(image.further(), index), known))
    both = read[0][1] & read[1][1]
    if both.sum() < 2:
        return 0.0
    first, second = (values[:, both].flatten() - values[:, both].mean() for values, _ in read)
    return float((first * second).sum() / (first.norm() * second.norm()).clamp(min=1e-12))
