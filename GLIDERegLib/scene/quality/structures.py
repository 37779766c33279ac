"""Structures that a reader or a program has drawn: which points lie inside a segment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from GLIDERegLib.scene.mrml.geometry import lattice, mapPoints
from GLIDERegLib.scene.registration.checks import LABELMAP

# Points of a structure's box along each axis, whose other scan's places tell where the box ends up there.
BOX_POINTS = 6
DICE_POINTS = 500_000


@dataclass(frozen=True)
class Structure:
    """One segment. voxels: bool (k, j, i). toWorld: from their index (i, j, k) to the points it is asked
    about.
    """

    name: str
    voxels: np.ndarray
    toWorld: vtk.vtkAbstractTransform

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Whether points (N, 3) lie in a voxel of the structure: bool (N,)."""
        index = np.rint(mapPoints(self.toWorld.GetInverse(), points)).astype(int)
        inside = np.all((index >= 0) & (index < self.voxels.shape[::-1]), axis=1)
        i, j, k = index[inside].T
        inside[inside] = self.voxels[k, j, i]
        return inside

    def box(self) -> np.ndarray:
        """Points (N, 3) that fill the box around the structure."""
        found = np.nonzero(self.voxels)
        low, high = ([f(axis) for axis in found[::-1]] for f in (np.min, np.max))
        return mapPoints(self.toWorld, lattice(np.subtract(low, 0.5), np.add(high, 0.5), BOX_POINTS))

    def spacing(self) -> float:
        """mm of the shortest voxel edge."""
        corner = mapPoints(self.toWorld, np.concatenate([np.zeros((1, 3)), np.eye(3)]))
        return float(np.linalg.norm(corner[1:] - corner[0], axis=1).min())


def structures(
    segmentation: slicer.vtkMRMLSegmentationNode, placement: vtk.vtkAbstractTransform
) -> dict[str, Structure]:
    """The segments that are not empty, by their ID; the node is not changed.

    placement: from the segmentation's own coordinates (RAS mm) to the points it will be asked about.
    """
    source = segmentation.GetSegmentation()
    if not source.ContainsRepresentation(LABELMAP):
        source = slicer.vtkSegmentation()
        source.DeepCopy(segmentation.GetSegmentation())
        source.CreateRepresentation(LABELMAP)
    found = {}
    for number in range(source.GetNumberOfSegments()):
        segment = source.GetNthSegment(number)
        image = segment.GetRepresentation(LABELMAP)
        if image is None or image.GetNumberOfPoints() == 0:
            continue
        labels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
        voxels = labels == segment.GetLabelValue()
        if voxels.any():
            found[source.GetNthSegmentID(number)] = Structure(
                segment.GetName(), voxels, _fromArray(image, placement)
            )
    return found


def dice(fixed: Structure, moving: Structure, toMoving, toFixed) -> tuple[float, float]:
    """Dice overlap 2 |A and B| / (|A| + |B|) of a fixed structure and a moving one seen from the fixed
    scan, and the spacing in mm of the points that were counted.

    toMoving: the map from fixed to moving points; toFixed: its inverse, which only has to be about right.
    """
    box = np.concatenate([fixed.box(), mapPoints(toFixed, moving.box())])
    low, high = box.min(axis=0), box.max(axis=0)
    size = np.maximum(high - low, 1e-3)
    spacing = max(fixed.spacing(), float((np.prod(size) / DICE_POINTS) ** (1 / 3)))
    # Beyond the box's own faces, in case the warped structure bulges between the points that were mapped.
    axes = [np.arange(a - 2.5 * spacing, b + 2.5 * spacing, spacing) for a, b in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    one, other = fixed.contains(points), moving.contains(mapPoints(toMoving, points))
    return float(2 * np.sum(one & other) / max(1, one.sum() + other.sum())), spacing


def _fromArray(
    image: slicer.vtkOrientedImageData, placement: vtk.vtkAbstractTransform
) -> vtk.vtkGeneralTransform:
    """From the index of the image's array to where the placement puts it."""
    matrix, first = vtk.vtkMatrix4x4(), image.GetExtent()[::2]
    image.GetImageToWorldMatrix(matrix)
    result = vtk.vtkGeneralTransform()
    result.PostMultiply()
    result.Translate(*map(float, first))
    result.Concatenate(matrix)
    result.Concatenate(placement)
    return result
