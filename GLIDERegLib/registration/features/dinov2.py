"""Step 2, DINOv2 (Oquab et al. 2023, arXiv 2304.07193) as slice encoder: the features of DINO-Reg.

DINO-Reg: Song et al., "DINO-Reg: General Purpose Image Encoder for Training-Free Multi-modal Deformable
Medical Image Registration", MICCAI 2024. The network comes from the package `transformers`, its weights from
the files Meta published, in their own layout; "_reg" are those with four registers (Darcet et al., "Vision
Transformers Need Registers", arXiv 2309.16588).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from GLIDERegLib.core.errors import InputError, WeightsError
from GLIDERegLib.core.networks import NETWORKS
from GLIDERegLib.registration.features.encoding import CancelToken
from GLIDERegLib.registration.features.slice_network import (
    Embeddings,
    NetworkEncoder,
    holds_tensors,
    no_weights,
    other_variant,
    read_checkpoint,
    sha256_of,
    unfit,
)

# Channels and number of blocks; there are as many heads as 64 goes into the channels.
_SIZES = {"s": (384, 12), "b": (768, 12), "l": (1024, 24), "g": (1536, 40)}
VARIANTS = tuple(name for name, entry in NETWORKS.items() if entry.title == "DINOv2")
# DINO-Reg's code for lung: level -600 and width 1500 HU.
LUNG_WINDOW = (-1350.0, 150.0)

# Meta's names of weights and those of `transformers`; "attn.qkv" and "mlp.w12" are several in one.
_NAMES = (
    (r"^(cls_token|mask_token|register_tokens)$", r"embeddings.\1"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^norm\.", "layernorm."),
    (r"^blocks\.", "encoder.layer."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.ls([12])\.gamma$", r".layer_scale\1.lambda1"),
    (r"\.mlp\.w3\.", ".mlp.down_proj."),
)
_JOINED = {
    ".attn.qkv.": (".attention.q_proj.", ".attention.k_proj.", ".attention.v_proj."),
    ".mlp.w12.": (".mlp.gate_proj.", ".mlp.up_proj."),
}


class DinoEncoder(NetworkEncoder):
    """DINOv2's normalised patch tokens of axial CT slices, one for 14 x 14 pixels of the network's input.

    variant: a name in `VARIANTS`, with 384 (s), 768 (b), 1024 (l) or 1536 (g) channels; DINO-Reg uses
    "dinov2_vitl14_reg". checkpoint: Meta's file of that variant. seed: with no checkpoint, the real network
    with random weights that the seed determines, for tests and timing only.
    input_size: side in pixels of the network's square input, a multiple of 14; 518, at which the network was
    trained, gives 37 x 37 tokens. DINO-Reg uses up to 1568 x 1344.
    windows: one (low, high) pair in HU, as in DINO-Reg, or one for each colour channel. Like DINO-Reg's, the
    grey values from 0 to 1 go into the network without the normalisation it was trained with.
    batch_size, device, half: as for `NetworkEncoder`.

    Raises InputError for a setting that is not possible and WeightsError for a checkpoint that cannot be
    used.
    """

    def __init__(
        self,
        variant: str = "dinov2_vitl14_reg",
        checkpoint: Path | None = None,
        seed: int | None = None,
        input_size: int = 518,
        windows: Sequence[tuple[float, float]] = (LUNG_WINDOW,),
        batch_size: int | None = None,
        device: str | torch.device = "cpu",
        half: bool | None = None,
    ):
        if variant not in VARIANTS:
            raise InputError(
                f"There is no DINOv2 encoder {variant}.",
                f"Choose one of {', '.join(VARIANTS)}.",
                code="file-damaged",
            )
        super().__init__(variant, input_size, windows, batch_size, device, half)
        if checkpoint is not None:
            self.weights = sha256_of(Path(checkpoint))
            self.model = _trained_model(variant, self.side, Path(checkpoint))
        elif seed is not None:
            self.weights = f"seeded:{seed}"
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.model = _network(variant, self.side)
        else:
            raise no_weights(variant)
        self.model.eval().requires_grad_(False).to(self.device)

    def identity(self) -> dict:
        return super().identity() | {"transformers": metadata.version("transformers")}

    def _embeddings(
        self, slices: torch.Tensor, masks: torch.Tensor, cancel: CancelToken | None
    ) -> Embeddings:
        for batch in self._batches(range(len(slices)), cancel):
            tokens = self.model(self.images(slices[list(batch)])).last_hidden_state
            patches = tokens[:, -(self.side**2) :].transpose(1, 2)
            yield from zip(batch, patches.unflatten(2, (self.side, self.side)), strict=True)


def _network(variant: str, side: int) -> torch.nn.Module:
    """The network for inputs of side x side tokens, its weights random."""
    size = variant.removeprefix("dinov2_vit")[0]
    channels, blocks = _SIZES[size]
    options: dict[str, Any] = {
        "hidden_size": channels,
        "num_hidden_layers": blocks,
        "num_attention_heads": channels // 64,
        "image_size": 14 * side,
        "patch_size": 14,
        "use_swiglu_ffn": size == "g",
    }
    if variant.endswith("_reg"):
        return Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**options))
    return Dinov2Model(Dinov2Config(**options))


def _trained_model(variant: str, side: int, checkpoint: Path) -> torch.nn.Module:
    state = read_checkpoint(checkpoint)
    if not holds_tensors(state) or "pos_embed" not in state or state["pos_embed"].dim() != 3:
        raise WeightsError(
            f"{checkpoint} is not a DINOv2 checkpoint: it has no position embedding.", "Use another file."
        )
    fits = _variant_of(state)
    if fits not in (None, variant):
        raise other_variant(checkpoint, fits, variant)
    try:
        state["pos_embed"] = _resized(state["pos_embed"].float(), side, antialias=variant.endswith("_reg"))
        with torch.device("meta"):
            model = _network(variant, side)
        model.load_state_dict(_renamed(state), assign=True)
    except RuntimeError as error:
        raise unfit(checkpoint, variant) from error
    return model


def _variant_of(state: dict[str, torch.Tensor]) -> str | None:
    """Name of the variant that weights belong to, None where it cannot be told."""
    blocks = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    sizes = {shape: letter for letter, shape in _SIZES.items()}
    letter = sizes.get((state["pos_embed"].shape[-1], blocks))
    return f"dinov2_vit{letter}14{'_reg' * ('register_tokens' in state)}" if letter else None


def _renamed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights by the names of `transformers`."""
    renamed = {}
    for name, value in state.items():
        for pattern, replacement in _NAMES:
            name = re.sub(pattern, replacement, name)
        parts = next((parts for joined, parts in _JOINED.items() if joined in name), None)
        if parts is None:
            renamed[name] = value
        else:
            stem, end = name.rsplit(".", 3)[0], name.rsplit(".", 1)[1]
            renamed |= {
                f"{stem}{part}{end}": piece
                for part, piece in zip(parts, value.chunk(len(parts)), strict=True)
            }
    return renamed


def _resized(positions: torch.Tensor, side: int, antialias: bool) -> torch.Tensor:
    """The position embedding (1, 1 + n * n, C) for side x side tokens.

    As `interpolate_pos_encoding` in Meta's `vision_transformer.py` with the settings of the published models;
    `transformers` leaves out the 0.1 of those without registers.
    """
    own = round((positions.shape[1] - 1) ** 0.5)
    if own == side:
        return positions
    grid = positions[:, 1:].unflatten(1, (own, own)).permute(0, 3, 1, 2)
    target = {"size": (side, side)} if antialias else {"scale_factor": (side + 0.1) / own}
    grid = F.interpolate(grid, mode="bicubic", align_corners=False, antialias=antialias, **target)
    return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
