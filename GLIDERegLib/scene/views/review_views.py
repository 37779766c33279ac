"""Every view on one nodule: where it is in the scan that the view shows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import slicer
import slicer.util

from GLIDERegLib.scene.registration.pair import Pair
from GLIDERegLib.scene.views.crosshair import openReadings
from GLIDERegLib.scene.views.layout import MOVING, ORIENTATIONS, viewName

FIELD_OF_VIEW_MM = 80.0


def showNodule(
    fixedPoint: Sequence[float],
    movingPoint: Sequence[float],
    pair: Pair,
    fieldOfView: float = FIELD_OF_VIEW_MM,
) -> None:
    """Centres all slice views and cameras of the scene on a nodule, world RAS mm.

    Views of the moving scan as it was scanned (a check's column of it, or any whose lowest layer is the
    moving volume, not moved by the transform) go to the moving point, all others to the fixed point. Slicer's
    crosshair goes there too, and so does synchronised reading, also to a point that the reader corrected.
    fieldOfView: mm along the shorter side of each slice view.
    """
    scene = pair.moving.GetScene()
    views = slicer.util.getNodesByClass("vtkMRMLSliceNode", scene)
    moving = [view for view in views if showsMoving(view, pair)]
    readings = openReadings(scene)
    with ExitStack() as still:
        for reading in readings:
            # It would lead every other view by the transform, away from a corrected point.
            still.enter_context(reading.held())
        _moveCrosshair(fixedPoint, [view for view in views if view not in moving])
        for view in views:
            width, height, depth = view.GetFieldOfView()
            zoom = fieldOfView / min(width, height)
            with slicer.util.NodeModify(view):
                view.SetXYZOrigin(0, 0, 0)
                view.SetFieldOfView(width * zoom, height * zoom, depth)
                view.JumpSliceByCentering(*(movingPoint if view in moving else fixedPoint))
    for reading in readings:
        reading.place(fixedPoint, movingPoint)
    for camera in slicer.util.getNodesByClass("vtkMRMLCameraNode", scene):
        away = np.subtract(camera.GetPosition(), camera.GetFocalPoint())
        with slicer.util.NodeModify(camera):
            camera.SetFocalPoint(*fixedPoint)
            camera.SetPosition(*np.add(fixedPoint, away))


def _moveCrosshair(point: Sequence[float], views: Sequence[slicer.vtkMRMLSliceNode]) -> None:
    """Moves the crosshair as if the reader pointed in one of the views."""
    crosshair = views[0].GetScene().GetFirstNodeByClass("vtkMRMLCrosshairNode") if views else None
    if crosshair is not None:
        crosshair.SetCursorPositionXYZ((0.0, 0.0, 0.0), views[0])
        crosshair.SetCrosshairRAS(*point)


def showsMoving(view: slicer.vtkMRMLSliceNode, pair: Pair) -> bool:
    """Whether a view shows the moving scan as it was scanned."""
    if view.GetLayoutName() in [viewName(MOVING, orientation) for orientation in ORIENTATIONS]:
        return True
    composite = slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(view)
    shown = composite and (composite.GetBackgroundVolumeID() or composite.GetForegroundVolumeID())
    return shown == pair.moving.GetID() and pair.frame(pair.moving) is None
