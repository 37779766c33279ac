"""Slice and 3D views drawn off-screen by Slicer's own displayable managers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

SLICE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager2D",
    "vtkMRMLLinearTransformsDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)
THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLThreeDReformatDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager3D",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager3D",
    "vtkMRMLLinearTransformsDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)
DEFAULT_SIZE = (400, 400)


class View:
    """An off-screen render window with Slicer's displayable managers, made at the first picture."""

    _factory: type
    _managers: tuple[str, ...]

    def __init__(self, applicationLogic, node):
        self._applicationLogic, self._node = applicationLogic, node
        self._window = None
        self._size = DEFAULT_SIZE

    def resize(self, width: int, height: int) -> None:
        self._size = (width, height)
        if self._window is not None:
            self._window.SetSize(width, height)

    def _prepare(self) -> None:
        self._renderer = vtk.vtkRenderer()
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)
        self._window.SetSize(*self._size)
        self._window.AddRenderer(self._renderer)
        self._interactor = vtk.vtkRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        factory = self._factory.GetInstance()
        factory.SetMRMLApplicationLogic(self._applicationLogic)
        for name in self._managers:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self._group = slicer.vtkMRMLDisplayableManagerGroup()
        self._group.SetRenderer(self._renderer)
        self._group.Initialize(factory, self._renderer)
        self._group.SetMRMLDisplayableNode(self._node)
        self._window.Render()

    def forceRender(self) -> None:
        self.grab()

    def grab(self, path: str | Path | None = None) -> np.ndarray:
        """The picture as it is now, uint8 (height, width, 3) top row first; also as a PNG file."""
        if self._window is None:
            self._prepare()
        self._window.Render()
        picture = vtk.vtkWindowToImageFilter()
        picture.SetInput(self._window)
        picture.SetInputBufferTypeToRGB()
        picture.ReadFrontBufferOff()
        picture.ShouldRerenderOff()
        picture.Update()
        if path is not None:
            writer = vtk.vtkPNGWriter()
            writer.SetFileName(str(path))
            writer.SetInputConnection(picture.GetOutputPort())
            writer.Write()
        image = picture.GetOutput()
        width, height, _ = image.GetDimensions()
        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3].copy()


class SliceView(View):
    """One slice view; in its layout widget's place, since nobody clicks here."""

    _factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory
    _managers = SLICE_MANAGERS

    def __init__(self, applicationLogic, scene, name: str, orientation: str):
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(applicationLogic)
        applicationLogic.GetSliceLogics().AddItem(self._logic)
        self._logic.SetMRMLScene(scene)
        node = self._logic.AddSliceNode(name)
        node.SetOrientation(orientation)
        node.SetMappedInLayout(1)
        super().__init__(applicationLogic, node)
        self._logic.ResizeSliceNode(*self._size)

    def sliceLogic(self):
        return self._logic

    def mrmlSliceNode(self):
        return self._node

    def mrmlSliceCompositeNode(self):
        return self._logic.GetSliceCompositeNode()

    def sliceView(self) -> SliceView:
        return self

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()

    def resize(self, width: int, height: int) -> None:
        """Pixels; millimetres per pixel stay as they are."""
        super().resize(width, height)
        self._logic.ResizeSliceNode(width, height)

    def _prepare(self) -> None:
        super()._prepare()
        self._renderer.GetActiveCamera().ParallelProjectionOn()
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._actor = vtk.vtkActor2D()
        self._actor.SetMapper(self._mapper)
        self._actor.GetProperty().SetDisplayLocationToBackground()
        self._renderer.AddViewProp(self._actor)
        self._logic.ResizeSliceNode(*self._size)

    def grab(self, path: str | Path | None = None) -> np.ndarray:
        if self._window is None:
            self._prepare()
        self._logic.UpdatePipeline()
        connection = self._logic.GetImageDataConnection()
        self._mapper.SetInputConnection(connection)
        self._actor.SetVisibility(connection is not None)
        return super().grab(path)

    def jumpTo(self, ras) -> None:
        """Moves the slice to a point, RAS mm, and centres it there."""
        self._node.JumpSliceByCentering(*(float(c) for c in ras))

    def pixelOf(self, ras) -> tuple[int, int]:
        """(row, column) in grab()'s picture of a point, RAS mm; ValueError where it is not in the picture."""
        toXY = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self._node.GetXYToRAS(), toXY)
        x, y, _, _ = toXY.MultiplyPoint((*(float(c) for c in ras), 1.0))
        row, column = self._size[1] - 1 - round(y), round(x)
        if not (0 <= row < self._size[1] and 0 <= column < self._size[0]):
            raise ValueError(f"the point {tuple(ras)} lies outside the view {self._node.GetName()}")
        return row, column


class ThreeDView(View):
    _factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory
    _managers = THREE_D_MANAGERS

    def __init__(self, applicationLogic, scene, name: str = "View1"):
        self._logic = slicer.vtkMRMLViewLogic()
        self._logic.SetMRMLApplicationLogic(applicationLogic)
        applicationLogic.GetViewLogics().AddItem(self._logic)
        self._logic.SetMRMLScene(scene)
        node = self._logic.AddViewNode(name)
        node.SetMappedInLayout(1)
        super().__init__(applicationLogic, node)

    def mrmlViewNode(self):
        return self._node

    def threeDView(self) -> ThreeDView:
        return self

    def resetFocalPoint(self) -> None:
        if self._window is None:
            self._prepare()
        self._renderer.ResetCamera()


class LayoutManager:
    """slicer.app.layoutManager(): Red, Yellow and Green, and one 3D view."""

    def __init__(self, applicationLogic, scene):
        self._applicationLogic = applicationLogic
        self._slices = {
            name: SliceView(applicationLogic, scene, name, orientation)
            for name, orientation in (("Red", "Axial"), ("Yellow", "Sagittal"), ("Green", "Coronal"))
        }
        self._threeD = ThreeDView(applicationLogic, scene)
        self.layout = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
        self.threeDViewCount, self.tableViewCount, self.plotViewCount = 1, 0, 0

    def setLayout(self, layout: int) -> None:
        self.layout = layout

    def mrmlSliceLogics(self):
        return self._applicationLogic.GetSliceLogics()

    def sliceViewNames(self) -> tuple[str, ...]:
        return tuple(self._slices)

    def sliceWidget(self, name: str) -> SliceView | None:
        return self._slices.get(name)

    def threeDWidget(self, index: int) -> ThreeDView:
        return (self._threeD,)[index]

    def resetSliceViews(self) -> None:
        for view in self._slices.values():
            view.sliceLogic().FitSliceToAll()

    def resetThreeDViews(self) -> None:
        self._threeD.resetFocalPoint()
