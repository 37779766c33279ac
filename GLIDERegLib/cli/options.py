"""The options that choose how to register, shared by the commands that do."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from GLIDERegLib.core.settings import Settings

# Name, type, unit and help; the values are checked by `Settings`, so that every caller gets the checks.
OPTIONS: tuple[tuple[str, type, str, str], ...] = (
    ("preset", str, "NAME", "fast, default, accurate, or paper (the paper's schedule); default: default"),
    ("features", str, "PAIR", "local (MIND), global (SAM2), both, or auto: both when there is a checkpoint, "
     "else local; default: auto"),
    ("reduction", str, "KIND", "how the encoder's channels become few: dynamic (a VAE that learns along), "
     "static (a VAE trained before) or pca; default: dynamic"),
    ("align", str, "KIND", "where to start: none (positions as stored), center (middle on middle), rigid or "
     "affine; default: rigid"),
    ("encoder", str, "NAME", "network for the global features, of SAM2, or of DINOv2 as in DINO-Reg; see "
     "`glidereg weights list`; default: sam2.1_hiera_tiny"),
    ("checkpoint", str, "FILE", "a checkpoint file of your own for that encoder"),
    ("encoder-reading", str, "KIND", "slice (each by itself) or memory (a sequence through SAM2's memory); "
     "default: slice"),
    ("encoder-input-size", int, "PIXELS", "edge of the slices the encoder sees, or the nearest it takes; "
     "default: 1024 as in the paper, on a processor 512, which is about five times as fast"),
    ("slice-step", int, "N", "show the encoder only every N-th slice; default: 1, on a processor slices "
     "12 mm apart"),
    ("spacing", float, "MM", "working resolution; default: the fixed image's, within the preset's limits"),
    ("search-range", float, "MM", "largest motion to look for beyond the alignment; default: 48"),
    ("device", str, "NAME", "auto, cpu, cuda, cuda:N or mps; default: auto"),
    ("threads", int, "N", "processor threads to use; default: all"),
    ("seed", int, "N", "start of all random numbers: the same seed gives the same result; default: 0"),
)  # fmt: skip
SETTING_NAMES = {"slice-step": "encoder_slice_step"}


def settings_options() -> argparse.ArgumentParser:
    """A parent parser with all of them."""
    parser = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    group = parser.add_argument_group("how to register")
    for name, kind, unit, text in OPTIONS:
        setting = SETTING_NAMES.get(name, name.replace("-", "_"))
        group.add_argument(f"--{name}", dest=setting, type=kind, metavar=unit, help=text)
    return parser


def settings_of(options: argparse.Namespace) -> Settings:
    """The preset with what the options change; raises InputError for values that no setting may have."""
    from GLIDERegLib.core.settings import Settings

    names = {item.name for item in fields(Settings)}
    changes = {name: value for name, value in vars(options).items() if name in names}
    return Settings.preset(getattr(options, "preset", "default"), **changes)
