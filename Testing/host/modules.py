"""What Slicer keeps of a scripted module: the module object, its panel, and their order of events."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from types import ModuleType

import slicer
from PySide6.QtCore import Property

from .mrml_widgets import qSlicerWidget, sceneSignal
from .pythonqt import qt


class qSlicerScriptedLoadableModule:
    """The object that a module's class gets as its parent; other attributes than Slicer's are refused."""

    _settable = {
        "title",
        "categories",
        "contributors",
        "helpText",
        "acknowledgementText",
        "dependencies",
        "associatedNodeTypes",
        "hidden",
        "index",
        "icon",
        "widgetRepresentationCreationEnabled",
    }

    def __init__(self, path: str):
        vars(self).update(path=path, name=os.path.splitext(os.path.basename(path))[0], hidden=False, index=-1)
        vars(self).update(title="", categories=[], contributors=[], helpText="", acknowledgementText="")
        vars(self).update(dependencies=[], associatedNodeTypes=[], icon=qt.QIcon(), _representation=None)
        vars(self).update(widgetRepresentationCreationEnabled=True)
        vars(self).update(_logic=slicer.vtkSlicerScriptedLoadableModuleLogic())
        self._logic.SetMRMLScene(slicer.mrmlScene)

    def __setattr__(self, name: str, value) -> None:
        if name not in self._settable:
            raise AttributeError(f"'{name}' does not exist on qSlicerScriptedLoadableModule")
        vars(self)[name] = value

    def logic(self):
        """Slicer's own, of C++; the Python logic lives in the widget."""
        return self._logic

    def mrmlScene(self):
        return slicer.mrmlScene

    def widgetRepresentation(self):
        """The panel, made and set up at the first call, and only then given its scene."""
        if self._representation is None:
            panel = qSlicerScriptedLoadableModuleWidget()
            vars(self)["_representation"] = panel
            panel._make(self.path)
            panel._call("setup")
            panel.setMRMLScene(slicer.mrmlScene)
        return self._representation


@sceneSignal
class qSlicerScriptedLoadableModuleWidget(qSlicerWidget):
    """The panel's outermost widget; holds the instance of the module's Python widget class."""

    _internal = ("_instance", "_path", "_entered")

    def __init__(self, parent=None):
        super().__init__(parent)
        self._instance, self._path, self._entered = None, "", False
        self.setLayout(qt.QVBoxLayout())

    moduleName = Property(str, lambda self: os.path.splitext(os.path.basename(self._path))[0])
    isEntered = Property(bool, lambda self: self._entered)

    def self(self):
        return self._instance

    def module(self):
        return getattr(slicer.modules, self.moduleName.lower(), None)

    def _make(self, path: str) -> None:
        self._path = path
        name = self.moduleName
        self._instance = getattr(sys.modules[name], f"{name}Widget")(self)
        setattr(slicer.modules, f"{name}Widget", self._instance)

    def _call(self, method: str) -> None:
        """An exception in it is printed, and Slicer goes on."""
        try:
            getattr(self._instance, method, lambda: None)()
        except Exception:
            sys.excepthook(*sys.exc_info())

    def reload(self) -> None:
        """Another instance, set up; not entered, also where it is in sight."""
        self._make(self._path)
        self._call("setup")

    def enter(self) -> None:
        self._entered = True
        self._call("enter")

    def exit(self) -> None:
        self._entered = False
        self._call("exit")


@dataclass(frozen=True)
class LoadedModule:
    """A module in the host. `widget` and `panel` are made, as in Slicer, when first asked for."""

    name: str
    instance: object
    parent: qSlicerScriptedLoadableModule

    @property
    def python(self) -> ModuleType:
        """The Python module, the newest after a reload."""
        return sys.modules[self.name]

    @property
    def panel(self) -> qSlicerScriptedLoadableModuleWidget:
        """The Qt widget that Slicer puts into its side panel."""
        return self.parent.widgetRepresentation()

    @property
    def widget(self):
        """The module's Python widget (GLIDERegWidget), set up."""
        return self.panel.self()

    @property
    def ui(self):
        return self.widget.ui

    @property
    def logic(self):
        """The widget's logic."""
        return self.widget.logic

    def enter(self) -> None:
        """The user opens the module."""
        slicer.util.selectModule(self.name)

    def exit(self) -> None:
        """The user goes to another module."""
        slicer.util.selectModule("")

    def reload(self) -> None:
        """The developer presses Reload."""
        slicer.util.reloadScriptedModule(self.name)


def load(path: str) -> LoadedModule:
    """Runs a module file as Slicer does at start: its class is made, its widget is not."""
    name = os.path.splitext(os.path.basename(path))[0]
    folder = os.path.dirname(path)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(name, path)
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    parent = qSlicerScriptedLoadableModule(path)
    setattr(slicer.modules, name.lower(), parent)
    instance = getattr(sys.modules[name], name)(parent)
    setattr(slicer.modules, f"{name}Instance", instance)
    return LoadedModule(name, instance, parent)


def unload(module: LoadedModule) -> qSlicerScriptedLoadableModuleWidget | None:
    """Slicer's way of leaving a module: its widget cleans up. Returns the panel, still to be deleted."""
    slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(module.name)
    for attribute in (module.name.lower(), f"{module.name}Instance", f"{module.name}Widget"):
        if hasattr(slicer.modules, attribute):
            delattr(slicer.modules, attribute)
    sys.modules.pop(module.name, None)
    return vars(module.parent)["_representation"]
