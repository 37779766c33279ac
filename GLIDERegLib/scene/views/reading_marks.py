"""What a reader expects in a view of a scan: letters of direction, a scale bar, one lung window for both."""

from __future__ import annotations

from collections.abc import Iterable

import slicer
import slicer.util

from GLIDERegLib.scene.mrml.borrowed import Borrowed
from GLIDERegLib.scene.registration.checks import looksLikeCt

# HU; the lung window of textbooks, from -1350 to 150.
LUNG_WINDOW, LUNG_LEVEL = 1500.0, -600.0


class ReadingMarks:
    """Letters (R, L, A, P, S, I), scale bar and lung window, as long as scans are read here.

    marks = ReadingMarks()
    marks.show(slicer.mrmlScene, [fixedVolume, movingVolume])
    marks.giveBack()
    """

    def __init__(self):
        self._views = Borrowed()
        self._windows: dict[slicer.vtkMRMLScalarVolumeDisplayNode, Borrowed] = {}

    def show(
        self, scene: slicer.vtkMRMLScene, volumes: Iterable[slicer.vtkMRMLScalarVolumeNode | None]
    ) -> None:
        """Marks all slice views of a scene, and shows those of the volumes that are CT in the lung window.

        A view or a display that the user has set otherwise since stays as the user wants it.
        """
        for view in slicer.util.getNodesByClass("vtkMRMLSliceNode", scene):
            self._views.set(
                view, OrientationMarkerType=view.OrientationMarkerTypeCube, RulerType=view.RulerTypeThin
            )
        for volume in volumes:
            display = volume and volume.GetScalarVolumeDisplayNode()
            if display is None or display in self._windows or volume.GetImageData() is None:
                continue
            self._windows[display] = Borrowed()
            if looksLikeCt(volume):
                self._windows[display].set(display, AutoWindowLevel=0, Window=LUNG_WINDOW, Level=LUNG_LEVEL)

    def giveBack(self) -> None:
        """Views and displays as they were, except what somebody else has changed since."""
        self._views.giveBack()
        for display, borrowed in self._windows.items():
            # Automatic windowing given back would undo a window of the user's own.
            if (display.GetWindow(), display.GetLevel()) == (LUNG_WINDOW, LUNG_LEVEL):
                borrowed.giveBack()
        self._windows.clear()
