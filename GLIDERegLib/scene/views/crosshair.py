"""The linked crosshair: a cross at a point of one scan, and a cross at the same anatomy in the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from weakref import WeakSet

import numpy as np
import slicer
import slicer.util
import vtk

from GLIDERegLib.scene.mrml.borrowed import Borrowed
from GLIDERegLib.scene.mrml.hidden import hidden
from GLIDERegLib.scene.mrml.sampling import quietVtk
from GLIDERegLib.scene.registration.pair import Pair
from GLIDERegLib.scene.review.nodules import isInside

NAME, COLOR = "Same place", (1.0, 0.85, 0.1)
SIZE_PERCENT = 4.0
# mm; a slice that is nearer to the point shows it.
TOLERANCE_MM = 1e-3
_open: WeakSet[SynchronizedReading] = WeakSet()


@dataclass(frozen=True)
class Position:
    """The same anatomy in both scans. fixed, moving: RAS mm, see the module `pair`. displacement:
    mm. insideFixed, insideMoving: whether the point lies in the scan.
    """

    fixed: tuple[float, float, float]
    moving: tuple[float, float, float]
    displacement: float
    insideFixed: bool
    insideMoving: bool


def openReadings(scene: slicer.vtkMRMLScene) -> list[SynchronizedReading]:
    """Those that keep views of a scene together now."""
    return [reading for reading in _open if reading.isIn(scene)]


class SynchronizedReading:
    """Keeps two groups of slice views at the same anatomy: those where the fixed scan is, and those of the
    moving scan, original.

    It follows Slicer's crosshair (Shift and mouse), and scrolling, in either group. Slicer's own cross, which
    would be at the same coordinates in all views, is hidden meanwhile.

    reading = SynchronizedReading(pair, fixedViews, movingViews, changed=print)
    reading.moveTo((10, 20, 30), inMoving=False)
    reading.close()
    """

    def __init__(
        self,
        pair: Pair,
        fixedViews: Sequence[slicer.vtkMRMLSliceNode],
        movingViews: Sequence[slicer.vtkMRMLSliceNode],
        changed: Callable[[Position], None] | None = None,
    ):
        self.position: Position | None = None
        self._pair, self._changed = pair, changed
        self._views = {False: list(fixedViews), True: list(movingViews)}
        self._moving = False
        self._borrowed = Borrowed()
        self._observations: list[tuple[vtk.vtkObject, int]] = []
        _open.add(self)
        scene = pair.transform.GetScene()
        self._crosses = {side: addCross(scene, views) for side, views in self._views.items()}
        self._crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        if self._crosshair is not None:
            self._borrowed.set(self._crosshair, CrosshairMode=self._crosshair.NoCrosshair)
            self._observe(self._crosshair, vtk.vtkCommand.ModifiedEvent, self._onCrosshair)
        for side, views in self._views.items():
            for view in views:
                self._observe(view, vtk.vtkCommand.ModifiedEvent, lambda v, _, s=side: self._onView(v, s))
        # A new field, such as a refined one, leads elsewhere.
        self._observe(
            pair.transform, slicer.vtkMRMLTransformableNode.TransformModifiedEvent, self._onTransform
        )

    def isIn(self, scene: slicer.vtkMRMLScene) -> bool:
        """Whether it reads scans of this scene."""
        return self._pair.transform.GetScene() is scene

    def moveTo(
        self,
        point: Sequence[float],
        inMoving: bool,
        source: slicer.vtkMRMLSliceNode | None = None,
    ) -> None:
        """Brings the crosses and all views to a point, a moving one or a fixed one, RAS mm.

        source: the view in which the user works; it keeps still.
        """
        if self._moving:
            return
        self._moving = True
        try:
            self.position = positionOf(self._pair, point, inMoving)
            # Before the first view jumps: how far from the middle of its view the point is seen.
            offsets = {v.GetOrientation(): _offset(v, point) for v in reversed(self._views[inMoving])}
            for side, place in ((False, self.position.fixed), (True, self.position.moving)):
                self._crosses[side].SetNthControlPointPosition(0, *place)
                # A cross of no views would be shown in all.
                self._crosses[side].GetDisplayNode().SetVisibility(bool(self._views[side]))
                for view in self._views[side]:
                    if side != inMoving:
                        # At the same place of the picture as in the view of the same section.
                        offset = offsets.get(view.GetOrientation(), np.zeros(3))
                        view.JumpSliceByCentering(*np.subtract(place, offset))
                        view.JumpSliceByOffsetting(*place)
                    elif view is not source:
                        view.JumpSliceByOffsetting(*place)
        finally:
            self._moving = False
        if self._changed is not None:
            self._changed(self.position)

    @contextmanager
    def held(self) -> Iterator[None]:
        """While it lasts, nothing that views and crosshair do moves anything else."""
        self._moving, before = True, self._moving
        try:
            yield
        finally:
            self._moving = before

    def place(self, fixed: Sequence[float], moving: Sequence[float]) -> None:
        """Puts the crosses at the same anatomy as somebody has seen it, wherever the transform leads; the
        views stay. Points as in `Position`.
        """
        found = positionOf(self._pair, fixed, inMoving=False)
        inside = isInside(self._pair.moving, moving, self._pair.movingIndex)
        displacement = float(np.linalg.norm(np.subtract(moving, fixed)))
        self.position = replace(found, moving=tuple(moving), displacement=displacement, insideMoving=inside)
        for side, point in ((False, fixed), (True, moving)):
            self._crosses[side].SetNthControlPointPosition(0, *point)
            self._crosses[side].GetDisplayNode().SetVisibility(bool(self._views[side]))
        if self._changed is not None:
            self._changed(self.position)

    def close(self) -> None:
        """Takes the crosses away; the views stay where they are."""
        _open.discard(self)
        for node, tag in self._observations:
            node.RemoveObserver(tag)
        self._observations = []
        self._borrowed.giveBack()
        for cross in self._crosses.values():
            if scene := cross.GetScene():
                display = cross.GetDisplayNode()
                scene.RemoveNode(cross)
                scene.RemoveNode(display)

    def _observe(self, node: vtk.vtkObject, event: int, method: Callable) -> None:
        self._observations.append((node, node.AddObserver(event, method)))

    def _onCrosshair(self, caller, event) -> None:
        source = self._crosshair.GetCursorPositionXYZ([0.0, 0.0, 0.0])
        point = self._crosshair.GetCrosshairRAS()
        # Other properties of the node change too.
        if point != self._place(source in self._views[True]):
            self.moveTo(point, source in self._views[True], source)

    def _onView(self, view: slicer.vtkMRMLSliceNode, inMoving: bool) -> None:
        """Scrolling takes the point along the view's normal."""
        if self._moving or self.position is None:
            return
        toRas = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())
        place, normal = np.array(self._place(inMoving)), toRas[:3, 2]
        distance = float(normal @ (toRas[:3, 3] - place))
        if abs(distance) > TOLERANCE_MM:
            self.moveTo(place + distance * normal, inMoving, view)

    def _onTransform(self, caller, event) -> None:
        if self.position is not None:
            self.moveTo(self.position.fixed, inMoving=False)

    def _place(self, inMoving: bool) -> tuple[float, float, float] | None:
        return self.position and (self.position.moving if inMoving else self.position.fixed)


