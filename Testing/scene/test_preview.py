"""The live preview: the right voxels at the right place, and the user's scene and views as they were."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer")
pytest.importorskip("slicer.util")
import vtk  # noqa: E402

from GLIDERegLib.core.geometry import Grid  # noqa: E402
from GLIDERegLib.scene.mrml.arrays import gridTransform  # noqa: E402
from GLIDERegLib.scene.mrml.geometry import ijkToWorld, matrixFromGrid  # noqa: E402
from GLIDERegLib.scene.registration.results import setDeformation  # noqa: E402
from GLIDERegLib.scene.views.preview import LivePreview  # noqa: E402

ANGLE = np.radians(25)
TURN = np.array([[np.cos(ANGLE), -np.sin(ANGLE), 0], [np.sin(ANGLE), np.cos(ANGLE), 0], [0, 0, 1]])
GRID = {
    "size": [24, 20, 18],
    "spacing": [4.0, 5.0, 3.0],
    "origin": [-30.0, 110.0, -40.0],
    "direction": (TURN @ np.diag([1, -1, 1])).ravel().tolist(),
}
SHAPE = tuple(GRID["size"][::-1])
INNER = (slice(5, -5),) * 3


def where() -> Grid:
    return Grid(*(tuple(GRID[name]) for name in ("size", "spacing", "origin", "direction")))


def blob() -> np.ndarray:
    p = (where().points() - where().center) / 12.0
    return (500 * np.sin(p[..., 0]) * np.cos(p[..., 1]) + 300 * np.sin(p[..., 2])).astype(np.float32)


def waves(amplitude=4.0) -> np.ndarray:
    p = (where().points() - where().center) * 2 * np.pi / 150
    return (amplitude * np.sin(p[..., ::-1] + 0.4)).astype(np.float32)


def volume(scene, name, array):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, array)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrixFromGrid(GRID)))
    node.CreateDefaultDisplayNodes()
    return node


@pytest.fixture
def pair(scene):
    fixed, moving = volume(scene, "fixed", np.zeros(SHAPE, np.int16)), volume(scene, "moving", blob())
    moving.GetScalarVolumeDisplayNode().SetAutoWindowLevel(False)
    moving.GetScalarVolumeDisplayNode().SetWindowLevel(1400, -500)
    return fixed, moving


@pytest.fixture
def other(scene):
    """Another volume of the user's, in the foreground and as a label of the red view."""
    return volume(scene, "other", blob() + 1)


@pytest.fixture
def views(scene, pair, other):
    """Red: another volume over the moving one; Yellow: empty."""
    nodes = []
    for name in ("Red", "Yellow"):
        node = slicer.vtkMRMLSliceCompositeNode()
        node.SetLayoutName(name)
        nodes.append(scene.AddNode(node))
    red, yellow = nodes
    red.SetBackgroundVolumeID(pair[1].GetID())
    red.SetForegroundVolumeID(other.GetID())
    red.SetForegroundOpacity(0.25)
    red.SetLabelVolumeID(other.GetID())
    return red, yellow


def shown_in(view):
    return (
        view.GetBackgroundVolumeID(),
        view.GetForegroundVolumeID(),
        view.GetForegroundOpacity(),
        view.GetLabelVolumeID(),
    )


def node_ids(scene) -> set:
    return {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}


def foreground(scene, view):
    return scene.GetNodeByID(view.GetForegroundVolumeID())


def seen_on(fixed, node) -> np.ndarray:
    """What the slice views see of a volume at the fixed volume's voxels."""
    output = slicer.vtkSlicerVolumesLogic.ResampleVolumeToReferenceVolume(node, fixed)
    return slicer.util.arrayFromVolume(output)


def image(array, ijk_to_ras=None) -> sitk.Image:
    """A SimpleITK image on GRID, or where a matrix from voxel index to RAS puts it."""
    matrix = np.diag([-1, -1, 1, 1]) @ (matrixFromGrid(GRID) if ijk_to_ras is None else ijk_to_ras)
    result = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    result.SetSpacing(spacing.tolist())
    result.SetOrigin(matrix[:3, 3].tolist())
    result.SetDirection((matrix[:3, :3] / spacing).ravel().tolist())
    return result


