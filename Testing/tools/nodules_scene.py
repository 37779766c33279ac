"""Two scans with nodules and known truth for tests of the review, and the page on its own parameter node."""

# Slicer's parameter node wrapper reads the annotations themselves.
from types import SimpleNamespace
from typing import Annotated

import numpy as np

# From a fixed point to the moving point of the same anatomy, RAS mm.
SHIFT = np.array([8.0, -5.0, 3.0])
PLACES = {"a": (0, 0, 0), "b": (25, -30, 12), "c": (-40, 20, 33)}
SIZE, SPACING = 64, 2.5


def gridAround(shift, halfWidth: float = 100.0, count: int = 11):
    """LPS displacements that move everything by `shift` (RAS mm), and their grid around the origin."""
    spacing = 2 * halfWidth / (count - 1)
    grid = {
        "size": [count] * 3,
        "spacing": [spacing] * 3,
        "origin": [-halfWidth] * 3,
        "direction": np.eye(3).ravel().tolist(),
    }
    lps = np.asarray(shift, np.float32) * np.float32([-1, -1, 1])
    return np.broadcast_to(lps, (count, count, count, 3)).copy(), grid


def makeStudy(scene) -> SimpleNamespace:
    """fixed, moving: the same smooth random anatomy, 160 mm wide, that of the moving scan moved by SHIFT.
    transform: says exactly so, and which scans it registers. movingNodules: PLACES moved by SHIFT.
    fixedNodules: the same nodules under other names and in another order, one of them new.
    """
    import slicer
    import slicer.util
    from scipy.ndimage import gaussian_filter

    from GLIDERegLib.scene.mrml.arrays import gridTransform
    from GLIDERegLib.scene.registration.results import setDeformation, setRegistrationReferences

    texture = gaussian_filter(np.random.default_rng(4).standard_normal((SIZE,) * 3), 1.5)
    array = (texture / texture.std() * 200 - 600).astype(np.int16)
    matrix = np.diag([SPACING] * 3 + [1.0])
    matrix[:3, 3] = -SPACING * (SIZE - 1) / 2
    moved = matrix.copy()
    moved[:3, 3] += SHIFT
    volumes = [
        slicer.util.addVolumeFromArray(array, ijkToRAS=place, name=name)
        for name, place in (("Follow-up", matrix), ("Baseline", moved))
    ]
    transform = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "Transform")
    setDeformation(transform, gridTransform(*gridAround(SHIFT)))
    setRegistrationReferences(transform, *volumes)
    return SimpleNamespace(
        fixed=volumes[0],
        moving=volumes[1],
        transform=transform,
        movingNodules=addPoints(scene, "Known", {k: np.add(v, SHIFT) for k, v in PLACES.items()}),
        fixedNodules=addPoints(scene, "Seen", {"1": (-40, 21, 33), "2": (1, 0, 0), "3": (50, 50, -20)}),
    )


def addPoints(scene, name: str, points: dict):
    """A list of points (RAS mm) by label."""
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    node.CreateDefaultDisplayNodes()
    for label, point in points.items():
        node.AddControlPoint([float(c) for c in point], label)
    return node


def makePage(root, node=None) -> SimpleNamespace:
    """page, ui, widget, and node: the fields of the module's parameter node that the page needs.

    node: the vtkMRMLScriptedModuleNode that keeps them; a new one unless given.
    """
    import slicer
    from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

    from GLIDERegLib.panel.nodules import NodulesPage

    @parameterNodeWrapper
    class NodulesParameterNode:
        fixedVolume: slicer.vtkMRMLScalarVolumeNode
        movingVolume: slicer.vtkMRMLScalarVolumeNode
        fixedNodules: slicer.vtkMRMLMarkupsFiducialNode
        movingNodules: slicer.vtkMRMLMarkupsFiducialNode
        outputTransform: slicer.vtkMRMLGridTransformNode
        nodulesInFixed: slicer.vtkMRMLMarkupsFiducialNode
        nodulesInMoving: slicer.vtkMRMLMarkupsFiducialNode
        checkTransform: slicer.vtkMRMLTransformNode
        checkFixed: slicer.vtkMRMLScalarVolumeNode
        checkMoving: slicer.vtkMRMLScalarVolumeNode
        reviewTable: slicer.vtkMRMLTableNode
        matchTable: slicer.vtkMRMLTableNode
        measureTable: slicer.vtkMRMLTableNode
        matchDistance: Annotated[float, WithinRange(0.1, 100)] = 10.0
        daysBetween: Annotated[float, WithinRange(-36500, 36500)] = 0.0

    widget = slicer.util.loadUI(str(root / "Resources" / "UI" / "GLIDERegNodules.ui"))
    ui = slicer.util.childWidgetVariables(widget)
    widget.setMRMLScene(slicer.mrmlScene)
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "Nodules")
    wrapped = NodulesParameterNode(node)
    page = NodulesPage(ui, None)
    page.setParameterNode(wrapped)
    return SimpleNamespace(page=page, ui=ui, widget=widget, node=wrapped)


def propagateNodules(
    sourceNode, transformNode, direction, fixedVolumeNode, outputNode, movingVolumeNode=None
):
    """Propagates a list through a transform node and into another list, as an import does; those points."""
    from GLIDERegLib.scene.review.nodules import checkNodules, fillNodules, propagatePoints

    checkNodules(sourceNode, transformNode, direction, outputNode)
    fixedToMoving = transformNode.GetTransformFromParent()
    moving = movingVolumeNode or fixedVolumeNode
    points = propagatePoints(sourceNode, fixedToMoving, direction, fixedVolumeNode, moving)
    fillNodules(outputNode, points, sourceNode, direction)
    return points
