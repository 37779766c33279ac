"""A transform's maps as volumes of the scene: displacement, Jacobian determinant, consistency, difference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import slicer
import slicer.util
import vtk

from GLIDERegLib.scene.mrml.colors import (
    COLORS,
    JACOBIAN_RANGE,
    divergingColors,
    hatchedColors,
    jacobianColors,
    jacobianLegendColors,
    risingColors,
    risingLegendColors,
)
from GLIDERegLib.scene.mrml.hidden import hidden
from GLIDERegLib.scene.mrml.sampling import Sampling
from GLIDERegLib.scene.quality.measures import Measures
from GLIDERegLib.scene.registration.pair import Pair

# What a node is and of which transform, so that another check replaces it.
KIND_ATTRIBUTE, TRANSFORM_ROLE = "GLIDEReg.Map", "GLIDEReg.Transform"


@dataclass(frozen=True)
class Kind:
    """One kind of map.

    title: of the node and its legend. values: the map (k, j, i) of some measures, or None where these have
    none; None where it comes from elsewhere. range: the values that the ends of the colours stand for, from
    that map and the body. legend: None, or the legend's own colours, for a map whose colours are not at equal
    steps from the lowest shown value on; named: whether these tell their values by their names.
    """

    title: str
    values: Callable[[Measures], np.ndarray | None] | None
    colors: Callable[[slicer.vtkMRMLScene], slicer.vtkMRMLColorTableNode]
    range: Callable[[np.ndarray, np.ndarray], tuple[float, float]]
    legend: Callable[[], slicer.vtkMRMLColorTableNode] | None = None
    named: bool = True


def _fromZero(least: float) -> Callable[[np.ndarray, np.ndarray], tuple[float, float]]:
    """From 0 to a value that only a hundredth of the body exceeds."""
    return lambda values, body: (
        0.0,
        _rounded(max(least, float(np.percentile(values[body], 99)) if body.any() else 0.0)),
    )


def _hatched(values: np.ndarray, body: np.ndarray) -> tuple[float, float]:
    """As `_fromZero(4.0)`, with all that is below 0 in the first colour."""
    highest = _fromZero(4.0)(values, body)[1]
    return -highest / (COLORS - 2), highest


def _aroundZero(values: np.ndarray, body: np.ndarray) -> tuple[float, float]:
    largest = _rounded(max(1.0, float(np.percentile(np.abs(values[body]), 98))))
    return -largest, largest


def _rounded(value: float) -> float:
    """Up to the next number of one or one and a half digits."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(np.ceil(2 * value / power - 1e-9) * power / 2)


LANDMARK_ERROR = "landmarks"
KINDS: dict[str, Kind] = {
    "displacement": Kind("Displacement (mm)", lambda m: m.displacement, risingColors, _fromZero(1.0)),
    "jacobian": Kind(
        "Jacobian (volume, moving / fixed)",
        lambda m: m.jacobian,
        jacobianColors,
        lambda *_: JACOBIAN_RANGE,
        legend=jacobianLegendColors,
    ),
    # Below a millimetre there is nothing to see, and full colours would make it look like something.
    "consistency": Kind(
        "Inverse consistency error (mm)", lambda m: m.consistency, risingColors, _fromZero(1.0)
    ),
    "difference": Kind("Fixed - warped (HU)", lambda m: m.difference, divergingColors, _aroundZero),
    "density": Kind(
        "Fixed - warped, lung density corrected (HU)",
        lambda m: m.densityDifference,
        divergingColors,
        _aroundZero,
    ),
    LANDMARK_ERROR: Kind(
        "Error at landmarks (mm)", None, hatchedColors, _hatched, legend=risingLegendColors, named=False
    ),
}
MEASURED = tuple(kind for kind, about in KINDS.items() if about.values is not None)


def showMaps(pair: Pair, measures: Measures) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
    """The maps as volumes, by their kind, in a folder of subject hierarchy named after the transform.

    They lie where the fixed scan lies, under the same parent transform, and are updated where the scene has
    those of an earlier check. Each has its own colours.
    """
    found = {kind: KINDS[kind].values(measures) for kind in MEASURED}
    return {kind: _update(pair, measures, kind, map) for kind, map in found.items() if map is not None}


