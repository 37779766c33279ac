"""Growth between two sizes: known answers, intervals, and each rule only for its own quantity."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from GLIDERegLib.core.acquisition import Acquisition
from GLIDERegLib.core.errors import InputError
from GLIDERegLib.evaluation.growth import (
    DIAMETER,
    VOLUME,
    Size,
    doubling_time,
    growth,
    sphere_diameter,
    sphere_volume,
)


def diameters(earlier, later, days=None):
    return growth(Size(DIAMETER, earlier), Size(DIAMETER, later), days)


def volumes(earlier, later, days=None, share=None):
    """share: half of the 95 % interval of each volume, as a factor."""

    def size(value):
        return Size(VOLUME, value, value / (1 + share), value * (1 + share)) if share else Size(VOLUME, value)

    return growth(size(earlier), size(later), days)


def test_volumes_are_those_of_spheres():
    assert sphere_volume(10) == pytest.approx(523.6, abs=0.1)
    assert sphere_diameter(sphere_volume(7.3)) == pytest.approx(7.3)
    # V2 / V1 = 2^3 in 300 days: three doublings.
    assert doubling_time(sphere_volume(5), sphere_volume(10), 300) == pytest.approx(100)
    assert doubling_time(1, 1, 100) == math.inf and doubling_time(2, 1, 100) == pytest.approx(-100)


def test_two_diameters_within_the_readers_difference_have_no_doubling_time():
    # The example of the notes: 6.5 to 8.0 mm in 183 days may be anything from shrinking to doubling in 100.
    found = diameters(6.5, 8.0, 183)
    assert (found.low, found.high) == pytest.approx((-0.4, 3.4))
    assert found.spans_no_change and found.doubling_days is None
    assert "diameter +1.5 mm (95 % -0.4 to +3.4 mm, two readers)" in found.words
    assert "no change is within this interval" in found.words and "doubling" not in found.words


def test_a_clear_change_of_a_diameter_has_its_doubling_time_with_an_interval():
    found = diameters(6.0, 12.0, 300)
    assert found.doubling_days == pytest.approx(100)
    assert found.doubling_low == pytest.approx(doubling_time(6.0**3, 13.9**3, 300))
    assert found.doubling_high == pytest.approx(doubling_time(6.0**3, 10.1**3, 300))
    assert "taken for a sphere" in found.words


@pytest.mark.parametrize(("days", "share"), [(90, 0.1), (400, 0.2)])
def test_a_doubled_volume_doubles_in_the_time_between(days, share):
    found = volumes(500, 1000, days, share)
    assert found.change == pytest.approx(100) and found.doubling_days == pytest.approx(days)
    factor = (1 + share) ** math.sqrt(2)
    assert found.doubling_low == pytest.approx(days * math.log(2) / math.log(2 * factor))
    assert found.doubling_high == pytest.approx(days * math.log(2) / math.log(2 / factor))


def test_volumes_without_an_interval_of_their_own_take_25_per_cent():
    found = volumes(500, 600, 200)
    assert found.low == pytest.approx(-4) and found.high == pytest.approx(50)
    assert (
        found.doubling_days is None
        and "less than 25 %, by which two scans of an unchanged solid nodule may differ (British"
        in found.words
    )


@pytest.mark.parametrize(("later", "told"), [(1.24, False), (1.25, True), (1.35, True)])
def test_a_volume_has_a_doubling_time_only_beyond_what_repeated_scans_differ_by(later, told):
    # Sure to be growth by the error of measuring, and fast: 24 % within 90 days is none for the rule yet.
    found = volumes(500, 500 * later, 90, 0.02)
    assert found.low > 0 and (found.doubling_days is not None) == told
    assert ("400 days" in found.words) == told == ("at least 25 %" in found.words)
    assert ("less than 25 %" in found.words) != told


@pytest.mark.parametrize(
    ("days", "told"),
    [
        (200, "; within the 400 days"),
        (400, "; by its interval perhaps within"),
        (900, "; not within the 400 days"),
    ],
)
def test_the_rule_for_doubling_times_heeds_the_interval(days, told):
    assert told in volumes(500, 1000, days, 0.1).words


@pytest.mark.parametrize(
    ("later", "days", "told"),
    # Measured to 2 % in either scan: a doubling, and what is hardly more than 25 %.
    [(1000, 300, "227 to 444 days with the 25 %"), (625, 90, "139 days or more with the 25 %")],
)
def test_a_doubling_time_also_says_what_repeated_scans_leave_of_it(later, days, told):
    found = volumes(500, later, days, 0.02)
    assert told in found.words and "; by its interval perhaps within" in found.words
    # The measurement's error alone would make them look certain.
    assert found.doubling_low > 0.88 * found.doubling_days
    # Without intervals of their own, the 25 % are in the interval of the change already.
    assert "with the 25 %" not in volumes(500, 1000, 300).words


def test_nothing_has_no_minus():
    assert volumes(500, 499.9, 90, 0.02).words.startswith("volume +0 % (95 % -3 to +3 %")
    assert diameters(8.0, 7.98).words.startswith("diameter +0.0 mm")


@pytest.mark.parametrize(
    ("found", "shown", "told"),
    [
        (volumes(500, 624, 90, 0.02), "volume +25 %", "at least 25 %"),
        (volumes(500, 621, 90, 0.02), "volume +24 %", "less than 25 %"),
        (diameters(8.0, 9.54), "diameter +1.5 mm", "not more than 1.5 mm"),
        (diameters(8.0, 9.96), "diameter +2.0 mm", "at least 2 mm"),
    ],
)
def test_a_rule_judges_the_number_that_is_shown(found, shown, told):
    assert shown in found.words and told in found.words


def test_each_rule_is_told_for_its_own_quantity_only():
    of_diameters, of_volumes = diameters(6, 9, 100).words, volumes(300, 600, 100).words
    assert "1.5 mm" in of_diameters and "Lung-RADS 2022" in of_diameters and "Fleischner" in of_diameters
    assert "25 %" not in of_diameters and "British" not in of_diameters and "volume +" not in of_diameters
    assert "25 %" in of_volumes and "British Thoracic Society" in of_volumes
    assert "Lung-RADS" not in of_volumes and "Fleischner" not in of_volumes


@pytest.mark.parametrize(
    ("change", "days", "expected"),
    [
        (1.5, 200, "not more than 1.5 mm"),
        (1.6, 200, "more than 1.5 mm, within 12 months"),
        (1.6, 500, "more than 1.5 mm, but that took more than 12 months"),
        (1.6, None, "more than 1.5 mm, if that took at most 12 months"),
        (1.9, 200, "less than 2 mm"),
        (2.0, 200, "at least 2 mm"),
    ],
)
def test_limits_of_diameters(change, days, expected):
    assert expected in diameters(10, 10 + change, days).words.split("; ", 1)[1]


def test_a_diameter_is_never_compared_with_a_volume():
    with pytest.raises(InputError, match="cannot be compared"):
        growth(Size(DIAMETER, 6), Size(VOLUME, 300), 100)


def test_shrinking_is_said_and_has_no_doubling_time():
    found = diameters(10, 7, 100)
    assert found.doubling_days is None and "shrinking" in found.words and "doubling" not in found.words
    assert "counts as growth" not in found.words and "no rule for growth applies" in found.words


def test_a_size_that_may_be_nothing_has_an_open_interval():
    found = growth(Size(VOLUME, 20, 0, 60), Size(VOLUME, 60, 40, 90), 100)
    assert found.high == math.inf and found.doubling_days is None


@pytest.mark.parametrize("wrong", [(0, 5, 10), (5, -1, 10), (5, 6, 0), (5, 6, -3), (math.nan, 5, 10)])
def test_impossible_sizes_and_times_are_refused(wrong):
    with pytest.raises(InputError, match="must be more than 0"):
        diameters(*wrong)


@pytest.mark.parametrize("quantity", [VOLUME, DIAMETER])
def test_scans_made_differently_are_named_and_widen_the_interval(quantity):
    thin, thick = Acquisition("B30f", 1.0), Acquisition("B70f", 2.5)

    def between(*scanned):
        first, second = scanned
        return growth(Size(quantity, 9, 8.5, 9.5, first), Size(quantity, 10, 9.5, 10.5, second))

    alike, one, both = (between(thin, a) for a in (thin, replace(thin, thickness_mm=2.5), thick))
    unknown = between(thin, None)
    assert "scanned differently" not in alike.words and unknown.low == alike.low
    assert "scanned differently (slices of 1 and 2.5 mm), which widens the interval" in one.words
    assert "reconstruction kernel B30f and B70f, slices of 1 and 2.5 mm" in both.words
    assert both.low < one.low < alike.low < alike.high < one.high < both.high
    assert both.change == alike.change
