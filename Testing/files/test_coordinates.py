"""One way to write a place."""

from __future__ import annotations

import pytest

from GLIDERegLib.files.coordinates import patient_position


@pytest.mark.parametrize(
    ("lps", "expected"),
    [
        ((-31.4, -41.5, 29.3), "R 31.4, A 41.5, S 29.3 mm"),
        ((35.9, 12.0, -7.0), "L 35.9, P 12.0, I 7.0 mm"),
        ((0.0, -0.04, 0.04), "L 0.0, P 0.0, S 0.0 mm"),
    ],
)
def test_a_place_is_written_by_the_patient_s_sides(lps, expected):
    assert patient_position(lps) == expected
