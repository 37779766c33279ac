"""What was measured of the reviewed nodules in each original scan, in a table node saved with the scene."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import slicer

from GLIDERegLib.core.acquisition import Acquisition
from GLIDERegLib.evaluation.growth import DIAMETER, VOLUME, Size, growth
from GLIDERegLib.scene.review.sizes import OUTLINES, grown
from GLIDERegLib.scene.review.table import Row, setColumns

SCANS = ("fixed", "moving")
MEASURED, YES, NO = "measured", "yes", "no"
# Who made the outline.
FOUND, RESIZED, EDITED = "measured", "corrected by the reader", "outlined by the reader"


@dataclass(frozen=True)
class Measurement:
    """A nodule in the "fixed" or "moving" scan. markedIn, point: whose row of the review it is.

    status: MEASURED, or why there is no size. Volumes are mm3 and diameters mm, with their 95 % intervals;
    attenuation, touches: in words. source: FOUND, RESIZED or EDITED; the last has no intervals of its own.
    step: how many steps larger the reader wanted it. kernel, thickness, contrast (YES, NO or "" where
    unknown), pixel, sliceDistance, noise: how the scan was acquired, as far as is known.
    """

    markedIn: str
    point: str
    scan: str
    label: str
    status: str
    source: str = FOUND
    step: int = 0
    volume: float | None = None
    volumeLow: float | None = None
    volumeHigh: float | None = None
    long: float | None = None
    short: float | None = None
    meanLow: float | None = None
    meanHigh: float | None = None
    meanHu: float | None = None
    attenuation: str = ""
    touches: str = ""
    kernel: str = ""
    thickness: float | None = None
    contrast: str = ""
    pixel: float | None = None
    sliceDistance: float | None = None
    noise: float | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return self.markedIn, self.point, self.scan

    @property
    def measured(self) -> bool:
        return self.status == MEASURED

    @property
    def corrected(self) -> bool:
        """Whether the outline is the reader's."""
        return self.source != FOUND

    def size(self, quantity: str) -> Size:
        if quantity == VOLUME:
            return Size(VOLUME, self.volume, self.volumeLow, self.volumeHigh, self.scanned)
        return Size(DIAMETER, (self.long + self.short) / 2, self.meanLow, self.meanHigh, self.scanned)

    @property
    def scanned(self) -> Acquisition:
        voxel = None if self.pixel is None else (self.pixel, self.pixel, self.sliceDistance)
        contrast = {YES: True, NO: False}.get(self.contrast)
        return Acquisition(self.kernel, self.thickness, contrast, voxel, self.noise)


def measurementOf(
    key: tuple[str, str, str], label: str, found, source: str = FOUND, step: int = 0
) -> Measurement:
    """A NoduleMeasurement of the library as a record of the nodule with this key."""
    touches = [name for name in ("vessel", "pleura") if getattr(found, f"touches_{name}")]
    return Measurement(
        *key,
        label,
        found.status,
        RESIZED if step else source,
        step,
        found.volume_mm3,
        found.volume_low_mm3,
        found.volume_high_mm3,
        found.long_mm,
        found.short_mm,
        found.mean_low_mm,
        found.mean_high_mm,
        found.mean_hu,
        found.attenuation or "",
        " and ".join(touches),
        **_acquired(found.scanned),
    )


def _acquired(scanned: Acquisition | None) -> dict:
    if scanned is None:
        return {}
    pixel, _, distance = scanned.voxel_mm or (None, None, None)
    return {
        "kernel": scanned.kernel,
        "thickness": scanned.thickness_mm,
        "contrast": {True: YES, False: NO, None: ""}[scanned.contrast],
        "pixel": pixel,
        "sliceDistance": distance,
        "noise": scanned.noise_hu,
    }


HEADERS = {
    "markedIn": "Marked in",
    "point": "Point",
    "scan": "Scan",
    "label": "Label",
    "status": "Status",
    "source": "Outline",
    "step": "Steps larger",
    "volume": "Volume (mm3)",
    "volumeLow": "Volume, 95 % low (mm3)",
    "volumeHigh": "Volume, 95 % high (mm3)",
    "long": "Longest diameter (mm)",
    "short": "Perpendicular diameter (mm)",
    "meanLow": "Mean diameter, 95 % low (mm)",
    "meanHigh": "Mean diameter, 95 % high (mm)",
    "meanHu": "Mean attenuation (HU)",
    "attenuation": "Attenuation",
    "touches": "Touches",
    "kernel": "Reconstruction kernel",
    "thickness": "Slice thickness (mm)",
    "contrast": "Contrast medium",
    "pixel": "Pixel (mm)",
    "sliceDistance": "Distance of slices (mm)",
    "noise": "Noise (HU)",
}
TEXTS = {
    "markedIn", "point", "scan", "label", "status", "source", "attenuation", "touches", "kernel", "contrast",
}  # fmt: skip
# Scenes saved before have no such columns.
LATER = {"kernel", "thickness", "contrast", "pixel", "sliceDistance", "noise"}


