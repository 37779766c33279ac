"""Fields and transforms of other programs: read by what their headers say, or refused by name."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.transforms import read_transform
from GLIDERegLib.transforms.points import map_points

AFFINE = np.diag([-5.0, -5.0, 5.0, 1.0])  # voxel to RAS: a grid from LPS (0, 0, 0)
MOVE = np.array([-10.0, -3.0, 2.0])  # RAS; LPS (10, 3, 2)
WHERE, GOES = [[50.0, 50.0, 50.0]], [[60.0, 53.0, 52.0]]


def nifti_field(path, positions, name="", p1=0.0, intent=1007, description=b"", unit="mm"):
    index = np.stack(np.meshgrid(*[np.arange(21)] * 3, indexing="ij"), -1)
    here = index @ AFFINE[:3, :3].T
    data = (here + MOVE if positions else np.broadcast_to(MOVE, here.shape)).astype("f4")
    image = nibabel.Nifti1Image(data[:, :, :, None, :], AFFINE)
    image.header.set_intent(intent, name=name)
    image.header["intent_p1"], image.header["descrip"] = p1, description
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)
    return path


def nrrd_field(path, *lines, space="left-posterior-superior", vectors=None):
    vectors = np.broadcast_to(np.float32([10, 3, 2]), (21, 21, 21, 3)) if vectors is None else vectors
    size = " ".join(str(n) for n in vectors.shape[2::-1])
    header = [
        "NRRD0005", "type: float", "dimension: 4", f"space: {space}", f"sizes: 3 {size}",
        "space directions: none (5,0,0) (0,5,0) (0,0,5)", "kinds: vector domain domain domain",
        "endian: little", "encoding: raw", "space origin: (0,0,0)", *lines,
    ]  # fmt: skip
    path.write_bytes("\n".join([*header, "", ""]).encode() + vectors.astype("<f4").tobytes())
    return path


@pytest.mark.parametrize(
    "positions, given",
    [
        (True, {"name": "NREG_TRANS", "p1": 0}),
        (False, {"name": "NREG_TRANS", "p1": 1}),
        (True, {"name": "Mapping"}),
        (True, {"description": b"Deformation"}),
    ],
)
def test_fields_of_niftyreg_and_spm_are_read_as_ras(tmp_path, positions, given):
    transform = read_transform(nifti_field(tmp_path / "f.nii.gz", positions, **given))
    np.testing.assert_allclose(map_points(transform, WHERE), GOES, atol=1e-4)


def test_control_points_of_niftyreg_are_a_cubic_b_spline_of_where_the_nodes_go(tmp_path):
    """SciPy's sum of the same basis is the peer; a shift alone stays itself."""
    path = nifti_field(tmp_path / "cpp.nii.gz", True, name="NREG_TRANS", p1=2)
    np.testing.assert_allclose(map_points(read_transform(path), WHERE), GOES, atol=1e-4)
    image = nibabel.load(path)
    away = np.random.default_rng(0).normal(0, 3, (21, 21, 21, 3))
    data = image.get_fdata() + away[:, :, :, None]
    nibabel.save(nibabel.Nifti1Image(data.astype("f4"), AFFINE, image.header), path)
    points = np.random.default_rng(1).uniform(15, 80, (50, 3))
    index = (points / 5.0).T
    bent = [
        ndimage.map_coordinates(away[..., n], index, order=3, prefilter=False, mode="nearest")
        for n in range(3)
    ]
    expected = points + (np.stack(bent, axis=1) + MOVE) * (-1, -1, 1)
    np.testing.assert_allclose(map_points(read_transform(path), points), expected, atol=1e-3)


def test_too_few_control_points_are_refused(tmp_path):
    path = nifti_field(tmp_path / "cpp.nii.gz", True, name="NREG_TRANS", p1=2)
    image = nibabel.load(path)
    few = nibabel.Nifti1Image(image.get_fdata()[:2].astype("f4"), AFFINE, image.header)
    nibabel.save(few, path)
    with pytest.raises(InputError, match="too few control points"):
        read_transform(path)


