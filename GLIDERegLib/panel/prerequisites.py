"""What a run needs of the Python that registers: looked at beside Slicer, installed if the user agrees."""

from __future__ import annotations

from collections.abc import Callable

import qt
from slicer.i18n import tr as _

from GLIDERegLib.panel.dependencies import Probe, ensureInstalled, missingPackages

POLL_MILLISECONDS = 100


def needsWeights(node) -> bool:
    """Whether the settings of a parameter node ask for SAM2's weights by their name."""
    return node.features in ("both", "global") and not node.checkpoint


class Prerequisites:
    """One for all pages that start something; a page asks `whenReady` before it does.

    findings: of the probe, None while they are not known. found: called with them whenever they are new.
    failed: called with a sentence where they cannot be had.
    """

    def __init__(self, found: Callable[[dict], None], failed: Callable[[str], None]):
        self.findings: dict | None = None
        self._found, self._failed = found, failed
        self._probe = Probe()
        # What waits for the findings: the parameter node, and what to call.
        self._waiting: tuple | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MILLISECONDS)
        self._timer.connect("timeout()", self._poll)

    @property
    def isAwaited(self) -> bool:
        """Whether something will start as soon as the findings are known."""
        return self._waiting is not None

    def look(self) -> None:
        """Finds out, unless it is known; returns at once."""
        if self.findings is None:
            self._probe.start()
            self._timer.start()

    def whenReady(self, node, ready: Callable[[], None], refused: Callable[[str], None]) -> None:
        """Calls one of both, as soon as it is known which: whether the run that the parameter node describes
        has all it needs, after installing it if the user agrees. refused gets a sentence.
        """
        if self.isAwaited:
            refused(_("Another registration is about to start; wait for its end."))
            return
        if self.findings is None:
            self._waiting = node, ready, refused
            self.look()
            return
        if self.findings["missing"] or needsWeights(node):
            globalFeatures = node.features != "local"
            # Questions and pip let events through: the page may be closed when they are done.
            request = self._waiting = node, ready, refused
            installed = ensureInstalled(self.findings, globalFeatures)
            if self._waiting is not request:
                return
            self.forget()
            if not installed:
                refused(_("The Python packages that the registration needs are not installed."))
                return
            if missingPackages(self.findings, globalFeatures):
                # What there is now, devices too, another look tells.
                self.findings = None
                self.whenReady(node, ready, refused)
                return
        ready()

    def forget(self) -> None:
        """Nothing waits any more."""
        self._waiting = None

    def close(self) -> None:
        """Ends the look where it still goes on."""
        self._timer.stop()
        self._probe.close()
        self.forget()

    def _poll(self) -> None:
        self.findings = self._probe.poll()
        waiting = self._waiting
        if self.findings is not None:
            self._timer.stop()
            self.forget()
            self._found(self.findings)
            if waiting:
                self.whenReady(*waiting)
        elif self._probe.failure:
            self._timer.stop()
            self.forget()
            self._failed(self._probe.failure)
            if waiting:
                waiting[2](self._probe.failure)
