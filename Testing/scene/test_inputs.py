"""From nodes to files: judged by what SimpleITK and the engine's own readers find in them."""

from __future__ import annotations

import hashlib
import os
import tracemalloc

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.volumes import read_mask, read_volume
from GLIDERegLib.scene.mrml.geometry import (
    applyMatrix,
    ijkToWorld,
    mapPoints,
    pointsToLps,
    pointsToRas,
    volumeToWorld,
)
from GLIDERegLib.scene.registration.inputs import writeInitialTransform, writeMask, writeVolume

SIZE = (24, 20, 16)


def through_file(path, points):
    """RAS points through a transform file, as the engine reads it."""
    transforms = pytest.importorskip("GLIDERegLib.files.transforms", exc_type=ImportError)
    return pointsToRas(transforms.map_points(transforms.read_transform(path), pointsToLps(points)))


SHEAR = np.array([[1, 0.25, 0, 5], [0, 1, 0.1, 0], [0, 0, 1.1, -3], [0, 0, 0, 1]])


def noise(dtype, size=SIZE):
    values = np.random.default_rng(0).uniform(0, 200, size[::-1])
    return values.astype(dtype)


def place(node, transform):
    node.SetAndObserveTransformNodeID(transform.GetID())
    return node


def voxelPoints(image):
    """World LPS (z, y, x, 3) of a SimpleITK image's voxels, and its array."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in image.GetSize()], indexing="ij"), axis=-1)
    points = index * image.GetSpacing() @ np.reshape(image.GetDirection(), (3, 3)).T + image.GetOrigin()
    return points.transpose(2, 1, 0, 3), sitk.GetArrayFromImage(image)


def fingerprint(node):
    """Everything of a node and its image that a change would show in."""
    image, parent, matrix = node.GetImageData(), node.GetParentTransformNode(), vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    scalars = image.GetPointData().GetScalars()
    times = [item.GetMTime() for item in (node, parent, image, scalars)]
    voxels = hashlib.sha256(vtk_to_numpy(scalars)).hexdigest()
    return voxels, slicer.util.arrayFromVTKMatrix(matrix).tolist(), times


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_a_turned_left_handed_volume_of_any_type_is_read_where_it_was(addVolume, oblique, dtype, tmp_path):
    array = noise(dtype) if dtype != np.int8 else noise(np.int16).astype(np.int8)
    node = addVolume(noise(np.uint8), oblique)
    if dtype == np.int8:
        # slicer.util makes no volumes of signed bytes, files do.
        signed = vtk.vtkImageData()
        signed.SetDimensions(SIZE)
        signed.AllocateScalars(vtk.VTK_SIGNED_CHAR, 1)
        vtk_to_numpy(signed.GetPointData().GetScalars())[:] = array.ravel()
        node.SetAndObserveImageData(signed)
    else:
        slicer.util.updateVolumeFromArray(node, array)
    writeVolume(node, tmp_path / "scan.nrrd")
    image = sitk.ReadImage(str(tmp_path / "scan.nrrd"))
    read = sitk.GetArrayFromImage(image)
    assert read.dtype == dtype and np.array_equal(read, array)
    for index in ([0, 0, 0], [23, 19, 15], [3, 17, 2]):
        world = pointsToLps(applyMatrix(oblique, np.array(index)))
        assert np.allclose(image.TransformIndexToPhysicalPoint(index), world, atol=1e-9)


def test_the_engine_reads_the_volume_under_nested_linear_parents_at_its_place_in_the_world(
    addVolume, addLinear, oblique, rotation, tmp_path
):
    array = noise(np.int16)
    mirror = np.diag([-1.0, 1, 1, 1])
    node = place(addVolume(array, oblique), addLinear(rotation, parent=addLinear(mirror)))
    writeVolume(node, tmp_path / "scan.nrrd")
    volume = read_volume(tmp_path / "scan.nrrd")
    assert np.array_equal(volume.array, array)
    index = np.array([[0, 0, 0], [23, 19, 15], [5.5, 2, 9]])
    expected = pointsToLps(applyMatrix(mirror @ rotation @ oblique, index))
    assert np.allclose(volume.grid.to_physical(index), expected, atol=1e-6)


def smoothVolume(addVolume, offset):
    """A volume whose values are a smooth function of its own RAS coordinates, and that function."""
    matrix = np.diag([2.0, 2.5, 3.0, 1.0])
    matrix[:3, 3] = [-40, -45, -42]

    def value(points):
        return offset + 400 * np.sin(points[..., 0] / 25) * np.cos(points[..., 1] / 30 + points[..., 2] / 35)

    index = np.stack(np.meshgrid(*[np.arange(n) for n in (40, 36, 28)], indexing="ij"), axis=-1)
    array = value(applyMatrix(matrix, index)).transpose(2, 1, 0).astype(np.float32)
    return addVolume(array, matrix), value


@pytest.mark.parametrize("offset", [-500.0, 1000.0], ids=["ct", "not ct"])
@pytest.mark.parametrize("kind", ["shear", "warp", "inverse warp", "warp in a turned one"])
def test_a_deformed_volume_is_resampled_to_what_slicer_shows(
    addVolume, addLinear, addWarp, rotation, kind, offset, tmp_path
):
    parent = {
        "shear": lambda: addLinear(SHEAR),
        "warp": addWarp,
        "inverse warp": lambda: addWarp(storedFromParent=False),
        "warp in a turned one": lambda: addWarp(parent=addLinear(rotation)),
    }[kind]()
    node, value = smoothVolume(addVolume, offset)
    place(node, parent)
    before = fingerprint(node), node.GetScene().GetNumberOfNodes()
    writeVolume(node, tmp_path / "scan.nrrd")
    assert (fingerprint(node), node.GetScene().GetNumberOfNodes()) == before

    image = sitk.ReadImage(str(tmp_path / "scan.nrrd"))
    points, array = voxelPoints(image)
    fromWorld = vtk.vtkGeneralTransform()
    parent.GetTransformFromWorld(fromWorld)
    local = mapPoints(fromWorld, pointsToRas(points).reshape(-1, 3)).reshape(points.shape)
    low, high = np.array([-40, -45, -42]), np.array([-40, -45, -42]) + np.array([78, 87.5, 81])
    inside = np.all((local > low) & (local < high), axis=-1)
    outside = np.any((local < low - 3) | (local > high + 3), axis=-1)
    # Linear interpolation of these waves errs by 400 h^2 / (8 L^2): below 3 with h = 3 mm and L = 25 mm.
    assert np.abs(array - value(local))[inside].max() < 3
    assert np.all(array[outside] == (-1000 if offset < 0 else slicer.util.arrayFromVolume(node).min()))
    own = np.stack(np.meshgrid(*[np.arange(n) for n in (40, 36, 28)], indexing="ij"), axis=-1).reshape(-1, 3)
    world = pointsToLps(mapPoints(volumeToWorld(node), own))
    index = np.array([image.TransformPhysicalPointToContinuousIndex(point) for point in world.tolist()])
    assert index.min() > -0.5 and np.all(index < np.array(image.GetSize()) - 0.5)
    assert array.size < 2.5 * len(own)


def test_writing_under_a_linear_parent_leaves_the_node_as_it_was(addVolume, addLinear, rotation, tmp_path):
    node = place(addVolume(noise(np.int16)), addLinear(rotation))
    before = fingerprint(node), node.GetScene().GetNumberOfNodes()
    writeVolume(node, tmp_path / "scan.nrrd")
    assert (fingerprint(node), node.GetScene().GetNumberOfNodes()) == before


def test_writing_a_volume_copies_no_voxels(addVolume, addLinear, rotation, tmp_path):
    node = place(addVolume(np.ones((64, 256, 256), np.int16)), addLinear(rotation))
    tracemalloc.start()
    writeVolume(node, tmp_path / "scan.nrrd")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 256 * 256 / 10


@pytest.mark.parametrize(
    ("array", "className", "words"),
    [
        (np.zeros((1, 8, 8), np.int16), "vtkMRMLScalarVolumeNode", "one slice"),
        (np.zeros((4, 8, 8, 3), np.uint8), "vtkMRMLVectorVolumeNode", "one value per voxel"),
        (None, "vtkMRMLScalarVolumeNode", "empty"),
    ],
)
def test_what_cannot_be_registered_is_refused_in_a_sentence(
    scene, addVolume, array, className, words, tmp_path
):
    node = scene.AddNewNodeByClass(className) if array is None else addVolume(array, className=className)
    with pytest.raises(InputError, match=words):
        writeVolume(node, tmp_path / "scan.nrrd")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["missing/scan.nrrd", "/dev/full"])
def test_a_file_that_cannot_be_written_is_told(addVolume, path, tmp_path):
    if path == "/dev/full" and not os.path.exists(path):
        pytest.skip("needs the full disk of Linux, /dev/full")
    with pytest.raises(InputError, match="free space"):
        writeVolume(addVolume(noise(np.int16)), tmp_path / path)


def test_a_transform_that_blows_the_volume_up_is_refused(addVolume, addWarp, tmp_path):
    warp = addWarp()
    slicer.util.arrayFromGridTransform(warp)[:, :, ::7] += 5000
    with pytest.raises(InputError, match="out of all proportion"):
        writeVolume(place(addVolume(noise(np.int16)), warp), tmp_path / "scan.nrrd")


def boxes(*ranges):
    array = np.zeros((30, 30, 30), np.uint8)
    for value, (low, high) in enumerate(ranges, start=1):
        array[low:high, low:high, low:high] = value
    return array


def test_a_label_map_on_another_grid_lands_as_simpleitks_nearest_neighbour_puts_it(
    addVolume, addLinear, oblique, rotation, tmp_path
):
    volume = place(addVolume(noise(np.int16), oblique), addLinear(rotation))
    own = np.diag([1.3, 1.7, 2.1, 1.0])
    own[:3, 3] = [-18.4, -17.3, -19.2]
    labels = addVolume(boxes((3, 22), (12, 18)), own, "Lungs", "vtkMRMLLabelMapVolumeNode")
    place(labels, addLinear(np.diag([1.1, 1, 0.9, 1]), parent=addLinear(rotation)))
    before = fingerprint(labels)
    count = writeMask(labels, volume, tmp_path / "mask.nrrd")
    assert fingerprint(labels) == before

    writeVolume(volume, tmp_path / "scan.nrrd")
    writeVolume(labels, tmp_path / "labels.nrrd")
    scan, drawn = (sitk.ReadImage(str(tmp_path / name)) for name in ("scan.nrrd", "labels.nrrd"))
    expected = (
        sitk.GetArrayFromImage(sitk.Resample(drawn, scan, sitk.Transform(), sitk.sitkNearestNeighbor)) > 0
    )
    mask = read_mask(tmp_path / "mask.nrrd", read_volume(tmp_path / "scan.nrrd").grid)
    assert 200 < expected.sum() < expected.size / 2
    # Voxels halfway between two labels may fall to either side.
    assert np.mean(mask != expected) < 1e-3
    assert count == mask.sum()


def segmentation(scene, arrays, ijkToRas):
    """A segmentation with a segment for each array (z, y, x), each with its own geometry."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Regions")
    node.CreateDefaultDisplayNodes()
    for n, array in enumerate(arrays):
        image = slicer.vtkOrientedImageData()
        image.SetDimensions(array.shape[::-1])
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        vtk_to_numpy(image.GetPointData().GetScalars())[:] = array.ravel()
        image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(ijkToRas))
        node.AddSegmentFromBinaryLabelmapRepresentation(image, f"Segment {n}")
    return node


