"""The moving volume through the field so far, over the fixed one in the slice views, while a job runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import slicer.util
import vtk

from GLIDERegLib.scene.arrays import gridTransform
from GLIDERegLib.scene.geometry import ijkToWorld, isLinearlyPlaced
from GLIDERegLib.scene.results import copyDisplay

OPACITY = 0.5


@dataclass
class _Shown:
    """What a slice view showed before the preview."""

    composite: slicer.vtkMRMLSliceCompositeNode
    background: slicer.vtkMRMLVolumeNode | None
    foreground: slicer.vtkMRMLVolumeNode | None
    opacity: float


class LivePreview:
    """Shows the moving volume through a field that changes, as the foreground of every slice view.

    preview = LivePreview(fixedVolumeNode, movingVolumeNode)
    preview.show(*readField(event["field"]))    # as often as there is news
    preview.finish()                            # the views as they were

    It works on nodes of its own, which are hidden, never saved, and share the user's voxels. The moving
    volume's parent transforms count as they are at the first `show`; below one that is not linear, the field
    and that transform are applied one after the other. Once the scene is closed, both calls do nothing.
    """

    def __init__(
        self,
        fixedVolumeNode: slicer.vtkMRMLScalarVolumeNode,
        movingVolumeNode: slicer.vtkMRMLScalarVolumeNode,
    ):
        self._fixed = fixedVolumeNode
        self._moving = movingVolumeNode
        self._volume: slicer.vtkMRMLScalarVolumeNode | None = None
        self._transform: slicer.vtkMRMLTransformNode | None = None
        self._toLocal: vtk.vtkAbstractTransform | None = None
        self._nodes: list[slicer.vtkMRMLNode] = []
        self._before: list[_Shown] = []

    def show(self, vectors: np.ndarray, grid: dict) -> None:
        """Shows the moving volume through displacements (z, y, x, 3), LPS mm, on an LPS grid."""
        if self._volume is None and self._inputsAreThere():
            self._addNodes()
        if not self._isAlive():
            return
        # The views ask for thousands of displacements at each move of a slice; linear is quick enough.
        field = gridTransform(vectors, grid)
        field.SetInterpolationModeToLinear()
        worldToLocal = field
        if self._toLocal:
            worldToLocal = vtk.vtkGeneralTransform()
            worldToLocal.PostMultiply()
            worldToLocal.Concatenate(field)
            worldToLocal.Concatenate(self._toLocal)
        self._transform.SetAndObserveTransformFromParent(worldToLocal)
        if not self._before:
            self._occupyViews()

    def finish(self) -> None:
        """Gives each view back what it showed before, except what the user has changed since; removes all
        nodes of the preview.
        """
        if self._isAlive():
            for shown in self._before:
                self._restore(shown)
        for node in self._nodes:
            if scene := node.GetScene():
                scene.RemoveNode(node)
        self._before = []

    def _inputsAreThere(self) -> bool:
        return self._fixed.GetScene() is not None and self._moving.GetScene() is not None

    def _isAlive(self) -> bool:
        return self._volume is not None and self._volume.GetScene() is not None

    def _addNodes(self) -> None:
        scene = self._moving.GetScene()
        self._transform = slicer.vtkMRMLTransformNode()
        self._volume = slicer.vtkMRMLScalarVolumeNode()
        display = slicer.vtkMRMLScalarVolumeDisplayNode()
        self._nodes = [self._transform, display, self._volume]
        for node in self._nodes:
            node.SetName("Registration preview")
            node.SetHideFromEditors(True)
            node.SetSaveWithScene(False)
            scene.AddNode(node)
        display.SetDefaultColorMap()
        self._volume.SetAndObserveDisplayNodeID(display.GetID())
        copyDisplay(self._moving, self._volume)
        self._volume.CopyOrientation(self._moving)
        if isLinearlyPlaced(self._moving):
            self._volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ijkToWorld(self._moving)))
        else:
            self._toLocal = vtk.vtkGeneralTransform()
            self._moving.GetParentTransformNode().GetTransformFromWorld(self._toLocal)
        self._volume.SetAndObserveImageData(self._moving.GetImageData())
        self._volume.SetAndObserveTransformNodeID(self._transform.GetID())

    def _occupyViews(self) -> None:
        scene = self._volume.GetScene()
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", scene):
            self._before.append(
                _Shown(
                    composite,
                    scene.GetNodeByID(composite.GetBackgroundVolumeID() or ""),
                    scene.GetNodeByID(composite.GetForegroundVolumeID() or ""),
                    composite.GetForegroundOpacity(),
                )
            )
            with slicer.util.NodeModify(composite):
                composite.SetBackgroundVolumeID(self._fixed.GetID())
                composite.SetForegroundVolumeID(self._volume.GetID())
                composite.SetForegroundOpacity(OPACITY)

    def _restore(self, shown: _Shown) -> None:
        composite = shown.composite
        with slicer.util.NodeModify(composite):
            if composite.GetBackgroundVolumeID() == self._fixed.GetID():
                composite.SetBackgroundVolumeID(_idOf(shown.background))
            if composite.GetForegroundVolumeID() == self._volume.GetID():
                composite.SetForegroundVolumeID(_idOf(shown.foreground))
                if composite.GetForegroundOpacity() == OPACITY:
                    composite.SetForegroundOpacity(shown.opacity)


def _idOf(node: slicer.vtkMRMLNode | None) -> str | None:
    # Of a node that was deleted meanwhile the view takes no notice.
    return node.GetID() if node is not None else None
