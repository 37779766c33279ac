"""The section "Inverse consistency" of the page "Check": the exchanged scans registered beside Slicer."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.panel.check_residuals import ResidualTable
from GLIDERegLib.panel.child import pythonExecutable
from GLIDERegLib.panel.remedies import said
from GLIDERegLib.panel.timers import lookTimer
from GLIDERegLib.scene.parameters import settingsOf
from GLIDERegLib.scene.quality.consistency import SceneConsistency, consistencyOf
from GLIDERegLib.scene.registration.pair import Pair

START = _("Register the exchanged scans")


class ConsistencySection:
    """ui: the widgets of GLIDERegCheck.ui. pair: called for what is checked, None where nothing can be.
    whenReady: calls its second argument as soon as the registration that its first, a parameter node,
    describes can start, or its third with the reason why not.
    """

    def __init__(self, ui, pair: Callable[[], Pair | None], whenReady: Callable):
        self.ui = ui
        self._pair, self._whenReady = pair, whenReady
        self._node = None
        self._of: Pair | None = None
        self._waiting = False
        self._second = SceneConsistency(pythonExecutable())
        self._table = ResidualTable(ui.checkConsistencyView, ui.checkConsistencyLabel)
        self._timer = lookTimer(self._poll)
        ui.checkConsistencyButton.connect("clicked()", self._clicked)
        self.show(None)

    @property
    def busy(self) -> bool:
        """Whether it is asked for or goes on."""
        return self._waiting or self._second.active

    def show(self, node) -> None:
        """What the scene has for the pair that a parameter node chooses; what runs for another pair ends."""
        self._node, pair = node, self._pair()
        if self.busy and (pair is None or not _same(pair, self._of)):
            self.close()
        if not self.busy:
            self._table.fill(None if pair is None else consistencyOf(pair))
        self._enable()

    def forget(self) -> None:
        """The transform has changed: what was found of it holds no more."""
        if self._second.active:
            self.close()
            self._table.tell(_("The transform has changed; the second registration was stopped."))
        else:
            self._table.fill(None)

    def close(self) -> None:
        """Ends what is running; nothing stays of it."""
        self._timer.stop()
        self._second.close()
        self._waiting = False
        self._enable()

    def _clicked(self) -> None:
        if self.busy:
            self.close()
            self._table.fill(consistencyOf(pair) if (pair := self._pair()) is not None else None)
            self._table.tell(_("Stopped by user."))
            return
        node, pair = self._node, self._pair()
        if pair is None:
            return
        self._waiting, self._of = True, pair
        self._table.tell(_("Looking at what is installed..."))
        self._enable()
        self._whenReady(node, lambda: self._start(node), self._refuse)

    def _start(self, node) -> None:
        if not self._waiting:
            return
        self._waiting = False
        try:
            with slicer.util.WaitCursor():
                # The cursor lets events through, and the scene may have been closed.
                if node is not self._node or self._pair() != self._of:
                    self._refuse("")
                    return
                self._second.start(self._of, settingsOf(node), slicer.app.temporaryPath)
        except InputError as error:
            self._refuse(said(error))
            return
        self._table.tell(_("Registering the exchanged scans..."))
        self._enable()
        self._timer.start()

    def _refuse(self, reason: str) -> None:
        self._waiting = False
        self._table.tell(reason)
        self._enable()

    def _poll(self) -> None:
        try:
            backward, failure = self._second.poll(), self._second.failure
        except InputError as error:
            backward, failure = None, error
        if self._second.active:
            self._table.tell(
                "\n".join(filter(None, [_("Registering the exchanged scans..."), self._second.said]))
            )
            return
        self._timer.stop()
        if backward is None:
            self._table.tell(said(failure))
        else:
            # Its map and its share of the metrics are of this transform.
            self._node.checkBack = backward
            self._table.fill(consistencyOf(self._of))
        self._enable()

    def _enable(self) -> None:
        button = self.ui.checkConsistencyButton
        button.enabled = self._pair() is not None
        button.text = _("Stop") if self.busy else START


def _same(one: Pair, other: Pair) -> bool:
    """Whether both are of the same scans and transform, whatever leads back."""
    return (one.fixed, one.moving, one.transform) == (other.fixed, other.moving, other.transform)