def test_the_mask_is_the_union_of_the_visible_segments_only(scene, addVolume, addLinear, rotation, tmp_path):
    volume = place(addVolume(np.zeros((30, 30, 30), np.int16)), addLinear(rotation))
    shapes = [boxes((2, 12)), boxes((8, 16)), boxes((20, 28)), boxes((18, 22))]
    node = place(segmentation(scene, shapes, np.eye(4)), addLinear(rotation))
    node.GetDisplayNode().SetSegmentVisibility(node.GetSegmentation().GetNthSegmentID(2), False)
    expected = (shapes[0] + shapes[1] + shapes[3]) > 0
    modified = node.GetSegmentation().GetMTime()
    assert writeMask(node, volume, tmp_path / "mask.nrrd") == expected.sum()
    image = sitk.ReadImage(str(tmp_path / "mask.nrrd"))
    assert np.array_equal(sitk.GetArrayFromImage(image), expected)
    assert node.GetSegmentation().GetMTime() == modified


def test_segments_that_share_one_label_image_are_told_apart(scene, addVolume, tmp_path):
    volume = addVolume(np.zeros((30, 30, 30), np.int16))
    node = segmentation(scene, [boxes((2, 12)), boxes((14, 20)), boxes((22, 28))], np.eye(4))
    node.GetSegmentation().CollapseBinaryLabelmaps(True)
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    node.GetDisplayNode().SetSegmentVisibility(node.GetSegmentation().GetNthSegmentID(0), False)
    assert writeMask(node, volume, tmp_path / "mask.nrrd") == 6**3 + 6**3


