"""Step 2, SAM2 (Ravi et al. 2024, arXiv 2408.00714) as slice encoder, with or without its memory.

The network comes from the package `sam2`. Version 1.1.0 on PyPI is not Meta's own upload (its metadata names
a fork), so installers should pin its version and hash. Only `sam2.modeling` is used, which needs no
torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from omegaconf import OmegaConf

from GLIDERegLib.core.errors import InputError, WeightsError
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

_SIZES = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}
CONFIGS = {
    f"{family}_hiera_{size}": f"configs/{family}/{family}_hiera_{letter}.yaml"
    for family in ("sam2.1", "sam2")
    for size, letter in _SIZES.items()
}
# Channels of the patch embedding and number of blocks tell the sizes apart.
_TRUNKS = {(96, 12): "tiny", (96, 16): "small", (112, 24): "base_plus", (144, 48): "large"}

# Lung, soft tissue and bone, in HU, one per colour channel.
LUNG_CT_WINDOWS = ((-1000.0, 100.0), (-160.0, 240.0), (-450.0, 1050.0))


class Sam2Encoder(NetworkEncoder):
    """SAM2's 256-channel embedding of axial CT slices, one token for 16 x 16 pixels of the network's input.

    variant: a name in `CONFIGS`. checkpoint: a file of that variant; SAM 2, SAM 2.1 and fine-tuned ones such
    as MedSAM2 (which is "sam2.1_hiera_tiny", trained at input_size 512). seed: with no checkpoint, the real
    network with random weights that the seed determines. That is for tests and timing only; its results must
    never be presented as GLIDE-Reg's.
    input_size: side in pixels of the network's square input, a multiple of 32; 1024 gives 64 x 64 tokens, 512
    gives 32 x 32.
    windows: one (low, high) pair in HU for all three channels, or three pairs. The paper leaves the window
    open. The default shows lung, soft tissue and bone at full contrast each, because all of them are judged.
    half: bfloat16 (float16 on GPUs without it) inside the network and float16 tokens; default: where that is
    faster.
    reading "slice": the image embedding as `SAM2ImagePredictor` has it, less its `no_mem_embed`: that adds
    the same vector to all tokens, so it cancels in every difference of features. Slices do not depend on each
    other.
    reading "memory": the embedding after SAM2's memory attention. The foreground of the middle slice is the
    prompt; the network tracks it towards both ends, each slice conditioned on the prompt and on the slices
    between, as many as the network keeps. The directions do not see each other. The middle slice is
    conditioned on its own memory, so that all tokens come from the same layer.

    Token centres: the first convolution (7 x 7, stride 4, padding 3) sits 1.5 input pixels before the centre
    of a token's square. It does so in both images of a pair alike and is not corrected.

    Raises InputError for a setting that is not possible and WeightsError for a checkpoint that cannot be
    used.
    """

    # Of the network's training images (`sam2.utils.transforms.SAM2Transforms`).
    mean = (0.485, 0.456, 0.406)
    deviation = (0.229, 0.224, 0.225)

    def __init__(
        self,
        variant: str = "sam2.1_hiera_tiny",
        checkpoint: Path | None = None,
        seed: int | None = None,
        input_size: int = 1024,
        windows: Sequence[tuple[float, float]] = LUNG_CT_WINDOWS,
        batch_size: int | None = None,
        device: str | torch.device = "cpu",
        half: bool | None = None,
        reading: str = "slice",
    ):
        if variant not in CONFIGS:
            raise InputError(
                f"There is no SAM2 encoder {variant}.",
                f"Choose one of {', '.join(CONFIGS)}.",
                code="file-damaged",
            )
        if reading not in ("slice", "memory"):
            raise InputError(
                f"SAM2 has no reading {reading!r}.", "Choose 'slice' or 'memory'.", code="setting"
            )
        super().__init__(variant, input_size, windows, batch_size, device, half)
        self.reading = reading
        # Its parts have names that SAM2 gives them: no type tells of them.
        self.model: Any
        if checkpoint is not None:
            self.weights = sha256_of(Path(checkpoint))
            self.model = _trained_model(variant, input_size, Path(checkpoint))
        elif seed is not None:
            self.weights = f"seeded:{seed}"
            self.model = _build_model(variant, input_size, seed)
        else:
            raise no_weights(variant)
        self.model.to(self.device)

    def identity(self) -> dict:
        return super().identity() | {"reading": self.reading, "sam2": metadata.version("sam2")}

    def _embeddings(
        self, slices: torch.Tensor, masks: torch.Tensor, cancel: CancelToken | None
    ) -> Embeddings:
        if self.reading == "slice":
            return self._image_embeddings(slices, cancel)
        return self._memory_embeddings(slices, masks, cancel)

    def _image_embeddings(self, slices: torch.Tensor, cancel: CancelToken | None) -> Embeddings:
        for batch in self._batches(range(len(slices)), cancel):
            encoded = self.model.image_encoder(self.images(slices[list(batch)]))
            yield from zip(batch, encoded["vision_features"], strict=True)

    def _memory_embeddings(
        self, slices: torch.Tensor, masks: torch.Tensor, cancel: CancelToken | None
    ) -> Embeddings:
        shown = masks.flatten(1).any(1).nonzero().flatten().tolist()
        if not shown:
            raise InputError(
                "SAM2's memory finds nothing to track, for the mask is empty.",
                "Give a mask of the body.",
                code="mask",
            )
        count, side = len(slices), self.side
        start = min(shown, key=lambda z: abs(z - count // 2))
        attended: list[torch.Tensor] = []
        hook = self.model.memory_attention.register_forward_hook(
            lambda _module, _inputs, output: attended.append(output)
        )
        try:
            vision = self._vision(slices[start : start + 1])
            prompt = self._track(start, vision, 0, {}, {}, count, mask=masks[start])
            for reverse, order in (False, range(start, count)), (True, range(start - 1, -1, -1)):
                recent: dict[int, dict] = {}
                for batch in self._batches(order, cancel):
                    vision = self._vision(slices[list(batch)])
                    for row, z in enumerate(batch):
                        tracked = self._track(z, vision, row, {start: prompt}, recent, count, reverse)
                        yield z, attended.pop()[:, 0].T.reshape(self.channels, side, side)
                        if z != start:
                            recent[z] = tracked
                        if len(recent) > max(self.model.num_maskmem, self.model.max_obj_ptrs_in_encoder):
                            del recent[next(iter(recent))]
        finally:
            hook.remove()

    def _vision(self, slices: torch.Tensor) -> tuple[list, list, list]:
        """Feature maps (HW, B, C) of three levels, their position encodings, and their sizes."""
        return self.model._prepare_backbone_features(self.model.forward_image(self.images(slices)))[1:]

    def _track(
        self,
        z: int,
        vision: tuple,
        row: int,
        prompted: dict[int, dict],
        recent: dict[int, dict],
        count: int,
        reverse: bool = False,
        mask: torch.Tensor | None = None,
    ) -> dict:
        """One step of SAM2's tracking, prompted by `mask` (S, S) if given; what is remembered of it."""
        maps, positions, sizes = vision
        if mask is not None:
            pixels = mask[None, None].to(self.device, torch.float32)
            size = (self.input_size, self.input_size)
            mask = (
                F.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True) >= 0.5
            ).float()
        output = self.model.track_step(
            frame_idx=z,
            is_init_cond_frame=mask is not None,
            current_vision_feats=[m[:, row : row + 1] for m in maps],
            current_vision_pos_embeds=[p[:, row : row + 1] for p in positions],
            feat_sizes=sizes,
            point_inputs=None,
            mask_inputs=mask,
            output_dict={"cond_frame_outputs": prompted, "non_cond_frame_outputs": recent},
            num_frames=max(count, 2),  # SAM2 divides by the number of frames less one
            track_in_reverse=reverse,
        )
        return {name: output[name] for name in ("maskmem_features", "maskmem_pos_enc", "obj_ptr")}


