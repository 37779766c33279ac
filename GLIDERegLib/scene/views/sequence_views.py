"""A registered 4D study in Slicer's views: fixed and warped frames over each other, and the tracks' plot."""

from __future__ import annotations

import slicer
import slicer.util

from GLIDERegLib.scene.views.layout import compositesOf, ordinaryViews

OPACITY = 0.5


def showFrames(
    fixed: slicer.vtkMRMLScalarVolumeNode, frame: slicer.vtkMRMLScalarVolumeNode, opacity: float = OPACITY
) -> None:
    """Shows the reference frame in every slice view, and half transparent over it the volume that shows the
    present frame, warped or not; it changes as the browser of the study steps.
    """
    for composite in compositesOf(ordinaryViews(fixed.GetScene())):
        with slicer.util.NodeModify(composite):
            composite.SetBackgroundVolumeID(fixed.GetID())
            composite.SetForegroundVolumeID(frame.GetID())
            composite.SetForegroundOpacity(opacity)


def showChart(chart: slicer.vtkMRMLPlotChartNode) -> None:
    """Shows a plot, in a layout that has room for one."""
    slicer.modules.plots.logic().ShowChartInLayout(chart)
