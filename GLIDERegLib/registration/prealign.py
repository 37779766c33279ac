"""Before step 1, the pre-alignment: a translation, rigid or affine start for scans that lie apart."""

from __future__ import annotations

import dataclasses

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from GLIDERegLib.core.ct import OUTSIDE_FIELD_OF_VIEW_HU, is_ct
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.registration.working_grid import Prepared, prepare_alone, to_image

MODES = ("none", "center", "rigid", "affine")
# Choices, looked at on one phantom with breath, shifted by 57 mm and turned by 11 degrees: at 4, 5 and 8 mm
# the landmarks are left 3.4, 4.3 and 4.4 mm off, in 7.2, 4.2 and 0.9 s, all well within the search; 30 to 240
# iterations, and an overlap of 0.1 to 0.6, end within 0.3 mm of one another.
SPACING_MM = 5.0
REQUIRED_OVERLAP = 0.3
ITERATIONS = 120
# The border of an organ tells more than its inside: 10 mm of what is around a mask are seen too.
MASK_MARGIN_VOXELS = 2
# Every fourth voxel along a diagonal is measured at: a quarter of the time, the same in every run.
EVERY = 4
LEAST_SAMPLES = 10_000  # of which 32 x 32 bins get about ten each
NOT_MEASURED_HU = -2048.0
# A rigid transform fitted to a breath moves the body by less on average (own phantoms of 15 to 25 mm, 5.9 to
# 7.5 mm; textured and random ones of 20 and 30 mm, 2.6 to 3.3).
BREATH_MM = 10.0


def prealign(
    fixed: Volume,
    moving: Volume,
    mode: str,
    fixed_mask: np.ndarray | None = None,
    moving_mask: np.ndarray | None = None,
) -> sitk.Transform:
    """Transform from fixed points to moving points (LPS mm): identity, a translation, or an affine transform.

    `center` moves the centre of one image onto the other's. `rigid` and `affine` start from the best of: as
    they lie, centre on centre, and the best translation of all by masked correlation; then they maximise
    Mattes mutual information. Masks, bool (z, y, x) on their own scan's grid, count with a margin of 10 mm:
    the border of an organ tells more than its inside. Scans of one grid were made in one session, or aligned
    before: without masks `rigid` leaves them as they lie where it would move the body by no more than a
    breath seems to, or else the spine would go half-way with the lungs. The same scans give the same bits.
    """
    if mode == "none":
        return sitk.Transform(3, sitk.sitkIdentity)
    center = _translation(moving.grid.center - fixed.grid.center)
    if mode == "center":
        return center
    coarse_fixed = _coarse(fixed, fixed_mask, "fixed")
    coarse_moving = _coarse(moving, moving_mask, "moving")
    images = [to_image(p.array, p.grid) for p in (coarse_fixed, coarse_moving)]
    masks = [to_image(p.weight.astype(np.uint8), p.grid) for p in (coarse_fixed, coarse_moving)]
    candidates = [_translation(np.zeros(3)), center, _best_translation(images, masks)]
    scores = [_mutual_information(images, masks, candidate) for candidate in candidates]
    best = candidates[int(np.argmin(scores))]
    result, score = best, min(scores)
    for model in ("rigid", "affine")[: MODES.index(mode) - 1]:
        candidate = _optimise(images, masks, result, model, coarse_fixed)
        candidate_score = _mutual_information(images, masks, candidate)
        if candidate_score < score:
            result, score = candidate, candidate_score
    of_one_grid = fixed_mask is None and moving_mask is None
    of_one_grid &= fixed.grid.upright().matches(moving.grid.upright())
    if mode == "rigid" and of_one_grid and _mean_movement(result, coarse_fixed) < BREATH_MM:
        return candidates[0]
    return result


