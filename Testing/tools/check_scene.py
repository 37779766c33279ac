"""A study with known truth for tests of the check in the host, and the page on its own parameter node."""

# Slicer's parameter node wrapper reads the annotations themselves.
import itertools
from types import SimpleNamespace
from typing import Annotated

import numpy as np

SHIFT = np.array([6.0, -9.0, 3.0])
COLORS = ((0.9, 0.6, 0.2), (0.3, 0.7, 0.9), (0.5, 0.8, 0.4))  # of segments, in their order


def makeStudy(scene, shape, spacing: float) -> dict:
    """fixed, moving: scans of shape (z, y, x), the moving one under a linear transform of its own.
    transform: a grid that maps fixed points to fixed points + SHIFT, and names both scans. fixedStructures,
    movingStructures: segments "Ball" and "Bar" in each. fixedLandmarks, movingLandmarks: two points alike,
    strangers: labels of their own. all: these nodes.
    """
    import slicer

    from GLIDERegLib.scene.mrml.arrays import gridTransform
    from GLIDERegLib.scene.registration.results import setRegistrationReferences

    k, j, i = (spacing * (index - (n - 1) / 2) for index, n in zip(np.indices(shape), shape, strict=True))
    matrix = np.diag([spacing] * 3 + [1.0])
    matrix[:3, 3] = [-spacing * (n - 1) / 2 for n in shape[::-1]]
    bed = np.eye(4)
    bed[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    bed[:3, 3] = [20, -30, 40]

    def scan(x, y, z):
        return np.select(
            [x**2 + y**2 + z**2 < 30**2, (np.abs(y) < 75) & (np.abs(x) < 90)], [-800, 40], -1000
        ).astype(np.int16)

    placement = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Bed")
    placement.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(bed))
    fixed = slicer.util.addVolumeFromArray(scan(i, j, k), ijkToRAS=matrix, name="Fixed")
    shifted = np.eye(4)
    shifted[:3, 3] = SHIFT
    moved = shifted @ matrix
    moving = slicer.util.addVolumeFromArray(scan(i, j, k), ijkToRAS=np.linalg.inv(bed) @ moved, name="Moving")
    moving.SetAndObserveTransformNodeID(placement.GetID())
    for volume in (fixed, moving):
        volume.GetDisplayNode().SetAutoWindowLevel(False)
        volume.GetDisplayNode().SetWindowLevel(1400, -500)

    transform = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "Registered")
    lps = SHIFT * (-1, -1, 1)
    grid = {"size": [12] * 3, "spacing": [30.0] * 3, "origin": [-165.0] * 3, "direction": np.eye(3).ravel()}
    vectors = np.broadcast_to(lps.astype(np.float32), (12, 12, 12, 3))
    transform.SetAndObserveTransformFromParent(gridTransform(vectors, grid))
    setRegistrationReferences(transform, fixed, moving)

    ball, bar = i**2 + j**2 + k**2 < 30**2, (np.abs(i - 60) < 12) & (np.abs(j) < 12)
    study = {
        "fixed": fixed,
        "moving": moving,
        "transform": transform,
        "fixedStructures": makeSegments(scene, "Fixed structures", {"Ball": ball, "Bar": bar}, matrix),
        "movingStructures": makeSegments(scene, "Moving structures", {"Ball": ball, "Bar": bar}, moved),
        "fixedLandmarks": _points(scene, {"a": (0, 0, 0), "b": (20, 30, 10)}),
        "movingLandmarks": _points(scene, {"b": SHIFT + (20, 30, 10), "a": SHIFT}),
        "strangers": _points(scene, {"x": (0, 0, 0)}),
    }
    return {**study, "all": [*study.values(), placement]}


def makePage(root) -> SimpleNamespace:
    """page, ui, widget, and node: the fields of the module's parameter node that the page needs."""
    import slicer
    from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

    from GLIDERegLib.panel.check import CheckPage

    @parameterNodeWrapper
    class CheckParameterNode:
        outputTransform: slicer.vtkMRMLGridTransformNode
        checkTransform: slicer.vtkMRMLTransformNode
        checkFixed: slicer.vtkMRMLScalarVolumeNode
        checkMoving: slicer.vtkMRMLScalarVolumeNode
        checkBack: slicer.vtkMRMLTransformNode
        checkSecond: slicer.vtkMRMLTransformNode
        checkDirect: slicer.vtkMRMLTransformNode
        checkFixedStructures: slicer.vtkMRMLSegmentationNode
        checkMovingStructures: slicer.vtkMRMLSegmentationNode
        checkSegment: str = ""
        checkFixedLandmarks: slicer.vtkMRMLMarkupsFiducialNode
        checkMovingLandmarks: slicer.vtkMRMLMarkupsFiducialNode
        checkTable: slicer.vtkMRMLTableNode
        checkOpacity: Annotated[float, WithinRange(0, 100)] = 50.0
        checkSpacing: Annotated[float, WithinRange(2, 50)] = 15.0

    widget = slicer.util.loadUI(str(root / "Resources" / "UI" / "GLIDERegCheck.ui"))
    ui = slicer.util.childWidgetVariables(widget)
    widget.setMRMLScene(slicer.mrmlScene)
    stored = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "Check")
    page = CheckPage(ui, None, None)
    return SimpleNamespace(page=page, ui=ui, widget=widget, node=CheckParameterNode(stored))


def makeSegments(scene, name: str, arrays: dict, matrix):
    """A segmentation of bool arrays (z, y, x) by name, on a grid from index to RAS mm."""
    import slicer
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    for (segment, array), color in zip(arrays.items(), itertools.cycle(COLORS)):
        image = slicer.vtkOrientedImageData()
        image.SetDimensions(array.shape[::-1])
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        vtk_to_numpy(image.GetPointData().GetScalars())[:] = array.ravel()
        image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(matrix))
        # Slicer would take a colour at random.
        node.AddSegmentFromBinaryLabelmapRepresentation(image, segment, color)
    return node


def _points(scene, points: dict):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Landmarks")
    node.CreateDefaultDisplayNodes()
    for label, point in points.items():
        node.AddControlPoint([float(c) for c in point], label)
    return node
