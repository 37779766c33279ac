"""The desktop's objects that Slicer's Python asks for: slicer.app, the main window, the module manager."""

from __future__ import annotations

import sys

import slicer
from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal

from .dialogs import ShownDialog, dialogs
from .placeholders import placeholder
from .pythonqt import qt, wrapped


@placeholder
class qSlicerModuleManager(wrapped("QObject")):
    moduleLoaded = Signal(str)
    moduleAboutToBeUnloaded = Signal(str)

    def modulesNames(self) -> tuple[str, ...]:
        return tuple(m.name for m in vars(slicer.modules).values() if hasattr(m, "widgetRepresentation"))

    def module(self, name: str):
        return getattr(slicer.modules, name.lower(), None)


class CoreIOManager:
    """Scenes only; single nodes are read and written by their storage nodes."""

    def __init__(self, host):
        self._host = host

    def saveNodes(self, fileType: str, properties: dict, messages=None, scene=None) -> bool:
        self._only(fileType)
        self._host.saveScene(properties["fileName"])
        return True

    def loadNodes(self, fileType: str, properties: dict, nodes=None, messages=None) -> bool:
        self._only(fileType)
        self._host.loadScene(properties["fileName"], clear=properties.get("clear", False))
        return True

    @staticmethod
    def _only(fileType: str) -> None:
        if fileType != "SceneFile":
            raise NotImplementedError(f"the host reads and writes scenes, not {fileType}")


@placeholder
class qSlicerApplication(wrapped("QObject")):
    """slicer.app."""

    startupCompleted = Signal()
    aboutToQuit = Signal()
    _internal = ("_host",)

    def __init__(self, host):
        super().__init__()
        self._host = host

    applicationName = Property(str, lambda self: "Slicer")
    majorVersion = Property(int, lambda self: 5)
    minorVersion = Property(int, lambda self: 12 if "slicer.packaging" in sys.modules else 10)
    revision = Property(str, lambda self: "0")
    temporaryPath = Property(str, lambda self: str(self._host.folder / "temporary"))
    defaultScenePath = Property(str, lambda self: str(self._host.folder))
    slicerHome = Property(str, lambda self: str(self._host.folder))
    documentationBaseUrl = Property(str, lambda self: "https://slicer.readthedocs.io/en/latest")

    def moduleManager(self):
        return self._host.moduleManager

    def layoutManager(self):
        """None without a main window."""
        return self._host.layoutManager if self._host.hasMainWindow else None

    def applicationLogic(self):
        return self._host.applicationLogic

    def coreIOManager(self):
        return CoreIOManager(self._host)

    def mrmlScene(self):
        return slicer.mrmlScene

    def settings(self):
        return qt.QSettings()

    userSettings = settings

    def testingEnabled(self) -> bool:
        return self._host.testing

    def processEvents(self, *flags) -> None:
        QtWidgets.QApplication.processEvents(*flags)

    def topLevelWidgets(self) -> tuple:
        return (self._host.mainWindow,) if self._host.hasMainWindow else ()

    def setOverrideCursor(self, cursor) -> None:
        QtWidgets.QApplication.setOverrideCursor(cursor)

    def restoreOverrideCursor(self) -> None:
        QtWidgets.QApplication.restoreOverrideCursor()

    def pauseRender(self) -> None:
        """Views are drawn on demand only."""

    def resumeRender(self) -> None:
        """Views are drawn on demand only."""

    def startupEnvironment(self):
        """A QProcessEnvironment: what Slicer was started with, before it added its own paths."""
        return self._host.startupEnvironment

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"{self.documentationBaseUrl}/user_guide/modules/{name.lower()}.html"

    def restart(self) -> None:
        dialogs.shown.append(ShownDialog("restart"))


class qSlicerMainWindow(wrapped("QMainWindow")):
    """Just enough for slicer.util: a status bar and a module selector."""

    def __init__(self, host):
        super().__init__()
        self.name = "qSlicerMainWindow"
        self._host = host

    def moduleSelector(self):
        return self._host.selector


# Modules of Slicer's own that are selected here, and have no panel.
OWN_MODULES = ("", "SegmentEditor")


class ModuleSelector:
    def __init__(self):
        self.selectedModule = ""

    def selectModule(self, name: str) -> None:
        """Leaves the module in sight and enters another; see OWN_MODULES, where "" stands for any."""
        if name == self.selectedModule:
            return
        if previous := getattr(slicer.modules, self.selectedModule.lower(), None):
            previous.widgetRepresentation().exit()
        self.selectedModule = name
        if name not in OWN_MODULES:
            getattr(slicer.modules, name.lower()).widgetRepresentation().enter()
