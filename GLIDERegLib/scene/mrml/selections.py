"""The nodes that a parameter node chooses: one that leaves the scene, or is hidden, is no longer chosen.

Slicer's node boxes would move on to the node beside it in their list, which a bound parameter then takes, and
the next run would write into a node that nobody chose.
"""

from __future__ import annotations

import slicer
import slicer.util
import vtk

# Before the node boxes: they take a node out at -10 when it leaves the scene, and at 0 when it is hidden.
BEFORE_BOXES_LEAVING, BEFORE_BOXES_HIDING = 0.0, 10.0


class Selections:
    """Watches a wrapped parameter node until it is closed: parameters that hold a node that goes become None.

    parameters: the wrapper (slicer.parameterNodeWrapper) of a node that is in a scene.
    """

    def __init__(self, parameters):
        self._parameters = parameters
        self._scene: slicer.vtkMRMLScene = parameters.parameterNode.GetScene()
        leaving = vtk.calldata_type(vtk.VTK_OBJECT)(lambda scene, event, node: self._forget(node))
        self._leavingTag = self._scene.AddObserver(
            self._scene.NodeAboutToBeRemovedEvent, leaving, BEFORE_BOXES_LEAVING
        )
        self._changedTag = parameters.parameterNode.AddObserver(
            vtk.vtkCommand.ModifiedEvent, lambda *_: self._watch()
        )
        # In sight when they were chosen, with their observers.
        self._watched: dict[slicer.vtkMRMLNode, int] = {}
        self._watch()

    def close(self) -> None:
        self._scene.RemoveObserver(self._leavingTag)
        self._parameters.parameterNode.RemoveObserver(self._changedTag)
        for node, tag in self._watched.items():
            node.RemoveObserver(tag)
        self._watched = {}

    def _chosen(self) -> dict[str, slicer.vtkMRMLNode]:
        values = ((name, self._parameters.getValue(name)) for name in self._parameters.allParameters)
        return {name: value for name, value in values if isinstance(value, slicer.vtkMRMLNode)}

    def _watch(self) -> None:
        """Notices when a chosen node is hidden."""
        chosen = set(self._chosen().values())
        for node in set(self._watched) - chosen:
            node.RemoveObserver(self._watched.pop(node))
        for node in chosen - set(self._watched):
            if not node.GetHideFromEditors():
                event = vtk.vtkCommand.ModifiedEvent
                self._watched[node] = node.AddObserver(event, self._nodeModified, BEFORE_BOXES_HIDING)

    def _nodeModified(self, node: slicer.vtkMRMLNode, event) -> None:
        if node.GetHideFromEditors():
            self._forget(node)

    def _forget(self, node: slicer.vtkMRMLNode) -> None:
        names = [name for name, chosen in self._chosen().items() if chosen is node]
        if names:
            with slicer.util.NodeModify(self._parameters.parameterNode):
                for name in names:
                    self._parameters.setValue(name, None)
