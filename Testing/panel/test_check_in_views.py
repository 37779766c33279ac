"""What the check shows, in Slicer's own slice views: pixels at known places."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

SIZE = 300
SHAPE = (40, 90, 120)
TURN = np.radians(20)
# Index to RAS mm: oblique and anisotropic, the middle at the origin.
OBLIQUE = np.diag([1.5, 2.0, 2.5, 1.0])
OBLIQUE[:2, :2] = np.array([[np.cos(TURN), -np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]]) @ OBLIQUE[:2, :2]
OBLIQUE[:3, 3] = -OBLIQUE[:3, :3] @ [60, 45, 16]


@pytest.fixture
def studied(slicerHost):
    """Function that makes a pair whose grid transform has displacements of a function of world points (N,
    3), RAS mm, on nodes 5 mm apart; the scans are even, and oblique, the moving one under a linear
    transform too.
    """
    import slicer

    from GLIDERegLib.scene.mrml.arrays import gridTransform
    from GLIDERegLib.scene.registration.pair import makePair

    def make(displacement, fixedGrey=-500, movingGrey=-500):
        bed = np.eye(4)
        bed[:3, 3] = [15, -25, 35]
        placement = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Bed")
        placement.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(bed))
        fixed = addEven(fixedGrey, OBLIQUE, "Fixed")
        moving = addEven(movingGrey, np.linalg.inv(bed) @ OBLIQUE, "Moving")
        moving.SetAndObserveTransformNodeID(placement.GetID())
        axis = np.arange(-150, 151, 5.0)
        z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
        # The grid is LPS: its x and y run the other way.
        ras = np.stack([-x, -y, z], axis=-1).reshape(-1, 3)
        vectors = displacement(ras).reshape(*x.shape, 3) * (-1, -1, 1)
        grid = {
            "size": [61] * 3,
            "spacing": [5.0] * 3,
            "origin": [-150.0] * 3,
            "direction": np.eye(3).ravel().tolist(),
        }
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", "Registered")
        transform.SetAndObserveTransformFromParent(gridTransform(vectors.astype(np.float32), grid))
        return makePair(fixed, moving, transform)

    return make


def addEven(grey: int, ijkToRas, name: str):
    import slicer

    voxels = np.full(SHAPE, grey, np.int16)
    node = slicer.util.addVolumeFromArray(voxels, ijkToRAS=ijkToRas, name=name)
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevel(1000, -500)
    return node


def bump(points, middle=(0.0, 0.0, 0.0), height=(12.0, 0.0, 0.0), width=20.0):
    distance = np.sum((points - np.asarray(middle)) ** 2, axis=-1, keepdims=True)
    return np.asarray(height) * np.exp(-distance / (2 * width**2))


@pytest.fixture
def red(slicerHost):
    import slicer

    view = slicer.app.layoutManager().sliceWidget("Red")
    view.resize(SIZE, SIZE)
    view.mrmlSliceNode().SetOrientation("Axial")
    view.mrmlSliceNode().SetFieldOfView(120, 120, 1)
    view.jumpTo((0, 0, 0))
    yield view
    view.resize(400, 400)


def overlayOn(pair, view, mode, **options):
    from GLIDERegLib.scene.mrml.copies import MovingCopies
    from GLIDERegLib.scene.views.overlay import Overlay

    copies = MovingCopies(pair)
    overlay = Overlay(pair, copies, [view.mrmlSliceNode()])
    overlay.show(mode, **options)
    return SimpleNamespace(overlay=overlay, copies=copies)


def at(view, point):
    return view.grab()[view.pixelOf(point)].astype(int)


def test_the_jacobian_map_has_the_right_colours_at_known_places(studied, red):
    from GLIDERegLib.scene.mrml.colors import FOLDED, LESS, MORE, NEUTRAL
    from GLIDERegLib.scene.quality.maps import showMaps
    from GLIDERegLib.scene.quality.measures import measure

    def displacement(points):
        """Keeps volume for x > 35, quadruples it for 15 to 35, shrinks it to 0.2 for -20 to 10 and folds
        below.
        """
        x = np.linspace(-150, 150, 3001)
        knots = (-24, -20, 9, 13, 37, 41)
        slope = np.interp(x, knots, (-0.6, 0.2, 0.2, 4.0, 4.0, 1.0))
        moved = np.concatenate([[0], np.cumsum((slope[1:] + slope[:-1]) / 2 * 0.1)])
        moved -= np.interp(0, x, moved)
        result = np.zeros_like(points)
        result[:, 0] = np.interp(points[:, 0], x, moved) - points[:, 0]
        return result

    pair = studied(displacement)
    showMaps(pair, measure(pair))
    shown = overlayOn(pair, red, "jacobian", opacity=1.0)
    for x, color in ((-35, FOLDED), (-6, LESS), (25, MORE), (50, NEUTRAL)):
        assert at(red, (x, 0, 0)) == pytest.approx(255 * np.array(color), abs=12), x
    # Half transparent over the grey fixed scan, a middle grey.
    shown.overlay.show("jacobian", opacity=0.5)
    assert at(red, (-35, 0, 0)) == pytest.approx((255 * np.array(FOLDED) + 127) / 2, abs=12)


def test_the_legend_is_drawn_beside_its_map_and_only_there(studied, red):
    from GLIDERegLib.scene.quality.maps import showMaps
    from GLIDERegLib.scene.quality.measures import measure

    pair = studied(bump)
    showMaps(pair, measure(pair))
    shown = overlayOn(pair, red, "warped")

    def white() -> int:
        return np.count_nonzero((red.grab() > 240).all(axis=2))

    assert white() == 0
    shown.overlay.show("displacement", opacity=0.5)
    assert white() > 100
    shown.overlay.show("difference", opacity=0.5)
    assert white() > 100
    shown.overlay.show("warped")
    assert white() == 0


def test_the_jacobian_legend_names_the_determinants_values_at_equal_steps_of_their_logarithm(studied, red):
    import slicer

    from GLIDERegLib.scene.mrml.colors import FOLDED, MORE, NEUTRAL, diverging
    from GLIDERegLib.scene.quality.maps import showMaps
    from GLIDERegLib.scene.quality.measures import measure

    pair = studied(bump)
    shownMap = showMaps(pair, measure(pair))["jacobian"]
    red.grab()
    count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLDisplayNode")
    shown = overlayOn(pair, red, "jacobian", opacity=0.0)
    legend = shownMap.GetNthDisplayNode(shownMap.GetNumberOfDisplayNodes() - 1)
    colors = legend.GetPrimaryDisplayNode().GetColorNode()
    named = {colors.GetColorName(n): n for n in range(colors.GetNumberOfColors()) if colors.GetColorName(n)}
    assert list(named) == ["folds", "0.35", "0.5", "0.71", "1", "1.4", "2", "2.8", "4"]
    places = [named[name] for name in list(named)[1:]]
    assert len(set(np.diff(places))) == 1 and 2 * named["1"] == colors.GetNumberOfColors() - 1
    # Drawn: white labels beside a bar with the colours that the map has at these values.
    picture = red.grab()
    bar = picture[:, np.argmax((np.abs(picture.astype(int) - 127).max(axis=2) > 60).sum(axis=0))]
    # The lowest value it names is 0.35, one and a half of the two octaves below 1.
    for color in (FOLDED, diverging(np.array([-0.75]))[0], NEUTRAL, MORE):
        assert np.abs(bar - 255 * np.array(color)).max(axis=1).min() < 12, color
    rows = [np.abs(bar - 255 * np.array(color)).max(axis=1).argmin() for color in (MORE, NEUTRAL, FOLDED)]
    assert rows == sorted(rows), "the larger is not above"
    assert shownMap.GetScalarVolumeDisplayNode() is shownMap.GetDisplayNode()
    shown.overlay.close()
    shown.copies.remove()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLDisplayNode") == count


class Reveal:
    """Does with a view's layers what the cursor of the module CompareVolumes does, which is no part of
    slicer-core: around the cursor the lower layer, and over it the upper one in two quadrants.
    """

    now = None

    def __init__(self):
        Reveal.now = self

    def cleanup(self) -> None:
        Reveal.now = None

    def at(self, view, point, reach: int = 20) -> np.ndarray:
        """The view's picture (height, width, 3) with the cursor at a point, RAS mm."""
        from vtk.util.numpy_support import vtk_to_numpy

        picture, logic = view.grab().astype(int), view.sliceLogic()
        layers = []
        for layer in (logic.GetBackgroundLayer(), logic.GetForegroundLayer()):
            image = layer.GetImageData()
            shape = (*image.GetDimensions()[1::-1], -1)
            layers.append(vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape)[::-1, :, :3])
        row, column = view.pixelOf(point)
        there = slice(row - reach, row + reach), slice(column - reach, column + reach)
        picture[there] = layers[0][there]
        for rows, columns in (
            (slice(row - reach, row), slice(column - reach, column)),
            (slice(row, row + reach), slice(column, column + reach)),
        ):
            picture[rows, columns] = layers[1][rows, columns]
        return picture


