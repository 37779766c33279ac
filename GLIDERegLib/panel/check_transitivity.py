"""The section "Transitivity" of the page "Check": the transform and a second one against a direct one."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.panel.check_residuals import ResidualTable
from GLIDERegLib.panel.child import pythonExecutable
from GLIDERegLib.panel.remedies import said
from GLIDERegLib.panel.timers import lookTimer
from GLIDERegLib.scene.quality.transitivity import Round, SceneTransitivity, roundProblem, transitivityOf
from GLIDERegLib.scene.registration.pair import Pair

START = _("Compare the two ways")


class TransitivitySection:
    """ui: the widgets of GLIDERegCheck.ui. pair: called for what is checked, None where nothing can be."""

    def __init__(self, ui, pair: Callable[[], Pair | None]):
        self.ui = ui
        self._pair = pair
        self._node = None
        self._of: Round | None = None
        self._comparison = SceneTransitivity(pythonExecutable())
        self._table = ResidualTable(ui.checkRoundView, ui.checkRoundLabel)
        self._timer = lookTimer(self._poll)
        ui.checkRoundButton.connect("clicked()", self._clicked)
        self.show(None)

    def show(self, node) -> None:
        """What the scene has for a parameter node's transforms; a comparison of others ends."""
        self._node = node
        if self._comparison.active and self._round() != self._of:
            self.close()
        if not self._comparison.active:
            self._fill()
        self._enable()

    def forget(self) -> None:
        """The transform has changed: what was found of it holds no more."""
        self.close()
        self._fill()

    def close(self) -> None:
        """Ends what is running; nothing stays of it."""
        self._timer.stop()
        self._comparison.close()
        self._enable()

    def _round(self) -> Round | None:
        """What is chosen; None where it leads round no three scans."""
        pair, node = self._pair(), self._node
        if pair is None or roundProblem(pair, node.checkSecond, node.checkDirect):
            return None
        return Round(pair, node.checkSecond, node.checkDirect)

    def _fill(self) -> bool:
        """Whether there are figures of what is chosen."""
        three = self._round()
        known = transitivityOf(three.pair) if three is not None else None
        report = known[1] if known and known[0] == three else None
        self._table.fill(report)
        if three is None and (pair := self._pair()) is not None:
            node = self._node
            if None not in (node.checkSecond, node.checkDirect):
                self._table.tell(_(roundProblem(pair, node.checkSecond, node.checkDirect)))
        return report is not None

    def _clicked(self) -> None:
        if self._comparison.active:
            self.close()
            self._fill()
            self._table.tell(_("Stopped by user."))
            return
        if (three := self._round()) is None:
            return
        self._of = three
        try:
            with slicer.util.WaitCursor():
                # The cursor lets events through, and the scene may have been closed.
                if self._round() != three:
                    return
                self._comparison.start(three, slicer.app.temporaryPath)
        except InputError as error:
            self._table.tell(said(error))
            return
        self._table.tell(_("Comparing..."))
        self._enable()
        self._timer.start()

    def _poll(self) -> None:
        report, failure = self._comparison.poll(), self._comparison.failure
        if self._comparison.active:
            return
        self._timer.stop()
        self._enable()
        if report is None:
            self._table.tell(said(failure))
        elif not self._fill():
            self._table.tell(_("A transform has changed meanwhile; compare them again."))

    def _enable(self) -> None:
        button = self.ui.checkRoundButton
        button.enabled = self._round() is not None
        button.text = _("Stop") if self._comparison.active else START