def readMeasurements(tableNode: slicer.vtkMRMLTableNode | None) -> list[Measurement]:
    """Those of a table; none where it is no such table."""
    table = tableNode.GetTable() if tableNode is not None else None
    if table is None:
        return []
    names = [name for name, header in HEADERS.items() if table.GetColumnByName(header) is not None]
    if not set(HEADERS) - LATER <= set(names):
        return []

    def value(name: str, row: int):
        text = table.GetValueByName(row, HEADERS[name]).ToString()
        if name in TEXTS:
            return text
        return int(text) if name == "step" else float(text) if text else None

    return [
        Measurement(**{name: value(name, row) for name in names}) for row in range(table.GetNumberOfRows())
    ]


def writeMeasurements(tableNode: slicer.vtkMRMLTableNode, measurements: Iterable[Measurement]) -> None:
    """Replaces what the table holds. Text throughout: a size that is not known is an empty cell."""
    measurements = list(measurements)
    columns = [
        (header, [_text(getattr(one, name)) for one in measurements]) for name, header in HEADERS.items()
    ]
    setColumns(tableNode, columns, set())


def withMeasurement(measurements: Sequence[Measurement], new: Measurement) -> list[Measurement]:
    """The list with one more, or with one replaced."""
    return [*(one for one in measurements if one.key != new.key), new]


def without(measurements: Sequence[Measurement], key: tuple[str, str, str]) -> list[Measurement]:
    return [one for one in measurements if one.key != key]


def measuredRows(rows: Sequence[Row], measurements: Sequence[Measurement], days: float | None) -> list[Row]:
    """The rows with what was measured of them, and its growth, in words.

    days: from the moving to the fixed scan, negative where the moving one is later, None where unknown.
    """
    found = {one.key: one for one in measurements}
    written = []
    for row in rows:
        own = {scan: found.get((row.markedIn, row.point, scan)) for scan in SCANS}
        texts = {f"{scan}Measured": describe(one) if one else "" for scan, one in own.items()}
        diameters = {}
        for scan, one in own.items():
            diameters |= _diameter(row, scan, one)
        words = _growth(own["moving"], own["fixed"], days)
        written.append(grown(replace(row, **texts, **diameters, measuredGrowth=words), days))
    return written


def describe(one: Measurement) -> str:
    """A measurement in one line, as the panel and the report write it."""
    if not one.measured:
        return one.status
    interval = f" (95 % {one.volumeLow:.0f} to {one.volumeHigh:.0f})" if one.volumeLow is not None else ""
    mean = round((one.long + one.short) / 2, 1)
    parts = [
        f"{one.volume:.0f} mm³{interval}",
        f"{one.long:.1f} x {one.short:.1f} mm, mean {mean:.1f} mm",
        ", ".join(filter(None, [one.attenuation, _attenuation(one)])),
    ]
    if one.touches:
        parts.append(f"touches {one.touches}")
    if one.source == RESIZED:
        parts.append(f"{RESIZED}: {abs(one.step)} x 0.35 mm {'larger' if one.step > 0 else 'smaller'}")
    elif one.corrected:
        parts.append(one.source)
    return "; ".join(parts)


def _attenuation(one: Measurement) -> str:
    if one.meanHu is None:
        return "too small to read its HU"
    return f"{one.meanHu:.0f} HU {'inside the outline' if one.source == EDITED else 'in its middle'}"


def _diameter(row: Row, scan: str, one: Measurement | None) -> dict:
    """The mean diameter for the row, unless the reader typed it or drew it as a line."""
    if getattr(row, f"{scan}DiameterFrom") in ("typed", "line"):
        return {}
    if one is None or not one.measured:
        if getattr(row, f"{scan}DiameterFrom") not in OUTLINES:
            return {}
        return {f"{scan}Diameter": 0.0, f"{scan}DiameterFrom": ""}
    return {
        f"{scan}Diameter": round((one.long + one.short) / 2, 1),
        f"{scan}DiameterFrom": OUTLINES[one.corrected],
    }


def _growth(moving: Measurement | None, fixed: Measurement | None, days: float | None) -> str:
    """Growth of the volume and of the mean diameter, each by the rules of its own kind; "" without both."""
    if moving is None or fixed is None or not (moving.measured and fixed.measured):
        return ""
    earlier, later = (moving, fixed) if days is None or days >= 0 else (fixed, moving)
    changes = (
        growth(earlier.size(quantity), later.size(quantity), abs(days) if days else None)
        for quantity in (VOLUME, DIAMETER)
    )
    return "; ".join(f"Measured {change.words}" for change in changes)


def _text(value) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
