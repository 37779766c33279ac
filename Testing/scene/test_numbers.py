"""The numbers of a check, against known answers and against SimpleITK."""

from __future__ import annotations

import numpy as np
import pytest

SHAPE = (30, 36, 40)
MATRIX = np.diag([2.0, 2.0, 2.0, 1.0])


@pytest.fixture
def scans(addVolume):
    rng = np.random.default_rng(0)
    return tuple(
        addVolume(rng.integers(0, 200, SHAPE).astype(np.int16), MATRIX, name) for name in ("Fixed", "Moving")
    )


@pytest.fixture
def shifted(scans, addLinear):
    """A pair whose fixed points lead 8 mm to the left of the moving scan's array, (-8, 0, 0) mm."""
    from GLIDERegLib.scene.registration.pair import makePair

    shift = np.eye(4)
    shift[0, 3] = 8
    return makePair(*scans, addLinear(shift))


@pytest.fixture
def addSegments(scene):
    """Function that adds a segmentation of arrays (z, y, x) by name, on a grid from index to RAS mm."""
    from check_scene import makeSegments

    def add(arrays: dict, matrix=MATRIX):
        return makeSegments(scene, "Structures", arrays, matrix)

    return add


@pytest.fixture
def addPoints(scene):
    def add(points: dict, name="Landmarks"):
        node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
        for label, point in points.items():
            node.AddControlPoint(point, label.rstrip("'"))
        return node

    return add


def box(low, high):
    array = np.zeros(SHAPE, np.uint8)
    array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 1
    return array


def values(rows):
    return {row.quantity: row.value for row in rows}


def test_percentiles_are_those_of_the_samples_of_the_region(scans, addWarp):
    from GLIDERegLib.scene.quality.measures import measure
    from GLIDERegLib.scene.quality.numbers import fieldRows
    from GLIDERegLib.scene.registration.pair import makePair

    found = measure(makePair(*scans, addWarp()))
    inside = found.displacement > np.median(found.displacement)
    found.jacobian[np.unravel_index(np.flatnonzero(inside)[:7], inside.shape)] = -0.5
    rows = fieldRows(found, "here", inside)
    number = values(rows)
    for title, array in (
        ("Displacement", found.displacement),
        ("Jacobian determinant", found.jacobian),
    ):
        expected = np.percentile(array[inside], (5, 50, 95, 99))
        names = ("5 %", "median", "95 %", "99 %")
        assert [number[f"{title}, {name}"] for name in names] == pytest.approx(expected)
        assert number[f"{title}, maximum"] == array[inside].max()
    assert number["Jacobian determinant, minimum"] == -0.5
    assert all(row.region == "here" and row.unit for row in rows)


def test_inverse_consistency_is_told_of_two_independent_transforms_only_and_folding_never(scans, addLinear):
    from GLIDERegLib.scene.quality.measures import measure
    from GLIDERegLib.scene.quality.numbers import fieldRows
    from GLIDERegLib.scene.registration.pair import makePair

    there, back = addLinear(np.eye(4)), addLinear(np.eye(4))
    for way in (None, back):
        found = measure(makePair(*scans, there, way))
        rows = {row.quantity: row for row in fieldRows(found, "body", found.body)}
        assert ("Inverse consistency error, median" in rows) == (way is not None)
        assert not [name for name in rows if "fold" in name.lower()]
    assert "2 to 3 mm" in rows["Inverse consistency error, median"].usual
    assert rows["Inverse consistency error, median"].source


def test_similarity_rises_where_the_transform_is_right(addVolume, addLinear):
    from GLIDERegLib.scene.quality.measures import measure
    from GLIDERegLib.scene.quality.numbers import fieldRows
    from GLIDERegLib.scene.registration.pair import makePair

    voxels = np.random.default_rng(0).integers(0, 200, SHAPE).astype(np.int16)
    shift = np.eye(4)
    shift[0, 3] = 8
    fixed = addVolume(voxels, MATRIX, "Fixed")
    moving = addVolume(voxels, np.linalg.inv(shift) @ MATRIX, "Moving")
    found = measure(makePair(fixed, moving, addLinear(shift)))
    number = values(fieldRows(found, "body", found.body))
    assert number["Correlation of intensities, after"] == pytest.approx(1, abs=1e-5)
    assert abs(number["Correlation of intensities, before"]) < 0.1
    assert (
        number["Mutual information of intensities, after"]
        > 2 * number["Mutual information of intensities, before"]
    )


