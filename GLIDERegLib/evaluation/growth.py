"""Growth between two dates, with its 95 % interval and the published rules, each for its own quantity only.

A diameter is judged by rules for diameters, a volume by those for volumes: a volume computed from a diameter
has three times its relative error, and the volume rules were never made for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from GLIDERegLib.core.acquisition import Acquisition, differences
from GLIDERegLib.core.errors import InputError

DIAMETER, VOLUME = "diameter", "volume"
UNITS = {DIAMETER: "mm", VOLUME: "mm³"}
# 95 % limits of agreement between two readers' diameters of one smooth nodule (PMC6350488).
READERS_MM = 1.9
# British Thoracic Society guideline 2015: two scans of an unchanged solid nodule on one day differ by up to
# that (the studies behind it: doi 10.1007/s00330-021-08302-0), so that a smaller change has no doubling time.
VOLUME_CHANGE_PERCENT = 25.0
# BTS 2015 as quoted in PMC6784443: a nodule that doubles within this time needs more work-up.
SHORT_DOUBLING_DAYS = 400.0
# Errors of scans made differently do not cancel: what each difference adds to the standard deviation of the
# logarithm of the volumes' ratio. A judgement.
SCANNED_OTHERWISE = 0.02
LUNG_RADS_MM, LUNG_RADS_DAYS = 1.5, 366.0
FLEISCHNER_MM = 2.0
LUNG_RADS = "Lung-RADS 2022, CHEST 2024;165:738"
FLEISCHNER = "Fleischner Society 2017, doi 10.1148/radiol.2017161659"
BTS = "British Thoracic Society 2015"
# Of a `Growth` without a doubling time: the time and its interval.
NO_TIME = (None, None, None)
# What an interval comes from.
MEASUREMENT = "measurement's error"


@dataclass(frozen=True)
class Size:
    """A nodule's size in one original scan. quantity: DIAMETER (mm) or VOLUME (mm3).

    low, high: its 95 % interval. Without them the variability between readers stands in: READERS_MM for the
    difference of two diameters, VOLUME_CHANGE_PERCENT for the change between two volumes. scanned: how, so
    that growth can say in what two scans differ.
    """

    quantity: str
    value: float
    low: float | None = None
    high: float | None = None
    scanned: Acquisition | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """low and high where the measurement came with them."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def measured(self) -> bool:
        """Whether the measurement came with an interval of its own."""
        return self.interval is not None


@dataclass(frozen=True)
class Growth:
    """From the earlier to the later scan.

    change, low, high: of a diameter in mm, of a volume in per cent, with the 95 % interval. doubling_days:
    volume doubling time, None where no time is known, the interval spans no change, or the volume (of a
    diameter: its sphere's) grew by less than VOLUME_CHANGE_PERCENT; doubling_low, doubling_high: its 95 %
    interval. All intervals come from the error of measuring in these two scans. words: the same for a reader,
    with the rules that apply to the change as it is shown, and what repeated scans leave of a doubling time.
    """

    quantity: str
    change: float
    low: float
    high: float
    doubling_days: float | None
    doubling_low: float | None
    doubling_high: float | None
    words: str

    @property
    def spans_no_change(self) -> bool:
        return self.low <= 0 <= self.high


def sphere_volume(diameter_mm: float) -> float:
    """Volume in mm3 of a sphere, pi d^3 / 6."""
    return math.pi * diameter_mm**3 / 6


def sphere_diameter(volume_mm3: float) -> float:
    """Diameter in mm of the sphere of a volume."""
    return (6 * volume_mm3 / math.pi) ** (1 / 3)


def doubling_time(earlier_mm3: float, later_mm3: float, days: float) -> float:
    """Volume doubling time t ln 2 / ln(V2 / V1) in days (Schwartz, Cancer 1961;14:1272).

    Infinite for equal volumes, negative for a nodule that shrinks.
    """
    ratio = math.log(later_mm3 / earlier_mm3)
    return days * math.log(2) / ratio if ratio else math.inf