@pytest.mark.parametrize("ending", ["cleanup", "tearDown"])
def test_the_layer_reveal_has_both_scans_at_the_cursor_and_ends(studied, red, monkeypatch, ending):
    from GLIDERegLib.panel.check_views import CheckViews

    cursor = type("LayerReveal", (Reveal,), {}) if ending == "cleanup" else _older()
    monkeypatch.setitem(sys.modules, "CompareVolumes", SimpleNamespace(LayerReveal=cursor))
    pair = studied(np.zeros_like, fixedGrey=-750, movingGrey=-250)
    views = CheckViews(pair, lambda position: None)
    views.showOverlay("reveal", 0.5, False)
    row, column = red.pixelOf((0, 0, 0))
    assert np.abs(red.grab()[row, column].astype(int) - 64).max() < 4, "the upper layer hides the lower one"
    seen = Reveal.now.at(red, (0, 0, 0))
    for below, right, grey in ((-10, -10, 191), (10, 10, 191), (-10, 10, 64), (10, -10, 64), (-60, -60, 64)):
        assert np.abs(seen[row + below, column + right] - grey).max() < 4, (below, right)
    views.showOverlay("warped", 0.5, False)
    assert Reveal.now is None
    views.showOverlay("reveal", 0.5, False)
    assert Reveal.now is not None
    views.close()
    assert Reveal.now is None


