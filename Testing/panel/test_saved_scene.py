"""What comes back from a saved scene and a saved transform."""

from __future__ import annotations

import typing
import zipfile
from xml.etree import ElementTree

import numpy as np
import pytest
from panel.support import FLIP, worldPoints

sitk = pytest.importorskip("SimpleITK")
CHOSEN = {
    "makeTransform": False,
    "makeVolume": False,
    "makeNodulesInFixed": False,
    "makeNodulesInMoving": False,
    "preset": "accurate",
    "device": "cuda:7",
    "preview": False,
    "align": "affine",
    "features": "both",
    "encoder": "sam2.1_hiera_small",
    "checkpoint": "/my/MedSAM2 weights.pt",
    "reduction": "pca",
    "sliceSize": "512",
    "sliceStep": 3,
    "spacing": 1.5,
    "searchRange": 64.0,
    "threads": 2,
    "seed": 2147483647,
}


@pytest.fixture
def registered(replay, scans, openModule, finish):
    """The opened module after a run with all outputs."""
    module = openModule()
    node = module.logic.getParameterNode()
    for name in ("fixedVolume", "movingVolume", "fixedNodules", "movingNodules"):
        setattr(node, name, getattr(scans, name))
    module.ui.applyButton.click()
    assert finish(module).results
    return module


def named(value):
    return value.GetName() if hasattr(value, "GetName") else value


def parameters(module) -> dict:
    """All values of the parameter node, nodes by their names."""
    node = module.logic.getParameterNode()
    return {
        name: named(getattr(node, name))
        for name in typing.get_type_hints(module.python.GLIDERegParameterNode)
    }


def changeTheRest(module) -> None:
    """Gives each parameter that has its default another value: a new node, or what is a little more."""
    import slicer

    node = module.logic.getParameterNode()
    defaults = module.python.GLIDERegParameterNode(slicer.vtkMRMLScriptedModuleNode())
    for name, kind in typing.get_type_hints(module.python.GLIDERegParameterNode).items():
        default = getattr(defaults, name)
        if getattr(node, name) != default:
            continue
        if default is None:
            setattr(node, name, slicer.mrmlScene.AddNewNodeByClass(kind.__name__, f"A node for {name}"))
        elif kind is bool:
            setattr(node, name, not default)
        else:
            setattr(node, name, f"{default} x" if kind is str else default + 1)


def samples(scans) -> np.ndarray:
    """World points (500, 3), RAS mm, in the inner part of the fixed scan."""
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    scans.fixedVolume.GetIJKToRASMatrix(matrix)
    toParent = slicer.util.arrayFromTransformMatrix(scans.fixedVolume.GetParentTransformNode())
    matrix = toParent @ slicer.util.arrayFromVTKMatrix(matrix)
    size = scans.fixedVolume.GetImageData().GetDimensions()
    index = np.random.default_rng(0).uniform(0.1, 0.9, (500, 3)) * size
    return index @ matrix[:3, :3].T + matrix[:3, 3]


def propagated(transformNode, points: np.ndarray, inverse: bool = False) -> np.ndarray:
    transform = transformNode.GetTransformToParent() if inverse else transformNode.GetTransformFromParent()
    return np.array([transform.TransformPoint(point) for point in points])