@pytest.mark.parametrize(
    "positions, given, said",
    [
        (False, {"name": "NREG_TRANS", "p1": 3}, "velocity field of NiftyReg"),
        (False, {"name": "NREG_TRANS", "p1": 5}, "velocity field of NiftyReg"),
        (False, {"name": "NREG_TRANS", "p1": 9}, "unknown kind 9 of NiftyReg"),
        (False, {"name": "NREG_VEL_STEP"}, "NREG_VEL_STEP"),
        (False, {"intent": 2006}, "FSL"),
        (False, {"name": "Velocity"}, "Velocity"),
        (False, {"description": b"Velocity (1 2 3)"}, "a velocity field"),
        (False, {"description": b"Flow Field"}, "a flow field, as SPM's DARTEL"),
        (False, {"description": b"from 3dQwarp"}, "a warp of AFNI"),
        (True, {}, "positions"),
        (False, {"unit": "meter"}, "not in mm"),
    ],
)
def test_other_vectors_are_refused_by_name(tmp_path, positions, given, said):
    path = nifti_field(tmp_path / "f.nii.gz", positions, **given)
    with pytest.raises(InputError, match=said):
        read_transform(path)


@pytest.mark.parametrize(
    "counts",
    [
        lambda index: index,
        lambda index: index + 1,
        lambda index: index + np.random.default_rng(0).normal(0, 0.5, index.shape),
        lambda index: index / 20,
        lambda index: index / 10 - 1,
        lambda index: 0.95 * (index / 10 - 1),
    ],
)
@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_positions_in_voxels_or_shares_of_the_image_are_no_displacements(tmp_path, counts, suffix):
    index = np.stack(np.meshgrid(*[np.arange(21.0)] * 3, indexing="ij")[::-1], axis=-1)
    image = sitk.GetImageFromArray(counts(index), isVector=True)
    image.SetSpacing((5.0, 5.0, 5.0))
    sitk.WriteImage(image, str(tmp_path / f"f{suffix}"))
    with pytest.raises(InputError, match="seems to hold positions"):
        read_transform(tmp_path / f"f{suffix}")


def test_a_field_that_stretches_by_a_fifth_is_one_of_displacements(tmp_path):
    index = np.stack(np.meshgrid(*[np.arange(21.0)] * 3, indexing="ij")[::-1], axis=-1)
    image = sitk.GetImageFromArray(0.2 * 5.0 * (index - 10), isVector=True)
    image.SetSpacing((5.0, 5.0, 5.0))
    sitk.WriteImage(image, str(tmp_path / "f.mha"))
    np.testing.assert_allclose(map_points(read_transform(tmp_path / "f.mha"), WHERE), WHERE)


@pytest.mark.filterwarnings("error")
def test_numbers_whose_squares_are_no_numbers_warn_of_nothing(tmp_path):
    image = sitk.GetImageFromArray(np.full((5, 5, 5, 3), 1e200), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "f.mha"))
    read_transform(tmp_path / "f.mha")


def test_slicers_field_for_modelling_is_inverted(tmp_path):
    x = 5.0 * np.arange(21)
    bump = 8 * np.exp(-(((x - 50) / 30) ** 2))
    vectors = np.zeros((21, 21, 21, 3), np.float32)
    vectors[..., 0] = bump[:, None, None] * (bump / 8)[None, :, None] * (bump / 8)[None, None, :]
    there = read_transform(
        nrrd_field(tmp_path / "a.nrrd", "displacement field type:=resampling", vectors=vectors)
    )
    back = read_transform(
        nrrd_field(tmp_path / "b.nrrd", "displacement field type:=modeling", vectors=vectors)
    )
    points = np.random.default_rng(1).uniform(30, 70, (40, 3))
    np.testing.assert_allclose(map_points(back, map_points(there, points)), points, atol=0.15)
    assert np.abs(map_points(there, points) - points).max() > 3


def test_a_field_for_modelling_that_folds_is_refused(tmp_path):
    vectors = np.zeros((21, 21, 21, 3), np.float32)
    vectors[..., :10, 0] = 40.0
    with pytest.raises(InputError, match="folds"):
        read_transform(nrrd_field(tmp_path / "a.nrrd", "displacement field type:=modeling", vectors=vectors))


