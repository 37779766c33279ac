"""Where points of one scan lie in the other, for every kind of transform node."""

from __future__ import annotations

import numpy as np
import pytest

POINTS = np.array([[3.0, -5.0, 8.0], [20.0, 11.0, -17.0], [-30.0, 25.0, 4.0]])


@pytest.fixture
def scans(addVolume, oblique):
    fixed = addVolume(np.zeros((5, 6, 7), np.int16), oblique, "Fixed")
    return fixed, addVolume(np.zeros((6, 5, 8), np.int16), np.diag([2.0, 3, 4, 1]), "Moving")


def apply(matrix, points):
    return points @ np.asarray(matrix)[:3, :3].T + np.asarray(matrix)[:3, 3]


def propagated(transform, points):
    from GLIDERegLib.scene.mrml.geometry import mapPoints

    return mapPoints(transform, points)


def test_a_linear_node_maps_by_its_inverse_matrix_and_its_parents_count(scans, addLinear, rotation):
    from GLIDERegLib.scene.registration.pair import makePair

    shift = np.eye(4)
    shift[:3, 3] = [4, 5, -6]
    parent = addLinear(shift)
    pair = makePair(*scans, addLinear(rotation, parent))
    expected = apply(np.linalg.inv(shift @ rotation), POINTS)
    assert np.allclose(propagated(pair.toMoving(), POINTS), expected)
    assert np.allclose(propagated(pair.toFixed(), expected), POINTS)


@pytest.mark.parametrize("storedFromParent", [True, False])
def test_a_grid_maps_in_its_from_parent_direction_however_it_is_stored(scans, addWarp, storedFromParent):
    from GLIDERegLib.scene.registration.pair import makePair

    node = addWarp(storedFromParent)
    pair = makePair(*scans, node)
    expected = propagated(node.GetTransformFromParent(), POINTS)
    assert np.linalg.norm(expected - POINTS, axis=1).max() > 1
    assert np.allclose(propagated(pair.toMoving(), POINTS), expected, atol=1e-6)
    assert np.allclose(propagated(pair.toFixed(), expected), POINTS, atol=1e-3)


def test_a_moving_scan_under_the_transform_is_read_where_it_lies_without_it(
    scans, addWarp, addLinear, rotation
):
    from GLIDERegLib.scene.registration.pair import makePair

    fixed, moving = scans
    warp = addWarp()
    moving.SetAndObserveTransformNodeID(warp.GetID())
    pair = makePair(fixed, moving, warp)
    assert np.allclose(pair.movingIndex(np.array([[2.0, 6.0, 12.0]])), [[1, 2, 3]])
    # A placement of its own in between counts.
    between = addLinear(rotation, warp)
    moving.SetAndObserveTransformNodeID(between.GetID())
    assert np.allclose(pair.movingIndex(apply(rotation, np.array([[2.0, 6.0, 12.0]]))), [[1, 2, 3]])


def test_a_moving_scan_under_another_transform_is_read_where_it_stands_in_the_world(
    scans, addWarp, addLinear, rotation
):
    from GLIDERegLib.scene.registration.pair import makePair

    fixed, moving = scans
    moving.SetAndObserveTransformNodeID(addLinear(rotation).GetID())
    pair = makePair(fixed, moving, addWarp())
    assert np.allclose(pair.movingIndex(apply(rotation, np.array([[2.0, 6.0, 12.0]]))), [[1, 2, 3]])


def test_what_cannot_be_checked_is_refused_with_a_remedy(scans, addWarp, scene):
    from GLIDERegLib.core.errors import InputError
    from GLIDERegLib.scene.registration.pair import makePair, pairProblem

    fixed, moving = scans
    warp = addWarp()
    assert pairProblem(fixed, moving, warp) is None
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Nothing")
    for nodes, said in (
        ((fixed, moving, None), "Select the transform"),
        ((None, moving, warp), "Select the fixed and the moving"),
        ((fixed, fixed, warp), "the same"),
        ((fixed, empty, warp), "'Nothing' is empty"),
    ):
        with pytest.raises(InputError, match=said):
            makePair(*nodes)
    fixed.SetAndObserveTransformNodeID(warp.GetID())
    assert "take it out of that transform" in pairProblem(fixed, moving, warp)


def test_the_volumes_of_a_transform_are_those_it_names(scans, addWarp):
    from GLIDERegLib.scene.registration.pair import registeredVolumes
    from GLIDERegLib.scene.registration.results import setRegistrationReferences

    warp = addWarp()
    assert registeredVolumes(warp) == (None, None)
    setRegistrationReferences(warp, *scans)
    assert registeredVolumes(warp) == scans