def _offset(view: slicer.vtkMRMLSliceNode, point: Sequence[float]) -> np.ndarray:
    """From the middle of a view to a point, along its plane, mm; 0 where the view does not show it."""
    toRas = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())
    along = toRas[:3, :2].T @ (np.asarray(point) - toRas[:3, 3])
    if np.any(np.abs(along) > np.array(view.GetFieldOfView()[:2]) / 2):
        return np.zeros(3)
    return toRas[:3, :2] @ along


def positionOf(pair: Pair, point: Sequence[float], inMoving: bool) -> Position:
    """Where a moving or a fixed point, RAS mm, lies in both scans, and how far it is moved."""
    with quietVtk():
        there = pair.toFixed() if inMoving else pair.toMoving()
        other = there.TransformPoint(*point)
    fixed, moving = (other, tuple(point)) if inMoving else (tuple(point), other)
    return Position(
        tuple(map(float, fixed)),
        tuple(map(float, moving)),
        float(np.linalg.norm(np.subtract(moving, fixed))),
        isInside(pair.fixed, fixed),
        isInside(pair.moving, moving, pair.movingIndex),
    )


def addCross(
    scene: slicer.vtkMRMLScene, views: Sequence[slicer.vtkMRMLSliceNode]
) -> slicer.vtkMRMLMarkupsFiducialNode:
    """A cross that only these views show, hidden from lists and never saved."""
    cross, display = slicer.vtkMRMLMarkupsFiducialNode(), slicer.vtkMRMLMarkupsFiducialDisplayNode()
    scene.AddNode(hidden(display, NAME))
    # With one of its own, it gets no other display when it comes into the scene.
    cross.SetAndObserveDisplayNodeID(display.GetID())
    scene.AddNode(hidden(cross, NAME))
    with slicer.util.NodeModify(display):
        display.SetViewNodeIDs([view.GetID() for view in views])
        display.SetGlyphType(display.Cross2D)
        display.SetGlyphScale(SIZE_PERCENT)
        display.SetColor(COLOR)
        display.SetSelectedColor(COLOR)
        display.SetPointLabelsVisibility(False)
        display.SetPropertiesLabelVisibility(False)
        display.SetVisibility(False)
    cross.AddControlPoint(0.0, 0.0, 0.0)
    cross.SetLocked(True)
    return cross
