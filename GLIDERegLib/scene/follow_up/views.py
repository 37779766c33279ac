"""All dates side by side: a slice view for each original scan, kept at the same anatomy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import slicer
import slicer.util
import vtk

from GLIDERegLib.scene.follow_up.links import transformBetween
from GLIDERegLib.scene.follow_up.scans import SceneScan
from GLIDERegLib.scene.mrml.borrowed import Borrowed
from GLIDERegLib.scene.mrml.sampling import quietVtk
from GLIDERegLib.scene.registration.pair import Pair
from GLIDERegLib.scene.views.crosshair import TOLERANCE_MM, addCross
from GLIDERegLib.scene.views.layout import PREFIX, KeptOutOfFiles, compositesOf

# Beside those of a check (see `scene.layout`).
LAYOUT = 7321
COLOR = "#3C8DC8"
MOST_IN_A_ROW = 3
FIELD_OF_VIEW_MM = 80.0
Point = Sequence[float]


def viewName(number: int) -> str:
    """The layout name of the view of a date, from 0."""
    return f"{PREFIX}Date{number + 1}"


def layoutDescription(names: Sequence[str]) -> str:
    """The XML of a layout with an axial view for each scan; names: what each is called."""
    views = [
        f'<item><view class="vtkMRMLSliceNode" singletontag="{viewName(number)}">'
        '<property name="orientation" action="default">Axial</property>'
        f'<property name="viewlabel" action="default">{name}</property>'
        f'<property name="viewcolor" action="default">{COLOR}</property>'
        f'<property name="viewgroup" action="default">{LAYOUT + number}</property></view></item>'
        for number, name in enumerate(names)
    ]
    rows = [views[n : n + MOST_IN_A_ROW] for n in range(0, len(views), MOST_IN_A_ROW)]
    items = "".join(f'<item><layout type="horizontal">{"".join(row)}</layout></item>' for row in rows)
    return f'<layout type="vertical">{items}</layout>'


class ShownScan(NamedTuple):
    """A scan in a view of its own. name: what the view is called."""

    volume: slicer.vtkMRMLScalarVolumeNode
    name: str


class DatesReading:
    """Shows every original scan in a view of its own, and keeps them at the same anatomy: by scrolling, by
    Slicer's crosshair (Shift and mouse), and by `moveTo`.

    scans: in order of time. reference: number of the one to which all others are registered; those without a
    registration in the scene stay still. transform: of all others, instead of those that the scene has.
    """

    def __init__(
        self,
        scans: Sequence[SceneScan | ShownScan],
        reference: int,
        transform: slicer.vtkMRMLTransformNode | None = None,
    ):
        self._transform = transform
        self._scans, self._reference = list(scans), reference
        self._scene = scans[0].volume.GetScene()
        self._layoutNode = self._scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        self._before = self._layoutNode.GetViewArrangement()
        self._places: list[np.ndarray | None] = [None] * len(scans)
        self._moving = False
        self._borrowed = Borrowed()
        self._observations: list[tuple[vtk.vtkObject, int]] = []
        self._show()
        self._unsaved = KeptOutOfFiles(self._layoutNode)
        self.views = [self._viewOf(number) for number in range(len(scans))]
        for view, scan in zip(self.views, self._scans, strict=True):
            for composite in compositesOf([view]):
                self._borrowed.set(composite, BackgroundVolumeID=scan.volume.GetID(), ForegroundVolumeID=None)
            # These views are younger than the marks that the module gave to all others.
            self._borrowed.set(
                view, OrientationMarkerType=view.OrientationMarkerTypeCube, RulerType=view.RulerTypeThin
            )
        self._crosses = [addCross(self._scene, [view]) for view in self.views]
        self._crosshair = self._scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        if self._crosshair is not None:
            self._borrowed.set(self._crosshair, CrosshairMode=self._crosshair.NoCrosshair)
            self._observe(self._crosshair, self._onCrosshair)
        for number, view in enumerate(self.views):
            self._observe(view, lambda caller, event, number=number: self._onView(number))

    @property
    def shown(self) -> bool:
        """Whether the views are what the user sees."""
        return self._layoutNode.GetScene() is not None and self._layoutNode.GetViewArrangement() == LAYOUT

    def moveTo(self, points: Sequence[Point | None], centre: bool = True) -> None:
        """Brings each view and its cross to a point of its own scan, world RAS mm; None lets one be.

        centre: whether that is the middle of the view, at a scale that shows a nodule.
        """
        if self._moving:
            return
        self._moving = True
        try:
            for number, point in enumerate(points):
                self._place(number, point, centre, None)
        finally:
            self._moving = False

    def follow(self, number: int, point: Point) -> None:
        """Brings all other views to the anatomy at a point of one scan, world RAS mm."""
        if self._moving:
            return
        self._moving = True
        try:
            middle = self._through(number, np.asarray(point, float), inverse=True)
            for other in range(len(self._scans)):
                place = point if other == number else middle
                if other not in (number, self._reference) and middle is not None:
                    place = self._through(other, middle, inverse=False)
                self._place(other, place, False, number)
        finally:
            self._moving = False

    def close(self) -> None:
        """Takes crosses and layout away, unless the user has chosen another one meanwhile."""
        for node, tag in self._observations:
            node.RemoveObserver(tag)
        self._observations = []
        self._borrowed.giveBack()
        for cross in self._crosses:
            if scene := cross.GetScene():
                display = cross.GetDisplayNode()
                scene.RemoveNode(cross)
                scene.RemoveNode(display)
        if self.shown:
            self._layoutNode.SetViewArrangement(self._before)
        self._unsaved.close()

    def _show(self) -> None:
        names = [scan.name for scan in self._scans]
        if self._before == LAYOUT:
            self._before = self._layoutNode.SlicerLayoutFourUpView
        xml = layoutDescription(names)
        if self._layoutNode.IsLayoutDescription(LAYOUT):
            self._layoutNode.SetLayoutDescription(LAYOUT, xml)
        else:
            self._layoutNode.AddLayoutDescription(LAYOUT, xml)
        self._layoutNode.SetViewArrangement(LAYOUT)

    def _viewOf(self, number: int) -> slicer.vtkMRMLSliceNode:
        nodes = slicer.util.getNodesByClass("vtkMRMLSliceNode", self._scene)
        return next(node for node in nodes if node.GetLayoutName() == viewName(number))

    def _observe(self, node: vtk.vtkObject, method: Callable) -> None:
        self._observations.append((node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, method)))

    def _through(self, number: int, point: np.ndarray, inverse: bool) -> np.ndarray | None:
        """From a scan to the reference (inverse) or back; None where no registration of the scene tells."""
        if number == self._reference:
            return point
        fixed, moving = self._scans[self._reference].volume, self._scans[number].volume
        transform = self._transform or transformBetween(fixed, moving)
        if transform is None:
            return None
        pair = Pair(fixed, moving, transform)
        with quietVtk():
            return np.array((pair.toFixed() if inverse else pair.toMoving()).TransformPoint(*point))

    def _place(self, number: int, point: Point | None, centre: bool, source: int | None) -> None:
        if point is None:
            return
        view, cross = self.views[number], self._crosses[number]
        self._places[number] = np.asarray(point, float)
        cross.SetNthControlPointPosition(0, *point)
        cross.GetDisplayNode().SetVisibility(True)
        if centre:
            width, height, depth = view.GetFieldOfView()
            zoom = FIELD_OF_VIEW_MM / min(width, height)
            with slicer.util.NodeModify(view):
                view.SetXYZOrigin(0, 0, 0)
                view.SetFieldOfView(width * zoom, height * zoom, depth)
                view.JumpSliceByCentering(*point)
        elif number != source:
            view.JumpSliceByCentering(*point)

    def _onView(self, number: int) -> None:
        """Scrolling takes the point along the view's normal."""
        place = self._places[number]
        if self._moving or place is None:
            return
        toRas = slicer.util.arrayFromVTKMatrix(self.views[number].GetSliceToRAS())
        normal = toRas[:3, 2]
        distance = float(normal @ (toRas[:3, 3] - place))
        if abs(distance) > TOLERANCE_MM:
            self.follow(number, place + distance * normal)

    def _onCrosshair(self, caller, event) -> None:
        source = self._crosshair.GetCursorPositionXYZ([0.0, 0.0, 0.0])
        if source not in self.views:
            return
        number, point = self.views.index(source), np.array(self._crosshair.GetCrosshairRAS())
        place = self._places[number]
        if place is None or np.linalg.norm(point - place) > TOLERANCE_MM:
            self.follow(number, point)