def _older() -> type:
    """The cursor as earlier versions had it."""

    class LayerReveal:
        at = Reveal.at

        def __init__(self):
            Reveal.now = self

        def tearDown(self) -> None:
            Reveal.now = None

    return LayerReveal


def test_the_grid_is_drawn_and_bends_where_the_field_bends(studied, red):
    import slicer

    from GLIDERegLib.scene.views.drawing import TransformDrawing

    pair = studied(bump)
    slicer.util.setSliceViewerLayers(background=pair.fixed)
    empty = red.grab()
    drawing = TransformDrawing(pair.transform, pair.fixed)
    drawing.show("grid", 10.0)
    lines = np.abs(red.grab().astype(int) - empty).max(axis=2) > 40
    assert lines.any()

    def uprightLine(y: float, x: float) -> float:
        """Where the line nearest to x crosses the row at y, in mm."""
        row = lines[red.pixelOf((0, y, 0))[0]]
        crossed = [(SIZE / 2 - 0.5 - c) * 120 / SIZE for c in np.flatnonzero(row)]
        return min(crossed, key=lambda found: abs(found - x))

    # A line lies where the transform takes it, moving to fixed: 12 mm to the other side in the middle.
    there = np.array([[x, y, 0.0] for x in np.linspace(-30, 30, 601) for y in (4.0, 50.0)])
    moved = there + bump(there)
    for y in (4.0, 50.0):
        here, target = there[there[:, 1] == y], moved[there[:, 1] == y]
        lineX = target[:, 0][np.argmin(np.abs(here[:, 0]))] // 10 * 10
        expected = here[np.argmin(np.abs(target[:, 0] - lineX)), 0]
        assert uprightLine(y, expected) == pytest.approx(expected, abs=1.0)
    drawing.close()
    assert np.array_equal(red.grab(), empty)


@pytest.mark.parametrize("kind", ["arrows", "contours"])
def test_arrows_and_contours_are_drawn_where_the_field_moves_and_nowhere_else(studied, red, kind):
    import slicer

    from GLIDERegLib.scene.views.drawing import TransformDrawing

    pair = studied(lambda points: bump(points, width=8.0))
    slicer.util.setSliceViewerLayers(background=pair.fixed)
    empty = red.grab()
    drawing = TransformDrawing(pair.transform, pair.fixed)
    drawing.show(kind, 5.0)
    changed = np.abs(red.grab().astype(int) - empty).max(axis=2) > 40
    row, column = red.pixelOf((0, 0, 0))
    assert changed[row - 40 : row + 40, column - 40 : column + 40].any()
    assert not changed[:60].any() and not changed[-60:].any()
    drawing.close()
    assert np.array_equal(red.grab(), empty)


