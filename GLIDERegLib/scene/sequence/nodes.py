"""Nodes of a registered sequence: its frames one by one, and what comes of them, played by one browser."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import slicer
import slicer.util
import vtk

from GLIDERegLib.scene.mrml.arrays import gridTransform
from GLIDERegLib.scene.mrml.geometry import gridFromMatrix, ijkToWorld
from GLIDERegLib.scene.registration.results import copyDisplay, putBeside, setRegistrationReferences
from GLIDERegLib.scene.review.nodules import COLOR, PropagatedPoint
from GLIDERegLib.scene.sequence.amplitude import makeAmplitude
from GLIDERegLib.scene.sequence.tracks import makeChart, makeTable, trackNode

EXHALE = re.compile(r"exhal|expir", re.IGNORECASE)
END_EXHALE = re.compile(r"(end|max\w*|full|peak)[\W_]*(exhal|expir)", re.IGNORECASE)


@dataclass(frozen=True)
class Frame:
    """What is known of a frame: the map from the reference to it, world RAS mm; its voxels on the reference,
    None where not wanted; the nodules in both.
    """

    field: vtk.vtkAbstractTransform
    image: slicer.vtkMRMLScalarVolumeNode | None
    points: Sequence[PropagatedPoint]


@dataclass(frozen=True)
class SequenceResults:
    """The new nodes; None where nothing was wanted or given.

    transforms: grid transforms from the reference to each frame, with the frames' index values. reference:
    the reference frame as a volume of its own. warped: every frame on the reference. tracks: the nodules in
    each frame; table: the same as numbers; chart: their displacement from the reference over the frames.
    amplitude: peak to peak of the nodules and of the lungs.
    """

    transforms: slicer.vtkMRMLSequenceNode
    reference: slicer.vtkMRMLScalarVolumeNode
    warped: slicer.vtkMRMLSequenceNode | None = None
    tracks: slicer.vtkMRMLSequenceNode | None = None
    table: slicer.vtkMRMLTableNode | None = None
    chart: slicer.vtkMRMLPlotChartNode | None = None
    amplitude: slicer.vtkMRMLTableNode | None = None


def browserOf(volumes: slicer.vtkMRMLSequenceNode) -> slicer.vtkMRMLSequenceBrowserNode | None:
    """The first browser that plays the sequence."""
    browsers = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode", volumes.GetScene())
    return next((node for node in browsers if node.IsSynchronizedSequenceNode(volumes, True)), None)


def sequenceOf(
    node: slicer.vtkMRMLSequenceNode | slicer.vtkMRMLSequenceBrowserNode | None,
) -> slicer.vtkMRMLSequenceNode | None:
    """The sequence itself, or the one that leads a browser."""
    if isinstance(node, slicer.vtkMRMLSequenceBrowserNode):
        return node.GetMasterSequenceNode()
    return node


def usualReference(volumes: slicer.vtkMRMLSequenceNode) -> int:
    """The number of the frame that is usually registered to: end-exhale, where the anatomy rests longest,
    if one frame says by its index value or name that it is that; else the first.
    """
    names = []
    for n in range(volumes.GetNumberOfDataNodes()):
        frame = volumes.GetNthDataNode(n)  # None while a scene is being loaded
        names.append(f"{volumes.GetNthIndexValue(n)} {frame.GetName() if frame else ''}")
    for words in (END_EXHALE, EXHALE):
        found = [n for n, name in enumerate(names) if words.search(name)]
        if len(found) == 1:
            return found[0]
    return 0


def shownVolume(volumes: slicer.vtkMRMLSequenceNode) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The volume in the scene that shows the present frame."""
    browser = browserOf(volumes)
    return browser and browser.GetProxyNode(volumes)


def frameText(volumes: slicer.vtkMRMLSequenceNode, number: int) -> str:
    """A frame in words, such as "phase 30 %"."""
    parts = volumes.GetIndexName(), volumes.GetNthIndexValue(number), volumes.GetIndexUnit()
    return " ".join(part for part in parts if part)


def frameVolume(volumes: slicer.vtkMRMLSequenceNode, number: int) -> slicer.vtkMRMLScalarVolumeNode:
    """A new volume that shares a frame's voxels, placed in the world; not yet in the scene."""
    frame, shown = volumes.GetNthDataNode(number), shownVolume(volumes)
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(f"{volumes.GetName()}, {frameText(volumes, number)}")
    node.CopyOrientation(frame)
    if shown is not None and (parent := shown.GetParentTransformNode()):
        matrix = vtk.vtkMatrix4x4()
        parent.GetMatrixTransformToWorld(matrix)
        node.ApplyTransformMatrix(matrix)
    node.SetAndObserveImageData(frame.GetImageData())
    return node


