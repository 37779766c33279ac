"""The host: a scene with Slicer's logics, slicer.app, slicer.modules, and scripted modules."""

from __future__ import annotations

import ctypes
import os
import stat
import sys
import tempfile
import time
import traceback
import types
from collections.abc import Callable
from pathlib import Path

import slicer
import slicer.util
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from . import bases, modules, mrml_widgets, parameters, services, subject_hierarchy
from .ctk_widgets import WIDGETS as CTK_WIDGETS
from .ctk_widgets import ctk
from .desktop import ModuleSelector, qSlicerApplication, qSlicerMainWindow, qSlicerModuleManager
from .dialogs import dialogs
from .observing import forget
from .pythonqt import complaints, qt
from .signals import disconnectAll
from .uiloader import UiLoader
from .views import LayoutManager

LOGICS = {
    "Markups": "vtkSlicerMarkupsLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Data": "vtkSlicerDataModuleLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "Units": "vtkSlicerUnitsLogic",
}


class Host:
    """Slicer without its desktop; see the package's docstring for what to do with it."""

    def __init__(self):
        self._temporary = tempfile.TemporaryDirectory(prefix="host-")
        self.folder = Path(self._temporary.name)
        (self.folder / "temporary").mkdir()
        self.testing = False
        # False: Slicer without a desktop (--no-main-window).
        self.hasMainWindow = True
        self.uncaught: list[BaseException] = []
        self.loaded: list[modules.LoadedModule] = []
        self.dialogs = dialogs
        self.packaging, self.sampleData = services.Packaging(), services.SampleData()
        self._startQt()
        self._startScene()
        self._installModules()
        self.moduleManager, self.selector = qSlicerModuleManager(), ModuleSelector()
        self.mainWindow = qSlicerMainWindow(self)
        self.app = slicer.app = qSlicerApplication(self)
        self.layoutManager = LayoutManager(self.applicationLogic, self.scene)
        self._installPythonSlicer()
        sys.excepthook = self._onUncaught

    def _startQt(self) -> None:
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, str(self.folder))
        self.qtApplication = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer"])
        self.qtApplication.setOrganizationName("NA-MIC")
        self.qtApplication.setApplicationName("Slicer")
        self.qtApplication.setQuitOnLastWindowClosed(False)
        self.qtApplication.setStyle("Fusion")
        self.qtApplication.setFont(QtGui.QFont("DejaVu Sans", 9))

        if sys.version_info < (3, 12):
            # PySide6 6.12 takes a reference of None away with each slot that returns it, and its .ui reader
            # those of True and False. Python dies when none is left; from 3.12 on they are not counted.
            for constant in (None, True, False):
                ctypes.c_ssize_t.from_address(id(constant)).value += 1 << 40
        QtCore.qInstallMessageHandler(self._onQtMessage)

    @staticmethod
    def _onQtMessage(kind, context, text: str) -> None:
        # The offscreen platform says this of every window.
        if "propagateSizeHints" not in text:
            print(f"Qt: {text}", file=sys.stderr)

    def _startScene(self) -> None:
        self.scene = slicer.mrmlScene = slicer.vtkMRMLScene()
        # The header that Slicer itself would write into a saved scene.
        self.scene.SetVersion("Slicer 5.12.4")
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.scene.AddNode(crosshair)
        self.applicationLogic = slicer.vtkSlicerApplicationLogic()
        self.applicationLogic.SetMRMLScene(self.scene)
        self.applicationLogic.SetSliceLogics(vtk.vtkCollection())
        self.applicationLogic.SetViewLogics(vtk.vtkCollection())
        self.applicationLogic.GetColorLogic().SetMRMLScene(self.scene)
        self.applicationLogic.GetColorLogic().AddDefaultColorNodes()
        # Reading a .mrb file goes through these two.
        self._remote = slicer.vtkMRMLRemoteIOLogic()
        self._dataIO = slicer.vtkDataIOManagerLogic()
        cache = self.folder / "cache"
        cache.mkdir()
        (cache / ".slicer-cache").touch()
        self._remote.GetCacheManager().SetRemoteCacheDirectory(str(cache))
        for logic in (self._remote, self._dataIO):
            logic.SetMRMLScene(self.scene)
            logic.SetMRMLApplicationLogic(self.applicationLogic)
        self._dataIO.SetAndObserveDataIOManager(self._remote.GetDataIOManager())
        self._remote.AddDataIOToScene()
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        subject_hierarchy.observe(self.scene)

    def _installModules(self) -> None:
        sys.modules["qt"], sys.modules["ctk"] = qt, ctk
        qt.QUiLoader = UiLoader
        UiLoader.placeholders = {**CTK_WIDGETS, **mrml_widgets.WIDGETS}
        for name, cls in mrml_widgets.WIDGETS.items():
            setattr(slicer, name, cls)
        slicer.qSlicerScriptedLoadableModule = modules.qSlicerScriptedLoadableModule
        slicer.qSlicerScriptedLoadableModuleWidget = modules.qSlicerScriptedLoadableModuleWidget
        slicer.selfTests = {}
        services.module("slicer.i18n", {"tr": services.tr, "translate": services.translate})
        services.module("slicer.ScriptedLoadableModule", bases.EXPORTS)
        services.module("slicer.parameterNodeWrapper", parameters.EXPORTS)
        services.module("slicer.modules", {})
        for name, className in LOGICS.items():
            logic = getattr(slicer, className)()
            logic.SetMRMLApplicationLogic(self.applicationLogic)
            logic.SetMRMLScene(self.scene)
            self.applicationLogic.SetModuleLogic(name, logic)
            slicer.modules.__dict__[name.lower()] = types.SimpleNamespace(
                name=name, path="", logic=lambda logic=logic: logic, widgetRepresentation=lambda: None
            )
        self.packaging.reset()
        self.sampleData.reset()

    def _installPythonSlicer(self) -> None:
        """Slicer puts PythonSlicer, which runs its Python alone, on the path."""
        self.startupEnvironment = QtCore.QProcessEnvironment.systemEnvironment()
        script = self.folder / "PythonSlicer"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        os.environ["PATH"] = f"{self.folder}{os.pathsep}{os.environ['PATH']}"

    def _onUncaught(self, kind, error, trace) -> None:
        """Exceptions in slots and observers end here, as they end on Slicer's console."""
        self.uncaught.append(error)
        traceback.print_exception(kind, error, trace)

    def loadModule(self, path: str | Path) -> modules.LoadedModule:
        """Loads a module's .py file as Slicer does at start, with startupCompleted(); not yet its panel."""
        module = modules.load(str(Path(path).resolve()))
        self.loaded.append(module)
        self.app.startupCompleted.emit()
        return module

    def processEvents(self, seconds: float = 0.0) -> None:
        """Lets Qt work as its main loop does, for some time if asked."""
        end = time.monotonic() + seconds
        while True:
            self.app.processEvents()
            # Outside a running loop Qt keeps what was deleted by deleteLater().
            QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
            if time.monotonic() >= end:
                return
            time.sleep(0.005)

    def waitUntil(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        """Lets Qt work until the condition holds; AssertionError when it does not in time."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"still waiting after {seconds} s")
            self.processEvents(0.005)

    def screenshot(self, widget, path: str | Path, width: int = 400, height: int | None = None) -> None:
        """A PNG of a widget at a width in pixels, as high as it wants to be."""
        widget.resize(width, height or 10)
        widget.show()
        self.processEvents()
        if height is None:
            layout = widget.layout()
            fitting = layout.totalHeightForWidth(width) if layout.hasHeightForWidth() else -1
            widget.resize(
                width, max(fitting, layout.totalMinimumSize().height(), layout.totalSizeHint().height())
            )
            self.processEvents()
        widget.grab().save(str(path))

    def saveScene(self, path: str | Path) -> None:
        """Writes the scene with its data into a .mrb file; RuntimeError where Slicer could not."""
        path = Path(path).resolve()
        if path.suffix != ".mrb":
            raise ValueError(f"the host saves scenes as .mrb files, not as {path.name}")
        if not self.scene.WriteToMRB(str(path), None):
            raise RuntimeError(f"could not save the scene as {path}")

    def loadScene(self, path: str | Path, clear: bool = True) -> None:
        """Replaces the scene by one in a .mrb file, or adds to it; RuntimeError where it cannot."""
        if not self.scene.ReadFromMRB(str(Path(path).resolve()), clear, None):
            raise RuntimeError(f"could not read the scene {path}")

    def reset(self) -> list[BaseException]:
        """Back to the state after start: no modules, nodes, answers, settings or records.

        Returns what was uncaught until then and while cleaning up.
        """
        self.selector.selectModule("")
        panels = self._unloadModules()
        self.scene.Clear(0)
        # A scene that was saved or loaded leaves its folder behind.
        self.scene.SetRootDirectory("")
        for node in slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode"):
            self.scene.RemoveNode(node)
        # After the scene: widgets stay bound to parameter nodes as long as both live.
        for panel in panels:
            panel.deleteLater()
        for sender in (self.app, self.moduleManager):
            disconnectAll(sender)
        self.processEvents()
        forget()
        self.testing, self.hasMainWindow = False, True
        self.dialogs.clear()
        self.packaging.reset()
        self.sampleData.reset()
        qt.QSettings().clear()
        # What PythonQt only prints is a fault in a test.
        uncaught = [*self.uncaught, *map(LookupError, complaints)]
        self.uncaught = []
        complaints.clear()
        return uncaught

    def quit(self) -> None:
        """The user closes Slicer: the module in sight is left, all are unloaded, the last one first, each
        panel going with its module, and then aboutToQuit() reaches those that still listen.
        """
        if self.hasMainWindow:
            self.selector.selectModule("")
        for panel in self._unloadModules():
            panel.delete()
        self.app.aboutToQuit.emit()
        self.processEvents()

    def _unloadModules(self) -> list:
        panels = [modules.unload(module) for module in reversed(self.loaded)]
        self.loaded.clear()
        return [panel for panel in panels if panel is not None]
