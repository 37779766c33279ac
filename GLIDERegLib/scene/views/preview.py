"""The moving volume through the field so far, over the fixed one in the slice views, while a job runs."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util
import vtk

from GLIDERegLib.scene.mrml.arrays import gridTransform
from GLIDERegLib.scene.mrml.borrowed import Borrowed
from GLIDERegLib.scene.mrml.geometry import ijkToWorld, isLinearlyPlaced
from GLIDERegLib.scene.mrml.hidden import HiddenNodes

NAME, OPACITY = "Registration preview", 0.5


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
        self._nodes = HiddenNodes()
        self._borrowed = Borrowed()

    def show(self, vectors: np.ndarray, grid: dict) -> None:
        """Shows the moving volume through displacements (z, y, x, 3), LPS mm, on an LPS grid."""
        isFirst = self._volume is None and self._inputsAreThere()
        if isFirst:
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
        if isFirst:
            self._occupyViews()

    def finish(self) -> None:
        """Gives each view back what it showed before, except what the user has changed since; removes all
        nodes of the preview.
        """
        # In a scene that was closed the views are there still, but no longer show what they showed.
        if self._isAlive():
            self._borrowed.giveBack()
        self._nodes.remove()

    def _inputsAreThere(self) -> bool:
        return self._fixed.GetScene() is not None and self._moving.GetScene() is not None

    def _isAlive(self) -> bool:
        return self._volume is not None and self._volume.GetScene() is not None

    def _addNodes(self) -> None:
        self._transform = self._nodes.add(slicer.vtkMRMLTransformNode(), NAME, self._moving.GetScene())
        self._volume = self._nodes.addCopy(self._moving, NAME)
        if isLinearlyPlaced(self._moving):
            self._volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ijkToWorld(self._moving)))
        else:
            self._toLocal = vtk.vtkGeneralTransform()
            self._moving.GetParentTransformNode().GetTransformFromWorld(self._toLocal)
        self._volume.SetAndObserveTransformNodeID(self._transform.GetID())

    def _occupyViews(self) -> None:
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", self._volume.GetScene()):
            isEmpty = not (composite.GetBackgroundVolumeID() or composite.GetForegroundVolumeID())
            self._borrowed.set(
                composite,
                BackgroundVolumeID=self._fixed.GetID(),
                ForegroundVolumeID=self._volume.GetID(),
                ForegroundOpacity=OPACITY,
            )
            if isEmpty:
                _fit(composite)


def _fit(composite: slicer.vtkMRMLSliceCompositeNode) -> None:
    """Moves a view to what it shows: where it showed nothing, it may look past the scan."""
    logic = slicer.app.applicationLogic().GetSliceLogicByLayoutName(composite.GetLayoutName())
    if logic is not None:
        logic.FitSliceToBackground()