def test_the_warped_scan_is_seen_where_the_transform_takes_it_and_before_where_it_lies(studied, red):
    import slicer

    shift = np.array([20.0, 0, 0])
    pair = studied(lambda points: np.broadcast_to(shift, points.shape), movingGrey=-1000)
    spot = np.array([10.0, 5, 0])
    array = slicer.util.arrayFromVolume(pair.moving)
    i, j, k = np.rint(np.linalg.solve(OBLIQUE, [*spot, 1])[:3]).astype(int)
    array[k - 2 : k + 3, j - 2 : j + 3, i - 2 : i + 3] = 0
    slicer.util.arrayFromVolumeModified(pair.moving)
    shown = overlayOn(pair, red, "warped")
    assert at(red, spot - shift).min() == 255 and at(red, spot).max() == 0
    shown.overlay.show("warped", before=True)
    assert at(red, spot).min() == 255 and at(red, spot - shift).max() == 0
    shown.overlay.show("fade", opacity=0.5)
    assert at(red, spot - shift) == pytest.approx([191] * 3, abs=3)
    assert at(red, spot) == pytest.approx([63] * 3, abs=3)


def test_a_moving_scan_that_stands_under_the_transform_is_seen_the_same_way(studied, red):
    import slicer

    shift = np.array([20.0, 0, 0])
    pair = studied(lambda points: np.broadcast_to(shift, points.shape), movingGrey=-1000)
    array = slicer.util.arrayFromVolume(pair.moving)
    array[14:19, 43:48, 65:70] = 0
    slicer.util.arrayFromVolumeModified(pair.moving)
    spot = (OBLIQUE @ [67, 45, 16, 1])[:3]
    # The bed it lies on is put under the transform, as by drag and drop.
    pair.moving.GetParentTransformNode().SetAndObserveTransformNodeID(pair.transform.GetID())
    shown = overlayOn(pair, red, "warped")
    assert at(red, spot - shift).min() == 255 and at(red, spot).max() == 0
    shown.overlay.show("warped", before=True)
    assert at(red, spot).min() == 255 and at(red, spot - shift).max() == 0


def test_the_warped_scan_follows_the_users_window_and_a_changed_transform(studied, red):
    pair = studied(lambda points: np.broadcast_to([15.0, 0, 0], points.shape), fixedGrey=0, movingGrey=-250)
    shown = overlayOn(pair, red, "warped")
    assert at(red, (0, 0, 0)) == pytest.approx([191] * 3, abs=2)
    pair.moving.GetDisplayNode().SetWindowLevel(2000, -250)
    assert at(red, (0, 0, 0)) == pytest.approx([127] * 3, abs=2)
    # Ten times as far, the moving scan is out of sight, and the white fixed one is left.
    pair.transform.GetTransformFromParent().SetDisplacementScale(10.0)
    assert at(red, (0, 0, 0)).min() == 255
    shown.overlay.close()
    shown.copies.remove()


def spots(pair, grey):
    """Makes a spot brighter in each scan; where they are, RAS mm, of the fixed one and of the moving one."""
    import slicer

    indices = ((50, 45, 16), (70, 45, 16))
    for volume, (i, j, k) in zip((pair.fixed, pair.moving), indices, strict=True):
        slicer.util.arrayFromVolume(volume)[k - 2 : k + 3, j - 2 : j + 3, i - 2 : i + 3] = grey
        slicer.util.arrayFromVolumeModified(volume)
    return [(OBLIQUE @ [*index, 1])[:3] for index in indices]


