"""Slicer without its desktop: runs the shipped module, .py and .ui unchanged, on slicer-core and PySide6.

The scene, its nodes, logics, files and views are Slicer's own. Qt is PySide6 under PythonQt's rules (see
pythonqt.py): what PythonQt would refuse fails here too, and so do unknown widgets, properties, signals and
connections in the .ui. CTK and qMRML widgets, the base classes of scripted modules and the parameter node
wrapper are stand-ins.

In a test folder's conftest.py:

    from host import fixtures

    slicerSession, slicerHost = fixtures.slicerSession, fixtures.slicerHost

It behaves as Slicer 5.12; a test that asks for the fixture slicer510 too gets the habits of 5.10.

In a test (import slicer, qt and ctk inside functions, after the fixture has started the host):

    def test_apply_needs_two_volumes(slicerHost):
        module = slicerHost.loadModule("GLIDEReg/GLIDEReg.py")   # startupCompleted() is emitted here
        module.enter()                           # makes the panel (setup) and calls the widget's enter
        module.widget, module.ui, module.logic, module.panel, module.python    # .exit(), .reload()
        module.ui.applyButton.click()
        slicerHost.waitUntil(lambda: module.ui.progressBar.value == 100, seconds=20)
        slicerHost.screenshot(module.panel, "panel.png", width=400)

Dialogs never block. slicerHost.dialogs.answers is a list of what the user will press, in order
(qt.QMessageBox.Yes, a path, or a function of the dialog); slicerHost.dialogs.shown lists what was shown
(title, text, buttons, ...). A question without a prepared answer fails. slicerHost.testing = True makes
slicer.app.testingEnabled() true.

slicerHost.packaging.setPresent(False) takes slicer.packaging away (Slicer 5.10); .calls lists installations
asked for; .install is a function that a test may replace. slicerHost.sampleData.sources lists registered
sample data; slicerHost.sampleData.install(categories=False) takes registerCustomSampleDataCategory away.

slicerHost.saveScene("x.mrb"), slicerHost.loadScene("x.mrb"), slicerHost.quit() (Slicer closes).

Views: slicer.app.layoutManager().sliceWidget("Red") has jumpTo(ras), fitSliceToBackground(), resize(w, h),
grab(path=None) -> uint8 (height, width, 3) and pixelOf(ras) -> (row, column) of that picture;
threeDWidget(0) has grab and resetFocalPoint.

An exception in a slot, a timer or an observer does not reach the test; slicerHost.uncaught lists them and
the fixture fails the test that leaves one there.
"""

from __future__ import annotations

import ctypes
import os

LIBRARIES = ("libEGL.so.1", "libGL.so.1", "libxkbcommon.so.0", "libdbus-1.so.3", "libfontconfig.so.1")
_host = None


class HostUnavailable(RuntimeError):
    """Something the host is built on is not installed; the message says what."""


def _check() -> None:
    for library in LIBRARIES if os.name == "posix" and os.uname().sysname == "Linux" else ():
        try:
            ctypes.CDLL(library)
        except OSError:
            raise HostUnavailable(f"needs the system library {library}") from None
    for package, source in (("slicer", "slicer-core"), ("PySide6.QtWidgets", "PySide6-Essentials")):
        try:
            __import__(package)
        except ImportError as error:
            raise HostUnavailable(f"needs the Python package {source} ({error})") from None


def start():
    """The one host of this process, started at the first call; HostUnavailable where that is impossible."""
    global _host
    if _host is None:
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
        _check()
        from .application import Host

        _host = Host()
    return _host
