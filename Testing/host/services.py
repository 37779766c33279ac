"""Stand-ins for services of Slicer around a module: translation, package installation, sample data.

They record what they are asked; nothing is installed or downloaded.
"""

from __future__ import annotations

import importlib.metadata
import sys
import types
from pathlib import Path

import slicer
import slicer.util
from packaging.requirements import Requirement


def module(name: str, contents: dict) -> types.ModuleType:
    """Makes a module importable under a name, and an attribute of its parent package where it has one."""
    made = types.ModuleType(name)
    made.__dict__.update(contents)
    made.__all__ = [key for key in contents if not key.startswith("_")]
    sys.modules[name] = made
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, made)
    return made


def tr(text: str) -> str:
    return text


def translate(context: str, text: str) -> str:
    return text


class Packaging:
    """slicer.packaging and slicer.util.pip_install, as Slicer 5.12 has them or, without the former, as 5.10.

    `calls` lists (function, requirements, options). `install` is called with the requirements in place of
    pip: a test puts a function there that does or fails what the installation should. `installed` maps
    names to versions that pip_check takes for present besides those that really are.
    """

    def __init__(self):
        self.calls: list[tuple[str, list[str], dict]] = []
        self.installed: dict[str, str] = {}
        self.install = lambda requirements: None

    def setPresent(self, present: bool) -> None:
        """Slicer 5.12 (True) or 5.10 (False)."""
        if present:
            names = ("pip_ensure", "pip_check", "pip_install", "pip_uninstall", "load_requirements")
            module("slicer.packaging", {name: getattr(self, name) for name in names})
        else:
            sys.modules.pop("slicer.packaging", None)
            slicer.__dict__.pop("packaging", None)
        # slicer.util's own pip_install goes through slicer.packaging, which 5.10 does not have.
        slicer.util.pip_install, slicer.util.pip_uninstall = self.pip_install, self.pip_uninstall

    def reset(self) -> None:
        self.__init__()
        self.setPresent(True)

    def pip_ensure(
        self,
        requirements,
        constraints=None,
        skip_packages=None,
        prompt_install=True,
        prompt_restart=True,
        requester=None,
        skip_in_testing=True,
        show_progress=True,
    ):
        """Asks, then installs what is missing; RuntimeError where the user says no."""
        missing = [r for r in self._list(requirements) if not self.pip_check(r)]
        if not missing or (skip_in_testing and slicer.app.testingEnabled()):
            return None
        if prompt_install:
            title = f"{requester} - Install Python Packages" if requester else "Install Python Packages"
            text = f"{len(missing)} Python packages need to be installed."
            if not slicer.util.confirmOkCancelDisplay(text, title, detailedText="\n".join(missing)):
                raise RuntimeError("User declined package installation")
        self._installed("pip_ensure", missing, {"constraints": constraints, "requester": requester})

    def pip_install(self, requirements, **options):
        self._installed("pip_install", self._list(requirements), options)

    def pip_uninstall(self, requirements, **options):
        self.calls.append(("pip_uninstall", self._list(requirements), options))

    def pip_check(self, req) -> bool:
        for requirement in map(Requirement, self._list(req)):
            try:
                version = self.installed.get(requirement.name) or importlib.metadata.version(requirement.name)
            except importlib.metadata.PackageNotFoundError:
                return False
            if (
                requirement.marker is None or requirement.marker.evaluate()
            ) and version not in requirement.specifier:
                return False
        return True

    def load_requirements(self, path) -> list[Requirement]:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
        return [Requirement(line) for line in lines if line and line[0] not in "#-"]

    def _installed(self, name: str, requirements: list[str], options: dict) -> None:
        self.calls.append((name, requirements, options))
        self.install(requirements)

    @staticmethod
    def _list(requirements) -> list[str]:
        given = requirements if isinstance(requirements, list | tuple) else [requirements]
        return [str(item) for item in given]


class SampleData:
    """The module SampleData; `sources` lists what was registered, as dictionaries."""

    def __init__(self):
        self.sources: list[dict] = []
        self.categories: list[dict] = []

    def install(self, categories: bool = True) -> None:
        """With registerCustomSampleDataCategory (Slicer 5.12) or without it (5.10)."""
        recorder = self

        class SampleDataLogic:
            @staticmethod
            def registerCustomSampleDataSource(
                category="Custom",
                sampleName=None,
                uris=None,
                fileNames=None,
                nodeNames=None,
                customDownloader=None,
                thumbnailFileName=None,
                loadFileTypes=None,
                loadFiles=None,
                loadFileProperties=None,
                checksums=None,
                loadFileType=None,
            ):
                given = {key: value for key, value in locals().items() if key != "recorder"}
                recorder.sources.append(given)

            if categories:

                @staticmethod
                def registerCustomSampleDataCategory(category, *args, **kwargs):
                    recorder.categories.append({"category": category, "args": args, **kwargs})

        module("SampleData", {"SampleDataLogic": SampleDataLogic})

    def reset(self) -> None:
        self.__init__()
        self.install()
