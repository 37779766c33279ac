"""Observers of VTK objects in widgets, silent once the widget's C++ side is gone."""

from __future__ import annotations

import weakref

import shiboken6
import vtk

# Every widget that ever observed something and still exists.
observing: weakref.WeakSet = weakref.WeakSet()


class Observing:
    """Mixed into a placeholder, whose `_internal` must name "_observed"."""

    def observe(self, target, event, method: str, priority: float = 0.0, callData: str | None = None) -> None:
        """Calls the method with the target and, where its kind is named (vtk.VTK_OBJECT), the call data."""
        alive = weakref.ref(self)

        def call(caller, name, data=None):
            widget = alive()
            if widget is None or not shiboken6.isValid(widget):
                return
            try:
                getattr(widget, method)(caller, data)
            except ValueError:
                # Garbage collection in between may have destroyed it.
                if shiboken6.isValid(widget):
                    raise

        if callData is not None:
            call = vtk.calldata_type(callData)(call)
        observing.add(self)
        tag = target.AddObserver(event, call, priority)
        self.__dict__.setdefault("_observed", []).append((target, method, tag))

    def unobserve(self, method: str, target=None) -> None:
        """Ends what `observe` began for a method, of one target or of all."""
        observed = self.__dict__.setdefault("_observed", [])
        gone = [entry for entry in observed if entry[1] == method and target in (None, entry[0])]
        for watched, _, tag in gone:
            watched.RemoveObserver(tag)
        self.__dict__["_observed"] = [entry for entry in observed if entry not in gone]


def forget() -> None:
    """Ends the widgets that observe and what they observe: until Python collects the wrappers, if ever, each
    event would call them, as it does not in Slicer once their C++ side is gone.
    """
    for widget in list(observing):
        for target, _, tag in widget.__dict__.pop("_observed", ()):
            target.RemoveObserver(tag)
        if shiboken6.isValid(widget):
            shiboken6.delete(widget)
    observing.clear()
