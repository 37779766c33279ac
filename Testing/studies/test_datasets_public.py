"""Adapters of public data sets, on small folders laid out as theirs: a landmark lies on its bright voxel."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

import GLIDERegLib.studies.datasets as datasets
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.core.geometry import Grid
from GLIDERegLib.files.points import read_points
from GLIDERegLib.files.volumes import read_mask, read_volume
from GLIDERegLib.studies.datasets import DATA_SETS, dirlab, find_cases

# Voxels (x, y, z) counted from 0, no two coordinates alike, so that a swapped or flipped axis shows.
INDEX = {
    "fixed": np.array([[2, 5, 3], [7, 1, 8], [4, 9, 6]]),
    "moving": np.array([[3, 5, 1], [8, 2, 7], [4, 8, 5]]),
}
SIZE = (11, 12, 10)
GRIDS = {
    "fixed": Grid(SIZE, (1.5, 1.0, 2.0), (30.0, -20.0, 5.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1)),
    "moving": Grid(SIZE, (1.5, 1.0, 2.0), (28.0, -21.0, 9.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1)),
}


def bright(role, size=SIZE, air=-1000, landmark=500):
    """Array (z, y, x), int16, with one voxel more at each landmark of a role."""
    array = np.full(size[::-1], air, np.int16)
    for n, (i, j, k) in enumerate(INDEX[role]):
        array[k, j, i] = landmark + n
    return array


def write_image(path, array, grid):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


def write_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def table(rows, separator):
    return "".join(separator.join(map(str, row)) + "\n" for row in rows.tolist())


def refusal(kind, folder, tmp_path):
    """The message of the refusal; nothing was written."""
    with pytest.raises(InputError) as refused:
        find_cases(kind, folder, tmp_path / "work")
    assert "\n" not in str(refused.value)
    assert not [path for path in (tmp_path / "work").rglob("*") if path.is_file()]
    return str(refused.value)


def assert_landmarks_lie_on_their_voxels(case, landmark=500):
    for image, points, index in (
        (case.fixed, case.fixed_points, INDEX["fixed"]),
        (case.moving, case.moving_points, INDEX["moving"]),
    ):
        volume, read = read_volume(image), read_points(points)
        there = volume.grid.to_index(read.points)
        np.testing.assert_allclose(there, index, atol=1e-4)
        i, j, k = np.rint(there).astype(int).T
        assert volume.array[k, j, i].tolist() == [landmark, landmark + 1, landmark + 2]
    assert read_points(case.fixed_points).labels == read_points(case.moving_points).labels


@pytest.fixture
def four_d_ct(tmp_path, monkeypatch):
    """Cases 1 and 8 in small, named as in the packs that are handed out."""
    monkeypatch.setitem(dirlab.FOUR_D_CT_SCANS, 1, (12, 10, 0.97))
    monkeypatch.setitem(dirlab.FOUR_D_CT_SCANS, 8, (12, 10, 1.25))
    folder = tmp_path / "dirlab"
    for pack, images, landmarks in (
        ("Case1Pack", "Images/case1_{}_s.img", "ExtremePhases/Case1_300_{}_xyz.txt"),
        ("Case8Deploy", "Images/case8_{}-ssm.img", "extremePhases/case8_dirLab300_{}_xyz.txt"),
    ):
        for phase, role in (("T00", "fixed"), ("T50", "moving")):
            image = folder / pack / images.format(phase)
            image.parent.mkdir(parents=True, exist_ok=True)
            bright(role, (12, 12, 10), air=24, landmark=1524).astype("<i2").tofile(image)
            write_text(folder / pack / landmarks.format(phase), table(INDEX[role] + 1, "\t"))
    return folder


def test_dirlab_4dct_landmarks_lie_on_their_voxels_in_hounsfield_units(four_d_ct, tmp_path):
    cases = find_cases("dirlab4dct", four_d_ct, tmp_path / "work")
    assert [case.name for case in cases] == ["case_01", "case_08"]
    for case in cases:
        assert_landmarks_lie_on_their_voxels(case)
        assert case.snap_to_voxels
        assert read_volume(case.fixed).array.min() == -1000


def test_dirlab_landmarks_are_as_far_apart_as_their_spacing_says_and_slices_run_to_the_feet(
    four_d_ct, tmp_path
):
    case = find_cases("dirlab4dct", four_d_ct, tmp_path / "work")[0]
    fixed, moving = (read_points(path).points for path in (case.fixed_points, case.moving_points))
    expected = np.linalg.norm((INDEX["moving"] - INDEX["fixed"]) * (0.97, 0.97, 2.5), axis=1)
    np.testing.assert_allclose(np.linalg.norm(moving - fixed, axis=1), expected, atol=1e-5)
    assert np.argsort(fixed[:, 2]).tolist() == np.argsort(-INDEX["fixed"][:, 2]).tolist()


def test_dirlab_values_below_air_do_not_wrap_around(tmp_path, monkeypatch):
    monkeypatch.setitem(dirlab.COPDGENE_SCANS, 3, (12, 10, 0.652))
    place = tmp_path / "data" / "copd3" / "copd3"
    for phase, role in (("iBH", "fixed"), ("eBH", "moving")):
        array = bright(role, (12, 12, 10), air=-2000, landmark=1524)
        array[0, 0, 0], array[0, 0, 1] = -32768, 32767
        place.mkdir(parents=True, exist_ok=True)
        array.astype("<i2").tofile(place / f"copd3_{phase}CT.img")
        write_text(place / f"copd3_300_{phase}_xyz_r1.txt", table(INDEX[role] + 1, "\t"))
    (case,) = find_cases("dirlabcopd", tmp_path / "data", tmp_path / "work")
    assert_landmarks_lie_on_their_voxels(case)
    array = read_volume(case.fixed).array
    assert array[0, 0, :3].tolist() == [-32768, 31743, -3024]


def test_dirlab_sizes_are_those_of_the_data_sets_pages():
    voxels = {n: a * a * slices for n, (a, slices, _) in dirlab.FOUR_D_CT_SCANS.items()}
    assert voxels[1] == 256 * 256 * 94
    assert voxels[10] == 512 * 512 * 120
    assert dirlab.COPDGENE_SCANS[9] == (512, 116, 0.664)
    assert len(dirlab.FOUR_D_CT_SCANS) == len(dirlab.COPDGENE_SCANS) == 10


def test_dirlab_says_everything_that_is_missing_or_cut_off_at_once(four_d_ct, tmp_path):
    (four_d_ct / "Case1Pack/ExtremePhases/Case1_300_T50_xyz.txt").unlink()
    os.truncate(four_d_ct / "Case8Deploy/Images/case8_T00-ssm.img", 2000)
    message = refusal("dirlab4dct", four_d_ct, tmp_path)
    assert "'Case1Pack/Case1_300_T50_xyz.txt' is missing" in message
    assert "case8_T00-ssm.img' has 2,000 bytes instead of 2,880 (12 x 12 x 10 voxels" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 2 3\n4 5\n6 7 8\n", "Line 2"),
        ("1 2 3\n4 5 x\n6 7 8\n", "Line 2"),
        ("1 2 3\n4 5 6\n", "equally many"),
        ("1 2 3\n4 5 6\n13 1 1\n", "point 3"),
        ("1 2 3\n4 5 6\n0 1 1\n", "point 3"),
        ("1 2 3\n4 5 6\n1.5 1 1\n", "whole voxel"),
        ("\n", "no points"),
    ],
)
def test_dirlab_refuses_landmarks_that_cannot_be_right(four_d_ct, tmp_path, text, said):
    write_text(four_d_ct / "Case1Pack/ExtremePhases/Case1_300_T50_xyz.txt", text)
    assert said in refusal("dirlab4dct", four_d_ct, tmp_path)


def test_an_empty_folder_is_no_data_set(tmp_path):
    (tmp_path / "empty").mkdir()
    for kind in set(DATA_SETS) - set(datasets.WITHOUT_FOLDER):
        assert str(tmp_path / "empty") in refusal(kind, tmp_path / "empty", tmp_path)
        assert "nowhere" in refusal(kind, tmp_path / "nowhere", tmp_path)
    with pytest.raises(InputError, match="dirlab4dct"):
        find_cases("dirlab", tmp_path, tmp_path)


def test_converted_files_are_made_once_and_again_when_a_source_changed(four_d_ct, tmp_path):
    (first, _) = find_cases("dirlab4dct", four_d_ct, tmp_path / "work")
    made = first.fixed.stat().st_mtime_ns
    find_cases("dirlab4dct", four_d_ct, tmp_path / "work")
    assert first.fixed.stat().st_mtime_ns == made
    image = four_d_ct / "Case1Pack/Images/case1_T00_s.img"
    values = np.fromfile(image, "<i2") + 100
    values.astype("<i2").tofile(image)
    find_cases("dirlab4dct", four_d_ct, tmp_path / "work")
    assert read_volume(first.fixed).array.min() == -900


def write_scans(folder, names, masks="masksTr", images="imagesTr"):
    """A fixed and a moving image with their masks."""
    for name, role in zip(names, ("fixed", "moving"), strict=True):
        write_image(folder / images / f"{name}.nii.gz", bright(role), GRIDS[role])
        write_image(folder / masks / f"{name}.nii.gz", np.ones(SIZE[::-1], np.uint8), GRIDS[role])


@pytest.fixture
def lung250m(tmp_path):
    """Cases 104 and 110; the landmarks speak of one more whose images are not there."""
    folder = tmp_path / "lung250m"
    for number in (104, 110):
        names = [f"case_{number}_1", f"case_{number}_2"]
        write_scans(folder, names, "masksTs", "imagesTs")
    both = torch.tensor(np.hstack([INDEX["fixed"], INDEX["moving"]]), dtype=torch.float32)
    torch.save({"104": both, "2": both, "110": both}, folder / "lms_validation.pth")
    return folder


def test_lung250m_landmarks_lie_on_their_voxels(lung250m, tmp_path):
    cases = find_cases("lung250m", lung250m, tmp_path / "work")
    assert [case.name for case in cases] == ["case_104", "case_110"]
    for case in cases:
        assert_landmarks_lie_on_their_voxels(case)
        assert case.fixed.name == f"{case.name}_1.nii.gz"
        assert case.moving_mask == lung250m / "masksTs" / f"{case.name}_2.nii.gz"
        assert read_mask(case.moving_mask, read_volume(case.moving).grid).all()
        assert not case.snap_to_voxels


def test_lung250m_files_may_be_named_as_its_readme_lists_them(lung250m, tmp_path):
    for path in [*lung250m.glob("*/case_*")]:
        path.rename(path.with_name(path.name.removeprefix("case_")))
    (lung250m / "evaluation").mkdir()
    (lung250m / "lms_validation.pth").rename(lung250m / "evaluation" / "lms_validation.pth")
    assert_landmarks_lie_on_their_voxels(find_cases("lung250m", lung250m, tmp_path / "work")[1])


def test_lung250m_names_all_missing_scans_and_masks(lung250m, tmp_path):
    (lung250m / "imagesTs" / "case_104_2.nii.gz").unlink()
    (lung250m / "masksTs" / "case_110_1.nii.gz").unlink()
    message = refusal("lung250m", lung250m, tmp_path)
    assert "'imagesTs/case_104_2.nii.gz' is missing" in message
    assert "'masksTs/case_110_1.nii.gz' is missing" in message


def test_many_shortcomings_are_counted_after_the_first_few(lung250m, tmp_path):
    for path in [*lung250m.glob("*/case_*_2*"), *lung250m.glob("masksTs/*_1.nii.gz")]:
        path.unlink()
    assert "; and 1 more" in refusal("lung250m", lung250m, tmp_path)


class Trap:
    """What must never be unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"not a checkpoint", "lms_validation.pth"),
        ({"104": torch.zeros(3, 5)}, "damaged"),
        ({"first": torch.zeros(3, 6)}, "damaged"),
        ([1, 2], "damaged"),
        ("trap", "more than tensors"),
    ],
)
def test_lung250m_landmarks_are_never_unpickled_as_code(lung250m, tmp_path, content, said):
    path = lung250m / "lms_validation.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save({"104": Trap(tmp_path / "sprung")} if content == "trap" else content, path)
    assert said in refusal("lung250m", lung250m, tmp_path)
    assert not (tmp_path / "sprung").exists()


