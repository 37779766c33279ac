"""What the numbers of an image mean: Hounsfield units, or a scale of their own that is brought near them.

One place that tells CT from what is not, so that thresholds written in HU are never applied to other numbers.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from GLIDERegLib.core.geometry import Volume

# The least of a 12-bit CT: intensities are clipped there, and what no scan measured is filled with it.
AIR_HU = -1024.0
# Scanners fill what lies outside their field of view with values no tissue has (-2000, -2048, -3024).
OUTSIDE_FIELD_OF_VIEW_HU = -1500.0
# The most of a 12-bit CT.
MAXIMUM_HU = 3071.0
# Where air (by definition) and soft tissue lie in HU: the levels that an image of another scale is mapped to.
AIR_LEVEL_HU, TISSUE_LEVEL_HU = -1000.0, 40.0
# Below this, only air and lung are.
BELOW_TISSUE_HU, LEAST_SHARE_BELOW = -300.0, 0.005
BINS = 512
# A lowest value that stands this share of the range apart from all others was filled in, not measured.
LEAST_GAP, LEAST_SHARE_FILLED = 0.2, 0.005
# Two levels explain at least this share of the variance of an image of air and a body (Otsu, 1979, its eta);
# one tissue with noise reaches 2/pi = 0.64, even numbers throughout 0.75.
LEAST_SEPARATION = 0.8
# Of the voxels: lungs of one value, or tissue of one value, were cut off by a window.
LEAST_SHARE_CUT_OFF, LEAST_SHARE_SATURATED = 0.02, 0.1
SLICES_LOOKED_AT = 64
# Where the edges of the image's box are its brightest values to this share, air is bright: inverted grey.
# Beyond them is next to nothing, as beyond air; a body that fills the box has bone and vessels there.
LEAST_SHARE_OF_EDGES, MOST_SHARE_BEYOND = 0.9, 0.005
# Noise and rounding about the level of air, as a share of the way to tissue: 80 HU.
AIR_SPREAD = 0.08


@dataclass(frozen=True)
class Scale:
    """value * slope + shift is about HU; slope None where air and body cannot be told apart, negative where
    air is brighter than tissue. filled: the value of voxels that were not measured, if any.
    """

    slope: float | None
    shift: float = 0.0
    filled: float | None = None


def is_ct(volume: Volume) -> bool:
    """True where the intensities look like Hounsfield units, see `looks_like_hounsfield`."""
    return looks_like_hounsfield(_sample(volume))


def looks_like_hounsfield(sample: np.ndarray) -> bool:
    """True where many of the voxels lie below what only air and lung reach; values outside the scanner's
    field of view apart.
    """
    low = (sample > OUTSIDE_FIELD_OF_VIEW_HU) & (sample < BELOW_TISSUE_HU)
    return bool(np.mean(low) > LEAST_SHARE_BELOW)


def in_hounsfield(volume: Volume) -> Volume:
    """The image as it is where it is CT; else, as float32, on a scale on which its air and its body lie where
    those of a CT do. Without two such levels, its values as float32, as they are.

    A linear map, so that nothing of the image is lost: air, the lower of Otsu's two classes (IEEE Trans SMC
    9:62, 1979), goes to -1000 HU and the median of the upper to 40 HU.
    """
    if is_ct(volume):
        return volume
    scale = scale_of(volume)
    array = volume.array.astype(np.float32)
    if scale.slope is None:
        return Volume(array, volume.grid, volume.name)
    mapped = np.clip(array * np.float32(scale.slope) + np.float32(scale.shift), AIR_HU, MAXIMUM_HU)
    if scale.filled is not None:
        mapped[array == np.float32(scale.filled)] = 2 * AIR_HU
    return Volume(mapped, volume.grid, volume.name)


def note(volume: Volume) -> str | None:
    """A sentence for a person where the numbers of an image are not HU."""
    if is_ct(volume):
        return None
    slope = scale_of(volume).slope
    if slope is None:
        return (
            f"The values of the {volume.name} do not look like Hounsfield units ({_range(volume)}), and no "
            "air around a body was found in it: all of the image counts."
        )
    inverted = ", and inverted (air is bright)" if slope < 0 else ""
    return (
        f"The values of the {volume.name} are not Hounsfield units ({_range(volume)}){inverted}: they were "
        "scaled by its air and its body for the registration, and the warped image keeps the values as they "
        f"are.{_window_note(volume, slope < 0)}"
    )


def _window_note(volume: Volume, inverted: bool) -> str:
    """What an image lacks that a window has cut off, as a sentence; empty where nothing is missing."""
    from scipy import ndimage

    steps = tuple(slice(None, None, max(1, n // SLICES_LOOKED_AT)) for n in volume.array.shape)
    array = volume.array[steps]
    if inverted:
        array = array.max() - array
    enclosed = 0
    for plane in array == array.min():
        # Noise has the lowest value here and there; what was cut off has it throughout. Air around the body
        # reaches the border of its slice; lungs do not.
        parts = ndimage.label(ndimage.binary_erosion(plane, np.ones((3, 3)), border_value=1))[0]
        edge = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
        enclosed += int(np.count_nonzero((parts > 0) & ~np.isin(parts, edge)))
    if enclosed > LEAST_SHARE_CUT_OFF * array.size:
        return (
            " Its lungs show nothing, since all below a window was cut off: the motion inside them is "
            "guessed from around them."
        )
    if np.mean(array == array.max()) > LEAST_SHARE_SATURATED:
        return " All above a window was cut off: its soft tissue and bone show nothing to register by."
    return ""


def scale_of(volume: Volume) -> Scale:
    """The scale of an image that is not CT, from a sample of its voxels."""
    sample = _sample(volume).astype(np.float64).ravel()
    filled = _filled(sample)
    if filled is not None:
        sample = sample[sample != filled]
    sign = -1.0 if _air_is_bright(volume, sample) else 1.0
    sample = sign * sample
    low, high = np.percentile(sample, (0.1, 99.9)) if sample.size else (0.0, 0.0)
    if not high > low:
        low, high = (sample.min(), sample.max()) if sample.size else (0.0, 0.0)
    if not high > low:
        return Scale(None)
    sample = np.clip(sample, low, high)
    threshold, separation = otsu(sample)
    if separation < LEAST_SEPARATION:
        return Scale(None)
    # Air is the darkest thing in sight; lung, in the same class, is brighter.
    dark = sample[sample <= threshold]
    tissue = float(np.median(sample[sample > threshold]))
    air = _air_level(dark, tissue)
    slope = (TISSUE_LEVEL_HU - AIR_LEVEL_HU) / (tissue - air)
    return Scale(float(sign * slope), float(AIR_LEVEL_HU - slope * air), filled)


def _air_is_bright(volume: Volume, sample: np.ndarray) -> bool:
    """Whether the image's edges, where air is, hold its brightest values; sample: its measured voxels."""
    if not sample.size:
        return False
    array = volume.array
    ends = itertools.product((0, -1), repeat=2)
    edges = [e for a, b in ends for e in (array[a, b, :], array[a, :, b], array[:, a, b])]
    values = np.concatenate(edges).astype(np.float64)
    level = float(np.median(values))
    spread = AIR_SPREAD * (level - float(np.percentile(sample, 1)))
    if not spread > 0 or np.mean(sample > level + spread) > MOST_SHARE_BEYOND:
        return False
    return bool(np.mean(np.abs(values - level) <= spread) >= LEAST_SHARE_OF_EDGES)