def test_a_scene_that_is_saved_and_loaded_has_the_same_parameters_and_the_same_map(
    slicerHost, registered, scans, tmp_path
):
    import slicer

    module, points = registered, samples(scans)
    node = module.logic.getParameterNode()
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Lung labels")
    slicer.util.updateVolumeFromArray(labels, np.ones((4, 4, 4), np.uint8))
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Lung segmentation")
    segmentation.GetSegmentation().AddEmptySegment("lung")
    start = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Start here")
    nodes = {"fixedMask": segmentation, "movingMask": labels, "initialTransform": start}
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Breathing")
    nodes |= {"sequence": sequence, "sequenceMask": segmentation}
    for name, value in {**CHOSEN, **nodes}.items():
        setattr(node, name, value)
    changeTheRest(module)
    before = parameters(module)
    defaults = module.python.GLIDERegParameterNode(slicer.vtkMRMLScriptedModuleNode())
    # The panel itself empties the name of a segment that the chosen segmentation does not have.
    assert {name for name in before if getattr(node, name) == getattr(defaults, name)} <= {"checkSegment"}
    transform, lists = node.outputTransform, (node.nodulesInFixed, node.nodulesInMoving)
    there, back = propagated(transform, points), propagated(transform, points, inverse=True)
    mode = transform.GetTransformFromParent().GetInterpolationMode()
    nodules = [worldPoints(nodules) for nodules in lists]

    slicerHost.saveScene(tmp_path / "scene.mrb")
    slicerHost.loadScene(tmp_path / "scene.mrb")

    assert parameters(module) == before
    node = module.logic.getParameterNode()
    loaded = node.outputTransform
    assert loaded is not transform and loaded.GetTransformFromParent().GetInterpolationMode() == mode
    assert np.abs(propagated(loaded, points) - there).max() < 1e-3
    # The inverse is searched for, to 0.01 mm in a transform that was read from a file.
    assert np.abs(propagated(loaded, points, inverse=True) - back).max() < 0.02
    for now, then in zip((node.nodulesInFixed, node.nodulesInMoving), nodules, strict=True):
        assert now.GetLocked() and np.abs(worldPoints(now) - then).max() < 1e-3
    assert loaded.GetNodeReference("spatialRegistrationFixed") is node.fixedVolume


def test_a_saved_scene_keeps_masks_and_the_study_under_the_names_that_slicer_reads(
    slicerHost, openModule, fake, tmp_path
):
    import slicer

    def add(kind: str):
        return slicer.mrmlScene.AddNewNodeByClass(f"vtkMRML{kind}Node", kind)

    node = openModule().logic.getParameterNode()
    node.fixedMask, node.movingMask = add("Segmentation"), add("LabelMapVolume")
    node.sequence, node.sequenceMask = add("SequenceBrowser"), None
    slicerHost.saveScene(tmp_path / "scene.mrb")
    with zipfile.ZipFile(tmp_path / "scene.mrb") as archive:
        name = next(name for name in archive.namelist() if name.endswith(".mrml"))
        tree = ElementTree.fromstring(archive.read(name))
    stored = next(e for e in tree.iter("ScriptedModule") if e.get("name") == "GLIDEReg")
    pairs = (reference.partition(":") for reference in stored.get("references").split(";") if reference)
    references = {role: ID.strip() for role, _, ID in pairs}
    for role, chosen in (
        ("fixedMask.0", node.fixedMask),
        ("movingMask.1", node.movingMask),
        ("sequence.1", node.sequence),
    ):
        assert references[role] == chosen.GetID()
    assert not {role for role in references if role.startswith("sequenceMask")}


def test_the_panel_shows_what_a_loaded_scene_holds(slicerHost, registered, tmp_path):
    import slicer

    module, ui = registered, registered.ui
    node = module.logic.getParameterNode()
    for name, value in CHOSEN.items():
        setattr(node, name, value)
    slicerHost.saveScene(tmp_path / "scene.mrb")
    defaults = module.python.GLIDERegParameterNode(slicer.vtkMRMLScriptedModuleNode())
    for name in CHOSEN:
        setattr(node, name, getattr(defaults, name))
    assert ui.presetCombo.currentData == "default" and ui.makeVolumeCheck.checked
    slicerHost.loadScene(tmp_path / "scene.mrb")
    boxes = ("preset", "device", "align", "features", "encoder", "reduction", "sliceSize")
    for name in boxes:
        assert getattr(ui, f"{name}Combo").currentData == CHOSEN[name]
    for name in ("sliceStep", "spacing", "searchRange", "threads", "seed"):
        assert getattr(ui, f"{name}Spin").value == CHOSEN[name]
    assert ui.checkpointEdit.currentPath == CHOSEN["checkpoint"]
    assert not ui.makeVolumeCheck.checked and not ui.previewCheck.checked
    assert ui.fixedSelector.currentNode().GetName() == "Follow-up"
    # A device that this computer lacks stays the one that is asked for.
    assert ui.deviceCombo.currentText == "cuda:7"