def signed(value: float, digits: int = 0) -> str:
    """A number as a change is written: with its sign, and no minus before nothing."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def growth(earlier: Size, later: Size, days: float | None = None) -> Growth:
    """Change between two sizes of one quantity; days between the scans where known.

    Raises InputError for a diameter compared with a volume, and for sizes or a time that are not positive.
    """
    if earlier.quantity != later.quantity:
        raise InputError(
            "A diameter and a volume cannot be compared.",
            "Measure the nodule in the same way in both scans.",
            code="setting",
        )
    if not (earlier.value > 0 and later.value > 0):
        raise InputError(f"Sizes must be more than 0, not {earlier.value} and {later.value}.", code="setting")
    if days is not None and not days > 0:
        raise InputError(f"The time between the scans must be more than 0 days, not {days}.", code="setting")
    return (_of_diameters if earlier.quantity == DIAMETER else _of_volumes)(earlier, later, days)


def rules_met(found: Growth, days: float) -> list[str]:
    """The guidelines by whose rule a nodule that changed so within these days has grown, each by its name."""
    if found.quantity == VOLUME:
        return ["BTS (if solid)"] if round(found.change) >= VOLUME_CHANGE_PERCENT else []
    shown = round(found.change, 1)
    american = ["Lung-RADS"] if shown > LUNG_RADS_MM and days <= LUNG_RADS_DAYS else []
    return american + (["Fleischner"] if shown >= FLEISCHNER_MM else [])


def _of_diameters(earlier: Size, later: Size, days: float | None) -> Growth:
    change = later.value - earlier.value
    differ = _differences(earlier, later)
    # The volume's relative error is three times the diameter's.
    otherwise = _otherwise(differ) / 3 * max(earlier.value, later.value)
    error = math.hypot(*(_half_width(size) for size in (earlier, later)), otherwise)
    source = MEASUREMENT if earlier.measured and later.measured else "two readers"
    low, high = change - error, change + error
    ratios = [max(earlier.value + c, 0.0) ** 3 / earlier.value**3 for c in (low, change, high)]
    times = _doubling(ratios, days)
    ends = f"{signed(low, 1)} to {signed(high, 1)} mm"
    words = [f"diameter {signed(change, 1)} mm (95 % {ends}, {source})"]
    words += _span(low, high) + _differ_words(differ)
    words += _diameter_rules(round(change, 1), days)
    words += _doubling_words(times, "the nodule taken for a sphere")
    doubling, fastest, slowest = times or NO_TIME
    return Growth(DIAMETER, change, low, high, doubling, fastest, slowest, "; ".join(words))


def _diameter_rules(shown: float, days: float | None) -> list[str]:
    """What guidelines say of growth by so many mm, as it is shown."""
    if shown <= 0:
        return ["the diameter is not larger, so that no rule for growth applies"]
    if shown > LUNG_RADS_MM:
        within = "if that took at most 12 months"
        if days is not None:
            within = "within 12 months" if days <= LUNG_RADS_DAYS else "but that took more than 12 months"
        american = f"more than {LUNG_RADS_MM} mm, {within} ({LUNG_RADS})"
    else:
        american = f"not more than {LUNG_RADS_MM} mm, above which it counts as growth ({LUNG_RADS})"
    reached = "at least" if shown >= FLEISCHNER_MM else "less than"
    return [american, f"{reached} {FLEISCHNER_MM:g} mm, from which it counts as growth ({FLEISCHNER})"]


def _of_volumes(earlier: Size, later: Size, days: float | None) -> Growth:
    ratio = later.value / earlier.value
    differ = _differences(earlier, later)
    if earlier.interval and later.interval:
        # Errors of the two logarithms are independent of each other.
        otherwise = _otherwise(differ)
        (earlier_low, earlier_high), (later_low, later_high) = earlier.interval, later.interval
        down = math.hypot(_log(later.value, later_low), _log(earlier_high, earlier.value), otherwise)
        up = math.hypot(_log(later_high, later.value), _log(earlier.value, earlier_low), otherwise)
        ratios, source = [ratio * math.exp(-down), ratio, ratio * math.exp(up)], MEASUREMENT
    else:
        share = VOLUME_CHANGE_PERCENT / 100
        ratios, source = [ratio / (1 + share), ratio, ratio * (1 + share)], f"±25 %, {BTS}"
    low, percent, high = (100 * (r - 1) for r in ratios)
    times = _doubling(ratios, days)
    words = [f"volume {signed(percent)} % (95 % {signed(low)} to {signed(high)} %, {source})"]
    words += _span(low, high) + _differ_words(differ)
    limit = f"{VOLUME_CHANGE_PERCENT:.0f} %"
    if abs(round(percent)) >= VOLUME_CHANGE_PERCENT:
        words.append(f"at least {limit}, from which a change of a solid nodule counts ({BTS})")
    else:
        words.append(f"less than {limit}, by which two scans of an unchanged solid nodule may differ ({BTS})")
    words += _doubling_words(times, "")
    doubling, fastest, slowest = times or NO_TIME
    if fastest is not None and slowest is not None and days is not None:
        if source == MEASUREMENT:
            fastest_said, slowest_said = _with_repeats(ratios, days)
            words += [_repeats_words(fastest_said, slowest_said), _short_or_not(fastest_said, slowest_said)]
        else:
            words.append(_short_or_not(fastest, slowest))
    return Growth(VOLUME, percent, low, high, doubling, fastest, slowest, "; ".join(words))


def _with_repeats(ratios: list[float], days: float) -> tuple[float, float]:
    """Ends (days) of a doubling time's interval with what repeated scans differ by; the later may be inf.

    ratios: low end, value and high end of the volumes' ratio, by the error of measuring alone. Breath,
    heartbeat and position change an unchanged nodule by up to VOLUME_CHANGE_PERCENT, independent of it.
    """
    low, ratio, high = ratios
    repeats = math.log(1 + VOLUME_CHANGE_PERCENT / 100)
    smallest = ratio * math.exp(-math.hypot(repeats, _log(ratio, low)))
    largest = ratio * math.exp(math.hypot(repeats, _log(high, ratio)))
    slowest = doubling_time(1.0, smallest, days) if smallest > 1 else math.inf
    return doubling_time(1.0, largest, days), slowest


def _repeats_words(fastest: float, slowest: float) -> str:
    span = f"{fastest:.0f} days or more" if math.isinf(slowest) else f"{fastest:.0f} to {slowest:.0f} days"
    limit = f"{VOLUME_CHANGE_PERCENT:.0f} %"
    return f"{span} with the {limit} by which two scans of an unchanged solid nodule may differ ({BTS})"


def _short_or_not(fastest: float, slowest: float) -> str:
    """What the rule for doubling times says of such an interval."""
    if fastest <= SHORT_DOUBLING_DAYS < slowest:
        side = "by its interval perhaps within"
    else:
        side = "within" if slowest <= SHORT_DOUBLING_DAYS else "not within"
    return f"{side} the {SHORT_DOUBLING_DAYS:.0f} days that ask for more work-up of a solid nodule ({BTS})"


def _half_width(size: Size) -> float:
    # Two readers' difference already holds both errors; each size takes its part of it.
    return (size.interval[1] - size.interval[0]) / 2 if size.interval else READERS_MM / math.sqrt(2)


def _differences(earlier: Size, later: Size) -> list[str]:
    if not (earlier.measured and later.measured and earlier.scanned and later.scanned):
        return []
    return differences(earlier.scanned, later.scanned)


def _otherwise(differ: list[str]) -> float:
    """Half of the 95 % interval that such differences add to the logarithm of the volumes' ratio."""
    return 1.96 * SCANNED_OTHERWISE * math.sqrt(len(differ))


