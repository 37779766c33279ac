"""`register`: the method with everything around it that a caller expects: device, weights, seeds, report."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from GLIDERegLib import __version__
from GLIDERegLib.core.ct import AIR_HU, in_hounsfield, is_ct, note
from GLIDERegLib.core.errors import DependencyError, InputError, OutOfMemoryError, WeightsError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.core.networks import network
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.core.size import magnification
from GLIDERegLib.evaluation.evaluate import evaluate_transform, warp
from GLIDERegLib.evaluation.measuring.keeping import nodules_to_keep
from GLIDERegLib.files import checkpoints
from GLIDERegLib.files.feature_cache import FeatureCache
from GLIDERegLib.files.transforms import field_grid, map_points
from GLIDERegLib.files.volumes import check_volume
from GLIDERegLib.registration import plausibility, rigid_nodules, scale, small_mask
from GLIDERegLib.registration.backends import backend_for
from GLIDERegLib.registration.features.encoding import SliceEncoder
from GLIDERegLib.registration.field import DisplacementField
from GLIDERegLib.registration.memory import coarser, fitted, free_bytes
from GLIDERegLib.registration.pipeline import register_pair
from GLIDERegLib.registration.prealign import linear_parts, prealign
from GLIDERegLib.registration.progress import CancelToken, PreviewCallback, ProgressCallback, Stages
from GLIDERegLib.registration.result import Outcome

REPORT_SAMPLING_MM = 4.0
FINEST_SPACING_MM = 0.2
_PACKAGES = ("numpy", "torch", "SimpleITK", "numba", "sam2", "transformers")


@dataclass
class Registration:
    """The result of `register`.

    displacement: from fixed to moving points, LPS mm, pre-alignment included. transform: the same as an ITK
    transform. warped: the moving image on the fixed image's grid, in the moving image's intensity type.
    report: JSON-able.
    """

    displacement: DisplacementField
    transform: sitk.Transform
    warped: Volume
    report: dict


def register(
    fixed: Volume,
    moving: Volume,
    settings: Settings | None = None,
    *,
    fixed_mask: np.ndarray | None = None,
    moving_mask: np.ndarray | None = None,
    initial_transform: sitk.Transform | None = None,
    fixed_nodules: np.ndarray | None = None,
    moving_nodules: np.ndarray | None = None,
    encoder: SliceEncoder | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
    keep: CancelToken | None = None,
    preview: PreviewCallback | None = None,
) -> Registration:
    """Registers `moving` to `fixed`.

    Masks are bool arrays (z, y, x) on their own image's grid and say where similarity is measured.
    initial_transform maps fixed to moving points (LPS mm) and takes the place of the pre-alignment.
    fixed_nodules, moving_nodules: points (N, 3), LPS mm, one in each nodule of an image: nodules do not steer
    the similarity, and the field is rigid there, so that growth stays what it is. encoder: one of your own
    instead of the settings'. progress receives `Progress` objects. From another thread, `cancel.cancel()`
    stops the run and `keep.cancel()` ends it early with the result so far. preview receives the whole
    displacement so far, coarsely sampled, a few times; it must be quick and not change it.

    Raises InputError, OutOfMemoryError, WeightsError (features that need a checkpoint, and none is there),
    Cancelled.
    """
    settings = settings or Settings.preset("default")
    for volume in (fixed, moving):
        check_volume(volume)
    begin = time.perf_counter()
    device = choose_device(settings.device)
    factor = magnification(fixed.grid)
    if preview is not None and factor != 1:
        given = preview

        def preview(field: DisplacementField) -> None:
            given(scale.enlarged_field(field, 1 / factor))

    stages = Stages(device, progress, cancel, keep, preview)
    warnings = [*fixed.notes, *moving.notes]
    warnings += [sentence for volume in (fixed, moving) if (sentence := note(volume))]
    warnings += [sentence] if (sentence := scale.note(fixed.grid)) else []
    settings, asked = _at_size(settings, factor), settings
    kept, seen = [], []
    for volume, points in ((fixed, fixed_nodules), (moving, moving_nodules)):
        masks, balls, sentences = nodules_to_keep(volume, () if points is None else points)
        seen.append(rigid_nodules.hidden(volume, masks))
        kept.append(balls)
        warnings += sentences
    large = [scale.enlarged(in_hounsfield(volume), factor) for volume in seen]
    if initial_transform is not None and factor != 1:
        initial_transform = scale.enlarged_transform(initial_transform, factor)
    small = _small_mask(large, (fixed_mask, moving_mask))
    if small is not None:
        number, mask, grid = small
        warnings.append(small_mask.note(mask, (fixed, moving)[number].grid, ("fixed", "moving")[number]))
        settings = small_mask.near_start(settings, mask, grid)
    with _threads(settings.threads), _memory_errors():
        torch.manual_seed(settings.seed)
        if encoder is None:
            settings, encoder = choose_encoder(settings, device, warnings)
        elif settings.features == "auto":
            settings = replace(settings, features="both")
        if device.type == "cpu":
            settings, warning = fitted(
                large[0].grid, large[1].grid, settings, encoder is not None, free_bytes()
            )
            warnings += [warning] if warning else []

        def run(settings: Settings) -> Outcome:
            begin_at = initial_transform
            if small is not None and begin_at is None:
                begin_at = prealign(*large, settings.align)
            outcome = register_pair(
                *large,
                settings,
                stages,
                device,
                encoder,
                FeatureCache(),
                fixed_mask,
                moving_mask,
                begin_at,
            )
            if small is None:
                return outcome
            field = small_mask.faded_to_start(
                outcome.displacement, outcome.initial, small[1], small[2], through=small[0] == 1
            )
            return replace(outcome, displacement=field)

        settings, outcome = _once_again(run, settings, large[0].grid, warnings)
        outcome = _to_size(outcome, factor)
        outcome.displacement = rigid_nodules.kept_rigid(outcome.displacement, *kept)
        settings = replace(settings, spacing=asked.spacing) if factor != 1 else settings
        outcome.warnings[:0] = warnings
        return _result(fixed, moving, outcome, settings, encoder, device, stages, begin)


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
    )


def _small_mask(
    images: list[Volume], masks: tuple[np.ndarray | None, np.ndarray | None]
) -> tuple[int, np.ndarray, Grid] | None:
    """The first of the masks that is too small to steer by: 0 (fixed) or 1, itself and its grid."""
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        if small_mask.is_small(mask) and mask.shape == image.grid.shape:
            return number, mask, image.grid
    return None


def _once_again(
    run: Callable[[Settings], Outcome], settings: Settings, fixed: Grid, warnings: list[str]
) -> tuple[Settings, Outcome]:
    """What `run` gives, on a coarser grid where memory runs out the first time."""
    with suppress(MemoryError, torch.cuda.OutOfMemoryError):
        return settings, run(settings)
    # Only now, since the error held what filled the memory.
    torch.cuda.empty_cache()
    settings = coarser(fixed, settings)
    warnings.append(f"Registered on voxels of {settings.spacing:g} mm, because memory ran out at first.")
    return settings, run(settings)


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

    settings = replace(settings or Settings.preset("default"), features="local")
    for volume in (fixed, moving):
        check_volume(volume)
    fixed_points, moving_points = (
        np.asarray(points, float).reshape(-1, 3) for points in (fixed_points, moving_points)
    )
    begin = time.perf_counter()
    device = choose_device(settings.device)
    stages = Stages(device, progress, cancel, keep)
    with _threads(settings.threads), _memory_errors():
        nodes, factor = field_grid(present), magnification(fixed.grid)
        large = [scale.enlarged(volume, factor) for volume in (fixed, moving)]
        points = [factor * each for each in (fixed_points, moving_points)]
        if factor == 1:
            outcome = correct_pair(*large, present, nodes, *points, settings, stages, device)
        else:
            before = scale.enlarged_transform(present, factor)
            nodes = nodes and scale.enlarged_grid(nodes, factor)
            settings = _at_size(settings, factor)
            outcome = _to_size(correct_pair(*large, before, nodes, *points, settings, stages, device), factor)
        result = _result(fixed, moving, outcome, settings, None, device, stages, begin)
    result.report["correction"] = {
        when: np.linalg.norm(map_points(transform, fixed_points) - moving_points, axis=1).tolist()
        for when, transform in (("before_mm", present), ("after_mm", result.transform))
    }
    return result


def _result(
    fixed: Volume,
    moving: Volume,
    outcome: Outcome,
    settings: Settings,
    encoder: SliceEncoder | None,
    device: torch.device,
    stages: Stages,
    begin: float,
) -> Registration:
    with stages.stage("result"):
        transform = outcome.displacement.to_sitk()
        warped = warp_moving(fixed, moving, transform)
        report = _report(fixed, moving, outcome, transform, settings, encoder, device)
        correlation = tuple(
            report["similarity"][when]["normalised_cross_correlation"] for when in ("initial", "final")
        )
        report["plausibility"], told = plausibility.judge(fixed, moving, transform, correlation)
    # What casts doubt on the whole result stands above all notes.
    report["warnings"] = told + outcome.warnings
    report["stopped_early"] = outcome.stopped_early
    report["stages"] = stages.records
    report["seconds"] = round(time.perf_counter() - begin, 3)
    return Registration(outcome.displacement, transform, warped, report)


def choose_device(name: str) -> torch.device:
    """The device asked for, `auto` being the first GPU there is; InputError where it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(
            f"Unknown device '{name}': choose auto, cpu, cuda, cuda:N or mps.", code="setting"
        ) from None
    missing = device.type not in ("cpu", "cuda", "mps")
    missing |= device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    missing |= device.type == "mps" and not torch.backends.mps.is_available()
    if missing:
        raise InputError(
            f"The device '{name}' is not available on this machine", "Choose cpu or auto.", code="device"
        )
    return device


