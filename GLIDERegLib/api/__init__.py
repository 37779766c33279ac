"""`register` and `correct`: the method with everything around it that a caller expects.

`machine` holds device, threads and memory, `encoder` the network and its checkpoint, `result` the report.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import SimpleITK as sitk
import torch

from GLIDERegLib.api.doubts import check_initial, notes, refuse_other_size, size_doubt
from GLIDERegLib.api.encoder import choose_encoder
from GLIDERegLib.api.machine import choose_device, memory_errors, once_again, threads
from GLIDERegLib.api.result import Registration, finished, warp_moving
from GLIDERegLib.core.counting import counted
from GLIDERegLib.core.ct import in_hounsfield, is_ct
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.even_noise import even_noise
from GLIDERegLib.core.field_of_view import without_surroundings
from GLIDERegLib.core.geometry import Volume
from GLIDERegLib.core.points import PointSet, unlabelled
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.core.size import magnification
from GLIDERegLib.evaluation.measuring.keeping import KEPT_SIZE, nodules_to_keep
from GLIDERegLib.files.feature_cache import FeatureCache
from GLIDERegLib.files.volumes import check_volume
from GLIDERegLib.registration import rigid_nodules, scale, small_mask
from GLIDERegLib.registration.features.encoding import SliceEncoder
from GLIDERegLib.registration.field import DisplacementField
from GLIDERegLib.registration.memory import fitted, free_bytes
from GLIDERegLib.registration.pair_inputs import PairInputs
from GLIDERegLib.registration.pipeline import register_pair
from GLIDERegLib.registration.prealign import prealign
from GLIDERegLib.registration.progress import CancelToken, PreviewCallback, ProgressCallback, Stages
from GLIDERegLib.registration.result import Outcome
from GLIDERegLib.transforms.points import field_grid, map_points

__all__ = [
    "PairInputs",
    "Registration",
    "choose_device",
    "choose_encoder",
    "correct",
    "register",
    "register_inputs",
    "warp_moving",
]

# No scanner of bodies samples finer, and a chest would have 10^9 voxels and more: a unit was mistaken.
FINEST_SPACING_MM = 0.2
# As `Settings` has it.
COARSEST_SPACING_MM = 20.0
Balls = list[rigid_nodules.Ball]


def register(
    fixed: Volume,
    moving: Volume,
    settings: Settings | None = None,
    *,
    fixed_mask: np.ndarray | None = None,
    moving_mask: np.ndarray | None = None,
    initial_transform: sitk.Transform | None = None,
    fixed_nodules: np.ndarray | PointSet | None = None,
    moving_nodules: np.ndarray | PointSet | None = None,
    encoder: SliceEncoder | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
    keep: CancelToken | None = None,
    preview: PreviewCallback | None = None,
) -> Registration:
    """Registers `moving` to `fixed`.

    Masks are bool arrays (z, y, x) on their own image's grid and say where similarity is measured.
    initial_transform maps fixed to moving points (LPS mm) and takes the place of the pre-alignment.
    fixed_nodules, moving_nodules: points (N, 3), LPS mm, one in each nodule of an image, with labels or not:
    nodules do not steer the similarity, and the field is rigid there, so that growth stays what it is.
    encoder: one of your own instead of the settings'. progress receives `Progress` objects. From another
    thread, `cancel.cancel()` stops the run and `keep.cancel()` ends it early with the result so far. preview
    receives the whole displacement so far, coarsely sampled, a few times; it must be quick and not change it.

    Raises InputError, OutOfMemoryError, WeightsError (features that need a checkpoint, and none is there),
    Cancelled.
    """
    pair = PairInputs(
        fixed,
        moving,
        fixed_mask,
        moving_mask,
        initial_transform,
        unlabelled(fixed_nodules),
        unlabelled(moving_nodules),
    )
    return register_inputs(
        pair, settings, encoder=encoder, progress=progress, cancel=cancel, keep=keep, preview=preview
    )


def register_inputs(
    pair: PairInputs,
    settings: Settings | None = None,
    *,
    encoder: SliceEncoder | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
    keep: CancelToken | None = None,
    preview: PreviewCallback | None = None,
) -> Registration:
    """`register` of a pair that is given as a whole."""
    asked = settings or Settings.preset("default")
    for volume in pair.scans:
        check_volume(volume)
    size = refuse_other_size(*pair.scans)
    if pair.initial is not None:
        check_initial(*pair.scans, pair.initial)
    began = time.perf_counter()
    device = choose_device(asked.device)
    factor = magnification(pair.fixed.grid)
    stages = Stages(device, progress, cancel, keep, _at_own_size(preview, factor))
    warnings = notes(pair)
    settings = _at_size(asked, factor)
    seen, fixed_balls, moving_balls = _seen(pair, warnings)
    large = seen.enlarged(factor)
    small = small_mask.first_small(large)
    if small is not None:
        warnings.append(small_mask.note(small.mask, pair.scans[small.number].grid, small.role))
        settings = small_mask.near_start(settings, small.mask, small.grid)
    with threads(settings.threads), memory_errors():
        torch.manual_seed(settings.seed)
        if encoder is None:
            settings, encoder = choose_encoder(settings, device, warnings)
        elif settings.features == "auto":
            settings = replace(settings, features="both")
        if device.type == "cpu":
            settings, warning = fitted(
                large.fixed.grid, large.moving.grid, settings, encoder is not None, free_bytes()
            )
            warnings += [warning] if warning else []

        def run(settings: Settings) -> Outcome:
            given = large
            if small is not None and large.initial is None:
                # The whole bodies align what the mask is too small to align by.
                given = replace(large, initial=prealign(large.fixed, large.moving, settings.align))
            outcome = register_pair(given, settings, stages, device, encoder, FeatureCache())
            return outcome if small is None else small_mask.faded(outcome, small)

        settings, outcome = once_again(run, settings, large.fixed.grid, warnings)
        outcome = _to_size(outcome, factor)
        outcome.displacement = rigid_nodules.kept_rigid(
            outcome.displacement,
            fixed_balls,
            moving_balls,
            (in_hounsfield(pair.fixed), in_hounsfield(pair.moving)),
        )
        settings = replace(settings, spacing=asked.spacing) if factor != 1 else settings
        outcome.warnings[:0] = warnings
        return finished(*pair.scans, outcome, settings, encoder, device, stages, began, size)


def _seen(pair: PairInputs, warnings: list[str]) -> tuple[PairInputs, Balls, Balls]:
    """The pair as it is compared, in HU (two scans that are not: with one noise throughout), without what a
    round field of view left out and without its nodules, which do not steer; and a ball around each nodule of
    the fixed and of the moving scan.
    """
    (fixed, fixed_balls), (moving, moving_balls) = (
        _without_nodules(volume, points, warnings)
        for volume, points in zip(pair.scans, pair.nodules, strict=True)
    )
    if number := len(fixed_balls) + len(moving_balls):
        warnings.append(f"Nodules ({counted(number, 'mark')} in both scans) {KEPT_SIZE}.")
    in_hu = [is_ct(scan) for scan in pair.scans]
    (fixed, cut), (moving, moving_cut) = (without_surroundings(in_hounsfield(v)) for v in (fixed, moving))
    warnings += filter(None, (cut, moving_cut))
    quiet = False
    if not any(in_hu) and is_ct(fixed) and is_ct(moving):
        fixed, moving, quiet = even_noise(fixed, moving)
    seen = replace(pair, fixed=fixed, moving=moving, hounsfield=all(in_hu), quiet=quiet)
    return seen, fixed_balls, moving_balls


def correct(
    fixed: Volume,
    moving: Volume,
    present: sitk.Transform,
    fixed_points: np.ndarray,
    moving_points: np.ndarray,
    settings: Settings | None = None,
    *,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
    keep: CancelToken | None = None,
) -> Registration:
    """Mends a registration where corresponding points (N, 3), LPS mm, say that it is off.

    present: fixed points to moving points, LPS mm, of this or any other registration. Refines it around the
    points, by local features and the points together; beyond 60 mm of them it stays what it was. The report's
    "correction" holds the distance of each point from its target before and after, mm.

    Raises InputError, OutOfMemoryError, Cancelled.
    """
    from GLIDERegLib.registration.correction import correct_pair

    # What intensities do here has not been measured.
    settings = replace(settings or Settings.preset("default"), features="local", intensity_share=0.0)
    for volume in (fixed, moving):
        check_volume(volume)
    fixed_points, moving_points = (
        np.asarray(points, float).reshape(-1, 3) for points in (fixed_points, moving_points)
    )
    began = time.perf_counter()
    device = choose_device(settings.device)
    stages = Stages(device, progress, cancel, keep)
    with threads(settings.threads), memory_errors():
        nodes, factor = field_grid(present), magnification(fixed.grid)
        large_fixed, large_moving = (
            scale.enlarged(without_surroundings(in_hounsfield(v))[0], factor) for v in (fixed, moving)
        )
        before = present
        if factor != 1:
            before = scale.enlarged_transform(present, factor)
            nodes = nodes and scale.enlarged_grid(nodes, factor)
            settings = _at_size(settings, factor)
        outcome = correct_pair(
            large_fixed,
            large_moving,
            before,
            nodes,
            factor * fixed_points,
            factor * moving_points,
            settings,
            stages,
            device,
        )
        outcome = _to_size(outcome, factor)
        size = size_doubt(fixed, moving)
        result = finished(fixed, moving, outcome, settings, None, device, stages, began, size)
    result.report["correction"] = {
        when: np.linalg.norm(map_points(transform, fixed_points) - moving_points, axis=1).tolist()
        for when, transform in (("before_mm", present), ("after_mm", result.transform))
    }
    return result


def _without_nodules(volume: Volume, points: PointSet | None, warnings: list[str]) -> tuple[Volume, Balls]:
    """The scan with its nodules hidden, and the balls around them in which the field is to be rigid."""
    marks = PointSet([], np.empty((0, 3))) if points is None else points
    masks, balls, sentences = nodules_to_keep(volume, marks)
    warnings += sentences
    return rigid_nodules.hidden(volume, masks), balls


def _at_own_size(preview: PreviewCallback | None, factor: float) -> PreviewCallback | None:
    """The callback, given fields in the size of the pair instead of the enlarged one's."""
    if preview is None or factor == 1:
        return preview

    def shown(field: DisplacementField) -> None:
        preview(scale.enlarged_field(field, 1 / factor))

    return shown


