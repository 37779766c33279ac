"""The paper's Table 4: what each part of the method contributes, as configurations of `glidereg register`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import SimpleITK as sitk

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.networks import network
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.files import checkpoints
from GLIDERegLib.files.transforms import read_transform
from GLIDERegLib.studies.benchmark.about import describe_checkpoint
from GLIDERegLib.studies.cases import Task
from GLIDERegLib.studies.code import own_version

REDUCTIONS = ("pca", "static", "dynamic")
# The two readings of the paper: each slice by itself, or conditioned on SAM2's memory of the earlier ones.
READINGS = ("slice", "memory")
# What was added to the paper's method, and the setting without it; 4 and 1 are version 0.1.0's.
WITHOUT = {
    "second-search": "search_passes=1",
    "search-stretch": "search_stretch=1",
    "second-direction": "symmetric=false",
    "consistent-levels": "consistent_levels=false",
    "intensities": "intensity_share=0",
    "slopes": "slope_weight=0",
    "even-weights": "noise_weight=4",
    "stiffness": "bending_weight=1",
}
DEFAULT_ENCODER = "sam2.1_hiera_tiny"


@dataclass(frozen=True)
class Configuration:
    """One row of the ablation; a `Method`. Options are those of `glidereg register`.

    reduction and reading are None for local features, which know neither. checkpoint: None where there is
    none. without: a key of `WITHOUT`, or None for the method whole.
    """

    features: str
    reduction: str | None = None
    reading: str | None = None
    encoder: str = DEFAULT_ENCODER
    checkpoint: Path | None = None
    preset: str = "default"
    without: str | None = None

    @property
    def name(self) -> str:
        memory = "memory" if self.reading == "memory" else None
        parts = (self.reduction, self.features, memory, self.without and f"without-{self.without}")
        return "-".join(part for part in parts if part)

    def missing(self) -> str | None:
        if self.features == "local" or self.checkpoint is not None:
            return None
        return (
            f"Global features need a {network(self.encoder).title} checkpoint: get one with glidereg weights "
            f"download {self.encoder}, or give a file of your own with --checkpoint."
        )

    def command(self, task: Task) -> list[str]:
        task = task.on_own_grid()
        command = [sys.executable, "-m", "GLIDERegLib", "register", str(task.fixed), str(task.moving)]
        # The images are aligned already; an alignment here would be measured as part of the row.
        options = {
            "output": task.folder,
            "align": "none",
            "threads": task.threads,
            "preset": self.preset,
            "features": self.features,
            "fixed-mask": task.fixed_mask,
            "moving-mask": task.moving_mask,
            "set": self.without and WITHOUT[self.without],
        }
        if self.features != "local":
            options |= {
                "reduction": self.reduction,
                "encoder-reading": self.reading,
                "encoder": self.encoder,
                "checkpoint": self.checkpoint,
            }
        return [*command, "--quiet", *(f"--{name}={value}" for name, value in options.items() if value)]

    def transform(self, task: Task) -> sitk.Transform:
        return read_transform(task.folder / "transform.h5")

    def version(self) -> str:
        return f"GLIDE-Reg {own_version()}"


def configurations(
    checkpoint: Path | None = None, encoder: str = DEFAULT_ENCODER, preset: str = "default"
) -> list[Configuration]:
    """The 19 rows: local features alone, then every reduction of global and of both features, with the slices
    read one by one and through SAM2's memory, and local features without each of `WITHOUT`; 13 with DINOv2,
    which has no memory.

    checkpoint: a file of one's own for the encoder, else the published one where it was downloaded; without
    either, the rows that need it are missing. Raises InputError for a file that is not there, and for an
    unknown encoder or preset.
    """
    if checkpoint is not None and not checkpoint.is_file():
        raise InputError(
            f"There is no checkpoint file '{checkpoint}'.",
            "Check the path given as --checkpoint.",
            code="checkpoint-file",
        )
    Settings.preset(preset)
    checkpoint = checkpoint or checkpoints.find(encoder)
    readings = READINGS if network(encoder).title == "SAM2" else READINGS[:1]
    return [
        Configuration("local", encoder=encoder, preset=preset),
        *(
            Configuration(features, reduction, reading, encoder, checkpoint, preset)
            for features, reduction, reading in product(("global", "both"), REDUCTIONS, readings)
        ),
        *(Configuration("local", encoder=encoder, preset=preset, without=part) for part in WITHOUT),
    ]


def weights_of(rows: list[Configuration]) -> str:
    """What weights the rows use, in words for the table."""
    checkpoint = next((row.checkpoint for row in rows if row.checkpoint), None)
    return describe_checkpoint(checkpoint) if checkpoint else "weights: none"
