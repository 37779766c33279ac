"""From the worker's result to MRML nodes: the transform, the warped volume and the propagated nodules.

Everything is read and checked before the first node is touched, so that a damaged file changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import slicer
import slicer.util
import vtk

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.scene.mrml.arrays import gridTransform, imageOf
from GLIDERegLib.scene.mrml.geometry import matrixFromGrid, standsUnder
from GLIDERegLib.scene.review.nodules import PropagatedPoint, checkNodules, fillNodules, propagatePoints


@dataclass(frozen=True)
class NoduleTask:
    """Points to propagate: a fiducial node, "moving-to-fixed" or "fixed-to-moving", and the node to fill."""

    source: slicer.vtkMRMLMarkupsFiducialNode
    direction: str
    output: slicer.vtkMRMLMarkupsFiducialNode


def importResult(
    event: dict,
    fixed: slicer.vtkMRMLScalarVolumeNode,
    moving: slicer.vtkMRMLScalarVolumeNode,
    transformNode: slicer.vtkMRMLGridTransformNode | None = None,
    volumeNode: slicer.vtkMRMLScalarVolumeNode | None = None,
    nodules: Sequence[NoduleTask] = (),
) -> list[list[PropagatedPoint]]:
    """Puts the worker's `result` event into the nodes given, None leaves one out; all of it or nothing.

    Make new output nodes inside `removedOnFailure`, around this call. Returns the propagated points of each
    nodule task. Raises InputError, with every node as it was, for a damaged file or an unusable task.
    """
    checkOutputs(fixed, moving, transformNode, volumeNode, nodules)
    vectors, grid = readField(event["field"])
    image = imageOf(readVoxels(event["warped"])) if volumeNode else None
    deformation = gridTransform(vectors, grid)
    # Read before any node changes: a list may hang on nodes that the result is about to change.
    propagated = [
        propagatePoints(task.source, deformation, task.direction, fixed, moving) for task in nodules
    ]
    if transformNode:
        setDeformation(transformNode, deformation)
        setRegistrationReferences(transformNode, fixed, moving)
    if volumeNode:
        setVoxels(volumeNode, image, event["warped"], moving)
    for task, points in zip(nodules, propagated, strict=True):
        fillNodules(task.output, points, task.source, task.direction)
    return propagated


def checkOutputs(
    fixed: slicer.vtkMRMLScalarVolumeNode,
    moving: slicer.vtkMRMLScalarVolumeNode,
    transformNode: slicer.vtkMRMLGridTransformNode | None = None,
    volumeNode: slicer.vtkMRMLScalarVolumeNode | None = None,
    nodules: Sequence[NoduleTask] = (),
) -> None:
    """Raises InputError where an output would overwrite an input or move it; worth asking before a job."""
    for volume in (fixed, moving):
        if volume is volumeNode:
            raise InputError(
                f"The volume '{volume.GetName()}' would be overwritten.",
                "Choose another output.",
                code="overwrites-input",
            )
        if transformNode and standsUnder(volume, transformNode):
            raise InputError(
                f"The volume '{volume.GetName()}' stands under the output transform "
                f"'{transformNode.GetName()}'.",
                "Take it out of that transform or choose another output.",
                code="transform",
            )
    for task in nodules:
        checkNodules(task.source, transformNode, task.direction, task.output)


def readField(message: dict) -> tuple[np.ndarray, dict]:
    """The displacements of a `field` message, (z, y, x, 3) float32 in LPS mm, and their LPS grid.

    The array is mapped from its file, which must stay as long as it is used. Raises InputError for a file
    that is missing, damaged or does not fit its grid.
    """
    vectors = _readArray(message, (*message["size"][::-1], 3))
    if vectors.dtype != np.float32:
        raise InputError(_damaged(message))
    return vectors, message


def readVoxels(message: dict) -> np.ndarray:
    """The voxels (z, y, x) of a `warped` message, in the moving volume's type, mapped from their file.

    Raises InputError for a file that is missing, damaged or does not fit its grid.
    """
    voxels = _readArray(message, tuple(message["size"][::-1]))
    if voxels.dtype.kind not in "iuf" or voxels.dtype == np.float16:
        raise InputError(_damaged(message))
    return voxels


def setDeformation(node: slicer.vtkMRMLGridTransformNode, transform: slicer.vtkOrientedGridTransform) -> None:
    """Replaces what the node holds by a map of fixed to moving points in the world, stored from parent.

    The node keeps its ID, name and display; it stands under no transform afterwards.
    """
    with slicer.util.NodeModify(node):
        node.SetAndObserveTransformNodeID(None)
        node.SetAndObserveTransformFromParent(transform)


def setVoxels(
    node: slicer.vtkMRMLScalarVolumeNode,
    image: vtk.vtkImageData,
    grid: dict,
    like: slicer.vtkMRMLScalarVolumeNode,
) -> None:
    """Replaces the node's voxels and places them on the LPS grid in the world, under no transform.

    like: the volume whose units the voxels have. A node that was empty also gets its window, level and
    colours; a node that was not keeps its own.
    """
    wasEmpty = node.GetImageData() is None
    with slicer.util.NodeModify(node):
        node.SetAndObserveTransformNodeID(None)
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrixFromGrid(grid)))
        node.SetAndObserveImageData(image)
        node.SetVoxelValueQuantity(like.GetVoxelValueQuantity())
        node.SetVoxelValueUnits(like.GetVoxelValueUnits())
    if wasEmpty:
        node.CreateDefaultDisplayNodes()
        copyDisplay(like, node)


def copyDisplay(source: slicer.vtkMRMLScalarVolumeNode, target: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Gives a volume the window, level, threshold and colours of another; both keep their display nodes."""
    shown, display = source.GetScalarVolumeDisplayNode(), target.GetScalarVolumeDisplayNode()
    if shown is None:
        return
    with slicer.util.NodeModify(display):
        display.CopyContent(shown)
        # Automatic values would differ a little, and with them the grey of the same tissue.
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(shown.GetWindow(), shown.GetLevel())