def test_no_label_arises_between_two_others(scene, addVolume, oblique, tmp_path):
    node = segmentation(scene, [boxes((4, 6)), boxes((12, 26))], np.eye(4))
    node.GetSegmentation().CollapseBinaryLabelmaps(True)
    node.GetDisplayNode().SetSegmentVisibility(node.GetSegmentation().GetNthSegmentID(1), False)
    matrix = oblique.copy()
    matrix[:3, 3] = 12 - matrix[:3, :3] @ (np.array(SIZE) / 2)
    writeMask(node, addVolume(noise(np.int16), matrix), tmp_path / "mask.nrrd")
    points, mask = voxelPoints(sitk.ReadImage(str(tmp_path / "mask.nrrd")))
    drawn = pointsToRas(points[mask > 0])
    assert len(drawn) and drawn.min() > 3 and drawn.max() < 6


def test_a_mask_of_a_sheared_volume_lies_on_the_grid_of_the_written_volume(
    scene, addVolume, addLinear, tmp_path
):
    array = np.where(boxes((6, 24)), 100, -900).astype(np.int16)
    volume = place(addVolume(array), addLinear(SHEAR))
    mask = place(segmentation(scene, [boxes((6, 24))], np.eye(4)), addLinear(SHEAR))
    writeVolume(volume, tmp_path / "scan.nrrd")
    writeMask(mask, volume, tmp_path / "mask.nrrd")
    scan = read_volume(tmp_path / "scan.nrrd")
    inside = read_mask(tmp_path / "mask.nrrd", scan.grid)
    # Half way between -900 and 100 is the boundary that nearest neighbour draws.
    assert np.mean(inside == (scan.array > -400)) > 0.98
    assert inside.sum() * np.prod(scan.grid.spacing) == pytest.approx(18**3 * np.linalg.det(SHEAR), rel=0.03)


