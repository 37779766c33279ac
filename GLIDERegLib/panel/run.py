"""A run that a page starts and follows: what it needs is installed first, then it is polled to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import qt
import slicer.util

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.panel.prerequisites import POLL_MILLISECONDS, Prerequisites
from GLIDERegLib.panel.remedies import said


class RunPage(Protocol):
    """What a page does with its run. node: the parameter node, None while a scene is closed or comes in."""

    node: Any

    def problem(self) -> str | None:
        """Why a run cannot start now; None where it can."""

    def showEnd(self) -> None:
        """The run's results, or why there are none."""

    def enable(self) -> None:
        """Whether a run can be started has changed."""


class RunShown(Protocol):
    """How far a run is, for the user; see `RunView`."""

    def showLooking(self) -> None:
        """It is found out whether all is installed."""

    def showIdle(self) -> None:
        """Nothing runs."""

    def showStarted(self) -> None:
        """The run has begun."""

    def showRun(self) -> None:
        """How far the run is."""

    def say(self, sentences: list[str]) -> None:
        """Tells the user."""


class RunController:
    """One run at a time, of one page.

    registration: returns the run of the scene that is polled, such as a SceneRegistration. busy: whether
    anything is being registered, by whomever. alsoTick: called at every look; returns True while it must be
    called again though nothing runs. view: shows the run; the page itself where it has no other.
    """

    def __init__(
        self,
        page: RunPage,
        prerequisites: Prerequisites,
        registration: Callable[[], Any],
        busy: Callable[[], bool],
        alsoTick: Callable[[], bool] = lambda: False,
        view: RunShown | None = None,
    ):
        self._page = page
        self._view: RunShown = view or page
        self._prerequisites = prerequisites
        self._registration = registration
        self._busy = busy
        self._alsoTick = alsoTick
        # Asked for, until it is known whether it can start; then under way. Scripts may start others.
        self.starting = self.running = False
        # By a run that is not this page's.
        self.blocked = False
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MILLISECONDS)
        self._timer.connect("timeout()", self._tick)

    @property
    def occupied(self) -> bool:
        """Whether this page's run is asked for or under way."""
        return self.starting or self.running

    def tick(self) -> None:
        """Looks regularly from now on, as long as there is something to look at."""
        self._timer.start()

    def look(self) -> None:
        """Finds out whether somebody else's run is in the way, whose end nobody tells."""
        self.blocked = self._busy() and not self.running
        if self.blocked:
            self._timer.start()

    def request(self, start: Callable[[Any], None]) -> None:
        """Starts a run after installing what is missing if the user agrees; see `start`."""
        if self.occupied or self._page.problem():
            return
        self.starting = True
        self._view.showLooking()
        self._prerequisites.whenReady(self._page.node, lambda: self.start(start), self.refuse)

    def start(self, start: Callable[[Any], None]) -> None:
        """Starts a run at once: start(parameter node) raises InputError where it cannot be."""
        node = self._page.node
        self.starting = True
        try:
            with slicer.util.WaitCursor():
                # The cursor lets events through, and the scene or the panel may have been closed.
                if node is None or node is not self._page.node:
                    return
                start(node)
        except InputError as error:
            self.refuse(said(error))
            return
        finally:
            self.starting = False
        self.running = True
        self._timer.start()
        self._view.showStarted()

    def refuse(self, reason: str) -> None:
        """The run will not start."""
        self.starting = False
        self._view.showIdle()
        self._view.say([reason])

    def abandon(self) -> None:
        """Ends the run at once, for its scene is being closed."""
        self.starting = self.running = False
        self._registration().close()
        self._view.showIdle()

    def close(self) -> None:
        """Looks no more. To be called last when the page goes: another look would reach dead widgets."""
        self._timer.stop()

    def _tick(self) -> None:
        if self._page.node is None:
            # A scene is coming in: the end of a run waits until it is here.
            return
        goOn = self._alsoTick()
        if self.running:
            registration = self._registration()
            registration.poll()
            if registration.active:
                self._view.showRun()
            else:
                self.running = False
                self._page.showEnd()
        elif not self._busy():
            if self.blocked:
                self._page.enable()
            elif not goOn:
                self._timer.stop()
