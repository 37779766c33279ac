"""The networks that can encode slices, as far as settings, memory and messages must know them unloaded."""

from __future__ import annotations

from dataclasses import dataclass

from GLIDERegLib.core.errors import InputError


@dataclass(frozen=True)
class Network:
    """A slice encoder by its name.

    channels: of a token. token: edge in pixels of the input that a token stands for; step: the input's edge
    is a multiple of it. package: what it is imported from; install: the command that gets that. memory: bytes
    of main memory for the network itself while it encodes.
    """

    name: str
    title: str
    channels: int
    token: int
    step: int
    package: str
    memory: float

    def nearest_size(self, pixels: int) -> int:
        """The edge nearest to `pixels` that the network takes."""
        return self.step * max(1, round(pixels / self.step))


def _sam2(name: str, parameters: float) -> Network:
    # What importing and running it takes, and float32 weights twice while they are read.
    memory = 0.5e9 + 2 * 4 * parameters
    return Network(name, "SAM2", 256, 16, 32, "sam2", memory)


def _dinov2(name: str, channels: int, parameters: float) -> Network:
    memory = 1e9 + 2 * 4 * parameters
    return Network(name, "DINOv2", channels, 14, 14, "transformers", memory)


_ALL = (
    *(_sam2(f"{family}_hiera_{size}", parameters) for family in ("sam2.1", "sam2")
      for size, parameters in (("tiny", 39e6), ("small", 46e6), ("base_plus", 81e6), ("large", 224e6))),
    *(_dinov2(f"dinov2_vit{letter}14{registers}", channels, parameters) for registers in ("", "_reg")
      for letter, channels, parameters in (
          ("s", 384, 22e6), ("b", 768, 87e6), ("l", 1024, 304e6), ("g", 1536, 1137e6))),
)  # fmt: skip
NETWORKS = {entry.name: entry for entry in _ALL}


def network(name: str) -> Network:
    """The network of this name; raises InputError with the names there are."""
    if name not in NETWORKS:
        raise InputError(
            f"There is no encoder {name}.", f"Choose one of {', '.join(NETWORKS)}.", code="setting"
        )
    return NETWORKS[name]