def field_transform(vectors) -> sitk.Transform:
    return sitk.DisplacementFieldTransform(image(vectors.astype(float)))


def peer(transform, moving=None) -> np.ndarray:
    moving = image(blob()) if moving is None else moving
    return sitk.GetArrayFromImage(sitk.Resample(moving, image(blob()), transform, sitk.sitkLinear, 0.0))


def placed(scene, node):
    """Puts a node under a turned and shifted linear transform."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = TURN.T, (6, -3, 2)
    parent = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "placement")
    centre = where().center * (-1, -1, 1)
    matrix[:3, 3] += centre - matrix[:3, :3] @ centre
    parent.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    node.SetAndObserveTransformNodeID(parent.GetID())


def test_all_views_show_the_moving_volume_through_the_field_over_the_fixed_one(scene, pair, views, other):
    preview = LivePreview(*pair)
    preview.show(waves(), GRID)
    for view in views:
        assert view.GetBackgroundVolumeID() == pair[0].GetID()
        assert view.GetForegroundOpacity() == 0.5
        seen = seen_on(pair[0], foreground(scene, view))
        assert np.abs(seen[INNER] - peer(field_transform(waves()))[INNER]).max() < 1
        assert np.abs(seen[INNER] - blob()[INNER]).max() > 100
    assert views[0].GetLabelVolumeID() == other.GetID()
    display = foreground(scene, views[0]).GetScalarVolumeDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (1400, -500)
    assert display is not pair[1].GetScalarVolumeDisplayNode()


def test_news_change_the_picture_and_add_no_node(scene, pair, views):
    preview = LivePreview(*pair)
    preview.show(waves(1.0), GRID)
    nodes = node_ids(scene)
    preview.show(waves(-4.0), GRID)
    assert node_ids(scene) == nodes
    seen = seen_on(pair[0], foreground(scene, views[0]))
    assert np.abs(seen[INNER] - peer(field_transform(waves(-4.0)))[INNER]).max() < 1


def test_the_moving_volume_is_taken_from_where_its_linear_parent_puts_it(scene, pair, views):
    placed(scene, pair[1])
    assert np.abs(ijkToWorld(pair[1]) - matrixFromGrid(GRID)).max() > 5
    LivePreview(*pair).show(waves(), GRID)
    seen = seen_on(pair[0], foreground(scene, views[0]))
    expected = peer(field_transform(waves()), image(blob(), ijkToWorld(pair[1])))
    assert np.abs(seen[INNER] - expected[INNER]).max() < 1
    assert np.abs(peer(field_transform(waves()))[INNER] - expected[INNER]).max() > 100


def test_below_a_parent_that_is_not_linear_both_maps_are_applied(scene, pair, views):
    own = waves(3.0)[..., ::-1].copy()
    parent = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "breathing")
    setDeformation(parent, gridTransform(own, GRID))
    parent.GetTransformFromParent().SetInterpolationModeToLinear()
    pair[1].SetAndObserveTransformNodeID(parent.GetID())
    LivePreview(*pair).show(waves(), GRID)
    seen = seen_on(pair[0], foreground(scene, views[0]))
    # A point of the fixed volume goes through the field first; ITK applies the last transform first.
    both = sitk.CompositeTransform([field_transform(own), field_transform(waves())])
    assert np.abs(seen[INNER] - peer(both)[INNER]).max() < 1
    assert np.abs(peer(field_transform(waves()))[INNER] - peer(both)[INNER]).max() > 50


def test_the_user_s_nodes_stay_as_they_were(scene, pair, views, other):
    placed(scene, pair[1])
    nodes = [*pair, other, pair[1].GetParentTransformNode(), *(node.GetDisplayNode() for node in pair)]
    times = [node.GetMTime() for node in nodes], [node.GetImageData().GetMTime() for node in pair]
    preview = LivePreview(*pair)
    for amplitude in (1.0, 2.0):
        preview.show(waves(amplitude), GRID)
    assert foreground(scene, views[0]).GetImageData() is pair[1].GetImageData()
    preview.finish()
    assert [node.GetMTime() for node in nodes] == times[0]
    assert [node.GetImageData().GetMTime() for node in pair] == times[1]
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(pair[1]), blob())


def test_the_preview_is_hidden_and_not_saved(scene, pair, views, tmp_path):
    before = node_ids(scene)
    LivePreview(*pair).show(waves(), GRID)
    for one in node_ids(scene) - before:
        node = scene.GetNodeByID(one)
        assert node.GetHideFromEditors() and not node.GetSaveWithScene()
    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Commit()
    text = (tmp_path / "scene.mrml").read_text()
    assert 'name="moving"' in text and 'name="Registration preview"' not in text


def test_finishing_gives_the_views_back_and_removes_every_node(scene, pair, views):
    before, nodes = [shown_in(view) for view in views], node_ids(scene)
    preview = LivePreview(*pair)
    preview.show(waves(), GRID)
    assert [shown_in(view) for view in views] != before and node_ids(scene) > nodes
    preview.finish()
    assert [shown_in(view) for view in views] == before
    assert node_ids(scene) == nodes
    preview.finish()
    preview.show(waves(), GRID)
    assert [shown_in(view) for view in views] == before
    assert node_ids(scene) == nodes


def test_finishing_without_a_preview_changes_nothing(scene, pair, views):
    before, nodes = [shown_in(view) for view in views], node_ids(scene)
    LivePreview(*pair).finish()
    assert [shown_in(view) for view in views] == before
    assert node_ids(scene) == nodes


def test_what_the_user_changed_meanwhile_stays(scene, pair, views, other):
    red, yellow = views
    before = shown_in(yellow)
    preview = LivePreview(*pair)
    preview.show(waves(), GRID)
    red.SetForegroundVolumeID(pair[0].GetID())
    red.SetBackgroundVolumeID(other.GetID())
    red.SetForegroundOpacity(0.9)
    preview.show(waves(2.0), GRID)
    assert red.GetForegroundVolumeID() == pair[0].GetID()
    preview.finish()
    assert shown_in(red) == (other.GetID(), pair[0].GetID(), 0.9, other.GetID())
    assert shown_in(yellow) == before


def test_an_opacity_the_user_chose_meanwhile_stays(scene, pair, views, other):
    preview = LivePreview(*pair)
    preview.show(waves(), GRID)
    views[0].SetForegroundOpacity(0.8)
    preview.finish()
    assert shown_in(views[0]) == (pair[1].GetID(), other.GetID(), 0.8, other.GetID())


def test_a_volume_deleted_meanwhile_is_not_shown_again(scene, pair, views, other):
    preview = LivePreview(*pair)
    preview.show(waves(), GRID)
    scene.RemoveNode(other)
    preview.finish()
    assert views[0].GetBackgroundVolumeID() == pair[1].GetID()
    assert views[0].GetForegroundVolumeID() is None


def test_a_closed_scene_is_left_alone(scene, pair, views):
    preview = LivePreview(*pair)
    preview.show(waves(), GRID)
    scene.Clear(0)
    again = volume(scene, "fixed", np.zeros(SHAPE, np.int16))  # takes the ID of the one that is gone
    view = slicer.vtkMRMLSliceCompositeNode()
    view.SetLayoutName("Red")
    view = scene.AddNode(view)
    view.SetBackgroundVolumeID(again.GetID())
    view.SetForegroundOpacity(0.5)
    before, nodes = shown_in(view), node_ids(scene)
    preview.show(waves(), GRID)
    preview.finish()
    assert shown_in(view) == before
    assert node_ids(scene) == nodes


def test_a_scene_closed_before_the_first_news_stays_empty(scene, pair, views):
    preview = LivePreview(*pair)
    scene.Clear(0)
    nodes = node_ids(scene)
    preview.show(waves(), GRID)
    preview.finish()
    assert node_ids(scene) == nodes


def test_the_preview_uses_the_quick_interpolation(scene, pair, views):
    LivePreview(*pair).show(waves(), GRID)
    transform = foreground(scene, views[0]).GetParentTransformNode().GetTransformFromParent()
    assert transform.GetInterpolationMode() == vtk.VTK_LINEAR_INTERPOLATION
