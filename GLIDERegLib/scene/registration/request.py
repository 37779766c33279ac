"""What goes into a registration, and the request it becomes: nodes written to files, settings and points."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.pairing import match_labels
from GLIDERegLib.files.points import PointSet, write_points
from GLIDERegLib.scene.mrml.geometry import pointsToLps
from GLIDERegLib.scene.registration.inputs import (
    writeInitialTransform,
    writeMask,
    writeTransform,
    writeVolume,
)
from GLIDERegLib.worker.messages import Request


@dataclass(frozen=True)
class Inputs:
    """The nodes of one registration. Masks are segmentations or label maps; nodules are point lists, each in
    the scan its name says. keepNodules: whether nodules shall not steer it, and keep their size in the field.
    """

    fixedVolume: slicer.vtkMRMLScalarVolumeNode
    movingVolume: slicer.vtkMRMLScalarVolumeNode
    fixedNodules: slicer.vtkMRMLMarkupsFiducialNode | None = None
    movingNodules: slicer.vtkMRMLMarkupsFiducialNode | None = None
    fixedMask: slicer.vtkMRMLNode | None = None
    movingMask: slicer.vtkMRMLNode | None = None
    initialTransform: slicer.vtkMRMLTransformNode | None = None
    keepNodules: bool = False


@dataclass(frozen=True)
class Correction:
    """A registration to be mended: its transform, and points (N, 3), world RAS mm, that should correspond.

    notes: what a reader should know of the points, in sentences.
    """

    transform: slicer.vtkMRMLTransformNode
    fixedPoints: np.ndarray
    movingPoints: np.ndarray
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outputs:
    """What is wanted, each a node to fill, True for a new node, or False.

    nodulesInFixed: the moving scan's nodules propagated to the fixed scan; nodulesInMoving: the other way.
    """

    transform: slicer.vtkMRMLGridTransformNode | bool = True
    volume: slicer.vtkMRMLScalarVolumeNode | bool = True
    nodulesInFixed: slicer.vtkMRMLMarkupsFiducialNode | bool = True
    nodulesInMoving: slicer.vtkMRMLMarkupsFiducialNode | bool = True


def writeRequest(
    folder: Path,
    inputs: Inputs,
    settings: dict[str, Any],
    previewSeconds: float | None,
    correction: Correction | None,
) -> Request:
    """Writes the input nodes into a folder, in world coordinates; returns the request that names the files.

    Raises InputError for nodes that cannot be used.
    """
    paths = {"fixed": str(folder / "fixed.nrrd"), "moving": str(folder / "moving.nrrd")}
    writeVolume(inputs.fixedVolume, paths["fixed"])
    writeVolume(inputs.movingVolume, paths["moving"])
    for role, mask, volume in (
        ("fixed_mask", inputs.fixedMask, inputs.fixedVolume),
        ("moving_mask", inputs.movingMask, inputs.movingVolume),
    ):
        if mask is not None:
            paths[role] = str(folder / f"{role}.nrrd")
            writeMask(mask, volume, paths[role])
    if inputs.initialTransform is not None:
        path = str(folder / "initial.h5")
        if writeInitialTransform(inputs.initialTransform, inputs.movingVolume, path):
            paths["initial_transform"] = path
    points = None
    if correction is not None:
        paths["present_transform"] = str(folder / "present.h5")
        writeTransform(correction.transform, inputs.movingVolume, paths["present_transform"])
        points = {
            "fixed": pointsToLps(correction.fixedPoints).tolist(),
            "moving": pointsToLps(correction.movingPoints).tolist(),
        }
    for role, node in (("fixed", inputs.fixedNodules), ("moving", inputs.movingNodules)):
        labels, marks = placedPoints(node) if inputs.keepNodules and node is not None else ([], None)
        if labels:
            paths[f"{role}_nodules"] = str(folder / f"{role}_nodules.csv")
            write_points(PointSet(labels, pointsToLps(marks)), paths[f"{role}_nodules"])
    output = folder / "output"
    output.mkdir()
    return Request(
        **paths,
        output=str(output),
        cancel_file=str(folder / "cancel"),
        keep_file=str(folder / "keep"),
        corresponding_points=points,
        settings=settings,
        preview_seconds=previewSeconds,
    )


def correspondingPoints(
    fixedNode: slicer.vtkMRMLMarkupsFiducialNode, movingNode: slicer.vtkMRMLMarkupsFiducialNode
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """The points (N, 3) of two lists, world RAS mm, that belong together (see `match_labels`), and a sentence
    for each kind of point that was left out.

    Raises InputError where it is not clear what belongs together, or where there is no point.
    """
    (fixedLabels, fixed), (movingLabels, moving) = (placedPoints(node) for node in (fixedNode, movingNode))
    if not fixedLabels:
        raise InputError(
            f"The list '{fixedNode.GetName()}' is empty.",
            "Place a point where the scans are off.",
            code="points",
        )
    matching = match_labels(fixedLabels, movingLabels)
    rows = matching.columns()
    return fixed[rows[0]], moving[rows[1]], tuple(matching.warnings())


def placedPoints(node: slicer.vtkMRMLMarkupsFiducialNode) -> tuple[list[str], np.ndarray]:
    """Labels and world RAS positions of a list's placed points."""
    defined = slicer.vtkMRMLMarkupsNode.PositionDefined
    numbers = [
        n
        for n in range(node.GetNumberOfControlPoints())
        if node.GetNthControlPointPositionStatus(n) == defined
    ]
    labels = [node.GetNthControlPointLabel(n) for n in numbers]
    points = [node.GetNthControlPointPositionWorld(n) for n in numbers]
    return labels, np.array([tuple(point) for point in points], float).reshape(-1, 3)
