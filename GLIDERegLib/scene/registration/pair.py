"""Two scans and the transform between them, whatever made it: where a point of one lies in the other.

Fixed points are world RAS mm. Moving points too, except where the moving scan stands under the transform
itself, as it does after a drag and drop in Slicer: then they are RAS mm below the transform, where the scan
lies unwarped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import vtk

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.scene.mrml.geometry import mapPoints, standsUnder, volumeToWorld
from GLIDERegLib.scene.registration.checks import volumeProblem


@dataclass(frozen=True)
class Pair:
    """A fixed and a moving scan, and the transform node whose from-parent direction maps fixed to moving
    points; its parent transforms count.

    back: None, or a transform of the other direction, whose from-parent direction maps moving to fixed
    points.
    """

    fixed: slicer.vtkMRMLScalarVolumeNode
    moving: slicer.vtkMRMLScalarVolumeNode
    transform: slicer.vtkMRMLTransformNode
    back: slicer.vtkMRMLTransformNode | None = None

    def toMoving(self) -> vtk.vtkGeneralTransform:
        """The map from fixed to moving points."""
        result = vtk.vtkGeneralTransform()
        self.transform.GetTransformFromWorld(result)
        return result

    def toFixed(self) -> vtk.vtkGeneralTransform:
        """The inverse of `toMoving`, found by VTK."""
        result = vtk.vtkGeneralTransform()
        self.transform.GetTransformToWorld(result)
        return result

    def returning(self) -> vtk.vtkGeneralTransform:
        """The map from moving back to fixed points: that of `back` where there is one, else `toFixed`."""
        if self.back is None:
            return self.toFixed()
        result = vtk.vtkGeneralTransform()
        self.back.GetTransformFromWorld(result)
        return result

    def frame(self, node: slicer.vtkMRMLTransformableNode) -> slicer.vtkMRMLTransformNode | None:
        """Below which transform a node of the moving scan lies unwarped; None for the world."""
        return self.transform if standsUnder(node, self.transform) else None

    def placement(self, node: slicer.vtkMRMLTransformableNode) -> vtk.vtkGeneralTransform:
        """The map from the own coordinates of a node of the moving scan to moving points."""
        result = vtk.vtkGeneralTransform()
        slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
            node.GetParentTransformNode(), self.frame(node), result
        )
        return result

    def movingIndex(self, points: np.ndarray) -> np.ndarray:
        """Voxel index (N, 3), in (i, j, k) order, of moving points (N, 3)."""
        toIndex = vtk.vtkMatrix4x4()
        self.moving.GetRASToIJKMatrix(toIndex)
        result = vtk.vtkGeneralTransform()
        result.PostMultiply()
        result.Concatenate(self.placement(self.moving).GetInverse())
        result.Concatenate(toIndex)
        return mapPoints(result, points)

    def fixedIndex(self, points: np.ndarray) -> np.ndarray:
        """Voxel index (N, 3), in (i, j, k) order, of fixed points (N, 3)."""
        return mapPoints(volumeToWorld(self.fixed).GetInverse(), points)


def pairProblem(
    fixed: slicer.vtkMRMLScalarVolumeNode | None,
    moving: slicer.vtkMRMLScalarVolumeNode | None,
    transform: slicer.vtkMRMLTransformNode | None,
) -> str | None:
    """Why these cannot be checked, in one sentence with its remedy; None where they can."""
    if transform is None:
        return "Select the transform to check."
    if fixed is None or moving is None:
        return "Select the fixed and the moving scan that the transform belongs to."
    if fixed is moving:
        return "The fixed and the moving scan are the same; select two."
    for volume in (fixed, moving):
        if problem := volumeProblem(volume):
            return problem
    if standsUnder(fixed, transform):
        return (
            f"The fixed scan '{fixed.GetName()}' stands under the transform '{transform.GetName()}', which "
            "moves it; take it out of that transform."
        )
    return None


def makePair(
    fixed: slicer.vtkMRMLScalarVolumeNode | None,
    moving: slicer.vtkMRMLScalarVolumeNode | None,
    transform: slicer.vtkMRMLTransformNode | None,
    back: slicer.vtkMRMLTransformNode | None = None,
) -> Pair:
    """The pair of these nodes. Raises InputError where they cannot be checked."""
    if problem := pairProblem(fixed, moving, transform):
        raise InputError(problem)
    return Pair(fixed, moving, transform, back)


def registeredVolumes(
    transform: slicer.vtkMRMLTransformNode,
) -> tuple[slicer.vtkMRMLScalarVolumeNode | None, slicer.vtkMRMLScalarVolumeNode | None]:
    """The fixed and the moving volume that a transform says it registers; None where it does not say."""
    return (
        transform.GetNodeReference(transform.GetFixedNodeReferenceRole()),
        transform.GetNodeReference(transform.GetMovingNodeReferenceRole()),
    )


def unwarped(pair: Pair) -> slicer.vtkMRMLScalarVolumeNode:
    """The moving volume, or where it stands under the transform, its voxels in a node below no transform."""
    volume, frame = pair.moving, pair.frame(pair.moving)
    if frame is None:
        return volume
    parent = volume.GetParentTransformNode()
    if not parent.IsTransformToNodeLinear(frame):
        raise InputError(
            f"Between the moving volume '{volume.GetName()}' and the transform '{frame.GetName()}' stands "
            "one that is not linear.",
            "Take the volume out of these transforms.",
            code="transform",
        )
    matrix = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(parent, frame, matrix)
    plain = slicer.vtkMRMLScalarVolumeNode()
    plain.SetName(volume.GetName())
    plain.CopyOrientation(volume)
    plain.ApplyTransformMatrix(matrix)
    plain.SetAndObserveImageData(volume.GetImageData())
    return plain