def choose_encoder(
    settings: Settings, device: torch.device, warnings: list[str]
) -> tuple[Settings, SliceEncoder | None]:
    """The encoder the settings ask for, and the settings with `auto` decided."""
    if settings.features == "local":
        return settings, None
    wanted = network(settings.encoder)
    checkpoint = Path(settings.checkpoint) if settings.checkpoint else checkpoints.find(settings.encoder)
    if checkpoint is None or not checkpoint.is_file():
        if settings.checkpoint:
            raise WeightsError(
                f"There is no checkpoint file {settings.checkpoint}",
                "Check the path of your checkpoint.",
                code="checkpoint",
            )
        if settings.features == "auto":
            warnings.append(
                f"Local features only: the {wanted.title} model {settings.encoder} is not on this computer; "
                "download it to use global features too."
            )
            return replace(settings, features="local"), None
        raise WeightsError(
            checkpoints.how_to_get(settings.encoder), code="weights-absent", name=settings.encoder
        )
    try:
        encoder = _encoder(settings, checkpoint, device)
    except ImportError as error:
        if settings.features == "auto":
            warnings.append(f"Local features only: the package {wanted.package} is not installed ({error}).")
            return replace(settings, features="local"), None
        raise DependencyError(
            f"Global features need the package {wanted.package}",
            "Install it, or use local features.",
            code=f"package-{wanted.package}",
        ) from None
    return (replace(settings, features="both") if settings.features == "auto" else settings), encoder


