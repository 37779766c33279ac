"""Segmentations propagated from one scan to the other by any transform, and what became of each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.evaluation.evaluate import warp
from GLIDERegLib.evaluation.surfaces import compare_masks
from GLIDERegLib.files.segmentations import Segment, Segmentation
from GLIDERegLib.registration.field import DisplacementField
from GLIDERegLib.transforms.points import DIRECTIONS, inverse_points, map_points

# mm between the nodes of an inverse, and how many of them the field is continued beyond the scan.
INVERSE_SPACING_MM, INVERSE_MARGIN = 2.0, 10
# Points of a segment that tell how much of it lies in the other scan.
ASKED = 300
# Organs that slide along their neighbours as one breathes: a smooth field blurs the step at their surface.
SLIDING = re.compile(
    r"lung|pulmo|pleura|liver|spleen|stomach|bowel|intestin|colon|duoden|kidney|diaphragm|heart|lobe", re.I
)


@dataclass(frozen=True)
class PropagatedSegment:
    """What became of a segment: ml before and after, the share that lies outside the other scan, and whether
    its surface slides, by its name.
    """

    segment: Segment
    before_ml: float
    after_ml: float
    share_outside: float
    slides: bool

    @property
    def lost(self) -> bool:
        """Whether there was something and nothing is left."""
        return self.before_ml > 0 and self.after_ml == 0


@dataclass(frozen=True)
class Propagated:
    """The segmentation on the other scan's grid. residual_mm: how far points of the segments are from
    themselves after the transform and its inverse, at worst; 0 where no inverse was needed.
    """

    segmentation: Segmentation
    segments: tuple[PropagatedSegment, ...]
    residual_mm: float


def propagate_segmentation(
    source: Segmentation, transform: sitk.Transform, direction: str, grid: Grid
) -> Propagated:
    """Propagates segments "fixed-to-moving" or "moving-to-fixed" onto the other scan's grid.

    transform: fixed to moving points, LPS mm. A voxel gets the label that has the largest share of the eight
    voxels around the place it comes from (trilinear weights), none where background has; neighbours keep
    touching, nothing overlaps that did not. Raises InputError for another direction.
    """
    if direction not in DIRECTIONS:
        raise InputError(
            f"The direction '{direction}' is unknown.",
            f"Use {DIRECTIONS[0]} or {DIRECTIONS[1]}.",
            code="setting",
        )
    back = transform if direction == "moving-to-fixed" else _inverse(transform, source.grid, grid)
    layers = tuple(_resampled(layer, source.grid, back, grid) for layer in source.layers)
    result = Segmentation(layers, grid, source.segments)
    segments, residuals = zip(*_judged(source, result, transform, back), strict=True)
    return Propagated(result, segments, max(residuals))


def compare_segmentations(first: Segmentation, second: Segmentation) -> dict[str, dict[str, float]]:
    """`surfaces.compare_masks` and both volumes (ml) for each name that both have, or else the one's volume.

    Raises InputError where the two do not lie on one grid or a name is there twice.
    """
    if not first.grid.matches(second.grid, tolerance=0.01):
        raise InputError(
            "The two segmentations do not lie on one grid",
            "Resample one onto the grid of the other.",
            code="grids-differ",
        )
    sides = []
    for segmentation in (first, second):
        names = {segment.name: segment for segment in segmentation.segments}
        if len(names) < len(segmentation.segments):
            raise InputError("Two segments have one name", "Name them apart.", code="segment-names")
        sides.append(names)
    voxel_ml = float(np.prod(first.grid.spacing)) / 1000
    found = {}
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        one, other = (
            segmentation.mask(names[name]) if name in names else np.zeros(first.grid.shape, bool)
            for segmentation, names in zip((first, second), sides, strict=True)
        )
        counts = [int(mask.sum()) for mask in (one, other)]
        found[name] = {"volume_ml": voxel_ml * counts[0], "other_volume_ml": voxel_ml * counts[1]}
        if min(counts) > 0:
            found[name] |= compare_masks(one, other, first.grid)
    return found


def _resampled(labels: np.ndarray, own: Grid, transform: sitk.Transform, grid: Grid) -> np.ndarray:
    result = np.zeros(grid.shape, np.int32)
    known = [int(label) for label in np.unique(labels) if label != 0]
    # What lies outside the scan is background.
    rest = warp(Volume((labels != 0).astype(np.float32), own, "segmentation"), transform, grid, 0.0).array
    best = 1 - rest
    for label in known:
        mask = Volume((labels == label).astype(np.float32), own, "segmentation")
        share = rest if len(known) == 1 else warp(mask, transform, grid, 0.0).array
        larger = share > best
        result[larger] = label
        best = np.where(larger, share, best)
    return result


def _inverse(transform: sitk.Transform, fixed: Grid, moving: Grid) -> sitk.Transform:
    """The map from the moving to the fixed scan."""
    if transform.IsLinear():
        return transform.GetInverse()

    def coarse(grid: Grid) -> Grid:
        x, y, z = (max(edge, INVERSE_SPACING_MM) for edge in grid.spacing)
        return grid.resized((x, y, z), (INVERSE_MARGIN,) * 3, (INVERSE_MARGIN,) * 3)

    return DisplacementField.of_transform(transform, coarse(fixed)).inverse(coarse(moving)).to_sitk()


def _judged(
    source: Segmentation, result: Segmentation, transform: sitk.Transform, back: sitk.Transform
) -> Iterator[tuple[PropagatedSegment, float]]:
    """What became of each segment, and the residual in mm of its points; back: by which it was resampled."""
    random = np.random.default_rng(0)
    before_ml, after_ml = (float(np.prod(s.grid.spacing)) / 1000 for s in (source, result))
    for segment, mask in source.masks():
        voxels = np.flatnonzero(mask)
        outside, residual = 0.0, 0.0
        if len(voxels):
            asked = random.choice(voxels, min(ASKED, len(voxels)), replace=False)
            index = np.stack(np.unravel_index(asked, mask.shape), axis=-1)[:, ::-1]
            points = source.grid.to_physical(index)
            if back is transform:
                there = inverse_points(transform, points)[0]
            else:
                there = map_points(transform, points)
                residual = float(np.linalg.norm(map_points(back, there) - points, axis=1).max())
            outside = float(1 - result.grid.contains(there).mean())
        after = int(result.mask(segment).sum())
        slides = SLIDING.search(segment.name) is not None
        yield PropagatedSegment(segment, before_ml * len(voxels), after_ml * after, outside, slides), residual