@pytest.mark.parametrize(
    "lines, space, said",
    [
        (["displacement field type:=velocity"], "left-posterior-superior", "velocity"),
        ([], "right-anterior-superior", "right-anterior-superior"),
        (['space units: "m" "m" "m"'], "left-posterior-superior", "not in mm"),
    ],
)
def test_an_nrrd_field_in_another_frame_is_refused(tmp_path, lines, space, said):
    with pytest.raises(InputError, match=said):
        read_transform(nrrd_field(tmp_path / "a.nrrd", *lines, space=space))


def elastix_text(name, values, *lines, before="NoInitialTransform"):
    return "\n".join(
        [f'(Transform "{name}")', f"(NumberOfParameters {len(values)})",
         f"(TransformParameters {' '.join(map(repr, map(float, values)))})",
         f'(InitialTransformParametersFileName "{before}")', '(HowToCombineTransforms "Compose")',
         "(FixedImageDimension 3)", "(MovingImageDimension 3)", *lines]
    )  # fmt: skip


def a_bspline():
    spline = sitk.BSplineTransformInitializer(sitk.Image(20, 20, 20, sitk.sitkUInt8), [4, 5, 6])
    spline.SetParameters(np.random.default_rng(3).normal(0, 2, spline.GetNumberOfParameters()).tolist())
    return spline


def elastix_of(spline):
    image = spline.GetCoefficientImages()[0]
    grid = {
        "GridSize": image.GetSize(), "GridSpacing": image.GetSpacing(), "GridOrigin": image.GetOrigin(),
        "GridIndex": (0, 0, 0), "GridDirection": np.reshape(image.GetDirection(), (3, 3)).T.ravel(),
    }  # fmt: skip
    return [f"({key} {' '.join(map(str, value))})" for key, value in grid.items()]


def test_a_chain_of_elastix_is_read_first_transform_first(tmp_path):
    euler = sitk.Euler3DTransform((50.0, 40.0, 30.0), 0.1, -0.2, 0.3, (1.0, 2.0, 3.0))
    spline = a_bspline()
    (tmp_path / "TransformParameters.0.txt").write_text(
        elastix_text("EulerTransform", euler.GetParameters(), "(CenterOfRotationPoint 50 40 30)")
    )
    (tmp_path / "TransformParameters.1.txt").write_text(
        elastix_text("BSplineTransform", spline.GetParameters(), *elastix_of(spline),
                     before="/gone/TransformParameters.0.txt")
    )  # fmt: skip
    points = np.random.default_rng(2).uniform(4, 15, (20, 3))
    expected = map_points(spline, map_points(euler, points))
    got = map_points(read_transform(tmp_path / "TransformParameters.1.txt"), points)
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize(
    "text, said",
    [
        (elastix_text("EulerTransform", [0] * 6), "CenterOfRotationPoint"),
        (elastix_text("SplineKernelTransform", [0] * 6), "SplineKernelTransform"),
        (elastix_text("TranslationTransform", [0] * 2), "2 parameters"),
        (elastix_text("TranslationTransform", [0] * 3, before="t.txt"), "does not end"),
        (elastix_text("TranslationTransform", [0] * 3, before="none.txt"), "none.txt"),
        (elastix_text("TranslationTransform", [0] * 3).replace("Parameters 0.0", "Parameters x"), "numbers"),
        (elastix_text("BSplineTransform", [0] * 12), "GridSize"),
    ],
)
def test_other_transforms_of_elastix_are_refused_by_name(tmp_path, text, said):
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(InputError, match="elastix") as refused:
        read_transform(tmp_path / "t.txt")
    assert said in str(refused.value)


def test_an_inverse_transform_of_slicer_and_a_plain_matrix_are_refused_by_name(tmp_path):
    text = "#Insight Transform File V1.0\n#Transform 0\n"
    text += "Transform: InverseThinPlateSplineKernelTransform_double_3_3\n"
    (tmp_path / "t.tfm").write_text(text + "Parameters: 0 0 0\nFixedParameters: 0 0 0\n")
    with pytest.raises(InputError, match="InverseThinPlateSplineKernelTransform"):
        read_transform(tmp_path / "t.tfm")
    (tmp_path / "flirt.mat").write_text("1 0 0 0  \n0 1 0 0  \n0 0 1 0  \n0 0 0 1  \n")
    with pytest.raises(InputError, match="plain matrix"):
        read_transform(tmp_path / "flirt.mat")
