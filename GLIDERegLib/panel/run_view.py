"""What a page shows of its run: a button to start and one to stop, a bar, a line, and what is to be said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from GLIDERegLib.panel.plain import plain
from GLIDERegLib.worker.job import State


class RunView:
    """The part of RunShown that is the same for every page.

    run: called for the run, as RunController's registration. text: of the run while it goes on. changed:
    called after each change, so that the page can say what is possible now.
    """

    def __init__(
        self,
        start: qt.QPushButton,
        stop: qt.QPushButton,
        bar: qt.QProgressBar,
        label: qt.QLabel,
        message: qt.QLabel,
        run: Callable[[], Any],
        text: Callable[[Any], str],
        changed: Callable[[], None],
    ):
        self._start, self._stop, self._bar = start, stop, bar
        self._label, self._message = label, message
        self._run, self._text, self._changed = run, text, changed

    def say(self, sentences: list[str]) -> None:
        """Tells the user."""
        self._message.text = "\n".join(sentences)
        self._message.visible = bool(sentences)

    def tell(self, text: str) -> None:
        """What became of the run."""
        self._label.text = text

    def enable(self, problem: str | None, busy: bool, toolTip: str) -> None:
        """Start and stop as they can be used; problem: why nothing can be started, which is said, too."""
        self._start.enabled = problem is None and not busy
        self._start.toolTip = plain(problem or toolTip)
        self._stop.enabled = self._run().state is not State.CANCELLING
        if not busy:
            self.say([problem] if problem else [])

    def showLooking(self) -> None:
        self.tell(_("Looking at what is installed..."))
        self._changed()

    def showStarted(self) -> None:
        self.say([])
        self.showRun()

    def showIdle(self) -> None:
        self._bar.visible = self._stop.visible = False
        self._start.visible = True
        self.tell("")
        self._changed()

    def showRun(self) -> None:
        run = self._run()
        self._start.visible = False
        self._bar.visible = self._stop.visible = True
        self._bar.value = round(100 * run.overall)
        self.tell(_("Cancelling...") if run.state is State.CANCELLING else self._text(run))
        self._changed()
