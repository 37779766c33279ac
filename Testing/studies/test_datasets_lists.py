"""Lists of pairs and of nodules: what is read, and what is said of a list that is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.points import read_points
from GLIDERegLib.studies.cases import Case
from GLIDERegLib.studies.datasets import find_cases, read_pairs


@pytest.fixture
def scans(tmp_path):
    """Files that only need to be there."""
    for name in ("a.nii.gz", "b.nii.gz", "a.csv", "b.csv", "c.nii.gz"):
        (tmp_path / name).touch()
    (tmp_path / "dicom").mkdir()
    return tmp_path


def a_list(folder, text, name="pairs.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path, **options):
    with pytest.raises(InputError) as refused:
        read_pairs(path, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_list_becomes_cases_with_paths_relative_to_it(scans):
    text = (
        "\ufeffname, fixed, moving, fixed_points, moving_points, align, structures, snap_to_voxels\n"
        "anna,a.nii.gz,b.nii.gz,a.csv,b.csv,yes,1=lung; 2=heart,TRUE\n"
        f"\nberta,dicom,{scans / 'c.nii.gz'},,,,,\n"
    )
    assert read_pairs(a_list(scans, text)) == [
        Case(
            "anna",
            scans / "a.nii.gz",
            scans / "b.nii.gz",
            scans / "a.csv",
            scans / "b.csv",
            structures=((1, "lung"), (2, "heart")),
            align=True,
            snap_to_voxels=True,
        ),
        Case("berta", scans / "dicom", scans / "c.nii.gz"),
    ]


def test_the_list_or_its_folder_is_the_data_set(scans):
    path = a_list(scans, "name,fixed,moving\nx,a.nii.gz,b.nii.gz\n")
    assert find_cases("pairs", scans, scans / "work") == find_cases("pairs", path, scans / "work")
    assert not (scans / "work").exists()


def test_missing_files_are_all_named_or_left_for_later(scans):
    text = "name,fixed,moving\nx,no.nii.gz,b.nii.gz\ny,a.nii.gz,lost.nii.gz\n"
    path = a_list(scans, text)
    message = refusal(path)
    assert "no.nii.gz' of the pair 'x' is missing" in message
    assert "lost.nii.gz' of the pair 'y' is missing" in message
    assert [case.name for case in read_pairs(path, check_files=False)] == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,fixed\nx,a.nii.gz\n", "lacks the column(s) moving"),
        ("name,fixed,moving,fixed_pionts\nx,a.nii.gz,b.nii.gz,a.csv\n", "'fixed_pionts'"),
        ("name,fixed,moving,moving\nx,a.nii.gz,b.nii.gz,c.nii.gz\n", "twice"),
        ("name,fixed,moving\n", "no rows"),
        ("", "lacks the column(s) name, fixed, moving"),
        ("name,fixed,moving\nx,a.nii.gz,\n", "Line 2"),
        ("name,fixed,moving\nx,a.nii.gz,b.nii.gz,c\n", "Line 2"),
        (
            "name,fixed,moving\nx,a.nii.gz,b.nii.gz\ny,a.nii.gz,b.nii.gz\nX,a.nii.gz,b.nii.gz\n",
            "Lines 2 and 4",
        ),
        ("name,fixed,moving\n../x,a.nii.gz,b.nii.gz\n", "'../x'"),
        ("name,fixed,moving\n..,a.nii.gz,b.nii.gz\n", "'..'"),
        ("name,fixed,moving,fixed_points\nx,a.nii.gz,b.nii.gz,a.csv\n", "both or neither in line 2"),
        ("name,fixed,moving,align\nx,a.nii.gz,b.nii.gz,perhaps\n", "'perhaps' under align"),
        ("name,fixed,moving,structures\nx,a.nii.gz,b.nii.gz,lung\n", "1=lung;2=heart"),
    ],
)
def test_a_wrong_list_is_refused_with_its_fault(scans, text, said):
    assert said in refusal(a_list(scans, text), check_files=False)


def test_a_list_that_is_no_text_is_refused(scans):
    (scans / "pairs.csv").write_bytes(b"\xff\xfe\x00\x01name")
    assert "pairs.csv" in refusal(scans / "pairs.csv")
    assert "nowhere.csv" in refusal(scans / "nowhere.csv")


HEADER = "pair,fixed,moving,label,fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z\n"
NODULES = HEADER + (
    "p1,a.nii.gz,b.nii.gz,n1,1,2,3,4,5,6\n"
    "p2,a.nii.gz,c.nii.gz,n1,-1,-2.5,-3,0,0,1e1\n"
    "p1,a.nii.gz,b.nii.gz,n2,7,8,9,10,11,12\n"
)


def test_nodules_of_one_pair_of_scans_become_one_case_with_corresponding_points(scans):
    first, second = find_cases("nodules", a_list(scans, NODULES, "nodules.csv").parent, scans / "work")
    assert (first.name, first.fixed, first.moving) == ("p1", scans / "a.nii.gz", scans / "b.nii.gz")
    fixed, moving = read_points(first.fixed_points), read_points(first.moving_points)
    assert fixed.labels == moving.labels == ["n1", "n2"]
    np.testing.assert_array_equal(fixed.points, [[1, 2, 3], [7, 8, 9]])
    np.testing.assert_array_equal(moving.points, [[4, 5, 6], [10, 11, 12]])
    np.testing.assert_array_equal(read_points(second.fixed_points).points, [[-1, -2.5, -3]])
    assert first.align
    assert second.align


def test_a_changed_list_of_nodules_changes_the_points(scans):
    path = a_list(scans, NODULES, "nodules.csv")
    find_cases("nodules", path, scans / "work")
    path = a_list(scans, NODULES.replace("1e1", "11"), "nodules.csv")
    case = find_cases("nodules", path, scans / "work")[1]
    np.testing.assert_array_equal(read_points(case.moving_points).points, [[0, 0, 11]])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (NODULES.replace("moving_z", "moving_w"), "moving_z"),
        (NODULES.replace("p2,a.nii.gz,c", "p1,a.nii.gz,c"), "Lines 2 and 3"),
        (NODULES.replace(",n2,", ",n1,"), "Line 4 of"),
        (NODULES.replace("-2.5", "left"), "Line 3 of"),
        (NODULES.replace("-2.5", "nan"), "Line 3 of"),
        (NODULES.replace("c.nii.gz", "lost.nii.gz"), "lost.nii.gz"),
        (NODULES.replace("p2,", "p/2,"), "'p/2'"),
    ],
)
def test_a_wrong_list_of_nodules_is_refused_with_its_fault(scans, text, said):
    with pytest.raises(InputError) as refused:
        find_cases("nodules", a_list(scans, text, "nodules.csv"), scans / "work")
    assert said in str(refused.value)
    assert not (scans / "work").exists()
