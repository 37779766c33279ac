import numpy as np
import pytest
import SimpleITK as sitk

from GLIDERegLib.evaluation.demo import judge
from GLIDERegLib.files.points import read_points
from GLIDERegLib.files.volumes import read_volume


def test_no_registration_leaves_the_true_displacement_as_error(small_phantom):
    report = judge(small_phantom, sitk.Transform(3, sitk.sitkIdentity))
    apart = np.linalg.norm(small_phantom.moving_nodules - small_phantom.fixed_nodules, axis=1)
    assert report["nodules"]["final"]["mean"] == pytest.approx(apart.mean())
    tissue = small_phantom.fixed.array > -300
    length = np.linalg.norm(small_phantom.displacement(small_phantom.fixed.grid.points()[tissue]), axis=1)
    assert report["body"]["final"]["max"] == pytest.approx(length.max(), rel=0.2)
    for where in ("body", "nodules"):
        assert report[where]["initial"] == report[where]["final"]


def test_the_true_displacement_leaves_no_error(small_phantom):
    grid = small_phantom.fixed.grid
    field = sitk.GetImageFromArray(small_phantom.displacement(grid.points()), isVector=True)
    field.SetOrigin(grid.origin)
    field.SetSpacing(grid.spacing)
    report = judge(small_phantom, sitk.DisplacementFieldTransform(field))
    assert report["body"]["final"]["max"] < 1e-3 < report["body"]["initial"]["mean"]
    # Between voxels of 6 mm the field is interpolated.
    assert report["nodules"]["final"]["max"] < 0.5
    assert report["target_registration_error"]["final"]["max"] < 0.5
    assert report["dice"]["final"]["mean"] > report["dice"]["initial"]["mean"]


def test_the_pair_on_disk_is_the_phantom(small_phantom, phantom_folder):
    for role in ("fixed", "moving"):
        volume = read_volume(phantom_folder / f"{role}.nii.gz", role)
        assert np.array_equal(volume.array, getattr(small_phantom, role).array)
        assert volume.grid.matches(getattr(small_phantom, role).grid)
        points = read_points(phantom_folder / f"{role}_landmarks.csv")
        assert np.allclose(points.points, getattr(small_phantom, f"{role}_landmarks"), atol=1e-5)
