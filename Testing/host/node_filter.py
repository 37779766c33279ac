"""Which nodes of a scene a qMRMLNodeComboBox lists, as qMRMLSortFilterProxyModel decides it."""

from __future__ import annotations

from dataclasses import dataclass, field

import slicer
import slicer.util


@dataclass
class NodeFilter:
    """types: classes to list, all where there are none. children: whether their derived classes count too;
    hiddenTypes are left out of those. attributes: by class, the one name and value that is asked for.
    """

    types: list[str] = field(default_factory=list)
    children: bool = True
    hiddenTypes: list[str] = field(default_factory=list)
    hidden: bool = False
    attributes: dict[str, tuple[str, str]] = field(default_factory=dict)

    def accepts(self, node: slicer.vtkMRMLNode) -> bool:
        if node.GetHideFromEditors() and not self.hidden:
            return False
        if not self.types:
            return True
        return any(self._isOf(node, kind) and self._hasAttribute(node, kind) for kind in self.types)

    def concerns(self, node: slicer.vtkMRMLNode) -> bool:
        """Whether it may be accepted later, for instance when it is no longer hidden."""
        return not self.types or any(self._isOf(node, kind) for kind in self.types)

    def nodes(self, scene: slicer.vtkMRMLScene) -> list[slicer.vtkMRMLNode]:
        """What concerns the filter, in the scene's order."""
        if len(self.types) == 1:
            # The scene finds the nodes of a class much faster than a loop over all.
            found = slicer.util.getNodesByClass(self.types[0], scene)
        else:
            found = (scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes()))
        return [node for node in found if self.concerns(node)]

    def _isOf(self, node, kind: str) -> bool:
        if not self.children:
            return node.GetClassName() == kind
        return node.IsA(kind) and not any(node.IsA(hidden) for hidden in self.hiddenTypes)

    def _hasAttribute(self, node, kind: str) -> bool:
        name, value = self.attributes.get(kind, ("", ""))
        found = node.GetAttribute(name) if name else ""
        return found is not None and value in ("", found)
