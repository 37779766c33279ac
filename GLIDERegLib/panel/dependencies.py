"""What Slicer's Python still lacks, and its installation with the user's consent.

    probe = Probe()
    probe.start()

A timer calls probe.poll() until it returns the findings, or probe.failure tells why not. Before a
registration, ensureInstalled(findings, globalFeatures) installs what lacks; then probe again, since devices
show only with torch.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout

from GLIDERegLib.panel import packages
from GLIDERegLib.panel.child import PYTHON_VARIABLE, Child, pythonExecutable
from GLIDERegLib.panel.packages import EXTRAS, MEGABYTES, REQUIREMENTS

TITLE = "GLIDE-Reg"
PROBE_COMMAND = ("-m", "GLIDERegLib.worker.probe")
# Torch's first start, with a virus scanner looking at each of its files, takes a minute.
PROBE_SECONDS = 180.0
# What pip's output says, and what a user can do about it; the first that fits counts.
_CAUSES = (
    (
        ("[WinError 206]", "Long Path", "path too long"),
        "the path of Slicer's folder is too long for Windows; move Slicer to a short one, such as C:\\Slicer",
    ),
    (("[Errno 28]", "No space left", "[WinError 112]"), "the disk is full; free at least 5 GB"),
    (
        ("[Errno 13]", "[WinError 5]", "Permission denied", "Access is denied"),
        "Slicer's folder cannot be changed; restart Slicer, or install it in a folder of your own",
    ),
    (
        ("NewConnectionError", "NameResolutionError", "Max retries", "ProxyError", "Timeout", "SSLError"),
        "the packages cannot be downloaded; check the network and its proxy settings",
    ),
    (
        ("ResolutionImpossible", "conflicting dependencies", "No matching distribution"),
        "no version of the packages fits this Slicer; update Slicer and GLIDE-Reg",
    ),
)
_installing = False


class Probe:
    """Asks a process of its own what the registering Python has: packages, devices, checkpoints.

    failure: one sentence once it has gone wrong, else None.
    """

    def __init__(self, command: tuple[str, ...] = PROBE_COMMAND):
        self._command = command
        self._child: Child | None = None
        self._findings: dict | None = None
        self.failure: str | None = None

    def start(self) -> None:
        """Starts it, anew where it runs already; returns at once."""
        self.close()
        self._findings, self.failure = None, None
        self._deadline = time.monotonic() + PROBE_SECONDS
        try:
            self._child = Child(*self._command)
        except OSError as error:
            self._fail(str(error))

    def poll(self) -> dict | None:
        """The findings, None while they are not known; never blocks."""
        if self._child is None:
            return self._findings
        status = self._child.exitStatus
        if status is None and time.monotonic() < self._deadline:
            return None
        output, log = "\n".join(self._child.lines), "\n".join(self._child.log)
        self.close()
        try:
            if status != 0:
                raise ValueError("no answer in time" if status is None else f"exit status {status}")
            self._findings = json.loads(output)
        except ValueError as error:
            logging.error("GLIDE-Reg's probe failed: %s\n%s\n%s", error, output, log)
            self._fail(str(error))
        return self._findings

    def close(self) -> None:
        """Ends it where it still runs."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def _fail(self, reason: str) -> None:
        own = f", or unset {PYTHON_VARIABLE}" if os.environ.get(PYTHON_VARIABLE) else ""
        self.failure = (
            f"The Python that registers, {pythonExecutable()}, could not be examined ({reason}); "
            f"restart Slicer{own}."
        )


def missingPackages(findings: dict, globalFeatures: bool) -> list[str]:
    """Import names of what a registration needs and the probe did not find."""
    return [*findings["missing"], *(findings["missing_global"] if globalFeatures else [])]


def ensureInstalled(findings: dict, globalFeatures: bool) -> bool:
    """Whether everything a registration needs is there, after installing it if the user agrees.

    findings: what `Probe.poll` returned; probe again after an installation. Tells the user by itself why
    something cannot be installed. Installs nothing in a Slicer that is under test or has no window, and never
    changes Slicer's numpy, SimpleITK and VTK.
    """
    missing = missingPackages(findings, globalFeatures)
    if not missing:
        return True
    optional = [name for name in findings["missing_optional"] if name in REQUIREMENTS]
    return _installed(missing, optional, lambda: packages.install(missing, optional, TITLE))


