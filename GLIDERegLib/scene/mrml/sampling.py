"""Samples of a volume about 4 mm apart, on its own geometry: quick to work on, and fine enough to look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import slicer
import slicer.util
import vtk

from GLIDERegLib.core.body import Body
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.scene.mrml.geometry import (
    applyMatrix,
    gridFromMatrix,
    mapPoints,
    pointsToLps,
    volumeToWorld,
)

# Choices: as the report samples; a check in Slicer's own process must not take longer than seconds.
SPACING_MM = 4.0
MOST_SAMPLES = 2_000_000


@dataclass(frozen=True)
class Sampling:
    """Samples that divide the box of a volume's voxels evenly. size: samples along i, j, k; arrays of samples
    are (k, j, i).
    """

    volume: slicer.vtkMRMLScalarVolumeNode
    size: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.size[::-1]

    @cached_property
    def toIndex(self) -> np.ndarray:
        """4 x 4 matrix from sample index (i, j, k) to voxel index of the volume."""
        step = np.asarray(self.volume.GetImageData().GetDimensions()) / self.size
        matrix = np.diag([*step, 1.0])
        matrix[:3, 3] = (step - 1) / 2
        return matrix

    @cached_property
    def toRas(self) -> np.ndarray:
        """4 x 4 matrix from sample index (i, j, k) to the volume's own RAS mm, without parent transforms."""
        matrix = vtk.vtkMatrix4x4()
        self.volume.GetIJKToRASMatrix(matrix)
        return slicer.util.arrayFromVTKMatrix(matrix) @ self.toIndex

    @property
    def spacing(self) -> np.ndarray:
        """mm between samples along i, j, k."""
        return np.linalg.norm(self.toRas[:3, :3], axis=0)

    def index(self) -> np.ndarray:
        """Voxel index (N, 3), in (i, j, k) order, of the samples in the order of their ravelled array."""
        k, j, i = np.indices(self.shape, dtype=float)
        return applyMatrix(self.toIndex, np.stack([i, j, k], axis=-1).reshape(-1, 3))

    def points(self) -> np.ndarray:
        """World RAS mm (N, 3) of the samples, parent transforms of the volume included."""
        return mapPoints(volumeToWorld(self.volume), self.index())


def sampling(volume: slicer.vtkMRMLScalarVolumeNode) -> Sampling:
    """Samples about 4 mm apart; as far apart as the voxels where those are coarser, and further where there
    would be more than two million.
    """
    voxels = np.asarray(volume.GetImageData().GetDimensions())
    extent = voxels * volume.GetSpacing()
    distance = max(SPACING_MM, float((np.prod(extent) / MOST_SAMPLES) ** (1 / 3)))
    size = np.clip(np.floor(extent / distance + 1e-6).astype(int), 1, voxels)
    return Sampling(volume, tuple(size.tolist()))


def valuesAt(volume: slicer.vtkMRMLScalarVolumeNode, index: np.ndarray, fill: float) -> np.ndarray:
    """The volume at voxel positions (N, 3), in (i, j, k) order, linear between voxels: float32 (N,).

    Positions more than half a voxel outside have the value `fill`.
    """
    from scipy import ndimage

    array = slicer.util.arrayFromVolume(volume)
    position = index[:, ::-1].T
    values = ndimage.map_coordinates(array, position, output=np.float32, order=1, mode="nearest")
    size = np.reshape(array.shape, (3, 1))
    values[np.any((position < -0.5) | (position > size - 0.5), axis=0)] = fill
    return values


def bodyOf(samples: Sampling) -> np.ndarray:
    """Which samples (k, j, i) lie in the body, bool of that shape: the body that the report counts in too."""
    volume = samples.volume
    ijkToRas = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(ijkToRas)
    grid = gridFromMatrix(slicer.util.arrayFromVTKMatrix(ijkToRas), volume.GetImageData().GetDimensions())
    body = Body(Volume(slicer.util.arrayFromVolume(volume), Grid(**{k: tuple(v) for k, v in grid.items()})))
    k, j, i = np.indices(samples.shape, dtype=float)
    points = applyMatrix(samples.toRas, np.stack([i, j, k], axis=-1))
    return body.at(pointsToLps(points))


@contextmanager
def quietVtk() -> Iterator[None]:
    """Without VTK's warnings, of which an inverse that does not exist makes one for each point."""
    before = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.SetGlobalWarningDisplay(0)
    try:
        yield
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(before)
