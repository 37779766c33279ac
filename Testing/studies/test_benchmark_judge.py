"""The measures agree with a second computation by SimpleITK and SciPy, on random affine and B-spline maps."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial import distance

from GLIDERegLib.core.geometry import Grid, Volume
from GLIDERegLib.files.points import PointSet, read_points, write_points
from GLIDERegLib.files.transforms import write_transform
from GLIDERegLib.files.volumes import to_sitk, write_volume
from GLIDERegLib.studies.benchmark.judge import Judge, folding, snap
from GLIDERegLib.studies.cases import Case

OBLIQUE = tuple(np.ravel(sitk.VersorTransform((1, 2, 3), 0.4).GetMatrix()))
MOVING_GRID = Grid((36, 30, 28), (2.5, 3.0, 2.0), (-50, -30, 10), OBLIQUE)


@pytest.fixture(scope="module", params=[0, 1])
def judged(request, tmp_path_factory):
    """A case on oblique grids, a random transform and a random truth, and what the judge says."""
    rng = np.random.default_rng(request.param)
    folder = tmp_path_factory.mktemp("case")
    fixed_grid = Grid((34, 32, 26), (2.0, 3.0, 2.5), (-40, -35, 5), OBLIQUE)
    mask = np.zeros(fixed_grid.shape, bool)
    mask[4:-4, 5:-5, 5:-5] = True
    transform, truth = (random_transform(fixed_grid, rng) for _ in range(2))
    start = fixed_grid.to_physical(rng.uniform(6, 20, (40, 3)))
    goal = np.array([truth.TransformPoint(point) for point in start.tolist()])
    files = {name: folder / f"{name}.nii.gz" for name in ("fixed", "moving", "fixed_labels", "moving_labels")}
    for name, path in files.items():
        grid = fixed_grid if "fixed" in name else MOVING_GRID
        write_volume((labels if "labels" in name else noise)(grid, rng), path)
    write_volume(Volume(mask.astype(np.uint8), fixed_grid), folder / "mask.nii.gz")
    write_transform(truth, folder / "truth.h5")
    for role, points in (("fixed", start), ("moving", goal)):
        files[f"{role}_points"] = folder / f"{role}.csv"
        write_points(PointSet([f"L{n}" for n in range(len(points))], points), files[f"{role}_points"])
    case = Case("random", **files, fixed_mask=folder / "mask.nii.gz", truth=folder / "truth.h5")
    return case, transform, truth, Judge(case)(transform)


def noise(grid, rng):
    return Volume(ndimage.gaussian_filter(rng.normal(0, 300, grid.shape), 2).astype(np.float32), grid)


def labels(grid, rng):
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, grid.shape), 3)
    return Volume(np.digitize(smooth, np.quantile(smooth, (0.4, 0.6, 0.8))).astype(np.uint8), grid)


def random_transform(grid, rng, strength=20.0):
    """An affine transform and a B-spline, strong enough to fold somewhere."""
    affine = sitk.AffineTransform(3)
    affine.SetMatrix((np.eye(3) + rng.normal(0, 0.03, (3, 3))).ravel().tolist())
    affine.SetTranslation(rng.normal(0, 2, 3).tolist())
    spline = sitk.BSplineTransformInitializer(
        to_sitk(Volume(np.zeros(grid.shape, np.uint8), grid)), (5, 5, 5)
    )
    spline.SetParameters(rng.normal(0, strength, len(spline.GetParameters())).tolist())
    return sitk.CompositeTransform([affine, spline])


def read(path):
    return sitk.ReadImage(str(path))


def points_of(path):
    return read_points(path).points


def test_registration_error_agrees_with_scipy(judged):
    case, transform, _, report = judged
    start, goal = points_of(case.fixed_points), points_of(case.moving_points)
    propagated = np.array([transform.TransformPoint(point) for point in start.tolist()])
    apart = distance.cdist(propagated, goal).diagonal()
    error = report["target_registration_error"]["final"]
    assert error["mean"] == pytest.approx(apart.mean())
    assert error["p75"] == pytest.approx(np.quantile(apart, 0.75))
    assert error["max"] == pytest.approx(apart.max())
    share = report["centre_point_matching"]["final"]["within_10_mm"]
    assert share == pytest.approx(np.mean(apart <= 10))


def test_dice_agrees_with_simpleitk(judged):
    case, transform, _, report = judged
    fixed, moving = read(case.fixed_labels), read(case.moving_labels)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(fixed, sitk.Resample(moving, fixed, transform, sitk.sitkNearestNeighbor, 0))
    found = report["dice"]["final"]["per_label"]
    assert sorted(found) == [1, 2, 3]
    for label, value in found.items():
        assert value == pytest.approx(overlap.GetDiceCoefficient(label))


def test_folded_share_agrees_with_differences_of_single_points(judged):
    case, transform, _, report = judged
    grid = Judge(case).fixed.grid
    mask = sitk.GetArrayFromImage(read(case.fixed_mask)) > 0
    inside = grid.to_physical(np.argwhere(mask)[:, ::-1])
    columns = []
    for axis, step in zip(grid.axes.T, grid.spacing, strict=True):
        ends = [
            np.array([transform.TransformPoint(point) for point in (inside + sign * step * axis).tolist()])
            for sign in (1, -1)
        ]
        columns.append((ends[0] - ends[1]) / (2 * step))
    determinant = np.linalg.det(np.stack(columns, axis=-1)) / np.linalg.det(grid.axes)
    assert 0.001 < np.mean(determinant <= 0) < 0.5, "the transform must fold somewhere, or this tells nothing"
    assert report["jacobian"]["share_not_positive"] == pytest.approx(np.mean(determinant <= 0), abs=2e-4)
    assert report["jacobian"]["min"] == pytest.approx(determinant.min(), abs=1e-3)
    assert report["jacobian"]["n"] == mask.sum()


def test_truth_error_agrees_with_fields_of_simpleitk(judged):
    case, transform, truth, report = judged
    fixed, mask = read(case.fixed), sitk.GetArrayFromImage(read(case.fixed_mask)) > 0
    fields = [
        sitk.GetArrayFromImage(
            sitk.TransformToDisplacementField(
                t,
                sitk.sitkVectorFloat64,
                fixed.GetSize(),
                fixed.GetOrigin(),
                fixed.GetSpacing(),
                fixed.GetDirection(),
            )
        )[mask]
        for t in (transform, truth)
    ]
    apart = np.linalg.norm(fields[0] - fields[1], axis=-1)
    error = report["truth_error"]["final"]
    assert error["n"] == mask.sum() < 20_000
    assert error["mean"] == pytest.approx(apart.mean(), rel=1e-4)
    assert error["p95"] == pytest.approx(np.quantile(apart, 0.95), rel=1e-3)
    assert error["max"] == pytest.approx(apart.max(), rel=1e-3)


def test_folded_share_agrees_with_simpleitks_filter_across_slabs():
    grid = Grid((20, 22, 75), (2.0, 2.0, 2.0))
    transform = random_transform(grid, np.random.default_rng(5))
    size = grid.size, grid.origin, grid.spacing, grid.direction
    field = sitk.TransformToDisplacementField(transform, sitk.sitkVectorFloat64, *size)
    determinant = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field))
    inside = np.zeros(grid.shape, bool)
    # ITK treats the outermost voxels in its own way.
    inside[1:-1, 1:-1, 1:-1] = True
    found = folding(transform, grid, inside)
    folded = np.mean(determinant[inside] <= 0)
    assert folded > 0.001, "the transform must fold somewhere, or this tells nothing"
    assert found["share_not_positive"] == pytest.approx(folded, abs=1e-4)
    assert found["min"] == pytest.approx(determinant[inside].min(), abs=1e-3)
    assert found["max"] == pytest.approx(determinant[inside].max(), abs=1e-3)


def test_the_truth_itself_has_no_error_and_the_identity_its_full_one(judged):
    case, _, truth, _ = judged
    report = Judge(case)(truth)
    assert report["truth_error"]["final"]["max"] < 1e-9
    assert report["target_registration_error"]["final"]["max"] < 1e-5
    mean = Judge(case)(sitk.Transform(3, sitk.sitkIdentity))["truth_error"]
    assert mean["final"] == mean["initial"] == report["truth_error"]["initial"]


def test_snapped_errors_are_those_of_the_nearest_voxel_centres(judged):
    case, transform, _, report = judged
    assert "snapped_error" not in report
    snapped = Judge(dataclasses.replace(case, snap_to_voxels=True))(transform)["snapped_error"]["final"]
    moving = read(case.moving)
    start, goal = points_of(case.fixed_points), points_of(case.moving_points)
    apart = []
    for point, target in zip(start.tolist(), goal, strict=True):
        index = moving.TransformPhysicalPointToIndex(transform.TransformPoint(point))
        index = np.clip(index, 0, np.array(moving.GetSize()) - 1).tolist()
        apart.append(np.linalg.norm(moving.TransformIndexToPhysicalPoint(index) - target))
    assert snapped["mean"] == pytest.approx(np.mean(apart), rel=1e-5)


def test_a_voxel_centre_snaps_to_itself():
    rng = np.random.default_rng(0)
    index = rng.integers(0, 28, (50, 3))
    centres = MOVING_GRID.to_physical(index)
    nudged = centres + rng.uniform(-0.9, 0.9, (50, 3)) @ (MOVING_GRID.axes * MOVING_GRID.spacing / 2).T
    np.testing.assert_allclose(snap(nudged, MOVING_GRID), centres, atol=1e-9)
