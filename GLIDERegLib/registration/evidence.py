"""Step 6, ours, at its end: where the scans do not tell how tissue moved, the field continues what is known
with the least slope.

A match tells of a displacement what both scans show alike: with features f of the fixed scan and m of the
moving one seen through the field, S = sum_c (grad f_c grad m_c^T + grad m_c grad f_c^T) / 2, averaged over a
neighbourhood. Of the energy's curvature, sum_c grad f_c grad f_c^T, this is the part that is structure:
noise of two scans is independent, and its products average to nothing. Along the skin, and within even
organs, S is next to nothing in one direction or in all, and what was found there is chance. The result v of a
found field u minimises

    sum (v - u)^T P (v - u) + slope_weight * sum |grad v|^2

with P = S weighted by how much of each direction's gradients is shared: the normalised convolution of
Knutsson and Westin (CVPR 1993), with a tensor for a certainty as in Nagel and Enkelmann, PAMI 8:565, 1986.
Where brightness steered the registration, its S counts beside MIND's: within an organ it may tell what is
faint and large, of which MIND's patches show noise alone.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from GLIDERegLib.core.geometry import Grid, triple
from GLIDERegLib.registration.direction import Direction
from GLIDERegLib.registration.features.pooled_features import PackedFeatures
from GLIDERegLib.registration.field import DisplacementField
from GLIDERegLib.registration.filters import grown
from GLIDERegLib.registration.folding import without_folds
from GLIDERegLib.registration.sampling import index_grid, sample, sample_axes

# Features nearest to this size tell structure from noise; their products are averaged over cells of twice
# it, then by a Gaussian of this standard deviation.
FEATURE_MM, SMOOTHING_MM = 4.0, 6.0
# Of a direction's gradients the share that both scans have in common at which it counts as it is, how many
# times that at most, and the power by which it counts less or more. In lungs (own phantom, median) the share
# of the weakest direction of MIND is 0.6, in the skin 0.08, in even tissue deep within 0.04. The square
# blurred random_0's lungs.
SHARED, MOST, POWER = 0.45, 2.0, 4
# The same of brightness, whose two channels agree more by chance: of the weakest direction the median of all
# places is 0.3 on the own phantom, whose organs are even, and 0.8 on textured_31, whose organs are not; and
# its weight beside MIND's gradients. Chosen on these and random_0, where 0.3 to 0.9 and 30 to 300 were tried.
BRIGHTNESS_SHARED, BRIGHTNESS_WEIGHT = 0.8, 50.0
ITERATIONS, TOLERANCE = 150, 1e-3
# Measured up to voxels of 5 mm; of 8 mm, cells of 16 mm made a registered pair agree less (`test_api.py`).
COARSEST_MM = 6.0
CHANNELS_AT_A_TIME = 3  # for memory's sake


def continued(
    field: DisplacementField, direction: Direction, slope_weight: float, brightness: Collection[int] = ()
) -> DisplacementField:
    """The field (mm, nodes along the axes of a direction's fixed working grid) continued where the
    direction's local features do not tell it; unchanged without them, and on voxels of more than 6 mm.

    brightness: working voxels per feature voxel of the levels that it steered.
    """
    if slope_weight <= 0 or direction.local_features is None or direction.spacing > COARSEST_MM:
        return field
    fixed, moving = direction.local_features
    factor = min(fixed.packed, key=lambda f: abs(f * direction.spacing - FEATURE_MM))
    pair = fixed.packed[factor], moving.packed[factor]
    shared, own = structure(*pair, field, direction.fixed.grid)
    cells = _cell_grid(direction.fixed.grid, 2 * factor, triple(shared.shape[1:]))
    sigma = SMOOTHING_MM / cells.spacing[0]
    certainty = precision(_smooth(shared, sigma), _smooth(own, sigma))
    if factor in brightness:
        shared, own = structure(*pair, field, direction.fixed.grid, of_brightness=True)
        told = precision(_smooth(shared, sigma), _smooth(own, sigma), BRIGHTNESS_SHARED)
        certainty += BRIGHTNESS_WEIGHT * told
    certainty *= (2 / cells.spacing[0]) ** 2
    axes = field.grid.axes.astype(np.float32)
    found = _read(np.moveaxis(field.vectors @ axes, -1, 0), field.grid, cells)
    change = least_slope(found, certainty, slope_weight / cells.spacing[0] ** 2) - found
    back = np.moveaxis(_read(change.numpy(), cells, field.grid).numpy(), 0, -1)
    vectors = field.vectors + back @ axes.T
    return replace(field, vectors=without_folds(np.ascontiguousarray(vectors), field.grid))


def structure(
    fixed: PackedFeatures,
    moving: PackedFeatures,
    field: DisplacementField,
    grid: Grid,
    of_brightness: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of cells of two feature voxels the mean products of both images' gradients, xx, yy, zz, xy, xz and yz,
    per squared feature voxel: the shared ones S (6, Z, Y, X), and each image's own (2, 6, Z, Y, X).

    grid: the fixed image's working voxels, on which the field (mm) is read. of_brightness: of the further
    channels, normalised intensities, instead of MIND's.
    """
    factor, device = fixed.factor, fixed.data.device
    shape = triple(fixed.data.shape[:3])
    at = _cell_grid(grid, factor, shape)
    u = _read(np.moveaxis(field.vectors @ grid.axes.astype(np.float32), -1, 0), field.grid, at)
    offset = torch.tensor(moving.offset) - torch.tensor(fixed.offset)
    position = (index_grid(shape) + u / at.spacing[0] - offset.view(3, 1, 1, 1)).to(device)
    last = torch.tensor(moving.data.shape[2::-1], device=device).view(3, 1, 1, 1) - 1
    told = [image.usable() & image.known() if of_brightness else image.usable() for image in (fixed, moving)]
    usable = ((position >= 0) & (position <= last)).all(dim=0) & told[0]
    usable &= sample(told[1].float()[None], position)[0] > 0.99
    # A gradient needs its neighbours.
    usable = ~grown(~usable, 1)
    fixed_values, moving_values = (
        image.further() if of_brightness else image.values() for image in (fixed, moving)
    )
    found = []
    for first in range(0, len(fixed_values), CHANNELS_AT_A_TIME):
        part = slice(first, first + CHANNELS_AT_A_TIME)
        here = _gradients(fixed_values[part]).mul_(usable)
        there = _gradients(sample(moving_values[part], position)).mul_(usable)
        pairs = ((here, there), (here, here), (there, there))
        found.append(torch.stack([_products(*pair) for pair in pairs]))
    total = torch.stack(found).sum(dim=0)
    return total[0], total[1:]


# The six entries of a symmetric tensor in the order that they are kept in.
_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


def _products(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Means over cells of two voxels of the symmetric products of gradients (3, C, Z, Y, X): (6, z, y, x)."""
    products = [((first[i] * second[j]).sum(0) + (first[j] * second[i]).sum(0)) / 2 for i, j in _PAIRS]
    return F.avg_pool3d(torch.stack(products)[None], 2, ceil_mode=True)[0].cpu()


def _gradients(values: torch.Tensor) -> torch.Tensor:
    """Central differences of (C, Z, Y, X) along x, y, z, (3, C, Z, Y, X); zero at the faces."""
    found = values.new_zeros((3, *values.shape))
    for component, axis in enumerate((3, 2, 1)):
        inner = values.shape[axis] - 2
        if inner > 0:
            difference = values.narrow(axis, 2, inner) - values.narrow(axis, 0, inner)
            found[component].narrow(axis, 1, inner).copy_(difference / 2)
    return found


def precision(shared: torch.Tensor, own: torch.Tensor, whole: float = SHARED) -> torch.Tensor:
    """P (6, Z, Y, X): the shared structure, its eigenvalues not negative and weighted by a power of the share
    that they are of both images' own structure in their directions. whole: the share that counts as it is.
    """
    values, vectors = torch.linalg.eigh(_matrices(shared))
    values = values.clamp(min=0)
    along = [torch.einsum("nij,nik,nkj->nj", vectors, _matrices(o), vectors).clamp(min=0) for o in own]
    share = values / (along[0] * along[1]).sqrt().clamp(min=1e-12)
    values = values * (share / whole).clamp(max=MOST) ** POWER
    matrices = (vectors * values[:, None]) @ vectors.transpose(1, 2)
    return torch.stack([matrices[:, i, j].view(shared.shape[1:]) for i, j in _PAIRS])


def _matrices(tensor: torch.Tensor) -> torch.Tensor:
    """(6, Z, Y, X) as matrices (N, 3, 3)."""
    xx, yy, zz, xy, xz, yz = tensor.flatten(1)
    return torch.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], dim=1).view(-1, 3, 3)


def least_slope(found: torch.Tensor, certainty: torch.Tensor, weight: float) -> torch.Tensor:
    """v (3, Z, Y, X) that minimises the sum of (v - u)^T P (v - u) and weight * squared first differences, by
    conjugate gradients from u on.

    found: u (3, Z, Y, X). certainty: P (6, Z, Y, X).
    """

    def pulled(field: torch.Tensor) -> torch.Tensor:
        (x, y, z), (xx, yy, zz, xy, xz, yz) = field, certainty
        return torch.stack([xx * x + xy * y + xz * z, xy * x + yy * y + yz * z, xz * x + yz * y + zz * z])

    def gradient(field: torch.Tensor) -> torch.Tensor:
        total = pulled(field)
        for axis in (1, 2, 3):
            difference = weight * field.diff(dim=axis)
            total.narrow(axis, 1, difference.shape[axis]).add_(difference)
            total.narrow(axis, 0, difference.shape[axis]).sub_(difference)
        return total

    # Each cell's own part of the quadratic form where no face is near, inverted.
    inverse = torch.linalg.inv(_matrices(certainty) + 6 * weight * torch.eye(3))

    def scaled_by(field: torch.Tensor) -> torch.Tensor:
        return torch.einsum("nij,jn->in", inverse, field.flatten(1)).view_as(field)

    solution = found.clone()
    residual = pulled(found) - gradient(solution)
    step = scaled_by(residual)
    norm = first = (residual * step).sum()
    for _ in range(ITERATIONS):
        if norm <= TOLERANCE**2 * first or norm <= 0:
            break
        curved = gradient(step)
        length = norm / (step * curved).sum()
        solution += length * step
        residual -= length * curved
        scaled = scaled_by(residual)
        previous, norm = norm, (residual * scaled).sum()
        step = scaled + norm / previous * step
    return solution


def _smooth(tensors: torch.Tensor, sigma: float) -> torch.Tensor:
    sigmas = [0.0] * (tensors.dim() - 3) + [sigma] * 3
    return torch.from_numpy(ndimage.gaussian_filter(tensors.numpy(), sigmas, mode="constant"))


def _cell_grid(grid: Grid, factor: int, shape: tuple[int, int, int]) -> Grid:
    """The centres of cells of `factor` voxels."""
    origin = grid.to_physical(np.full(3, (factor - 1) / 2))
    return Grid.of(shape[::-1], np.multiply(grid.spacing, factor), origin, grid.direction)


def _read(values: np.ndarray, grid: Grid, at: Grid) -> torch.Tensor:
    """Values (3, Z, Y, X) of one grid at the nodes of another of the same axes; constant beyond its faces."""
    first = grid.to_index(at.to_physical(np.zeros(3)))
    step = at.spacing[0] / grid.spacing[0]
    axes = [
        torch.arange(n, dtype=torch.float32) * step + float(o)
        for n, o in zip(at.shape, first[::-1], strict=True)
    ]
    return sample_axes(torch.from_numpy(np.ascontiguousarray(values, np.float32)), axes)
