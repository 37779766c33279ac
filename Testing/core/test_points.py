import numpy as np

from GLIDERegLib.core.points import PointSet, unlabelled


def test_points_are_told_apart_by_label_and_by_number_where_that_does_not():
    marks = PointSet(["n2", "", "twice", "twice"], np.zeros((4, 3)))
    assert marks.names == ["n2", "2", "twice (point 3)", "twice (point 4)"]
    assert unlabelled(marks) is marks


def test_points_without_labels_are_told_apart_by_number():
    marks = unlabelled(np.arange(6.0).reshape(2, 3))
    assert marks.names == ["1", "2"] and marks.given_labels == ["", ""]
    assert PointSet(["P1"], np.zeros((1, 3)), unnamed=True).names == ["1"]
    assert unlabelled(None) is None
