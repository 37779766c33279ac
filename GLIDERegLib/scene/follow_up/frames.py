"""The frames of a sequence as dated scans of one patient."""

from __future__ import annotations

from datetime import date, datetime

import slicer
import slicer.util

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.scene.follow_up.scans import SceneScan
from GLIDERegLib.scene.registration.identity import ATTRIBUTES, identityOf
from GLIDERegLib.scene.sequence.nodes import frameVolume

# Of a volume that stands for a frame: the sequence's ID and the frame's number.
FRAME = "GLIDEReg.Frame"
FORMATS = ("%Y-%m-%d", "%Y%m%d", "%d.%m.%Y", "%Y/%m/%d")


def scansOfSequence(sequence: slicer.vtkMRMLSequenceNode) -> list[SceneScan]:
    """A scan for each frame, dated by DICOM, else by the frame's index value: a volume of its own in the
    scene that shares the frame's voxels, made once.

    Raises InputError, with nothing made, for what is no sequence of scans and for a frame without a date.
    """
    frames = [sequence.GetNthDataNode(n) for n in range(sequence.GetNumberOfDataNodes())]
    if not frames or not all(isinstance(frame, slicer.vtkMRMLScalarVolumeNode) for frame in frames):
        raise InputError(
            f"'{sequence.GetName()}' is no sequence of scans.", "Choose another one.", code="sequence"
        )
    days = [identityOf(frame).date or _day(sequence.GetNthIndexValue(n)) for n, frame in enumerate(frames)]
    if None in days:
        undated = sequence.GetNthIndexValue(days.index(None))
        raise InputError(
            f"The frame '{undated}' of '{sequence.GetName()}' has no date.",
            "Name its index value as 2024-03-10, or add the scans one by one.",
            code="scan-dates",
        )
    return [SceneScan(_volume(sequence, n), day) for n, day in enumerate(days)]


def _volume(sequence: slicer.vtkMRMLSequenceNode, number: int) -> slicer.vtkMRMLScalarVolumeNode:
    """The volume of a frame, the one that was made before where it still is in the scene."""
    mark, scene = f"{sequence.GetID()} {number}", slicer.mrmlScene
    for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene):
        if volume.GetAttribute(FRAME) == mark:
            return volume
    frame, volume = sequence.GetNthDataNode(number), scene.AddNode(frameVolume(sequence, number))
    volume.CreateDefaultDisplayNodes()
    for name in (*ATTRIBUTES.values(), "DICOM.instanceUIDs"):
        if (value := frame.GetAttribute(name)) is not None:
            volume.SetAttribute(name, value)
    volume.SetAttribute(FRAME, mark)
    return volume


def _day(text: str) -> date | None:
    for form in FORMATS:
        try:
            return datetime.strptime(text.strip(), form).date()
        except ValueError:
            continue
    return None
