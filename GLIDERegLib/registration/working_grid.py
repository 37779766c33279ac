"""Step 1: both images on one isotropic working grid in the fixed image's axes.

The moving image, resampled through the initial transform, gets a grid of its own on the same points in
space: it covers the fixed image and a margin around it where the moving scan has data, so that content from
beyond the fixed image's faces can be reached.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from GLIDERegLib.core.body import body_mask
from GLIDERegLib.core.ct import AIR_HU, MAXIMUM_HU, OUTSIDE_FIELD_OF_VIEW_HU, in_hounsfield, is_ct
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid, Volume, triple


@dataclass(frozen=True)
class Prepared:
    """One image on the working grid.

    array: (z, y, x) float32, clipped intensities. valid: bool, where the scanner measured. weight: bool,
    where similarity counts. grid: its voxels in the fixed image's space. offset: this grid's first voxel in
    voxels (x, y, z) of the fixed working grid. masked: whether `weight` is a mask that the user gave.
    """

    array: np.ndarray
    valid: np.ndarray
    weight: np.ndarray
    grid: Grid
    offset: tuple[int, int, int] = (0, 0, 0)
    masked: bool = False


def working_spacing(fixed: Grid, spacing: float | None, finest: float, most_voxels: float) -> float:
    """Working spacing in mm: as asked for, else the fixed image's finest, not finer than `finest` nor than
    memory allows.
    """
    if spacing is not None:
        return float(spacing)
    natural = max(min(fixed.spacing), finest)
    coarsest = (float(np.prod(fixed.extent)) / most_voxels) ** (1 / 3)
    return round(max(natural, coarsest), 4)


def prepare_pair(
    fixed: Volume,
    moving: Volume,
    initial: sitk.Transform,
    spacing: float,
    margin_mm: float,
    multiple: int,
    fixed_mask: np.ndarray | None = None,
    moving_mask: np.ndarray | None = None,
) -> tuple[Prepared, Prepared]:
    """Resamples both images to `spacing` (mm); the grids start a multiple of `multiple` voxels apart.

    initial maps fixed points to moving points (LPS mm). Masks are arrays on their own image's grid.
    Raises InputError where the images do not overlap.
    """
    fixed_grid = fixed.grid.upright().resized((spacing,) * 3)
    moving_grid, offset = _moving_grid(fixed_grid, moving.grid, initial, margin_mm, multiple)
    prepared_fixed = prepare_alone(fixed, fixed_grid, fixed_mask, "fixed")
    prepared_moving = _prepare(moving, moving_grid, initial, moving_mask, offset, "moving")
    inner = [slice(max(-o, 0), max(n - o, 0)) for o, n in zip(offset, fixed_grid.size, strict=True)][::-1]
    if not prepared_moving.valid[tuple(inner)].any():
        raise _no_overlap()
    return prepared_fixed, prepared_moving


def _no_overlap() -> InputError:
    return InputError(
        "The fixed and the moving image do not overlap",
        "Align them first, by their centres for instance, or check the files.",
        code="no-overlap",
    )


def prepare_alone(volume: Volume, grid: Grid, mask: np.ndarray | None, role: str) -> Prepared:
    """One image resampled to `grid`, without any transform; mask: bool (z, y, x) on the image's own grid."""
    return _prepare(volume, grid, sitk.Transform(3, sitk.sitkIdentity), mask, (0, 0, 0), role)


def _moving_grid(
    fixed: Grid, moving: Grid, initial: sitk.Transform, margin_mm: float, multiple: int
) -> tuple[Grid, tuple[int, int, int]]:
    """The part of the fixed grid, continued by `margin_mm`, onto which the moving image falls; and its first
    voxel in voxels of the fixed grid, multiples of `multiple`.
    """
    spacing = fixed.spacing[0]
    margin = int(np.ceil(margin_mm / spacing / multiple)) * multiple
    step = max(1, int(np.ceil(8.0 / spacing)))
    count = [-(-(n + 2 * margin - 1) // step) + 1 for n in fixed.size]
    start = fixed.to_physical(np.full(3, -margin))
    blocks = Grid.of(count, (step * spacing,) * 3, start, fixed.direction)
    moved = sitk.TransformToDisplacementField(
        initial, sitk.sitkVectorFloat64, blocks.size, blocks.origin, blocks.spacing, blocks.direction
    )
    mapped = (blocks.points() + sitk.GetArrayFromImage(moved)).reshape(-1, 3)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in blocks.shape], indexing="ij"), axis=-1)
    index = index.reshape(-1, 3)[:, ::-1] * step - margin
    # The diagonal of the sampled blocks: nothing of the moving scan, however thin, may fall between the
    # samples.
    reach = 0.5 + np.sqrt(3) * step * spacing / np.asarray(moving.spacing)
    at = moving.to_index(mapped)
    near = np.all((at >= -reach) & (at <= np.asarray(moving.size) - 1 + reach), axis=1)
    if not near.any():
        raise _no_overlap()
    low = np.floor(index[near].min(axis=0) / multiple).astype(int) * multiple
    high = np.minimum(index[near].max(axis=0), np.asarray(fixed.size) + margin - 1)
    size = high - low + 1
    origin = fixed.to_physical(low)
    return Grid.of(size, fixed.spacing, origin, fixed.direction), triple(low)


