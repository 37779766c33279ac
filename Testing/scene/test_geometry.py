"""RAS and LPS, indices and worlds."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import slicer

from GLIDERegLib.scene.mrml.geometry import (
    applyMatrix,
    gridFromMatrix,
    ijkToWorld,
    isLinearlyPlaced,
    isRegularlyPlaced,
    mapPoints,
    matrixFromGrid,
    pointsToLps,
    pointsToRas,
    standsUnder,
    volumeToWorld,
)

SHEAR = [[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
ARRAY = np.zeros((4, 5, 6), np.int16)


def place(node, transform):
    node.SetAndObserveTransformNodeID(transform.GetID())
    return node


def test_lps_points_have_x_and_y_turned_and_turn_back_unchanged():
    points = np.array([[1.0, 2.0, 3.0], [-4.0, 5.0, -6.0]])
    assert np.array_equal(pointsToLps(points), [[-1, -2, 3], [4, -5, -6]])
    assert np.array_equal(pointsToRas(pointsToLps(points)), points)


def test_a_grid_places_voxels_where_simpleitk_places_them(oblique):
    grid = gridFromMatrix(oblique, (6, 5, 4))
    image = sitk.Image(grid["size"], sitk.sitkUInt8)
    image.SetSpacing(grid["spacing"])
    image.SetOrigin(grid["origin"])
    image.SetDirection(grid["direction"])
    assert np.allclose(grid["spacing"], [1.5, 2.0, 3.0])
    for index in ([0, 0, 0], [5, 4, 3], [2, 0, 1]):
        here = applyMatrix(oblique, np.array(index))
        assert np.allclose(image.TransformIndexToPhysicalPoint(index), pointsToLps(here), atol=1e-9)


def test_the_matrix_of_a_grid_is_the_one_it_was_made_from(oblique):
    assert np.allclose(matrixFromGrid(gridFromMatrix(oblique, (6, 5, 4))), oblique, atol=1e-12)


def test_the_world_matrix_is_that_of_a_hardened_copy_under_nested_linear_parents(
    addVolume, addLinear, oblique, rotation
):
    outer = addLinear(np.diag([1, 1, 1.25, 1]))
    node = place(addVolume(ARRAY, oblique), addLinear(rotation, parent=outer))
    found = ijkToWorld(node)
    node.HardenTransform()
    hardened = ijkToWorld(node)
    assert node.GetParentTransformNode() is None
    assert not np.allclose(found, oblique)
    assert np.allclose(found, hardened, atol=1e-9)


def test_no_matrix_is_given_for_a_volume_that_a_transform_bends(addVolume, addWarp):
    node = place(addVolume(ARRAY), addWarp())
    assert not isLinearlyPlaced(node)
    with pytest.raises(ValueError, match="not linear"):
        ijkToWorld(node)


def test_only_shears_and_bends_make_a_placement_irregular(addVolume, addLinear, addWarp, oblique, rotation):
    assert isRegularlyPlaced(addVolume(ARRAY, oblique))
    assert isRegularlyPlaced(place(addVolume(ARRAY, oblique), addLinear(rotation)))
    assert isRegularlyPlaced(place(addVolume(ARRAY), addLinear(np.diag([2, 1, 3, 1]))))
    assert not isRegularlyPlaced(place(addVolume(ARRAY, oblique), addLinear(np.diag([2, 1, 3, 1]))))
    assert not isRegularlyPlaced(place(addVolume(ARRAY), addLinear(SHEAR)))
    assert not isRegularlyPlaced(place(addVolume(ARRAY), addWarp()))


@pytest.mark.parametrize("bent", [False, True])
def test_voxels_reach_the_world_as_points_of_the_volume_do(addVolume, addLinear, addWarp, rotation, bent):
    outer = addLinear(rotation)
    parent = addWarp(parent=outer) if bent else outer
    node = place(addVolume(ARRAY, np.diag([2.0, 3.0, 4.0, 1.0])), parent)
    index = np.array([[0, 0, 0], [5, 4, 3], [2.5, 1, 0.5]])
    expected = []
    for point in index * [2, 3, 4]:
        world = [0.0, 0.0, 0.0]
        node.TransformPointToWorld(point, world)
        expected.append(world)
    assert np.allclose(mapPoints(volumeToWorld(node), index), expected, atol=1e-6)


def test_a_node_stands_under_its_parents_and_their_parents_only(addVolume, addLinear):
    outer, other = addLinear(np.eye(4)), addLinear(np.eye(4))
    inner = addLinear(np.eye(4), parent=outer)
    node = place(addVolume(ARRAY), inner)
    assert standsUnder(node, inner) and standsUnder(node, outer)
    assert not standsUnder(node, other)
    assert not standsUnder(slicer.vtkMRMLScalarVolumeNode(), inner)
