"""The moving scan seen through the transform and without it, at full resolution and without resampling."""

from __future__ import annotations

import slicer
import slicer.util
import vtk

from GLIDERegLib.scene.mrml.colors import FIXED_TINT, WARPED_TINT, tintColors
from GLIDERegLib.scene.mrml.geometry import isLinearlyPlaced
from GLIDERegLib.scene.mrml.hidden import HiddenNodes
from GLIDERegLib.scene.registration.pair import Pair
from GLIDERegLib.scene.registration.results import copyDisplay

INVERTED_GREY = "vtkMRMLColorTableNodeInvertedGrey"
# How the copies look: as the moving scan does; for a difference; in one of two colours.
AS_IT_IS, INVERTED, TINTED = "as it is", "inverted", "tinted"


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
        self._look = AS_IT_IS
        self._tinted: slicer.vtkMRMLScalarVolumeNode | None = None
        self._tintedTag = None
        self._shown = pair.moving.GetScalarVolumeDisplayNode()
        self._tag = self._shown and self._shown.AddObserver(vtk.vtkCommand.ModifiedEvent, self._copyDisplays)
        self._copyDisplays()

    def setLook(self, look: str) -> None:
        """Shows both as the moving scan, or with the window and level of the fixed one: INVERTED, half over
        that scan, they leave an even grey where the intensities agree; TINTED, added to `tintedFixed`, any
        grey.
        """
        self._look = look
        self._copyDisplays()

    @property
    def tintedFixed(self) -> slicer.vtkMRMLScalarVolumeNode:
        """The fixed scan where it lies, in the first of two colours; a change of its window is also that of
        the copies.
        """
        if self._tinted is None:
            fixed = self._pair.fixed
            self._tinted = self._nodes.addCopy(fixed, fixed.GetName())
            self._tinted.SetAndObserveTransformNodeID(fixed.GetTransformNodeID())
            display = self._tinted.GetScalarVolumeDisplayNode()
            display.SetApplyThreshold(False)
            display.SetAndObserveColorNodeID(tintColors(fixed.GetScene(), FIXED_TINT).GetID())
            self._tintedTag = display.AddObserver(vtk.vtkCommand.ModifiedEvent, self._copyDisplays)
        return self._tinted

    def remove(self) -> None:
        """Takes the copies out of the scene."""
        if self._tag:
            self._shown.RemoveObserver(self._tag)
            self._tag = None
        if self._tinted is not None:
            self._tinted.GetScalarVolumeDisplayNode().RemoveObserver(self._tintedTag)
            self._tinted = None
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
                copyDisplay(self._windowed(), volume)
                display.SetApplyThreshold(False)
                if self._look == INVERTED:
                    display.SetAndObserveColorNodeID(INVERTED_GREY)
                elif self._look == TINTED:
                    colors = tintColors(self._pair.fixed.GetScene(), WARPED_TINT)
                    display.SetAndObserveColorNodeID(colors.GetID())

    def _windowed(self) -> slicer.vtkMRMLScalarVolumeNode:
        """The volume whose window and level the copies have."""
        if self._look == AS_IT_IS:
            return self._pair.moving
        return self.tintedFixed if self._look == TINTED else self._pair.fixed
