import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from transform_samples import GRID, an_affine, field_transform, inner_points, waves

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.points import PointSet
from GLIDERegLib.files.text_transforms import COUNTS
from GLIDERegLib.files.transforms import read_transform, write_transform
from GLIDERegLib.transforms.points import in_field, map_points, propagate


@pytest.mark.parametrize("suffix", [".h5", ".tfm", ".txt"])
@pytest.mark.parametrize("kind", ["rigid", "affine", "field", "composite"])
def test_transforms_survive_writing_and_reading(tmp_path, suffix, kind):
    transform = {
        "rigid": sitk.Euler3DTransform((1, 2, 3), 0.1, 0.2, 0.3, (4, 5, 6)),
        "affine": an_affine(),
        "field": field_transform(waves),
        "composite": sitk.CompositeTransform([an_affine(), field_transform(waves)]),
    }[kind]
    write_transform(transform, tmp_path / f"t{suffix}")
    points = inner_points()
    back = read_transform(tmp_path / f"t{suffix}")
    np.testing.assert_allclose(map_points(back, points), map_points(transform, points), atol=1e-9)


def test_an_affine_in_the_mat_file_of_ants_is_read(tmp_path):
    sitk.WriteTransform(an_affine(), str(tmp_path / "t.mat"))
    np.testing.assert_allclose(
        map_points(read_transform(tmp_path / "t.mat"), [[1, 2, 3]]), map_points(an_affine(), [[1, 2, 3]])
    )


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_a_displacement_field_stored_as_an_image_is_read(tmp_path, suffix):
    transform = field_transform(waves)
    points = inner_points()
    expected = map_points(transform, points)
    sitk.WriteImage(transform.GetDisplacementField(), str(tmp_path / f"u{suffix}"))
    np.testing.assert_allclose(
        map_points(read_transform(tmp_path / f"u{suffix}"), points), expected, atol=1e-4
    )


@pytest.mark.parametrize("intent, vector", [(1007, [1.0, 2.0, 3.0]), (1006, [-1.0, -2.0, 3.0])])
def test_vectors_of_a_nifti_field_are_lps_or_ras_by_their_intent(tmp_path, intent, vector):
    image = nibabel.Nifti1Image(np.broadcast_to(np.float32(vector), (5, 6, 7, 1, 3)), np.diag([-1, -1, 1, 1]))
    image.header["intent_code"] = intent
    nibabel.save(image, tmp_path / "u.nii.gz")
    transform = read_transform(tmp_path / "u.nii.gz")
    np.testing.assert_allclose(map_points(transform, [[2, 2, 2]]), [[3, 4, 5]], atol=1e-6)


def refusal(path):
    with pytest.raises(InputError) as refused:
        read_transform(path)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_what_is_no_transform_is_refused(tmp_path):
    for name in ("bad.h5", "bad.tfm", "bad.txt", "bad.mat", "bad.nii.gz", "bad.nrrd"):
        (tmp_path / name).write_text("this is no transform")
        assert "damaged" in refusal(tmp_path / name)
    (tmp_path / "t.xyz").write_text("nothing known")
    assert "unknown type" in refusal(tmp_path / "t.xyz")
    assert "does not exist" in refusal(tmp_path / "none.h5")
    assert "does not exist" in refusal(tmp_path)
    sitk.WriteImage(sitk.Image(5, 5, 5, sitk.sitkInt16), str(tmp_path / "ct.nii.gz"))
    assert "three values" in refusal(tmp_path / "ct.nii.gz")
    sitk.WriteTransform(sitk.AffineTransform(2), str(tmp_path / "t.tfm"))
    assert "2-D" in refusal(tmp_path / "t.tfm")