def test_a_region_is_a_segment_or_all_of_them_wherever_the_segmentation_stands(
    shifted, addSegments, addLinear, rotation
):
    from GLIDERegLib.scene.quality.measures import measure
    from GLIDERegLib.scene.quality.numbers import insideOf

    found = measure(shifted)
    # What is left of i = 20 and right of it; a sample is two voxels wide.
    left, right = box((0, 0, 0), (30, 36, 20)), box((0, 0, 20), (30, 36, 40))
    parent = addLinear(rotation)
    node = addSegments({"Left": left, "Right": right}, np.linalg.inv(rotation) @ MATRIX)
    node.SetAndObserveTransformNodeID(parent.GetID())
    name, inside = insideOf(found, node, node.GetSegmentation().GetSegmentIdBySegmentName("Left"))
    i = found.sampling.index()[:, 0].reshape(inside.shape)
    assert name == "Left" and (inside == (i < 19.5)).all()
    name, inside = insideOf(found, node)
    assert name == "Structures" and inside.all()


def test_a_region_beside_the_fixed_scan_is_refused(shifted, addSegments):
    from GLIDERegLib.core.errors import InputError
    from GLIDERegLib.scene.quality.measures import measure
    from GLIDERegLib.scene.quality.numbers import fieldRows, insideOf

    away = MATRIX.copy()
    away[:3, 3] = 1000
    found = measure(shifted)
    region = insideOf(found, addSegments({"Away": box((0, 0, 0), (5, 5, 5))}, away))
    with pytest.raises(InputError, match="no sample of the fixed scan"):
        fieldRows(found, *region)


def test_dice_is_that_of_the_warped_structure_as_simpleitk_counts_it(shifted, addSegments):
    import SimpleITK as sitk

    from GLIDERegLib.scene.quality.numbers import overlapRows

    ball = (
        np.sum((np.indices(SHAPE) - np.array([15, 18, 20]).reshape(3, 1, 1, 1)) ** 2, axis=0) < 90
    ).astype(np.uint8)
    # The true place would be 4 voxels lower; this one is 1 off.
    there = np.roll(ball, -3, axis=2)
    fixed = addSegments({"Lobe": ball, "Alone": ball})
    moving = addSegments({"Lobe": there, "Other": ball})
    rows = overlapRows(shifted, fixed, moving)
    assert [(row.quantity, row.region) for row in rows] == [
        ("Dice overlap, before", "Lobe"),
        ("Dice overlap, after", "Lobe"),
    ]
    for row, warped in zip(rows, (there, np.roll(there, 4, axis=2)), strict=True):
        measure = sitk.LabelOverlapMeasuresImageFilter()
        measure.Execute(sitk.GetImageFromArray(ball), sitk.GetImageFromArray(warped))
        assert row.value == pytest.approx(measure.GetDiceCoefficient(), abs=0.01)
    assert rows[1].value > rows[0].value + 0.1


def test_the_error_at_landmarks_is_that_of_points_labelled_alike(shifted, addPoints):
    from GLIDERegLib.scene.quality.numbers import landmarkRows

    fixed = addPoints({"a": (10, 10, 10), "b": (20, 10, 10), "twice": (0, 0, 0), "twice'": (1, 1, 1)})
    moving = addPoints({"b": (12, 10, 14), "a": (2, 13, 10), "twice": (5, 5, 5), "new": (0, 0, 0)})
    rows, told = landmarkRows(shifted, fixed, moving)
    number = values(rows)
    assert any("more than once" in text and "twice" in text for text in told)
    assert "1 moving point has no partner of the same label and was left out: new." in told
    assert number["Landmark error, mean, after"] == pytest.approx(3.5)
    assert number["Landmark error, maximum, after"] == pytest.approx(4.0)
    assert number["Landmark error, mean, before"] == pytest.approx((np.hypot(8, 3) + np.hypot(8, 4)) / 2)