def test_another_program_reads_the_saved_transform_and_maps_the_same_points(registered, scans, tmp_path):
    transform = registered.logic.getParameterNode().outputTransform
    storage = transform.CreateDefaultStorageNode()
    storage.SetFileName(str(tmp_path / "transform.h5"))
    assert storage.WriteData(transform)
    read = sitk.ReadTransform(str(tmp_path / "transform.h5"))

    def difference(points: np.ndarray) -> np.ndarray:
        theirs = np.array([read.TransformPoint((FLIP[:3, :3] @ point).tolist()) for point in points])
        return np.linalg.norm(theirs @ FLIP[:3, :3] - propagated(transform, points), axis=1)

    points, nodules = samples(scans), worldPoints(scans.fixedNodules) @ FLIP[:3, :3]
    # Slicer interpolates cubically between nodes 4 mm apart, ITK linearly.
    assert difference(nodules).max() < 0.1
    assert difference(points).mean() < 0.1 and difference(points).max() < 0.5
    # The same interpolation leaves the rounding of a float.
    transform.GetTransformFromParent().SetInterpolationModeToLinear()
    assert difference(points).max() < 1e-3


@pytest.mark.parametrize("page", ["check", "nodules"])
def test_a_scene_saved_with_a_layout_of_ours_shown_holds_neither_it_nor_its_views(
    slicerHost, fake, plain, openModule, tmp_path, page
):
    """A Slicer that does not know a scene's layout, as one without the module, shows no view at all."""
    import check_views
    import slicer

    fixed, moving = plain("Follow-up"), plain("Baseline", seed=1)
    transform = registeredBy(fixed, moving)
    with check_views.layouts():
        module = openModule()
        node = module.logic.getParameterNode()
        node.checkTransform = transform
        node.movingNodules = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
        layoutNode = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        before = layoutNode.GetViewArrangement()
        check, nodules = (module.widget.pages[n].ui for n in (1, 2))
        button = {"check": check.checkLayoutButton, "nodules": nodules.sideBySideButton}[page]
        button.click()
        assert layoutNode.GetViewArrangement() != before
        assert savedViews(slicerHost, tmp_path / "shown.mrb") == (None, False)
        layoutNode.SetViewArrangement(layoutNode.SlicerLayoutOneUpRedSliceView)
        chosen = str(layoutNode.SlicerLayoutOneUpRedSliceView)
        assert savedViews(slicerHost, tmp_path / "chosen.mrb") == (chosen, False)
        button.click()
        assert savedViews(slicerHost, tmp_path / "closed.mrb") == (chosen, False)
        module.exit()


def registeredBy(fixed, moving):
    import slicer

    from GLIDERegLib.scene.registration.results import setDeformation, setRegistrationReferences
    from GLIDERegLib.scene.sequence.nodes import identityField

    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", "Transform")
    setDeformation(transform, identityField(fixed))
    setRegistrationReferences(transform, fixed, moving)
    return transform


def savedViews(slicerHost, path) -> tuple[str | None, bool]:
    """The layout of a scene as it is saved now, and whether any view of ours is in it."""
    slicerHost.saveScene(path)
    with zipfile.ZipFile(path) as bundle:
        name = next(name for name in bundle.namelist() if name.endswith(".mrml"))
        saved = ElementTree.fromstring(bundle.read(name))
    layout = saved.find("Layout")
    ours = any("GLIDEReg" in (view.get("layoutName") or "") for view in saved)
    return layout.get("currentViewArrangement") if layout is not None else None, ours
