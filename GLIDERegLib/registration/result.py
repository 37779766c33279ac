"""Step 7: the result. From control points to a displacement field in mm with the pre-alignment in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk
import torch

from GLIDERegLib.core.geometry import Grid, Volume, apply_affine
from GLIDERegLib.registration.features.intensity import Use
from GLIDERegLib.registration.field import DisplacementField
from GLIDERegLib.registration.folding import without_folds
from GLIDERegLib.registration.prealign import linear_parts
from GLIDERegLib.registration.working_grid import Prepared

# Distance of a preview's nodes: enough for the eye, and quick to hand over.
PREVIEW_MM = 6.0


@dataclass
class Outcome:
    """What a registration gives. displacement: fixed to moving points, all parts included. initial: the
    pre-alignment. spacing: of the working voxels, mm. stopped_early: the user wanted the result before its
    time. intensities: what each direction did with them; empty where they were not asked for. uncertainty: of
    the position, see `uncertainty.position_uncertainty`; None where it is not known.
    """

    displacement: DisplacementField
    initial: sitk.Transform
    spacing: float
    warnings: list[str]
    stopped_early: bool
    intensities: tuple[Use, ...] = ()
    uncertainty: Volume | None = None


def field_at_nodes(
    nodes: torch.Tensor, fixed: Prepared, spacing: int, finest_mm: float = 0.0
) -> DisplacementField:
    """A field (3, Z, Y, X) in voxels at the nodes of a control grid, `spacing` voxels apart, as physical
    vectors in mm at every node, or at so few that they stand `finest_mm` apart.
    """
    voxel = fixed.grid.spacing[0]
    every = max(1, round(finest_mm / (voxel * spacing)))
    nodes = nodes[:, ::every, ::every, ::every]
    # Nodes stand in the middle of blocks of voxels, the first one a block before the image.
    grid = fixed.grid.resized((voxel * spacing * every,) * 3)
    origin = fixed.grid.to_physical(np.full(3, (spacing - 1) / 2 - spacing))
    grid = Grid.of(nodes.shape[:0:-1], grid.spacing, origin, grid.direction)
    vectors = nodes.permute(1, 2, 3, 0).cpu().numpy() * voxel @ fixed.grid.axes.T.astype(np.float32)
    return DisplacementField(np.ascontiguousarray(vectors), grid)


def averaged(forward: DisplacementField, backward: DisplacementField) -> DisplacementField:
    """The mean of a field and the inverse of that of the other direction, without folds, on the former's
    nodes.
    """
    inverse = backward.inverse(forward.grid)
    vectors = 0.5 * (forward.vectors + inverse.vectors)
    return replace(forward, vectors=without_folds(vectors, forward.grid))


def initial_alone(grid: Grid, initial: sitk.Transform) -> DisplacementField:
    """The initial transform alone, as a field for a preview over a grid."""
    grid = grid.resized((PREVIEW_MM,) * 3, (1,) * 3, (1,) * 3)
    return with_initial(DisplacementField(np.zeros((*grid.shape, 3), np.float32), grid), initial)


def with_initial(field: DisplacementField, initial: sitk.Transform) -> DisplacementField:
    """The residual field followed by the initial transform; beyond the field only the latter acts."""
    if not initial.IsLinear():
        both = sitk.CompositeTransform([initial, field.to_sitk()])
        return DisplacementField.of_transform(both, field.grid)
    background = np.eye(4)
    background[:3, :3], background[:3, 3] = linear_parts(initial)
    points = field.grid.points()
    vectors = apply_affine(background, points + field.vectors) - points
    return DisplacementField(vectors.astype(np.float32), field.grid, background)
