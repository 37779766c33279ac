"""A nodule's sizes over time, with their error bars, as an inline picture (SVG) that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from markupsafe import Markup, escape

from GLIDERegLib.evaluation.growth import DIAMETER, READERS_MM, UNITS, Size

WIDTH, HEIGHT = 330, 112
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 22, 24
LABEL_WIDTH = 54
# Lines across, at most and where there are values for as many.
MOST_TICKS, LEAST_TICKS = 6, 3
TITLES = {DIAMETER: "mean diameter", "volume": "volume, logarithmic"}


@dataclass(frozen=True)
class Axis:
    """A scale from low to high, mm or mm3, onto the picture's height."""

    low: float
    high: float
    logarithmic: bool

    def at(self, value: float) -> float:
        low, high, value = (math.log(v) if self.logarithmic else v for v in (self.low, self.high, value))
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

    def ticks(self) -> list[float]:
        """Round values: 1, 2 and 5 times powers of ten, closer ones where these are too few, or steps of
        these that make at most six.
        """
        if self.logarithmic:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for multiples in ((1, 2, 5), (1, 1.5, 2, 3, 5, 7), range(1, 10)):
                found = [v for p in powers for m in multiples if self.low <= (v := m * 10.0**p) <= self.high]
                if len(found) >= LEAST_TICKS:
                    break
            return found
        step = next(
            s for p in range(-2, 7) for m in (1, 2, 5) if self.high <= MOST_TICKS * (s := m * 10.0**p)
        )
        return [n * step for n in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def growth_curve(quantity: str, days: Sequence[date], sizes: Sequence[Size | None]) -> Markup:
    """The curve of one quantity over the dates; a date without a size is a cross on the time axis.

    Empty where no size is known. Sizes without an interval of their own get the readers' (see `growth`).
    """
    known = [(day, size) for day, size in zip(days, sizes, strict=True) if size is not None]
    if not known:
        return Markup("")
    bars = [_bar(size) for _, size in known]
    axis = _axis(quantity, bars)
    first, span = days[0], max((days[-1] - days[0]).days, 1)

    def across(day: date) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (day - first).days / span

    parts = [_text(LEFT, 14, f"{TITLES[quantity]}, {UNITS[quantity]}", "start")]
    for value in axis.ticks():
        y = axis.at(value)
        parts.append(_line(LEFT, y, WIDTH - RIGHT, y, "#d5dbe1"))
        parts.append(_text(LEFT - 6, y + 4, f"{value:g}", "end"))
    floor = HEIGHT - BOTTOM
    parts.append(_line(LEFT, floor, WIDTH - RIGHT, floor, "#5b6875"))
    last = -math.inf
    for day, size in zip(days, sizes, strict=True):
        x = across(day)
        parts.append(_line(x, floor, x, floor + 4, "#5b6875"))
        if size is None:
            parts.append(_text(x, floor - 4, "×", "middle"))
        anchor = "start" if x < LEFT + LABEL_WIDTH / 2 else "end" if x > WIDTH - LABEL_WIDTH else "middle"
        begin = x - LABEL_WIDTH * {"start": 0, "middle": 0.5, "end": 1}[anchor]
        # The last date has its label, whatever is left out before it.
        if begin >= last and (day == days[-1] or begin + LABEL_WIDTH <= WIDTH - RIGHT - LABEL_WIDTH):
            parts.append(_text(x, floor + 17, day.isoformat(), anchor, 10))
            last = begin + LABEL_WIDTH
    points = [(across(day), axis.at(size.value)) for day, size in known]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts.append(f'<polyline points="{path}" fill="none" stroke="#17324d" stroke-width="1.5"/>')
    for (x, y), (low, high) in zip(points, bars, strict=True):
        top, foot = axis.at(high), axis.at(max(low, axis.low))
        parts.append(_line(x, top, x, foot, "#17324d"))
        parts += [_line(x - 4, end, x + 4, end, "#17324d") for end in (top, foot)]
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="#17324d"/>')
    told = "; ".join(f"{day}: {size.value:.4g} {UNITS[quantity]}" for day, size in known)
    return Markup(
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{escape(told)}</title>'
        f"{''.join(parts)}</svg>"
    )


def _bar(size: Size) -> tuple[float, float]:
    """The 95 % interval of a size; that of a diameter without one is what one of two readers has part in."""
    if size.interval is not None:
        return size.interval
    half = READERS_MM / math.sqrt(2) if size.quantity == DIAMETER else 0.0
    return size.value - half, size.value + half


def _axis(quantity: str, bars: Sequence[tuple[float, float]]) -> Axis:
    high = 1.1 * max(end for _, end in bars)
    if quantity == DIAMETER:
        return Axis(0.0, high, False)
    # An interval that reaches down to nothing ends at the foot of the picture.
    low = min((start for start, _ in bars if start > 0), default=high / 10)
    return Axis(min(0.9 * low, high / 4), high, True)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str, size: int = 11) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="#1b2733">'
        f"{escape(text)}</text>"
    )