def findMap(transform: slicer.vtkMRMLTransformNode, kind: str) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The map of a kind that an earlier check of the transform has left in the scene."""
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", transform.GetScene()):
        if node.GetAttribute(KIND_ATTRIBUTE) == kind and node.GetNodeReference(TRANSFORM_ROLE) is transform:
            return node
    return None


def addLegend(
    node: slicer.vtkMRMLScalarVolumeNode, viewIds: tuple[str, ...]
) -> slicer.vtkMRMLColorLegendDisplayNode:
    """Adds the legend of a map to some views; it is not saved, and goes when it is taken out of the scene.

    It has to be new to be drawn: a view that is younger than a legend takes no notice of it.
    """
    kind, scene = KINDS[node.GetAttribute(KIND_ATTRIBUTE)], node.GetScene()
    legend, display = slicer.vtkMRMLColorLegendDisplayNode(), node.GetDisplayNode()
    legend.SetSaveWithScene(False)
    legend.SetTitleText(kind.title)
    legend.SetLabelFormat("%.2f")
    legend.SetNumberOfLabels(5)
    legend.SetViewNodeIDs(viewIds)
    if kind.legend is not None:
        # Only the legend looks at these: a volume is drawn by its first display.
        display = scene.AddNode(hidden(slicer.vtkMRMLScalarVolumeDisplayNode(), kind.title))
        colors = scene.AddNode(hidden(kind.legend(), kind.title))
        display.SetAndObserveColorNodeID(colors.GetID())
        node.AddAndObserveDisplayNodeID(display.GetID())
        if kind.named:
            legend.SetUseColorNamesForLabels(True)
            legend.SetMaxNumberOfColors(colors.GetNumberOfColors())
            legend.SetLabelFormat("%s")
        else:
            display.SetAutoWindowLevel(False)
            display.SetWindowLevelMinMax(0.0, node.GetDisplayNode().GetWindowLevelMax())
    node.AddAndObserveDisplayNodeID(scene.AddNode(legend).GetID())
    legend.SetAndObservePrimaryDisplayNode(display)
    return legend


def removeLegend(legend: slicer.vtkMRMLColorLegendDisplayNode) -> None:
    """Takes a legend that `addLegend` made out of the scene, with the display and colours of its own."""
    display, scene = legend.GetPrimaryDisplayNode(), legend.GetScene()
    if scene is None:
        return
    scene.RemoveNode(legend)
    # The map's own display is saved with the map.
    if display is not None and not display.GetSaveWithScene():
        scene.RemoveNode(display.GetColorNode())
        scene.RemoveNode(display)


def putIntoFolder(node: slicer.vtkMRMLNode, transform: slicer.vtkMRMLTransformNode) -> None:
    """Puts a node into the folder "Check of ..." of a transform."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(transform.GetScene())
    # Slicer's desktop makes the item of each new node by itself; without it there is none.
    parent = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(transform)) or hierarchy.GetSceneItemID()
    name = f"Check of {transform.GetName()}"
    folder = _folder(hierarchy, parent, name) or hierarchy.CreateFolderItem(parent, name)
    item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(parent, node)
    hierarchy.SetItemParent(item, folder)


def _folder(hierarchy: slicer.vtkMRMLSubjectHierarchyNode, parent: int, name: str) -> int | None:
    items = vtk.vtkIdList()
    hierarchy.GetItemChildren(parent, items)
    for item in map(items.GetId, range(items.GetNumberOfIds())):
        if hierarchy.GetItemName(item) == name and hierarchy.GetItemDataNode(item) is None:
            return item
    return None


def mapNode(transform: slicer.vtkMRMLTransformNode, kind: str) -> slicer.vtkMRMLScalarVolumeNode:
    """The transform's map of a kind, made where there is none."""
    node, scene = findMap(transform, kind), transform.GetScene()
    if node is None:
        name = f"{KINDS[kind].title} of {transform.GetName()}"
        node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(name))
        node.SetAttribute(KIND_ATTRIBUTE, kind)
        node.SetNodeReferenceID(TRANSFORM_ROLE, transform.GetID())
        node.CreateDefaultDisplayNodes()
        putIntoFolder(node, transform)
    return node


def _update(pair: Pair, measures: Measures, kind: str, values: np.ndarray):
    node = mapNode(pair.transform, kind)
    return fillMap(node, kind, measures.sampling, values, measures.body)


def fillMap(
    node: slicer.vtkMRMLScalarVolumeNode, kind: str, sampling: Sampling, values: np.ndarray, body: np.ndarray
) -> slicer.vtkMRMLScalarVolumeNode:
    """Gives a map its values (k, j, i) at samples, and colours that reach over those of the body (bool)."""
    with slicer.util.NodeModify(node):
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(sampling.toRas))
        node.SetAndObserveTransformNodeID(sampling.volume.GetTransformNodeID())
        slicer.util.updateVolumeFromArray(node, values)
        node.SetDescription(f"Sampled every {describe(sampling.spacing)} mm; for visual checking")
    display = node.GetScalarVolumeDisplayNode()
    with slicer.util.NodeModify(display):
        display.SetAndObserveColorNodeID(KINDS[kind].colors(node.GetScene()).GetID())
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(*KINDS[kind].range(values, body))
        # Between a folding or unknown sample and its neighbour lie all the colours that neither has.
        display.SetInterpolate(kind not in ("jacobian", LANDMARK_ERROR))
    return node


def describe(spacing: np.ndarray) -> str:
    """Distances between samples along the axes, as a text."""
    return " x ".join(f"{mm:.1f}" for mm in spacing)
