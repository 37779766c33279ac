"""The review in the scene: rows, grades in constructed fields, saving, updates, views, sizes and matching."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

slicer = pytest.importorskip("slicer")
pytest.importorskip("slicer.util")
import vtk  # noqa: E402
from nodules_scene import PLACES, SHIFT, addPoints, gridAround, makeStudy, propagateNodules  # noqa: E402

from GLIDERegLib.core.errors import InputError  # noqa: E402
from GLIDERegLib.evaluation.nodules import REVIEW, UNKNOWN_RADIUS_MM  # noqa: E402
from GLIDERegLib.scene.mrml.arrays import gridTransform  # noqa: E402
from GLIDERegLib.scene.registration.pair import Pair  # noqa: E402
from GLIDERegLib.scene.registration.results import setDeformation  # noqa: E402
from GLIDERegLib.scene.review.judging import Judge, insideGrids, planUpdate  # noqa: E402
from GLIDERegLib.scene.review.matching import (  # noqa: E402
    MATCHED,
    OUTSIDE,
    describeMatching,
    matchLists,
)
from GLIDERegLib.scene.review.nodes import Review, setEditable, takeMoves  # noqa: E402
from GLIDERegLib.scene.review.nodules import SOURCE_ROLE  # noqa: E402
from GLIDERegLib.scene.review.sizes import daysBetween, grown, measureRows  # noqa: E402
from GLIDERegLib.scene.review.table import (  # noqa: E402
    ACCEPTED,
    CORRECTED,
    NOT_REVIEWED,
    UNSURE,
    describeRow,
    readRows,
    writeRows,
)
from GLIDERegLib.scene.views.review_views import showNodule  # noqa: E402


@pytest.fixture
def study(scene):
    return makeStudy(scene)


@pytest.fixture
def pair(study):
    return Pair(study.fixed, study.moving, study.transform)


def rowsOf(pair, **lists):
    return planUpdate(Judge(pair), lists, []).rows


def displace(node, shift):
    """Makes the transform propagate `shift` (RAS mm) further than the truth."""
    setDeformation(node, gridTransform(*gridAround(SHIFT + shift)))


# Rows


def test_a_row_has_both_places_and_what_the_field_says_of_them(pair, study):
    rows = rowsOf(pair, moving=study.movingNodules, fixed=study.fixedNodules)
    assert [(row.label, row.markedIn) for row in rows] == [
        *((name, "moving") for name in PLACES),
        *((name, "fixed") for name in "123"),
    ]
    for row, place in zip(rows, PLACES.values(), strict=False):
        np.testing.assert_allclose(row.fixed, place, atol=2e-3)
        np.testing.assert_allclose(row.moving, place + SHIFT, atol=2e-3)
        assert row.predicted == row.fixed
    for row in rows:
        assert row.displacement == pytest.approx(np.linalg.norm(SHIFT), abs=2e-3)
        assert row.expansionPercent == pytest.approx(100, abs=0.1)
        assert row.residual < 2e-3
        assert row.agreement > 0.99 and row.uncertainty == pytest.approx(1.25, abs=0.01)
        assert row.insideField == "yes"
        assert row.advice == row.reason == "" and row.status == NOT_REVIEWED


def test_expansion_is_the_volume_of_the_moving_over_that_of_the_fixed_scan(pair, study, scene):
    matrix = np.diag([1.2, 1.1, 0.9, 1.0])
    linear = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Stretch")
    linear.SetMatrixTransformFromParent(slicer.util.vtkMatrixFromArray(matrix))
    rows = rowsOf(replace(pair, transform=linear), fixed=study.fixedNodules)
    assert rows[2].moving == pytest.approx(np.multiply((50, 50, -20), (1.2, 1.1, 0.9)))
    assert [row.expansionPercent for row in rows] == pytest.approx([118.8] * 3, abs=0.01)


@pytest.mark.parametrize("kind", ["linear", "stored to parent", "composite", "below another"])
def test_any_transform_node_is_judged_by_its_from_world_direction(pair, study, scene, kind):
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", kind)
    if kind == "linear":
        matrix = np.eye(4)
        matrix[:3, 3] = SHIFT
        node.SetMatrixTransformFromParent(slicer.util.vtkMatrixFromArray(matrix))
    elif kind == "stored to parent":
        setDeformation(study.transform, gridTransform(*gridAround(-SHIFT)))
        node.SetAndObserveTransformToParent(study.transform.GetTransformFromParent())
    else:
        part = SHIFT * (1, 0, 0)
        setDeformation(study.transform, gridTransform(*gridAround(SHIFT - part)))
        matrix = np.eye(4)
        matrix[:3, 3] = part
        if kind == "composite":
            both = vtk.vtkGeneralTransform()
            both.PostMultiply()
            both.Concatenate(slicer.util.vtkMatrixFromArray(matrix))
            both.Concatenate(study.transform.GetTransformFromParent())
            node.SetAndObserveTransformFromParent(both)
        else:
            node.SetMatrixTransformFromParent(slicer.util.vtkMatrixFromArray(matrix))
            node.SetAndObserveTransformNodeID(study.transform.GetID())
    rows = rowsOf(replace(pair, transform=node), moving=study.movingNodules, fixed=study.fixedNodules)
    for row, place in zip(rows, PLACES.values(), strict=False):
        np.testing.assert_allclose(row.fixed, place, atol=5e-3)
    assert {row.advice for row in rows} == {""}


def test_a_moving_scan_under_the_transform_is_compared_as_it_was_before(pair, study):
    plain = rowsOf(pair, moving=study.movingNodules)
    study.moving.SetAndObserveTransformNodeID(study.transform.GetID())
    moved = rowsOf(pair, moving=study.movingNodules)
    assert [row.agreement for row in moved] == pytest.approx([row.agreement for row in plain], abs=0.01)
    study.movingNodules.SetAndObserveTransformNodeID(study.transform.GetID())
    with pytest.raises(InputError, match="stands under the transform"):
        rowsOf(pair, moving=study.movingNodules)


# Grades in constructed fields


def test_a_mapping_that_is_off_is_to_be_reviewed_and_says_how_far(pair, study):
    displace(study.transform, (0, 0, 5))
    for row in rowsOf(pair, fixed=study.fixedNodules):
        assert row.advice == REVIEW
        assert "the surroundings fit clearly better 5." in row.reason


def test_a_nodule_in_a_fold_is_to_be_reviewed_for_that(pair, study):
    vectors, grid = gridAround(SHIFT, count=41)
    x = -np.linspace(-100, 100, 41)
    # Around R = 0 the map turns back on itself.
    vectors[..., 0] += (8 * np.tanh(x / 4)).astype(np.float32)
    setDeformation(study.transform, gridTransform(vectors, grid))
    inner, outer = rowsOf(
        pair, fixed=addPoints(study.fixed.GetScene(), "F", {"in": (1, 0, 0), "out": (60, 0, 0)})
    )
    assert inner.advice == REVIEW and "folds" in inner.reason
    assert "folds" not in outer.reason


def test_where_the_inverse_misses_a_review_is_recommended(pair, study):
    vectors, grid = gridAround(SHIFT, count=41)
    x = -np.linspace(-100, 100, 41)
    vectors[..., 0] += (8 * np.tanh(x / 4)).astype(np.float32)
    setDeformation(study.transform, gridTransform(vectors, grid))
    points = {str(n): (n - 8.0, 0, 0) for n in range(17)}
    rows = rowsOf(pair, fixed=addPoints(study.fixed.GetScene(), "F", points))
    far = [row for row in rows if row.residual > 1]
    assert far and all("has no inverse here" in row.reason for row in far)
    assert all("no inverse" not in row.reason for row in rows if row.residual < 0.9)


def test_outside_the_fixed_scan_the_grid_or_the_moving_scan_is_to_be_reviewed(pair, study):
    scene = study.fixed.GetScene()
    points = {
        "in": (0, 0, 0),
        "beyond the scan": (0, 0, 85),
        "beyond the grid": (60, 0, 0),
        "gone": (0, -75, 0),
    }
    setDeformation(study.transform, gridTransform(*gridAround(SHIFT, halfWidth=40, count=9)))
    rows = rowsOf(pair, fixed=addPoints(scene, "F", points))
    assert [row.insideField for row in rows] == ["yes", "no", "no", "no"]
    assert all("outside the field" in row.reason and row.advice == REVIEW for row in rows[1:])
    setDeformation(study.transform, gridTransform(*gridAround((0, -20, 0))))
    [row] = rowsOf(pair, fixed=addPoints(scene, "F", {"gone": (0, -70, 0)}))
    assert "outside the moving scan" in row.reason and row.insideField == "no"
    assert row.insideMoving == "no" and "Outside the moving scan" in describeRow(row)


def test_each_grid_of_a_chain_must_reach_the_point():
    def grid(halfWidth, shift):
        from GLIDERegLib.scene.mrml.arrays import gridTransform

        return gridTransform(*gridAround(shift, halfWidth=halfWidth, count=5))

    def chain(*parts):
        general = vtk.vtkGeneralTransform()
        general.PostMultiply()
        for part in parts:
            general.Concatenate(part)
        return general

    there = chain(grid(50, (30, 0, 0)), grid(50, (0, 0, 0)))
    assert insideGrids(there, (0, 0, 0)) and insideGrids(there, (20, 0, 0))
    # The first reaches, but propagates beyond the second.
    assert not insideGrids(there, (40, 0, 0))
    assert insideGrids(there.GetInverse(), (40, 0, 0)) and not insideGrids(there.GetInverse(), (90, 0, 0))


@pytest.mark.parametrize("diameter", [0.0, 24.0])
def test_a_nodule_that_vanished_is_judged_by_what_is_around_it(pair, study, diameter):
    array = slicer.util.arrayFromVolume(study.moving)
    index = pair.movingIndex(np.array([SHIFT]))[0][::-1]
    offsets = np.stack(np.meshgrid(*[np.arange(n) for n in array.shape], indexing="ij"), axis=-1) - index
    # Its edge, between voxels, stays within the rim.
    array[np.linalg.norm(2.5 * offsets, axis=-1) < (diameter / 2 or UNKNOWN_RADIUS_MM) - 1.5] = 2000
    slicer.util.arrayFromVolumeModified(study.moving)
    judge = Judge(pair, {"moving": study.movingNodules})
    point, there = judge.propagate(study.movingNodules, "moving")[0], study.movingNodules
    row = judge.row(point, "moving", there.GetNthControlPointID(0), diameter=diameter)
    assert row.agreement > 0.99 and row.advice == "" and row.uncertainty < 1.5
    # What the reader measured counts at the next update.
    sized = replace(row, movingDiameter=diameter)
    assert planUpdate(judge, {"moving": there}, [sized]).rows[0].agreement == pytest.approx(row.agreement)


def test_what_nobody_marked_in_the_other_scan_need_not_look_like_it_there(pair, study):
    other = np.random.default_rng(9).normal(-600, 200, slicer.util.arrayFromVolume(study.fixed).shape)
    slicer.util.updateVolumeFromArray(study.fixed, other.astype(np.int16))
    review = Review(pair, {"moving": study.movingNodules, "fixed": study.fixedNodules})
    reasons = {row.label: row.reason for row in review.plan(None).rows}
    assert all(reasons.values())
    absent = {label: text for label, text in reasons.items() if "not marked in" in text}
    assert absent.keys() == {"b", "3"}
    assert "not marked in the fixed scan" in absent["b"] and "not marked in the moving scan" in absent["3"]
    # A reader who put it elsewhere has seen it.
    row = next(row for row in review.plan(None).rows if row.label == "b")
    assert "not marked" not in review.judge().moved(row, tuple(np.add(row.fixed, 4))).reason
    assert "not marked" in review.judge().moved(row, row.predicted).reason


# The table


def test_rows_come_back_from_a_saved_table_with_awkward_words(pair, study, tmp_path, scene):
    rows = rowsOf(pair, moving=study.movingNodules, fixed=study.fixedNodules)
    rows[0] = replace(rows[0], comment='a\t"tab", a quote; ü, 8 % < 9\nnext line', status=UNSURE, label="")
    rows[1] = replace(rows[1], comment="007", fixedDiameter=6.25, fixedDiameterFrom="typed", label="1")
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "Nodule review")
    writeRows(table, rows)
    storage = slicer.vtkMRMLTableStorageNode()
    scene.AddNode(storage)
    table.SetAndObserveStorageNodeID(storage.GetID())
    storage.SetFileName(str(tmp_path / "review.tsv"))
    assert storage.WriteData(table)
    table.SetAndObserveTable(vtk.vtkTable())
    assert readRows(table) == []
    assert storage.ReadData(table)
    read = readRows(table)
    assert read[0].comment == "a 'tab', a quote; ü, 8 % < 9 next line" and read[1].comment == "007"
    for before, after in zip(rows, read, strict=True):
        for name in ("fixed", "moving", "predicted"):
            np.testing.assert_allclose(getattr(after, name), getattr(before, name), atol=1e-3)
        assert (
            replace(
                after,
                **{
                    name: getattr(before, name)
                    for name in (
                        *("fixed", "moving", "predicted", "displacement", "expansionPercent", "residual"),
                        *("agreement", "uncertainty", "comment"),
                    )
                },
            )
            == before
        )


def test_a_table_of_version_0_1_0_keeps_its_decisions(pair, study, scene):
    rows = rowsOf(pair, moving=study.movingNodules)
    rows[1] = replace(rows[1], status=ACCEPTED, comment="solid", reason="agree within 2.0 mm")
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "Nodule review")
    writeRows(table, rows)
    old = {
        "Expansion of the tissue around, moving/fixed (%)": "Local volume moving/fixed (%)",
        "Position uncertainty (± mm, 95 %)": "Expected error (mm)",
        "Advice": "Reliability",
    }
    for new, name in old.items():
        table.GetTable().GetColumnByName(new).SetName(name)
    read = readRows(table)
    assert [(row.status, row.comment) for row in read] == [(r.status, r.comment) for r in rows]
    # What was called an expected error was ten times too small.
    assert read[1].uncertainty == 0 and "position uncertainty unknown" in describeRow(read[1])


# Updates


@pytest.fixture
def reviewed(pair, study, scene):
    """A review that has been applied: review, table, and the propagated list in the fixed scan."""
    review = Review(pair, {"moving": study.movingNodules})
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "Nodule review")
    propagated = review.propagatedList("moving", None)
    review.apply(review.plan(table).merged(True), table, {"moving": propagated})
    return review, table, propagated


def decide(table, n, **changes):
    rows = readRows(table)
    rows[n] = replace(rows[n], **changes)
    writeRows(table, rows)


def test_the_propagated_list_is_new_locked_and_at_the_predictions(reviewed, study):
    review, table, propagated = reviewed
    assert propagated not in (study.movingNodules, study.fixedNodules) and propagated.GetLocked()
    found = slicer.util.arrayFromMarkupsControlPoints(propagated, world=True)
    np.testing.assert_allclose(found, list(PLACES.values()), atol=2e-3)
    assert review.propagatedList("moving", propagated) is propagated
    assert review.propagatedList("moving", study.fixedNodules) is not study.fixedNodules


def test_decisions_stay_silently_where_the_nodule_moved_less_than_a_millimetre(reviewed, study):
    review, table, _ = reviewed
    decide(table, 1, status=ACCEPTED, comment="solid")
    displace(study.transform, (0.6, 0, 0))
    assert review.isStale(table)
    update = review.plan(table)
    assert update.moved == [] and update.lost == []
    rows = update.merged(True)
    assert [row.status for row in rows] == [NOT_REVIEWED, ACCEPTED, NOT_REVIEWED]
    assert rows[1].comment == "solid"
    assert rows[1].fixed == pytest.approx(np.array(PLACES["b"]) - (0.6, 0, 0), abs=2e-3)


def test_decisions_that_moved_further_are_named_and_kept_or_taken_back(reviewed, study):
    review, table, _ = reviewed
    decide(table, 0, status=UNSURE, comment="look again")
    displace(study.transform, (1.5, 0, 0))
    before = readRows(table)
    update = review.plan(table)
    # Of those without a decision nothing can be lost.
    assert update.moved == ["a"]
    assert [row.status for row in update.merged(True)] == [UNSURE, NOT_REVIEWED, NOT_REVIEWED]
    assert [row.status for row in update.merged(False)] == [NOT_REVIEWED] * 3
    assert update.merged(False)[0].comment == "look again"
    assert readRows(table) == before


def test_a_decided_nodule_whose_mark_is_gone_is_named(reviewed, study):
    review, table, _ = reviewed
    decide(table, 1, comment="solid")
    study.movingNodules.RemoveNthControlPoint(1)
    study.movingNodules.SetNthControlPointLabel(1, "renamed")
    update = review.plan(table)
    assert update.lost == ["b"]
    assert [row.label for row in update.merged(True)] == ["a", "renamed"]


def test_points_of_another_list_do_not_inherit_decisions(reviewed, study):
    review, table, _ = reviewed
    decide(table, 0, status=ACCEPTED)
    other = addPoints(study.fixed.GetScene(), "Other", {k: np.add(v, SHIFT) for k, v in PLACES.items()})
    update = replace(review, lists={"moving": other}).plan(table)
    assert update.lost == ["a"]
    assert {row.status for row in update.merged(True)} == {NOT_REVIEWED}


def test_a_dragged_point_is_corrected_and_keeps_its_prediction(reviewed, study):
    review, table, propagated = reviewed
    setEditable(propagated, True)
    assert not propagated.GetLocked()
    propagated.SetNthControlPointPositionWorld(1, 25.0, -30.0, 16.0)
    rows = takeMoves(Judge(review.pair), readRows(table), propagated, "moving")
    assert [row.status for row in rows] == [NOT_REVIEWED, CORRECTED, NOT_REVIEWED]
    row = rows[1]
    assert row.fixed == (25, -30, 16) and row.predicted == pytest.approx(PLACES["b"], abs=2e-3)
    assert row.correction == pytest.approx(4, abs=2e-3)
    assert row.displacement == pytest.approx(np.linalg.norm(SHIFT - (0, 0, 4)), abs=2e-3)
    # The images say that the prediction was right.
    assert row.agreement < 0.9 and "fit clearly better 3.8 mm away" in row.reason


def test_a_correction_survives_an_update_even_when_accepted_since(reviewed, study):
    review, table, propagated = reviewed
    place = np.array(PLACES["c"], float) + (0, 3, 0)
    moving = readRows(table)[2].moving
    decide(table, 2, fixed=tuple(place), status=ACCEPTED)
    displace(study.transform, (0.5, 0, 0))
    rows = review.plan(table).merged(True)
    assert rows[2].status == ACCEPTED and rows[2].isCorrected
    assert rows[2].fixed == pytest.approx(place) and rows[2].moving == pytest.approx(moving)
    assert rows[2].predicted == pytest.approx(np.array(PLACES["c"]) - (0.5, 0, 0), abs=2e-3)
    review.apply(rows, table, {"moving": propagated})
    assert propagated.GetNthControlPointPositionWorld(2) == pytest.approx(place)
    # Not kept: back at the prediction.
    displace(study.transform, (3, 0, 0))
    assert not review.plan(table).merged(False)[2].isCorrected


def test_carrying_the_nodules_again_does_not_touch_the_table(reviewed, study):
    review, table, propagated = reviewed
    decide(table, 0, fixed=(0.0, 0.0, 4.0), status=CORRECTED)
    propagateNodules(study.movingNodules, study.transform, "moving-to-fixed", study.fixed, propagated)
    assert readRows(table)[0].fixed == (0, 0, 4)
    review.apply(review.plan(table).merged(True), table, {"moving": propagated})
    assert propagated.GetNthControlPointPositionWorld(0) == pytest.approx((0, 0, 4))


# Views


@pytest.fixture
def addView(a_slicer_app, scene):
    """Function that adds a slice view, 500 x 300 pixels; the scene keeps none, which clearing it would."""
    logics = []

    def add(name, orientation="Axial", volume=None):
        logic = slicer.vtkMRMLSliceLogic()
        logics.append(logic)
        logic.SetMRMLApplicationLogic(a_slicer_app)
        logic.SetMRMLScene(scene)
        node = logic.AddSliceNode(name)
        node.SetOrientation(orientation)
        logic.ResizeSliceNode(500, 300)
        logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID() if volume else None)
        return node

    yield add
    for logic in logics:
        node, composite = logic.GetSliceNode(), logic.GetSliceCompositeNode()
        logic.SetMRMLScene(None)
        scene.RemoveNode(composite)
        scene.RemoveNode(node)


def middleOf(view):
    return view.GetXYToRAS().MultiplyPoint((249.5, 149.5, 0, 1))[:3]


def test_every_view_is_centred_on_the_nodule_in_the_scan_it_shows(pair, study, addView, scene):
    views = {
        name: addView(name, orientation, volume)
        for name, orientation, volume in (
            ("Red", "Axial", study.fixed),
            ("Yellow", "Sagittal", study.moving),
            ("Green", "Coronal", None),
            ("GLIDERegMovingAxial", "Axial", study.fixed),
        )
    }
    for view in views.values():
        view.SetXYZOrigin(30, -20, 0)
    camera = scene.AddNewNodeByClass("vtkMRMLCameraNode")
    camera.SetPosition(0, 500, 0)
    fixedPoint, movingPoint = (25.0, -30.0, 12.0), (33.0, -35.0, 15.0)
    atMoving = {"Yellow", "GLIDERegMovingAxial"}
    for deformed in (False, True):
        study.moving.SetAndObserveTransformNodeID(study.transform.GetID() if deformed else None)
        showNodule(fixedPoint, movingPoint, pair)
        expected = atMoving - {"Yellow"} if deformed else atMoving
        for name, view in views.items():
            place = movingPoint if name in expected else fixedPoint
            assert np.linalg.norm(np.subtract(middleOf(view), place)) < 0.3, name
            assert view.GetFieldOfView()[:2] == pytest.approx((80 * 500 / 300, 80))
    assert camera.GetFocalPoint() == fixedPoint and camera.GetPosition() == (25, 470, 12)


def test_synchronised_reading_follows_to_the_nodule(pair, study, addView, scene):
    from GLIDERegLib.scene.views.crosshair import SynchronizedReading

    crosshair = scene.AddNewNodeByClass("vtkMRMLCrosshairNode")
    fixedView, movingView = addView("GLIDERegFixedAxial"), addView("GLIDERegMovingAxial")
    reading = SynchronizedReading(pair, [fixedView], [movingView])
    reading.moveTo((0, 0, 0), inMoving=False)
    row = rowsOf(pair, moving=study.movingNodules)[1]
    # As if the reader had worked in the moving scan before.
    crosshair.SetCursorPositionXYZ((0.0, 0.0, 0.0), movingView)
    showNodule(row.fixed, row.moving, pair)
    assert reading.position.fixed == pytest.approx(row.fixed, abs=5e-3)
    for view, place in ((fixedView, row.fixed), (movingView, row.moving)):
        assert np.linalg.norm(np.subtract(middleOf(view), place)) < 0.3
    reading.close()


@pytest.mark.parametrize("markedIn", ["moving", "fixed"])
def test_synchronised_reading_is_at_the_corrected_place_in_both_scans(pair, study, addView, scene, markedIn):
    from GLIDERegLib.scene.views.crosshair import SynchronizedReading

    scene.AddNewNodeByClass("vtkMRMLCrosshairNode")
    views = {
        column: [
            addView(f"GLIDEReg{column}{orientation}", orientation)
            for orientation in ("Axial", "Coronal", "Sagittal")
        ]
        for column in ("Moving", "Fixed")
    }
    reading = SynchronizedReading(pair, views["Fixed"], views["Moving"])
    rows = rowsOf(pair, **{markedIn: getattr(study, f"{markedIn}Nodules")})
    row = Judge(pair).moved(rows[1], tuple(np.add(rows[1].counterpart, (7.0, -6.0, 5.0))))
    assert row.isCorrected
    for _ in range(2):
        showNodule(row.fixed, row.moving, pair)
        assert reading.position.fixed == pytest.approx(row.fixed, abs=1e-6)
        assert reading.position.moving == pytest.approx(row.moving, abs=1e-6)
        for column, place in (("Fixed", row.fixed), ("Moving", row.moving)):
            for view in views[column]:
                assert np.linalg.norm(np.subtract(middleOf(view), place)) < 0.3, column
    # The reader goes on by hand: from there on the transform leads.
    reading.moveTo((0, 0, 0), inMoving=False)
    assert np.linalg.norm(np.subtract(reading.position.moving, SHIFT)) < 0.1
    reading.close()


# Sizes


def addLine(scene, one, other, volume=None):
    line = scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", "L")
    for n, end in enumerate((one, other)):
        line.AddControlPoint([float(c) for c in end])
        line.SetNthControlPointAssociatedNodeID(n, volume.GetID() if volume else "")
    return line


def addSegment(scene, volume, name, radius):
    """A ball in the middle of the volume, as a segment drawn on it; returns its volume in mm3."""
    from vtk.util.numpy_support import vtk_to_numpy

    size = volume.GetImageData().GetDimensions()
    middle = (np.array(size) - 1) / 2
    k, j, i = np.indices(size[::-1])
    ball = (i - middle[0]) ** 2 + (j - middle[1]) ** 2 + (k - middle[2]) ** 2 < radius**2
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(size)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = ball.ravel()
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    image.SetImageToWorldMatrix(matrix)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "S")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.AddSegmentFromBinaryLabelmapRepresentation(image, name)
    return ball.sum() * np.prod(volume.GetSpacing())


def test_lines_measure_the_nodule_they_cross_in_the_scan_they_were_drawn_in(pair, study, scene):
    rows = rowsOf(pair, moving=study.movingNodules)
    b = np.array(PLACES["b"])
    addLine(scene, b - (4, 0, 0), b + (4, 0, 0))
    addLine(scene, b + SHIFT - (0, 3, 0), b + SHIFT + (0, 3, 0))
    # Where Slicer noted the scan, that decides: both lie at the fixed place of "c".
    c = np.array(PLACES["c"]) + SHIFT / 2
    addLine(scene, c - (9, 0, 0), c + (9, 0, 0), study.moving)
    addLine(scene, (0, 0, 40), (0, 0, 46))
    a, b, c = measureRows(rows, pair, 180)
    assert (b.fixedDiameter, b.movingDiameter) == pytest.approx((8, 6))
    assert b.fixedDiameterFrom == b.movingDiameterFrom == "line"
    assert "diameter +2.0 mm (95 % +0.1 to +3.9 mm, two readers)" in b.growth
    assert "volume doubling time 145 days (95 % 83 to " in b.growth and "25 %" not in b.growth
    assert b.doublingDays == "145"
    assert (c.fixedDiameter, c.movingDiameter) == pytest.approx((0, 18)) and c.growth == ""
    assert a.fixedDiameter == a.movingDiameter == 0


def test_segments_of_a_nodule_s_name_give_its_volume_and_typed_sizes_come_first(pair, study, scene):
    rows = rowsOf(pair, moving=study.movingNodules)
    volumes = [addSegment(scene, study.fixed, "A", 5), addSegment(scene, study.moving, "a", 4)]
    a, _, _ = measureRows(rows, pair, None)
    assert [np.pi / 6 * d**3 for d in (a.fixedDiameter, a.movingDiameter)] == pytest.approx(volumes)
    assert a.fixedDiameterFrom == "segment"
    rows[0] = replace(rows[0], fixedDiameter=9.0, fixedDiameterFrom="typed")
    a, _, _ = measureRows(rows, pair, None)
    assert a.fixedDiameter == 9 and a.movingDiameterFrom == "segment"
    # A typed diameter and a segment's volume are no growth.
    assert "cannot be compared" in a.growth and a.doublingDays == ""


def test_only_volumes_segmented_in_both_scans_meet_the_rule_for_volumes(pair, study, scene):
    for volume, radius in ((study.fixed, 6), (study.moving, 4)):
        addSegment(scene, volume, "a", radius)
    a, _, _ = measureRows(rowsOf(pair, moving=study.movingNodules), pair, 180)
    assert a.growth.startswith("volume +") and "25 %" in a.growth and "Lung-RADS" not in a.growth


@pytest.mark.parametrize("propagated", ["bent by a transform", "propagated from another list"])
def test_a_segment_that_came_through_the_field_is_no_measurement(pair, study, scene, propagated):
    addSegment(scene, study.fixed, "a", 5)
    addSegment(scene, study.moving, "a", 4)
    node = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    if propagated == "bent by a transform":
        node.SetAndObserveTransformNodeID(study.transform.GetID())
    else:
        node.SetNodeReferenceID(SOURCE_ROLE, study.moving.GetID())
    a, _, _ = measureRows(rowsOf(pair, moving=study.movingNodules), pair, 180)
    assert a.fixedDiameter == 0 and a.fixedDiameterFrom == "" and a.doublingDays == ""
    assert "no measurement" in a.growth


def test_growth_runs_from_the_earlier_to_the_later_scan(pair, study):
    row = replace(rowsOf(pair, moving=study.movingNodules)[0], fixedDiameter=8.0, movingDiameter=6.0)
    assert "+2.0 mm" in grown(row, 100).growth
    assert "-2.0 mm" in grown(row, -100).growth and "shrinking" in grown(row, -100).growth
    assert "diameter -0.3 mm" in grown(replace(row, fixedDiameter=5.7), 100).growth
    assert grown(row, None).doublingDays == ""


def test_the_time_between_comes_from_the_study_dates(pair, study, scene):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    assert daysBetween(pair) is None
    constants = slicer.vtkMRMLSubjectHierarchyConstants
    for volume, date in ((study.fixed, "20240310"), (study.moving, "20230310")):
        visit = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), date)
        hierarchy.SetItemAttribute(visit, constants.GetDICOMStudyDateAttributeName(), date)
        item = hierarchy.GetItemByDataNode(volume) or hierarchy.CreateItem(visit, volume)
        hierarchy.SetItemParent(item, visit)
    assert daysBetween(pair) == 366


# Two lists


def test_two_lists_are_matched_whatever_their_names(pair, study):
    rows = rowsOf(pair, moving=study.movingNodules, fixed=study.fixedNodules)
    matching = matchLists(rows, 10)
    assert matching.lines == [
        (MATCHED, "1", "c", "1.0"),
        (MATCHED, "2", "a", "1.0"),
        ("not marked in the moving scan", "3", "", ""),
        ("not marked in the fixed scan", "", "b", ""),
    ]
    assert matching.centres is None
    words = describeMatching(matching)
    assert words == "2 matched, 1 not marked in the moving scan, 1 not marked in the fixed scan."
    names = {"fixed": "current (2024-03-10)", "moving": "prior (2023-03-10)"}
    verdicts = [line[0] for line in matchLists(rows, 10, names).lines[2:]]
    assert verdicts == ["not marked in the prior (2023-03-10)", "not marked in the current (2024-03-10)"]
    assert matchLists(rows, 0.5).count(MATCHED) == 0


def test_what_the_other_scan_does_not_show_is_neither_new_nor_gone(pair, study):
    far = addPoints(study.fixed.GetScene(), "Far", {"x": SHIFT + (0, 0, 200)})
    [line] = matchLists(rowsOf(pair, moving=far), 10).lines
    assert line == (OUTSIDE, "", "x", "")


def test_a_corrected_nodule_is_matched_where_it_was_corrected_to(pair, study):
    rows = rowsOf(pair, moving=study.movingNodules, fixed=study.fixedNodules)
    rows[1] = replace(rows[1], fixed=(50.0, 50.0, -22.0), status=CORRECTED)
    assert (MATCHED, "3", "b", "2.0") in matchLists(rows, 10).lines


def test_centres_of_the_same_labels_are_compared(pair, study):
    scene = study.fixed.GetScene()
    seen = addPoints(scene, "Seen", {"a": (0, 0, 3), "b": (25, -30, 20), "c": (0, 0, 90), "d": (1, 1, 1)})
    matching = matchLists(rowsOf(pair, moving=study.movingNodules, fixed=seen), 10)
    assert matching.compared == 3
    assert matching.centres == pytest.approx({5: 1 / 3, 10: 2 / 3})
    assert "33 % within 5 mm and 67 % within 10 mm" in describeMatching(matching)
