"""Files of other programs that are not read: refused by name, whatever they are called."""

import gzip
import struct

import numpy as np
import pytest

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.files.transforms import read_transform
from GLIDERegLib.files.volumes import read_labels, read_mask, read_volume
from GLIDERegLib.transforms.points import map_points

ROWS = "1 0 0 5\n0 1 0 -3\n0 0 1 2\n"
MATRIX = ROWS + "0 0 0 1\n"
MORPH = struct.pack(">f4i", 1.0, 10, 10, 10, 2) + bytes(100)
XFM = f"MNI Transform File\n%Volume\n\nTransform_Type = Linear;\nLinear_Transform =\n{ROWS[:-1]};\n"
GRID = "MNI Transform File\n\nTransform_Type = Grid_Transform;\nDisplacement_Volume = a_grid_0.mnc;\n"
LTA = f"type      = 1 # LINEAR_RAS_TO_RAS\nnxforms   = 1\nmean      = 0 0 0\nsigma     = 1\n1 4 4\n{MATRIX}"


def refusal(path, content, read=read_transform):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        read(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.xfm", XFM, "of MINC or FreeSurfer (MNI .xfm)"),
        ("a.txt", XFM, "of MINC or FreeSurfer (MNI .xfm)"),
        ("a.xfm", GRID, "of MINC with a deformation grid"),
        ("a.lta", LTA, "of FreeSurfer (.lta)"),
        ("a.tfm", LTA, "of FreeSurfer (.lta)"),
        ("register.dat", f"name\n1.0\n1.0\n0.15\n{MATRIX}round\n", "of FreeSurfer (register.dat)"),
        ("a.m3z", gzip.compress(MORPH, mtime=0), "of FreeSurfer (.m3z)"),
        ("a.mgz", gzip.compress(MORPH, mtime=0), "of FreeSurfer (.mgz)"),
        ("a.aff12.1D", "# 3dAllineate matrices (DICOM-to-DICOM):\n1 0 0 5 0 1 0 -3 0 0 1 2\n", "of AFNI"),
        ("a.txt", "MGH_GPUIT_BSP <experimental>\nimg_origin = 0 0 0\n", "a B-spline of plastimatch"),
        ("a.mif", b"mrtrix image\ndim: 10,10,10,3\n" + bytes(100), "of MRtrix"),
        ("a.dof.gz", gzip.compress(b"MIRTK", mtime=0), "of IRTK or MIRTK"),
        ("a.dof", "DOF: 6\n0.0 0.0 5\n", "of IRTK"),
        ("registration", "! TYPEDSTREAM 1.1\nregistration {\n}\n", "of CMTK"),
        ("a.txt", f"(\nO8\n{MATRIX})\n", "of Baladin"),
        ("a.x5", b"\x89HDF\r\n\x1a\n" + bytes(100), "of NiTransforms"),
        (
            "T.0.toml",
            'Transform = "EulerTransform"\nNumberOfParameters = 6\n',
            "elastix's parameters in TOML",
        ),
        ("a.npz", b"PK\3\4" + bytes(100), "a NumPy array"),
        ("a.mat", b"MATLAB 7.3 MAT-file" + bytes(500), "a MATLAB file"),
        ("outputpoints.txt", "Point\t0\t; InputIndex = [ 1 2 3 ]\t; x\n", "a list of points of transformix"),
        ("a.mrml", "<MRML  version='x'>\n", "a scene of 3D Slicer"),
        ("a.zip", b"PK\3\4" + bytes(100), "a zip archive"),
        ("a.lta", "", "is empty"),
    ],
)
def test_a_transform_of_another_program_is_refused_by_name(tmp_path, name, content, said):
    assert said in refusal(tmp_path / name, content)


