"""The moving scan seen through the transform and without it, at full resolution and without resampling."""

from __future__ import annotations

import slicer
import slicer.util
import vtk

from GLIDERegLib.scene.mrml.geometry import isLinearlyPlaced
from GLIDERegLib.scene.mrml.hidden import HiddenNodes
from GLIDERegLib.scene.registration.pair import Pair
from GLIDERegLib.scene.registration.results import copyDisplay

INVERTED_GREY = "vtkMRMLColorTableNodeInvertedGrey"


class MovingCopies:
    """Two volumes that share the moving scan's voxels: `warped` lies under the transform, and `original`
    where the transform leaves it alone. Hidden and never saved; they follow when the transform changes.

    Their window and level are those of the moving scan, also when those change.
    """

    def __init__(self, pair: Pair):
        self._pair = pair
        self._nodes = HiddenNodes()
        self.warped = self._add("Warped", pair.transform)
        self.original = self._add("Moving, original (unwarped)", None)
        self._inverted = False
        self._shown = pair.moving.GetScalarVolumeDisplayNode()
        self._tag = self._shown and self._shown.AddObserver(vtk.vtkCommand.ModifiedEvent, self._copyDisplays)
        self._copyDisplays()

    def setInverted(self, inverted: bool) -> None:
        """Shows both in inverted grey with the window and level of the fixed scan: half over that scan they
        leave an even grey where the intensities agree.
        """
        self._inverted = inverted
        self._copyDisplays()

    def remove(self) -> None:
        """Takes the copies out of the scene."""
        if self._tag:
            self._shown.RemoveObserver(self._tag)
            self._tag = None
        self._nodes.remove()

    def _add(self, name: str, parent: slicer.vtkMRMLTransformNode | None) -> slicer.vtkMRMLScalarVolumeNode:
        moving = self._pair.moving
        volume = self._nodes.addCopy(moving, name)
        if self._isLinear():
            matrix = vtk.vtkMatrix4x4()
            slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(
                moving.GetParentTransformNode(), self._pair.frame(moving), matrix
            )
            volume.ApplyTransformMatrix(matrix)
        else:
            # What stands between the moving scan and its frame, as a transform of our own.
            between = self._nodes.add(slicer.vtkMRMLTransformNode(), name, moving.GetScene())
            between.SetAndObserveTransformToParent(self._pair.placement(moving))
            between.SetAndObserveTransformNodeID(parent and parent.GetID())
            parent = between
        volume.SetAndObserveTransformNodeID(parent and parent.GetID())
        return volume

    def _isLinear(self) -> bool:
        parent, frame = self._pair.moving.GetParentTransformNode(), self._pair.frame(self._pair.moving)
        if frame is None:
            return isLinearlyPlaced(self._pair.moving)
        return bool(parent.IsTransformToNodeLinear(frame))

    def _copyDisplays(self, caller=None, event=None) -> None:
        for volume in (self.warped, self.original):
            display = volume.GetScalarVolumeDisplayNode()
            with slicer.util.NodeModify(display):
                copyDisplay(self._pair.fixed if self._inverted else self._pair.moving, volume)
                display.SetApplyThreshold(False)
                if self._inverted:
                    display.SetAndObserveColorNodeID(INVERTED_GREY)