def _at_size(settings: Settings, factor: float) -> Settings:
    """The settings for an image enlarged by a factor; lengths but the working spacing are a chest's already.

    Raises InputError for a working spacing that does not fit the image's size.
    """
    if settings.spacing is None:
        return settings
    if not FINEST_SPACING_MM <= settings.spacing * factor:
        raise InputError(
            f"The working spacing must be at least {FINEST_SPACING_MM / factor:.3g} mm for this image, not "
            f"{settings.spacing:g}.",
            code="spacing",
        )
    if settings.spacing * factor > COARSEST_SPACING_MM:
        raise InputError(
            f"The working spacing must be at most {COARSEST_SPACING_MM / factor:.3g} mm for this image, not "
            f"{settings.spacing:g}.",
            code="spacing",
        )
    return replace(settings, spacing=settings.spacing * factor)


def _to_size(outcome: Outcome, factor: float) -> Outcome:
    """The outcome of a pair that was enlarged by a factor, in the size of the pair as given."""
    if factor == 1:
        return outcome
    return replace(
        outcome,
        displacement=scale.enlarged_field(outcome.displacement, 1 / factor),
        initial=scale.enlarged_transform(outcome.initial, 1 / factor),
        spacing=outcome.spacing / factor,
        uncertainty=scale.enlarged_lengths(outcome.uncertainty, 1 / factor),
    )
