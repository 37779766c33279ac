"""In what two scans differ is said only where it is known, and only where it matters."""

from __future__ import annotations

from dataclasses import replace

import pytest

from GLIDERegLib.core.acquisition import Acquisition, differences

KNOWN = Acquisition("B30f", 1.0, False, (0.7, 0.7, 0.8), 20.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kernel": "B70f"}, "reconstruction kernel B30f and B70f"),
        ({"thickness_mm": 2.5}, "slices of 1 and 2.5 mm"),
        ({"contrast": True}, "contrast medium only in the later scan"),
        ({"voxel_mm": (1.4, 1.4, 0.8)}, "pixels of 0.7 and 1.4 mm"),
        ({"voxel_mm": (0.7, 0.7, 1.2)}, "distance of slices 0.8 and 1.2 mm"),
        ({"kernel": "", "noise_hu": 50.0}, "noise 20 and 50 HU (another reconstruction kernel or dose)"),
    ],
)
def test_each_difference_is_said_in_words(changes, words):
    assert differences(KNOWN, replace(KNOWN, **changes)) == [words]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kernel": "b30F"},
        {"thickness_mm": 1.1, "voxel_mm": (0.75, 0.75, 0.8)},
        # One kernel, another dose: the kernel is known to be the same.
        {"noise_hu": 50.0},
        {"kernel": "", "noise_hu": 25.0},
        {"contrast": None},
    ],
)
def test_scans_made_alike_and_what_is_not_known_differ_in_nothing(changes):
    assert differences(KNOWN, replace(KNOWN, **changes)) == []
    assert differences(KNOWN, Acquisition()) == differences(Acquisition(), KNOWN) == []


def test_without_tags_the_distance_of_slices_stands_for_their_thickness():
    one, other = Acquisition(voxel_mm=(0.7, 0.7, 1.0)), Acquisition(voxel_mm=(0.7, 0.7, 3.0))
    assert differences(one, other) == ["slices of 1 and 3 mm"]
