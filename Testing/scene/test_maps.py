"""Maps of transforms whose displacement, stretching, folding and inverse are known."""

from __future__ import annotations

import numpy as np
import pytest

SHAPE = (24, 40, 60)


@pytest.fixture
def scans(addVolume, oblique):
    rng = np.random.default_rng(0)
    voxels = rng.integers(0, 200, SHAPE).astype(np.int16)
    return addVolume(voxels, oblique, "Fixed"), addVolume(voxels, oblique, "Moving")


@pytest.fixture
def addFold(scene):
    """Function that adds a transform that leads x to 8 sin(x / 4), for |x| < 40 mm, and keeps y and z."""
    import slicer
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    def add():
        x = np.arange(-120, 121) / 2.0
        image = vtk.vtkImageData()
        image.SetDimensions(241, 2, 2)
        image.SetSpacing(0.5, 400, 400)
        image.SetOrigin(-60, -200, -200)
        image.AllocateScalars(vtk.VTK_DOUBLE, 3)
        values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(2, 2, 241, 3)
        values[:] = 0
        values[..., 0] = 8 * np.sin(x / 4) - x
        grid = slicer.vtkOrientedGridTransform()
        grid.SetDisplacementGridData(image)
        grid.SetInterpolationModeToLinear()
        node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "Fold")
        node.SetAndObserveTransformFromParent(grid)
        return node

    return add


def measured(scans, transform, back=None):
    from GLIDERegLib.scene.quality.measures import measure
    from GLIDERegLib.scene.registration.pair import makePair

    return measure(makePair(*scans, transform, back))


def test_samples_divide_the_box_of_the_voxels_about_4_mm_apart(scans):
    from GLIDERegLib.scene.mrml.geometry import ijkToWorld
    from GLIDERegLib.scene.mrml.sampling import sampling

    samples = sampling(scans[0])
    voxels, spacing = np.array(SHAPE[::-1]), np.array([1.5, 2.0, 3.0])
    assert np.allclose(samples.spacing * samples.size, voxels * spacing)
    assert np.abs(samples.spacing - 4).max() < 0.5
    first = ijkToWorld(scans[0]) @ [*(-0.5 + voxels / samples.size / 2), 1]
    assert np.allclose(samples.points()[0], first[:3])
    middle = ijkToWorld(scans[0]) @ [*((voxels - 1) / 2), 1]
    assert np.allclose(samples.points().mean(axis=0), middle[:3])


def test_a_large_volume_has_at_most_two_million_samples_and_a_coarse_one_as_many_as_voxels(addVolume):
    from GLIDERegLib.scene.mrml.sampling import sampling

    large = sampling(addVolume(np.zeros((100, 100, 100), np.uint8), np.diag([12.0, 12, 12, 1])))
    assert large.size == (100, 100, 100)
    huge = addVolume(np.zeros((150, 200, 200), np.uint8), np.diag([4.0, 4, 4, 1]))
    assert 1_900_000 < np.prod(sampling(huge).size) <= 2_000_000


def test_a_linear_transform_moves_and_stretches_alike_everywhere(scans, addLinear):
    import slicer

    shear = np.array([[1.25, 0.1, 0, 3], [0, 0.9, 0, 0], [0, 0.2, 1, -4], [0, 0, 0, 1]])
    node = addLinear(shear)
    found = measured(scans, node)
    points = found.sampling.points()
    there = (points - shear[:3, 3]) @ np.linalg.inv(shear[:3, :3]).T
    assert np.allclose(found.displacement.ravel(), np.linalg.norm(there - points, axis=1), atol=1e-4)
    assert np.allclose(found.jacobian, 1 / np.linalg.det(shear[:3, :3]), atol=1e-5)
    assert found.consistency is None
    assert slicer.util.arrayFromTransformMatrix(node).tolist() == shear.tolist()


@pytest.mark.parametrize("storedFromParent", [True, False])
def test_the_jacobian_of_a_warp_is_that_of_its_finite_differences_below_parents(
    scans, addWarp, addLinear, rotation, storedFromParent
):
    for volume in scans:
        volume.SetAndObserveTransformNodeID(addLinear(rotation).GetID())
    node = addWarp(storedFromParent)
    found = measured(scans, node)
    transform, points = node.GetTransformFromParent(), found.sampling.points()
    for sample in np.random.default_rng(1).choice(len(points), 20, replace=False):
        derivative, step = np.empty((3, 3)), 0.2
        for axis in range(3):
            ends = [points[sample] + sign * step * np.eye(3)[axis] for sign in (1, -1)]
            ends = [np.array(transform.TransformPoint(end)) for end in ends]
            derivative[:, axis] = (ends[0] - ends[1]) / (2 * step)
        assert found.jacobian.flat[sample] == pytest.approx(np.linalg.det(derivative), abs=0.002)
    assert np.ptp(found.jacobian) > 0.1


