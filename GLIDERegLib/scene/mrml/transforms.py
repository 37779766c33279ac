"""A transform that is not linear as a linear part and a displacement grid.

Every ITK program reads that pair, and it is quick where the transform itself may be an inverse that has to be
searched for at each point.
"""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from GLIDERegLib.scene.mrml.geometry import affineFit, mapPoints

# The grid gets finer until it meets the transform this well, or has as many nodes as memory and time allow.
NODE_DISTANCES, LARGEST_ERROR, MOST_NODES, PROBES = (8.0, 4.0, 2.0, 1.0), 0.02, 3e6, 2000


def sampledTransform(transform: vtk.vtkAbstractTransform, landing: np.ndarray) -> vtk.vtkGeneralTransform:
    """The transform as a linear one and then a displacement grid over the region where points land.

    landing: points (N, 3) spread evenly over that region, in its own units (mm or voxels), in which the
    result errs by at most 0.02 where `MOST_NODES` suffice. Beyond the grid, ITK goes on with the linear part.
    """
    start = mapPoints(transform.GetInverse(), landing)
    linear = vtk.vtkTransform()
    linear.SetMatrix(affineFit(start, landing).ravel())
    rest = vtk.vtkGeneralTransform()
    rest.PostMultiply()
    rest.Concatenate(linear.GetInverse())
    rest.Concatenate(transform)

    reached = np.concatenate([landing, mapPoints(linear, start)])
    low, high = reached.min(axis=0), reached.max(axis=0)
    probes = np.random.default_rng(0).uniform(low, high, (PROBES, 3))
    wanted = mapPoints(rest, probes)
    finest = float((np.prod(high - low) / MOST_NODES) ** (1 / 3))
    for distance in NODE_DISTANCES:
        grid = _displacementGrid(rest, low, high, max(distance, finest))
        error = np.linalg.norm(mapPoints(grid, probes) - wanted, axis=1).max()
        if error <= LARGEST_ERROR or distance <= finest:
            break
    both = vtk.vtkGeneralTransform()
    both.PostMultiply()
    both.Concatenate(linear)
    both.Concatenate(grid)
    return both


def _displacementGrid(
    transform: vtk.vtkAbstractTransform, low: np.ndarray, high: np.ndarray, distance: float
) -> slicer.vtkOrientedGridTransform:
    """The transform sampled over a box at nodes `distance` apart, one node beyond each face."""
    nodes = np.ceil((high - low) / distance).astype(int) + 3
    sampler = vtk.vtkTransformToGrid()
    sampler.SetInput(transform)
    sampler.SetGridOrigin(low - distance)
    sampler.SetGridSpacing(distance, distance, distance)
    sampler.SetGridExtent([bound for n in nodes.tolist() for bound in (0, n - 1)])
    sampler.Update()
    grid = slicer.vtkOrientedGridTransform()
    # ITK interpolates linearly; so must this one for the error to be known.
    grid.SetInterpolationModeToLinear()
    grid.SetDisplacementGridData(sampler.GetOutput())
    return grid