def test_a_mask_of_one_slice_follows_the_transform_that_bends_it(scene, addVolume, addWarp, tmp_path):
    volume, warp = addVolume(np.zeros((30, 30, 30), np.int16)), addWarp()
    slice_ = np.zeros((30, 30, 30), np.uint8)
    slice_[15, 5:25, 5:25] = 1
    node = place(segmentation(scene, [slice_], np.eye(4)), warp)
    writeMask(node, place(volume, warp), tmp_path / "mask.nrrd")
    points, mask = voxelPoints(sitk.ReadImage(str(tmp_path / "mask.nrrd")))
    fromWorld = vtk.vtkGeneralTransform()
    warp.GetTransformFromWorld(fromWorld)
    local = mapPoints(fromWorld, pointsToRas(points[mask > 0]))
    assert len(local) > 300
    assert np.abs(local[:, 2] - 15).max() < 0.6
    assert local[:, :2].min() > 4.4 and local[:, :2].max() < 24.6


def test_a_mask_given_as_a_surface_only_is_filled_in_a_copy(scene, addVolume, tmp_path):
    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(10)
    sphere.SetThetaResolution(40)
    sphere.SetPhiResolution(40)
    sphere.Update()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Lesion")
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    node.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "Lesion")
    node.GetSegmentation().RemoveRepresentation("Binary labelmap")
    matrix = np.eye(4)
    matrix[:3, 3] = -15
    count = writeMask(node, addVolume(np.zeros((30, 30, 30), np.int16), matrix), tmp_path / "mask.nrrd")
    assert count == pytest.approx(4 / 3 * np.pi * 10**3, rel=0.03)
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")