def _mean_movement(transform: sitk.Transform, fixed: Prepared) -> float:
    """How far a linear transform moves the fixed body, mm: the mean over its coarse voxels."""
    matrix, offset = linear_parts(transform)
    points = fixed.grid.to_physical(np.argwhere(fixed.weight)[:, ::-1])
    return float(np.linalg.norm(points @ (matrix - np.eye(3)).T + offset, axis=1).mean())


def _coarse(volume: Volume, mask: np.ndarray | None, role: str) -> Prepared:
    if mask is None:
        return prepare_alone(_shrunk(volume), _upright(volume.grid), None, role)
    prepared = prepare_alone(volume, _upright(volume.grid), mask, role)
    weight = ndimage.binary_dilation(prepared.weight, iterations=MASK_MARGIN_VOXELS) & prepared.valid
    return dataclasses.replace(prepared, weight=weight)


def _shrunk(volume: Volume) -> Volume:
    """The means of blocks of voxels up to the coarse spacing: far quicker to make than a smoothed image."""
    sizes = zip(volume.grid.spacing, volume.grid.size, strict=True)
    factors = [max(1, min(int(SPACING_MM / spacing), count)) for spacing, count in sizes]
    if max(factors) == 1:
        return volume
    image = to_image(np.asarray(volume.array, np.float32), volume.grid)
    means = sitk.BinShrink(image, factors)
    array = sitk.GetArrayFromImage(means)
    if is_ct(volume):
        # What was not measured must not be averaged with what was.
        missing = to_image((volume.array <= OUTSIDE_FIELD_OF_VIEW_HU).astype(np.float32), volume.grid)
        array[sitk.GetArrayFromImage(sitk.BinShrink(missing, factors)) > 0] = NOT_MEASURED_HU
    grid = Grid(means.GetSize(), means.GetSpacing(), means.GetOrigin(), means.GetDirection())
    return Volume(array, grid, volume.name)


def _upright(grid: Grid) -> Grid:
    """A coarse grid along the LPS axes over the whole of `grid`: correlation needs common axes."""
    corners = grid.corners()
    box = corners.max(axis=0) - corners.min(axis=0)
    size = np.maximum(np.ceil(box / SPACING_MM - 1e-6).astype(int), 1)
    origin = grid.center - (size - 1) / 2 * SPACING_MM
    return Grid.of(size, (SPACING_MM,) * 3, origin)


def _best_translation(images: list[sitk.Image], masks: list[sitk.Image]) -> sitk.Transform:
    """The translation of highest masked normalised correlation over all shifts with enough overlap (Padfield,
    2012).
    """
    sizes = np.array([image.GetSize() for image in images])
    factors = [2 if n > 1 else 1 for n in sizes.min(axis=0)]
    images = [sitk.BinShrink(image, factors) for image in images]
    masks = [sitk.BinShrink(sitk.Cast(mask, sitk.sitkFloat32), factors) > 0.5 for mask in masks]
    masks = [sitk.Cast(mask, sitk.sitkFloat32) for mask in masks]
    for image in (*images, *masks):
        image.SetDirection(np.eye(3).ravel())
    anchor = [np.asarray(image.GetOrigin()) for image in images]
    for image in (*images, *masks):
        image.SetOrigin((0.0, 0.0, 0.0))
    smaller = min(int(np.count_nonzero(sitk.GetArrayViewFromImage(m))) for m in masks)
    correlation = sitk.MaskedFFTNormalizedCorrelation(
        images[0], images[1], masks[0], masks[1], int(REQUIRED_OVERLAP * smaller), 0.0
    )
    values = sitk.GetArrayViewFromImage(correlation)
    peak = np.array(np.unravel_index(int(values.argmax()), values.shape))[::-1]
    # Entry p of the full correlation means that moving voxel j lies on fixed voxel j + p - (size of moving -
    # 1).
    shift = (peak - (np.asarray(images[1].GetSize()) - 1)) * np.asarray(images[0].GetSpacing())
    return _translation(anchor[1] - anchor[0] - shift)


