"""Nodules propagated to the other scan: where they land, and what is said about it."""

from __future__ import annotations

import numpy as np
import pytest

slicer = pytest.importorskip("slicer")
pytest.importorskip("slicer.util")
import vtk  # noqa: E402
from nodules_scene import propagateNodules  # noqa: E402

from GLIDERegLib.core.errors import InputError  # noqa: E402
from GLIDERegLib.core.geometry import Grid  # noqa: E402
from GLIDERegLib.scene.mrml.arrays import gridTransform  # noqa: E402
from GLIDERegLib.scene.registration.pair import Pair  # noqa: E402
from GLIDERegLib.scene.registration.results import matrixFromGrid, setDeformation  # noqa: E402
from GLIDERegLib.scene.review.nodules import (  # noqa: E402
    INSIDE_FIELD,
    INSIDE_MOVING,
    RESIDUAL,
    isInside,
    propagatePoints,
)

LPS = np.array([-1.0, -1.0, 1.0])
TO_FIXED, TO_MOVING = "moving-to-fixed", "fixed-to-moving"
both_ways = pytest.mark.parametrize("direction", [TO_FIXED, TO_MOVING])


def turned(degrees, flip=1) -> np.ndarray:
    """Direction cosines of an oblique grid, left-handed with flip -1."""
    angles = np.radians(degrees)
    c, s = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, c[0], -s[0]], [0, s[0], c[0]]])
    about_z = np.array([[c[1], -s[1], 0], [s[1], c[1], 0], [0, 0, 1]])
    return about_z @ about_x @ np.diag([1, 1, flip])


GRIDS = {
    "oblique": {
        "size": [24, 20, 18],
        "spacing": [4.0, 5.0, 6.0],
        "origin": [-30.0, 110.0, -400.0],
        "direction": turned((20, -35)).ravel().tolist(),
    },
    "left-handed": {
        "size": [24, 22, 30],
        "spacing": [5.0, 4.5, 3.0],
        "origin": [10.0, -20.0, 50.0],
        "direction": turned((-15, 25), flip=-1).ravel().tolist(),
    },
}
each_grid = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())


def engine_grid(grid: dict) -> Grid:
    return Grid(*(tuple(grid[name]) for name in ("size", "spacing", "origin", "direction")))


def smooth(grid: dict) -> np.ndarray:
    """Displacements of up to 6 mm in waves 400 mm long, LPS."""
    where = engine_grid(grid)
    p = (where.points() - where.center) * 2 * np.pi / 400
    waves = [np.sin(p[..., 1]), np.cos(p[..., 2] + p[..., 0]), np.sin(p[..., 0] - 0.4)]
    return (3 * np.stack(waves, axis=-1) + (3, -2, 1)).astype(np.float32)


def folded(grid: dict) -> np.ndarray:
    """A field that turns back on itself in waves along x: the slope of u reaches -1.9."""
    vectors = np.zeros((*grid["size"][::-1], 3), np.float32)
    vectors[..., 0] = 12 * np.sin(2 * np.pi * engine_grid(grid).points()[..., 0] / 40)
    return vectors


def transform_node(scene, grid, vectors):
    node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "T")
    setDeformation(node, gridTransform(vectors, grid))
    return node


def fixed_volume(scene, grid):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "fixed")
    slicer.util.updateVolumeFromArray(node, np.zeros(grid["size"][::-1], np.int16))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrixFromGrid(grid)))
    return node


def markups(scene, points=(), name="nodules"):
    """A list with a point at each RAS position."""
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    for number, point in enumerate(points, 1):
        node.AddControlPoint(vtk.vtkVector3d(*point), f"N{number}")
    return node


