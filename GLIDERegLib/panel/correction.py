"""The section that mends a registration: points placed in both scans where it is off."""

from __future__ import annotations

from collections.abc import Callable

from slicer.i18n import tr as _


class CorrectionSection:
    """Offers the correction while there is a registration and points that belong together.

    correct: called when the user asks for it.
    """

    def __init__(self, ui, correct: Callable[[], None]):
        self._ui = ui
        ui.correctButton.connect("clicked()", correct)

    def enable(self, node, busy: bool) -> None:
        """The button as the parameter node allows, with the reason where it does not."""
        problem = _("There is no scene.") if node is None else self._problem(node)
        button = self._ui.correctButton
        button.enabled = problem is None and not busy
        button.toolTip = problem or _(
            "Refine the registration around these points; elsewhere it stays as it is."
        )

    def _problem(self, node) -> str | None:
        if node.outputTransform is None or node.outputTransform.GetTransformFromParent() is None:
            return _("Register the scans first.")
        if node.correctionFixed is None or node.correctionMoving is None:
            return _("Choose or create a point list in each scan, and place points where the scans are off.")
        return None
