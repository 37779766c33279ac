"""No registration, an affine one, GLIDE-Reg itself, and DINO-Reg as a configuration of it, as methods."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import SimpleITK as sitk

from GLIDERegLib.core.networks import network
from GLIDERegLib.core.settings import Settings
from GLIDERegLib.files import checkpoints
from GLIDERegLib.files.transforms import read_transform
from GLIDERegLib.studies.cases import Task
from GLIDERegLib.studies.code import own_version

RESULT = "transform.h5"


@dataclass(frozen=True)
class NoRegistration:
    """The identity."""

    name: str = "none"

    def missing(self) -> str | None:
        return None

    def command(self, task: Task) -> Sequence[str]:
        return ()

    def transform(self, task: Task) -> sitk.Transform:
        return sitk.Transform(3, sitk.sitkIdentity)

    def version(self) -> str:
        return "identity"


@dataclass(frozen=True)
class Affine:
    """GLIDE-Reg's affine pre-alignment alone (`registration.prealign`, SimpleITK)."""

    name: str = "affine"

    def missing(self) -> str | None:
        return None

    def command(self, task: Task) -> Sequence[str]:
        task = task.on_own_grid()
        masks = [f"{path or ''}" for path in (task.fixed_mask, task.moving_mask)]
        module = "GLIDERegLib.studies.peers.affine"
        return [
            sys.executable,
            "-m",
            module,
            str(task.fixed),
            str(task.moving),
            str(task.folder / RESULT),
            *masks,
        ]

    def transform(self, task: Task) -> sitk.Transform:
        return read_transform(task.folder / RESULT)

    def version(self) -> str:
        return f"SimpleITK {sitk.Version.VersionString()}"


@dataclass(frozen=True)
class GlideReg:
    """`glidereg register` with a preset, without pre-alignment: that is done before, for all methods alike.

    Both feature pairs where the preset's checkpoint and the package sam2 are there, else local features only.
    """

    preset: str

    @property
    def name(self) -> str:
        return f"glidereg-{self.preset}"

    def missing(self) -> str | None:
        return None

    def command(self, task: Task) -> Sequence[str]:
        task = task.on_own_grid()
        command = [
            sys.executable,
            "-m",
            "GLIDERegLib",
            "register",
            task.fixed,
            task.moving,
            "-o",
            task.folder,
        ]
        command += ["--preset", self.preset, "--align", "none", *self._options()]
        command += ["--threads", task.threads, "--quiet"]
        for role, mask in (("fixed", task.fixed_mask), ("moving", task.moving_mask)):
            command += [f"--{role}-mask", mask] if mask else []
        return [str(part) for part in command]

    def transform(self, task: Task) -> sitk.Transform:
        return read_transform(task.folder / RESULT)

    def version(self) -> str:
        encoder = Settings.preset(self.preset).encoder
        features = f"local features and {encoder}" if self._features() == "both" else "local features only"
        return f"glidereg {own_version()}, preset {self.preset}, {features}"

    def _options(self) -> Sequence[str]:
        return ["--features", self._features()]

    def _features(self) -> str:
        there = checkpoints.find(Settings.preset(self.preset).encoder) is not None and find_spec("sam2")
        return "both" if there else "local"


@dataclass(frozen=True)
class DinoReg(GlideReg):
    """DINO-Reg's features (DINOv2 ViT-L/14 with registers, PCA) and no others, in GLIDE-Reg's optimiser."""

    preset: str = "default"
    encoder: str = "dinov2_vitl14_reg"

    @property
    def name(self) -> str:
        return "dino-reg"

    def missing(self) -> str | None:
        needed = network(self.encoder)
        if find_spec(needed.package) is None:
            return (
                f"dino-reg needs the package {needed.package}; install it with `pip install "
                "'transformers>=5.20,<6'`."
            )
        if checkpoints.find(self.encoder) is None:
            return (
                f"dino-reg needs the checkpoint {self.encoder}; get it with glidereg weights download "
                f"{self.encoder}."
            )
        return None

    def version(self) -> str:
        return f"glidereg {own_version()}, preset {self.preset}, {self.encoder} reduced by PCA"

    def _options(self) -> Sequence[str]:
        return ["--features", "global", "--encoder", self.encoder, "--reduction", "pca"]
