"""The section "Look" of the page "Check": side by side, overlays, the deformation, outlines."""

from __future__ import annotations

from collections.abc import Callable

import qt
from slicer.i18n import tr as _

from GLIDERegLib.panel.check_texts import (
    CONSISTENCY,
    DRAWINGS,
    LAYOUT_CHOICES,
    MAPS,
    OVERLAYS,
    REVEAL,
    inSight,
    positionText,
)
from GLIDERegLib.panel.check_views import CheckViews
from GLIDERegLib.panel.choices import ChoiceBox
from GLIDERegLib.panel.looking import Looking
from GLIDERegLib.scene.quality.maps import KINDS, LANDMARK_ERROR, findMap
from GLIDERegLib.scene.registration.pair import Pair
from GLIDERegLib.scene.views import overlay
from GLIDERegLib.scene.views.crosshair import Position
from GLIDERegLib.scene.views.drawing import CONTOURS

BLINK_MILLISECONDS = 500


class LookSection:
    """ui: the widgets of GLIDERegCheck.ui. pair: called for what is checked, None where nothing can be.
    measure: makes the maps. changed: called when another switch can be used. say: tells the user.

    What is shown in the views is given back by `close`; it is not saved.
    """

    def __init__(
        self,
        ui,
        pair: Callable[[], Pair | None],
        measure: Callable[[], None],
        changed: Callable[[], None],
        say: Callable[[str], None],
    ):
        self.ui = ui
        self._pair, self._measure, self._changed, self._say = pair, measure, changed, say
        self._node = None
        self.views: CheckViews | None = None
        self._looking = Looking()
        self._quiet = False
        self._offered = OVERLAYS + ([REVEAL] if CheckViews.canReveal() else []) + MAPS
        self._layout = ChoiceBox(ui.checkLayoutCombo, LAYOUT_CHOICES, lambda _: self._showLayout())
        self._overlay = ChoiceBox(ui.checkOverlayCombo, self._offered, lambda _: self.show())
        self._drawing = ChoiceBox(ui.checkDrawingCombo, DRAWINGS, lambda _: self.show())
        ui.checkLayoutButton.connect("toggled(bool)", lambda on: self._showLayout())
        for box in (ui.checkBeforeCheck, ui.checkOutlineCheck, ui.checkFollowCheck):
            box.connect("toggled(bool)", lambda on: self.show())
        self._blinking = qt.QTimer()
        self._blinking.setInterval(BLINK_MILLISECONDS)
        self._blinking.connect("timeout()", self._blink)

    def setNode(self, node) -> None:
        """What the parameter node chooses; views of another pair are given back."""
        self._node = node
        if self.views is not None and self.views.pair != self._pair():
            self.close()
        independent = [CONSISTENCY] if node is not None and node.checkBack is not None else []
        self._overlay.fill([*self._offered, *independent], self._overlay.value)

    def enable(self, possible: bool) -> None:
        """possible: whether there is a pair to look at."""
        ui, mode = self.ui, self._overlay.value
        for widget in (ui.checkLayoutButton, ui.checkOverlayCombo, ui.checkBeforeCheck, ui.checkDrawingCombo):
            widget.enabled = possible
        ui.checkOutlineCheck.enabled = possible and self._node.checkFixedStructures is not None
        ui.checkFollowCheck.enabled = possible and ui.checkLayoutButton.checked
        ui.checkOpacitySlider.enabled = possible and (mode == overlay.FADE or mode in KINDS)
        ui.checkSpacingSlider.enabled = possible and self._drawing.value not in ("", CONTOURS)

    def nextOverlay(self) -> None:
        """The overlay below the present one in the list, after the last one the first."""
        combo = self.ui.checkOverlayCombo
        if combo.enabled:
            combo.setCurrentIndex((combo.currentIndex + 1) % combo.count)

    def showMap(self, kind: str) -> None:
        """Lays a map over the fixed scan."""
        self._overlay.show(kind)
        self.show()

    def show(self) -> None:
        """The views as the switches say."""
        if self._quiet or self._node is None or (pair := self._pair()) is None:
            return
        ui, mode, node, reason = self.ui, self._overlay.value, self._node, ""
        if mode == LANDMARK_ERROR and findMap(pair.transform, mode) is None:
            self._quietly(lambda: self._overlay.show(overlay.NOTHING))
            self._say(_("Press 'Find landmarks' first."))
            return
        if mode in KINDS and findMap(pair.transform, mode) is None:
            self._quietly(lambda: self._overlay.show(overlay.NOTHING))
            self._measure()
            if self._pair() != pair:
                # Closed, or another one, since measuring lets events through.
                return
            if findMap(pair.transform, mode) is not None:
                self._overlay.show(mode)
            else:
                mode = overlay.NOTHING
                reason = _("This map needs two CT scans whose numbers are HU.")
        if self.views is None:
            self.views = CheckViews(pair, self._tellPosition)
        self.views.showOverlay(mode, node.checkOpacity / 100, ui.checkBeforeCheck.checked)
        self.views.showDrawing(self._drawing.value, node.checkSpacing)
        self.views.showOutlines(node.checkFixedStructures if ui.checkOutlineCheck.checked else None)
        self.views.follow(ui.checkFollowCheck.checked and ui.checkLayoutButton.checked)
        if mode == overlay.FLICKER:
            self._blinking.start()
        else:
            self._blinking.stop()
        layout = self._layout.value if ui.checkLayoutButton.checked else ""
        self._looking.see(pair, inSight(layout, mode, self._drawing.value))
        self._changed()
        if reason:
            self._say(reason)

    def close(self) -> None:
        """Gives the views back and puts every switch to off."""
        self._blinking.stop()
        self._looking.stop()
        if self.views is not None:
            self.views.close()
            self.views = None
        self.reset()

    def reset(self) -> None:
        """Puts every switch to off."""

        def off() -> None:
            for box in ("checkLayoutButton", "checkBeforeCheck", "checkOutlineCheck", "checkFollowCheck"):
                getattr(self.ui, box).checked = False
            self._overlay.show(overlay.NOTHING)
            self._drawing.show("")

        self._quietly(off)
        self._tellPosition(None)
        self._changed()

    def _showLayout(self) -> None:
        if self._quiet or self._node is None or (pair := self._pair()) is None:
            return
        if self.views is None:
            self.views = CheckViews(pair, self._tellPosition)
        shown, views = self.ui.checkLayoutButton.checked, self.views
        views.showLayout(self._layout.value if shown else None)
        if self.views is not views:
            # Closed meanwhile, since laying out lets events through.
            return
        if shown and self._overlay.value == overlay.NOTHING:
            self._overlay.show(overlay.WARPED)
        self._quietly(lambda: setattr(self.ui.checkFollowCheck, "checked", shown))
        self._changed()
        self.show()

    def _blink(self) -> None:
        self.views.blink()

    def _tellPosition(self, position: Position | None) -> None:
        self.ui.checkPositionLabel.text = "" if position is None else positionText(position)

    def _quietly(self, change: Callable[[], None]) -> None:
        """Changes widgets without acting on it."""
        self._quiet, before = True, self._quiet
        change()
        self._quiet = before
