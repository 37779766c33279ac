"""What the page "Check" does to Slicer's views: one owner, so that everything can be given back at once."""

from __future__ import annotations

from collections.abc import Callable

import slicer
import slicer.util

from GLIDERegLib.scene.mrml.borrowed import Borrowed
from GLIDERegLib.scene.mrml.copies import MovingCopies
from GLIDERegLib.scene.registration.pair import Pair
from GLIDERegLib.scene.views import overlay
from GLIDERegLib.scene.views.crosshair import Position, SynchronizedReading
from GLIDERegLib.scene.views.drawing import OutlineDrawing, TransformDrawing
from GLIDERegLib.scene.views.layout import (
    FIXED,
    MOVING,
    WARPED,
    SideBySide,
    ordinaryViews,
    sameScale,
)
from GLIDERegLib.scene.views.overlay import Overlay


class CheckViews:
    """Layout, overlay, drawings and synchronised reading of one pair. told: is called with each new
    position.
    """

    def __init__(self, pair: Pair, told: Callable[[Position], None]):
        self.pair = pair
        self._told = told
        self._scene = pair.transform.GetScene()
        self._layout = SideBySide(self._scene)
        self._columns = Borrowed()
        self._copies: MovingCopies | None = None
        self._overlay: Overlay | None = None
        self._mode, self._opacity, self._before, self._seen = overlay.NOTHING, 0.0, False, True
        self._drawing: TransformDrawing | None = None
        self._outlines: OutlineDrawing | None = None
        self._reading: SynchronizedReading | None = None
        self._reveal = None

    @staticmethod
    def canReveal() -> bool:
        """Whether this Slicer has the layer reveal cursor, which comes with its module CompareVolumes."""
        return hasattr(slicer.modules, "comparevolumes")

    def showLayout(self, choice: str | None) -> None:
        """Fixed, warped and moving scan side by side, see `SideBySide.show`; None for the user's own
        layout.
        """
        at = self._reading.position if self._reading else None
        self._endReading()
        self._endOverlay()
        self.showDrawing("", 0.0)
        if choice is None:
            self._layout.close()
            return
        self._layout.show(choice)
        # The views get their sizes when Qt lays them out.
        slicer.app.processEvents()
        if not self._layout.shown:
            # An event has closed the page.
            return
        for composite in self._layout.composites(FIXED):
            self._columns.set(composite, BackgroundVolumeID=self.pair.fixed.GetID(), ForegroundVolumeID=None)
        for composite in self._layout.composites(WARPED):
            self._columns.set(composite, BackgroundVolumeID=self.pair.fixed.GetID())
        for composite in self._layout.composites(MOVING):
            self._columns.set(composite, BackgroundVolumeID=self._unwarped().GetID(), ForegroundVolumeID=None)
        views = self._layout.views(FIXED, WARPED, MOVING)
        for view in views:
            # These views are younger than the marks that the module gave to all others.
            self._columns.set(
                view, OrientationMarkerType=view.OrientationMarkerTypeCube, RulerType=view.RulerTypeThin
            )
        sameScale(slicer.app.applicationLogic(), views)
        if at is not None:
            self.follow(True)
            self._reading.moveTo(at.fixed, inMoving=False)

    def showOverlay(self, mode: str, opacity: float, before: bool) -> None:
        """See `Overlay.show`; `overlay.NOTHING` gives the views back."""
        self._mode, self._opacity, self._before, self._seen = mode, opacity, before, True
        if mode == overlay.NOTHING:
            self._endOverlay()
            return
        if self._overlay is None:
            views = self._layout.views(WARPED) if self._layout.shown else ordinaryViews(self._scene)
            self._overlay = Overlay(self.pair, self._moving(), views)
        self._overlay.show(mode, opacity, before)
        self._showReveal(mode == overlay.REVEAL)

    def blink(self) -> None:
        """The other half of a flicker."""
        self._seen = not self._seen
        if self._overlay is not None:
            self._overlay.show(self._mode, self._opacity, self._before, self._seen)

    def showDrawing(self, kind: str, spacing: float) -> None:
        """The transform's own display, see `TransformDrawing.show`; "" for none."""
        if not kind:
            if self._drawing is not None:
                self._drawing.close()
            self._drawing = None
            return
        if self._drawing is None:
            self._drawing = TransformDrawing(self.pair.transform, self.pair.fixed, self._fixedViewIds())
        self._drawing.show(kind, spacing)

    def showOutlines(self, segmentation: slicer.vtkMRMLSegmentationNode | None) -> None:
        """A segmentation of the fixed scan as outlines; None for none."""
        if self._outlines is not None:
            self._outlines.close()
        self._outlines = None
        if segmentation is not None:
            self._outlines = OutlineDrawing(segmentation, self._fixedViewIds())

    def follow(self, on: bool) -> None:
        """Reads both scans together, where they are shown side by side."""
        if on == (self._reading is not None):
            return
        self._endReading()
        if on:
            fixedViews = self._layout.views(FIXED, WARPED)
            self._reading = SynchronizedReading(self.pair, fixedViews, self._layout.views(MOVING), self._told)
            if fixedViews:
                toRas = slicer.util.arrayFromVTKMatrix(fixedViews[0].GetSliceToRAS())
                self._reading.moveTo(toRas[:3, 3].tolist(), inMoving=False)

    def close(self) -> None:
        """Every view, display and node as it was."""
        self._endReading()
        self._endOverlay()
        self.showDrawing("", 0.0)
        self.showOutlines(None)
        self._layout.close()
        self._columns.giveBack()
        if self._copies is not None:
            self._copies.remove()
        self._copies = None

    def _moving(self) -> MovingCopies:
        if self._copies is None:
            self._copies = MovingCopies(self.pair)
        return self._copies

    def _unwarped(self) -> slicer.vtkMRMLVolumeNode:
        # The user's own node, wherever it is not warped in the scene already.
        moving = self.pair.moving
        return moving if self.pair.frame(moving) is None else self._moving().original

    def _fixedViewIds(self) -> tuple[str, ...]:
        views = self._layout.views(FIXED, WARPED) if self._layout.shown else []
        return tuple(view.GetID() for view in views)

    def _endOverlay(self) -> None:
        self._showReveal(False)
        if self._overlay is not None:
            self._overlay.close()
        self._overlay = None

    def _endReading(self) -> None:
        if self._reading is not None:
            self._reading.close()
        self._reading = None

    def _showReveal(self, on: bool) -> None:
        if on == (self._reveal is not None):
            return
        if on:
            from CompareVolumes import LayerReveal

            self._reveal = LayerReveal()
        else:
            # Older versions of CompareVolumes call it tearDown.
            (getattr(self._reveal, "cleanup", None) or self._reveal.tearDown)()
            self._reveal = None
