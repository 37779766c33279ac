"""Segmentations and surfaces that the engine has left in files, as nodes where their scan lies."""

from __future__ import annotations

from pathlib import Path

import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.scene.mrml.colors import risingColors
from GLIDERegLib.scene.quality.maps import putIntoFolder
from GLIDERegLib.scene.registration.pair import Pair

# Of a segmentation that no reader has confirmed.
REVIEWED = "GLIDEReg.Reviewed"
SCALARS = "distance_mm"
# mm; the colours reach at least this far, so that what is right is not made to look wrong.
LEAST_RANGE_MM = 3.0


def readSegmentation(pair: Pair, scan: str, path: Path, name: str) -> slicer.vtkMRMLSegmentationNode:
    """A new segmentation of the "fixed" or "moving" scan from a .seg.nrrd. Raises InputError where Slicer
    cannot read it.
    """
    scene = pair.fixed.GetScene()
    name = scene.GenerateUniqueName(name)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    if not storage.ReadData(node):
        scene.RemoveNode(node)
        raise InputError("Slicer cannot read the propagated segmentation.", code="segmentation")
    # Reading names it after the file.
    node.SetName(name)
    node.SetAttribute(REVIEWED, "no")
    volume = pair.fixed if scan == "fixed" else pair.moving
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    _place(pair, scan, node)
    node.CreateDefaultDisplayNodes()
    putIntoFolder(node, pair.transform)
    return node


def addSurface(
    pair: Pair, scan: str, path: Path, name: str, highest: float = LEAST_RANGE_MM
) -> slicer.vtkMRMLModelNode:
    """A new model from a mesh file (LPS mm) with a distance at each point, whose colours end at `highest`."""
    reader = vtk.vtkPolyDataReader()
    reader.SetFileName(str(path))
    reader.Update()
    surface = reader.GetOutput()
    points = vtk_to_numpy(surface.GetPoints().GetData())
    points[:, :2] *= -1
    surface.GetPoints().Modified()
    scene = pair.fixed.GetScene()
    node = scene.AddNewNodeByClass("vtkMRMLModelNode", scene.GenerateUniqueName(name))
    node.SetAndObservePolyData(surface)
    node.CreateDefaultDisplayNodes()
    display = node.GetModelDisplayNode()
    with slicer.util.NodeModify(display):
        display.SetActiveScalarName(SCALARS)
        display.SetScalarVisibility(True)
        display.SetAndObserveColorNodeID(risingColors(scene).GetID())
        display.SetScalarRangeFlag(display.UseManualScalarRange)
        display.SetScalarRange(0.0, highest)
    _place(pair, scan, node)
    putIntoFolder(node, pair.transform)
    return node


def addScale(node: slicer.vtkMRMLModelNode) -> None:
    """Shows in 3D what a surface's colours mean; in slices its line is not coloured."""
    scene, display = node.GetScene(), node.GetModelDisplayNode()
    legend = slicer.vtkMRMLColorLegendDisplayNode()
    legend.SetTitleText("Distance (mm)")
    legend.SetLabelFormat("%.1f")
    legend.SetNumberOfLabels(4)
    for view in slicer.util.getNodesByClass("vtkMRMLViewNode", scene):
        legend.AddViewNodeID(view.GetID())
    node.AddAndObserveDisplayNodeID(scene.AddNode(legend).GetID())
    legend.SetAndObservePrimaryDisplayNode(display)


def _place(pair: Pair, scan: str, node: slicer.vtkMRMLTransformableNode) -> None:
    """Where the moving scan stands under the transform itself, what lies in it stands there too."""
    frame = pair.frame(pair.moving) if scan == "moving" else None
    node.SetAndObserveTransformNodeID(frame.GetID() if frame else None)
