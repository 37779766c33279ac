"""Transforms that tests of files and of points share, and points inside the grid of their field."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.geometry import Grid

TURN = tuple(sitk.VersorTransform((0.2, 0.1, 1.0), 0.4).GetMatrix())
GRID = Grid((31, 31, 31), (4.0, 4.0, 4.0), (-50.0, -60.0, -70.0), TURN)


def field_transform(displacement, grid=GRID):
    """displacement: function of LPS points (..., 3) to mm (..., 3)."""
    image = sitk.GetImageFromArray(displacement(grid.points()), isVector=True)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    return sitk.DisplacementFieldTransform(image)


def waves(points):
    return 5.0 * np.stack([np.sin(points[..., (n + 1) % 3] / 15.0) for n in range(3)], axis=-1)


def an_affine(shift=(30.0, -20.0, 10.0), matrix=(1.1, 0.1, 0.0, -0.1, 0.9, 0.05, 0.0, 0.1, 1.0)):
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(matrix)
    affine.SetTranslation(shift)
    return affine


def inner_points(number=40, margin=0.25, seed=0):
    share = np.random.default_rng(seed).uniform(margin, 1 - margin, (number, 3))
    return GRID.to_physical(share * (np.asarray(GRID.size) - 1))