def _encoder(settings: Settings, checkpoint: Path, device: torch.device) -> SliceEncoder:
    """Raises ImportError where the network's package is missing."""
    options = {"input_size": settings.slice_size(device.type), "device": device}
    if network(settings.encoder).package == "sam2":
        from GLIDERegLib.registration.features.sam2 import Sam2Encoder

        return Sam2Encoder(settings.encoder, checkpoint, reading=settings.encoder_reading, **options)
    if settings.encoder_reading != "slice":
        raise InputError(
            f"{settings.encoder} has no memory",
            "Have it read each slice by itself.",
            code="encoder-memory",
        )
    from GLIDERegLib.registration.features.dinov2 import DinoEncoder

    return DinoEncoder(settings.encoder, checkpoint, **options)


def warp_moving(fixed: Volume, moving: Volume, transform: sitk.Transform) -> Volume:
    """The moving image on the fixed grid, trilinear, in its own type; air (CT) or its minimum where it has no
    data.
    """
    fill = max(AIR_HU, float(moving.array.min())) if is_ct(moving) else float(moving.array.min())
    return warp(moving, transform, fixed.grid, fill)


def _report(fixed, moving, outcome: Outcome, transform, settings: Settings, encoder, device) -> dict:
    judged = evaluate_transform(
        transform, fixed, moving, sampling_mm=REPORT_SAMPLING_MM, nodes=outcome.displacement
    )
    versions = {"glidereg": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine()
    )
    weights = None
    if encoder is not None:
        spacing = outcome.spacing * magnification(fixed.grid)
        weights = encoder.identity() | {"slice_step": settings.slice_step(device.type, spacing)}
    linear = linear_parts(outcome.initial) if outcome.initial.IsLinear() else None
    return {
        "versions": versions,
        "settings": settings.as_dict(),
        "seed": settings.seed,
        "device": {
            "kind": str(device),
            "name": name,
            "threads": torch.get_num_threads(),
            "kernels": backend_for(device).name,
        },
        "features": settings.features,
        "weights": weights,
        "images": {
            role: {"name": v.name, "size": v.grid.size, "spacing_mm": v.grid.spacing}
            for role, v in (("fixed", fixed), ("moving", moving))
        },
        "working_spacing_mm": outcome.spacing,
        "initial_transform": linear and {"matrix": linear[0].tolist(), "offset_mm": linear[1].tolist()},
        **judged,
    }


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Limits torch, kernels and ITK to `count` threads while it lasts; None: to as many as torch takes."""
    before = torch.get_num_threads(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    count = count or before[0]
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(count)
    # Inversion and repair run on the processor whatever the device.
    backend = backend_for(torch.device("cpu"))
    kernels_before = backend.threads()
    backend.set_threads(count)
    torch.set_num_threads(count)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before[1])
        backend.set_threads(kernels_before)
        torch.set_num_threads(before[0])


@contextmanager
def _memory_errors() -> Iterator[None]:
    try:
        yield
    except (MemoryError, torch.cuda.OutOfMemoryError) as error:
        raise OutOfMemoryError(
            "There is not enough memory for these settings",
            "Use a coarser working resolution, the preset fast or local features.",
        ) from error