@pytest.fixture
def learn2reg(tmp_path):
    """One pair to validate on and one for training, with keypoints; landmarks for the former only."""
    folder = tmp_path / "nlst"
    pairs = [("NLST_0101_0000", "NLST_0101_0001"), ("NLST_0001_0000", "NLST_0001_0001")]
    for names in pairs:
        write_scans(folder, names)
        for name, role in zip(names, ("fixed", "moving"), strict=True):
            write_text(folder / "keypointsTr" / f"{name}.csv", table(INDEX[role], ","))
    listed = [{"fixed": f"./imagesTr/{a}.nii.gz", "moving": f"./imagesTr/{b}.nii.gz"} for a, b in pairs]
    description = {"name": "NLST", "registration_val": listed[:1], "training_paired_images": listed[1:]}
    write_text(folder / "NLST_dataset.json", json.dumps(description))
    return folder


def test_learn2reg_points_lie_on_their_voxels(learn2reg, tmp_path):
    (case,) = find_cases("learn2reg", learn2reg, tmp_path / "work")
    assert case.name == "NLST_0101_0000_NLST_0101_0001"
    assert_landmarks_lie_on_their_voxels(case)
    assert case.fixed_mask == learn2reg / "masksTr" / "NLST_0101_0000.nii.gz"
    assert case.fixed_labels is None