def _prepare(
    volume: Volume,
    grid: Grid,
    transform: sitk.Transform,
    mask: np.ndarray | None,
    offset: tuple[int, int, int],
    role: str,
) -> Prepared:
    """One image resampled to `grid` through `transform` (LPS mm, grid to image), clipped to what tissue has.

    mask: on the image's own grid. offset: of `grid` in voxels (x, y, z) of the fixed one. role: fixed or
    moving, for messages. Raises InputError for a mask that does not fit, and where the grid meets nothing of
    the image.
    """
    volume = in_hounsfield(volume)
    array = np.asarray(volume.array, dtype=np.float32)
    ct = is_ct(volume)
    measured = array > OUTSIDE_FIELD_OF_VIEW_HU if ct else np.ones(array.shape, bool)
    low, high = (AIR_HU, MAXIMUM_HU) if ct else np.percentile(array, [0.1, 99.9]).tolist()
    if not high > low:
        low, high = float(array.min()), float(array.max())
    image = to_image(np.clip(array, low, high), volume.grid)
    # Cubic interpolation keeps the structures between thick slices; a much coarser grid cannot show them
    # anyway.
    fine = grid.spacing[0] < 2 * max(volume.grid.spacing)
    interpolator = sitk.sitkBSpline3 if fine else sitk.sitkLinear
    resampled = _resample(_antialias(image, grid.spacing[0]), grid, transform, interpolator, float(low))
    valid = _resample_mask(measured, volume.grid, grid, transform)
    if not valid.any():
        raise _no_overlap()
    result = np.clip(sitk.GetArrayFromImage(resampled), np.float32(low), np.float32(high))
    if mask is None:
        weight = valid & body_mask(result, valid, grid.spacing[0], ct)
    else:
        if mask.shape != volume.grid.shape:
            raise InputError(
                f"The {role} mask and the {role} image differ in size.",
                "Draw it on that image.",
                code="mask",
            )
        weight = valid & _resample_mask(mask, volume.grid, grid, transform)
        if not weight.any():
            raise InputError(
                f"The {role} mask covers nothing where the two images overlap.",
                "Check the mask.",
                code="mask",
            )
    return Prepared(result, valid, weight, grid, offset, mask is not None)


def _resample_mask(mask: np.ndarray, source: Grid, target: Grid, transform: sitk.Transform) -> np.ndarray:
    image = to_image((mask > 0).astype(np.uint8), source)
    return sitk.GetArrayFromImage(_resample(image, target, transform, sitk.sitkNearestNeighbor, 0)) > 0


def _resample(
    image: sitk.Image, grid: Grid, transform: sitk.Transform, interpolator: int, fill: float
) -> sitk.Image:
    here = Grid(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    if transform.GetName() == "Transform":
        if here.matches(grid):
            return image
        # Where voxel falls on voxel there is nothing to interpolate.
        first_and_steps = here.to_index(grid.to_physical(np.vstack([np.zeros(3), np.eye(3)])))
        if np.abs(first_and_steps - np.rint(first_and_steps)).max() < 1e-3 / max(grid.size):
            interpolator = sitk.sitkNearestNeighbor
    return sitk.Resample(
        image,
        grid.size,
        transform,
        interpolator,
        grid.origin,
        grid.spacing,
        grid.direction,
        fill,
        image.GetPixelID(),
    )


def _antialias(image: sitk.Image, spacing: float) -> sitk.Image:
    """Gaussian smoothing along the axes that the working grid samples more coarsely than the image did."""
    sigma = [0.5 * np.sqrt(max((spacing / s) ** 2 - 1, 0)) * s for s in image.GetSpacing()]
    variance = [v**2 if v > 0.25 * s else 0.0 for v, s in zip(sigma, image.GetSpacing(), strict=True)]
    if not any(variance):
        return image
    return sitk.DiscreteGaussian(image, variance, maximumKernelWidth=32, useImageSpacing=True)


def usable_voxels(image: Prepared, is_fixed: bool, reach: int) -> np.ndarray:
    """Where similarity is measured: inside the mask (the fixed image's: inside the body), `reach` voxels off
    the scan's border.

    Nearer to the border a descriptor sees values that the scanner never measured. Scans too thin for that
    keep all.
    """
    from scipy import ndimage

    allowed = image.weight if is_fixed or image.masked else image.valid
    # Most scans were measured everywhere, and an erosion takes longer than all else here.
    if image.valid.all():
        inner = np.zeros_like(image.valid)
        inner[(slice(reach, -reach),) * 3] = True
    else:
        inner = ndimage.binary_erosion(image.valid, iterations=reach)
    usable = allowed & inner
    return usable if usable.sum() > 0.25 * allowed.sum() else allowed


def to_image(array: np.ndarray, grid: Grid) -> sitk.Image:
    """A SimpleITK image of an array (z, y, x) on a grid."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    return image
