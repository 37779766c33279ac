"""The embedded pair in the scene: a generated chest, breathed out and in, whose motion is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import slicer
import slicer.util
import vtk

from GLIDERegLib.scene.mrml.geometry import RAS_LPS, pointsToRas

if TYPE_CHECKING:
    from GLIDERegLib.evaluation.phantom import Phantom

CATEGORY, NAME = "GLIDE-Reg", "GLIDERegChestPair"
FIXED, MOVING = "Chest follow-up", "Chest baseline"
SIZE, SPACING_MM = (128, 128, 106), 3.0
# By which share of its volume each nodule is larger in the follow-up: one has grown, the others are stable.
GROWTH = (0.0, 0.0, 0.0, 0.0, 0.0, 0.6, 0.0, 0.0)
LUNG_WINDOW, LUNG_LEVEL = 1500, -500


class Pair(NamedTuple):
    """The nodes of a pair. fixedNodules: where the moving nodules really are in the fixed volume."""

    fixedVolume: slicer.vtkMRMLScalarVolumeNode
    movingVolume: slicer.vtkMRMLScalarVolumeNode
    movingNodules: slicer.vtkMRMLMarkupsFiducialNode
    fixedNodules: slicer.vtkMRMLMarkupsFiducialNode


def registerSampleData(thumbnail: str) -> None:
    """Lists the pair in Slicer's Sample Data module; nothing is downloaded. thumbnail: path of a picture."""
    import SampleData

    logic = SampleData.SampleDataLogic
    # From Slicer 5.12 on; before, a category comes with its first source.
    registerCategory = getattr(logic, "registerCustomSampleDataCategory", None)
    if registerCategory is not None:
        registerCategory(CATEGORY, CATEGORY)
    logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=NAME,
        thumbnailFileName=thumbnail,
        uris=["generated"],
        fileNames=["generated"],
        nodeNames=[FIXED],
        customDownloader=lambda source: showSamplePair(),
    )


def showSamplePair() -> Pair:
    """Generates the pair and shows its fixed volume in the slice views, as Slicer does with what it loads."""
    with slicer.util.WaitCursor():
        pair = makeSamplePair()
    slicer.util.setSliceViewerLayers(
        background=pair.fixedVolume, foreground=None, label=None, fit=slicer.app.layoutManager() is not None
    )
    return pair


def makeSamplePair() -> Pair:
    """Generates the pair and adds it to the scene."""
    from GLIDERegLib.evaluation.phantom import make_phantom

    return addPair(make_phantom(SIZE, (SPACING_MM,) * 3, nodule_growth=GROWTH))


def addPair(phantom: Phantom) -> Pair:
    """Adds a generated pair to the scene."""
    return Pair(
        _addVolume(phantom.fixed, FIXED),
        _addVolume(phantom.moving, MOVING),
        _addNodules("Nodules baseline", phantom.moving_nodules, phantom.nodule_labels),
        _addNodules("True nodules follow-up", phantom.fixed_nodules, phantom.nodule_labels),
    )


def _addVolume(volume, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(RAS_LPS @ volume.grid.matrix))
    slicer.util.updateVolumeFromArray(node, volume.array)
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(LUNG_WINDOW, LUNG_LEVEL)
    return node


def _addNodules(name: str, points: np.ndarray, labels: tuple[str, ...]):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    node.CreateDefaultDisplayNodes()
    for point, label in zip(pointsToRas(points), labels, strict=True):
        node.AddControlPoint(vtk.vtkVector3d(*point), label)
    return node
