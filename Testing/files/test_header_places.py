"""Units, spaces and orientations in the headers of NRRD and MetaImage: read right, told, or refused."""

import numpy as np
import pytest
import SimpleITK as sitk

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.grids import read_grid
from GLIDERegLib.files.segmentations import read_segmentation
from GLIDERegLib.files.transforms import read_transform
from GLIDERegLib.files.volumes import read_mask, read_volume

VALUES = np.random.default_rng(0).integers(-1000, 400, (4, 5, 6)).astype("<i2")
DIRECTIONS, ORIGIN, LPS = (
    "space directions: (2,0,0) (0,2,0) (0,0,3)",
    "space origin: (1,2,3)",
    "space: left-posterior-superior",
)
WHOLE = ("endian: little", LPS, DIRECTIONS, ORIGIN)
MATRIX = "TransformMatrix = 1 0 0 0 1 0 0 0 1"
PLACED = (MATRIX, "Offset = 1 2 3", "ElementSpacing = 2 2 3")


def nrrd(folder, *lines, name="a.nrrd", values=VALUES):
    kind = {"<i2": "int16", "|u1": "uint8"}[values.dtype.str]
    head = ("NRRD0004", f"type: {kind}", "dimension: 3", "sizes: 6 5 4", "encoding: raw", *lines, "", "")
    (folder / name).write_bytes("\n".join(head).encode() + values.tobytes())
    return folder / name


def meta(folder, *lines):
    head = ("ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False", *lines)
    tail = ("DimSize = 6 5 4", "ElementType = MET_SHORT", "ElementDataFile = LOCAL", "")
    (folder / "a.mha").write_bytes("\n".join((*head, *tail)).encode() + VALUES.tobytes())
    return folder / "a.mha"


@pytest.mark.parametrize("unit, factor", [("um", 1e-3), ("mm", 1.0), ("cm", 10.0), ("?", 1.0)])
def test_the_distance_units_of_a_metaimage_count(tmp_path, unit, factor):
    path = meta(tmp_path, *PLACED, f"DistanceUnits = {unit}")
    for grid in (read_volume(path).grid, read_grid(path)):
        np.testing.assert_allclose(grid.spacing, factor * np.array([2, 2, 3]))
        np.testing.assert_allclose(grid.origin, factor * np.array([1, 2, 3]))


def test_unknown_units_are_refused(tmp_path):
    with pytest.raises(InputError, match="distance units inch"):
        read_volume(meta(tmp_path, *PLACED, "DistanceUnits = inch"))


def test_a_field_that_is_not_in_mm_is_refused_in_a_metaimage_too(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 6, 3)), isVector=True), str(tmp_path / "f.mha"))
    head, mark, rest = (tmp_path / "f.mha").read_bytes().partition(b"DimSize")
    (tmp_path / "f.mha").write_bytes(head + b"DistanceUnits = cm\n" + mark + rest)
    with pytest.raises(InputError, match="not in mm"):
        read_transform(tmp_path / "f.mha")


def test_a_segmentation_is_read_in_its_unit(tmp_path):
    labels = (VALUES > 0).astype(np.uint8)
    path = nrrd(tmp_path, *WHOLE[1:], 'space units: "cm" "cm" "cm"', values=labels)
    assert read_segmentation(path).grid.spacing == (20.0, 20.0, 30.0)


# Letters say where an axis comes from, as ITK writes them, or where it goes to; both are in use.
@pytest.mark.parametrize(
    "matrix, letters, contradicts",
    [
        ("1 0 0 0 1 0 0 0 1", "RAI", False),
        ("1 0 0 0 1 0 0 0 1", "LPS", False),
        ("1 0 0 0 1 0 0 0 1", "???", False),
        ("1 0 0 0 1 0 0 0 1", "RAS", True),
        ("1 0 0 0 1 0 0 0 1", "LPI", True),
        ("-1 0 0 0 -1 0 0 0 1", "LPI", False),
        ("-1 0 0 0 -1 0 0 0 1", "RAI", True),
        ("0 0 1 1 0 0 0 1 0", "IRA", False),  # a row of the file is an axis of the image
        ("0 0 1 1 0 0 0 1 0", "RAI", True),
    ],
)
def test_an_orientation_that_contradicts_the_matrix_is_told(tmp_path, matrix, letters, contradicts):
    lines = (f"TransformMatrix = {matrix}", *PLACED[1:], f"AnatomicalOrientation = {letters}")
    notes = read_volume(meta(tmp_path, *lines)).notes
    assert [f"come from {letters} by AnatomicalOrientation" in note for note in notes] == [True] * contradicts


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_what_itk_writes_contradicts_nothing(tmp_path, signs):
    image = sitk.GetImageFromArray(VALUES)
    image.SetDirection(np.diag(signs).astype(float).ravel().tolist())
    for name in ("a.mha", "a.nrrd"):
        sitk.WriteImage(image, str(tmp_path / name))
        assert read_volume(tmp_path / name).notes == ()