def test_two_colours_are_grey_where_scans_agree_and_tell_by_colour_which_is_brighter(studied, red):
    pair = studied(np.zeros_like)
    # A window of its own for the moving scan must not look like a difference.
    pair.moving.GetDisplayNode().SetWindowLevel(300, 0)
    fixedSpot, movingSpot = spots(pair, -300)
    shown = overlayOn(pair, red, "two colors")
    assert at(red, (0, 40, 0)) == pytest.approx([127] * 3, abs=3)
    # 0.7 of the window in one scan, 0.5 in the other.
    assert at(red, fixedSpot) == pytest.approx([178, 153, 127], abs=4)
    assert at(red, movingSpot) == pytest.approx([127, 153, 178], abs=4)
    # The window that the reader changes in the view is that of both scans.
    shown.copies.tintedFixed.GetDisplayNode().SetWindowLevel(2000, -500)
    assert at(red, movingSpot) == pytest.approx([127, 140, 153], abs=4)
    # Another way shows both in their own colours again, and closing gives the view back.
    shown.overlay.show("warped")
    assert len(set(at(red, movingSpot))) == 1
    shown.overlay.show("two colors")
    shown.overlay.close()
    shown.copies.remove()
    composite = red.mrmlSliceCompositeNode()
    assert composite.GetCompositing() == composite.Alpha