def test_moving_landmarks_and_structures_under_the_transform_count_where_they_lie_without_it(
    shifted, addPoints, addSegments
):
    from GLIDERegLib.scene.quality.numbers import landmarkRows, overlapRows

    fixed, moving = addPoints({"a": (10, 10, 10)}), addPoints({"a": (2, 10, 10)})
    cube, there = box((10, 10, 12), (20, 20, 22)), box((10, 10, 8), (20, 20, 18))
    drawn, propagated = addSegments({"Cube": cube}), addSegments({"Cube": there})
    for node in (moving, propagated):
        node.SetAndObserveTransformNodeID(shifted.transform.GetID())
    assert values(landmarkRows(shifted, fixed, moving)[0])["Landmark error, mean, after"] == pytest.approx(0)
    assert values(overlapRows(shifted, drawn, propagated))["Dice overlap, after"] == pytest.approx(1)


def test_nothing_in_common_is_refused_with_a_remedy(shifted, addPoints, addSegments):
    from GLIDERegLib.core.errors import InputError
    from GLIDERegLib.scene.quality.numbers import landmarkRows, overlapRows

    cube = box((1, 1, 1), (9, 9, 9))
    with pytest.raises(InputError, match="share no label"):
        landmarkRows(shifted, addPoints({"a": (0, 0, 0)}), addPoints({"b": (0, 0, 0)}))
    with pytest.raises(InputError, match="name the same structure alike"):
        overlapRows(shifted, addSegments({"a": cube}), addSegments({"b": cube}))


def test_the_table_says_unit_usual_value_and_source_of_each_number(shifted, scene, addPoints):
    from GLIDERegLib.scene.quality.measures import measure
    from GLIDERegLib.scene.quality.numbers import COLUMNS, fieldRows, fillTable, landmarkRows

    found = measure(shifted)
    points = addPoints({"a": (10, 10, 10)})
    rows = fieldRows(found, "body", found.body) + landmarkRows(shifted, points, points)[0]
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", "Numbers")
    for _ in range(2):
        fillTable(node, rows, shifted, found)
    table = node.GetTable()
    assert [table.GetColumnName(n) for n in range(table.GetNumberOfColumns())] == list(COLUMNS)
    assert table.GetNumberOfRows() == len(rows)
    cells = {
        table.GetValue(n, 0).ToString(): [table.GetValue(n, c).ToString() for c in range(1, 6)]
        for n in range(len(rows))
    }
    error = cells["Landmark error, mean, after"]
    assert (
        float(error[1]) == pytest.approx(8)
        and error[2] == "mm"
        and error[3].startswith("none for one patient")
    )
    assert error[4] == "" and "10.1002/mp.12256" in cells["Jacobian determinant, minimum"][4]
    assert cells["Displacement, median"][3].startswith("none")
    assert (
        "4.0 x 4.0 x 4.0 mm" in node.GetDescription() and "not a diagnostic device" in node.GetDescription()
    )


def test_no_number_changes_the_users_nodes(shifted, addSegments, addPoints):
    from GLIDERegLib.scene.quality.measures import measure
    from GLIDERegLib.scene.quality.numbers import insideOf, landmarkRows, overlapRows

    segments, points = addSegments({"a": box((1, 1, 1), (9, 9, 9))}), addPoints({"a": (0, 0, 0)})
    nodes = (shifted.fixed, shifted.moving, shifted.transform, segments, points)
    before = [node.GetMTime() for node in nodes], segments.GetSegmentation().GetMTime()
    insideOf(measure(shifted), segments)
    overlapRows(shifted, segments, segments)
    landmarkRows(shifted, points, points)
    assert ([node.GetMTime() for node in nodes], segments.GetSegmentation().GetMTime()) == before


@pytest.mark.parametrize(
    ("there", "paired", "told"),
    [
        (("b", "a"), ["a", "b"], ""),
        (("b", "a", "new"), ["a", "b"], "new"),
        (("b", "gone"), ["b"], "a"),
    ],
)
def test_points_to_correct_by_pair_by_label_and_what_is_left_out_is_told(addPoints, there, paired, told):
    from GLIDERegLib.scene.registration.request import correspondingPoints

    places = {"a": (1, 0, 0), "b": (2, 0, 0), "new": (3, 0, 0), "gone": (4, 0, 0)}
    fixed = addPoints({label: places[label] for label in ("a", "b")})
    moving = addPoints({label: np.add(places[label], (0, 5, 0)) for label in there})
    here, goal, notes = correspondingPoints(fixed, moving)
    assert here.tolist() == [list(map(float, places[label])) for label in paired]
    assert np.allclose(goal - here, (0, 5, 0))
    assert told in " ".join(notes) and bool(notes) == bool(told)