@pytest.mark.parametrize(
    "lines, said",
    [
        ((*PLACED[1:], "AnatomicalOrientation = LPI"), "has no TransformMatrix"),
        ((MATRIX, "Offset = 1 2 3"), "does not say its spacing; assumed: 1 mm"),
        ((MATRIX, "ElementSize = 2 2 3"), "does not say its origin; assumed: 0"),
        ((*PLACED, "ElementToIntensityFunctionSlope = 2"), "values times 2"),
    ],
)
def test_what_a_metaimage_leaves_open_is_told_without_the_path(tmp_path, lines, said):
    (note,) = read_volume(meta(tmp_path, *lines)).notes
    assert said in note and str(tmp_path) not in note


@pytest.mark.parametrize(
    "lines, said",
    [
        (("space dimension: 3", DIRECTIONS, ORIGIN), "assumed: LPS."),
        (("spacings: 2 2 3",), "assumed: LPS and 0."),
        ((LPS, DIRECTIONS), "origin; assumed: 0"),
        (("space: scanner-xyz", DIRECTIONS, ORIGIN), "'scanner-xyz', which does not say"),
        ((LPS, DIRECTIONS, ORIGIN, "old min: 0", "old max: 1"), "quantised"),
    ],
)
def test_what_an_nrrd_leaves_open_is_told_without_the_path(tmp_path, lines, said):
    (note,) = read_volume(nrrd(tmp_path, "endian: little", *lines)).notes
    assert said in note and str(tmp_path) not in note


@pytest.mark.parametrize(
    "space, left", [("RAS", -1), ("LAS", 1), ("LPS", 1), ("Right-Anterior-Superior", -1)]
)
def test_a_space_of_the_patient_is_read_without_a_note(tmp_path, space, left):
    volume = read_volume(nrrd(tmp_path, "endian: little", f"space: {space}", DIRECTIONS, ORIGIN))
    assert volume.notes == () and volume.grid.origin[0] == left


@pytest.mark.parametrize(
    "lines, said",
    [
        (("endian: little", "space: LPI", DIRECTIONS, ORIGIN), "the space 'LPI', which NRRD does not know"),
        ((LPS, DIRECTIONS, ORIGIN), "order of its bytes"),
        (("endian: little", LPS, "space directions: none (0,2,0) (0,0,3)", ORIGIN), "no direction"),
        (("endian: little", LPS, "space directions: (2,0,0) (2,0,0) (0,0,3)", ORIGIN), "same direction"),
        (("endian: little", LPS, "space directions: (2,0,0) (0,0,0) (0,0,3)", ORIGIN), "is zero"),
        (("endian: little", LPS, "spacings: 2 2 3"), "asks for space directions"),
        ((*WHOLE, "foo: bar"), "foo"),
        (("endian: little", "spacings: -2 2 3"), "negative spacing"),
        (("endian: little", "axis mins: 0 40 0", "axis maxs: 12 -40 15"), "axis mins, axis maxs"),
        (("endian: little", "axis mins: 0 0 0", "axis maxs: 12 10 12"), "axis mins, axis maxs"),
        (("endian: little", "axis maxs: 12 10 12", "centers: node node node"), "axis mins, axis maxs"),
        (("endian: little", LPS, "space directions: (nan,nan,nan) (0,2,0) (0,0,3)", ORIGIN), "gives NaN"),
        (("endian: little", "spacings: 2 2 3", 'units: "mm" "mm" "inch"'), "units mm, mm, inch"),
        ((*WHOLE, "byte skip: -2"), "at byte '-2'"),
    ],
)
def test_an_nrrd_is_refused_with_the_reason(tmp_path, lines, said):
    with pytest.raises(InputError, match=said) as refused:
        read_volume(nrrd(tmp_path, *lines))
    assert "\n" not in str(refused.value) and "damaged" not in str(refused.value)


@pytest.mark.parametrize(
    "matrix, said",
    [("1 0 0 0 1 0 0 0 0", "same direction, or one has none"), ("2 0 0 0 2 0 0 0 3", "not of length 1")],
)
def test_a_metaimage_with_directions_that_are_none_is_refused_with_the_reason(tmp_path, matrix, said):
    with pytest.raises(InputError, match=said):
        read_volume(meta(tmp_path, f"TransformMatrix = {matrix}", *PLACED[1:]))


