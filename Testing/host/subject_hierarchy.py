"""What the desktop's subject hierarchy plugins do: a data node's item comes and goes with it."""

from __future__ import annotations

import slicer
import slicer.util
import vtk

NODES = (
    "vtkMRMLVolumeNode",
    "vtkMRMLTransformNode",
    "vtkMRMLMarkupsNode",
    "vtkMRMLSegmentationNode",
    "vtkMRMLModelNode",
    "vtkMRMLTableNode",
    "vtkMRMLTextNode",
)


def observe(scene) -> None:
    """Keeps the scene's subject hierarchy from now on."""

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onAdded(caller, event, node):
        if not scene.IsBatchProcessing():
            _addItem(scene, node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onAboutToBeRemoved(caller, event, node):
        if not scene.IsClosing():
            hierarchy = _hierarchy(scene)
            if item := hierarchy.GetItemByDataNode(node):
                hierarchy.RemoveItem(item, False, False)

    def onImported(caller, event):
        for kind in NODES:
            for node in slicer.util.getNodesByClass(kind):
                _addItem(scene, node)

    scene.AddObserver(scene.NodeAddedEvent, onAdded)
    scene.AddObserver(scene.NodeAboutToBeRemovedEvent, onAboutToBeRemoved)
    scene.AddObserver(scene.EndImportEvent, onImported)


def _hierarchy(scene):
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def _addItem(scene, node) -> None:
    if node.GetHideFromEditors() or not any(node.IsA(kind) for kind in NODES):
        return
    hierarchy = _hierarchy(scene)
    if not hierarchy.GetItemByDataNode(node):
        hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