def _differ_words(differ: list[str]) -> list[str]:
    if not differ:
        return []
    return [f"scanned differently ({', '.join(differ)}), which widens the interval"]


def _log(larger: float, smaller: float) -> float:
    """Logarithm of a ratio of sizes; infinite where the smaller may be nothing."""
    return math.log(larger / smaller) if smaller > 0 else math.inf


def _doubling(ratios: list[float], days: float | None) -> tuple[float, float, float] | None:
    """Doubling time with its interval; None where the interval of the volume's ratio reaches down to 1, or
    the ratio is no larger than that of two scans of an unchanged nodule may be.
    """
    low, ratio, high = ratios
    if days is None or low <= 1 or round(100 * (ratio - 1)) < VOLUME_CHANGE_PERCENT:
        return None
    return doubling_time(1.0, ratio, days), doubling_time(1.0, high, days), doubling_time(1.0, low, days)


def _span(low: float, high: float) -> list[str]:
    if low > 0:
        return []
    return ["shrinking"] if high < 0 else ["no change is within this interval"]


def _doubling_words(times: tuple[float, float, float] | None, how: str) -> list[str]:
    if times is None:
        return []
    text = f"volume doubling time {times[0]:.0f} days (95 % {times[1]:.0f} to {times[2]:.0f})"
    return [f"{text}, {how}" if how else text]
