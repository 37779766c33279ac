"""Peers from packages: small scripts run them in a Python of their own, or, for a program, in ours."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import SimpleITK as sitk

from GLIDERegLib.files.volumes import read_volume
from GLIDERegLib.studies.cases import Task
from GLIDERegLib.studies.peers.conversion import read_result

SCRIPTS = Path(__file__).parent / "scripts"
PYTHON_VARIABLE = "GLIDEREG_PEERS_PYTHON"
ENVIRONMENT = Path(__file__).parents[3] / ".venv-peers"


def peers_python() -> Path:
    """The Python of the peers' packages: $GLIDEREG_PEERS_PYTHON, or that of .venv-peers in the checkout."""
    default = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return Path(os.environ.get(PYTHON_VARIABLE) or default)


@dataclass(frozen=True)
class PackagePeer:
    """A Python package, run by a script here in the peers' own Python.

    result: the file the script writes; convention: what is in it (`conversion.CONVENTIONS`). masks: whether
    the script takes masks, which it gets where both images have one. two_grids: whether the
    moving scan may lie on a grid of its own.
    """

    name: str
    package: str
    script: str
    result: str
    convention: str
    python: Path
    masks: bool = True
    two_grids: bool = True

    def missing(self) -> str | None:
        if not self.python.exists():
            return (
                f"{self.name} needs the peers' Python '{self.python}', which is not there; run `make peers`."
            )
        if not self._installed():
            return f"{self.name} needs {self.package} in '{self.python}'; run `make peers`."
        return None

    def command(self, task: Task) -> Sequence[str]:
        task = task.on_own_grid() if self.two_grids else task
        # Isolated, so that neither this folder nor the user's own packages get among the peer's imports.
        parts = [self.python, "-I", SCRIPTS / self.script, task.fixed, task.moving, task.folder, task.threads]
        if self.masks and task.fixed_mask and task.moving_mask:
            parts += [task.fixed_mask, task.moving_mask]
        return [str(part) for part in parts]

    def transform(self, task: Task) -> sitk.Transform:
        return read_result(task.folder / self.result, self.convention, read_volume(task.fixed, "fixed").grid)

    def version(self) -> str:
        return f"{self.package} {self._installed() or 'not installed'}"

    def _installed(self) -> str | None:
        return _package_version(self.python, self.package)


@dataclass(frozen=True)
class Plastimatch(PackagePeer):
    """The program plastimatch, found on the search path and run by our own Python."""

    def missing(self) -> str | None:
        if shutil.which("plastimatch"):
            return None
        return "plastimatch is not on the search path; install it (Debian, Ubuntu: apt install plastimatch)."

    def _installed(self) -> str | None:
        said = _output(("plastimatch", "--version"))
        return said and re.sub(r"^plastimatch version ", "", said)


def package_peers(python: Path) -> list[PackagePeer]:
    """All of them; python: the one that has the peers' packages."""
    return [
        PackagePeer("syn", "antspyx", "run_syn.py", "transform.h5", "transform", python),
        PackagePeer("elastix", "itk-elastix", "run_elastix.py", "displacement.mha", "mm-lps", python),
        PackagePeer("greedy", "picsl_greedy", "run_greedy.py", "displacement.mha", "mm-lps", python),
        PackagePeer("niftyreg", "niftyreg", "run_niftyreg.py", "displacement.nii.gz", "mm-ras", python),
        PackagePeer(
            "convexadam",
            "convexAdam",
            "run_convexadam.py",
            "displacement.mha",
            "voxels-zyx",
            python,
            masks=False,
            two_grids=False,
        ),
        Plastimatch(
            "plastimatch",
            "plastimatch",
            "run_plastimatch.py",
            "displacement.mha",
            "mm-lps",
            Path(sys.executable),
        ),
    ]


def _package_version(python: Path, package: str) -> str | None:
    script = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
    return _output((str(python), "-I", "-c", script, package))


@lru_cache
def _output(command: tuple[str, ...]) -> str | None:
    """What a command says, None where it cannot run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
