"""The encoder that the settings ask for, where its checkpoint and its package are there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from GLIDERegLib.core.errors import DependencyError, InputError, WeightsError
from GLIDERegLib.core.networks import network
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.files import checkpoints
from GLIDERegLib.registration.features.encoding import SliceEncoder


def choose_encoder(
    settings: Settings, device: torch.device, warnings: list[str]
) -> tuple[Settings, SliceEncoder | None]:
    """The encoder the settings ask for, and the settings with `auto` decided.

    Raises WeightsError without its checkpoint, DependencyError without its package, InputError for a
    reading that it does not offer.
    """
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
    size = settings.slice_size(device.type)
    if network(settings.encoder).package == "sam2":
        from GLIDERegLib.registration.features.sam2 import Sam2Encoder

        return Sam2Encoder(
            settings.encoder, checkpoint, reading=settings.encoder_reading, input_size=size, device=device
        )
    if settings.encoder_reading != "slice":
        raise InputError(
            f"{settings.encoder} has no memory",
            "Have it read each slice by itself.",
            code="encoder-memory",
        )
    from GLIDERegLib.registration.features.dinov2 import DinoEncoder

    return DinoEncoder(settings.encoder, checkpoint, input_size=size, device=device)
