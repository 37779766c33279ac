"""The registration between two scans of a patient, as a transform node of the scene."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util

from GLIDERegLib.evaluation.follow_up.places import Link
from GLIDERegLib.scene.mrml.geometry import mapPoints, pointsToLps, pointsToRas
from GLIDERegLib.scene.mrml.sampling import quietVtk
from GLIDERegLib.scene.registration.pair import Pair, registeredVolumes
from GLIDERegLib.scene.review.judging import insideGrids


def transformBetween(
    fixed: slicer.vtkMRMLScalarVolumeNode, moving: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLGridTransformNode | None:
    """The newest grid transform of the scene that says that it registers these two; None where none does."""
    nodes = slicer.util.getNodesByClass("vtkMRMLGridTransformNode", fixed.GetScene())
    return next((n for n in reversed(nodes) if registeredVolumes(n) == (fixed, moving)), None)


def linkOf(
    fixed: slicer.vtkMRMLScalarVolumeNode,
    moving: slicer.vtkMRMLScalarVolumeNode,
    transform: slicer.vtkMRMLTransformNode,
) -> Link:
    """The transform as a link between LPS points."""
    pair = Pair(fixed, moving, transform)
    there, back = pair.toMoving(), pair.toFixed()

    def toMoving(points: np.ndarray) -> np.ndarray:
        with quietVtk():
            return pointsToLps(mapPoints(there, pointsToRas(points)))

    def toFixed(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with quietVtk():
            found = pointsToLps(mapPoints(back, pointsToRas(points)))
        return found, np.linalg.norm(toMoving(found) - points, axis=1)

    def reaches(points: np.ndarray) -> np.ndarray:
        return np.array([insideGrids(there, point) for point in pointsToRas(points)], bool)

    return Link(toMoving, toFixed, reaches)
