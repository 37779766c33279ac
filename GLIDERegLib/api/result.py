"""What a caller gets of a registration: field, transform, warped scan and report."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

import SimpleITK as sitk
import torch

from GLIDERegLib import __version__
from GLIDERegLib.api.doubts import agreement_doubt
from GLIDERegLib.core.ct import AIR_HU, is_ct
from GLIDERegLib.core.geometry import Volume
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.core.size import magnification
from GLIDERegLib.evaluation.evaluate import evaluate_transform, warp
from GLIDERegLib.registration import plausibility
from GLIDERegLib.registration.backends import backend_for
from GLIDERegLib.registration.features.encoding import SliceEncoder
from GLIDERegLib.registration.field import DisplacementField
from GLIDERegLib.registration.prealign import linear_parts
from GLIDERegLib.registration.progress import Stages
from GLIDERegLib.registration.result import Outcome

# A breath's motion changes over centimetres: samples this far apart tell its figures, in seconds.
REPORT_SAMPLING_MM = 4.0
PACKAGES = ("numpy", "torch", "SimpleITK", "numba", "sam2", "transformers")


@dataclass
class Registration:
    """The result of `register` and `correct`.

    displacement: from fixed to moving points, LPS mm, pre-alignment included. transform: the same as an ITK
    transform. warped: the moving image on the fixed image's grid, in the moving image's intensity type.
    report: JSON-able. uncertainty: over the fixed image a radius in mm that holds the true place in about 95
    of 100 cases; None where it is not known (`registration.uncertainty`).
    """

    displacement: DisplacementField
    transform: sitk.Transform
    warped: Volume
    report: dict[str, Any]
    uncertainty: Volume | None = None


def finished(
    fixed: Volume,
    moving: Volume,
    outcome: Outcome,
    settings: Settings,
    encoder: SliceEncoder | None,
    device: torch.device,
    stages: Stages,
    began: float,
    size: str,
) -> Registration:
    """The result of an outcome; began: `time.perf_counter()` when the registration did. size: the sentence
    of `size_doubt`.
    """
    with stages.stage("result"):
        transform = outcome.displacement.to_sitk()
        warped = warp_moving(fixed, moving, transform)
        report = _report(fixed, moving, outcome, transform, settings, encoder, device)
        initial, final = (
            report["similarity"][when]["normalised_cross_correlation"] for when in ("initial", "final")
        )
        report["plausibility"], told = plausibility.judge(fixed, moving, transform, (initial, final))
        agreement = agreement_doubt(fixed, moving, transform, final)
        if size or agreement:
            # The reason before what comes of it.
            told = [*filter(None, [size]), *report["plausibility"]["doubts"], *filter(None, [agreement])]
            report["plausibility"] |= {"plausible": False, "doubts": told}
    # What casts doubt on the whole result stands above all notes.
    report["warnings"] = told + outcome.warnings
    report["stopped_early"] = outcome.stopped_early
    report["stages"] = stages.records
    report["seconds"] = round(time.perf_counter() - began, 3)
    return Registration(outcome.displacement, transform, warped, report, outcome.uncertainty)


def warp_moving(fixed: Volume, moving: Volume, transform: sitk.Transform) -> Volume:
    """The moving image on the fixed grid, trilinear, in its own type; air (CT) or its minimum where it has no
    data.
    """
    fill = max(AIR_HU, float(moving.array.min())) if is_ct(moving) else float(moving.array.min())
    return warp(moving, transform, fixed.grid, fill)


def _report(
    fixed: Volume,
    moving: Volume,
    outcome: Outcome,
    transform: sitk.Transform,
    settings: Settings,
    encoder: SliceEncoder | None,
    device: torch.device,
) -> dict[str, Any]:
    judged = evaluate_transform(
        transform, fixed, moving, sampling_mm=REPORT_SAMPLING_MM, nodes=outcome.displacement
    )
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
        "versions": _versions(),
        "settings": settings.as_dict(),
        "seed": settings.seed,
        "device": {
            "kind": str(device),
            "name": name,
            "threads": torch.get_num_threads(),
            "kernels": backend_for(device).name,
        },
        "features": settings.features,
        # Of the two directions, forward first; the settings say what was asked for.
        "intensities": [use._asdict() for use in outcome.intensities],
        "weights": weights,
        "images": {
            role: {"name": v.name, "size": v.grid.size, "spacing_mm": v.grid.spacing}
            for role, v in (("fixed", fixed), ("moving", moving))
        },
        "working_spacing_mm": outcome.spacing,
        "initial_transform": linear and {"matrix": linear[0].tolist(), "offset_mm": linear[1].tolist()},
        **judged,
    }


@cache
def _versions() -> dict[str, str | None]:
    """Of this program, Python and the packages that compute; None for one that is not installed."""
    found: dict[str, str | None] = {"glidereg": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found
