"""Nodes of our own for a while: not listed, never saved, and taken out of the scene together."""

from __future__ import annotations

from typing import TypeVar

import slicer

from GLIDERegLib.scene.registration.results import copyDisplay

Node = TypeVar("Node", bound=slicer.vtkMRMLNode)


def hidden(node: Node, name: str) -> Node:
    """Makes a node that is not in the scene yet one that no list shows and no file keeps."""
    node.SetName(name)
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    return node


class HiddenNodes:
    """Adds hidden nodes to a scene, and removes them again as far as they are still there."""

    def __init__(self):
        self._nodes: list[slicer.vtkMRMLNode] = []

    def add(self, node: Node, name: str, scene: slicer.vtkMRMLScene) -> Node:
        """Hides a new node and adds it to a scene."""
        self._nodes.append(hidden(node, name))
        return scene.AddNode(node)

    def addCopy(self, volume: slicer.vtkMRMLScalarVolumeNode, name: str) -> slicer.vtkMRMLScalarVolumeNode:
        """Adds a volume that shares another one's voxels, with a display like its display, and lies where
        that one would lie without its parent transforms.
        """
        scene = volume.GetScene()
        copy = self.add(slicer.vtkMRMLScalarVolumeNode(), name, scene)
        display = self.add(slicer.vtkMRMLScalarVolumeDisplayNode(), name, scene)
        display.SetDefaultColorMap()
        copy.SetAndObserveDisplayNodeID(display.GetID())
        copyDisplay(volume, copy)
        copy.CopyOrientation(volume)
        copy.SetAndObserveImageData(volume.GetImageData())
        return copy

    def remove(self) -> None:
        """Takes all out of the scene."""
        for node in self._nodes:
            if scene := node.GetScene():
                scene.RemoveNode(node)
        self._nodes = []
