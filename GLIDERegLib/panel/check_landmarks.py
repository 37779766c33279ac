"""The section "Landmarks" of the page "Check": finds them beside Slicer, walks through the worst."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.panel.binding import showTable
from GLIDERegLib.panel.child import pythonExecutable
from GLIDERegLib.panel.keys import CHECK
from GLIDERegLib.panel.looking import Looking
from GLIDERegLib.panel.remedies import said
from GLIDERegLib.panel.timers import lookTimer
from GLIDERegLib.panel.undo import UndoButtons
from GLIDERegLib.scene.quality.landmark_nodes import (
    CONFIRMED,
    REJECTED,
    ROLES,
    UNDECIDED,
    Place,
    pointList,
    regionTable,
)
from GLIDERegLib.scene.quality.landmarks import SceneLandmarks, decide, places, refresh, summary, worst
from GLIDERegLib.scene.quality.looked import placeSeen
from GLIDERegLib.scene.registration.pair import Pair
from GLIDERegLib.scene.review.history import Step
from GLIDERegLib.scene.views.review_views import showNodule

COLUMNS = (_("Landmark"), _("Error"), _("Decision"), _("Region"))
WIDTHS = (72, 62, 78)
REGION_WIDTHS = (92, 30, 44, 44, 52, 52)
WORDS = {UNDECIDED: "", CONFIRMED: _("confirmed"), REJECTED: _("rejected")}


class LandmarksSection:
    """ui: the widgets of GLIDERegCheck.ui. pair: called for what is checked, None where nothing can be.
    found: called once new landmarks are there.
    """

    def __init__(self, ui, pair: Callable[[], Pair | None], found: Callable[[], None]):
        self.ui = ui
        self._pair, self._onFound = pair, found
        self._search = SceneLandmarks(pythonExecutable())
        self._of: Pair | None = None
        self._shown: Pair | None = None
        self._worst: list[Place] = []
        self._filling = False
        self._looking = Looking()
        self._timer = lookTimer(self._poll)
        view = ui.checkWorstView
        view.setColumnCount(len(COLUMNS))
        view.setHorizontalHeaderLabels(COLUMNS)
        for column, width in enumerate(WIDTHS):
            view.setColumnWidth(column, width)
        view.connect("itemSelectionChanged()", self._selected)
        self.history = UndoButtons(CHECK, ui.checkUndoButton, ui.checkRedoButton, self._tell).history
        self._tell("")
        ui.checkFindButton.connect("clicked()", self._clicked)
        for button, act in (
            (ui.checkPreviousButton, lambda: self.step(-1)),
            (ui.checkNextButton, lambda: self.step(1)),
            (ui.checkConfirmButton, lambda: self.decide(CONFIRMED)),
            (ui.checkRejectButton, lambda: self.decide(REJECTED)),
        ):
            button.connect("clicked()", act)

    @property
    def current(self) -> Place | None:
        """The selected place."""
        row = self.ui.checkWorstView.currentRow()
        return self._worst[row] if 0 <= row < len(self._worst) else None

    def show(self) -> None:
        """What the scene has for the pair that is checked now; a search for another pair ends."""
        pair = self._pair()
        if pair == self._shown:
            return
        if self._search.active and pair != self._of:
            self.close()
        self._shown = pair
        self._fill(places(pair) if pair is not None else [])
        showTable(self.ui.checkRegionsView, regionTable(pair) if pair is not None else None, REGION_WIDTHS)

    def refresh(self) -> None:
        """The errors of the transform as it is now."""
        if (pair := self._pair()) is not None:
            self._fill(refresh(pair))

    def step(self, by: int) -> None:
        """Selects the next (1) or the previous (-1) place, as far as there is one."""
        if self._worst:
            row = self.ui.checkWorstView.currentRow() + by
            self.ui.checkWorstView.selectRow(min(max(row, 0), len(self._worst) - 1))

    def decide(self, decision: str) -> None:
        """Says of the selected place what the reader thinks, or takes it back where that was said already."""
        place, pair = self.current, self._pair()
        if place is None or pair is None:
            return
        decided = UNDECIDED if place.decision == decision else decision
        lists = [pointList(pair, scan) for scan in ROLES]
        self._fill(decide(pair, place, decided))
        if None in lists:
            return
        self.history.record(
            Step(
                _("landmark {label} {what}").format(label=place.label, what=WORDS[decided] or _("undecided")),
                (*lists, pair.fixed, pair.moving, pair.transform),
                undo=lambda: self._redecide(pair, place, place.decision),
                redo=lambda: self._redecide(pair, place, decided),
            )
        )

    def _redecide(self, pair: Pair, place: Place, decision: str) -> None:
        """Writes a decision and, where that pair is checked now, shows the landmark that it is of."""
        found = decide(pair, place, decision)
        if self._pair() == pair:
            self._fill(found)
            numbers = [one.number for one in self._worst]
            if place.number in numbers:
                self.ui.checkWorstView.selectRow(numbers.index(place.number))

    def close(self) -> None:
        """Ends a search."""
        self._timer.stop()
        self._looking.stop()
        self._search.close()
        self._enable()

    def _clicked(self) -> None:
        if self._search.active:
            self.close()
            self._tell(_("Stopped by user."))
            return
        pair = self._pair()
        if pair is None:
            return
        try:
            with slicer.util.WaitCursor():
                self._search.start(pair, slicer.app.temporaryPath)
        except InputError as error:
            self._tell(said(error))
            return
        self._of = pair
        self._tell(_("Finding landmarks..."))
        self._enable()
        self._timer.start()

    def _poll(self) -> None:
        found = self._search.poll()
        if self._search.active:
            return
        self._timer.stop()
        self._enable()
        if found is None:
            self._tell(said(self._search.failure))
            return
        self.history.forget([pointList(self._of, scan) for scan in ROLES])
        self._fill(found)
        showTable(self.ui.checkRegionsView, regionTable(self._of), REGION_WIDTHS)
        self._onFound()

    def _fill(self, found: list[Place]) -> None:
        view, self._worst = self.ui.checkWorstView, worst(found)
        self._filling = True
        view.setRowCount(len(self._worst))
        for row, place in enumerate(self._worst):
            cells = (place.label, f"{place.error:.1f} mm", WORDS[place.decision], ", ".join(place.regions))
            for column, text in enumerate(cells):
                view.setItem(row, column, qt.QTableWidgetItem(text))
        self._filling = False
        if not self._search.active:
            self._tell(summary(found))
        self._enable()

    def _selected(self) -> None:
        place, pair = self.current, self._pair()
        if not self._filling and place is not None and pair is not None:
            showNodule(place.fixed, place.moving, pair)
            self._looking.see(pair, [placeSeen(place.label, place.error)])
        self._enable()

    def _tell(self, text: str) -> None:
        self.ui.checkFoundLabel.text = text
        self.ui.checkFoundLabel.visible = bool(text)

    def _enable(self) -> None:
        ui, pair = self.ui, self._pair()
        ui.checkFindButton.enabled = pair is not None
        ui.checkFindButton.text = _("Stop") if self._search.active else _("Find landmarks")
        found = (ui.checkRegionsView, ui.checkWorstView, ui.checkPreviousButton, ui.checkNextButton)
        decisions = (ui.checkConfirmButton, ui.checkRejectButton, ui.checkUndoButton, ui.checkRedoButton)
        for widget in (*found, *decisions):
            widget.visible = bool(self._worst)
        for button in (ui.checkConfirmButton, ui.checkRejectButton):
            button.enabled = self.current is not None
