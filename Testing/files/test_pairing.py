"""Two lists of points: what belongs together, what is left out and said, and what is refused."""

import pytest

from GLIDERegLib.core.errors import InputError
from GLIDERegLib.files.pairing import match_labels
from GLIDERegLib.files.points import read_points


@pytest.mark.parametrize(
    ("fixed", "moving", "rows", "told"),
    [
        (["a", "b", "c"], ["c", "b", "a"], [(0, 2), (1, 1), (2, 0)], []),
        (["a", "b"], ["b"], [(1, 0)], ["1 fixed", "a"]),
        (["a"], ["b", "x", "a"], [(0, 2)], ["2 moving", "b, x"]),
        (["a", "b", "b"], ["b", "a", "c"], [(0, 1)], ["more than once", "b", "1 moving", "c"]),
        (["a", "", ""], ["", "a"], [(0, 1)], ["2 fixed points have no label", "1 moving point has no"]),
        ([" a ", "b"], ["b", "a"], [(0, 1), (1, 0)], []),
        (["F-1", "F-2", "F-3"], ["F-2", "F-3", "F-4"], [(1, 0), (2, 1)], ["F-1", "F-4"]),
    ],
)
def test_labels_that_both_lists_have_once_pair_and_all_others_are_told(fixed, moving, rows, told):
    matching = match_labels(fixed, moving)
    assert (matching.by, matching.rows) == ("label", rows)
    said = " ".join(matching.warnings())
    assert all(text in said for text in told) and bool(said) == bool(told)


@pytest.mark.parametrize(
    ("fixed", "moving"),
    [
        (["", ""], ["", ""]),
        (["nodule", "nodule"], ["nodule", "nodule"]),
        (["", ""], ["x", "x"]),
        (["Current-1", "Current-2"], ["Prior-1", "Prior-2"]),
        (["F_1"], ["M_1"]),
    ],
)
def test_points_without_labels_of_their_own_pair_by_order(fixed, moving):
    matching = match_labels(fixed, moving)
    assert (matching.by, matching.rows) == ("order", [(n, n) for n in range(len(fixed))])


@pytest.mark.parametrize(
    ("fixed", "moving", "told"),
    [
        (["a", "b"], ["x", "y"], "share no label (a, b against x, y)"),
        (["a"], ["b"], "share no label"),
        (["a", "b"], ["", ""], "share no label (a, b against no label, no label)"),
        (["F-1", "F-3"], ["M-1", "M-2"], "share no label"),
        (["a", "a", "b"], ["b", "b", "a"], "more than once"),
        (["", "", ""], ["", ""], "3 fixed and 2 moving points have no labels"),
    ],
)
def test_what_could_be_anything_is_refused(fixed, moving, told):
    with pytest.raises(InputError) as caught:
        match_labels(fixed, moving)
    assert told in caught.value.message and "same unique label" in caught.value.hint


def test_points_of_a_file_without_labels_are_not_paired_by_names_nobody_gave(tmp_path):
    (tmp_path / "three.csv").write_text("x,y,z\n0,0,0\n1,0,0\n2,0,0\n")
    (tmp_path / "two.csv").write_text("x,y,z\n0,0,0\n2,0,0\n")
    three, two = (read_points(tmp_path / f"{name}.csv") for name in ("three", "two"))
    assert three.labels == ["P1", "P2", "P3"]
    with pytest.raises(InputError, match="no labels"):
        match_labels(three.given_labels, two.given_labels)
