"""The Python packages a registration needs, and how they get into Slicer's Python."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What to ask pip for, by the name that is imported. torch and sam2 are installed in ways of their own.
REQUIREMENTS = {
    "scipy": "scipy>=1.13",
    "numba": "numba>=0.61",
    "pooch": "pooch>=1.8",
    "requests": "requests>=2.31",
    "tqdm": "tqdm>=4.66",
    "psutil": "psutil>=5.9",
    "pydicom": "pydicom>=2.4",
    "matplotlib": "matplotlib>=3.9",
    "hydra": "hydra-core>=1.3.2",
    "omegaconf": "omegaconf>=2.3",
    "iopath": "iopath>=0.1.10",
    "PIL": "pillow>=9.4",
}
# What one button alone needs.
EXTRAS = {"highdicom": "highdicom>=0.28,<1"}
# Megabytes to download, dependencies included, where it is more than about one.
MEGABYTES = {"numba": 65, "scipy": 40, "matplotlib": 20, "PIL": 7, "highdicom": 5}
SLICERS_OWN = ("numpy", "SimpleITK", "vtk")
# Kept as it is wherever it is, for Slicer's own DICOM modules are written for that version.
DICOM = "pydicom"
TORCH = ("torch", "torchvision")
TORCH_REQUIREMENT = ">=2.5.1"
SAM2_REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements-sam2.txt"


def install(needed: list[str], optional: list[str], requester: str) -> bool:
    """Installs packages, given by the names they are imported by; False where the user refused PyTorch.

    needed: may hold torch and sam2. optional: what is done without where it cannot be installed.
    requester: whom Slicer names in its progress window. Raises whatever pip or PyTorch's installer raise.
    """
    if "torch" in needed:
        with pipKeeps(SLICERS_OWN):
            if _installTorch() is None:
                return False
    with pipKeeps((*SLICERS_OWN, *TORCH)):
        _pip([REQUIREMENTS[name] for name in needed if name in REQUIREMENTS], requester)
        if "sam2" in needed:
            _installSam2(requester)
        for name in optional:
            try:
                _pip([REQUIREMENTS[name]], requester)
            except Exception:
                logging.warning("%s could not be installed; registrations work without it.", name)
    return True


def installExtra(name: str, requester: str) -> None:
    """Installs a package of EXTRAS. Raises whatever pip raises."""
    with pipKeeps((*SLICERS_OWN, *TORCH, *([DICOM] if _isThere(DICOM) else []))):
        _pip([EXTRAS[name]], requester)


def _isThere(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@contextmanager
def pipKeeps(packages: tuple[str, ...]) -> Iterator[None]:
    """Inside, no pip that this process starts can change the version of these packages, or add them."""
    importlib.invalidate_caches()
    with tempfile.TemporaryDirectory(prefix="glidereg-") as folder:
        file = Path(folder) / "constraints.txt"
        file.write_text("".join(f"{_pin(name)}\n" for name in packages), encoding="utf-8")
        # An address, since pip takes a space in this variable for the end of a path.
        with _variable("PIP_CONSTRAINT", file.as_uri()):
            yield


def _pin(package: str) -> str:
    try:
        return f"{package}=={importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{package}<0"  # no such version, so that pip cannot bring a second copy


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Inside, processes that are started have this environment variable."""
    earlier = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if earlier is None:
            del os.environ[name]
        else:
            os.environ[name] = earlier


def _installTorch():
    """The module torch, or None where the user refused."""
    from PyTorchUtils import PyTorchUtilsLogic

    installTorch = PyTorchUtilsLogic().installTorch
    wanted = {"askConfirmation": True, "torchVersionRequirement": TORCH_REQUIREMENT}
    # The spelling of these keywords differs between versions of the extension.
    spelling = {name.lower(): name for name in inspect.signature(installTorch).parameters}
    return installTorch(**{spelling[k.lower()]: v for k, v in wanted.items() if k.lower() in spelling})


def _installSam2(requester: str) -> None:
    import slicer

    _pip(["setuptools>=61"], requester)  # SAM2 comes as source and is built with what is installed
    arguments = ["--no-build-isolation", "--no-deps", "--require-hashes", "-r", str(SAM2_REQUIREMENTS)]
    _tell("SAM2", requester)
    with _variable("SAM2_BUILD_CUDA", "0"):
        if (packaging := _packaging()) is None:
            slicer.util.pip_install(arguments)
        else:
            packaging.pip_install(arguments, show_progress=False)


def _pip(requirements: list[str], requester: str) -> None:
    import slicer

    if not requirements:
        return
    _tell(", ".join(requirements), requester)
    if (slicerPackaging := _packaging()) is None:
        slicer.util.pip_install(requirements)
    else:
        from packaging.requirements import Requirement

        # Slicer's progress window would tell a failure in a second dialog, also of what is done without.
        # The packages run in a process of their own, so that Slicer need not be restarted for them.
        slicerPackaging.pip_ensure(
            # Not their text: Slicer asks each for its marker.
            [Requirement(text) for text in requirements],
            prompt_install=False,
            prompt_restart=False,
            requester=requester,
            show_progress=False,
        )


def _packaging():
    """Slicer's own module for this, from 5.12 on; None in 5.10."""
    try:
        from slicer import packaging
    except ImportError:
        return None
    return packaging


def _tell(what: str, requester: str) -> None:
    """Says in Slicer's status bar what is being installed; pip's lines go to the Python Console."""
    import slicer

    slicer.util.showStatusMessage(f"{requester} installs {what}...")
    slicer.app.processEvents()