def test_folds_are_found_where_they_are(scans, addFold):
    found = measured(scans, addFold())
    x = found.sampling.points()[:, 0].reshape(found.jacobian.shape)
    inside = np.abs(x) < 40
    slope = 2 * np.cos(x / 4)
    assert np.allclose(found.jacobian[inside], slope[inside], atol=0.03)
    assert ((found.jacobian <= 0) == (slope <= 0))[inside & (np.abs(slope) > 0.05)].all()


def test_consistency_with_a_transform_of_the_other_direction_is_of_both(scans, addLinear):
    shift, other = np.eye(4), np.eye(4)
    shift[0, 3], other[0, 3] = 10, -7
    found = measured(scans, addLinear(shift), addLinear(other))
    assert np.allclose(found.consistency, 3, atol=1e-4)


def test_the_difference_is_fixed_minus_warped_and_nothing_where_the_scans_match(
    addVolume, addLinear, oblique
):
    from GLIDERegLib.scene.mrml.geometry import ijkToWorld

    k, j, i = np.indices(SHAPE)
    ramp = (100 * i + 40 * j - 30 * k).astype(np.float32)
    fixed = addVolume(ramp, oblique, "Fixed")
    shift = np.eye(4)
    shift[:3, 3] = [6, -8, 5]
    moving = addVolume(ramp + 25, np.linalg.inv(shift) @ oblique, "Moving")
    found = measured((fixed, moving), addLinear(shift))
    # Up to the faces, where half a sample lies beyond the outermost voxel centres.
    inner = found.difference[1:-1, 1:-1, 1:-1]
    assert np.allclose(inner, -25, atol=0.2)
    voxel = np.linalg.solve(ijkToWorld(moving), np.append(found.sampling.points()[0], 1))
    assert voxel[0] != pytest.approx(found.sampling.index()[0, 0], abs=0.5)
    assert np.abs(found.fixed - found.before).max() > 100


@pytest.fixture
def chest(addVolume, oblique):
    """A body of 40 HU with a lung that the first section cuts, in air; and which voxels are body."""
    k, j, i = np.indices((24, 45, 60)) - np.array([0, 22, 30]).reshape(3, 1, 1, 1)
    body = (j / 16) ** 2 + (i / 20) ** 2 < 1
    lung = (j / 10) ** 2 + (i / 14) ** 2 + (k / 18) ** 2 < 1
    return addVolume(np.where(body & ~lung, 40, np.where(lung, -850, -1000)).astype(np.int16), oblique), body


def test_the_body_is_the_reports(chest, addLinear, rotation):
    import slicer.util

    from GLIDERegLib.core.body import Body
    from GLIDERegLib.core.geometry import Grid, Volume
    from GLIDERegLib.scene.mrml.geometry import gridFromMatrix, ijkToWorld, pointsToLps
    from GLIDERegLib.scene.mrml.sampling import bodyOf, sampling

    node, body = chest
    samples = sampling(node)
    array = slicer.util.arrayFromVolume(node)
    grid = gridFromMatrix(ijkToWorld(node), array.shape[::-1])
    read = Volume(array, Grid(*(tuple(grid[name]) for name in ("size", "spacing", "origin", "direction"))))
    found = bodyOf(samples)
    assert np.array_equal(found, Body(read).at(pointsToLps(samples.points())).reshape(samples.shape))
    voxels = np.rint(samples.index()).astype(int)
    inside = body[tuple(voxels.T[::-1])].reshape(samples.shape)
    assert found[inside].all() and 0.2 < found.mean() < 0.8
    node.SetAndObserveTransformNodeID(addLinear(rotation).GetID())
    assert np.array_equal(bodyOf(sampling(node)), found)


@pytest.fixture
def shown(scans, addWarp):
    from GLIDERegLib.scene.quality.maps import showMaps
    from GLIDERegLib.scene.quality.measures import measure
    from GLIDERegLib.scene.registration.pair import makePair

    pair = makePair(*scans, addWarp())
    return pair, lambda: showMaps(pair, measure(pair))


def test_maps_lie_on_the_fixed_scan_in_a_folder_and_a_second_check_updates_them(
    shown, scene, addLinear, rotation
):
    import slicer

    pair, show = shown
    pair.fixed.SetAndObserveTransformNodeID(addLinear(rotation).GetID())
    maps = show()
    assert set(maps) == {"displacement", "jacobian", "difference"}
    boxes = []
    for node in (pair.fixed, *maps.values()):
        box = np.zeros(6)
        node.GetRASBounds(box)
        boxes.append(box)
    assert np.allclose(boxes, boxes[0], atol=1e-6)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folders = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in maps.values()}
    assert [hierarchy.GetItemName(folder) for folder in folders] == ["Check of Breathing"]
    before = slicer.util.arrayFromVolume(maps["displacement"]).copy()
    grid = pair.transform.GetTransformFromParent()
    grid.SetDisplacementScale(2.0)
    count = scene.GetNumberOfNodes()
    again = show()
    assert again == maps and scene.GetNumberOfNodes() == count
    assert np.allclose(slicer.util.arrayFromVolume(maps["displacement"]), 2 * before, atol=1e-3)


