"""The lungs of a CT found by thresholds and shape alone: right and left, vessels inside them included.

What is low inside the body, large, enclosed by tissue and not pure air is lung; the airways' air is put off
by its density, and two lungs that touch are parted by how deep each voxel lies. After Hu, Hoffman and
Reinhardt (IEEE Trans Med Imaging 20:490, 2001).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from GLIDERegLib.core.body import AIR_MEDIAN_HU, AIR_UPPER_HU, AIR_UPPER_PERCENT, Body
from GLIDERegLib.core.ct import AIR_HU, OUTSIDE_FIELD_OF_VIEW_HU, in_hounsfield
from GLIDERegLib.core.geometry import Grid, Volume, triple
from GLIDERegLib.registration.working_grid import to_image

# Edge of the voxels in which lungs are looked for, a choice.
SPACING_MM = 3.0
# Lung is below (Hu et al. find about -550 HU as the best threshold); airways' lumen above the lungs is not.
LUNG_HU, AIRWAY_HU = -500.0, -930.0
# Less than this is no lung but bowel gas or an airway.
LEAST_LITRES = 0.15
# Of the four ways out of a lung (forwards, backwards, to either side), from all its voxels, the share that
# meets tissue before the image ends: a choice. It is at least 0.96 in scans of a chest and of one lung,
# cropped, at most 0.25 for the air beside a block, and 0.5 for the air between two. A lung that a small field
# of view cuts on all sides is told by its vessels: 80 % of its values are 190 HU apart, of plain air 40.
LEAST_ENCLOSED, LEAST_CUT, VESSELS_HU = 0.6, 0.45, 100.0
# Of the larger lung; beside two lungs that touch, a smaller part is a stomach's gas.
LEAST_SHARE = 0.15
# Voxels of a piece of an airway, and the share of what surrounds it that is lung.
LEAST_VOXELS, MOST_LUNG_AROUND = 20, 0.35
# Vessels and nodules up to about this thickness are closed into the lung.
CLOSING_MM = 9.0
RIGHT, LEFT, ALONE = "right lung", "left lung", "lung"


@dataclass(frozen=True)
class Lungs:
    """labels: uint8 (z, y, x) on `grid` (3 mm, along L, P and S), 0 outside; names: what each label is."""

    labels: np.ndarray
    grid: Grid
    names: dict[int, str]

    def on(self, grid: Grid) -> np.ndarray:
        """The labels at another grid's voxels, uint8 (z, y, x), nearest neighbour."""
        image = sitk.Resample(
            to_image(self.labels, self.grid),
            grid.size,
            sitk.Transform(3, sitk.sitkIdentity),
            sitk.sitkNearestNeighbor,
            grid.origin,
            grid.spacing,
            grid.direction,
            0,
        )
        return sitk.GetArrayFromImage(image)


def find_lungs(volume: Volume) -> Lungs:
    """The lungs of a CT of the chest, or of a part of one; no label where there is none."""
    grid = upright(volume.grid, SPACING_MM)
    hu = resampled(volume, grid)
    body = ndimage.binary_erosion(Body(volume).on(grid), iterations=2, border_value=1)
    low = body & (hu < LUNG_HU) & (hu > OUTSIDE_FIELD_OF_VIEW_HU)
    low = _without_airways(low, hu)
    tissue = hu >= LUNG_HU
    parts = [part for part in _large(low, grid) if _is_lung(hu[part], _enclosed(part, tissue))]
    parts = sorted(parts, key=np.count_nonzero, reverse=True)[:2]
    if len(parts) == 2 and np.count_nonzero(parts[1]) < LEAST_SHARE * np.count_nonzero(parts[0]):
        parts.pop()
    if len(parts) == 1:
        parts = _parted(parts[0], grid)
    # The patient's right is at low x (LPS).
    parts.sort(key=lambda part: np.nonzero(part)[2].mean())
    names = (RIGHT, LEFT) if len(parts) == 2 else (ALONE,) * len(parts)
    labels = np.zeros(hu.shape, np.uint8)
    for number, part in enumerate(parts, 1):
        labels[_filled(part) & body & (labels == 0)] = number
    return Lungs(labels, grid, dict(enumerate(names, 1)))


def upright(grid: Grid, spacing_mm: float) -> Grid:
    """An isotropic grid along L, P and S that covers `grid`."""
    corners = grid.corners()
    size = np.maximum(np.ceil(np.ptp(corners, axis=0) / spacing_mm - 1e-6).astype(int), 1)
    origin = grid.center - (size - 1) / 2 * spacing_mm
    return Grid(triple(size), (spacing_mm,) * 3, tuple(origin.tolist()))


