"""Every choice of a registration in one place, each with its own description, and the four presets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from GLIDERegLib.core.describing import Choice, described, descriptions
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.networks import network

# Tokens of 512 pixels are 32 across a slice, 8 to 14 mm each.
INPUT_SIZE, CPU_INPUT_SIZE, CPU_SLICES_MM = 1024, 512, 12.0
# Channels of features that the refinement reads as bytes of one 16-byte voxel, beside a weight.
CHANNELS = 12
# What the panel offers for `encoder_input_size`.
SLICE_SIZES = (
    Choice("auto", "Automatic", "1024 pixels on a graphics card, 512 on the processor."),
    Choice("1024", "1024 pixels, as published"),
    Choice("512", "512 pixels, about 5 times as fast"),
    Choice("256", "256 pixels, coarse"),
)


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
    """Settings of one registration, each told of by its `Description`: `descriptions(Settings)["spacing"]`.

    Raises InputError for a value that is no choice or out of its limits. Lengths are in mm; weights multiply
    terms of the energy.
    """

    # fmt: off
    name: str = described(
        "default", "how much time goes into the registration", title="Preset",
        choices=(
            Choice("fast", "Fast", "A first look: a working resolution of 2 mm and more."),
            Choice("default", "Default", "The best balance of time and accuracy."),
            Choice("accurate", "Accurate", "More refinement steps; about twice the time of the default."),
            Choice("paper", "Paper", "The schedule of the GLIDE-Reg paper, to compare; slow without a GPU."),
        ),
    )
    features: str = described(
        "auto", "the features that drive the registration; auto takes both where the encoder's checkpoint is "
        "present, else local", title="Features", term="global and local features",
        choices=(
            Choice("auto", "Automatic", "Both where SAM2's checkpoint is present, else MIND (local)."),
            Choice("both", "Both", "MIND descriptors (local) and SAM2 features (global)."),
            Choice("local", "MIND (local)", "MIND descriptors only; needs no SAM2."),
            Choice("global", "SAM2 (global)", "SAM2 features only."),
        ),
    )
    reduction: str = described(
        "dynamic", "how the encoder's channels become few", title="Reduction", term="dimension reduction",
        choices=(
            Choice("dynamic", "VAE, co-optimised (dynamic)",
                   "A variational autoencoder, trained while the registration is refined."),
            Choice("static", "VAE, pretrained (static)",
                   "The same network, trained on this pair beforehand, then left alone."),
            Choice("pca", "PCA", "Principal components; the quickest."),
        ),
    )
    align: str = described(
        "rigid", "the alignment before the deformable registration", title="Pre-alignment",
        choices=(
            Choice(
                "rigid", "Rigid",
                "Finds the best rotation and translation first. Scans of one grid stay as they lie unless "
                "they are farther apart than a breath moves.",
            ),
            Choice("affine", "Affine", "Finds the best affine transform first."),
            Choice("center", "Center of volumes", "Brings the centers of the volumes together."),
            Choice("none", "None", "Trusts the positions the scans have."),
        ),
    )
    spacing: float | None = described(
        None, "edge of the voxels the registration works with", title="Working resolution", unit="mm",
        most=20.0, shown=(0, 20), automatic="the fixed image's, within the preset's limits")
    finest_spacing: float = described(1.0, "finest working resolution taken where none is given", unit="mm")
    most_voxels: float = described(32e6, "most voxels of the working grid where no resolution is given")
    device: str = described(
        "auto", "where it is computed: auto (the first graphics card, or the processor where there is none), "
        "cpu, cuda, cuda:N or mps", title="Device")
    seed: int = described(
        0, "start of all random numbers: the same seed gives the same result", title="Random seed", least=0,
        shown=(0, 2147483647))
    threads: int | None = described(
        None, "processor threads to use", title="Threads", least=1, automatic="all", shown=(0, 256))

    encoder: str = described(
        "sam2.1_hiera_tiny", "network for the global features, of SAM2, or of DINOv2 as in DINO-Reg",
        title="SAM2 model", term="foundation model")
    checkpoint: str | None = described(
        None, "a checkpoint file of your own for that encoder, such as MedSAM2's", title="Custom checkpoint",
        automatic="the downloaded one")
    encoder_input_size: int | None = described(
        None, "edge at which the encoder sees a slice, or the nearest it takes", title="SAM2 slice size",
        unit="pixels", least=64,
        automatic="1024 as in the paper, on a processor 512, about five times as fast")
    encoder_slice_step: int | None = described(
        None, "the encoder sees every N-th slice only", title="SAM2 slices", least=1, shown=(0, 16),
        automatic="1, on a processor slices 12 mm apart, where a token is about as high as it is wide")
    encoder_reading: str = described(
        "slice", "how the encoder reads the slices",
        choices=(
            Choice("slice", "Slice by slice", "Each slice by itself."),
            Choice("memory", "With memory", "As a sequence through SAM2's memory."),
        ),
    )

    latent_channels: int = described(
        12, "channels the encoder's are reduced to", term="latent dimension", least=1, most=CHANNELS)
    vae_learning_rate: float = described(1e-3, "learning rate of the VAE")
    kl_weight: float = described(1e-3, "weight of the VAE's Kullback-Leibler term")
    vae_refresh: int = described(20, "iterations between two computations of all reduced features")
    vae_tokens: int = described(2048, "tokens of one step of the VAE")

    mind_radius: int = described(1, "radius of MIND's patches", unit="voxels", term="MIND-SSC r")
    mind_dilation: int = described(2, "distance of MIND's neighbours", unit="voxels", term="MIND-SSC d")

    search_range: float = described(
        48.0, "largest displacement searched beyond the alignment", title="Search range", unit="mm",
        least=1.0, term="coupled convex search, radius of the ball of displacements", shown=(8, 200))
    search_stretch: float = described(
        1.5, "how many times further the search reaches along the body's axis, where a breath moves the "
        "lungs' bases most (by more than 48 mm on COPD scans)", least=1.0)
    search_passes: int = described(
        2, "how often the search is made, again through what was found before and within half the range, "
        "which mends what a first field left too smooth", least=1)
    cell_size: float = described(8.0, "edge of the cells whose displacement is searched", unit="mm")
    global_search_range: float = described(96.0, "the search range of the global features", unit="mm")
    global_cell_size: float = described(12.0, "the cells of the global features", unit="mm")
    global_coupling: float = described(
        1.0, "how much differences of global features count against the coupling")
    global_weight: float = described(1.0, "weight of the global similarity term", term="alpha")
    local_weight: float = described(1.0, "weight of the local similarity term", term="beta")
    intensity_share: float = described(
        0.5, "part of local_weight that locally normalised intensities take from MIND where both scans show "
        "tissues alike on one scale: they place fine structures better, and large faint ones", least=0.0,
        most=1.0)
    bending_weight: float = described(
        15.0, "weight of the bending energy; it grows with the edge of voxels larger than 1.4 mm",
        term="lambda")
    slope_weight: float = described(
        0.05, "weight of the squared slopes by which, at the end, the field continues what is known where "
        "the scans do not tell how tissue moved: along the skin, within even organs; 0 for none", least=0.0)
    folding_weight: float = described(20.0, "weight of the penalty on small Jacobian determinants")
    noise_weight: float = described(
        0.0, "how far a local contrast must exceed a typical voxel's to count fully; 0 for all alike. More "
        "than 0 leaves the word to strong edges, along which nothing tells how far they slid")
    # With 40 iterations at the coarse levels, which take little of the time, the body was 0.06 to 0.1 mm
    # farther off on random_0 and the own phantom, by which 80 were chosen.
    levels: tuple[Level, ...] = described(
        (Level(4, 4, 80), Level(4, 2, 80), Level(2, 1, 80)), "resolutions of the refinement, coarse to fine",
        term="instance optimisation")
    symmetric: bool = described(
        True, "both directions are registered; the mean of one and the inverse of the other is the result")
    consistent_levels: bool = described(
        True, "with symmetric, both directions are made inverse to each other between levels, too")
    # fmt: on

    def __post_init__(self):
        for name, about in descriptions(Settings).items():
            value = getattr(self, name)
            if about.values and name != "name" and value not in about.values:
                raise InputError(
                    f"Unknown {name} '{value}'.",
                    f"Choose one of {', '.join(about.values)}.",
                    code="setting",
                )
            if value is None:
                continue
            if about.least is not None and not value >= about.least:
                raise InputError(
                    f"The {name.replace('_', ' ')} must be at least {about.least:g}, not {value:g}.",
                    code="setting",
                )
        if self.intensity_share > 1:
            raise InputError(
                f"The intensity share must be at most 1, not {self.intensity_share:g}.", code="setting"
            )
        if self.latent_channels > CHANNELS:
            raise InputError(
                f"At most {CHANNELS} latent channels are possible, not {self.latent_channels}.",
                code="setting",
            )
        if self.spacing is not None and not 0 < self.spacing <= 20:
            raise InputError(
                f"The working spacing must be above 0 and at most 20 mm, not {self.spacing:g}.",
                code="setting",
            )

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Settings:
        """The settings of a preset with some of them changed; raises InputError for an unknown name."""
        if name not in PRESETS:
            raise InputError(
                f"Unknown preset '{name}'.", f"Choose one of {', '.join(PRESETS)}.", code="setting"
            )
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


# The values there are to choose from, by the setting's name.
CHOICES = {name: about.values for name, about in descriptions(Settings).items() if about.values}
PRESETS = CHOICES.pop("name")

_PRESETS: dict[str, dict[str, Any]] = {
    "fast": {
        "search_passes": 1,
        "symmetric": False,
        "intensity_share": 0.0,
        "finest_spacing": 2.0,
        "levels": (Level(4, 4, 32), Level(4, 2, 40)),
        "most_voxels": 8e6,
    },
    "default": {},
    "accurate": {
        "levels": (Level(4, 4, 120), Level(4, 2, 120), Level(2, 1, 160)),
    },
    # The paper's schedule: one level, downsampling 2, 800 iterations at a constant learning rate of 1.
    "paper": {
        "levels": (Level(2, 2, 800, learning_rate=1.0, final_rate=1.0, damping=0.0),),
        "vae_refresh": 1,
        "symmetric": False,
        "intensity_share": 0.0,
        "slope_weight": 0.0,
        "encoder_input_size": 1024,
        "encoder_slice_step": 1,
    },
}
