"""Counts in sentences."""

import pytest

from GLIDERegLib.core.counting import counted


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 slices"), (1, "1 slice"), (2, "2 slices"), (1000, "1000 slices")]
)
def test_one_is_told_as_one(number, said):
    assert counted(number, "slice") == said


def test_a_plural_of_its_own_takes_its_verb_along():
    assert counted(1, "point lies", "points lie") == "1 point lies"
    assert counted(3, "point lies", "points lie") == "3 points lie"
