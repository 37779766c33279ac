"""Both original scans of a review beside each other, in step, on the page "Nodules"."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.scene.follow_up.views import DatesReading, ShownScan
from GLIDERegLib.scene.registration.identity import scanNames
from GLIDERegLib.scene.registration.pair import Pair
from GLIDERegLib.scene.review.table import Row


class PairViews:
    """Scrolling, and Slicer's crosshair, in one view bring the other to the same anatomy.

    pair: called for what is reviewed; raises InputError. row: called for the selected nodule. changed: called
    once other views are shown.
    """

    def __init__(
        self,
        button: qt.QPushButton,
        pair: Callable[[], Pair],
        row: Callable[[], Row | None],
        changed: Callable[[], None],
    ):
        self._button, self._pair, self._row, self._changed = button, pair, row, changed
        self._reading: DatesReading | None = None
        button.connect("toggled(bool)", self._toggled)

    @property
    def shown(self) -> bool:
        return self._reading is not None

    def show(self) -> None:
        """Shows both scans, unless they are shown."""
        self._button.checked = True

    def moveToSelected(self) -> None:
        """Brings each view to the selected nodule in its own scan, where the reader has it."""
        row = self._row()
        if self._reading is not None and row is not None:
            self._reading.moveTo([row.moving, row.fixed])

    def close(self) -> None:
        """Gives the views back."""
        self._button.checked = False

    def _toggled(self, wanted: bool) -> None:
        if wanted == self.shown:
            return
        if not wanted:
            self._reading.close()
            self._reading = None
        elif not self._open():
            self._button.checked = False
            return
        self._changed()

    def _open(self) -> bool:
        try:
            pair = self._pair()
        except InputError:
            return False
        layout = pair.fixed.GetScene().GetFirstNodeByClass("vtkMRMLLayoutNode")
        # Under the transform, the moving scan is not seen as it was scanned.
        if layout is None or pair.frame(pair.moving) is not None:
            return False
        names = scanNames(pair)
        scans = [ShownScan(pair.moving, names["moving"]), ShownScan(pair.fixed, names["fixed"])]
        self._reading = DatesReading(scans, 1, pair.transform)
        # The views get their sizes when Qt lays them out.
        slicer.app.processEvents()
        return True