def placed_under(scene, node, turn=0.3, shift=(20.0, -10.0, 5.0)):
    """Puts a node under a linear transform; returns its 4 x 4 matrix to the world."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turned((20, np.degrees(turn))), shift
    parent = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "placement")
    parent.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    node.SetAndObserveTransformNodeID(parent.GetID())
    return matrix


def inner_points(grid, count=40) -> np.ndarray:
    """RAS points well inside the grid."""
    index = np.random.default_rng(3).uniform(0.25, 0.75, (count, 3)) * (np.asarray(grid["size"]) - 1)
    return engine_grid(grid).to_physical(index) * LPS


def positions(node) -> np.ndarray:
    return slicer.util.arrayFromMarkupsControlPoints(node)


@each_grid
@both_ways
def test_points_land_where_the_engine_puts_them(scene, grid, direction):
    pytest.importorskip("torch")
    from GLIDERegLib.registration import field

    points = inner_points(grid)
    engine = field.DisplacementField(smooth(grid), engine_grid(grid))
    engine = engine.inverse() if direction == TO_FIXED else engine
    expected = engine.transform_points(points * LPS) * LPS
    source, output = markups(scene, points), markups(scene, name="output")
    node = transform_node(scene, grid, smooth(grid))
    propagateNodules(source, node, direction, fixed_volume(scene, grid), output)
    assert np.linalg.norm(positions(output) - expected, axis=1).max() < 0.02
    assert np.linalg.norm(positions(output) - points, axis=1).min() > 1  # the field does move them


@each_grid
def test_points_propagated_there_and_back_return(scene, grid):
    points = inner_points(grid)
    source, there, back = markups(scene, points), markups(scene, name="there"), markups(scene, name="back")
    node, fixed = transform_node(scene, grid, smooth(grid)), fixed_volume(scene, grid)
    rows = propagateNodules(source, node, TO_FIXED, fixed, there)
    propagateNodules(there, node, TO_MOVING, fixed, back)
    np.testing.assert_allclose(positions(back), points, atol=2e-3)
    assert max(row.residual for row in rows) < 2e-3
    np.testing.assert_allclose([row.source for row in rows], points)
    np.testing.assert_allclose([row.result for row in rows], positions(there))


@both_ways
def test_points_under_a_parent_transform_are_propagated_from_where_they_are_seen(scene, direction):
    grid = GRIDS["oblique"]
    points = inner_points(grid)
    node, fixed = transform_node(scene, grid, smooth(grid)), fixed_volume(scene, grid)
    plain, output = markups(scene, points), markups(scene, name="output")
    expected = [row.result for row in propagateNodules(plain, node, direction, fixed, output)]
    under = markups(scene, name="under a parent")
    matrix = placed_under(scene, under)
    for point in points:
        under.AddControlPointWorld(vtk.vtkVector3d(*point))
    assert np.abs(positions(under) - points).max() > 5
    # A used output list may have been put under a transform too.
    placed_under(scene, output)
    rows = propagateNodules(under, node, direction, fixed, output)
    np.testing.assert_allclose([row.source for row in rows], points, atol=1e-6)
    assert output.GetParentTransformNode() is None
    np.testing.assert_allclose(positions(output), expected, atol=2e-3)
    np.testing.assert_allclose(
        under.GetParentTransformNode().GetMatrixTransformToParent().GetElement(0, 3), matrix[0, 3]
    )


def test_points_beyond_the_fixed_volume_are_flagged(scene):
    grid = GRIDS["oblique"]
    no_motion = np.zeros((*grid["size"][::-1], 3), np.float32)
    index = np.array(
        [[-0.4, 5, 5], [-0.6, 5, 5], [23.4, 5, 5], [23.6, 5, 5], [5, 19.4, 17.4], [5, 5, 17.6], [5, 5, 400]]
    )
    points = engine_grid(grid).to_physical(index) * LPS
    source, output = markups(scene, points), markups(scene, name="output")
    node, fixed = transform_node(scene, grid, no_motion), fixed_volume(scene, grid)
    for direction in (TO_FIXED, TO_MOVING):
        rows = propagateNodules(source, node, direction, fixed, output)
        assert [row.insideField for row in rows] == [True, False, True, False, True, False, False]
        assert list(slicer.util.arrayFromMarkupsControlPointData(output, INSIDE_FIELD)) == [
            1,
            0,
            1,
            0,
            1,
            0,
            0,
        ]
        described = [output.GetNthControlPointDescription(n) for n in range(len(points))]
        assert ["OUTSIDE" in text for text in described] == [not row.insideField for row in rows]


def test_the_fixed_side_position_decides_whether_a_point_is_outside(scene):
    grid = GRIDS["oblique"]
    shift = np.zeros((*grid["size"][::-1], 3), np.float32)
    shift[..., 2] = 30.0
    middle = engine_grid(grid).to_physical([12, 10, 14]) * LPS
    beyond = middle + [0, 0, 30]
    node, fixed = transform_node(scene, grid, shift), fixed_volume(scene, grid)
    assert isInside(fixed, middle) and not isInside(fixed, beyond)
    output = markups(scene, name="output")
    [row] = propagateNodules(markups(scene, [middle]), node, TO_MOVING, fixed, output)
    assert row.insideField
    [row] = propagateNodules(markups(scene, [beyond]), node, TO_FIXED, fixed, output)
    np.testing.assert_allclose(row.result, middle, atol=2e-3)
    assert row.insideField
    [row] = propagateNodules(markups(scene, [beyond]), node, TO_MOVING, fixed, output)
    assert not row.insideField


@both_ways
def test_points_beyond_the_moving_volume_are_flagged(scene, direction):
    grid = GRIDS["oblique"]
    no_motion = np.zeros((*grid["size"][::-1], 3), np.float32)
    node, fixed = transform_node(scene, grid, no_motion), fixed_volume(scene, grid)
    moving = fixed_volume(scene, {**grid, "size": [24, 20, 9]})
    index = np.array([[5, 5, 5], [5, 5, 8.4], [5, 5, 8.6], [5, 5, 17]])
    source = markups(scene, engine_grid(grid).to_physical(index) * LPS)
    output = markups(scene, name="output")
    rows = propagateNodules(source, node, direction, fixed, output, moving)
    assert [row.insideMoving for row in rows] == [True, True, False, False]
    assert all(row.insideField for row in rows)
    stored = slicer.util.arrayFromMarkupsControlPointData(output, INSIDE_MOVING)
    assert list(stored) == [1, 1, 0, 0]
    told = ["OUTSIDE the moving scan" in output.GetNthControlPointDescription(n) for n in range(len(index))]
    assert told == [False, False, True, True]


def test_a_moving_volume_seen_through_the_transform_is_asked_where_it_lies_unwarped(scene):
    grid = GRIDS["oblique"]
    shift = np.zeros((*grid["size"][::-1], 3), np.float32)
    shift[..., 2] = 30.0
    node, fixed = transform_node(scene, grid, shift), fixed_volume(scene, grid)
    moving = fixed_volume(scene, grid)
    moving.SetAndObserveTransformNodeID(node.GetID())
    pair = Pair(fixed, moving, node)
    [high] = engine_grid(grid).to_physical([[12, 10, 15]]) * LPS
    source = markups(scene, [high])
    [point] = propagatePoints(source, pair.toMoving(), TO_MOVING, fixed, moving, pair.movingIndex)
    assert not point.insideMoving and point.insideField


def test_the_fixed_volume_s_box_is_taken_in_the_world(scene):
    grid = GRIDS["left-handed"]
    fixed = fixed_volume(scene, grid)
    corner = engine_grid(grid).to_physical([0, 0, 0]) * LPS
    matrix = placed_under(scene, fixed, shift=(500.0, 0.0, 0.0))
    assert not isInside(fixed, corner)
    assert isInside(fixed, matrix[:3, :3] @ corner + matrix[:3, 3])
    warp = transform_node(scene, grid, smooth(grid))
    fixed.SetAndObserveTransformNodeID(warp.GetID())
    toWorld = warp.GetTransformToParent()
    assert isInside(fixed, toWorld.TransformPoint(corner))
    outside = engine_grid(grid).to_physical([-0.7, 0, 0]) * LPS
    assert not isInside(fixed, toWorld.TransformPoint(outside))


def test_a_fold_shows_in_the_residual(scene):
    grid = {
        "size": [60, 12, 12],
        "spacing": [2.0] * 3,
        "origin": [0.0] * 3,
        "direction": np.eye(3).ravel().tolist(),
    }
    vectors = folded(grid)
    points = engine_grid(grid).to_physical(np.array([[i, 6, 6] for i in range(4, 56)])) * LPS
    node, fixed = transform_node(scene, grid, vectors), fixed_volume(scene, grid)
    output = markups(scene, name="output")
    rows = propagateNodules(markups(scene, points), node, TO_MOVING, fixed, output)
    residual = np.array([row.residual for row in rows])
    # The map is one to one far from the folds only; there the way back must be found.
    slope = np.diff(vectors[6, 6, :, 0]) / 2
    folds = np.convolve(slope < -1, np.ones(2), "full")[4:56] > 0
    assert folds.any() and residual[folds].max() > 5
    assert residual.min() < 2e-3
    for n, row in enumerate(rows):
        back = node.GetTransformToParent().TransformPoint(row.result)
        assert row.residual == pytest.approx(np.linalg.norm(np.subtract(back, row.source)), abs=1e-9)
        assert f"residual {row.residual:.3f} mm" in output.GetNthControlPointDescription(n)


def test_the_residual_of_an_inverse_comes_from_the_stored_field_itself(scene):
    grid = {
        "size": [60, 12, 12],
        "spacing": [2.0] * 3,
        "origin": [0.0] * 3,
        "direction": np.eye(3).ravel().tolist(),
    }
    vectors = folded(grid) * 1.5
    points = engine_grid(grid).to_physical(np.array([[i + 0.5, 6, 6] for i in range(4, 55)])) * LPS
    node, fixed = transform_node(scene, grid, vectors), fixed_volume(scene, grid)
    rows = propagateNodules(markups(scene, points), node, TO_FIXED, fixed, markups(scene, name="output"))
    for row in rows:
        forward = node.GetTransformFromParent().TransformPoint(row.result)
        assert row.residual == pytest.approx(np.linalg.norm(np.subtract(forward, row.source)), abs=1e-9)


def test_the_output_is_a_locked_list_of_the_placed_points_with_their_labels(scene):
    grid = GRIDS["oblique"]
    source = markups(scene, inner_points(grid, 4))
    source.SetNthControlPointLabel(1, "right upper lobe")
    source.SetNthControlPointDescription(1, "solid 6 mm")
    source.UnsetNthControlPointPosition(2)
    node, fixed = transform_node(scene, grid, smooth(grid)), fixed_volume(scene, grid)
    output = markups(scene, name="output")
    rows = propagateNodules(source, node, TO_FIXED, fixed, output)
    labels = [output.GetNthControlPointLabel(n) for n in range(output.GetNumberOfControlPoints())]
    assert labels == [row.label for row in rows] == ["N1", "right upper lobe", "N4"]
    assert output.GetNthControlPointDescription(1).startswith("solid 6 mm; inverse residual 0.0")
    assert output.GetLocked() and not source.GetLocked()
    assert output.GetNodeReference("GLIDEReg.Source") is source
    shown, given = output.GetMarkupsDisplayNode(), source.GetMarkupsDisplayNode()
    assert shown.GetColor() not in (given.GetColor(), given.GetSelectedColor())
    assert shown.GetGlyphType() != given.GetGlyphType()
    assert not shown.GetSliceProjection()


def test_running_again_replaces_the_points_and_keeps_the_user_s_look(scene):
    grid = GRIDS["oblique"]
    node, fixed = transform_node(scene, grid, smooth(grid)), fixed_volume(scene, grid)
    output = markups(scene, name="output")
    propagateNodules(markups(scene, inner_points(grid, 9)), node, TO_FIXED, fixed, output)
    output.GetMarkupsDisplayNode().SetColor(0, 0, 1)
    rows = propagateNodules(markups(scene, inner_points(grid, 2)), node, TO_FIXED, fixed, output)
    np.testing.assert_allclose(positions(output), [row.result for row in rows])
    assert len(slicer.util.arrayFromMarkupsControlPointData(output, RESIDUAL)) == 2
    assert output.GetNumberOfMeasurements() == 3
    assert output.GetMarkupsDisplayNode().GetColor() == (0, 0, 1)


def test_the_reliability_of_each_point_survives_saving(scene, tmp_path):
    grid = GRIDS["oblique"]
    points = np.vstack([inner_points(grid, 3), [[900.0, 0, 0]]])
    output = markups(scene, name="output")
    node, fixed = transform_node(scene, grid, smooth(grid)), fixed_volume(scene, grid)
    rows = propagateNodules(markups(scene, points), node, TO_FIXED, fixed, output)
    output.AddDefaultStorageNode()
    output.GetStorageNode().SetFileName(str(tmp_path / "output.mrk.json"))
    assert output.GetStorageNode().WriteData(output)
    again = markups(scene, name="again")
    assert output.GetStorageNode().ReadData(again)
    read = slicer.util.arrayFromMarkupsControlPointData
    np.testing.assert_allclose(read(again, RESIDUAL), [row.residual for row in rows], atol=1e-6)
    np.testing.assert_array_equal(read(again, INSIDE_FIELD), [row.insideField for row in rows])
    assert again.GetLocked()


def test_the_inputs_stay_as_they_were(scene):
    grid = GRIDS["oblique"]
    source = markups(scene, inner_points(grid))
    placed_under(scene, source)
    node, fixed = transform_node(scene, grid, smooth(grid)), fixed_volume(scene, grid)
    inputs = [source, source.GetDisplayNode(), source.GetParentTransformNode(), node, fixed]
    before = [one.GetMTime() for one in inputs], positions(source).copy()
    output = markups(scene, name="output")
    for direction in (TO_FIXED, TO_MOVING):
        propagateNodules(source, node, direction, fixed, output)
    assert [one.GetMTime() for one in inputs] == before[0]
    np.testing.assert_array_equal(positions(source), before[1])


def test_an_empty_list_gives_an_empty_list(scene):
    grid = GRIDS["oblique"]
    node, fixed = transform_node(scene, grid, smooth(grid)), fixed_volume(scene, grid)
    output = markups(scene, inner_points(grid, 2), name="output")
    assert propagateNodules(markups(scene), node, TO_FIXED, fixed, output) == []
    assert output.GetNumberOfControlPoints() == 0


def test_what_cannot_be_propagated_is_refused_and_nothing_changes(scene):
    grid = GRIDS["oblique"]
    points = inner_points(grid, 3)
    source, output = markups(scene, points), markups(scene, points + 1, name="output")
    node, fixed = transform_node(scene, grid, smooth(grid)), fixed_volume(scene, grid)
    with pytest.raises(InputError, match="direction 'sideways' is unknown"):
        propagateNodules(source, node, "sideways", fixed, output)
    with pytest.raises(InputError, match="would be overwritten"):
        propagateNodules(source, node, TO_FIXED, fixed, source)
    placed_under(scene, source)
    source.GetParentTransformNode().SetAndObserveTransformNodeID(node.GetID())
    with pytest.raises(InputError, match="stands under the transform 'T'"):
        propagateNodules(source, node, TO_FIXED, fixed, output)
    np.testing.assert_allclose(positions(output), points + 1)
    np.testing.assert_allclose(positions(source), points)
