"""Every choice of a registration in one place, and the four presets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.networks import network

CHOICES = {
    "features": ("auto", "both", "global", "local"),
    "reduction": ("dynamic", "static", "pca"),
    "align": ("none", "center", "rigid", "affine"),
    "encoder_reading": ("slice", "memory"),
}
_LEAST = {
    "search_range": 1.0,
    "search_stretch": 1.0,
    "search_passes": 1,
    "encoder_slice_step": 1,
    "encoder_input_size": 64,
    "seed": 0,
    "threads": 1,
    "latent_channels": 1,
}
# Tokens of 512 pixels are 32 across a slice, 8 to 14 mm each.
INPUT_SIZE, CPU_INPUT_SIZE, CPU_SLICES_MM = 1024, 512, 12.0
PRESETS = ("fast", "default", "accurate", "paper")
# Channels of features that the refinement reads as bytes of one 16-byte voxel, beside a weight.
CHANNELS = 12


@dataclass(frozen=True)
class Level:
    """One resolution: node spacing and feature size in working voxels, iterations, learning rate in node
    spacings.

    final_rate: the share of the learning rate that a cosine schedule ends at. damping: Adam's epsilon as a
    share of the first gradient's root mean square; without it, nodes that see only noise take steps as long
    as those that see a vessel.
    """

    node_spacing: int
    feature_factor: int
    iterations: int
    learning_rate: float = 0.25
    final_rate: float = 0.05
    damping: float = 0.5


@dataclass(frozen=True)
class Settings:
    """Settings of one registration. Lengths are in mm; weights multiply terms of the energy.

    name: the preset these settings came from. features: which feature pairs drive the registration; `auto` is
    both where a checkpoint is present, else local. reduction: how the encoder's channels become
    `latent_channels`. align: the pre-alignment. encoder: a checkpoint's name; checkpoint: one's own file.
    spacing: of the working grid, None for the fixed image's finest within `finest_spacing` and `most_voxels`.
    encoder_input_size: edge in pixels at which the encoder sees a slice, or the nearest that its network
    takes; encoder_slice_step: it sees every n-th. None for both is the paper's: 1024 and every slice; but 512
    and slices 12 mm apart on a processor, where a token is then about as high as it is wide.
    search_range: radius of the ball of discrete displacements around the pre-aligned position, in cells of
    `cell_size`; search_stretch: how many times further it reaches along the body's axis, where a breath moves
    the lungs' bases most (by more than 48 mm on COPD scans); search_passes: how often it is made, again
    through what was found before and within half the range, which mends what a first field left too smooth.
    global_search_range and global_cell_size: the same for the global features, whose differences count
    `global_coupling` times against the coupling.
    vae_refresh: iterations between two computations of all reduced features; vae_tokens: tokens of a step.
    bending_weight: of the bending energy; it grows with the edge of voxels larger than 1.4 mm.
    noise_weight: how far a local contrast must exceed a typical voxel's to count fully; 0 for all alike. More
    than 0 leaves the word to strong edges, along which nothing tells how far they slid.
    folding_weight: of the penalty on small Jacobian determinants. levels: the refinement, coarse to fine.
    symmetric: both directions are registered; the mean of one and the inverse of the other is the result.
    consistent_levels: with `symmetric`, both are made inverse to each other between levels, too.
    """

    name: str = "default"
    features: str = "auto"
    reduction: str = "dynamic"
    align: str = "rigid"
    spacing: float | None = None
    finest_spacing: float = 1.0
    most_voxels: float = 32e6
    device: str = "auto"
    seed: int = 0
    threads: int | None = None

    encoder: str = "sam2.1_hiera_tiny"
    checkpoint: str | None = None
    encoder_input_size: int | None = None
    encoder_slice_step: int | None = None
    encoder_reading: str = "slice"

    latent_channels: int = 12
    vae_learning_rate: float = 1e-3
    kl_weight: float = 1e-3
    vae_refresh: int = 20
    vae_tokens: int = 2048

    mind_radius: int = 1
    mind_dilation: int = 2

    search_range: float = 48.0
    search_stretch: float = 1.5
    search_passes: int = 2
    cell_size: float = 8.0
    global_search_range: float = 96.0
    global_cell_size: float = 12.0
    global_coupling: float = 1.0
    global_weight: float = 1.0
    local_weight: float = 1.0
    bending_weight: float = 15.0
    folding_weight: float = 20.0
    noise_weight: float = 0.0
    levels: tuple[Level, ...] = field(default=(Level(4, 4, 40), Level(4, 2, 40), Level(2, 1, 80)))
    symmetric: bool = True
    consistent_levels: bool = True

    def __post_init__(self):
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(
                    f"Unknown {name} '{getattr(self, name)}': choose one of {', '.join(choices)}."
                )
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise InputError(f"The {name.replace('_', ' ')} must be at least {least:g}, not {value:g}.")
        if self.latent_channels > CHANNELS:
            raise InputError(f"At most {CHANNELS} latent channels are possible, not {self.latent_channels}.")
        if self.spacing is not None and not 0 < self.spacing <= 20:
            raise InputError(f"The working spacing must be above 0 and at most 20 mm, not {self.spacing:g}.")

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Settings:
        """The settings of a preset with some of them changed; raises InputError for an unknown name."""
        if name not in PRESETS:
            raise InputError(f"Unknown preset '{name}': choose one of {', '.join(PRESETS)}.")
        return cls(**{"name": name, **_PRESETS[name], **changes})

    def slice_size(self, device: str) -> int:
        """Edge in pixels at which the encoder sees a slice on a kind of device (`torch.device.type`).

        The nearest that the encoder takes; raises InputError for an unknown encoder.
        """
        wanted = self.encoder_input_size or (CPU_INPUT_SIZE if device == "cpu" else INPUT_SIZE)
        return network(self.encoder).nearest_size(wanted)

    def slice_step(self, device: str, spacing: float) -> int:
        """Every how many-th slice of a working grid of `spacing` mm the encoder sees there."""
        return self.encoder_slice_step or (max(1, round(CPU_SLICES_MM / spacing)) if device == "cpu" else 1)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return dataclasses.asdict(self)


_PRESETS: dict[str, dict[str, Any]] = {
    "fast": {
        "search_passes": 1,
        "symmetric": False,
        "finest_spacing": 2.0,
        "levels": (Level(4, 4, 32), Level(4, 2, 40)),
        "most_voxels": 8e6,
    },
    "default": {},
    "accurate": {
        "levels": (Level(4, 4, 60), Level(4, 2, 60), Level(2, 1, 160)),
    },
    # The paper's schedule: one level, downsampling 2, 800 iterations at a constant learning rate of 1.
    "paper": {
        "levels": (Level(2, 2, 800, learning_rate=1.0, final_rate=1.0, damping=0.0),),
        "vae_refresh": 1,
        "symmetric": False,
        "encoder_input_size": 1024,
        "encoder_slice_step": 1,
    },
}