@pytest.mark.parametrize("why", ["hidden", "elsewhere", "no segments"])
def test_a_mask_without_a_voxel_of_the_volume_is_refused(scene, addVolume, addLinear, why, tmp_path):
    volume = addVolume(np.zeros((30, 30, 30), np.int16))
    node = segmentation(scene, [] if why == "no segments" else [boxes((2, 12))], np.eye(4))
    if why == "hidden":
        node.GetDisplayNode().SetSegmentVisibility(node.GetSegmentation().GetNthSegmentID(0), False)
    if why == "elsewhere":
        place(node, addLinear([[1, 0, 0, 500], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    with pytest.raises(InputError, match="no voxel"):
        writeMask(node, volume, tmp_path / "mask.nrrd")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["initial.h5", "initial.tfm", "initial.txt"])
def test_a_linear_initial_transform_is_written_from_the_world(addVolume, addLinear, rotation, name, tmp_path):
    node = addLinear(SHEAR, parent=addLinear(rotation))
    assert writeInitialTransform(node, addVolume(noise(np.int16)), tmp_path / name)
    points = np.random.default_rng(1).uniform(-80, 80, (50, 3))
    expected = applyMatrix(np.linalg.inv(rotation @ SHEAR), points)
    found = through_file(tmp_path / name, points)
    assert np.allclose(found, expected, atol=1e-6)


def thinPlate(scene):
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetBasisToR()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    rng = np.random.default_rng(2)
    for corner in np.array(np.meshgrid(*[[-60.0, 60.0]] * 3)).reshape(3, -1).T:
        source.InsertNextPoint(corner)
        target.InsertNextPoint(corner + rng.uniform(-8, 8, 3))
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "Landmarks")
    node.SetAndObserveTransformFromParent(spline)
    return node


@pytest.mark.parametrize(
    "kind", ["from parent", "to parent", "in a turned and shifted one", "thin plate spline"]
)
def test_a_bending_initial_transform_maps_as_the_node_does(
    scene, addVolume, addLinear, addWarp, rotation, kind, tmp_path
):
    node = {
        "from parent": addWarp,
        "to parent": lambda: addWarp(storedFromParent=False),
        "in a turned and shifted one": lambda: addWarp(parent=addLinear(rotation @ rotation)),
        "thin plate spline": lambda: thinPlate(scene),
    }[kind]()
    matrix = np.diag([4.0, 4.0, 4.0, 1.0])
    matrix[:3, 3] = -40
    moving = addVolume(np.zeros((20, 20, 20), np.int16), matrix)
    assert writeInitialTransform(node, moving, tmp_path / "initial.h5")

    toWorld, fromWorld = vtk.vtkGeneralTransform(), vtk.vtkGeneralTransform()
    node.GetTransformToWorld(toWorld)
    node.GetTransformFromWorld(fromWorld)
    points = mapPoints(toWorld, np.random.default_rng(1).uniform(-40, 36, (500, 3)))
    expected = mapPoints(fromWorld, points)
    found = through_file(tmp_path / "initial.h5", points)
    assert np.linalg.norm(expected - points, axis=1).max() > 5
    assert np.linalg.norm(found - expected, axis=1).max() < 0.05


def test_the_initial_transform_brings_the_moving_volume_where_slicer_shows_it_under_the_node(
    addVolume, addLinear, rotation, tmp_path
):
    moving, _ = smoothVolume(addVolume, 0.0)
    node = addLinear(rotation)
    writeVolume(moving, tmp_path / "moving.nrrd")
    assert writeInitialTransform(node, moving, tmp_path / "initial.h5")
    place(moving, node)
    fixedPoint = applyMatrix(ijkToWorld(moving), np.array([20, 11, 9]))
    image = sitk.ReadImage(str(tmp_path / "moving.nrrd"))
    transform = sitk.ReadTransform(str(tmp_path / "initial.h5"))
    landed = transform.TransformPoint(pointsToLps(fixedPoint).tolist())
    assert np.allclose(image.TransformPhysicalPointToContinuousIndex(landed), [20, 11, 9], atol=1e-6)


def test_an_initial_transform_above_the_moving_volume_is_not_applied_twice(
    addVolume, addLinear, rotation, tmp_path
):
    outer = addLinear(np.diag([1, 1, 2, 1]))
    inner = addLinear(rotation, parent=outer)
    moving = place(addVolume(noise(np.int16)), inner)
    for node in (inner, outer):
        assert not writeInitialTransform(node, moving, tmp_path / "initial.h5")
    assert not list(tmp_path.iterdir())
    assert writeInitialTransform(addLinear(rotation), moving, tmp_path / "initial.h5")