@pytest.mark.parametrize(
    "sees",
    [
        # Machado, Oliveira and Fernandes (IEEE TVCG 15:1291, 2009): protanopia and deuteranopia.
        [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
        [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    ],
)
def test_readers_with_a_red_green_deficiency_tell_the_two_colours_from_each_other(slicerHost, sees):
    from GLIDERegLib.scene.mrml.colors import FIXED_TINT, WARPED_TINT

    fixed, warped = (np.clip(np.array(sees) @ tint, 0, 1) for tint in (FIXED_TINT, WARPED_TINT))
    assert np.add(FIXED_TINT, WARPED_TINT) == pytest.approx([1, 1, 1])

    def yellowness(color):
        return (color[0] + color[1]) / 2 - color[2]

    # Neither grey nor alike: one stays yellow, the other blue, by a quarter of the scale at least.
    assert yellowness(fixed) > 0.25 and yellowness(warped) < -0.25


def test_the_difference_is_even_grey_where_scans_agree_and_tells_which_is_brighter(studied, red):
    pair = studied(np.zeros_like)
    # A window of its own for the moving scan must not look like a difference.
    pair.moving.GetDisplayNode().SetWindowLevel(300, 0)
    fixedSpot, movingSpot = spots(pair, -300)
    overlayOn(pair, red, "subtract")
    even = at(red, (0, 40, 0))
    assert even == pytest.approx([127] * 3, abs=3)
    assert at(red, fixedSpot) == pytest.approx(even + 25, abs=4)
    assert at(red, movingSpot) == pytest.approx(even - 25, abs=4)


def test_the_outline_of_a_structure_is_on_its_border_and_nothing_is_filled(studied, red):
    import slicer
    from check_scene import COLORS, makeSegments

    from GLIDERegLib.scene.views.drawing import OutlineDrawing

    pair = studied(np.zeros_like)
    slicer.util.setSliceViewerLayers(background=pair.fixed)
    k, j, i = np.indices(SHAPE)
    inside = (np.abs(i - 60) < 12) & (np.abs(j - 45) < 9) & (np.abs(k - 16) < 8)
    structures = makeSegments(slicer.mrmlScene, "Structures", {"Box": inside}, OBLIQUE)
    middle, border = ((OBLIQUE @ [n, 45, 16, 1])[:3] for n in (60, 71.5))
    filled = red.grab()
    assert filled[red.pixelOf(middle)].tolist() != [127] * 3
    drawing = OutlineDrawing(structures)
    outlined = red.grab()
    assert outlined[red.pixelOf(middle)].tolist() == [127] * 3
    row, column = red.pixelOf(border)
    around = outlined[row - 2 : row + 3, column - 2 : column + 3].astype(int)
    assert np.abs(around - 255 * np.array(COLORS[0])).max(axis=2).min() < 5
    drawing.close()
    assert np.array_equal(red.grab(), filled)


def test_a_drawing_is_seen_only_in_the_views_it_is_for(studied, red):
    import slicer

    from GLIDERegLib.scene.views.drawing import TransformDrawing

    pair = studied(bump)
    green = slicer.app.layoutManager().sliceWidget("Green")
    slicer.util.setSliceViewerLayers(background=pair.fixed)
    empty = red.grab(), green.grab()
    drawing = TransformDrawing(pair.transform, pair.fixed, (green.mrmlSliceNode().GetID(),))
    drawing.show("grid", 10.0)
    assert np.array_equal(red.grab(), empty[0]) and not np.array_equal(green.grab(), empty[1])
    drawing.close()
    assert np.array_equal(green.grab(), empty[1])


# Reading together


@pytest.fixture
def reading(studied, slicerHost):
    """Function that starts synchronised reading of a pair in the side by side layout: reading, view, pair."""
    import check_views
    import slicer

    from GLIDERegLib.scene.views.crosshair import SynchronizedReading
    from GLIDERegLib.scene.views.layout import FIXED, MOVING, WARPED, SideBySide, sameScale

    with check_views.layouts() as view:
        started = []

        def start(pair, choice="All"):
            layout = SideBySide(slicer.mrmlScene)
            layout.show(choice)
            for column, volume in ((FIXED, pair.fixed), (WARPED, pair.fixed), (MOVING, pair.moving)):
                for composite in layout.composites(column):
                    composite.SetBackgroundVolumeID(volume.GetID())
            sameScale(slicer.app.applicationLogic(), layout.views(FIXED, WARPED, MOVING))
            told = []
            made = SynchronizedReading(
                pair, layout.views(FIXED, WARPED), layout.views(MOVING), changed=told.append
            )
            started.append(made)
            return SimpleNamespace(reading=made, view=view, told=told, layout=layout)

        yield start
        for made in started:
            made.close()


def field(points):
    return bump(points, (5, -8, 3), (9.0, -7.0, 5.0), 25.0) + np.array([4.0, 0, -3.0])


def pointed(view, ras):
    """The user holds Shift and moves the mouse to a point of a view."""
    import slicer

    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCursorPositionXYZ([0.0, 0.0, 0.0], view.mrmlSliceNode())
    crosshair.SetCrosshairRAS(*map(float, ras))


def crossIn(view):
    """Where the cross is drawn, (row, column); the scans are grey."""
    picture = view.grab().astype(int)
    yellow = picture[..., 0] - picture[..., 2] > 60
    assert yellow.any(), "there is no cross"
    return np.argwhere(yellow).mean(axis=0)


@pytest.mark.parametrize("point", [(5.0, -8.0, 3.0), (-20.0, 14.0, -11.0)])
def test_the_cross_of_the_moving_scan_agrees_with_the_field_within_half_a_voxel(studied, reading, point):
    from GLIDERegLib.scene.mrml.geometry import ijkToWorld

    pair = studied(field)
    made = reading(pair)
    fixed, moving = made.view("GLIDERegFixedAxial"), made.view("GLIDERegMovingAxial")
    fixed.mrmlSliceNode().JumpSliceByOffsetting(*point)
    pointed(fixed, point)
    expected = np.array(point) + field(np.array([point]))[0]
    found = made.reading.position.moving
    toIndex = np.linalg.inv(ijkToWorld(pair.moving))
    apart = toIndex[:3, :3] @ (np.array(found) - expected)
    # Cubic interpolation of nodes 5 mm apart is not exact, but good to a tenth of a voxel.
    assert np.abs(apart).max() < 0.1
    for view, place in ((moving, expected), (fixed, point)):
        row, column = crossIn(view)
        wanted = view.pixelOf(place)
        mmPerPixel = view.mrmlSliceNode().GetFieldOfView()[0] / 400
        assert np.hypot(row - wanted[0], column - wanted[1]) * mmPerPixel < 0.75
    offset = moving.mrmlSliceNode().GetSliceOffset()
    assert offset == pytest.approx(expected[2], abs=0.3)
    assert made.told[-1].displacement == pytest.approx(np.linalg.norm(field(np.array([point]))), abs=0.2)


def test_the_way_from_the_moving_scan_is_the_inverse_and_the_view_in_use_keeps_still(studied, reading):
    pair = studied(field)
    made = reading(pair)
    start = np.array([-12.0, 9.0, 6.0])
    there = start + field(start[None])[0]
    moving = made.view("GLIDERegMovingAxial")
    moving.mrmlSliceNode().JumpSliceByOffsetting(*there)
    still = [moving.mrmlSliceNode().GetSliceToRAS().GetElement(r, 3) for r in range(3)]
    pointed(moving, there)
    assert made.reading.position.moving == pytest.approx(tuple(there))
    assert made.reading.position.fixed == pytest.approx(tuple(start), abs=0.2)
    assert [moving.mrmlSliceNode().GetSliceToRAS().GetElement(r, 3) for r in range(3)] == still
    for column in ("Fixed", "Warped"):
        for orientation, axis in (("Axial", 2), ("Coronal", 1), ("Sagittal", 0)):
            node = made.view(f"GLIDEReg{column}{orientation}").mrmlSliceNode()
            assert node.GetSliceToRAS().GetElement(axis, 3) == pytest.approx(start[axis], abs=0.2)


def test_the_same_anatomy_is_seen_at_the_same_place_of_both_pictures(studied, reading):
    pair = studied(field)
    made = reading(pair)
    fixed, moving = made.view("GLIDERegFixedCoronal"), made.view("GLIDERegMovingCoronal")
    for point in ((20.0, 5.0, 12.0), (-25.0, -8.0, -4.0)):
        fixed.mrmlSliceNode().JumpSliceByOffsetting(*point)
        pointed(fixed, point)
        seen = np.array(fixed.pixelOf(point)) - moving.pixelOf(made.reading.position.moving)
        assert np.abs(seen).max() <= 1


def test_scrolling_takes_the_point_along_in_both_directions_and_ends(studied, reading):
    pair = studied(field)
    made = reading(pair)
    made.reading.moveTo((3, 4, 5), inMoving=False)
    count = len(made.told)
    made.view("GLIDERegWarpedAxial").mrmlSliceNode().SetSliceOffset(15.0)
    expected = np.array([3.0, 4, 15]) + field(np.array([[3.0, 4, 15]]))[0]
    assert made.reading.position.fixed == pytest.approx((3, 4, 15))
    assert made.reading.position.moving == pytest.approx(tuple(expected), abs=0.2)
    assert made.view("GLIDERegFixedAxial").mrmlSliceNode().GetSliceOffset() == pytest.approx(15)
    made.view("GLIDERegMovingAxial").mrmlSliceNode().SetSliceOffset(0.0)
    assert made.reading.position.moving == pytest.approx((*expected[:2], 0.0), abs=0.2)
    # One step each: nothing that the views answer moves them again.
    assert len(made.told) == count + 2


def test_a_new_field_leads_elsewhere_at_once(studied, reading):
    pair = studied(field)
    made = reading(pair)
    made.reading.moveTo((3, 4, 5), inMoving=False)
    first = np.array(made.reading.position.moving)
    pair.transform.GetTransformFromParent().SetDisplacementScale(2.0)
    pair.transform.InvokeEvent(pair.transform.TransformModifiedEvent)
    assert np.array(made.reading.position.moving) - (3, 4, 5) == pytest.approx(
        2 * (first - (3, 4, 5)), abs=1e-3
    )


def test_slicers_own_cross_is_hidden_meanwhile_and_ours_are_gone_afterwards(studied, reading):
    import slicer

    pair = studied(field)
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCrosshairMode(crosshair.ShowBasic)
    made = reading(pair, "Axial")
    count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode")
    assert crosshair.GetCrosshairMode() == crosshair.NoCrosshair and count == 2
    made.reading.close()
    assert crosshair.GetCrosshairMode() == crosshair.ShowBasic
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode") == 0
    crosshair.SetCrosshairMode(crosshair.NoCrosshair)
    made.view("GLIDERegFixedAxial").mrmlSliceNode().SetSliceOffset(30.0)
    assert made.told == []


def test_a_point_outside_a_scan_is_said(studied, reading):
    pair = studied(lambda points: np.broadcast_to([60.0, 0, 0], points.shape))
    made = reading(pair, "Axial")
    made.reading.moveTo((0, 0, 0), inMoving=False)
    assert made.reading.position.insideFixed and made.reading.position.insideMoving
    made.reading.moveTo((-100, 0, 0), inMoving=False)
    assert not made.reading.position.insideFixed
    made.reading.moveTo((30, 20, 0), inMoving=False)
    assert made.reading.position.insideFixed and not made.reading.position.insideMoving


def test_one_centimetre_is_as_long_in_every_view(studied, reading):
    made = reading(studied(field))
    scales = set()
    for column in ("Fixed", "Warped", "Moving"):
        for orientation in ("Axial", "Coronal", "Sagittal"):
            node = made.view(f"GLIDEReg{column}{orientation}").mrmlSliceNode()
            scales.add(round(node.GetFieldOfView()[0] / node.GetDimensions()[0], 6))
    assert len(scales) == 1
