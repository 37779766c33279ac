"""The list of dated scans on the page "Follow-up"."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import qt
import slicer
from slicer.i18n import tr as _

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.panel.choices import ChoiceBox
from GLIDERegLib.panel.remedies import said
from GLIDERegLib.scene.follow_up.frames import scansOfSequence
from GLIDERegLib.scene.follow_up.links import transformBetween
from GLIDERegLib.scene.follow_up.scans import SceneScan, dayOf, readScans, withScan, writeScans
from GLIDERegLib.scene.registration.identity import identityOf

COLUMNS = (_("Date"), _("Scan"), _("Nodules"), _("All"), _("Registered"))
ALL_TIP = _("Whether every nodule of the scan is marked")
WIDTHS = (80, 70, 62, 28, 74)
NEWEST = "newest"


class ScanList:
    """Shows the scans of a parameter node and changes them. ui: the widgets of GLIDERegFollowUp.ui.

    said: is called with what cannot be added, and why.
    """

    def __init__(self, ui, said: Callable[[str], None]):
        self.ui, self._said = ui, said
        self._node = None
        self._shown: slicer.vtkMRMLScalarVolumeNode | None = None
        self.scans: list[SceneScan] = []
        self._free = True
        self._reference = ChoiceBox(ui.followUpReferenceCombo, [], self._choose)
        ui.followUpScansView.setColumnCount(len(COLUMNS))
        ui.followUpScansView.setHorizontalHeaderLabels(COLUMNS)
        ui.followUpScansView.horizontalHeaderItem(3).setToolTip(ALL_TIP)
        for column, width in enumerate(WIDTHS):
            ui.followUpScansView.setColumnWidth(column, width)
        ui.followUpAddButton.connect("clicked()", self.add)
        ui.followUpFramesButton.connect("clicked()", self.addFrames)
        ui.followUpRemoveButton.connect("clicked()", self.remove)
        ui.followUpDateEdit.connect("textChanged(QString)", lambda _text: self._enable())
        ui.followUpScansView.connect("itemSelectionChanged()", self._enable)

    @property
    def reference(self) -> int:
        """The number of the scan that the others are registered to: the newest unless the user chose."""
        names = [scan.name for scan in self.scans]
        wanted = self._node.followUpReference if self._node is not None else ""
        return names.index(wanted) if wanted in names else len(names) - 1

    def show(self, node) -> None:
        """Shows the list of a parameter node, or none."""
        self._node = node
        self.scans = readScans(node.followUpScans) if node is not None else []
        chosen = node.followUpScan if node is not None else None
        if chosen is not self._shown:
            self._shown = chosen
            self._propose(chosen)
        view, reference = self.ui.followUpScansView, self.reference
        view.setRowCount(len(self.scans))
        for row, scan in enumerate(self.scans):
            registered = _("the others' reference")
            if row != reference:
                done = transformBetween(self.scans[reference].volume, scan.volume) is not None
                registered = _("yes") if done else _("not yet")
            nodules = scan.nodules.GetName() if scan.nodules else _("none")
            texts = (scan.name, scan.volume.GetName(), nodules, _("yes") if scan.searched else _("no"))
            for column, text in enumerate((*texts, registered)):
                view.setItem(row, column, qt.QTableWidgetItem(text))
        offered = [(NEWEST, _("Newest scan"), ""), *((scan.name, scan.name, "") for scan in self.scans)]
        self._reference.fill(offered, (node.followUpReference if node is not None else "") or NEWEST)
        self._enable()

    def add(self) -> None:
        """Takes the chosen scan into the list, or what is said anew of one that is there."""
        node, day = self._node, dayOf(self.ui.followUpDateEdit.text)
        if node is None or node.followUpScan is None or day is None:
            return
        new = SceneScan(node.followUpScan, day, node.followUpNodules, self.ui.followUpSearchedCheck.checked)
        others = [scan for scan in self.scans if scan.volume is not new.volume]
        if any(scan.day == day for scan in others):
            self._said(_("Another scan of {day} is in the list already.").format(day=new.name))
            return
        self._write(withScan(others, new))

    def addFrames(self) -> None:
        """Takes every frame of the chosen sequence into the list that is not there yet."""
        node = self._node
        if node is None or node.followUpSequence is None:
            return
        try:
            frames = scansOfSequence(node.followUpSequence)
        except InputError as error:
            self._said(said(error))
            return
        scans = self.scans
        for frame in frames:
            if not any(scan.volume is frame.volume for scan in scans):
                scans = withScan(scans, frame)
        self._write(scans)

    def remove(self) -> None:
        """Takes the selected scan out of the list."""
        row = self.ui.followUpScansView.currentRow()
        if self._node is not None and 0 <= row < len(self.scans):
            self._write(self.scans[:row] + self.scans[row + 1 :])

    def _write(self, scans: Sequence[SceneScan]) -> None:
        node = self._node
        if node.followUpScans is None:
            scene = slicer.mrmlScene
            name = scene.GenerateUniqueName(_("Follow-up scans"))
            node.followUpScans = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
        writeScans(node.followUpScans, scans)
        self._said("")
        # The parameter node does not change with its table.
        node.parameterNode.Modified()

    def _choose(self, name: str) -> None:
        wanted = "" if name == NEWEST else name
        if self._node is not None and self._node.followUpReference != wanted:
            self._node.followUpReference = wanted

    def _propose(self, volume: slicer.vtkMRMLScalarVolumeNode | None) -> None:
        """What the list, or DICOM, says of a scan that was just chosen."""
        known = next((scan for scan in self.scans if scan.volume is volume), None)
        day = known.day if known else identityOf(volume).date if volume is not None else None
        self.ui.followUpDateEdit.text = day.isoformat() if day else ""
        self.ui.followUpSearchedCheck.checked = known is not None and known.searched
        if known is not None:
            self._node.followUpNodules = known.nodules

    def enable(self, free: bool) -> None:
        """Whether the list may be changed: not while its scans are being registered."""
        self._free = free
        self._enable()

    def _enable(self) -> None:
        ui, node = self.ui, self._node
        chosen = node is not None and node.followUpScan is not None
        dated = dayOf(ui.followUpDateEdit.text) is not None
        ui.followUpAddButton.enabled = self._free and chosen and dated
        known = chosen and any(scan.volume is node.followUpScan for scan in self.scans)
        ui.followUpAddButton.text = _("Change scan") if known else _("Add scan")
        reason = _("Choose a scan first.") if not chosen else _("Type the date of the scan, as 2024-03-10.")
        ui.followUpAddButton.toolTip = "" if chosen and dated else reason
        selected = 0 <= ui.followUpScansView.currentRow() < len(self.scans)
        ui.followUpFramesButton.enabled = (
            self._free and node is not None and node.followUpSequence is not None
        )
        ui.followUpRemoveButton.enabled = self._free and selected