def test_a_field_that_is_cut_off_or_not_finite_is_refused(tmp_path):
    field = field_transform(waves).GetDisplacementField()
    sitk.WriteImage(field, str(tmp_path / "u.nii.gz"))
    data = (tmp_path / "u.nii.gz").read_bytes()
    (tmp_path / "u.nii.gz").write_bytes(data[: len(data) // 2])
    assert "incomplete" in refusal(tmp_path / "u.nii.gz")
    field[3, 3, 3] = (0.0, np.nan, 0.0)
    for name in ("u.nii.gz", "u.mha"):
        sitk.WriteImage(field, str(tmp_path / name))
        assert "NaN" in refusal(tmp_path / name)


FLAT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("name", ["a.tfm", "a.h5", "a.mat", "composite.tfm", "scale.tfm", "elastix.txt"])
def test_a_transform_that_flattens_space_is_refused(tmp_path, name):
    affine = an_affine(matrix=(1.0, 1.0, 0.0, 1.0, 1.0, 1e-9, 0.0, 0.0, 1.0))
    scale = sitk.ScaleTransform(3, (1.0, 1.0, 1e-9))
    whole = {"composite.tfm": sitk.CompositeTransform([sitk.Euler3DTransform(), affine]), "scale.tfm": scale}
    path = tmp_path / name
    if name == "elastix.txt":
        path.write_text(
            '(Transform "AffineTransform")\n(NumberOfParameters 12)\n(CenterOfRotationPoint 1 2 3)\n'
            f"(TransformParameters {' '.join(map(str, FLAT))} 4 5 6)\n"
        )
    else:
        sitk.WriteTransform(whole.get(name, affine), str(path))
    with pytest.raises(InputError, match="singular"):
        read_transform(path)


def itk_text(name, parameters, fixed="0 0 0", end="\n"):
    head = "#Insight Transform File V1.0\n#Transform 0\n"
    return f"{head}Transform: {name}\nParameters: {parameters}\nFixedParameters: {fixed}{end}"


def test_the_affine_of_ants_in_text_is_read_and_carries_points(tmp_path):
    """SimpleITK shows it as a composite of itself, without end."""
    text = itk_text("MatrixOffsetTransformBase_double_3_3", "1 0 0 0 1 0 0 0 1 5 6 7")
    (tmp_path / "Affine.txt").write_text(text)
    transform = read_transform(tmp_path / "Affine.txt")
    points = PointSet(["A"], np.array([[10.0, 20.0, 30.0]]))
    there, columns = propagate(points, transform, "fixed-to-moving")
    np.testing.assert_allclose(there.points, [[15.0, 26.0, 37.0]])
    back, _ = propagate(there, transform, "moving-to-fixed")
    np.testing.assert_allclose(back.points, points.points, atol=1e-3)
    assert columns["inside_field"].all() and columns["residual_mm"].max() < 1e-3
    whole = sitk.CompositeTransform([transform, field_transform(waves)])
    assert in_field(whole, GRID.center[None]).all()


@pytest.mark.parametrize(
    "text, said",
    [
        (itk_text("VersorRigid3DTransform_double_3_3", "2 2 2 0 0 0"), "no VersorRigid3DTransform"),
        (itk_text("FancyTransform_double_3_3", "1 2 3"), "FancyTransform_double_3_3 is not"),
        (
            itk_text("ComposeScaleSkewVersor3DTransform_double_3_3", "0 0 0 0 0 0 1 1 1 0 0 0"),
            "of a kind that is not read here .Compose",
        ),
        (itk_text("AffineTransform_double_3_3", "1 0 0 0 1 0 0 0 1 5 6 7", end=""), "line break"),
    ],
)
def test_a_text_that_itk_reads_as_another_is_refused_with_the_reason(tmp_path, text, said):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(InputError, match=said):
        read_transform(tmp_path / "a.txt")


def parameters_of(kind):
    """Parameters and fixed parameters of a transform of this kind, as ITK writes them."""
    if kind == "MatrixOffsetTransformBase":
        kind = "AffineTransform"
    if kind == "IdentityTransform":
        return [], []
    if kind == "QuaternionRigidTransform":  # SimpleITK has no class for these two
        return [0.0, 0.0, 0.0, 1.0, 5.0, 6.0, 7.0], [0.0] * 3
    if kind == "ScaleLogarithmicTransform":
        return [0.1, 0.2, 0.3], [0.0] * 3
    if kind in ("AffineTransform", "TranslationTransform", "ScaleTransform"):
        transform = getattr(sitk, kind)(3)
    else:
        transform = getattr(sitk, kind)()
    return list(transform.GetParameters()), list(transform.GetFixedParameters())


@pytest.mark.parametrize("ending", [".txt", ".tfm", ".mat"])
@pytest.mark.parametrize("kind", COUNTS)
def test_a_number_too_many_or_too_few_is_refused_with_both_counts(tmp_path, kind, ending):
    whole = parameters_of(kind)
    path = tmp_path / f"a{ending}"

    def write(parameters, fixed):
        if ending == ".mat":
            heads = ((f"{kind}_double_3_3", parameters), ("fixed", fixed))
            path.write_bytes(b"".join(matlab_matrix(name, values) for name, values in heads))
        else:
            words = (" ".join(map(str, values)) for values in (parameters, fixed))
            path.write_text(itk_text(f"{kind}_double_3_3", *words))

    write(*whole)
    read_transform(path)
    for part, says in ((0, "parameter"), (1, "fixed parameter")):
        for change in (-1, 1):
            values = [list(numbers) for numbers in whole]
            values[part] = (values[part] + [8.0])[: len(values[part]) + change] if values[part] else [8.0]
            if len(values[part]) == 3 and len(whole[part]) == 4:
                continue  # Euler's fourth fixed parameter is of ITK 4.10 and later
            write(*values)
            told = f"holds {len(values[part])} {says}.* has {len(whole[part])}"
            with pytest.raises(InputError, match=told):
                read_transform(path)


@pytest.mark.parametrize("kind", ["BSplineTransform", "DisplacementFieldTransform"])
def test_a_field_in_text_with_numbers_that_do_not_fill_its_grid_is_refused_with_both_counts(tmp_path, kind):
    transform = sitk.BSplineTransform(3) if kind == "BSplineTransform" else field_transform(waves)
    sitk.WriteTransform(transform, str(tmp_path / "a.tfm"))
    read_transform(tmp_path / "a.tfm")
    text, due = (tmp_path / "a.tfm").read_text(), len(transform.GetParameters())
    for more, there in (("\nParameters: 1 ", due + 1), ("\nParameters:", due - 1)):
        words = text.partition("\nParameters: ")
        rest = words[2] if there > due else words[2].partition(" ")[2]
        (tmp_path / "a.tfm").write_text(words[0] + more.rstrip() + " " + rest)
        with pytest.raises(InputError, match=f"holds {there} parameters, where a {kind} has {due}"):
            read_transform(tmp_path / "a.tfm")


@pytest.mark.parametrize("size", ["6$6", "nan", "inf", ""])
def test_a_field_in_text_whose_size_is_no_number_is_refused(tmp_path, size):
    sitk.WriteTransform(sitk.BSplineTransform(3), str(tmp_path / "a.tfm"))
    before, name, fixed = (tmp_path / "a.tfm").read_text().partition("FixedParameters: ")
    (tmp_path / "a.tfm").write_text(before + name + size + " " + fixed.partition(" ")[2])
    with pytest.raises(InputError):
        read_transform(tmp_path / "a.tfm")


def matlab_matrix(name, values):
    """Level 4 of MATLAB's format: a head of five int32, the name, the numbers in one column."""
    text = name.encode() + b"\0"
    return (
        struct.pack("<5i", 0, len(values), 1, 0, len(text)) + text + struct.pack(f"<{len(values)}d", *values)
    )


def test_a_colour_picture_is_no_field(tmp_path):
    image = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    with pytest.raises(InputError, match="colour"):
        read_transform(tmp_path / "a.mha")


def test_a_transform_between_metres_and_millimetres_is_no_singular_one(tmp_path):
    sitk.WriteTransform(an_affine(matrix=tuple(1e-3 * np.eye(3).ravel())), str(tmp_path / "a.tfm"))
    assert read_transform(tmp_path / "a.tfm").TransformPoint((0.0, 0.0, 1000.0))[2] == pytest.approx(11.0)


def test_nan_in_a_field_is_not_told_to_be_air(tmp_path):
    vectors = np.zeros((4, 5, 6, 3))
    vectors[1, 2, 3] = np.nan
    for name in ("f.nii.gz", "f.nrrd", "f.mha"):
        sitk.WriteImage(sitk.GetImageFromArray(vectors, isVector=True), str(tmp_path / name))
        with pytest.raises(InputError, match="compute it again"):
            read_transform(tmp_path / name)


def test_a_text_file_with_several_loose_transforms_is_refused(tmp_path):
    sitk.WriteTransform(an_affine(), str(tmp_path / "t.txt"))
    header, body = (tmp_path / "t.txt").read_text().split("\n", 1)
    (tmp_path / "t.txt").write_text(f"{header}\n{body}{body}")
    assert "several" in refusal(tmp_path / "t.txt")


@pytest.mark.parametrize("name", ["t.mat", "t.nii.gz", "none/t.h5"])
def test_a_transform_that_cannot_be_written_leaves_nothing_behind(tmp_path, name):
    with pytest.raises(InputError, match="Cannot write"):
        write_transform(an_affine(), tmp_path / name)
    assert not list(tmp_path.iterdir())


CUT = {
    "affine.tfm": sitk.AffineTransform([1, 0.1, 0, 0, 1, 0, 0, 0, 1], [10, 20, 30.25], [1, 2, 3.5]),
    "euler.txt": sitk.Euler3DTransform((1, 2, 3.5), 0.1, 0.2, 0.3, (10, 20, 30.25)),
    "translation.tfm": sitk.TranslationTransform(3, (10, 20, 30.25)),
    "field.tfm": sitk.DisplacementFieldTransform(
        sitk.GetImageFromArray(np.full((2, 2, 2, 3), 1.5), isVector=True)
    ),
    "composite.tfm": sitk.CompositeTransform(
        [sitk.TranslationTransform(3, (10, 20, 30)), sitk.Euler3DTransform((1, 2, 3), 0.1, 0.2, 0.3)]
    ),
    "affine.mat": sitk.AffineTransform([1, 0.1, 0, 0, 1, 0, 0, 0, 1], [10, 20, 30.25], [1, 2, 3.5]),
}


@pytest.mark.parametrize("name", CUT)
def test_a_transform_that_was_cut_off_anywhere_is_never_read_as_another_one(tmp_path, name):
    """ITK itself takes what is missing for the identity, and a shortened number for the number."""
    path, point = tmp_path / name, (0.4, 0.6, 0.7)
    sitk.WriteTransform(CUT[name], str(path))
    expected = CUT[name].TransformPoint(point)
    assert read_transform(path).TransformPoint(point) == pytest.approx(expected)
    whole = path.read_bytes()
    # Between two parts of a composite nothing tells that another one followed.
    between = whole.find(b"#Transform 2") if name.startswith("composite") else -1
    for end in range(0, len(whole) - 1, 2):
        path.write_bytes(whole[:end])
        if end == between:
            continue
        try:
            read = read_transform(path)
        except InputError:
            continue
        assert read.TransformPoint(point) == pytest.approx(expected), end