def resampled(volume: Volume, grid: Grid, smoothing: float = 0.5) -> np.ndarray:
    """HU (z, y, x) float32 of a volume on a grid, -2000 outside of it or where nothing was measured.

    Smoothed first along axes finer than the grid; smoothing: standard deviation in steps of the grid that the
    result has along them.
    """
    volume = in_hounsfield(volume)
    unseen = volume.array <= OUTSIDE_FIELD_OF_VIEW_HU
    image = to_image(np.maximum(volume.array, np.float32(AIR_HU)).astype(np.float32), volume.grid)
    step = np.asarray(volume.grid.spacing)
    sigma = smoothing * np.sqrt(np.clip((grid.spacing[0] / step) ** 2 - 1, 0, None))
    array = ndimage.gaussian_filter(sitk.GetArrayFromImage(image), sigma[::-1], mode="nearest")
    array[unseen] = 2 * AIR_HU
    return sitk.GetArrayFromImage(
        sitk.Resample(
            to_image(array, volume.grid),
            grid.size,
            sitk.Transform(3, sitk.sitkIdentity),
            sitk.sitkLinear,
            grid.origin,
            grid.spacing,
            grid.direction,
            2 * AIR_HU,
        )
    )


def _large(mask: np.ndarray, grid: Grid) -> list[np.ndarray]:
    """The connected parts of at least `LEAST_LITRES`."""
    labels, _ = ndimage.label(mask)
    counts = np.bincount(labels.ravel())
    litres = counts * np.prod(grid.spacing) / 1e6
    return [labels == n for n in range(1, len(counts)) if litres[n] >= LEAST_LITRES]


def _enclosed(part: np.ndarray, tissue: np.ndarray) -> float:
    """How much tissue stands in the ways out of a part, 0 to 1."""
    met = []
    for axis in (1, 2):
        for way in (tissue, np.flip(tissue, axis)):
            ahead = np.maximum.accumulate(way, axis=axis)
            met.append((ahead if way is tissue else np.flip(ahead, axis))[part].mean())
    return float(np.mean(met))


def _is_lung(hu: np.ndarray, enclosed: float) -> bool:
    """Unlike the air beside a phantom, bowel gas and an empty box, the last two of which hold no tissue."""
    low, middle, high = np.percentile(hu, (100 - AIR_UPPER_PERCENT, 50, AIR_UPPER_PERCENT))
    if middle < AIR_MEDIAN_HU and high < AIR_UPPER_HU:
        return False
    return bool(enclosed >= (LEAST_CUT if high - low >= VESSELS_HU else LEAST_ENCLOSED))


def _without_airways(low: np.ndarray, hu: np.ndarray) -> np.ndarray:
    """Without the trachea and main bronchi: tubes of pure air whose wall keeps them apart from lung."""
    pure = ndimage.binary_opening(low & (hu < AIRWAY_HU))
    labels, _ = ndimage.label(pure)
    keep = low.copy()
    for n, tight in enumerate(ndimage.find_objects(labels), 1):
        box = tuple(slice(max(side.start - 3, 0), side.stop + 3) for side in tight)
        tube = labels[box] == n
        if tube.sum() < LEAST_VOXELS:
            continue
        wall = ndimage.binary_dilation(tube)
        around = ndimage.binary_dilation(wall) & ~wall
        # Around a tube there is tissue; around a bulla or dark lung there is lung.
        if around.any() and low[box][around].mean() < MOST_LUNG_AROUND:
            keep[box] &= ~wall
    return keep


def _parted(both: np.ndarray, grid: Grid) -> list[np.ndarray]:
    """Two lungs that touch, parted by a watershed; the one part as it is where it is one lung."""
    extent = np.nonzero(both)[2]
    depth = ndimage.distance_transform_edt(both)
    for radius in range(1, 9):
        seeds, _ = ndimage.label(depth > radius)
        counts = np.bincount(seeds.ravel())
        counts[0] = 0
        order = np.argsort(counts)[::-1][:2]
        if len(counts) > 2 and counts[order[1]] * np.prod(grid.spacing) / 1e6 >= LEAST_LITRES / 2:
            middles = [np.nonzero(seeds == n)[2].mean() for n in order]
            if abs(middles[0] - middles[1]) > 0.25 * np.ptp(extent):
                markers = np.zeros(both.shape, np.int32)
                markers[seeds == order[0]], markers[seeds == order[1]] = 1, 2
                nearest = ndimage.distance_transform_edt(markers == 0, return_indices=True)[1]
                owner = markers[tuple(nearest)]
                return [both & (owner == 1), both & (owner == 2)]
    return [both]


def _filled(lung: np.ndarray) -> np.ndarray:
    """A lung with its vessels and nodules."""
    steps = max(1, round(CLOSING_MM / 2 / SPACING_MM))
    padded = np.pad(lung, steps + 1, mode="edge")
    ball = ndimage.iterate_structure(ndimage.generate_binary_structure(3, 1), steps + 1)
    closed = ndimage.binary_closing(padded, ball)[(slice(steps + 1, -steps - 1),) * 3]
    return np.stack([ndimage.binary_fill_holes(layer) for layer in closed | lung])
