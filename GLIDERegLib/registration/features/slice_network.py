"""What slice encoders made of a neural network share: their input, batches, precision, and checkpoints."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F

from GLIDERegLib.core.errors import InputError, WeightsError
from GLIDERegLib.core.networks import network
from GLIDERegLib.registration.features.encoding import CancelToken

Embeddings = Iterator[tuple[int, torch.Tensor]]  # slice number and its tokens (channels, h, w)


class NetworkEncoder:
    """A `SliceEncoder` around a network; a subclass loads it into `model` and gives its `_embeddings`.

    name: in `networks.NETWORKS`. input_size: side in pixels of the network's square input, a multiple of the
    network's step. windows: one (low, high) pair in HU for all three colour channels, or three pairs.
    half: bfloat16 (float16 on GPUs without it) inside the network and float16 tokens; default: where that is
    faster.

    Raises InputError for a setting that is not possible.
    """

    # Mean and standard deviation by which the colour channels, 0 to 1, are normalised.
    mean = (0.0, 0.0, 0.0)
    deviation = (1.0, 1.0, 1.0)
    model: torch.nn.Module
    weights: str

    def __init__(
        self,
        name: str,
        input_size: int,
        windows: Sequence[tuple[float, float]],
        batch_size: int | None,
        device: str | torch.device,
        half: bool | None,
    ):
        traits = network(name)
        if input_size < traits.step or input_size % traits.step:
            raise InputError(
                f"The encoder's input size must be a multiple of {traits.step}, not {input_size}.",
                code="setting",
            )
        if len(windows) not in (1, 3) or any(low >= high for low, high in windows):
            raise InputError(
                f"CT windows must be one or three pairs (low, high) in HU, not {windows}.", code="setting"
            )
        self.name = name
        self.channels = traits.channels
        self.side = input_size // traits.token
        self.device = torch.device(device)
        self.half = half_is_faster(self.device) if half is None else half
        self.batch_size = batch_size or (8 if self.device.type == "cuda" else 1)
        self.input_size = input_size
        self.windows = tuple((float(low), float(high)) for low, high in windows)

    def identity(self) -> dict:
        """As `SliceEncoder.identity`."""
        return {
            "name": self.name,
            "weights": self.weights,
            "input_size": self.input_size,
            "windows": [list(window) for window in self.windows],
            "precision": str(self._precision).removeprefix("torch."),
        }

    @torch.no_grad()
    def encode(
        self,
        slices: torch.Tensor,
        masks: torch.Tensor,
        progress: Callable[[float], None] | None = None,
        cancel: CancelToken | None = None,
    ) -> torch.Tensor:
        """As `SliceEncoder.encode`; tokens (Z, channels, side, side) on the CPU."""
        kind = torch.float16 if self.half else torch.float32
        tokens = torch.empty(len(slices), self.channels, self.side, self.side, dtype=kind)
        with torch.autocast(self.device.type, self._precision, enabled=self.half):
            for done, (z, embedding) in enumerate(self._embeddings(slices, masks, cancel), start=1):
                tokens[z] = embedding.to(tokens)
                if progress is not None:
                    progress(done / len(slices))
        return tokens

    def images(self, slices: torch.Tensor) -> torch.Tensor:
        """The network's input (B, 3, input_size, input_size) for slices (B, S, S) in HU."""
        slices = slices.to(self.device, torch.float32)
        windowed = [((slices - low) / (high - low)).clamp(0, 1) for low, high in self.windows]
        image = torch.stack(windowed * (3 // len(windowed)), dim=1)
        size = (self.input_size, self.input_size)
        image = F.interpolate(
            image, size, mode="bilinear", align_corners=False, antialias=slices.shape[-1] > self.input_size
        )
        mean, deviation = (image.new_tensor(value).view(3, 1, 1) for value in (self.mean, self.deviation))
        return (image - mean) / deviation

    def _embeddings(
        self, slices: torch.Tensor, masks: torch.Tensor, cancel: CancelToken | None
    ) -> Embeddings:
        raise NotImplementedError

    @property
    def _precision(self) -> torch.dtype:
        if not self.half:
            return torch.float32
        emulated = self.device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.float16 if emulated else torch.bfloat16

    def _batches(self, order: range, cancel: CancelToken | None) -> Iterator[range]:
        for first in range(0, len(order), self.batch_size):
            if cancel is not None:
                cancel.check()
            yield order[first : first + self.batch_size]


def half_is_faster(device: torch.device) -> bool:
    """True on CUDA, and on processors with instructions for bfloat16 as far as torch tells."""
    if device.type != "cpu":
        return device.type == "cuda"
    traits: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(traits.get("avx512_bf16") or traits.get("amx_bf16"))


def no_weights(name: str) -> WeightsError:
    """The error for an encoder that was given neither a checkpoint nor a seed."""
    return WeightsError(
        f"{name} needs a checkpoint", "Download it, or use local features.", code="weights-absent", name=name
    )


def read_checkpoint(checkpoint: Path) -> Any:
    """What a PyTorch file holds; never runs code from it, raises WeightsError where it would have to."""
    try:
        return torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load fails in many ways on files that are not whole checkpoints
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
            problem = "holds Python objects that could run code and is refused", "Use a file of tensors only."
        else:
            problem = "is not a whole PyTorch checkpoint", "Download it again."
        raise WeightsError(f"{checkpoint} {problem[0]}.", problem[1]) from error


def holds_tensors(content: Any) -> TypeGuard[dict[str, torch.Tensor]]:
    """Whether something read from a file is a dictionary of tensors only."""
    return isinstance(content, dict) and all(isinstance(value, torch.Tensor) for value in content.values())


def other_variant(checkpoint: Path, found: str, wanted: str) -> WeightsError:
    """The error for a checkpoint that belongs to another network."""
    return WeightsError(
        f"{checkpoint} is a checkpoint of {found}, not of {wanted}.", "Choose that encoder or another file."
    )


def unfit(checkpoint: Path, wanted: str) -> WeightsError:
    """The error for weights that do not go into the network."""
    return WeightsError(
        f"{checkpoint} does not fit {wanted}: its weights have other names or shapes.", "Use another file."
    )


def sha256_of(path: Path) -> str:
    """`sha256:...` of a file, as reports have it; raises WeightsError where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise WeightsError(
            f"The checkpoint {path} cannot be read: {error.strerror}.", "Check its permissions."
        ) from error
    return f"sha256:{digest.hexdigest()}"