def test_the_jacobian_has_its_own_symmetric_colours_and_the_others_rising_ones(shown):
    from GLIDERegLib.scene.mrml.colors import FOLDED, JACOBIAN_RANGE, LESS, MORE, NEUTRAL

    maps = shown[1]()
    display = maps["jacobian"].GetScalarVolumeDisplayNode()
    table = display.GetColorNode()

    def color(value):
        found = [0.0] * 4
        share = (value - JACOBIAN_RANGE[0]) / (JACOBIAN_RANGE[1] - JACOBIAN_RANGE[0])
        table.GetColor(int(share * 255), found)
        return np.array(found[:3])

    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == pytest.approx(JACOBIAN_RANGE)
    for value, expected in ((-0.005, FOLDED), (0.1, LESS), (1.0, NEUTRAL), (3.999, MORE)):
        assert color(value) == pytest.approx(expected, abs=0.02), value
    # As far from grey at a half as at the double.
    assert np.abs(color(0.5) - NEUTRAL)[0] / (NEUTRAL[0] - LESS[0]) == pytest.approx(
        np.abs(color(2.0) - NEUTRAL)[1] / (NEUTRAL[1] - MORE[1]), abs=0.03
    )
    lightness = []
    for index in range(0, 256, 15):
        found = [0.0] * 4
        maps["displacement"].GetDisplayNode().GetColorNode().GetColor(index, found)
        lightness.append(np.dot(found[:3], (0.3, 0.6, 0.1)))
    assert (np.diff(lightness) > 0).all()


def test_the_jacobian_s_legend_ends_where_its_colours_end():
    from GLIDERegLib.scene.mrml import colors

    assert colors.LARGEST_JACOBIAN == 2**colors.LEGEND_OCTAVES
    legend = colors.jacobianLegendColors()
    last = [0.0] * 4
    legend.GetColor(legend.GetNumberOfColors() - 1, last)
    assert legend.GetColorName(legend.GetNumberOfColors() - 1) == "4"
    assert last[:3] == pytest.approx(colors.MORE, abs=0.01)


def test_titles_of_maps_say_direction_and_unit():
    from GLIDERegLib.scene.quality.maps import KINDS

    assert "moving / fixed" in KINDS["jacobian"].title and "HU" in KINDS["difference"].title
    body = np.ones((2, 2, 2), bool)
    assert KINDS["consistency"].range(np.full((2, 2, 2), 0.01), body) == (0.0, 1.0)


def test_lung_of_the_same_mass_is_no_difference_where_the_density_is_corrected(addVolume, scene):
    import slicer

    # Fixed to moving: every volume grows by a third, so that the same tissue is thinner in the moving scan.
    factor = 1.1
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Breath")
    matrix = np.diag([factor] * 3 + [1.0])
    node.SetMatrixTransformFromParent(slicer.util.vtkMatrixFromArray(matrix))
    ijkToRas = np.diag([4.0, 4.0, 4.0, 1.0])
    ijkToRas[:3, 3] = -60

    def chest(lung):
        voxels = np.full((31, 31, 31), 40, np.int16)
        voxels[8:24, 8:24, 8:24] = lung
        return voxels

    fixed = addVolume(chest(-750), ijkToRas, "Fixed")
    moving = addVolume(chest(round(250 / factor**3 - 1000)), matrix @ ijkToRas, "Moving")
    found = measured((fixed, moving), node)
    lung = found.fixed == -750
    assert found.isCt and (lung & found.body).sum() > 1000
    assert np.abs(found.difference[lung]).min() > 60
    assert np.abs(found.densityDifference[lung & found.body]).max() < 2
    # Soft tissue keeps its density, whatever the field says.
    tissue = found.fixed == 40
    assert np.array_equal(found.densityDifference[tissue], found.difference[tissue])


def test_where_a_scan_is_not_ct_there_is_no_density_to_correct(scans, scene):
    from GLIDERegLib.scene.quality.maps import findMap, showMaps
    from GLIDERegLib.scene.registration.pair import makePair

    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Identity")
    found = measured(scans, node)
    assert not found.isCt and found.densityDifference is None
    assert "density" not in showMaps(makePair(*scans, node), found)
    assert findMap(node, "density") is None and findMap(node, "difference") is not None
