"""Random weights in the layout of Meta's files of DINOv2, for networks far smaller than those published."""

import dataclasses

import torch

from GLIDERegLib.core import networks
from GLIDERegLib.registration.features import dinov2

SMALL, REGISTERS, GIANT = "dinov2_vits14", "dinov2_vits14_reg", "dinov2_vitg14_reg"
# Channels and blocks that these networks have here; the giant's blocks are of another kind.
SHAPES = {"s": (128, 3), "g": (192, 2)}


def shrink(patch) -> None:
    """Gives the three networks these shapes while a `pytest.MonkeyPatch` lasts."""
    for variant in SMALL, REGISTERS, GIANT:
        size = variant[len("dinov2_vit")]
        patch.setitem(dinov2._SIZES, size, SHAPES[size])
        smaller = dataclasses.replace(networks.NETWORKS[variant], channels=SHAPES[size][0])
        patch.setitem(networks.NETWORKS, variant, smaller)


def published(variant, positions=37):
    """Random weights with the names and shapes of Meta's file of a variant."""
    generator = torch.Generator().manual_seed(len(variant))
    channels, blocks = SHAPES[variant[len("dinov2_vit")]]

    def random(*shape, scale=0.05, mean=0.0):
        return mean + scale * torch.randn(shape, generator=generator)

    state = {
        "cls_token": random(1, 1, channels),
        "pos_embed": random(1, 1 + positions**2, channels),
        "mask_token": random(1, channels),
        "patch_embed.proj.weight": random(channels, 3, 14, 14),
        "patch_embed.proj.bias": random(channels),
        "norm.weight": random(channels, mean=1.0),
        "norm.bias": random(channels),
    }
    if variant.endswith("_reg"):
        state["register_tokens"] = random(1, 4, channels)
    hidden = (int(4 * channels * 2 / 3) + 7) // 8 * 8
    for i in range(blocks):
        layers = {"attn.qkv": (3 * channels, channels), "attn.proj": (channels, channels)}
        if variant == GIANT:
            layers |= {"mlp.w12": (2 * hidden, channels), "mlp.w3": (channels, hidden)}
        else:
            layers |= {"mlp.fc1": (4 * channels, channels), "mlp.fc2": (channels, 4 * channels)}
        for name, shape in layers.items():
            state[f"blocks.{i}.{name}.weight"] = random(*shape)
            state[f"blocks.{i}.{name}.bias"] = random(shape[0])
        for name in "norm1", "norm2":
            state[f"blocks.{i}.{name}.weight"] = random(channels, mean=1.0)
            state[f"blocks.{i}.{name}.bias"] = random(channels)
        for name in "ls1", "ls2":
            state[f"blocks.{i}.{name}.gamma"] = random(channels, mean=0.3)
    return state