def createOutput(
    className: str, name: str, beside: slicer.vtkMRMLNode
) -> slicer.vtkMRMLTransformNode | slicer.vtkMRMLDisplayableNode:
    """A new node of a MRML class in the folder of subject hierarchy that holds `beside`.

    name: as a reader of the scene would say it; a number is added where it is taken.
    """
    scene = beside.GetScene()
    node = scene.AddNewNodeByClass(className, scene.GenerateUniqueName(name))
    putBeside(node, beside)
    return node


def putBeside(node: slicer.vtkMRMLNode, beside: slicer.vtkMRMLNode) -> None:
    """Puts a node into the folder of subject hierarchy that holds `beside`."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(beside.GetScene())
    folder = hierarchy.GetItemParent(_hierarchyItem(hierarchy, beside))
    hierarchy.SetItemParent(_hierarchyItem(hierarchy, node), folder)


def setRegistrationReferences(
    transformNode: slicer.vtkMRMLTransformNode,
    fixed: slicer.vtkMRMLVolumeNode,
    moving: slicer.vtkMRMLVolumeNode,
) -> None:
    """Notes on the transform which volumes it registers, under the roles that Slicer's own modules read."""
    with slicer.util.NodeModify(transformNode):
        transformNode.SetNodeReferenceID(transformNode.GetFixedNodeReferenceRole(), fixed.GetID())
        transformNode.SetNodeReferenceID(transformNode.GetMovingNodeReferenceRole(), moving.GetID())


@contextmanager
def removedOnFailure(scene: slicer.vtkMRMLScene) -> Iterator[None]:
    """Takes every node out of the scene again that was added in the block, if the block fails."""
    before = {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}
    try:
        yield
    except BaseException:
        nodes = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        for node in nodes:
            if node.GetID() not in before and node is not hierarchy:
                if item := hierarchy.GetItemByDataNode(node):
                    hierarchy.RemoveItem(item, False)
                scene.RemoveNode(node)
        raise


def _hierarchyItem(hierarchy: slicer.vtkMRMLSubjectHierarchyNode, node: slicer.vtkMRMLNode) -> int:
    # Slicer's desktop makes the item of each new node by itself; without it there is none.
    return hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def _readArray(message: dict, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.load(message["file"], mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise InputError(_damaged(message)) from error
    if array.shape != shape or (array.dtype.kind == "f" and not np.isfinite(array).all()):
        raise InputError(_damaged(message))
    return array


def _damaged(message: dict) -> str:
    return f"The result file '{message['file']}' is missing or damaged; run the registration again."