@pytest.mark.parametrize("name", ["a.txt", "a.mat", "a.tfm", "a.dat", "a"])
@pytest.mark.parametrize(
    "content",
    [
        MATRIX,
        ROWS,
        MATRIX.replace("\n", "\r\n"),
        MATRIX.replace(" ", ","),
        "# composed\n" + MATRIX,
        MATRIX.replace("\n", " "),
        "[[1, 0, 0, 5],\n [0, 1, 0, -3],\n [0, 0, 1, 2],\n [0, 0, 0, 1e0]]",
        MATRIX.replace("5", "nan"),
    ],
)
def test_a_plain_matrix_is_refused_as_one_however_it_is_written(tmp_path, name, content):
    assert "a plain matrix without its convention" in refusal(tmp_path / name, content)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.mgz", gzip.compress(MORPH, mtime=0), "a volume of FreeSurfer"),
        ("a.mnc", b"\x89HDF\r\n\x1a\n" + bytes(100), "a volume of MINC"),
        ("a.mif", "mrtrix image\ndim: 10,10,10\n", "of MRtrix"),
        ("a.HEAD", "type = string-attribute\n", "a dataset of AFNI"),
        ("a.par", "# === DATA DESCRIPTION FILE\n", "an image of Philips"),
        ("a.vti", "<?xml version='1.0'?>\n<VTKFile type='ImageData'>\n", "a file of VTK"),
    ],
)
def test_an_image_of_another_program_is_refused_by_name(tmp_path, name, content, said):
    assert said in refusal(tmp_path / name, content, read_volume)


EULER = """(Transform "EulerTransform")
(NumberOfParameters 6)
(TransformParameters 0 0 0 {shift} 0 0)
(InitialTransformParametersFileName "{initial}")
(HowToCombineTransforms "Compose")
(CenterOfRotationPoint 0 0 0)
"""


def euler(path, shift, initial="NoInitialTransform"):
    path.parent.mkdir(exist_ok=True)
    path.write_text(EULER.format(shift=shift, initial=initial))
    return path


@pytest.mark.parametrize(
    "initial", ["one/T.0.txt", "./one/T.0.txt", "one\\\\T.0.txt", "{}/one/T.0.txt", "T.0.txt"]
)
def test_an_initial_transform_is_found_where_its_name_says(tmp_path, initial):
    folder = "." if initial == "T.0.txt" else "one"
    euler(tmp_path / folder / "T.0.txt", 5)
    path = euler(tmp_path / "T.1.txt", 1, initial.format(tmp_path))
    np.testing.assert_allclose(map_points(read_transform(path), np.zeros(3)), [[6, 0, 0]])


@pytest.mark.parametrize("initial", ["one/T.0.txt", "{}/one/T.0.txt"])
def test_one_of_two_initial_transforms_of_a_name_is_not_taken_for_the_other(tmp_path, initial):
    for folder, shift in (("one", 5), (".", 50)):
        euler(tmp_path / folder / "T.0.txt", shift)
    path = euler(tmp_path / "T.1.txt", 1, initial.format(tmp_path))
    assert "several files differ that its initial transform" in refusal(path, path.read_bytes())
    euler(tmp_path / "T.0.txt", 5)
    np.testing.assert_allclose(map_points(read_transform(path), np.zeros(3)), [[6, 0, 0]])


def test_what_is_no_transform_of_elastix_is_no_initial_one_and_a_question_no_answer(tmp_path):
    path = euler(tmp_path / "T.1.txt", 1, "start.tfm")
    (tmp_path / "start.tfm").write_text("#Insight Transform File V1.0\n")
    assert "'start.tfm' is no transform of elastix" in refusal(path, path.read_bytes())
    asks = '(Registration "MultiResolutionRegistration")\n(Transform "EulerTransform")\n'
    assert "asks for a registration" in refusal(tmp_path / "p.txt", asks)


@pytest.mark.parametrize("read", [read_labels, read_mask])
@pytest.mark.parametrize(
    ("value", "kind", "code"), [(3e9, "<f8", 64), (2**32 + 1, "<i8", 1024), (2**31, "<u4", 768)]
)
def test_labels_beyond_32_bits_are_refused_not_wrapped(tmp_path, value, kind, code, read):
    import nibabel

    array = np.zeros((4, 5, 6), kind)
    array[1:3, 2, 3] = value
    image = nibabel.Nifti1Image(array, np.diag([-1.0, -1, 1, 1]), dtype=array.dtype)
    assert image.header["datatype"] == code
    nibabel.save(image, tmp_path / "labels.nii")
    with pytest.raises(InputError, match="too large for labels"):
        read(tmp_path / "labels.nii", Grid((4, 5, 6), (1.0,) * 3))
