"""What lies over the fixed scan in slice views: the warped scan in one of several ways, or a map."""

from __future__ import annotations

import slicer

from GLIDERegLib.scene.mrml.borrowed import Borrowed
from GLIDERegLib.scene.mrml.copies import AS_IT_IS, INVERTED, TINTED, MovingCopies
from GLIDERegLib.scene.quality.maps import KINDS, addLegend, findMap, removeLegend
from GLIDERegLib.scene.registration.pair import Pair
from GLIDERegLib.scene.views.layout import compositesOf

NOTHING, WARPED, FADE, FLICKER, DIFFERENCE, REVEAL = "", "warped", "fade", "flicker", "subtract", "reveal"
TWO_COLORS = "two colors"
HALF = 0.5


class Overlay:
    """Occupies slice views with the fixed scan and something over it, and gives them back.

    overlay = Overlay(pair, copies, sliceNodes)
    overlay.show("fade", opacity=0.3)
    overlay.show("jacobian", opacity=0.5)
    overlay.close()
    """

    def __init__(self, pair: Pair, copies: MovingCopies, views: list[slicer.vtkMRMLSliceNode]):
        self._pair, self._copies, self._views = pair, copies, views
        self._borrowed = Borrowed()
        self._legend: slicer.vtkMRMLColorLegendDisplayNode | None = None

    def show(self, mode: str, opacity: float = HALF, before: bool = False, blink: bool = True) -> None:
        """Shows one of the ways above, or a kind of map.

        opacity: of the warped scan where it fades, and of a map. before: the moving scan, unwarped, in
        place of the warped one. blink: where it flickers, whether it is seen at this moment. A map that has
        not been made yet leaves the fixed scan alone.
        """
        self._copies.setLook({DIFFERENCE: INVERTED, TWO_COLORS: TINTED}.get(mode, AS_IT_IS))
        over = self._copies.original if before else self._copies.warped
        if mode in KINDS:
            over = findMap(self._pair.transform, mode)
        elif mode in (WARPED, FLICKER, REVEAL, DIFFERENCE, TWO_COLORS):
            # The layer reveal cursor draws the upper layer itself, around the mouse.
            opacity = {FLICKER: float(blink), REVEAL: 0.0, DIFFERENCE: HALF}.get(mode, 1.0)
        below = self._copies.tintedFixed if mode == TWO_COLORS else self._pair.fixed
        for composite in compositesOf(self._views):
            self._borrowed.set(
                composite,
                BackgroundVolumeID=below.GetID(),
                ForegroundVolumeID=over.GetID() if over and mode != NOTHING else None,
                ForegroundOpacity=opacity,
                Compositing=composite.Add if mode == TWO_COLORS else composite.Alpha,
            )
        self._removeLegend()
        if mode in KINDS and over is not None:
            self._legend = addLegend(over, tuple(view.GetID() for view in self._views))

    def close(self) -> None:
        """What the views showed before, except what the user has changed since."""
        self._removeLegend()
        self._borrowed.giveBack()

    def _removeLegend(self) -> None:
        if self._legend is not None:
            removeLegend(self._legend)
        self._legend = None