def _build_model(variant: str, input_size: int, seed: int = 0) -> torch.nn.Module:
    # Not `sam2.build_sam`: it goes through Hydra's global state, which another program may hold.
    config = OmegaConf.load(str(resources.files("sam2") / CONFIGS[variant])).model
    config.image_size = input_size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return instantiate(config).eval().requires_grad_(False)


def _trained_model(variant: str, input_size: int, checkpoint: Path) -> torch.nn.Module:
    state = _read_weights(checkpoint)
    fits = _variant_of(state)
    if fits not in (None, variant):
        raise other_variant(checkpoint, fits, variant)
    model = _build_model(variant, input_size)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise unfit(checkpoint, variant) from error
    return model


def _read_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The tensors under "model" in a checkpoint."""
    content = read_checkpoint(checkpoint)
    state = content.get("model") if isinstance(content, dict) else None
    if not holds_tensors(state):
        raise WeightsError(
            f"{checkpoint} is not a SAM2 checkpoint: it has no weights under 'model'.", "Use another file."
        )
    return state


def _variant_of(state: dict[str, torch.Tensor]) -> str | None:
    """Name of the variant that weights belong to, None where it cannot be told."""
    stem = state.get("image_encoder.trunk.patch_embed.proj.weight")
    blocks = {name.split(".")[3] for name in state if name.startswith("image_encoder.trunk.blocks.")}
    size = _TRUNKS.get((len(stem) if stem is not None else 0, len(blocks)))
    family = "sam2.1" if "no_obj_embed_spatial" in state else "sam2"
    return f"{family}_hiera_{size}" if size else None