def test_learn2reg_prefers_landmarks_of_people_to_keypoints(learn2reg, tmp_path):
    for name, role in (("NLST_0101_0000", "fixed"), ("NLST_0101_0001", "moving")):
        write_text(learn2reg / "landmarksTr" / f"{name}.csv", table(INDEX[role][:2], ","))
    (case,) = find_cases("learn2reg", learn2reg, tmp_path / "work")
    assert len(read_points(case.fixed_points)) == 2


def test_learn2reg_training_pairs_are_judged_where_none_are_set_aside(learn2reg, tmp_path):
    path = learn2reg / "NLST_dataset.json"
    description = json.loads(path.read_text()) | {"registration_val": []}
    write_text(learn2reg / "NLST_dataset.json", json.dumps(description))
    (case,) = find_cases("learn2reg", learn2reg, tmp_path / "work")
    assert case.name.startswith("NLST_0001")


def test_learn2reg_names_images_and_points_its_json_speaks_of_in_vain(learn2reg, tmp_path):
    (learn2reg / "imagesTr" / "NLST_0101_0001.nii.gz").unlink()
    (learn2reg / "keypointsTr" / "NLST_0101_0000.csv").unlink()
    message = refusal("learn2reg", learn2reg, tmp_path)
    assert "'imagesTr/NLST_0101_0001.nii.gz' is missing" in message
    assert "'keypointsTr/NLST_0101_0000.csv' is missing" in message
    (learn2reg / "keypointsTr" / "NLST_0101_0001.csv").unlink()
    assert "'landmarksTr/NLST_0101_0000.csv' is missing" in refusal("learn2reg", learn2reg, tmp_path)


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"registration_val": [{"fixed": "a"}]}', '{"registration_val": 3}']
)
def test_learn2reg_refuses_a_json_that_lists_no_pairs(learn2reg, tmp_path, text):
    write_text(learn2reg / "NLST_dataset.json", text)
    assert "NLST_dataset.json" in refusal("learn2reg", learn2reg, tmp_path)