def ensureExtra(name: str) -> bool:
    """Whether a package that one button alone needs is there, after installing it if the user agrees; else as
    `ensureInstalled`. What a Python of the user's own has is not asked: its process tells.
    """
    if os.environ.get(PYTHON_VARIABLE) or importlib.util.find_spec(name) is not None:
        return True

    def install() -> bool:
        packages.installExtra(name, TITLE)
        importlib.invalidate_caches()
        return True

    return _installed([name], [], install)


def _installed(missing: list[str], optional: list[str], install: Callable[[], bool]) -> bool:
    """Whether `install` has done it, once the user has agreed; tells why not."""
    global _installing
    import slicer

    if _installing:  # Slicer 5.10 handles clicks while pip runs
        return False
    if slicer.app.testingEnabled() or slicer.util.mainWindow() is None:
        logging.info("GLIDE-Reg lacks %s; nothing is installed without a user.", ", ".join(missing))
        return False
    if obstacle := _obstacle(missing):
        slicer.util.errorDisplay(obstacle, windowTitle=TITLE)
        return False
    if not slicer.util.confirmOkCancelDisplay(_question(missing, optional), windowTitle=TITLE):
        return False
    output = _Tee()
    _installing = True
    try:
        with redirect_stdout(output):
            return install()
    except Exception as error:
        logging.exception("GLIDE-Reg's dependencies could not be installed.")
        sentence = explainFailure(f"{output.text}\n{error}")
        slicer.util.errorDisplay(sentence, windowTitle=TITLE, detailedText=output.text[-20000:])
        return False
    finally:
        _installing = False


def explainFailure(output: str) -> str:
    """One sentence on why an installation failed, from what pip printed, with a way out."""
    said = output.lower()
    fitting = (cause for signs, cause in _CAUSES if any(sign.lower() in said for sign in signs))
    cause = next(fitting, "pip or the installer of PyTorch failed; restart Slicer")
    return f"The installation stopped: {cause}, then try again (the Python Console shows the details)."


def _obstacle(missing: list[str]) -> str | None:
    """Why not even trying makes sense, in one sentence with a way out."""
    if os.environ.get(PYTHON_VARIABLE):
        return (
            f"{pythonExecutable()} lacks {', '.join(missing)}; install them there, or unset "
            f"{PYTHON_VARIABLE} and restart Slicer to use Slicer's own Python."
        )
    unknown = [name for name in missing if name not in (*REQUIREMENTS, *EXTRAS, "torch", "sam2")]
    if unknown:
        return f"Slicer's own {', '.join(unknown)} cannot be imported; install Slicer again."
    if "torch" not in missing:
        return None
    if platform.system() == "Darwin" and platform.machine() == "x86_64":
        return (
            "PyTorch is no longer made for Macs with Intel processors; use another computer, or on Apple "
            "silicon the Slicer that is built for it."
        )
    try:
        import PyTorchUtils  # noqa: F401
    except ImportError:
        return "Install the extension PyTorch in the Extensions Manager, restart Slicer, and try again."
    return None


def _question(missing: list[str], optional: list[str]) -> str:
    """What the user agrees to."""
    lines = []
    if "torch" in missing:
        lines.append(
            "PyTorch: about 0.2 GB for the processor alone, 2.5 to 3 GB for an NVIDIA graphics card "
            "(the PyTorch extension asks once more)"
        )
    others = [name for name in (*missing, *optional) if name != "torch"]
    if others:
        size = sum(MEGABYTES.get(name, 1) for name in others)
        known = {**REQUIREMENTS, **EXTRAS, "sam2": "SAM2"}
        names = ", ".join(known[name].split(">")[0] for name in others)
        lines.append(f"{names}: about {size} MB")
    return "\n\n".join(
        (
            "GLIDE-Reg needs Python packages that Slicer does not come with. Download and install them now?",
            "\n".join(f"- {line}" for line in lines),
            "This takes some minutes. What Slicer itself came with stays as it is.",
        )
    )


class _Tee:
    """Keeps what is printed, beside printing it."""

    def __init__(self):
        self._printer = sys.stdout
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text
        self._printer.write(text)

    def flush(self) -> None:
        self._printer.flush()
