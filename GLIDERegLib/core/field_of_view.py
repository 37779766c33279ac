"""What lies around a round field of view that cuts the body off: whatever it holds, it was not measured.

A cone-beam CT shows a cylinder, and some exports fill what is around it with the value of air. Taken for
air, that is an edge through the body.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from GLIDERegLib.core.ct import AIR_HU, OUTSIDE_FIELD_OF_VIEW_HU
from GLIDERegLib.core.geometry import Volume

NOT_MEASURED_HU = 2 * AIR_HU
# Of the outline of what was measured in a section, in edges of its voxels: the circle goes through it.
ROUND = 1.0
# Fewer points of an outline fit a circle by chance; of the sections, those in which it is one.
LEAST_POINTS, LEAST_SECTIONS = 24, 0.8
# Looked at ahead of all others: most scans with even corners show a circle in none.
SECTIONS_AHEAD = 8
# Soft tissue within this many voxels of the circle cuts the body off; a table alone, or arms that touch it,
# reach less of it.
RIM_VOXELS = (1.5, 4.0)
TISSUE_HU, LEAST_CUT = -300.0, 0.15
NOTE = (
    "The {name} shows the inside of a round field of view, which cuts the body off, and one value around it: "
    "what lies outside was not measured and does not count."
)


def without_surroundings(volume: Volume) -> tuple[Volume, str]:
    """A scan in HU with `NOT_MEASURED_HU` around a round field of view that cuts the body off, and a sentence
    that says so; the scan itself and "" where there is none, or where its surroundings say so already.

    The surroundings are one exact value, which the corners of the middle section hold, and end in nearly
    every section on a circle along which soft tissue lies: neither air with its noise, nor a body cut out,
    nor a circle drawn in the air around a body is taken for that.
    """
    outside = _surroundings(volume)
    if outside is None:
        return volume, ""
    array = np.where(outside, volume.array.dtype.type(NOT_MEASURED_HU), volume.array)
    return replace(volume, array=array), NOTE.format(name=volume.name)


def _surroundings(volume: Volume) -> np.ndarray | None:
    """Bool (z, y, x); None where the scan has none of the kind."""
    axis = 2 - int(np.abs(volume.grid.axes[2]).argmax())
    sections = np.moveaxis(volume.array, axis, 0)
    row_mm, column_mm = np.delete(volume.grid.spacing[::-1], axis)
    corners = sections[len(sections) // 2][[0, 0, -1, -1], [0, -1, 0, -1]]
    value = corners[0]
    if (corners != value).any() or value <= OUTSIDE_FIELD_OF_VIEW_HU:
        return None
    rows, columns = (np.arange(n) for n in sections.shape[1:])
    y, x = np.meshgrid(rows * row_mm, columns * column_mm, indexing="ij")
    edge = max(row_mm, column_mm)
    few = (section != value for section in sections[:: -(-len(sections) // SECTIONS_AHEAD)])
    if all(_circle(seen, y, x, edge) is None for seen in few if seen.any()):
        return None
    outside, shown, rim = np.ones(sections.shape, bool), [], []
    for section, beyond in zip(sections, outside, strict=True):
        seen = section != value
        if not seen.any():
            continue
        circle = _circle(seen, y, x, edge)
        shown.append(circle is not None)
        if circle is None:
            beyond[:] = False
            continue
        distance = np.hypot(y - circle[0], x - circle[1]) - circle[2]
        beyond &= ~seen & (distance > -edge)
        within = (distance < -RIM_VOXELS[0] * edge) & (distance > -RIM_VOXELS[1] * edge)
        rim.append(np.mean(section[within] > TISSUE_HU) if within.any() else 0.0)
    if not shown or np.mean(shown) < LEAST_SECTIONS or np.mean(rim) < LEAST_CUT:
        return None
    return np.moveaxis(outside, 0, axis)


def _circle(seen: np.ndarray, y: np.ndarray, x: np.ndarray, edge: float) -> tuple[float, float, float] | None:
    """Middle (y, x) and radius, mm, of the circle that a section shows something in; None for another shape.

    Fitted by least squares (Kasa, IEEE Trans Instrum Meas 25:8, 1976) to the first and last voxel that is
    seen in each row and column, but for those at the section's own border.
    """
    outline = np.zeros(seen.shape, bool)
    for array, mark in ((seen, outline), (seen.T, outline.T)):
        rows = np.flatnonzero(array.any(axis=1))
        mark[rows, array.argmax(axis=1)[rows]] = True
        mark[rows, array.shape[1] - 1 - array[:, ::-1].argmax(axis=1)[rows]] = True
    outline[[0, -1]] = outline[:, [0, -1]] = False
    y, x = y[outline], x[outline]
    if len(y) < LEAST_POINTS:
        return None
    design = np.stack([y, x, np.ones(len(y))], axis=1)
    (a, b, c), *_ = np.linalg.lstsq(design, y**2 + x**2, rcond=None)
    square = c + a * a / 4 + b * b / 4
    if square <= 0:
        return None
    off = np.abs(np.hypot(y - a / 2, x - b / 2) - np.sqrt(square))
    return (a / 2, b / 2, float(np.sqrt(square))) if np.percentile(off, 95) < ROUND * edge else None