def identityField(volume: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkOrientedGridTransform:
    """A displacement field of zeros over a volume."""
    last = np.maximum(np.asarray(volume.GetImageData().GetDimensions()) - 1, 1)
    corners = ijkToWorld(volume) @ np.diag([*last, 1.0])
    return gridTransform(np.zeros((2, 2, 2, 3), np.float32), gridFromMatrix(corners, (2, 2, 2)))


def makeResults(
    volumes: slicer.vtkMRMLSequenceNode,
    reference: int,
    nodules: slicer.vtkMRMLMarkupsFiducialNode | None,
    frames: dict[int, Frame],
) -> SequenceResults:
    """Makes the nodes of a result, played by the browser of the volumes in step with them. What shows them
    lies beside the volume that shows the frames, in the same folder of subject hierarchy.

    frames: by their number; those that are missing show no motion, no voxels and no nodules.
    """
    name = volumes.GetName()
    order = sorted(frames)
    still = _referenceVolume(volumes, reference)
    transforms = _sequence(f"Transforms {name}", volumes, {n: _transformNode(frames[n]) for n in order})
    if (transform := _play(volumes, transforms)) and (shown := shownVolume(volumes)):
        setRegistrationReferences(transform, still, shown)
    warped = tracks = table = chart = None
    points = {n: frames[n].points for n in order} if nodules is not None else {}
    if frames[reference].image is not None:
        warped = _sequence(
            f"{name} warped to {still.GetName()}", volumes, {n: frames[n].image for n in order}
        )
        if volume := _play(volumes, warped):
            volume.CreateDefaultDisplayNodes()
            copyDisplay(still, volume)
    if nodules is not None:
        tracks = _sequence(
            f"{nodules.GetName()} in {name}", volumes, {n: trackNode(points[n]) for n in order}
        )
        if shown := _play(volumes, tracks):
            shown.CreateDefaultDisplayNodes()
            for setColor in (shown.GetDisplayNode().SetColor, shown.GetDisplayNode().SetSelectedColor):
                setColor(COLOR)
        table = makeTable(f"Tracks of {nodules.GetName()}", volumes, points)
        chart = makeChart(f"Displacement of {nodules.GetName()}", volumes, points)
    amplitude = makeAmplitude(f"Amplitude in {name}", still, [frames[n].field for n in order], points)
    if beside := shownVolume(volumes):
        played = [browserOf(volumes).GetProxyNode(node) for node in (transforms, warped, tracks) if node]
        for node in (still, *played, table, chart, amplitude):
            if node is not None:
                putBeside(node, beside)
    return SequenceResults(transforms, still, warped, tracks, table, chart, amplitude)


def _referenceVolume(volumes: slicer.vtkMRMLSequenceNode, reference: int) -> slicer.vtkMRMLScalarVolumeNode:
    scene, node = volumes.GetScene(), frameVolume(volumes, reference)
    node.SetName(scene.GenerateUniqueName(node.GetName()))
    scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    if shown := shownVolume(volumes):
        copyDisplay(shown, node)
    return node


def _transformNode(frame: Frame) -> slicer.vtkMRMLGridTransformNode:
    node = slicer.vtkMRMLGridTransformNode()
    node.SetName("Transform")
    node.SetAndObserveTransformFromParent(frame.field)
    return node


def _sequence(
    name: str, volumes: slicer.vtkMRMLSequenceNode, nodes: dict[int, slicer.vtkMRMLNode]
) -> slicer.vtkMRMLSequenceNode:
    """A sequence of copies of the nodes, by frame number, with the index values of the volumes."""
    scene = volumes.GetScene()
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", scene.GenerateUniqueName(name))
    sequence.SetIndexName(volumes.GetIndexName())
    sequence.SetIndexUnit(volumes.GetIndexUnit())
    sequence.SetIndexType(volumes.GetIndexType())
    for number, node in nodes.items():
        sequence.SetDataNodeAtValue(node, volumes.GetNthIndexValue(number))
    # The compact file of transforms turns cubic fields into linear ones, and browsers no longer show them.
    storage = scene.AddNewNodeByClass("vtkMRMLSequenceStorageNode")
    sequence.SetAndObserveStorageNodeID(storage.GetID())
    return sequence


def _play(
    volumes: slicer.vtkMRMLSequenceNode, sequence: slicer.vtkMRMLSequenceNode
) -> slicer.vtkMRMLNode | None:
    """Adds a sequence to the browser of the volumes; returns the node that shows its present item."""
    browser = browserOf(volumes)
    browser.AddSynchronizedSequenceNodeID(sequence.GetID())
    browser.SetMissingItemMode(sequence, browser.MissingItemSetToDefault)
    return browser.GetProxyNode(sequence)
