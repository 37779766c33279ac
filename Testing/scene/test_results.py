"""The worker's result in the scene: the map, the volume, their place, and nothing half done."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer")
pytest.importorskip("slicer.util")
import vtk  # noqa: E402

from GLIDERegLib.core.errors import InputError  # noqa: E402
from GLIDERegLib.core.geometry import Grid  # noqa: E402
from GLIDERegLib.scene.mrml.arrays import gridTransform, imageOf  # noqa: E402
from GLIDERegLib.scene.registration import results  # noqa: E402
from GLIDERegLib.scene.review.nodules import RESIDUAL  # noqa: E402

LPS = np.array([-1.0, -1.0, 1.0])


def rotation(x, y, z):
    turn = np.eye(3)
    for axis, angle in enumerate((x, y, z)):
        a, b = [n for n in range(3) if n != axis]
        one = np.eye(3)
        one[[a, b], [a, b]], one[a, b], one[b, a] = np.cos(angle), -np.sin(angle), np.sin(angle)
        turn = one @ turn
    return turn


def grid_of(size, spacing, origin, direction) -> dict:
    return {"size": size, "spacing": spacing, "origin": origin, "direction": np.ravel(direction).tolist()}


GRIDS = {
    "upright": grid_of([20, 18, 16], [4.0, 4.0, 4.0], [-40.0, -35.0, -30.0], np.eye(3)),
    "oblique": grid_of([20, 18, 16], [3.0, 4.0, 5.0], [12.0, -150.0, 700.0], rotation(0.3, -0.2, 0.4)),
    "left-handed": grid_of(
        [18, 22, 14], [4.0, 2.5, 6.0], [30.0, 20.0, -90.0], rotation(-0.2, 0.5, 0.1) @ np.diag([1, 1, -1])
    ),
}
each_grid = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())


def engine_grid(grid: dict) -> Grid:
    return Grid(*(tuple(grid[name]) for name in ("size", "spacing", "origin", "direction")))


def smooth(grid: dict, amplitude=5.0) -> np.ndarray:
    """Displacements (z, y, x, 3), LPS mm, over about one wave length of 80 mm, another in each direction."""
    where = engine_grid(grid)
    p = (where.points() - where.center) * 2 * np.pi / 80
    x, y, z = p[..., 0], p[..., 1], p[..., 2]
    waves = [np.sin(x + 0.5) * np.cos(y), np.cos(y + z), 0.6 * np.sin(z - 0.3) * np.cos(x)]
    return (amplitude * np.stack(waves, axis=-1)).astype(np.float32)


def inner_points(grid: dict, count=200) -> np.ndarray:
    """LPS points at least two nodes away from the border."""
    index = np.random.default_rng(1).uniform(2, np.asarray(grid["size"]) - 3, (count, 3))
    return engine_grid(grid).to_physical(index)


def through(transform, points) -> np.ndarray:
    """LPS points through a VTK transform, which maps RAS."""
    return np.array([transform.TransformPoint(point) for point in np.asarray(points) * LPS]) * LPS


def grid_node(scene, grid, vectors=None, name="T"):
    node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", name)
    results.setDeformation(node, gridTransform(smooth(grid) if vectors is None else vectors, grid))
    return node


def volume_node(scene, array, grid, name):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(results.matrixFromGrid(grid)))
    slicer.util.updateVolumeFromArray(node, array)
    node.CreateDefaultDisplayNodes()
    return node


def linear_node(scene, turn, shift, name="parent"):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation(*turn), shift
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


def blob(grid: dict) -> np.ndarray:
    """A smooth CT-like int16 image (z, y, x)."""
    where = engine_grid(grid)
    p = (where.points() - where.center) / 9.0
    return (500 * np.sin(p[..., 0]) * np.cos(p[..., 1]) + 300 * np.sin(p[..., 2])).astype(np.int16)


def to_sitk(array, grid) -> sitk.Image:
    image = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
    image.SetSpacing(grid["spacing"])
    image.SetOrigin(grid["origin"])
    image.SetDirection(grid["direction"])
    return image


# -- the transform


@each_grid
def test_the_transform_moves_each_grid_node_by_its_vector(scene, grid):
    vectors = smooth(grid)
    node = grid_node(scene, grid, vectors)
    points = engine_grid(grid).points()[1:-1:5, 1:-1:5, 1:-1:5].reshape(-1, 3)
    expected = points + vectors[1:-1:5, 1:-1:5, 1:-1:5].reshape(-1, 3)
    np.testing.assert_allclose(through(node.GetTransformFromParent(), points), expected, atol=1e-4)


@each_grid
def test_the_transform_agrees_with_the_engine_between_grid_nodes(scene, grid):
    pytest.importorskip("torch")
    from GLIDERegLib.registration import field

    vectors = smooth(grid, amplitude=0.5)
    expected = field.DisplacementField(vectors, engine_grid(grid)).transform_points(inner_points(grid))
    mapped = through(grid_node(scene, grid, vectors).GetTransformFromParent(), inner_points(grid))
    assert np.linalg.norm(mapped - expected, axis=1).max() < 0.02


@each_grid
def test_the_inverse_leads_back_within_the_tolerance_set(scene, grid):
    node = grid_node(scene, grid)
    points = inner_points(grid)
    there = through(node.GetTransformFromParent(), points)
    back = through(node.GetTransformToParent(), there)
    # Near the border the clamped field may send points out; those inside must come back.
    assert np.linalg.norm(back - points, axis=1).max() < 2e-3


def test_the_transform_is_stored_from_parent_and_cubic(scene):
    transform = grid_node(scene, GRIDS["oblique"]).GetTransformFromParent()
    assert transform.IsA("vtkOrientedGridTransform") and not transform.GetInverseFlag()
    assert transform.GetInterpolationMode() == vtk.VTK_CUBIC_INTERPOLATION
    assert transform.GetInverseTolerance() == 1e-3


def test_an_output_that_is_used_again_keeps_its_identity_and_loses_its_old_map(scene):
    node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "chosen by the user")
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetVisibility(True)
    identity = node.GetID(), node.GetName(), node.GetDisplayNode()
    old = vtk.vtkTransform()
    old.Translate(100, 0, 0)
    node.SetAndObserveTransformToParent(old)
    node.SetAndObserveTransformNodeID(linear_node(scene, (0, 0, 1), (5, 5, 5)).GetID())
    grid = GRIDS["oblique"]
    results.setDeformation(node, gridTransform(smooth(grid), grid))
    assert (node.GetID(), node.GetName(), node.GetDisplayNode()) == identity
    assert node.GetDisplayNode().GetVisibility()
    toWorld = vtk.vtkGeneralTransform()
    node.GetTransformFromWorld(toWorld)
    points = inner_points(grid)
    other = grid_node(scene, grid).GetTransformFromParent()
    np.testing.assert_allclose(through(toWorld, points), through(other, points), atol=1e-6)


@each_grid
def test_a_saved_transform_reloads_with_the_same_map(scene, grid, tmp_path):
    node = grid_node(scene, grid)
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetFileName(str(tmp_path / "T.h5"))
    assert node.GetStorageNode().WriteData(node)
    again = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "again")
    assert node.GetStorageNode().ReadData(again)
    points = inner_points(grid)
    expected = through(node.GetTransformFromParent(), points)
    np.testing.assert_allclose(through(again.GetTransformFromParent(), points), expected, atol=1e-3)


@each_grid
def test_simpleitk_reads_the_saved_transform_and_maps_the_same_points(scene, grid, tmp_path):
    vectors = smooth(grid)
    node = grid_node(scene, grid, vectors)
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetFileName(str(tmp_path / "T.h5"))
    assert node.GetStorageNode().WriteData(node)
    transform = sitk.ReadTransform(str(tmp_path / "T.h5"))

    def difference(points):
        peer = np.array([transform.TransformPoint(point) for point in points.tolist()])
        return np.linalg.norm(through(node.GetTransformFromParent(), points) - peer, axis=1).max()

    assert difference(engine_grid(grid).points()[2:-2:4, 2:-2:4, 2:-2:4].reshape(-1, 3)) < 1e-4
    # Between nodes, linear (ITK) and cubic (Slicer) differ by an eighth of the second differences.
    curvature = [np.linalg.norm(np.diff(vectors, 2, axis=axis), axis=-1).max() for axis in range(3)]
    assert difference(inner_points(grid)) < 1.1 * sum(curvature) / 8


def test_a_scene_bundle_reloads_with_the_same_map_references_and_interpolation(scene, tmp_path):
    grid = GRIDS["left-handed"]
    fixed, moving = (volume_node(scene, blob(grid), grid, name) for name in ("fixed", "moving"))
    node = grid_node(scene, grid)
    results.setRegistrationReferences(node, fixed, moving)
    points = inner_points(grid)
    expected = through(node.GetTransformFromParent(), points)
    (tmp_path / "bundle").mkdir()
    assert scene.SaveSceneToSlicerDataBundleDirectory(str(tmp_path / "bundle"), None)
    [saved] = (tmp_path / "bundle").rglob("*.mrml")
    scene.Clear(0)
    scene.SetURL(str(saved))
    assert scene.Connect()
    [again] = slicer.util.getNodesByClass("vtkMRMLGridTransformNode", scene)
    np.testing.assert_allclose(through(again.GetTransformFromParent(), points), expected, atol=1e-3)
    assert again.GetTransformFromParent().GetInterpolationMode() == vtk.VTK_CUBIC_INTERPOLATION
    assert again.GetNodeReference("spatialRegistrationFixed").GetName() == "fixed"
    assert again.GetNodeReference("spatialRegistrationMoving").GetName() == "moving"


@each_grid
def test_a_volume_under_the_transform_lands_where_simpleitk_resamples_it(scene, grid):
    vectors = smooth(grid)
    fine = dict(grid, size=[n * 2 for n in grid["size"]], spacing=[s / 2 for s in grid["spacing"]])
    array = blob(fine).astype(np.float32)
    fixed, moving = volume_node(scene, blob(grid), grid, "fixed"), volume_node(scene, array, fine, "moving")
    node = grid_node(scene, grid, vectors)
    moving.SetAndObserveTransformNodeID(node.GetID())
    warped = slicer.vtkSlicerVolumesLogic.ResampleVolumeToReferenceVolume(moving, fixed)
    field = sitk.DisplacementFieldTransform(to_sitk(vectors.astype(float), grid))
    peer = sitk.GetArrayFromImage(
        sitk.Resample(to_sitk(array, fine), to_sitk(blob(grid), grid), field, sitk.sitkLinear, 0.0)
    )
    # Voxels in the middle, where neither runs out of data; displacements there are those of the nodes.
    inner = (slice(4, -4),) * 3
    assert np.abs(slicer.util.arrayFromVolume(warped)[inner] - peer[inner]).max() < 1.0
    assert np.abs(peer[inner] - blob(grid)[inner]).max() > 100  # the field does move something


# -- the volume


@each_grid
@pytest.mark.parametrize("kind", [np.int16, np.uint8, np.float32, np.float64])
def test_the_warped_volume_has_the_worker_s_voxels_and_geometry(scene, grid, kind, tmp_path):
    voxels = np.abs(blob(grid) % 200).astype(kind)
    moving = volume_node(scene, blob(grid), grid, "moving")
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "warped")
    node.SetAndObserveTransformNodeID(linear_node(scene, (0, 1, 0), (9, 9, 9)).GetID())
    results.setVoxels(node, imageOf(voxels), grid, moving)
    assert node.GetParentTransformNode() is None
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetFileName(str(tmp_path / "warped.nrrd"))
    assert node.GetStorageNode().WriteData(node)
    image = sitk.ReadImage(str(tmp_path / "warped.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), voxels)
    assert sitk.GetArrayFromImage(image).dtype == kind
    for read, given in ((image.GetOrigin(), "origin"), (image.GetSpacing(), "spacing")):
        np.testing.assert_allclose(read, grid[given], atol=1e-6)
    np.testing.assert_allclose(image.GetDirection(), grid["direction"], atol=1e-6)


def test_a_new_warped_volume_looks_like_the_moving_one_and_one_in_use_keeps_its_look(scene):
    grid = GRIDS["oblique"]
    moving = volume_node(scene, blob(grid), grid, "moving")
    moving.SetVoxelValueUnits(slicer.vtkCodedEntry())
    moving.GetVoxelValueUnits().SetValueSchemeMeaning("[hnsf'U]", "UCUM", "Hounsfield unit")
    shown = moving.GetScalarVolumeDisplayNode()
    shown.SetAutoWindowLevel(False)
    shown.SetWindowLevel(1400, -500)
    shown.SetInterpolate(False)
    color = scene.AddNewNodeByClass("vtkMRMLColorTableNode", "my colours")
    shown.SetAndObserveColorNodeID(color.GetID())
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "warped")
    results.setVoxels(node, imageOf(blob(grid)), grid, moving)
    display = node.GetScalarVolumeDisplayNode()
    assert display is not shown
    assert (display.GetWindow(), display.GetLevel(), display.GetInterpolate()) == (1400, -500, 0)
    assert display.GetColorNode() is color
    assert node.GetVoxelValueUnits().GetCodeMeaning() == "Hounsfield unit"
    display.SetWindowLevel(300, 40)
    results.setVoxels(node, imageOf(blob(grid) + 1), grid, moving)
    assert node.GetScalarVolumeDisplayNode() is display
    assert (display.GetWindow(), display.GetLevel()) == (300, 40)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), blob(grid) + 1)


def test_automatic_grey_values_of_the_moving_volume_are_taken_as_they_are(scene):
    grid = GRIDS["oblique"]
    moving = volume_node(scene, blob(grid), grid, "moving")
    shown = moving.GetScalarVolumeDisplayNode()
    assert shown.GetAutoWindowLevel()
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "warped")
    results.setVoxels(node, imageOf(blob(grid) // 4), grid, moving)
    display = node.GetScalarVolumeDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (shown.GetWindow(), shown.GetLevel())
    results.setVoxels(node, imageOf(blob(grid) // 8), grid, moving)
    assert display.GetWindow() == shown.GetWindow() > 500


# -- new nodes


def test_a_new_output_stands_beside_its_input_under_a_free_name(scene):
    grid = GRIDS["upright"]
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Patient")
    moving = volume_node(scene, blob(grid), grid, "moving")
    hierarchy.SetItemParent(hierarchy.CreateItem(hierarchy.GetSceneItemID(), moving), patient)
    outputs = [
        results.createOutput("vtkMRMLGridTransformNode", "moving registered to fixed", moving)
        for _ in range(2)
    ]
    assert outputs[0].GetName() == "moving registered to fixed"
    assert outputs[1].GetName() not in (outputs[0].GetName(), moving.GetName())
    for node in outputs:
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == patient


# -- the whole result


@pytest.fixture
def pair(scene):
    """Fixed and moving volume under different linear parents, with points beside the moving one."""
    grid = GRIDS["oblique"]
    fixed, moving = (
        volume_node(scene, blob(grid), grid, "fixed"),
        volume_node(scene, blob(grid), grid, "moving"),
    )
    for volume, turn in ((fixed, (0.1, 0, 0)), (moving, (0, 0.2, 0))):
        parent = linear_node(scene, turn, (3, 4, 5), f"placement of {volume.GetName()}")
        volume.SetAndObserveTransformNodeID(parent.GetID())
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "nodules")
    points.AddControlPoint(engine_grid(grid).center * LPS, "nodule")
    return fixed, moving, points


@pytest.fixture
def event(tmp_path):
    grid = GRIDS["oblique"]
    np.save(tmp_path / "field.npy", smooth(grid))
    np.save(tmp_path / "warped.npy", blob(grid) + 7)
    return {
        "field": {"file": str(tmp_path / "field.npy"), **grid},
        "warped": {"file": str(tmp_path / "warped.npy"), **grid},
    }


def outputs_of(scene):
    classes = ("vtkMRMLGridTransformNode", "vtkMRMLScalarVolumeNode", "vtkMRMLMarkupsFiducialNode")
    return [scene.AddNewNodeByClass(name, "output") for name in classes]


def state(scene) -> dict:
    """What the scene holds: each node with its modification time and what it refers to."""
    nodes = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
    data = {}
    for node in nodes:
        image = node.GetImageData() if node.IsA("vtkMRMLVolumeNode") else None
        held = (image, image.GetMTime(), slicer.util.arrayFromVolume(node).sum()) if image else None
        data[node.GetID()] = (node.GetName(), node.GetMTime(), held)
    return data


def test_one_call_fills_all_outputs_and_changes_no_input(scene, pair, event):
    fixed, moving, points = pair
    transform, volume, nodules = outputs_of(scene)
    inputs = [
        node.GetID() for node in (*pair, fixed.GetParentTransformNode(), moving.GetParentTransformNode())
    ]
    inputs += [node.GetDisplayNode().GetID() for node in pair]
    before = state(scene)
    task = results.NoduleTask(points, "moving-to-fixed", nodules)
    [rows] = results.importResult(event, fixed, moving, transform, volume, [task])
    after = state(scene)
    assert [after[one] for one in inputs] == [before[one] for one in inputs]
    assert transform.GetNodeReference("spatialRegistrationFixed") is fixed
    assert transform.GetNodeReference("spatialRegistrationMoving") is moving
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(volume), blob(GRIDS["oblique"]) + 7)
    assert [row.label for row in rows] == ["nodule"]
    mapped = through(transform.GetTransformFromParent(), [np.array(rows[0].result) * LPS]) * LPS
    np.testing.assert_allclose(mapped[0], rows[0].source, atol=2e-3)
    assert slicer.util.arrayFromMarkupsControlPointData(nodules, RESIDUAL)[0] == rows[0].residual < 2e-3


@pytest.mark.parametrize("left_out", range(3))
def test_an_output_may_be_left_out(scene, pair, event, left_out):
    fixed, moving, points = pair
    transform, volume, nodules = outputs_of(scene)
    untouched = (transform, volume, nodules)[left_out].GetID()
    before = state(scene)[untouched]
    tasks = [results.NoduleTask(points, "moving-to-fixed", nodules)] if left_out != 2 else []
    results.importResult(
        event,
        fixed,
        moving,
        transform if left_out != 0 else None,
        volume if left_out != 1 else None,
        tasks,
    )
    assert state(scene)[untouched] == before
    assert (transform.GetNodeReference("spatialRegistrationFixed") is fixed) == (left_out != 0)
    assert (volume.GetImageData() is not None) == (left_out != 1)
    assert nodules.GetNumberOfControlPoints() == (left_out != 2)


def truncated(path, array):
    np.save(path, array)
    path.write_bytes(path.read_bytes()[:-100])


def with_one_nan(path, array):
    array = array.astype(np.float32)
    array.flat[5] = np.nan
    np.save(path, array)


DAMAGE = {
    "missing": lambda path, array: path.unlink(),
    "empty": lambda path, array: path.write_bytes(b""),
    "truncated": truncated,
    "garbage": lambda path, array: path.write_bytes(b"\x93NUMPY garbage" * 50),
    "a slice short": lambda path, array: np.save(path, array[1:]),
    "not finite": with_one_nan,
    "of text": lambda path, array: np.save(path, np.full(array.shape, "x")),
    "of objects": lambda path, array: np.save(path, np.full(array.shape, None), allow_pickle=True),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
@pytest.mark.parametrize("which", ["field", "warped"])
def test_a_damaged_file_changes_nothing_and_leaves_no_new_node(scene, pair, event, tmp_path, which, damage):
    fixed, moving, points = pair
    path = tmp_path / f"{which}.npy"
    damage(path, np.load(path))
    transform, volume, nodules = outputs_of(scene)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    for node in (fixed, moving, points):
        hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    before, items = state(scene), hierarchy.GetNumberOfItems()
    with pytest.raises(InputError, match="run the registration again"):
        with results.removedOnFailure(scene):
            new = results.createOutput("vtkMRMLScalarVolumeNode", "new", moving)
            task = results.NoduleTask(points, "moving-to-fixed", nodules)
            results.importResult(event, fixed, moving, transform, new, [task])
    after = state(scene)
    after[hierarchy.GetID()] = before[hierarchy.GetID()]  # its time tells that an item came and went
    assert after == before
    assert hierarchy.GetNumberOfItems() == items


def test_nodes_made_before_a_success_stay(scene):
    with results.removedOnFailure(scene):
        node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "new")
    assert node.GetScene() is scene


def test_outputs_that_would_overwrite_or_move_an_input_are_refused(scene, pair, event):
    fixed, moving, points = pair
    transform, _, nodules = outputs_of(scene)
    with pytest.raises(InputError, match="would be overwritten"):
        results.importResult(event, fixed, moving, volumeNode=moving)
    with pytest.raises(InputError, match="would be overwritten"):
        task = results.NoduleTask(points, "moving-to-fixed", points)
        results.importResult(event, fixed, moving, nodules=[task])
    moving.GetParentTransformNode().SetAndObserveTransformNodeID(transform.GetID())
    with pytest.raises(InputError, match="'moving' stands under the output transform"):
        results.importResult(event, fixed, moving, transform)
    assert moving.GetImageData().GetScalarRange() == (
        blob(GRIDS["oblique"]).min(),
        blob(GRIDS["oblique"]).max(),
    )
