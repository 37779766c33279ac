"""Stand-ins for services of Slicer around a module: translation, package installation, sample data.

They record what they are asked; nothing is installed or downloaded.
"""

from __future__ import annotations

import importlib.metadata
import sys
import types
from pathlib import Path
from subprocess import CalledProcessError

import slicer
import slicer.util
from packaging.requirements import Requirement

from .pythonqt import qt


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
    names to versions that pip_check takes for present besides those that really are. `replacesImported`:
    whether an installation brings another version of a package that is imported already.
    """

    def __init__(self):
        self.calls: list[tuple[str, list[str], dict]] = []
        self.installed: dict[str, str] = {}
        self.install = lambda requirements: None
        self.replacesImported = False

    def setPresent(self, present: bool) -> None:
        """Slicer 5.12 (True) or 5.10 (False)."""
        if present:
            names = ("pip_ensure", "pip_check", "pip_install", "pip_uninstall", "load_requirements")
            module("slicer.packaging", {name: getattr(self, name) for name in names})
            slicer.util.pip_install, slicer.util.pip_uninstall = self._utilInstall, self._utilUninstall
        else:
            sys.modules.pop("slicer.packaging", None)
            slicer.__dict__.pop("packaging", None)
            slicer.util.pip_install, slicer.util.pip_uninstall = self._olderInstall, self._olderUninstall

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
        missing = [str(one) for one in requirements if not self.pip_check(one)]
        if not missing or (skip_in_testing and slicer.app.testingEnabled()):
            return None
        if prompt_install:
            title = f"{requester} - Install Python Packages" if requester else "Install Python Packages"
            text = f"{len(missing)} Python packages need to be installed."
            if not slicer.util.confirmOkCancelDisplay(text, title, detailedText="\n".join(missing)):
                raise RuntimeError("User declined package installation")
        self._installed("pip_ensure", missing, constraints, requester, show_progress)
        if prompt_restart and self.replacesImported and not slicer.app.testingEnabled():
            if slicer.util.confirmYesNoDisplay("Would you like to restart now?", "Restart Recommended"):
                slicer.app.restart()
        return None

    def pip_install(
        self,
        requirements,
        constraints=None,
        no_deps_requirements=None,
        skip_packages=None,
        blocking=True,
        show_progress=True,
        requester=None,
        parent=None,
        logCallback=None,
        completedCallback=None,
    ):
        if no_deps_requirements or skip_packages or not blocking:
            raise NotImplementedError("the host installs in the plain, blocking way only")
        self._installed("pip_install", self._list(requirements), constraints, requester, show_progress)

    def pip_uninstall(self, requirements, blocking=True, logCallback=None, completedCallback=None):
        self.calls.append(("pip_uninstall", self._list(requirements), {}))

    def pip_check(self, req, _seen=None) -> bool:
        if isinstance(req, list):
            return all(self.pip_check(one) for one in req)
        # As in Slicer: a text has no marker, and ends in AttributeError.
        if req.marker is not None and not req.marker.evaluate():
            return True
        try:
            version = self.installed.get(req.name) or importlib.metadata.version(req.name)
        except importlib.metadata.PackageNotFoundError:
            return False
        return version in req.specifier

    def load_requirements(self, path) -> list[Requirement]:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
        return [Requirement(line) for line in lines if line and line[0] not in "#-"]

    def _installed(self, name: str, requirements: list[str], constraints, requester, progress: bool) -> None:
        """With a progress window, events are handled meanwhile, and a failure is told in a dialog too."""
        self.calls.append((name, requirements, {"constraints": constraints, "requester": requester}))
        progress = progress and not slicer.app.testingEnabled()
        if progress:
            slicer.app.processEvents()
        try:
            self.install(requirements)
        except CalledProcessError:
            if progress:
                slicer.util.errorDisplay("Package installation failed.", "Installation Failed")
            raise

    def _utilInstall(self, requirements, **kwargs):
        """slicer.util.pip_install of 5.12."""
        return self.pip_install(requirements, **kwargs)

    def _utilUninstall(self, requirements, **kwargs):
        return self.pip_uninstall(requirements, **kwargs)

    def _olderInstall(self, requirements):
        """slicer.util.pip_install of 5.10: neither events nor a dialog."""
        if type(requirements) not in (str, list):
            raise ValueError("pip_install requirement input must be string or list")
        self.calls.append(("pip_install", self._list(requirements), {}))
        self.install(self._list(requirements))

    def _olderUninstall(self, requirements):
        self.calls.append(("pip_uninstall", self._list(requirements), {}))

    @staticmethod
    def _list(requirements) -> list[str]:
        given = requirements if isinstance(requirements, list | tuple) else [requirements]
        return [str(item) for item in given]


class SampleDataSource:
    """What a button of the Sample Data module stands for."""

    LISTS = ("uris", "fileNames", "nodeNames", "checksums", "loadFiles", "loadFileTypes")

    def __init__(
        self,
        sampleName=None,
        sampleDescription=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        checksums=None,
        loadFiles=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileTypes=None,
        loadFileProperties=None,
        loadFileType=None,
    ):
        self.sampleName, self.sampleDescription = sampleName, sampleDescription
        self.customDownloader, self.thumbnailFileName = customDownloader, thumbnailFileName
        self.uris, self.fileNames, self.nodeNames, self.checksums = uris, fileNames, nodeNames, checksums
        self.loadFiles, self.loadFileProperties = loadFiles, loadFileProperties or {}
        self.loadFileTypes = loadFileTypes if loadFileTypes is not None else loadFileType
        count = len(uris) if isinstance(uris, list) else 1
        for name in self.LISTS:
            value = getattr(self, name)
            value = value if isinstance(value, list) else [value] * (1 if isinstance(value, str) else count)
            if len(value) != count:
                raise ValueError(f"All fields of a source must have the same length, {name} has not")
            setattr(self, name, value)

    def __eq__(self, other):
        return str(self) == str(other)

    def __str__(self):
        return repr(vars(self))


class SampleData:
    """The module SampleData; `sources` lists what was registered: (category, source)."""

    def __init__(self):
        self.sources: list[tuple[str, SampleDataSource]] = []
        self.categories: dict[str, str] = {}

    def click(self, sampleName: str) -> None:
        """The user presses a sample's button: nothing is loaded but what its customDownloader loads; what it
        returns is ignored, and an error ends up on the console.
        """
        (source,) = [source for _, source in self.sources if source.sampleName == sampleName]
        button = qt.QPushButton()
        button.connect("clicked()", lambda: source.customDownloader(source))
        button.click()

    def install(self, categories: bool = True) -> None:
        """With registerCustomSampleDataCategory (Slicer 5.12) or without it (5.10)."""
        contents = {"SampleDataLogic": _logic(self, categories), "SampleDataSource": SampleDataSource}
        module("SampleData", contents)

    def reset(self) -> None:
        self.__init__()
        self.install()


def _logic(recorder: SampleData, categories: bool) -> type:
    """The class SampleData.SampleDataLogic."""

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
            given = {key: value for key, value in locals().items() if key not in ("category", "recorder")}
            entry = (category, SampleDataSource(**given))
            if entry not in recorder.sources:
                recorder.sources.append(entry)

        @staticmethod
        def registerCustomSampleDataCategory(category, title):
            recorder.categories[category] = title

    if not categories:
        del SampleDataLogic.registerCustomSampleDataCategory
    return SampleDataLogic
