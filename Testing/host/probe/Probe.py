"""A small scripted module with a widget of each kind, for the tests of the host."""

import enum
from pathlib import Path
from typing import Annotated

import slicer
from slicer import vtkMRMLLabelMapVolumeNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import Choice, Default, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

events = []


class Speed(enum.Enum):
    SLOW = 1
    FAST = 2

    def label(self):
        return self.name.lower()


@parameterNodeWrapper
class ProbeParameterNode:
    volume: vtkMRMLScalarVolumeNode
    mask: vtkMRMLSegmentationNode | vtkMRMLLabelMapVolumeNode | None
    spacing: Annotated[float, WithinRange(0.5, 5)] = 1.5
    steps: Annotated[int, WithinRange(1, 100), Default(7)]
    seed: int | None
    device: Annotated[str, Choice(["auto", "cpu"])] = "auto"
    speed: Speed = Speed.FAST
    preview: bool = True
    checkpoint: Path = Path("weights.pt")


class Probe(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "Probe"
        slicer.app.connect("startupCompleted()", lambda: events.append("started"))


class ProbeWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        top = slicer.util.loadUI(self.resourcePath("UI/Probe.ui"))
        self.layout.addWidget(top)
        self.ui = slicer.util.childWidgetVariables(top)
        top.setMRMLScene(slicer.mrmlScene)
        self.logic = ProbeLogic()
        self.parameters = self.logic.getParameterNode()
        self.guiTag = self.parameters.connectGui(self.ui)
        events.append("setup")

    def enter(self):
        events.append("enter")

    def exit(self):
        events.append("exit")

    def cleanup(self):
        self.parameters.disconnectGui(self.guiTag)
        self.removeObservers()
        events.append("cleanup")


class ProbeLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self):
        return ProbeParameterNode(super().getParameterNode())


class ProbeTest(ScriptedLoadableModuleTest):
    def test_Something(self):
        events.append("tested")