def write_phase(folder, image, points, role, header=""):
    write_image(folder / image, bright(role), GRIDS[role])
    write_text(folder / points, header + table(GRIDS[role].to_physical(INDEX[role]), " "))


@pytest.fixture
def popi(tmp_path):
    """Two patients; the second one's landmarks at full expiration are those of phase 60."""
    folder = tmp_path / "popi"
    for patient, phase in (("patient1", "50"), ("patient2", "60")):
        write_phase(folder / patient, "mhd/00.mhd", "pts/00.pts", "fixed")
        write_phase(folder / patient, f"mhd/{phase}.mhd", f"pts/{phase}.pts", "moving")
        write_image(folder / patient / "mhd" / "30.mhd", bright("fixed"), GRIDS["fixed"])
    return folder


def test_popi_landmarks_lie_on_their_voxels(popi, tmp_path):
    cases = find_cases("popi", popi, tmp_path / "work")
    assert [(case.name, case.moving.name) for case in cases] == [
        ("patient1", "50.mhd"),
        ("patient2", "60.mhd"),
    ]
    for case in cases:
        assert_landmarks_lie_on_their_voxels(case)


def test_the_popi_model_itself_is_one_patient(tmp_path):
    folder = tmp_path / "POPI"
    for phase, role in (("00", "fixed"), ("50", "moving")):
        write_phase(folder, f"meta/{phase}-P.mhd", f"landmarks/{phase}-Landmarks.txt", role, "#X Y Z\n")
        mask = np.ones(SIZE[::-1], np.uint8)
        write_image(folder / "masks" / f"{phase}-air-body-lungs.mhd", mask, GRIDS[role])
    (case,) = find_cases("popi", folder, tmp_path / "work")
    assert case.name == "POPI"
    assert_landmarks_lie_on_their_voxels(case)


def test_popi_names_what_is_missing_and_refuses_points_outside_their_image(popi, tmp_path):
    shifted = GRIDS["moving"].to_physical(INDEX["moving"]) + [0, 100, 0]
    write_text(popi / "patient1" / "pts" / "50.pts", table(shifted, " "))
    assert "3 of 3 points" in refusal("popi", popi, tmp_path)
    for path in [*popi.glob("*/pts/00.pts"), *popi.glob("patient2/pts/60.pts")]:
        path.unlink()
    message = refusal("popi", popi, tmp_path)
    assert "'patient1' has no landmarks of phase 00" in message
    assert "'patient2' has no other phase" in message


def test_the_documentation_shows_every_layout_as_the_program_does():
    text = (Path(datasets.__file__).parent / "README.md").read_text(encoding="utf-8")
    for data_set in DATA_SETS.values():
        assert f"| `{data_set.name}` |" in text
        assert data_set.name in datasets.WITHOUT_FOLDER or data_set.layout in text