def otsu(values: np.ndarray) -> tuple[float, float]:
    """The threshold between two classes of most variance between them, and the share of the variance that
    they explain (Otsu, 1979).
    """
    counts, edges = np.histogram(values, BINS)
    centers = 0.5 * (edges[1:] + edges[:-1])
    share = np.cumsum(counts) / counts.sum()
    first = np.cumsum(counts * centers) / counts.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (first[-1] * share - first) ** 2 / (share * (1 - share))
    best = int(np.nanargmax(np.where(np.isfinite(between), between, -1.0)))
    variance = float(np.sum(counts * (centers - first[-1]) ** 2) / counts.sum())
    return float(edges[best + 1]), float(between[best] / variance) if variance > 0 else 0.0


def _air_level(dark: np.ndarray, tissue: float) -> float:
    """The median of what lies about the most frequent value of the lower half of the dark class."""
    lower = dark[dark <= 0.5 * (dark.min() + dark.max())]
    counts, edges = np.histogram(lower, 32)
    mode = edges[np.argmax(counts)] + 0.5 * (edges[1] - edges[0])
    # Whole numbers may fill some bins twice: the neighbours correct the mode.
    near = np.abs(lower - mode) <= AIR_SPREAD * (tissue - mode)
    return float(np.median(lower[near])) if near.any() else float(mode)


def _filled(sample: np.ndarray) -> float | None:
    lowest = sample.min()
    others = sample[sample != lowest]
    if not others.size or np.mean(sample == lowest) < LEAST_SHARE_FILLED:
        return None
    apart = others.min() - lowest > LEAST_GAP * (np.percentile(others, 99.9) - others.min())
    return float(lowest) if apart else None


def _sample(volume: Volume) -> np.ndarray:
    slices, *rows = (max(1, length // 32) for length in volume.array.shape)
    return volume.array[::slices, :: min(rows[0], 4), :: min(rows[1], 4)]


def _range(volume: Volume) -> str:
    return f"{float(volume.array.min()):g} to {float(volume.array.max()):g}"