@pytest.mark.parametrize(
    "lines, said",
    [
        (
            (MATRIX, "Offset = 1 2 3", "ElementSpacing = 2,5 2,5 3"),
            "as ElementSpacing, which is not 3 numbers",
        ),
        ((MATRIX, "Offset = 1 2 3", "ElementSpacing = 2 2"), "as ElementSpacing, which is not 3 numbers"),
        ((MATRIX, "Offset = nan 2 3", "ElementSpacing = 2 2 3"), "as Offset, which is not 3 numbers"),
        (("TransformMatrix = 1 0 0 1", *PLACED[1:]), "as TransformMatrix, which is not 9 numbers"),
    ],
)
def test_numbers_that_are_none_in_a_metaimage_are_named(tmp_path, lines, said):
    with pytest.raises(InputError, match=said):
        read_volume(meta(tmp_path, *lines))


def test_another_object_of_metaio_is_no_image(tmp_path):
    path = meta(tmp_path, *PLACED)
    path.write_bytes(path.read_bytes().replace(b"ObjectType = Image", b"ObjectType = Tube"))
    with pytest.raises(InputError, match="a Tube of MetaIO"):
        read_volume(path)


def test_longs_of_eight_bytes_are_refused(tmp_path):
    path = meta(tmp_path, *PLACED)
    head = path.read_bytes()[: -VALUES.nbytes].replace(b"MET_SHORT", b"MET_LONG")
    path.write_bytes(head + VALUES.astype("<i4").tobytes())
    np.testing.assert_array_equal(read_volume(path).array, VALUES)
    path.write_bytes(head + VALUES.astype("<i8").tobytes())
    with pytest.raises(InputError, match="twice the bytes"):
        read_volume(path)


@pytest.mark.parametrize("read", [read_volume, read_grid])
@pytest.mark.parametrize(
    "lines, said",
    [
        ((*PLACED[:2], "ElementSpacing = 2 2 -3"), "negative spacing"),
        ((*PLACED, "ElementSpacing = 1 1 1"), "says ElementSpacing twice"),
        ((*PLACED, "Offset = 0 0 0"), "says Offset twice"),
        ((*PLACED, "Rotation = 0 1 0 -1 0 0 0 0 1"), "TransformMatrix and Rotation"),
        ((*PLACED, "Orientation = 0 1 0 -1 0 0 0 0 1"), "TransformMatrix and Orientation"),
        ((*PLACED, "Position = 0 0 0"), "Offset and Position"),
        ((*PLACED, "Origin = 0 0 0"), "Offset and Origin"),
    ],
)
def test_a_metaimage_that_says_two_places_is_refused(tmp_path, lines, said, read):
    with pytest.raises(InputError, match=said):
        read(meta(tmp_path, *lines))


def test_a_metaimage_may_say_one_thing_twice(tmp_path):
    lines = ("ElementSize = 4 4 6", "Position = 1.0 2 3", "Rotation = 1 0 0 0 1 0 0 0 1", "Offset = 1 2 3")
    grid = read_volume(meta(tmp_path, *PLACED, *lines)).grid
    assert grid.spacing == (2.0, 2.0, 3.0) and grid.origin == (1.0, 2.0, 3.0)


@pytest.mark.parametrize("unit, factor", [("cm", 10.0), ("mm", 1.0), ("um", 1e-3)])
def test_the_units_of_an_nrrds_spacings_count(tmp_path, unit, factor):
    path = nrrd(tmp_path, "endian: little", "spacings: 2 2 3", "units: " + " ".join([f'"{unit}"'] * 3))
    for grid in (read_volume(path).grid, read_grid(path)):
        np.testing.assert_allclose(grid.spacing, factor * np.array([2, 2, 3]))


def test_an_origin_that_is_nan_in_an_nrrd_is_told(tmp_path):
    path = nrrd(tmp_path, "endian: little", LPS, DIRECTIONS, "space origin: (nan,nan,nan)")
    assert "origin; assumed: 0" in read_volume(path).notes[0]


def test_frames_along_the_last_axis_are_a_sequence(tmp_path):
    lines = (LPS, "kinds: domain domain domain time", DIRECTIONS + " none", ORIGIN)
    path = nrrd(tmp_path, "endian: little", *lines)
    text = path.read_bytes().replace(b"dimension: 3\nsizes: 6 5 4", b"dimension: 4\nsizes: 6 5 2 2")
    path.write_bytes(text)
    with pytest.raises(InputError, match="sequence of 2 frames"):
        read_volume(path)


def test_a_mask_with_nan_is_not_told_to_use_air(tmp_path):
    mask = np.ones((4, 5, 6), np.float32)
    mask[0, 0, 0] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(mask), str(tmp_path / "m.nii"))
    grid = read_volume(nrrd(tmp_path, *WHOLE)).grid
    with pytest.raises(InputError, match="by 0"):
        read_mask(tmp_path / "m.nii", grid)
