"""Slicer's own drawings over the slices: a transform as grid, arrows or contours; structures as outlines."""

from __future__ import annotations

import slicer
import slicer.util

from GLIDERegLib.scene.mrml.borrowed import Borrowed

GRID, ARROWS, CONTOURS = "grid", "arrows", "contours"
# Each line of a grid is bent at this many places between two others.
BENDS = 5
FINEST_CONTOUR_MM = 5.0


class TransformDrawing:
    """What Slicer's module Transforms draws of a transform in slice views, by a display node of our own.

    region: the volume that is drawn over. viewIds: the views; all, where none is named. They cannot change
    later, because Slicer looks at them only when a display is new.
    """

    def __init__(
        self,
        transform: slicer.vtkMRMLTransformNode,
        region: slicer.vtkMRMLVolumeNode,
        viewIds: tuple[str, ...] = (),
    ):
        self._display = slicer.vtkMRMLTransformDisplayNode()
        self._display.SetSaveWithScene(False)
        self._display.SetViewNodeIDs(viewIds)
        transform.GetScene().AddNode(self._display)
        self._display.SetAndObserveRegionNode(region)
        self._display.SetVisibility3D(False)
        transform.AddAndObserveDisplayNodeID(self._display.GetID())

    def show(self, kind: str, spacing: float) -> None:
        """Draws a grid, arrows, or contours of equal displacement; spacing: mm between lines or arrows."""
        display = self._display
        modes = {
            GRID: display.VIS_MODE_GRID,
            ARROWS: display.VIS_MODE_GLYPH,
            CONTOURS: display.VIS_MODE_CONTOUR,
        }
        with slicer.util.NodeModify(display):
            display.SetVisualizationMode(modes[kind])
            display.SetGridSpacingMm(spacing)
            display.SetGridResolutionMm(spacing / BENDS)
            display.SetGlyphSpacingMm(spacing)
            display.SetContourResolutionMm(min(spacing, FINEST_CONTOUR_MM))
            display.SetVisibility(True)
            display.SetVisibility2D(True)

    def close(self) -> None:
        """Takes the drawing away, with the colours that Slicer has given it."""
        # In this order: a display that is left without colours gets new ones.
        for node in (self._display, self._display.GetColorNode()):
            if node is not None and (scene := node.GetScene()):
                scene.RemoveNode(node)


class OutlineDrawing:
    """A segmentation as outlines only, so that the scan below can be seen, in some views or in all."""

    def __init__(self, segmentation: slicer.vtkMRMLSegmentationNode, viewIds: tuple[str, ...] = ()):
        self._borrowed = Borrowed()
        if segmentation.GetDisplayNode() is None:
            segmentation.CreateDefaultDisplayNodes()
        self._borrowed.set(
            segmentation.GetDisplayNode(),
            Visibility=True,
            Visibility2D=True,
            Visibility2DFill=False,
            Visibility2DOutline=True,
            ViewNodeIDs=viewIds,
        )

    def close(self) -> None:
        """The display as it was, except what the user has changed since."""
        self._borrowed.giveBack()