def _method(masks: list[sitk.Image]) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    # All voxels, one work unit: ITK jitters sampled points at random and adds up threads' sums in any order.
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricFixedMask(masks[0])
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _mutual_information(images, masks, transform: sitk.Transform) -> float:
    """Negative mutual information weighted by the share of the fixed image that still meets the moving one; 0
    without overlap.
    """
    overlap = sitk.Resample(masks[1] * 0 + 1, images[0], transform, sitk.sitkNearestNeighbor, 0)
    fixed = sitk.GetArrayViewFromImage(masks[0]) > 0
    share = float(sitk.GetArrayViewFromImage(overlap)[fixed].mean())
    if share < 0.05:
        return 0.0
    method = _method([_thinned(masks[0]), masks[1]])
    # Its gradient, which only an optimiser asks for, would take three times as long as the value.
    method.SetMetricUseMovingImageGradientFilter(False)
    method.SetInitialTransform(transform)
    try:
        return method.MetricEvaluate(*images) * min(1.0, share / REQUIRED_OVERLAP)
    except RuntimeError:
        return 0.0


def _optimise(images, masks, start: sitk.Transform, model: str, fixed: Prepared) -> sitk.Transform:
    """Gradient descent from a linear start; the start itself where SimpleITK gives up."""
    center = fixed.grid.to_physical(np.argwhere(fixed.weight).mean(axis=0)[::-1])
    transform = sitk.Euler3DTransform() if model == "rigid" else sitk.AffineTransform(3)
    transform.SetCenter(center.tolist())
    matrix, offset = linear_parts(start)
    transform.SetMatrix(matrix.ravel().tolist())
    transform.SetTranslation((matrix @ center + offset - center).tolist())
    for shrink, smoothing, mask in ((2, 2 * SPACING_MM, masks[0]), (1, 0.0, _thinned(masks[0]))):
        method = _method([mask, masks[1]])
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=2.0,
            minStep=0.02,
            numberOfIterations=ITERATIONS,
            relaxationFactor=0.6,
            gradientMagnitudeTolerance=1e-7,
        )
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetShrinkFactorsPerLevel([shrink])
        method.SetSmoothingSigmasPerLevel([smoothing])
        method.SetInitialTransform(transform, inPlace=True)
        try:
            method.Execute(*images)
        except RuntimeError:
            return start
    matrix, offset = linear_parts(transform)
    return to_affine(matrix, offset)


def _thinned(mask: sitk.Image) -> sitk.Image:
    """Every fourth voxel of a mask that has many, in a pattern that meets every row of each axis."""
    inside = sitk.GetArrayFromImage(mask)
    if np.count_nonzero(inside) < EVERY * LEAST_SAMPLES:
        return mask
    k, j, i = np.ogrid[tuple(slice(n) for n in inside.shape)]
    inside[(k + j + i) % EVERY > 0] = 0
    thinned = sitk.GetImageFromArray(inside)
    thinned.CopyInformation(mask)
    return thinned


def linear_parts(transform: sitk.Transform) -> tuple[np.ndarray, np.ndarray]:
    """Matrix (3, 3) and offset (3,) of a linear transform: y = matrix x + offset."""
    offset = np.asarray(transform.TransformPoint((0.0, 0.0, 0.0)))
    columns = [np.asarray(transform.TransformPoint(tuple(axis))) - offset for axis in np.eye(3).tolist()]
    return np.stack(columns, axis=1), offset


def to_affine(matrix: np.ndarray, offset: np.ndarray) -> sitk.AffineTransform:
    """The affine transform y = matrix x + offset, LPS mm; matrix (3, 3), offset (3,)."""
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(np.asarray(matrix, float).ravel().tolist())
    transform.SetTranslation(np.asarray(offset, float).tolist())
    return transform


def _translation(shift: np.ndarray) -> sitk.AffineTransform:
    return to_affine(np.eye(3), shift)
