"""Measurements of a review in the scene: their table, their outlines, undo, and what the reader edited."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import slicer
import slicer.util

from GLIDERegLib.core.errors import DependencyError
from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.scene.registration.acquisition import acquisitionOf
from GLIDERegLib.scene.registration.identity import scanNames
from GLIDERegLib.scene.registration.pair import Pair
from GLIDERegLib.scene.review.measured_segments import (
    FOUND_COLOR,
    READERS_COLOR,
    Mask,
    label,
    maskOf,
    putMask,
    removeSegment,
    segmentationOf,
    showIn,
)
from GLIDERegLib.scene.review.measurements import (
    EDITED,
    SCANS,
    Measurement,
    measurementOf,
    withMeasurement,
    without,
)
from GLIDERegLib.scene.review.measuring import Target, original, pointIn
from GLIDERegLib.scene.review.table import Row
from GLIDERegLib.scene.views.review_views import showsMoving
from GLIDERegLib.worker.messages import DEPENDENCY_HINT

Key = tuple[str, str, str]
LACKING = "To measure an outline a Python package is needed that cannot be loaded ({reason})"


class MeasuredReview:
    """What is measured of the nodules of one pair.

    measurements: as in the table.
    """

    def __init__(self, pair: Pair, measurements: Sequence[Measurement], days: float | None = None):
        self.pair, self.measurements = pair, list(measurements)
        self._names = scanNames(pair, days)
        self._undo: list[tuple[Key, Measurement | None, Mask | None]] = []
        self._masks: dict[Key, Mask | None] = {}
        for one in self.measurements:
            self._masks[one.key] = self._maskNow(one.key)

    def of(self, key: Key) -> Measurement | None:
        return next((one for one in self.measurements if one.key == key), None)

    def target(self, row: Row, scan: str, step: int = 0) -> Target:
        """Raises InputError for a scan that cannot be measured in."""
        key, acquired = (row.markedIn, row.point, scan), acquisitionOf(getattr(self.pair, scan))
        return Target(key, original(self.pair, scan), pointIn(scan, row), step, acquired)

    def put(self, one: Measurement, mask: Mask | None, drawn: bool = False) -> None:
        """Takes a measurement with its outline in place of what there was; drawn: the reader's, in the scene
        already.
        """
        self._undo.append((one.key, self.of(one.key), self._masks.get(one.key)))
        self.measurements = withMeasurement(self.measurements, one)
        self._draw(one, mask, drawn)

    @property
    def canUndo(self) -> bool:
        return bool(self._undo)

    def undo(self) -> None:
        """Takes back what was measured or edited last."""
        key, before, mask = self._undo.pop()
        if before is None:
            self.measurements = without(self.measurements, key)
            removeSegment(segmentationOf(self._volume(key)), segmentId(key))
            self._masks.pop(key, None)
        else:
            self.measurements = withMeasurement(self.measurements, before)
            self._draw(before, mask)

    def takeEdits(self) -> list[Measurement]:
        """Measures anew what the reader has changed in the Segment Editor since; returns it.

        Raises DependencyError where SciPy is missing.
        """
        # Here, since it brings SciPy, which would make Slicer's start slower.
        try:
            from GLIDERegLib.evaluation.measuring import measure_outline
        except ImportError as error:
            raise DependencyError(LACKING.format(reason=error), DEPENDENCY_HINT) from error
        edited = []
        for one in list(self.measurements):
            mask = self._maskNow(one.key)
            if _same(mask, self._masks.get(one.key)):
                continue
            volume = original(self.pair, one.key[2])
            array, first = mask if mask is not None else (np.zeros((1, 1, 1), np.uint8), (0, 0, 0))
            origin = tuple(volume.grid.to_physical(np.array(first)).tolist())
            grid = Grid(array.shape[::-1], volume.grid.spacing, origin, volume.grid.direction)
            found = measure_outline(volume, Volume(array, grid, "outline"), origin)
            new = measurementOf(one.key, one.label, found, EDITED)
            self.put(new, mask, drawn=True)
            edited.append(new)
        return edited

    def segmentFor(self, row: Row, scan: str) -> tuple[slicer.vtkMRMLSegmentationNode, str]:
        """The segment of a nodule in a scan, an empty one where nothing was found."""
        key = (row.markedIn, row.point, scan)
        node = self._segmentation(key)
        if node.GetSegmentation().GetSegment(segmentId(key)) is None:
            one = self.of(key) or Measurement(*key, row.label, "not measured")
            self.measurements = withMeasurement(self.measurements, one)
            self._draw(one, None)
        return node, segmentId(key)

    def show(self) -> None:
        """Shows the outlines of each scan in the views of that scan only."""
        views = slicer.util.getNodesByClass("vtkMRMLSliceNode", self.pair.fixed.GetScene())
        moving = [view for view in views if showsMoving(view, self.pair)]
        showIn(segmentationOf(self.pair.moving), moving)
        showIn(segmentationOf(self.pair.fixed), [view for view in views if view not in moving])

    def segmentations(self) -> list[slicer.vtkMRMLSegmentationNode]:
        found = (segmentationOf(volume) for volume in (self.pair.moving, self.pair.fixed))
        return [node for node in found if node is not None]

    def observe(self, call: Callable) -> list[tuple[slicer.vtkSegmentation, int]]:
        """Has `call` called after each change of an outline, whoever made it; what to stop it by."""
        event = slicer.vtkSegmentation.SourceRepresentationModified
        segmentations = [node.GetSegmentation() for node in self.segmentations()]
        return [(segmentation, segmentation.AddObserver(event, call)) for segmentation in segmentations]

    def _volume(self, key: Key) -> slicer.vtkMRMLScalarVolumeNode:
        return self.pair.fixed if key[2] == SCANS[0] else self.pair.moving

    def _segmentation(self, key: Key) -> slicer.vtkMRMLSegmentationNode:
        return segmentationOf(self._volume(key), f"Measured nodules, {self._names[key[2]]}", create=True)

    def _maskNow(self, key: Key) -> Mask | None:
        node = segmentationOf(self._volume(key))
        return maskOf(node, segmentId(key)) if node is not None else None

    def _draw(self, one: Measurement, mask: Mask | None, drawn: bool = False) -> None:
        node = self._segmentation(one.key)
        if not drawn:
            putMask(node, segmentId(one.key), mask, self._volume(one.key))
        name = f"{one.label}, {self._names[one.scan]}, {one.source}"
        label(node, segmentId(one.key), name, READERS_COLOR if one.corrected else FOUND_COLOR)
        self._masks[one.key] = mask


def segmentId(key: Key) -> str:
    """Of a nodule's outline, in the segmentation of its scan."""
    return f"{key[0]}_{key[1]}"


def openSegmentEditor(node: slicer.vtkMRMLSegmentationNode, segment: str, volume) -> None:
    """Slicer's Segment Editor on one segment, with the scan behind it."""
    scene = node.GetScene()
    editor = scene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
    if editor is None:
        # As the module itself makes it where it is opened first.
        editor = slicer.vtkMRMLSegmentEditorNode()
        editor.SetSingletonTag("SegmentEditor")
        editor = scene.AddNode(editor)
    editor.SetAndObserveSegmentationNode(node)
    editor.SetAndObserveSourceVolumeNode(volume)
    editor.SetSelectedSegmentID(segment)
    slicer.util.selectModule("SegmentEditor")


def _same(one: Mask | None, other: Mask | None) -> bool:
    if one is None or other is None:
        return one is other
    return list(one[1]) == list(other[1]) and np.array_equal(one[0], other[0])
